/*
 * test_tool_verdict.c -- the tables of verdict.h and probe.h, row by row.
 */
#include "tests/unit/cm.h"

#include "executor/probe.h"
#include "executor/verdict.h"

enum kind { ONCE, IDEMPOTENT, READ_ONLY };

static struct verdict v;

static int setup(void **state)
{
    (void)state;
    verdict_init(&v);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    verdict_release(&v);
    return 0;
}

static struct tool_def tool_of(enum kind kind)
{
    return (struct tool_def){
        .name = "tool",
        .read_only = kind == READ_ONLY,
        .idempotent = kind == IDEMPOTENT,
        .key_mode = TOOL_KEY_QUOTED,
        .max_result_bytes = 64,
    };
}

static struct http_result ended(enum http_end end, long status, const char *body)
{
    struct http_result r = {
        .end = end,
        .maybe_sent = end != HTTP_NOT_SENT,
        .status = status,
        .body = body,
        .body_bytes = strlen(body),
        .retry_after_ms = -1,
        .content_type = "",
        .took_ms = 7,
    };
    if (end != HTTP_ANSWERED)
        (void)snprintf(r.error.text, sizeof r.error.text, "host:1: why");
    return r;
}

static const struct tool_answer *judge(enum kind kind, struct http_result r)
{
    struct tool_def def = tool_of(kind);
    verdict_of_call(&v, &(struct verdict_case){
                            .def = &def, .result = &r, .announced_bytes = -1, .attempt = 1 });
    return &v.answer;
}

struct row {
    enum http_end end;
    long status;
    enum kind kind;
    enum store_call_outcome outcome;
    bool again;
};

static const struct row rows[] = {
    { HTTP_ANSWERED, 200, ONCE, STORE_CALL_SUCCEEDED, false },
    { HTTP_ANSWERED, 204, IDEMPOTENT, STORE_CALL_SUCCEEDED, false },
    { HTTP_TOO_LARGE, 200, ONCE, STORE_CALL_SUCCEEDED, false },
    { HTTP_TOO_LARGE, 200, READ_ONLY, STORE_CALL_SUCCEEDED, false },
    { HTTP_TOO_LARGE, 0, ONCE, STORE_CALL_UNKNOWN, false }, /* the head was too large */
    { HTTP_NOT_SENT, 0, ONCE, STORE_CALL_FAILED_BEFORE_EFFECT, true },
    { HTTP_NOT_SENT, 0, READ_ONLY, STORE_CALL_FAILED_BEFORE_EFFECT, true },
    { HTTP_CUT, 0, ONCE, STORE_CALL_UNKNOWN, false },
    { HTTP_CUT, 200, ONCE, STORE_CALL_UNKNOWN, false },
    { HTTP_CUT, 500, ONCE, STORE_CALL_UNKNOWN, false },
    { HTTP_CUT, 0, IDEMPOTENT, STORE_CALL_UNKNOWN, true },
    { HTTP_CUT, 0, READ_ONLY, STORE_CALL_FAILED, true },
    { HTTP_TIMED_OUT, 0, ONCE, STORE_CALL_UNKNOWN, false },
    { HTTP_TIMED_OUT, 200, IDEMPOTENT, STORE_CALL_UNKNOWN, true },
    { HTTP_TIMED_OUT, 0, READ_ONLY, STORE_CALL_FAILED, true },
    { HTTP_STOPPED, 0, ONCE, STORE_CALL_UNKNOWN, false },
    { HTTP_ANSWERED, 409, ONCE, STORE_CALL_UNKNOWN, false },
    { HTTP_ANSWERED, 409, IDEMPOTENT, STORE_CALL_FAILED, true },
    { HTTP_ANSWERED, 409, READ_ONLY, STORE_CALL_FAILED, true },
    { HTTP_ANSWERED, 408, ONCE, STORE_CALL_FAILED, false },
    { HTTP_ANSWERED, 408, IDEMPOTENT, STORE_CALL_FAILED, true },
    { HTTP_ANSWERED, 425, READ_ONLY, STORE_CALL_FAILED, true },
    { HTTP_ANSWERED, 429, ONCE, STORE_CALL_FAILED, false },
    { HTTP_ANSWERED, 429, READ_ONLY, STORE_CALL_FAILED, true },
    { HTTP_ANSWERED, 500, ONCE, STORE_CALL_FAILED, false },
    { HTTP_ANSWERED, 503, IDEMPOTENT, STORE_CALL_FAILED, true },
    { HTTP_ANSWERED, 302, ONCE, STORE_CALL_FAILED, false },
    { HTTP_ANSWERED, 302, READ_ONLY, STORE_CALL_FAILED, false },
    { HTTP_ANSWERED, 404, IDEMPOTENT, STORE_CALL_FAILED, false },
    { HTTP_ANSWERED, 422, IDEMPOTENT, STORE_CALL_FAILED, false },
};

static void every_end_has_its_outcome(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        const char *body = row->status ? "the body" : "";
        const struct tool_answer *a = judge(row->kind, ended(row->end, row->status, body));
        if (a->outcome != row->outcome || (a->retry_ms >= 0) != row->again)
            fail_msg("row %zu: %s, retry in %d ms", i, store_call_outcome_name(a->outcome),
                     (int)a->retry_ms);
        assert_int_equal(a->error == NULL, a->outcome == STORE_CALL_SUCCEEDED);
        assert_int_equal(a->code == NULL, a->outcome == STORE_CALL_SUCCEEDED);
        assert_int_equal(a->maybe_sent, row->end != HTTP_NOT_SENT);
    }
}

static void a_conflict_without_a_key_is_a_failure(void **state)
{
    (void)state;
    struct tool_def def = tool_of(ONCE);
    def.key_mode = TOOL_KEY_NONE;
    struct http_result r = ended(HTTP_ANSWERED, 409, "taken");
    verdict_of_call(&v, &(struct verdict_case){ .def = &def, .result = &r, .attempt = 1 });
    assert_int_equal(v.answer.outcome, STORE_CALL_FAILED);
}

static void a_hopeless_request_is_not_tried_again(void **state)
{
    (void)state;
    struct http_result r = ended(HTTP_NOT_SENT, 0, "");
    r.hopeless = true;
    const struct tool_answer *a = judge(IDEMPOTENT, r);
    assert_int_equal(a->outcome, STORE_CALL_FAILED_BEFORE_EFFECT);
    assert_int_equal(a->retry_ms, TOOL_NO_RETRY);
}

static void the_model_reads_status_and_body(void **state)
{
    (void)state;
    const struct tool_answer *a = judge(ONCE, ended(HTTP_ANSWERED, 422, "{\"why\":\"no\"}"));
    assert_string_equal(a->result, "the tool answered with HTTP status 422:\n{\"why\":\"no\"}");
    assert_string_equal(a->code, "http_422");
    a = judge(ONCE, ended(HTTP_ANSWERED, 500, ""));
    assert_null(a->result);
    assert_string_equal(a->error, "the tool answered with HTTP status 500");
    a = judge(ONCE, ended(HTTP_CUT, 0, ""));
    assert_contains(a->error, "may have run");
    assert_contains(a->error, "host:1: why");
}

static void a_result_over_the_bound_is_cut(void **state)
{
    (void)state;
    char body[66];
    memset(body, 'x', 65);
    body[65] = '\0';
    const struct tool_answer *a = judge(ONCE, ended(HTTP_TOO_LARGE, 200, body));
    assert_contains(a->result, "xxx\n[The answer of the tool was cut: its first 64 bytes");
}

static void waiting_grows_and_obeys_the_server(void **state)
{
    (void)state;
    assert_int_equal(verdict_backoff_ms(1, 0), 500);
    assert_int_equal(verdict_backoff_ms(3, 0), 2000);
    assert_int_equal(verdict_backoff_ms(100, 0), 60000);
    assert_int_equal(verdict_backoff_ms(100, 999), 60000 + 11988);
    struct http_result r = ended(HTTP_ANSWERED, 429, "");
    r.retry_after_ms = 7000;
    assert_int_equal(judge(READ_ONLY, r)->retry_ms, 7000);
    r.retry_after_ms = 1;
    assert_true(judge(READ_ONLY, r)->retry_ms >= 500);
}

/* ---- probes --------------------------------------------------------------------- */

static const struct tool_answer *probe(struct http_result r)
{
    struct tool_def def = tool_of(ONCE);
    probe_verdict(&v, &(struct verdict_case){
                          .def = &def, .result = &r, .announced_bytes = -1, .attempt = 1 });
    return &v.answer;
}

struct probe_row {
    enum http_end end;
    long status;
    const char *body;
    enum store_call_outcome outcome;
    const char *result;
};

static const struct probe_row probe_rows[] = {
    { HTTP_ANSWERED, 200, "{\"happened\": true, \"result\": \"R-1\"}", STORE_PROBE_HAPPENED,
      "R-1" },
    { HTTP_ANSWERED, 200, " {\"happened\": true, \"result\": {\"b\":1,\"a\":2}}",
      STORE_PROBE_HAPPENED, "{\"a\":2,\"b\":1}" },
    { HTTP_ANSWERED, 200, "{\"happened\": true}", STORE_PROBE_HAPPENED, "{\"happened\":true}" },
    { HTTP_ANSWERED, 200, "{\"happened\": true, \"result\": null}", STORE_PROBE_HAPPENED, "null" },
    { HTTP_ANSWERED, 200, "{\"happened\": false}", STORE_PROBE_DID_NOT_HAPPEN, NULL },
    { HTTP_ANSWERED, 200, "{\"happened\": \"perhaps\"}", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 200, "{\"happened\": null}", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 200, "{\"happened\": fal", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 200, "{\"invoice\": 7}", STORE_PROBE_HAPPENED, "{\"invoice\": 7}" },
    { HTTP_ANSWERED, 200, "[7]", STORE_PROBE_HAPPENED, "[7]" },
    { HTTP_ANSWERED, 200, "sent on Monday", STORE_PROBE_HAPPENED, "sent on Monday" },
    { HTTP_ANSWERED, 200, "", STORE_PROBE_HAPPENED, "" },
    { HTTP_TOO_LARGE, 200, "{\"happened\": false, \"x\": \"", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 404, "", STORE_PROBE_DID_NOT_HAPPEN, NULL },
    { HTTP_ANSWERED, 401, "", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 204, "", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 302, "", STORE_PROBE_UNSURE, NULL },
    { HTTP_ANSWERED, 503, "", STORE_PROBE_FAILED, NULL },
    { HTTP_ANSWERED, 429, "", STORE_PROBE_FAILED, NULL },
    { HTTP_NOT_SENT, 0, "", STORE_PROBE_FAILED, NULL },
    { HTTP_CUT, 200, "{\"happened\": false}", STORE_PROBE_FAILED, NULL },
    { HTTP_TIMED_OUT, 0, "", STORE_PROBE_FAILED, NULL },
};

static void every_probe_has_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof probe_rows / sizeof *probe_rows; i++) {
        const struct probe_row *row = &probe_rows[i];
        const struct tool_answer *a = probe(ended(row->end, row->status, row->body));
        if (a->outcome != row->outcome)
            fail_msg("row %zu: %s", i, store_call_outcome_name(a->outcome));
        assert_int_equal(a->retry_ms >= 0, row->outcome == STORE_PROBE_FAILED);
        if (row->result)
            assert_string_equal(a->result, row->result);
        else
            assert_null(a->result);
    }
}

static void the_key_stands_in_the_probes_url(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    struct error err;
    struct uuid key;
    assert_ok(uuid_parse("0190a1b2-0000-4000-8000-00000000abcd", &key, &err), &err);
    struct tool_def def = { .probe_url = "http://h/{key}/x?k={key}" };
    assert_string_equal(probe_url(&def, &key, &arena),
                        "http://h/0190a1b2-0000-4000-8000-00000000abcd/x?k="
                        "0190a1b2-0000-4000-8000-00000000abcd");
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_end_has_its_outcome),
        cmocka_unit_test(a_conflict_without_a_key_is_a_failure),
        cmocka_unit_test(a_hopeless_request_is_not_tried_again),
        cmocka_unit_test(the_model_reads_status_and_body),
        cmocka_unit_test(a_result_over_the_bound_is_cut),
        cmocka_unit_test(waiting_grows_and_obeys_the_server),
        cmocka_unit_test(every_probe_has_its_verdict),
        cmocka_unit_test(the_key_stands_in_the_probes_url),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
