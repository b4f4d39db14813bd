#include "tests/unit/cut_answers.h"

#include "tests/unit/cm.h"

#include "common/buf.h"
#include "planner/reader.h"

#include <stdint.h>
#include <string.h>

enum { HEARD_ITEMS = 8 };

bool cut_out_of_order;

/* What a listener put together, by item. */
struct heard {
    struct buf said[HEARD_ITEMS];
    enum reply_item_type type[HEARD_ITEMS];
};

static void hear(void *arg, enum reply_item_type type, int index, const char *bytes, size_t n)
{
    struct heard *heard = arg;
    assert_in_range(index, 0, HEARD_ITEMS - 1);
    assert_true(heard->said[index].len == 0 || heard->type[index] == type);
    heard->type[index] = type;
    buf_add(&heard->said[index], bytes, n);
}

static bool is_said(const struct model_reply *reply, enum reply_item_type type, const char *words)
{
    for (size_t i = 0; i < reply->item_count; i++)
        if (reply->items[i].type == type && strcmp(reply->items[i].content, words) == 0)
            return true;
    return false;
}

static void judge_heard_at(const struct heard *heard, size_t at, const struct model_reply *reply)
{
    const struct reply_item *item = &reply->items[at];
    const struct buf *said = &heard->said[at];
    if (cut_out_of_order) {
        assert_true(said->len == 0 || is_said(reply, heard->type[at], said->data));
        return;
    }
    assert_string_equal(said->data, item->type == REPLY_CALL ? "" : item->content);
    assert_true(said->len == 0 || heard->type[at] == item->type);
}

/* Who listened knows every word of a good reply, and no other. */
static void judge_heard(struct heard *heard, const struct model_reply *reply)
{
    for (size_t i = 0; i < HEARD_ITEMS; i++) {
        if (reply->outcome == OK && i < reply->item_count)
            judge_heard_at(heard, i, reply);
        buf_release(&heard->said[i]);
    }
}

struct model_reply *cut_read(const struct dialect *dialect, const char *type, const char *bytes,
                             size_t n, size_t first, size_t piece, bool whole)
{
    struct heard heard = { 0 };
    for (size_t i = 0; i < HEARD_ITEMS; i++)
        buf_init(&heard.said[i], SIZE_MAX);
    const struct reader_options options = { .output_limit_bytes = CUT_LIMIT_BYTES,
                                            .call_prefix = CUT_PREFIX,
                                            .secret = CUT_SECRET,
                                            .listener = { hear, &heard } };
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
    judge_heard(&heard, reply);
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
