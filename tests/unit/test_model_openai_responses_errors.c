/*
 * test_model_openai_responses_errors.c -- what this dialect answers on bad days: each a
 * classed error, in bounded memory, without the key that was sent.
 */
#include "tests/unit/cm.h"

#include "common/buf.h"
#include "planner/model_openai_items.h"
#include "planner/reader.h"
#include "tests/unit/responses_answers.h"

#include <stdlib.h>
#include <string.h>

#define FAILED(error) \
    TOLD("failed",    \
         ",\"response\":{\"object\":\"response\",\"status\":\"failed\",\"error\":" error "}")

/* ---- cut answers -------------------------------------------------------------------- */

static void a_stream_without_its_end_is_cut(void **state)
{
    (void)state;
    static const char *const cut[] = {
        "",
        ": just a comment\n\n",
        CREATED,
        SAY(0, "hal"),
        ENDED(0, MESSAGE("m", "all of it")),
        ENDED(0, CALL("f", "c", "x", "{}")) "data: {\"type\":\"response.completed\"}\n",
    };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++)
        for (int whole = 0; whole < 2; whole++)
            assert_failed(cut_read_all(&openai_responses, SSE_TYPE, cut[i], strlen(cut[i]), whole),
                          RETRY, "answer_cut");
    static const char object[] = "{" RESPONSE("completed", "{" MESSAGE("m", "x") "}");
    assert_failed(cut_read_all(&openai_responses, JSON_TYPE, object, strlen(object), false), RETRY,
                  "answer_cut");
}

/* Nothing behind the end is waited for. */
static void the_end_is_the_end_without_the_end_of_http(void **state)
{
    (void)state;
    static const char stream[] = SAY(0, "x") COMPLETED("");
    struct model_reply *r =
        cut_read_all(&openai_responses, SSE_TYPE, stream, strlen(stream), false);
    assert_int_equal(r->outcome, OK);
    assert_said(r, 0, REPLY_TEXT, "x");
    model_reply_free(r);

    /* [DONE] is an end, but says of no call that it is complete. */
    r = responses_stream(ENDED(0, CALL("f", "c", "x", "{}")) "data: [DONE]\n\n");
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_UNKNOWN);
    model_reply_free(r);
}

static void says_why_the_answer_is_incomplete(void **state)
{
    (void)state;
#define INCOMPLETE(details)                                                                       \
    TOLD("incomplete", ",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":" details \
                       ",\"output\":[]}")
    static const struct {
        const char *text;
        enum reply_end end;
        const char *reason;
    } cases[] = {
        { ARG(0, "{\\\"a") INCOMPLETE("{\"reason\":\"max_output_tokens\"}"), REPLY_END_LENGTH,
          "max_output_tokens" },
        { ARG(0, "{\\\"a") INCOMPLETE("{\"reason\":\"content_filter\"}"), REPLY_END_FILTER,
          "content_filter" },
        { ARG(0, "{\\\"a") INCOMPLETE("null"), REPLY_END_LENGTH, "incomplete" },
        { ARG(0, "{\\\"a") INCOMPLETE("{\"reason\":\"tired\"}"), REPLY_END_LENGTH, "tired" },
        { ARG(0, "{\\\"a") TOLD("incomplete", ""), REPLY_END_LENGTH, "incomplete" },
        /* Some servers end with response.completed whatever happened. */
        { ARG(0, "{\\\"a") TOLD("completed", ",\"response\":{\"status\":\"incomplete\"}"),
          REPLY_END_LENGTH, "incomplete" },
        { ARG(0, "{}") TOLD("completed", ",\"response\":{\"status\":\"in_progress\"}"),
          REPLY_END_STOP, "completed" },
        { ENDED(0, "\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"x\",\"arguments\":"
                   "\"{}\",\"status\":\"incomplete\"") COMPLETED(""),
          REPLY_END_LENGTH, "incomplete" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_reply *r = responses_stream(cases[i].text);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->end, cases[i].end);
        assert_string_equal(r->end_reason, cases[i].reason);
        assert_int_equal(r->call_count, 1);
        model_reply_free(r);
    }
    struct model_reply *r =
        responses_object("{\"output\":[{" CALL("f", "c", "x", "{}") "}],\"object\":\"response\"}");
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_UNKNOWN);
    model_reply_free(r);
}

/* ---- errors --------------------------------------------------------------------------- */

static void errors_come_inside_a_stream(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum outcome outcome;
        const char *code;
    } cases[] = {
        { SAY(0, "x") FAILED("{\"code\":\"server_error\",\"message\":\"The server had an error\"}"),
          RETRY, "provider_error" },
        { FAILED("{\"code\":\"rate_limit_exceeded\",\"message\":\"slower\"}"), RETRY,
          "provider_error" },
        { FAILED("{\"code\":\"insufficient_quota\",\"message\":\"pay\"}"), REFUSED, "quota_spent" },
        { FAILED("{\"code\":\"context_length_exceeded\",\"message\":\"too long\"}"), REFUSED,
          "prompt_too_large" },
        { FAILED("{\"code\":\"invalid_prompt\",\"message\":\"flagged\"}"), REFUSED,
          "request_refused" },
        { FAILED("null"), RETRY, "provider_error" },
        { TOLD("failed", ""), RETRY, "provider_error" },
        { TOLD("completed", ",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"503\"}}"),
          RETRY, "overloaded" },
        { TOLD("cancelled", ",\"response\":{\"status\":\"cancelled\"}"), RETRY, "bad_answer" },
        { "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"no\","
          "\"param\":null,\"sequence_number\":3}\n\n",
          RETRY, "provider_error" },
        { "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","
          "\"code\":\"model_not_found\",\"message\":\"no\"}}\n\n",
          REFUSED, "request_refused" },
        { "data: {\"error\":{\"code\":\"401\",\"message\":\"" CUT_SECRET "\"}}\n\n", REFUSED,
          "unauthorized" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_failed(responses_stream(cases[i].text), cases[i].outcome, cases[i].code);
}

static void one_object_may_say_that_it_failed(void **state)
{
    (void)state;
    assert_failed(responses_object("{\"object\":\"response\",\"status\":\"failed\",\"error\":"
                                   "{\"code\":\"server_error\",\"message\":\"no\"}}"),
                  RETRY, "provider_error");
    assert_failed(responses_object("{\"object\":\"response\",\"status\":\"failed\",\"error\":null,"
                                   "\"output\":[]}"),
                  RETRY, "provider_error");
    assert_failed(responses_object("{\"status\":\"cancelled\",\"output\":[]}"), RETRY,
                  "bad_answer");
    assert_failed(responses_object("{\"status\":\"queued\"}"), RETRY, "bad_answer");
    assert_failed(responses_object("{\"status\":\"in_progress\",\"output\":[]}"), RETRY,
                  "bad_answer");
    assert_failed(responses_object("{\"status\":\"" CUT_SECRET "\\n\\u001b[2J\"}"), RETRY,
                  "bad_answer");
}

static void garbage_is_classed(void **state)
{
    (void)state;
    static const char *const streams[] = {
        "data: {\"type\":[\n\n",
        "data: not json\n\n",
        TOLD("output_text.delta", ",\"delta\":\"\xff\xfe\""),
        "data: {}\n\ndata: [DONE]\n\n",
        TOLD("completed", ""),
        COMPLETED("1,2"),
        COMPLETED("[]"),
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        assert_failed(responses_stream(streams[i]), RETRY, "bad_answer");
    static const char *const objects[] = { "<html>",
                                           "{}",
                                           "[]",
                                           "",
                                           "{\"output\":7}",
                                           "{\"choices\":[{\"message\":{\"content\":\"x\"}}]}",
                                           "{\"status\":\"completed\",\"output\":[null]}" };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        assert_failed(responses_object(objects[i]), RETRY, "bad_answer");
}

/* ---- limits ----------------------------------------------------------------------------- */

/* Feeds the event again and again; with "%d" in it, counted. */
static size_t fed_until_refused(const char *event, size_t limit, size_t most,
                                struct model_reply **reply)
{
    const struct reader_options options = { limit, CUT_PREFIX, NULL, { 0 } };
    struct reader *r = reader_new(&openai_responses, &options, SSE_TYPE);
    const char *number = strstr(event, "%d");
    struct buf text;
    buf_init(&text, SIZE_MAX);
    size_t fed = 0;
    enum outcome outcome = OK;
    for (; fed < most && outcome == OK; fed++) {
        buf_reset(&text);
        if (number)
            buf_printf(&text, "%.*s%zu%s", (int)(number - event), event, fed, number + 2);
        else
            buf_puts(&text, event);
        outcome = reader_feed(r, text.data, text.len);
    }
    buf_release(&text);
    *reply = model_reply_new((size_t)1 << 20);
    reader_finish(r, false, *reply);
    reader_free(r);
    return fed;
}

/* A gigabyte of it would end just as early. */
static void a_large_answer_is_bounded(void **state)
{
    (void)state;
    static const char *const events[] = {
        SAY(0, "0123456789012345678901234567890123456789"),
        ARG(0, "0123456789012345678901234567890123456789"),
        THINK(0, "0123456789012345678901234567890123456789"),
        "data: {\"type\":\"response.output_item.done\",\"output_index\":%d,\"item\":{}}\n\n",
        "data: {\"type\":\"response.output_item.added\",\"output_index\":%d,\"item\":{}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"content_index\":%d,\"delta\":\"\"}\n\n",
        "data: {\"type\":\"response.refusal.delta\",\"output_index\":%d,\"delta\":\"\"}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"%d\",\"delta\":\"\"}\n\n",
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        struct model_reply *reply;
        assert_in_range(fed_until_refused(events[i], CUT_LIMIT_BYTES, 100000, &reply), 2, 99999);
        assert_failed(reply, RETRY, "answer_too_large");
    }
}

/* However often it is told, what is told once more takes no more room. */
static void what_is_told_again_is_not_counted_twice(void **state)
{
    (void)state;
    static const char *const events[] = {
        ENDED(0, MESSAGE("m", "0123456789012345678901234567890123456789")),
        TOLD("output_text.done", ",\"output_index\":0,\"text\":\"0123456789012345678901234567\""),
        ADDED(0, MESSAGE("m", "0123456789012345678901234567890123456789")),
        SAY(0, ""),
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        struct model_reply *reply;
        assert_int_equal(fed_until_refused(events[i], CUT_LIMIT_BYTES, 10000, &reply), 10000);
        assert_failed(reply, RETRY, "answer_cut");
    }
}

/* Pieces of what is there already cost no memory, but they must not cost time without
 * end either.                                                                */
static void an_answer_of_endless_repetition_ends(void **state)
{
    (void)state;
    struct items s;
    struct error err;
    items_init(&s, (size_t)4 << 20);
    json_t *event = json_pack("{s:{}}", "item");
    for (int i = 0; i < ITEMS_MAX; i++) {
        (void)json_object_set_new(event, "output_index", json_integer(i));
        assert_int_equal(items_begin(&s, event, &err), OK);
    }
    (void)json_object_set_new(event, "output_index", json_integer(ITEMS_MAX));
    assert_int_equal(items_begin(&s, event, &err), REFUSED);
    (void)json_object_set_new(event, "output_index", json_integer(0));
    json_t *text = json_string("");
    size_t fed = 0;
    while (fed < 200000 && items_add(&s, event, ITEM_TEXT, text, false, &err) == OK)
        fed++;
    assert_in_range(fed, 1000, 199999);
    json_decref(text);
    json_decref(event);
    items_release(&s);
}

/* The first events and the last one repeat the instructions and the tools. */
static void what_is_repeated_of_the_request_is_not_the_answer(void **state)
{
    (void)state;
    enum { REQUEST = 400 * 1024 };
    struct buf stream;
    buf_init(&stream, SIZE_MAX);
    buf_puts(&stream, "data: {\"type\":\"response.created\",\"response\":{\"instructions\":\"");
    for (size_t i = 0; i < REQUEST; i++)
        buf_putc(&stream, 'x');
    buf_puts(&stream, "\",\"tools\":[{\"parameters\":");
    for (int i = 0; i < 64; i++)
        buf_puts(&stream, "{\"a\":");
    buf_puts(&stream, "1");
    for (int i = 0; i < 64; i++)
        buf_puts(&stream, "}");
    buf_puts(&stream, "}]}}\n\n" SAY(0, "x") COMPLETED(""));
    for (int echo = 0; echo < 2; echo++) {
        const struct reader_options options = { CUT_LIMIT_BYTES, CUT_PREFIX, NULL, { 0 } };
        struct reader *r = reader_new(&openai_responses, &options, SSE_TYPE);
        if (echo)
            reader_expect_echo(r, REQUEST);
        (void)reader_feed(r, stream.data, stream.len);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        reader_finish(r, true, reply);
        reader_free(r);
        if (!echo) {
            assert_failed(reply, RETRY, "answer_too_large");
            continue;
        }
        assert_int_equal(reply->outcome, OK);
        assert_said(reply, 0, REPLY_TEXT, "x");
        model_reply_free(reply);
    }
    /* Room for the echo is no room for an answer. */
    buf_reset(&stream);
    buf_puts(&stream, "data: {\"type\":\"response.completed\",\"response\":{\"output\":[\"");
    for (size_t i = 0; i < (size_t)3 * CUT_LIMIT_BYTES; i++)
        buf_putc(&stream, 'x');
    buf_puts(&stream, "\"]}}\n\n");
    const struct reader_options options = { CUT_LIMIT_BYTES, CUT_PREFIX, NULL, { 0 } };
    struct reader *r = reader_new(&openai_responses, &options, SSE_TYPE);
    reader_expect_echo(r, REQUEST);
    (void)reader_feed(r, stream.data, stream.len);
    struct model_reply *reply = model_reply_new((size_t)1 << 20);
    reader_finish(r, true, reply);
    reader_free(r);
    assert_failed(reply, RETRY, "answer_too_large");
    buf_release(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_without_its_end_is_cut),
        cmocka_unit_test(the_end_is_the_end_without_the_end_of_http),
        cmocka_unit_test(says_why_the_answer_is_incomplete),
        cmocka_unit_test(errors_come_inside_a_stream),
        cmocka_unit_test(one_object_may_say_that_it_failed),
        cmocka_unit_test(garbage_is_classed),
        cmocka_unit_test(a_large_answer_is_bounded),
        cmocka_unit_test(what_is_told_again_is_not_counted_twice),
        cmocka_unit_test(an_answer_of_endless_repetition_ends),
        cmocka_unit_test(what_is_repeated_of_the_request_is_not_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
