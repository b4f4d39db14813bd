#include "tests/unit/chat_answers.h"

#include "tests/unit/cm.h"
#include "tests/unit/cut_answers.h"

#include <string.h>

struct model_reply *read_answer(const char *type, const char *text, bool whole)
{
    return cut_read_all(&openai_chat, type, text, strlen(text), whole);
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
