/*
 * test_message.c -- doorbells, run events, and headers of records.  Requests are
 * in test_message_request.c.
 */
#include "tests/unit/cm.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/message.h"

#include <stdlib.h>

#define RUN "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"

static struct uuid run_id(void)
{
    struct uuid run;
    struct error err;
    assert_ok(uuid_parse(RUN, &run, &err), &err);
    return run;
}

/* ---- doorbells ----------------------------------------------------------------- */

static void assert_doorbell(const struct doorbell *d, const char *text, const char *key)
{
    struct buf b;
    struct doorbell back;
    struct error err;
    char written_key[DOORBELL_KEY_SIZE];
    buf_init(&b, 1024);
    assert_true(doorbell_write(&b, d));
    assert_string_equal(b.data, text);
    assert_ok(doorbell_read(b.data, b.len, &back, &err), &err);
    assert_true(uuid_eq(&back.run, &d->run));
    assert_int_equal(back.step, d->step);
    assert_int_equal(back.index, d->index);
    assert_int_equal(doorbell_key(d, written_key), strlen(key));
    assert_string_equal(written_key, key);
    buf_release(&b);
}

static void doorbells_come_back_as_they_went(void **state)
{
    (void)state;
    struct doorbell plan = { run_id(), 3, DOORBELL_PLAN };
    struct doorbell call = { run_id(), 3, 0 };
    struct doorbell large = { run_id(), INT32_MAX, INT32_MAX };
    assert_doorbell(&plan, "{\"v\":1,\"run\":\"" RUN "\",\"step\":3}", RUN);
    assert_doorbell(&call, "{\"v\":1,\"run\":\"" RUN "\",\"step\":3,\"index\":0}", RUN "/3/0");
    assert_doorbell(&large,
                    "{\"v\":1,\"run\":\"" RUN "\",\"step\":2147483647,\"index\":2147483647}",
                    RUN "/2147483647/268435455");
    struct doorbell neighbour = { run_id(), 3, 7 }, next = { run_id(), 3, 8 };
    assert_doorbell(&neighbour, "{\"v\":1,\"run\":\"" RUN "\",\"step\":3,\"index\":7}", RUN "/3/0");
    assert_doorbell(&next, "{\"v\":1,\"run\":\"" RUN "\",\"step\":3,\"index\":8}", RUN "/3/1");
}

static void a_doorbell_that_does_not_fit_is_told(void **state)
{
    struct buf b;
    struct doorbell d = { run_id(), 3, 0 };
    (void)state;
    buf_init(&b, 20);
    assert_false(doorbell_write(&b, &d));
    buf_release(&b);
}

static void live_tokens_say_where_they_belong(void **state)
{
    (void)state;
    struct buf b;
    const struct tokens_place place = { run_id(), 2, 3, 4 };
    buf_init(&b, 1024);
    assert_true(tokens_write(&b, &place, "reasoning", 5, 6000000000, "a\"\n\xc3\xa4", 5));
    assert_string_equal(b.data, "{\"v\":1,\"run\":\"" RUN "\",\"epoch\":2,\"step\":3,"
                                "\"version\":4,\"kind\":\"reasoning\",\"index\":5,"
                                "\"offset\":6000000000,\"text\":\"a\\\"\\n\xc3\xa4\"}");
    buf_reset(&b);
    assert_true(tokens_write_end(&b, &place, true, 17));
    assert_string_equal(b.data, "{\"v\":1,\"run\":\"" RUN "\",\"epoch\":2,\"step\":3,"
                                "\"version\":4,\"kind\":\"end\",\"outcome\":\"committed\","
                                "\"bytes\":17}");
    buf_reset(&b);
    assert_true(tokens_write_end(&b, &place, false, 0));
    assert_contains(b.data, "\"outcome\":\"dropped\"");
    buf_release(&b);
    buf_init(&b, 20);
    assert_false(tokens_write(&b, &place, "text", 0, 0, "x", 1));
    buf_release(&b);
}

static void unknown_fields_of_a_doorbell_are_tolerated(void **state)
{
    static const char text[] =
        "{\"v\":1,\"run\":\"" RUN "\",\"step\":7,\"why\":{\"deep\":[1,2]},\"index\":2}";
    struct doorbell d;
    struct error err;
    (void)state;
    assert_ok(doorbell_read(text, strlen(text), &d, &err), &err);
    assert_int_equal(d.step, 7);
    assert_int_equal(d.index, 2);
}

static void bad_doorbells_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "", "" },
        { "{", "" },
        { "[]", "object" },
        { "null", "object" },
        { "{\"run\":\"" RUN "\",\"step\":1}", "'v' is missing" },
        { "{\"v\":2,\"run\":\"" RUN "\",\"step\":1}", "version 1" },
        { "{\"v\":0,\"run\":\"" RUN "\",\"step\":1}", "version 1" },
        { "{\"v\":\"1\",\"run\":\"" RUN "\",\"step\":1}", "'v'" },
        { "{\"v\":1,\"step\":1}", "'run'" },
        { "{\"v\":1,\"run\":7,\"step\":1}", "'run'" },
        { "{\"v\":1,\"run\":\"x\",\"step\":1}", "'run' must be a UUID" },
        { "{\"v\":1,\"run\":\"" RUN "\"}", "'step' is missing" },
        { "{\"v\":1,\"run\":\"" RUN "\",\"step\":-1}", "'step'" },
        { "{\"v\":1,\"run\":\"" RUN "\",\"step\":1.5}", "'step'" },
        { "{\"v\":1,\"run\":\"" RUN "\",\"step\":99999999999}", "'step'" },
        { "{\"v\":1,\"run\":\"" RUN "\",\"step\":1,\"index\":-1}", "'index'" },
        { "{\"v\":1,\"run\":\"" RUN "\",\"step\":1,\"index\":null}", "'index'" },
        { "{\"v\":1,\"run\":\"" RUN "\",\"step\":1,\"step\":2}", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct doorbell d;
        struct error err = { "" };
        if (doorbell_read(cases[i].text, strlen(cases[i].text), &d, &err) != REFUSED)
            fail_msg("taken: %s", cases[i].text);
        assert_contains(err.text, cases[i].says);
    }
    struct error err;
    struct doorbell d;
    assert_int_equal(doorbell_read(NULL, 0, &d, &err), REFUSED);
    assert_contains(err.text, "null");
    size_t size = 5000;
    char *large = xmalloc(size);
    memset(large, ' ', size);
    assert_int_equal(doorbell_read(large, size, &d, &err), REFUSED);
    free(large);
}

/* ---- run events ------------------------------------------------------------------- */

static void assert_header(const struct record_draft *draft, const char *name, const char *value)
{
    struct record_view rec = { .headers = draft->headers, .n_headers = draft->n_headers };
    const struct record_header *header = record_header(&rec, name);
    if (!header)
        fail_msg("header %s is missing", name);
    assert_int_equal(header->value_n, strlen(value));
    assert_memory_equal(header->value, value, strlen(value));
}

static json_t *data_of(const struct record_draft *draft)
{
    struct json_limits limits = { 1 << 20, 16 };
    struct error err;
    json_t *data;
    assert_ok(json_read(draft->value, draft->value_n, &limits, &data, &err), &err);
    return data;
}

static struct run_event_view an_event(enum run_event_kind kind)
{
    return (struct run_event_view){
        .kind = kind,
        .run = run_id(),
        .epoch = 2,
        .seq = 41,
        .time_ms = 1764000000123,
        .agent = "billing",
        .revision = "abc123",
        .tenant = "acme",
        .class = "interactive",
        .step = 5,
    };
}

static void an_event_is_a_cloudevent(void **state)
{
    struct arena arena;
    struct record_draft draft;
    struct error err;
    struct run_event_view ev = an_event(RUN_EVENT_FAILED);
    (void)state;
    arena_init(&arena, 64 * 1024);
    ev.error_code = "model_error";
    ev.error_text = "the model said \"no\"\n";
    ev.request_source = "kafka:pawl.run-requests";
    ev.request_id = "r-1";
    ev.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    ev.tracestate = "vendor=1";
    assert_ok(event_write(&ev, &arena, &draft, &err), &err);
    assert_header(&draft, "ce_specversion", "1.0");
    assert_header(&draft, "ce_id", RUN "/2/failed/41");
    assert_header(&draft, "ce_source", "pawl");
    assert_header(&draft, "ce_type", "dev.pawl.run.failed.v1");
    assert_header(&draft, "ce_subject", RUN);
    assert_header(&draft, "ce_time", "2025-11-24T16:00:00.123Z");
    assert_header(&draft, "content-type", "application/json");
    assert_header(&draft, "traceparent", ev.traceparent);
    assert_header(&draft, "tracestate", "vendor=1");
    assert_int_equal(draft.key_n, strlen(RUN));
    assert_memory_equal(draft.key, RUN, strlen(RUN));
    json_t *data = data_of(&draft);
    assert_string_equal(json_str(data, "run"), RUN);
    assert_string_equal(json_str(data, "agent"), "billing");
    assert_string_equal(json_str(data, "revision"), "abc123");
    assert_string_equal(json_str(data, "tenant"), "acme");
    assert_string_equal(json_str(data, "class"), "interactive");
    assert_string_equal(json_str(data, "status"), "failed");
    assert_int_equal(json_int_or(data, "epoch", -1), 2);
    assert_int_equal(json_int_or(data, "step", -1), 5);
    assert_null(json_object_get(data, "answer"));
    assert_string_equal(json_str(json_obj(data, "error"), "code"), "model_error");
    assert_contains(json_str(json_obj(data, "error"), "text"), "the model said \"no\"");
    assert_string_equal(json_str(json_obj(data, "request"), "source"), "kafka:pawl.run-requests");
    assert_string_equal(json_str(json_obj(data, "request"), "id"), "r-1");
    json_decref(data);
    arena_free(&arena);
}

static void events_leave_out_what_is_not_there(void **state)
{
    static const char *const types[] = { "dev.pawl.run.accepted.v1", "dev.pawl.run.waiting.v1",
                                         "dev.pawl.run.succeeded.v1", "dev.pawl.run.failed.v1",
                                         "dev.pawl.run.cancelled.v1" };
    (void)state;
    for (enum run_event_kind kind = 0; kind < RUN_EVENT_KINDS; kind++) {
        struct arena arena;
        struct record_draft draft;
        struct error err;
        struct run_event_view ev = an_event(kind);
        arena_init(&arena, 64 * 1024);
        assert_ok(event_write(&ev, &arena, &draft, &err), &err);
        assert_header(&draft, "ce_type", types[kind]);
        assert_int_equal(draft.n_headers, 7);
        json_t *data = data_of(&draft);
        assert_string_equal(json_str(data, "status"), run_event_name(kind));
        assert_null(json_object_get(data, "error"));
        assert_null(json_object_get(data, "request"));
        json_decref(data);
        arena_free(&arena);
    }
}

/* The same event announced twice carries the same id, another one another. */
static void the_id_of_an_event_tells_it_apart(void **state)
{
    struct arena arena;
    struct record_draft a, b;
    struct error err;
    struct run_event_view ev = an_event(RUN_EVENT_WAITING);
    (void)state;
    arena_init(&arena, 64 * 1024);
    assert_ok(event_write(&ev, &arena, &a, &err), &err);
    ev.time_ms += 1000;
    assert_ok(event_write(&ev, &arena, &b, &err), &err);
    assert_header(&b, "ce_id", RUN "/2/waiting/41");
    ev.seq++;
    assert_ok(event_write(&ev, &arena, &b, &err), &err);
    assert_header(&b, "ce_id", RUN "/2/waiting/42");
    arena_free(&arena);
}

static void a_long_answer_is_cut_and_says_so(void **state)
{
    struct arena arena;
    struct record_draft draft;
    struct error err;
    struct run_event_view ev = an_event(RUN_EVENT_SUCCEEDED);
    size_t n = 3 * (size_t)EVENT_ANSWER_BYTES_MAX;
    char *answer = xmalloc(n + 1);
    (void)state;
    for (size_t i = 0; i + 3 <= n; i += 3)
        memcpy(answer + i, "\xe2\x82\xac", 3); /* a euro sign, across the limit */
    answer[n] = '\0';
    ev.answer = answer;
    arena_init(&arena, 1 << 20);
    assert_ok(event_write(&ev, &arena, &draft, &err), &err);
    json_t *data = data_of(&draft);
    assert_int_equal(json_int_or(data, "answer_bytes", -1), n);
    size_t kept = strlen(json_str(data, "answer"));
    assert_true(kept > EVENT_ANSWER_BYTES_MAX - 3 && kept <= EVENT_ANSWER_BYTES_MAX);
    assert_int_equal(kept % 3, 0);
    json_decref(data);
    arena_free(&arena);
    free(answer);
}

static void a_full_arena_is_told(void **state)
{
    struct run_event_view ev = an_event(RUN_EVENT_SUCCEEDED);
    struct record_draft draft;
    struct error err;
    (void)state;
    ev.answer = "yes";
    ev.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    enum outcome outcome = REFUSED;
    for (size_t limit = 0; outcome == REFUSED; limit += 8) {
        struct arena arena;
        arena_init(&arena, limit);
        outcome = event_write(&ev, &arena, &draft, &err);
        arena_free(&arena);
        assert_true(limit < 10000);
    }
    assert_int_equal(outcome, OK);
}

/* ---- records ----------------------------------------------------------------------- */

static void the_last_header_of_a_name_counts(void **state)
{
    struct record_header headers[] = { { "ce_id", "a", 1 },
                                       { "CE_ID", "b", 1 },
                                       { "other", NULL, 0 } };
    struct record_view rec = { .headers = headers, .n_headers = 3 };
    (void)state;
    assert_ptr_equal(record_header(&rec, "ce_id"), &headers[1]);
    assert_ptr_equal(record_header(&rec, "other"), &headers[2]);
    assert_null(record_header(&rec, "ce_type"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doorbells_come_back_as_they_went),
        cmocka_unit_test(a_doorbell_that_does_not_fit_is_told),
        cmocka_unit_test(unknown_fields_of_a_doorbell_are_tolerated),
        cmocka_unit_test(live_tokens_say_where_they_belong),
        cmocka_unit_test(bad_doorbells_are_refused),
        cmocka_unit_test(an_event_is_a_cloudevent),
        cmocka_unit_test(events_leave_out_what_is_not_there),
        cmocka_unit_test(the_id_of_an_event_tells_it_apart),
        cmocka_unit_test(a_long_answer_is_cut_and_says_so),
        cmocka_unit_test(a_full_arena_is_told),
        cmocka_unit_test(the_last_header_of_a_name_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
