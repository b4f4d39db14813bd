#include "tests/unit/chat_answers.h"

#include "tests/unit/cm.h"

#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

enum { HEARD_ITEMS = 8 };

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

/* Who listened knows every word of a good reply, and no other. */
static void judge_heard(const struct heard *heard, const struct model_reply *reply)
{
    for (size_t i = 0; reply->outcome == OK && i < reply->item_count && i < HEARD_ITEMS; i++) {
        const struct reply_item *item = &reply->items[i];
        assert_string_equal(heard->said[i].data, item->type == REPLY_CALL ? "" : item->content);
        assert_true(heard->said[i].len == 0 || heard->type[i] == item->type);
    }
}

struct model_reply *read_pieces(const char *type, const struct piece *pieces, size_t count,
                                bool whole)
{
    struct heard heard = { 0 };
    for (size_t i = 0; i < HEARD_ITEMS; i++)
        buf_init(&heard.said[i], SIZE_MAX);
    const struct reader_options options = {
        ANSWER_LIMIT, "pawl_7", "sk-very-secret", { hear, &heard }
    };
    struct reader *r = reader_new(&openai_chat, &options, type);
    for (size_t i = 0; i < count; i++)
        if (reader_feed(r, pieces[i].bytes, pieces[i].n) != OK)
            break;
    struct model_reply *reply = model_reply_new((size_t)16 << 20);
    reader_finish(r, whole, reply);
    reader_free(r);
    judge_heard(&heard, reply);
    for (size_t i = 0; i < HEARD_ITEMS; i++)
        buf_release(&heard.said[i]);
    return reply;
}

static void assert_same(const struct model_reply *a, const struct model_reply *b)
{
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->item_count, b->item_count);
    assert_int_equal(a->call_count, b->call_count);
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->usage.tokens_in, b->usage.tokens_in);
    assert_int_equal(a->usage.tokens_out, b->usage.tokens_out);
    if (a->outcome == OK)
        assert_string_equal(a->raw, b->raw);
    else
        assert_string_equal(a->error.text, b->error.text);
}

struct model_reply *read_answer(const char *type, const char *text, bool whole)
{
    size_t n = strlen(text);
    struct piece all = { text, n };
    struct model_reply *reply = read_pieces(type, &all, 1, whole);
    struct piece *bytes = xcalloc(n + 1, sizeof *bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (struct piece){ text + i, 1 };
    struct model_reply *other = read_pieces(type, bytes, n, whole);
    assert_same(reply, other);
    model_reply_free(other);
    free(bytes);
    for (size_t cut = 1; cut < n; cut++) {
        struct piece two[] = { { text, cut }, { text + cut, n - cut } };
        other = read_pieces(type, two, 2, whole);
        assert_same(reply, other);
        model_reply_free(other);
    }
    return reply;
}

struct model_reply *read_stream(const char *text)
{
    return read_answer(SSE_TYPE, text, true);
}

void assert_call(const struct model_reply *r, size_t at, const char *id, const char *tool,
                 const char *arguments)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, REPLY_CALL);
    assert_string_equal(r->items[at].call_id, id);
    assert_string_equal(r->items[at].tool, tool);
    assert_string_equal(r->items[at].arguments, arguments);
    assert_int_equal(r->items[at].arguments_n, strlen(arguments));
}

void assert_text(const struct model_reply *r, size_t at, const char *text)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, REPLY_TEXT);
    assert_string_equal(r->items[at].content, text);
}
