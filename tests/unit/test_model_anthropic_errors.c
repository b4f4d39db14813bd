/*
 * test_model_anthropic_errors.c -- what models of the dialect "Anthropic messages"
 * answer on bad days: each a classed error, in bounded memory, without the key.
 */
#include "tests/unit/cm.h"

#include "common/buf.h"
#include "planner/reader.h"
#include "tests/unit/anthropic_answers.h"

#include <stdint.h>

static void assert_fails(struct model_reply *r, enum outcome outcome, const char *code)
{
    assert_int_equal(r->outcome, outcome);
    assert_string_equal(r->code, code);
    assert_true(strlen(r->error.text) > 0);
    assert_null(strstr(r->error.text, "very-secret"));
    model_reply_free(r);
}

#define ERROR(type, rest) \
    TOLD("error", ",\"error\":{\"type\":\"" type "\",\"message\":\"sk-very-secret\"" rest "}")

static void errors_come_inside_a_stream(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum outcome outcome;
        const char *code;
    } cases[] = {
        { ERROR("overloaded_error", ""), RETRY, "overloaded" },
        { ERROR("rate_limit_error", ""), RETRY, "rate_limited" },
        { ERROR("api_error", ",\"details\":null"), RETRY, "provider_error" },
        { ERROR("timeout_error", ""), RETRY, "timeout" },
        { ERROR("something_new", ""), RETRY, "provider_error" },
        { ERROR("invalid_request_error", ""), REFUSED, "request_refused" },
        { ERROR("authentication_error", ""), REFUSED, "request_refused" },
        { ERROR("permission_error", ""), REFUSED, "request_refused" },
        { ERROR("not_found_error", ""), REFUSED, "request_refused" },
        { ERROR("billing_error", ""), REFUSED, "payment_required" },
        { ERROR("rate_limit_error", ",\"details\":{\"error_code\":\"enforced_spend_limit_reached\""
                                    "}"),
          REFUSED, "quota_spent" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(anthropic_stream(cases[i].text), cases[i].outcome, cases[i].code);
        AUTO_BUF struct buf late;
        buf_init(&late, SIZE_MAX);
        buf_puts(&late, BEGIN TEXT(0) SAY(0, "well"));
        buf_puts(&late, cases[i].text);
        assert_fails(anthropic_stream(late.data), cases[i].outcome, cases[i].code);
    }
    assert_fails(anthropic_object("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}"),
                 RETRY, "overloaded");
}

static void garbage_is_classed(void **state)
{
    (void)state;
    static const char *const streams[] = {
        BEGIN "data: not json\n\n",
        BEGIN "data: {\"type\":\n\n",
        BEGIN "data: {\"type\":\"\xff\xfe\"}\n\n",
        BEGIN START(0, "\"text\":\"of no type\"") END("end_turn"),
        BEGIN START(0, "\"type\":3") END("end_turn"),
        "data: {}\n\n" TOLD("message_stop", ""),
        "data: [DONE]\n\n",
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        assert_fails(anthropic_stream(streams[i]), RETRY, "bad_answer");
    static const char *const objects[] = {
        "<html>", "{}", "{\"content\":3}", "{\"content\":[3]}", "{\"content\":[{}]}", "[]", ""
    };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        assert_fails(anthropic_object(objects[i]), RETRY, "bad_answer");
}

static void a_large_answer_is_bounded(void **state)
{
    (void)state;
    static const char *const streams[] = {
        SAY(0, "0123456789012345678901234567890123456789"),
        ARG(0, "0123456789012345678901234567890123456789"),
        PIECE(0, "unknown_delta", "\"unknown\":[{},{},{},{},{},{},{},{}]"),
        PIECE(0, "citations_delta", "\"citation\":{}"),
        CALL(0, "a", "x"),
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const struct reader_options options = { .output_limit_bytes = CUT_LIMIT_BYTES,
                                                .call_prefix = "p" };
        struct reader *r = reader_new(&anthropic, &options, SSE_TYPE);
        size_t fed = 0;
        while (fed < 100000 && reader_feed(r, streams[i], strlen(streams[i])) == OK)
            fed++;
        assert_in_range(fed, 10, 99999);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        reader_finish(r, false, reply);
        assert_fails(reply, RETRY, "answer_too_large");
        reader_free(r);
    }
    AUTO_BUF struct buf many;
    buf_init(&many, SIZE_MAX);
    buf_puts(&many, "{\"content\":[");
    for (int i = 0; i <= MODEL_CALLS_MAX; i++)
        buf_puts(&many, i ? ",{\"type\":\"x\"}" : "{\"type\":\"x\"}");
    buf_puts(&many, "],\"stop_reason\":\"end_turn\"}");
    assert_fails(cut_read(&anthropic, JSON_TYPE, many.data, many.len, 1, 4096, true), RETRY,
                 "bad_answer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_come_inside_a_stream),
        cmocka_unit_test(garbage_is_classed),
        cmocka_unit_test(a_large_answer_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
