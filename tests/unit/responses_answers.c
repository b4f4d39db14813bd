#include "tests/unit/responses_answers.h"

#include "tests/unit/cm.h"

#include <string.h>

struct model_reply *responses_stream(const char *text)
{
    return cut_read_all(&openai_responses, SSE_TYPE, text, strlen(text), true);
}

struct model_reply *responses_object(const char *text)
{
    return cut_read_all(&openai_responses, JSON_TYPE, text, strlen(text), true);
}

void assert_said(const struct model_reply *r, size_t at, enum reply_item_type type,
                 const char *text)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, type);
    assert_string_equal(r->items[at].content, text);
}

void assert_called(const struct model_reply *r, size_t at, const char *id, const char *tool,
                   const char *arguments)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, REPLY_CALL);
    assert_string_equal(r->items[at].call_id, id);
    assert_string_equal(r->items[at].tool, tool);
    assert_string_equal(r->items[at].arguments, arguments);
}

void assert_failed(struct model_reply *r, enum outcome outcome, const char *code)
{
    assert_int_equal(r->outcome, outcome);
    assert_string_equal(r->code, code);
    assert_true(strlen(r->error.text) > 0);
    assert_null(strstr(r->error.text, CUT_SECRET));
    model_reply_free(r);
}
