#include "tests/unit/cut_answers.h"

#include "tests/unit/cm.h"

#include "planner/reader.h"

#include <string.h>

struct model_reply *cut_read(const struct dialect *dialect, const char *type, const char *bytes,
                             size_t n, size_t first, size_t piece, bool whole)
{
    const struct reader_options options = { CUT_LIMIT_BYTES, CUT_PREFIX, CUT_SECRET, { 0 } };
    struct reader *r = reader_new(dialect, &options, type);
    size_t size = first;
    for (size_t at = 0; at < n; at += size) {
        size = at == 0 ? first : piece;
        if (reader_feed(r, bytes + at, size < n - at ? size : n - at) != OK)
            break;
    }
    struct model_reply *reply = model_reply_new((size_t)16 << 20);
    reader_finish(r, whole, reply);
    reader_free(r);
    return reply;
}

static void assert_same_item(const struct reply_item *a, const struct reply_item *b)
{
    assert_int_equal(a->type, b->type);
    if (a->type != REPLY_CALL) {
        assert_string_equal(a->content, b->content);
        return;
    }
    assert_string_equal(a->call_id, b->call_id);
    assert_string_equal(a->tool, b->tool);
    assert_string_equal(a->arguments, b->arguments);
}

void cut_assert_same(const struct model_reply *a, const struct model_reply *b)
{
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->item_count, b->item_count);
    assert_int_equal(a->call_count, b->call_count);
    assert_int_equal(a->end, b->end);
    assert_memory_equal(&a->usage, &b->usage, sizeof a->usage);
    if (a->outcome != OK) {
        assert_string_equal(a->code, b->code);
        assert_string_equal(a->error.text, b->error.text);
        return;
    }
    assert_string_equal(a->raw, b->raw);
    assert_string_equal(a->end_reason, b->end_reason);
    for (size_t i = 0; i < a->item_count; i++)
        assert_same_item(&a->items[i], &b->items[i]);
}

struct model_reply *cut_read_all(const struct dialect *dialect, const char *type, const char *bytes,
                                 size_t n, bool whole)
{
    struct model_reply *reply = cut_read(dialect, type, bytes, n, n, n, whole);
    for (size_t cut = 1; cut < n; cut++) { /* the first one: byte by byte */
        struct model_reply *other = cut_read(dialect, type, bytes, n, cut, cut == 1 ? 1 : n, whole);
        cut_assert_same(reply, other);
        model_reply_free(other);
    }
    return reply;
}
