/*
 * test_model_openai_errors.c -- what models answer on bad days: each a classed error,
 * in bounded memory, without the key that was sent.
 */
#include "tests/unit/cm.h"

#include "common/buf.h"
#include "tests/unit/chat_answers.h"
#include "tests/unit/cut_answers.h"

#include <stdlib.h>
#include <string.h>

/* ---- errors --------------------------------------------------------------------------- */

static void assert_stream_fails(const char *text, enum outcome outcome, const char *code)
{
    struct model_reply *r = read_stream(text);
    assert_int_equal(r->outcome, outcome);
    assert_string_equal(r->code, code);
    assert_true(strlen(r->error.text) > 0);
    model_reply_free(r);
}

static void errors_come_inside_a_stream(void **state)
{
    (void)state;
    assert_stream_fails(DELTA("{\"content\":\"x\"}") EVENT("{\"error\":{\"message\":\"overloaded\","
                                                           "\"type\":\"overloaded_error\"}}"),
                        RETRY, "overloaded");
    assert_stream_fails(EVENT("{\"error\":{\"code\":502,\"message\":\"bad gateway\"},\"choices\":"
                              "[{\"delta\":{},\"finish_reason\":\"error\"}]}"),
                        RETRY, "provider_error");
    assert_stream_fails(EVENT("{\"error\":{\"code\":\"401\",\"message\":\"no\"}}"), REFUSED,
                        "unauthorized");
    assert_stream_fails(EVENT("{\"error\":{\"code\":\"context_length_exceeded\",\"type\":"
                              "\"invalid_request_error\",\"message\":\"too long\"}}"),
                        REFUSED, "prompt_too_large");
    assert_stream_fails(EVENT("{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"pay\"}}"),
                        REFUSED, "quota_spent");
    assert_stream_fails("event: error\n" EVENT("{\"error\":\"just words\"}"), RETRY,
                        "provider_error");
    assert_stream_fails(DELTA("{\"content\":\"x\"}") END("error") DONE, RETRY, "provider_error");
}

static void garbage_is_classed(void **state)
{
    (void)state;
    assert_stream_fails(EVENT("{\"choices\":["), RETRY, "bad_answer");
    assert_stream_fails(EVENT("not json"), RETRY, "bad_answer");
    assert_stream_fails(EVENT("{\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}"), RETRY,
                        "bad_answer");
    assert_stream_fails(EVENT("{}") DONE, RETRY, "bad_answer");
    assert_stream_fails(DELTA("{\"tool_calls\":[1,2]}") END("tool_calls") DONE, RETRY,
                        "bad_answer");
    assert_stream_fails(DELTA("{\"function_call\":{\"name\":\"x\"}}") END("function_call") DONE,
                        RETRY, "bad_answer");
    static const char *const objects[] = {
        "<html>", "{}", "{\"choices\":[]}", "{\"choices\":[{\"message\":3}]}", "[]", ""
    };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        struct model_reply *r = read_answer(JSON_TYPE, objects[i], true);
        assert_int_equal(r->outcome, RETRY);
        assert_string_equal(r->code, "bad_answer");
        model_reply_free(r);
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_puts(&text, "data: {\"choices\":[{\"delta\":{\"x\":");
    for (int i = 0; i < 5000; i++)
        buf_putc(&text, '[');
    buf_puts(&text, "\n\n");
    struct model_reply *r =
        cut_read(&openai_chat, SSE_TYPE, text.data, text.len, text.len, text.len, true);
    assert_int_equal(r->outcome, RETRY);
    assert_string_equal(r->code, "bad_answer");
    model_reply_free(r);
    buf_release(&text);
}

/* A gigabyte of it would end just as early. */
static void a_large_answer_is_bounded(void **state)
{
    (void)state;
    static const char *const streams[] = {
        DELTA("{\"content\":\"0123456789012345678901234567890123456789\"}"),
        DELTA("{\"unknown\":[{},{},{},{},{},{},{},{}]}"),
        DELTA(
            "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"01234567890123456\"}}]}"),
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const struct reader_options options = { CUT_LIMIT_BYTES, "p", NULL, { 0 } };
        struct reader *r = reader_new(&openai_chat, &options, SSE_TYPE);
        size_t fed = 0;
        while (fed < 100000 && reader_feed(r, streams[i], strlen(streams[i])) == OK)
            fed++;
        assert_true(fed < 100000);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        reader_finish(r, false, reply);
        assert_int_equal(reply->outcome, RETRY);
        assert_string_equal(reply->code, "answer_too_large");
        model_reply_free(reply);
        reader_free(r);
    }
    static const char *const endless[] = { "{\"x\":\"", "data: ", ":" };
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) { /* no line ever ends */
        const struct reader_options options = { CUT_LIMIT_BYTES, "p", NULL, { 0 } };
        struct reader *r = reader_new(&openai_chat, &options, i == 0 ? JSON_TYPE : SSE_TYPE);
        size_t fed = 0;
        enum outcome outcome = reader_feed(r, endless[i], strlen(endless[i]));
        while (fed++ < 100000 && outcome == OK)
            outcome = reader_feed(r, "0123456789", 10);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        reader_finish(r, false, reply);
        assert_int_equal(reply->outcome, RETRY);
        model_reply_free(reply);
        reader_free(r);
    }
}

/* Pieces that name again what is there cost no memory, but they must not cost time
 * without end either.                                                        */
static void an_answer_of_endless_repetition_ends(void **state)
{
    (void)state;
    static const char *const shapes[][3] = {
        { "{\"choices\":[{\"delta\":{", "\"f%d\":\"\"", "}}]}" },
        { "{\"choices\":[{\"delta\":{\"tool_calls\":[", "{\"index\":%d}", "]}}]}" },
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const struct reader_options options = { 4 << 20, "p", NULL, { 0 } };
        struct reader *r = reader_new(&openai_chat, &options, SSE_TYPE);
        struct buf event;
        char part[40];
        buf_init(&event, SIZE_MAX);
        buf_printf(&event, "data: %s", shapes[s][0]);
        for (int i = 999; i >= 0; i--) {
            const char *percent = strstr(shapes[s][1], "%d");
            (void)snprintf(part, sizeof part, "%.*s%d%s%s", (int)(percent - shapes[s][1]),
                           shapes[s][1], i, percent + 2, i ? "," : "");
            buf_puts(&event, part);
        }
        buf_printf(&event, "%s\n\n", shapes[s][2]);
        size_t fed = 0;
        while (fed < 1000 && reader_feed(r, event.data, event.len) == OK)
            fed++;
        assert_in_range(fed, 50, 500);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        reader_finish(r, false, reply);
        assert_int_equal(reply->outcome, RETRY);
        assert_string_equal(reply->code, "answer_too_large");
        model_reply_free(reply);
        reader_free(r);
        buf_release(&event);
    }
}

static void nul_in_text_can_be_stored(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(DELTA("{\"content\":\"a\\u0000b\"}") CALL(
        0, "a", "x", "{\\\"k\\\":\\\"\\u0000\\\"}") END("tool_calls") DONE);
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0,
                "a\xef\xbf\xbd"
                "b");
    assert_true(r->items[1].altered);
    assert_contains(r->raw, "a\\u0000b");
    model_reply_free(r);
}

struct status_case {
    long status;
    const char *body;
    enum outcome outcome;
    const char *code;
};

static void statuses_are_classed(void **state)
{
    (void)state;
    static const struct status_case cases[] = {
        { 400, "{\"error\":{\"message\":\"bad\"}}", REFUSED, "bad_request" },
        { 401, "{\"error\":{\"message\":\"key\"}}", REFUSED, "unauthorized" },
        { 402, "", REFUSED, "payment_required" },
        { 403, "no", REFUSED, "forbidden" },
        { 404, "<html>", REFUSED, "not_found" },
        { 408, "", RETRY, "timeout" },
        { 409, "", RETRY, "request_refused" },
        { 413, "", REFUSED, "prompt_too_large" },
        { 422, "{\"error\":\"words\"}", REFUSED, "bad_request" },
        { 429, "{\"error\":{\"message\":\"slow down\",\"type\":\"requests\"}}", RETRY,
          "rate_limited" },
        { 429, "{\"error\":{\"message\":\"pay\",\"code\":\"insufficient_quota\"}}", REFUSED,
          "quota_spent" },
        { 429, "{\"error\":{\"message\":\"pay\",\"type\":\"insufficient_quota\"}}", REFUSED,
          "quota_spent" },
        { 429,
          "{\"error\":{\"message\":\"x\",\"details\":{\"error_code\":"
          "\"enforced_spend_limit_reached\"}}}",
          REFUSED, "quota_spent" },
        { 500, "{\"error\":{\"message\":\"oops\"}}", RETRY, "provider_error" },
        { 503, "", RETRY, "overloaded" },
        { 529, "{\"error\":{\"type\":\"overloaded_error\"}}", RETRY, "overloaded" },
        { 302, "", REFUSED, "bad_answer" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_reply *r = model_reply_new(1024);
        model_read_error(cases[i].status, cases[i].body, strlen(cases[i].body), NULL, r);
        assert_int_equal(r->outcome, cases[i].outcome);
        assert_string_equal(r->code, cases[i].code);
        model_reply_free(r);
    }
}

static void the_key_never_stands_in_an_error(void **state)
{
    (void)state;
    static const char key[] = "sk-very-secret";
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"Incorrect API key provided: sk-very-secret. See "
        "sk-very-secret\"}}",
        "{\"error\":\"sk-very-secret\"}",
        "plain words about sk-very-secret",
        "",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct model_reply *r = model_reply_new(1024);
        model_read_error(401, bodies[i], strlen(bodies[i]), key, r);
        assert_null(strstr(r->error.text, "very"));
        model_reply_free(r);
    }
    /* Also where the text is cut in the middle of it. */
    for (int pad = 0; pad < 260; pad++) {
        char body[400];
        int n = snprintf(body, sizeof body, "%*s%s", pad, "", key);
        struct model_reply *r = model_reply_new(1024);
        model_read_error(500, body, (size_t)n, key, r);
        assert_null(strstr(r->error.text, "sk-"));
        model_reply_free(r);
    }
    struct model_reply *r = read_stream(EVENT("{\"error\":{\"message\":\"sk-very-secret\"}}"));
    assert_null(strstr(r->error.text, "very"));
    model_reply_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_come_inside_a_stream),
        cmocka_unit_test(garbage_is_classed),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(a_large_answer_is_bounded),
        cmocka_unit_test(an_answer_of_endless_repetition_ends),
        cmocka_unit_test(nul_in_text_can_be_stored),
        cmocka_unit_test(statuses_are_classed),
        cmocka_unit_test(the_key_never_stands_in_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
