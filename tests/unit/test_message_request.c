/*
 * test_message_request.c -- requests in all their forms, good and bad.
 */
#include "tests/unit/cm.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/message.h"

#include <stdlib.h>

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

enum { HEADERS_MAX = 16 };

/* One record being made, its arena, and what reading it answered. */
struct sample {
    struct record_header headers[HEADERS_MAX];
    struct record_view rec;
    struct request_limits limits;
    struct arena arena;
    struct run_request request;
    struct error err;
};

static void header(struct sample *s, const char *name, const char *value)
{
    assert_true(s->rec.n_headers < HEADERS_MAX);
    s->headers[s->rec.n_headers++] =
        (struct record_header){ name, value, value ? strlen(value) : 0 };
}

static struct sample *bare(const char *value)
{
    struct sample *s = xcalloc(1, sizeof *s);
    s->rec = (struct record_view){ .topic = "pawl.run-requests",
                                   .partition = 3,
                                   .offset = 42,
                                   .timestamp_ms = 1763999999999,
                                   .value = value,
                                   .value_n = value ? strlen(value) : 0,
                                   .headers = s->headers };
    arena_init(&s->arena, 4 << 20);
    return s;
}

static struct sample *binary(const char *value)
{
    struct sample *s = bare(value);
    header(s, "ce_specversion", "1.0");
    header(s, "ce_type", REQUEST_TYPE);
    header(s, "ce_source", "/shop/orders");
    header(s, "ce_id", "order-7");
    header(s, "content-type", "application/json; charset=utf-8");
    return s;
}

static struct sample *structured(const char *value)
{
    struct sample *s = bare(value);
    header(s, "content-type", "Application/CloudEvents+JSON; charset=UTF-8");
    return s;
}

static enum outcome read_sample(struct sample *s)
{
    return request_read(&s->rec, &s->limits, &s->arena, &s->request, &s->err);
}

static void assert_taken(struct sample *s)
{
    assert_ok(read_sample(s), &s->err);
    assert_int_equal(s->request.fault, REQUEST_FINE);
}

static void discard(struct sample *s)
{
    arena_free(&s->arena);
    free(s);
}

/* Reads it, expects a refusal with that code and a text that says `part`. */
static void assert_refused_at(struct sample *s, const char *code, const char *part, int line)
{
    if (read_sample(s) != REFUSED)
        fail_at(__FILE__, line, "was taken");
    if (strcmp(request_fault_code(s->request.fault), code) != 0)
        fail_at(__FILE__, line, "code %s: %s", request_fault_code(s->request.fault), s->err.text);
    assert_contains_at(s->err.text, part, __FILE__, line);
    discard(s);
}
#define assert_refused(sample, code, part) assert_refused_at((sample), (code), (part), __LINE__)

#define BODY "{\"agent\":\"billing\",\"input\":\"send invoices\"}"
#define EVENT(rest)                                     \
    "{\"specversion\":\"1.0\",\"type\":\"" REQUEST_TYPE \
    "\",\"source\":\"/shop\",\"id\":\"s-1\"" rest "}"

/* ---- good ones ----------------------------------------------------------------- */

static void a_bare_request_is_known_by_its_place(void **state)
{
    struct sample *s = bare(BODY);
    (void)state;
    assert_taken(s);
    assert_string_equal(s->request.source, "kafka:pawl.run-requests");
    assert_string_equal(s->request.id, "pawl.run-requests/3/42@1763999999999");
    assert_string_equal(s->request.agent, "billing");
    assert_string_equal(s->request.type, REQUEST_TYPE);
    assert_string_equal(json_string_value(s->request.input), "send invoices");
    assert_int_equal(s->request.deadline_wall_ms, 0);
    assert_null(s->request.asked_tenant);
    assert_null(s->request.class);
    assert_null(s->request.traceparent);
    assert_null(s->request.subject);
    discard(s);
}

static void a_bare_request_may_say_more(void **state)
{
    struct sample *s = bare("{\"agent\":\"billing\",\"input\":{\"a\":[1,2]},\"id\":\"mine\","
                            "\"deadline\":\"2025-11-24T17:00:00+01:00\",\"future\":1,"
                            "\"tenant\":\"acme\",\"class\":\"batch\"}");
    (void)state;
    header(s, "traceparent", TRACE);
    header(s, "tracestate", "a=1,b=2");
    assert_taken(s);
    assert_string_equal(s->request.source, "kafka:pawl.run-requests");
    assert_string_equal(s->request.id, "mine");
    assert_int_equal(json_array_size(json_object_get(s->request.input, "a")), 2);
    assert_int_equal(s->request.deadline_wall_ms, 1764000000000);
    assert_string_equal(s->request.asked_tenant, "acme");
    assert_string_equal(s->request.class, "batch");
    assert_string_equal(s->request.traceparent, TRACE);
    assert_string_equal(s->request.tracestate, "a=1,b=2");
    discard(s);
}

static void deadlines_are_judged_by_postgres(void **state)
{
    struct sample *s = bare("{\"agent\":\"a\",\"input\":1,\"timeout\":\"10m\"}");
    struct sample *past =
        bare("{\"agent\":\"a\",\"input\":1,\"deadline\":\"2001-01-01T00:00:00Z\"}");
    struct sample *first =
        bare("{\"agent\":\"a\",\"input\":1,\"deadline\":\"1970-01-01T00:00:00Z\"}");
    (void)state;
    assert_taken(s);
    assert_int_equal(s->request.deadline_wall_ms, 0);
    assert_int_equal(s->request.timeout_ms, 600000);
    assert_taken(past);
    assert_int_equal(past->request.deadline_wall_ms, INT64_C(978307200000));
    assert_int_equal(past->request.timeout_ms, 0);
    assert_taken(first);
    assert_true(first->request.deadline_wall_ms < 0);
    discard(s);
    discard(past);
    discard(first);
}

static void a_budget_is_read(void **state)
{
    struct sample *both =
        bare("{\"agent\":\"a\",\"input\":1,\"budget\":{\"tokens\":5000,\"cost\":0.29}}");
    struct sample *one = bare("{\"agent\":\"a\",\"input\":1,\"budget\":{\"cost\":2}}");
    struct sample *none = bare("{\"agent\":\"a\",\"input\":1,\"budget\":null}");
    (void)state;
    assert_taken(both);
    assert_int_equal(both->request.budget_tokens, 5000);
    assert_int_equal(both->request.budget_micros, 290000);
    assert_taken(one);
    assert_int_equal(one->request.budget_tokens, 0);
    assert_int_equal(one->request.budget_micros, 2000000);
    assert_taken(none);
    assert_int_equal(none->request.budget_micros, 0);
    assert_false(digest_eq(&both->request.digest, &one->request.digest));
    discard(both);
    discard(one);
    discard(none);
}

static void a_binary_cloudevent_is_read(void **state)
{
    struct sample *s = binary(BODY);
    (void)state;
    header(s, "ce_subject", "order 7");
    header(s, "ce_time", "2025-11-24T16:00:00Z");
    header(s, "ce_datacontenttype", "application/json");
    header(s, "ce_partitionkey", "k");
    header(s, "ce_myextension", "x");
    header(s, "ce_traceparent", TRACE);
    assert_taken(s);
    assert_string_equal(s->request.source, "/shop/orders");
    assert_string_equal(s->request.id, "order-7");
    assert_string_equal(s->request.subject, "order 7");
    assert_string_equal(s->request.agent, "billing");
    assert_string_equal(s->request.content_type, "application/json; charset=utf-8");
    assert_string_equal(s->request.traceparent, TRACE);
    discard(s);

    s = binary(BODY); /* without content-type: JSON is implied */
    s->headers[4].name = "x-other";
    assert_taken(s);
    assert_null(s->request.content_type);
    discard(s);
}

static void a_structured_cloudevent_is_read(void **state)
{
    (void)state;
    struct sample *s = structured(EVENT(",\"subject\":\"x\",\"traceparent\":\"" TRACE "\","
                                        "\"datacontenttype\":\"application/vnd.shop+json\","
                                        "\"ext\":7,\"data\":" BODY));
    assert_taken(s);
    assert_string_equal(s->request.source, "/shop");
    assert_string_equal(s->request.id, "s-1");
    assert_string_equal(s->request.subject, "x");
    assert_string_equal(s->request.agent, "billing");
    assert_string_equal(s->request.traceparent, TRACE);
    assert_string_equal(s->request.content_type, "application/vnd.shop+json");
    discard(s);

    /* data as base64 of {"agent":"a","input":1}, and of one and two bytes less */
    s = structured(EVENT(",\"data_base64\":\"eyJhZ2VudCI6ImEiLCJpbnB1dCI6MX0=\""));
    assert_taken(s);
    assert_string_equal(s->request.agent, "a");
    discard(s);
    s = structured(EVENT(",\"data_base64\":\"eyJhZ2VudCI6ImFiIiwiaW5wdXQiOjF9\""));
    assert_taken(s);
    assert_string_equal(s->request.agent, "ab");
    discard(s);
    s = structured(EVENT(",\"data_base64\":\"eyJhZ2VudCI6ImFiYyIsImlucHV0IjoxfQ==\""));
    assert_taken(s);
    assert_string_equal(s->request.agent, "abc");
    discard(s);
}

static void trace_context_has_an_order(void **state)
{
    static const char other[] = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";
    (void)state;
    struct sample *s = binary(BODY);
    header(s, "ce_traceparent", other);
    header(s, "traceparent", TRACE);
    assert_taken(s);
    assert_string_equal(s->request.traceparent, TRACE);
    discard(s);

    /* What is not well-formed is left out, and the request goes on. */
    static const char *const bad[] = {
        "",
        "x",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s = binary(BODY);
        header(s, "traceparent", bad[i]);
        header(s, "tracestate", "a=1");
        assert_taken(s);
        assert_null(s->request.traceparent);
        assert_null(s->request.tracestate);
        discard(s);
    }
    s = binary(BODY);
    header(s, "traceparent", TRACE);
    header(s, "tracestate", "a=\x01");
    assert_taken(s);
    assert_null(s->request.tracestate);
    discard(s);
}

/* ---- the digest ------------------------------------------------------------------ */

static struct digest digest_of_request(struct sample *s)
{
    assert_taken(s);
    struct digest digest = s->request.digest;
    discard(s);
    return digest;
}

static void the_digest_is_of_what_is_asked(void **state)
{
    (void)state;
    struct digest a = digest_of_request(bare(BODY));
    struct digest reordered =
        digest_of_request(bare("{ \"input\":\"send invoices\", \"agent\" : \"billing\" }"));
    struct digest wrapped = digest_of_request(binary(BODY));
    struct digest other = digest_of_request(bare("{\"agent\":\"billing\",\"input\":\"other\"}"));
    struct digest late = digest_of_request(
        bare("{\"agent\":\"billing\",\"input\":\"send invoices\",\"timeout\":\"1h\"}"));
    assert_true(digest_eq(&a, &reordered));
    assert_true(digest_eq(&a, &wrapped));
    assert_false(digest_eq(&a, &other));
    assert_false(digest_eq(&a, &late));
}

/* ---- bad ones ----------------------------------------------------------------------- */

static void values_that_are_no_json_are_refused(void **state)
{
    (void)state;
    assert_refused(bare(NULL), "null_value", "null");
    assert_refused(binary(NULL), "null_value", "null");
    assert_refused(bare(""), "bad_json", "the value");
    assert_refused(bare("{"), "bad_json", "the value");
    assert_refused(bare("{\"agent\":\"a\",\"agent\":\"b\",\"input\":1}"), "bad_json", "");
    assert_refused(bare("{\"agent\":\"a\",\"input\":\"\xff\"}"), "not_utf8", "the value");
    assert_refused(bare("{\"agent\":\"a\",\"input\":\"\xc0\xaf\"}"), "not_utf8", "the value");
    assert_refused(bare("\xff\xfe"), "not_utf8", "the value");

    struct sample *s = bare(BODY);
    s->limits.bytes = strlen(BODY) - 1;
    assert_refused(s, "too_large", "bytes");
    s = bare("{\"agent\":\"a\",\"input\":[[[[1]]]]}");
    s->limits.depth = 4;
    assert_refused(s, "too_deep", "4 levels");

    char *deep = xmalloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    assert_refused(bare(deep), "too_deep", "64 levels");
    free(deep);
}

static void bad_fields_are_refused_by_name(void **state)
{
    static const struct {
        const char *body, *code, *part;
    } cases[] = {
        { "[]", "wrong_type", "JSON object" },
        { "\"x\"", "wrong_type", "JSON object" },
        { "{\"input\":1}", "missing_field", "'agent'" },
        { "{\"agent\":null,\"input\":1}", "missing_field", "'agent'" },
        { "{\"agent\":7,\"input\":1}", "wrong_type", "'agent'" },
        { "{\"agent\":\"\",\"input\":1}", "bad_value", "'agent'" },
        { "{\"agent\":\"a\\u0000b\",\"input\":1}", "bad_value", "'agent'" },
        { "{\"agent\":\"a\"}", "missing_field", "'input'" },
        { "{\"agent\":\"a\",\"input\":null}", "missing_field", "'input'" },
        { "{\"agent\":\"a\",\"input\":1,\"tenant\":{}}", "wrong_type", "'tenant'" },
        { "{\"agent\":\"a\",\"input\":1,\"class\":[]}", "wrong_type", "'class'" },
        { "{\"agent\":\"a\",\"input\":1,\"deadline\":5}", "wrong_type", "'deadline'" },
        { "{\"agent\":\"a\",\"input\":1,\"deadline\":\"soon\"}", "bad_value", "'deadline'" },
        { "{\"agent\":\"a\",\"input\":1,\"timeout\":\"soon\"}", "bad_value", "'timeout'" },
        { "{\"agent\":\"a\",\"input\":1,\"timeout\":\"0s\"}", "bad_value", "'timeout'" },
        { "{\"agent\":\"a\",\"input\":1,\"timeout\":60}", "wrong_type", "'timeout'" },
        { "{\"agent\":\"a\",\"input\":1,\"budget\":5}", "wrong_type", "'budget'" },
        { "{\"agent\":\"a\",\"input\":1,\"budget\":{\"tokens\":1.5}}", "wrong_type",
          "'budget.tokens'" },
        { "{\"agent\":\"a\",\"input\":1,\"budget\":{\"tokens\":0}}", "bad_value",
          "'budget.tokens'" },
        { "{\"agent\":\"a\",\"input\":1,\"budget\":{\"cost\":\"1\"}}", "wrong_type",
          "'budget.cost'" },
        { "{\"agent\":\"a\",\"input\":1,\"budget\":{\"cost\":0}}", "bad_value", "'budget.cost'" },
        { "{\"agent\":\"a\",\"input\":1,\"budget\":{\"cost\":1e300}}", "bad_value",
          "'budget.cost'" },
        { "{\"agent\":\"a\",\"input\":1,\"timeout\":\"1m\",\"deadline\":\"2035-01-01T00:00:00Z\"}",
          "bad_value", "'deadline' and 'timeout'" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_refused(bare(cases[i].body), cases[i].code, cases[i].part);
        assert_refused(binary(cases[i].body), cases[i].code, cases[i].part);
    }
    assert_refused(bare("{\"agent\":\"a\",\"input\":1,\"id\":7}"), "wrong_type", "'id'");
    assert_refused(bare("{\"agent\":\"a\",\"input\":1,\"id\":\"\"}"), "bad_value", "'id'");

    char text[400];
    (void)snprintf(text, sizeof text, "{\"agent\":\"%0200d\",\"input\":1}", 7);
    assert_refused(bare(text), "too_large", "'agent'");
}

static void bad_envelopes_are_refused_by_name(void **state)
{
    static const char *const needed[] = { "ce_specversion", "ce_type", "ce_source", "ce_id" };
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct sample *s = binary(BODY);
        s->headers[i].name = "x-other";
        assert_refused(s, "missing_field", needed[i]);
        s = binary(BODY);
        s->headers[i].value = NULL;
        assert_refused(s, "missing_field", needed[i]);
        s = binary(BODY);
        s->headers[i].value = "\xff";
        s->headers[i].value_n = 1;
        assert_refused(s, "not_utf8", needed[i]);
    }
    struct sample *s = binary(BODY);
    s->headers[0].value = "0.3";
    assert_refused(s, "bad_type", "specversion");
    s = binary(BODY);
    s->headers[1].value = "com.example.other";
    s->headers[1].value_n = strlen("com.example.other");
    assert_refused(s, "bad_type", REQUEST_TYPE);
    s = binary(BODY);
    s->headers[4].value = "text/plain";
    s->headers[4].value_n = strlen("text/plain");
    assert_refused(s, "bad_type", "text/plain");
    s = binary(BODY);
    s->headers[3].value_n = 0;
    assert_refused(s, "bad_value", "ce_id");

    s = bare("[]");
    header(s, "content-type", "application/cloudevents-batch+json");
    assert_refused(s, "bad_type", "content-type");
    s = bare("x");
    header(s, "content-type", "application/cloudevents+avro");
    assert_refused(s, "bad_type", "content-type");
    assert_refused(structured("[]"), "wrong_type", "JSON object");
    assert_refused(structured("{}"), "missing_field", "'specversion'");
    assert_refused(structured(EVENT("")), "missing_field", "'data'");
    assert_refused(structured(EVENT(",\"data\":null")), "wrong_type", "JSON object");
    assert_refused(structured(EVENT(",\"data\":\"text\"")), "wrong_type", "JSON object");
    assert_refused(structured(EVENT(",\"data_base64\":7")), "wrong_type", "'data_base64'");
    assert_refused(structured(EVENT(",\"data_base64\":\"abc\"")), "bad_value", "'data_base64'");
    assert_refused(structured(EVENT(",\"data_base64\":\"a=bc\"")), "bad_value", "'data_base64'");
    assert_refused(structured(EVENT(",\"data_base64\":\"gICA\"")), "not_utf8", "'data_base64'");
    assert_refused(structured(EVENT(",\"datacontenttype\":\"text/xml\",\"data\":{}")), "bad_type",
                   "text/xml");
}

static void a_topic_serves_its_own_tenant_and_class(void **state)
{
    static const char body[] =
        "{\"agent\":\"a\",\"input\":1,\"tenant\":\"acme\",\"class\":\"batch\"}";
    (void)state;
    struct sample *s = bare(body);
    s->limits.tenant = "acme";
    s->limits.class = "batch";
    assert_taken(s);
    discard(s);
    s = bare(body);
    s->limits.tenant = "other";
    assert_refused(s, "bad_value", "'tenant' is 'acme'");
    s = bare(body);
    s->limits.class = "interactive";
    assert_refused(s, "bad_value", "serves 'interactive'");
    s = bare(BODY); /* who says nothing means the topic's */
    s->limits.tenant = "other";
    s->limits.class = "other";
    assert_taken(s);
    discard(s);
}

static void a_full_arena_is_refused(void **state)
{
    enum outcome outcome = REFUSED;
    (void)state;
    for (size_t limit = 0; outcome != OK; limit += 8) {
        struct sample *s = structured(EVENT(",\"data\":" BODY));
        arena_init(&s->arena, limit);
        outcome = read_sample(s);
        if (outcome != OK)
            assert_string_equal(request_fault_code(s->request.fault), "too_large");
        assert_true(limit < 100000);
        discard(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_request_is_known_by_its_place),
        cmocka_unit_test(a_bare_request_may_say_more),
        cmocka_unit_test(deadlines_are_judged_by_postgres),
        cmocka_unit_test(a_budget_is_read),
        cmocka_unit_test(a_binary_cloudevent_is_read),
        cmocka_unit_test(a_structured_cloudevent_is_read),
        cmocka_unit_test(trace_context_has_an_order),
        cmocka_unit_test(the_digest_is_of_what_is_asked),
        cmocka_unit_test(values_that_are_no_json_are_refused),
        cmocka_unit_test(bad_fields_are_refused_by_name),
        cmocka_unit_test(bad_envelopes_are_refused_by_name),
        cmocka_unit_test(a_topic_serves_its_own_tenant_and_class),
        cmocka_unit_test(a_full_arena_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
