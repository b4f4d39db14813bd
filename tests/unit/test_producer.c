/*
 * test_producer.c -- the producer and its dead letters, against the embedded
 * broker; what arrived is read back with a consumer.
 */
#include "tests/unit/cm.h"

#include "common/memory.h"
#include "tests/unit/kafka_fixture.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEPT_MAX = 64, HEADERS_MAX = 24 };

/* ---- what a send answered ------------------------------------------------------ */

struct answer {
    int called;
    enum outcome outcome;
    char text[240];
};

static void on_done(void *arg, enum outcome outcome, const struct error *err)
{
    struct answer *a = arg;
    a->called++;
    a->outcome = outcome;
    assert_true((err == NULL) == (outcome == OK));
    (void)snprintf(a->text, sizeof a->text, "%s", err ? err->text : "");
}

static struct record_draft draft_of(const char *key, const char *value)
{
    return (struct record_draft){
        .key = key,
        .key_n = key ? strlen(key) : 0,
        .value = value,
        .value_n = value ? strlen(value) : 0,
    };
}

static struct producer *open_with(const struct kafka_settings *settings,
                                  struct producer_options options)
{
    struct producer *p;
    struct error err;
    assert_ok(producer_init(&p, &fixture.loop, settings, &options, &err), &err);
    return p;
}

/* ---- what arrived ---------------------------------------------------------------- */

struct kept {
    char *key, *value;
    size_t key_n, value_n;
    int partition;
    char headers[HEADERS_MAX][2][256]; /* name, value */
    bool null_header[HEADERS_MAX];
    size_t n_headers;
};

struct reader {
    struct consumer *consumer;
    struct kept kept[KEPT_MAX];
    size_t n;
    bool closed;
};

static char *copy(const char *bytes, size_t n)
{
    return bytes ? xstrndup(bytes, n) : NULL;
}

static void on_record(void *arg, const struct record_view *rec, struct consumer_slot slot)
{
    struct reader *r = arg;
    assert_true(r->n < KEPT_MAX && rec->n_headers <= HEADERS_MAX);
    struct kept *k = &r->kept[r->n++];
    *k = (struct kept){ copy(rec->key, rec->key_n),
                        copy(rec->value, rec->value_n),
                        rec->key_n,
                        rec->value_n,
                        rec->partition,
                        { { "" } },
                        { false },
                        rec->n_headers };
    for (size_t i = 0; i < rec->n_headers; i++) {
        const struct record_header *h = &rec->headers[i];
        (void)snprintf(k->headers[i][0], 256, "%s", h->name);
        (void)snprintf(k->headers[i][1], 256, "%.*s", (int)h->value_n, h->value ? h->value : "");
        k->null_header[i] = h->value == NULL;
    }
    consumer_done(r->consumer, slot);
}

static void on_closed(void *arg)
{
    struct reader *r = arg;
    r->closed = true;
}

static struct reader *open_reader(const char *group, const char *topic)
{
    struct reader *r = xcalloc(1, sizeof *r);
    struct consumer_options options = { .group = group, .topics = &topic, .n_topics = 1 };
    struct consumer_calls calls = { .arg = r, .on_record = on_record, .on_closed = on_closed };
    struct error err;
    assert_ok(consumer_init(&r->consumer, &fixture.loop, &fixture.settings, &options, &calls, &err),
              &err);
    return r;
}

static void close_reader(struct reader *r)
{
    consumer_close(r->consumer);
    turn_until(r->closed);
    consumer_free(r->consumer);
    for (size_t i = 0; i < r->n; i++) {
        free(r->kept[i].key);
        free(r->kept[i].value);
    }
    free(r);
}

static const char *header_of(const struct kept *k, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < k->n_headers; i++)
        if (strcmp(k->headers[i][0], name) == 0) {
            assert_null(value); /* once */
            value = k->headers[i][1];
        }
    if (!value)
        fail_msg("no header %s", name);
    return value;
}

/* ---- tests -------------------------------------------------------------------------- */

static void records_arrive_as_they_were_sent(void **state)
{
    static const char binary[] = "a\0b\xff";
    struct record_header headers[] = { { "one", "1", 1 }, { "none", NULL, 0 }, { "empty", "", 0 } };
    struct producer *p = open_producer();
    struct reader *r = open_reader("p.arrive", fixture.topic_a);
    struct answer answers[4] = { 0 };
    struct error err;
    (void)state;
    struct record_draft whole = { "key", 3, binary, 4, headers, 3 };
    struct record_draft bare = draft_of(NULL, "no key");
    struct record_draft null = draft_of("tombstone", NULL);
    struct record_draft empty = draft_of("empty", "");
    assert_ok(producer_send(p, fixture.topic_a, &whole, on_done, &answers[0], &err), &err);
    assert_int_equal(answers[0].called, 0); /* never from inside the call */
    assert_ok(producer_send(p, fixture.topic_a, &bare, on_done, &answers[1], &err), &err);
    assert_ok(producer_send(p, fixture.topic_a, &null, on_done, &answers[2], &err), &err);
    assert_ok(producer_send(p, fixture.topic_a, &empty, on_done, &answers[3], &err), &err);
    turn_until(r->n == 4);
    turn_until(producer_stats(p).in_flight == 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(answers[i].called, 1);
        assert_int_equal(answers[i].outcome, OK);
    }
    for (size_t i = 0; i < 4; i++) {
        const struct kept *k = &r->kept[i];
        if (!k->key) {
            assert_string_equal(k->value, "no key");
        } else if (strcmp(k->key, "key") == 0) {
            assert_int_equal(k->value_n, 4);
            assert_int_equal(k->n_headers, 3);
            assert_string_equal(header_of(k, "one"), "1");
            assert_true(k->null_header[1]);
            assert_false(k->null_header[2]);
        } else if (strcmp(k->key, "tombstone") == 0) {
            assert_null(k->value);
        } else {
            assert_non_null(k->value);
            assert_int_equal(k->value_n, 0);
        }
    }
    struct producer_stats stats = producer_stats(p);
    assert_int_equal(stats.sent, 4);
    assert_int_equal(stats.delivered, 4);
    assert_int_equal(stats.failed, 0);
    assert_int_equal(stats.in_flight_bytes, 0);
    close_reader(r);
    producer_free(p);
}

static void doorbells_ring_under_their_key(void **state)
{
    struct producer *p = open_producer();
    struct reader *r = open_reader("p.ring", fixture.topic_b);
    struct doorbell d = { .run = uuid_v4(), .step = 4, .index = 1 }, back;
    char key[DOORBELL_KEY_SIZE];
    struct error err;
    (void)state;
    producer_ring(p, fixture.topic_b, &d);
    turn_until(r->n == 1);
    assert_ok(doorbell_read(r->kept[0].value, r->kept[0].value_n, &back, &err), &err);
    assert_true(uuid_eq(&back.run, &d.run));
    doorbell_key(&d, key);
    assert_string_equal(r->kept[0].key, key);
    close_reader(r);
    producer_free(p);
}

static void a_full_queue_is_told_and_doorbells_leave_room(void **state)
{
    struct kafka_settings nobody = fixture.settings;
    struct producer_options options = { .queue_messages = 10, .timeout_ms = 60000 };
    struct answer answers[16] = { 0 };
    struct record_draft draft = draft_of("k", "v");
    struct error err;
    (void)state;
    nobody.bootstrap = "127.0.0.1:1";
    struct producer *p = open_with(&nobody, options);
    for (int i = 0; i < 5; i++)
        assert_ok(producer_send(p, fixture.topic_a, &draft, NULL, NULL, &err), &err);
    assert_int_equal(producer_send(p, fixture.topic_a, &draft, NULL, NULL, &err), RETRY);
    assert_contains(err.text, "full");
    for (int i = 0; i < 5; i++)
        assert_ok(producer_send(p, fixture.topic_a, &draft, on_done, &answers[i], &err), &err);
    assert_int_equal(producer_send(p, fixture.topic_a, &draft, on_done, &answers[5], &err), RETRY);
    assert_int_equal(producer_stats(p).full, 2);
    assert_int_equal(producer_stats(p).in_flight, 10);
    producer_free(p); /* drops them, and says so */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(answers[i].called, 1);
        assert_int_equal(answers[i].outcome, RETRY);
    }
    assert_int_equal(answers[5].called, 0);

    options = (struct producer_options){ .queue_bytes = 4096 };
    p = open_with(&nobody, options);
    char *large = xcalloc(1, 8192);
    memset(large, 'x', 8191);
    struct record_draft big = draft_of("k", large);
    assert_ok(producer_send(p, fixture.topic_a, &big, on_done, &answers[6], &err), &err);
    assert_int_equal(producer_send(p, fixture.topic_a, &draft, NULL, NULL, &err), RETRY);
    producer_free(p);
    free(large);
}

static void with_kafka_away_sends_end_and_the_loop_goes_on(void **state)
{
    struct kafka_settings nobody = fixture.settings;
    struct producer_options options = { .timeout_ms = 500 };
    struct record_draft draft = draft_of("k", "v");
    struct answer answer = { 0 }, flushed = { 0 };
    struct error err;
    (void)state;
    nobody.bootstrap = "127.0.0.1:1";
    struct producer *p = open_with(&nobody, options);
    int64_t began_ms = clock_mono_ms();
    assert_ok(producer_send(p, fixture.topic_a, &draft, on_done, &answer, &err), &err);
    assert_ok(producer_send(p, fixture.topic_a, &draft, NULL, NULL, &err), &err);
    assert_true(clock_mono_ms() - began_ms < 200);
    producer_flush(p, 50, on_done, &flushed);
    turn_until(flushed.called);
    assert_int_equal(flushed.outcome, RETRY);
    assert_contains(flushed.text, "2 records");
    turn_until(answer.called);
    assert_int_equal(answer.outcome, RETRY);
    turn_until(producer_stats(p).in_flight == 0);
    assert_int_equal(producer_stats(p).failed, 2);
    producer_flush(p, 1000, on_done, &flushed);
    turn_until(flushed.called == 2);
    assert_int_equal(flushed.outcome, OK);
    producer_free(p);
}

static void an_outage_passes(void **state)
{
    struct answer answer = { 0 };
    struct record_draft draft = draft_of("k", "during");
    struct error err;
    (void)state;
    if (!fixture.broker)
        skip();
    struct producer *p = open_producer();
    send_records(p, fixture.topic_a, "before-", 5);
    broker_set_down(fixture.broker, true);
    assert_ok(producer_send(p, fixture.topic_a, &draft, on_done, &answer, &err), &err);
    broker_set_down(fixture.broker, false);
    turn_until(answer.called);
    send_records(p, fixture.topic_a, "after-", 5);

    /* A new broker that has never heard of this producer. */
    fixture_restart_broker();
    for (int delivered = 0; !delivered;) {
        answer = (struct answer){ 0 };
        assert_ok(producer_send(p, fixture.topic_a, &draft, on_done, &answer, &err), &err);
        turn_until(answer.called);
        assert_true(answer.outcome == OK || answer.outcome == RETRY);
        delivered = answer.outcome == OK;
    }
    send_records(p, fixture.topic_a, "anew-", 20);
    producer_free(p);
}

/* ---- dead letters ----------------------------------------------------------------- */

static struct record_view a_record(const struct record_header *headers, size_t n_headers,
                                   const char *value, size_t value_n)
{
    return (struct record_view){ .topic = fixture.topic_a,
                                 .partition = 3,
                                 .offset = 4711,
                                 .timestamp_ms = 1764000000123,
                                 .key = "the key",
                                 .key_n = 7,
                                 .value = value,
                                 .value_n = value_n,
                                 .headers = headers,
                                 .n_headers = n_headers };
}

static void assert_marks(const struct kept *k)
{
    assert_string_equal(header_of(k, "pawl_dlq_topic"), fixture.topic_a);
    assert_string_equal(header_of(k, "pawl_dlq_partition"), "3");
    assert_string_equal(header_of(k, "pawl_dlq_offset"), "4711");
    assert_string_equal(header_of(k, "pawl_dlq_group"), "pawl.planner");
    assert_string_equal(header_of(k, "pawl_dlq_timestamp"), "1764000000123");
    assert_string_equal(header_of(k, "pawl_dlq_error_code"), "bad_json");
    assert_string_equal(header_of(k, "pawl_dlq_error_message"), "not good\\nJSON");
    assert_string_equal(header_of(k, "pawl_dlq_attempts"), "1");
}

static const struct dead_letter why_bad = {
    .code = "bad_json", .text = "not good\nJSON", .group = "pawl.planner", .attempts = 1
};

static void a_dead_letter_is_the_record_and_why(void **state)
{
    struct record_header headers[] = { { "traceparent", "00-x", 4 },
                                       { "none", NULL, 0 },
                                       { "pawl_dlq_topic", "older", 5 } };
    struct record_view rec = a_record(headers, 3, "{\xff", 2);
    struct dead_letter why = why_bad;
    struct producer *p = open_producer();
    struct reader *r = open_reader("p.dlq", fixture.topic_b);
    struct answer answer = { 0 };
    struct error err;
    (void)state;
    why.topic = fixture.topic_b;
    assert_ok(dlq_send(p, &rec, &why, on_done, &answer, &err), &err);
    const struct kept *k = NULL;
    for (int64_t until = clock_mono_ms() + PATIENCE_MS; !k && clock_mono_ms() < until;) {
        loop_turn(&fixture.loop, 100);
        for (size_t i = 0; i < r->n; i++)
            if (strcmp(r->kept[i].key, "the key") == 0)
                k = &r->kept[i];
    }
    assert(k);
    turn_until(answer.called == 1);
    assert_int_equal(answer.outcome, OK);
    assert_int_equal(k->value_n, 2);
    assert_memory_equal(k->value, "{\xff", 2);
    assert_int_equal(k->n_headers, 2 + 8);
    assert_string_equal(header_of(k, "traceparent"), "00-x");
    assert_true(k->null_header[1]);
    assert_marks(k);
    close_reader(r);
    producer_free(p);
}

static void a_dead_letter_goes_to_the_topic_of_the_dead(void **state)
{
    struct record_view rec = a_record(NULL, 0, NULL, 0);
    char topic[80];
    struct answer answer = { 0 };
    struct error err;
    (void)state;
    (void)snprintf(topic, sizeof topic, "%s.dlq", fixture.topic_a);
    struct producer *p = open_producer();
    assert_ok(dlq_send(p, &rec, &why_bad, on_done, &answer, &err), &err);
    turn_until(answer.called);
    assert_int_equal(answer.outcome, OK);
    struct reader *r = open_reader("p.dlq", topic);
    turn_until(r->n == 1);
    assert_null(r->kept[0].value);
    assert_marks(&r->kept[0]);
    close_reader(r);
    producer_free(p);
}

/* Refused by the client's own limit at once; by the broker's, later, in
 * tests/kafka where a real one counts.                                        */
static void a_dead_letter_too_large_goes_without_its_value(void **state)
{
    size_t value_n = 2000;
    char *value = xcalloc(1, value_n);
    struct record_view rec = a_record(NULL, 0, value, value_n);
    struct kafka_settings settings = settings_with("message.max.bytes", "1500");
    struct dead_letter why = why_bad;
    struct answer answer = { 0 };
    char topic[80];
    struct error err;
    (void)state;
    (void)snprintf(topic, sizeof topic, "%s.large", fixture.topic_a);
    why.topic = topic;
    struct producer *p = open_with(&settings, (struct producer_options){ 0 });
    assert_ok(dlq_send(p, &rec, &why, on_done, &answer, &err), &err);
    turn_until(answer.called);
    assert_int_equal(answer.outcome, OK);
    struct reader *r = open_reader("p.large", topic);
    turn_until(r->n == 1);
    assert_null(r->kept[0].value);
    assert_string_equal(header_of(&r->kept[0], "pawl_dlq_value_dropped"), "2000");
    assert_marks(&r->kept[0]);
    close_reader(r);
    producer_free(p);
    free(value);
}

/* A real broker counts more than the client: 1,048,588 bytes with all overhead. */
static void the_brokers_limit_holds_too(void **state)
{
    size_t value_n = 1048500;
    char *value = xcalloc(1, value_n);
    struct record_view rec = a_record(NULL, 0, value, value_n);
    struct answer answer = { 0 };
    struct error err;
    (void)state;
    if (fixture.broker) { /* it has no limit */
        free(value);
        skip();
        return;
    }
    struct producer *p = open_producer();
    assert_ok(dlq_send(p, &rec, &why_bad, on_done, &answer, &err), &err);
    turn_until(answer.called);
    assert_int_equal(answer.outcome, OK);
    assert_int_equal(producer_stats(p).failed, 1);
    assert_int_equal(producer_stats(p).delivered, 1);
    producer_free(p);
    free(value);
}

static void a_dead_letter_with_kafka_away_is_tried_later(void **state)
{
    struct record_view rec = a_record(NULL, 0, "x", 1);
    struct kafka_settings nobody = fixture.settings;
    struct answer answer = { 0 };
    struct error err;
    (void)state;
    nobody.bootstrap = "127.0.0.1:1";
    struct producer *p = open_with(&nobody, (struct producer_options){ .timeout_ms = 300 });
    assert_ok(dlq_send(p, &rec, &why_bad, on_done, &answer, &err), &err);
    turn_until(answer.called);
    assert_int_equal(answer.outcome, RETRY);
    producer_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_arrive_as_they_were_sent),
        cmocka_unit_test(doorbells_ring_under_their_key),
        cmocka_unit_test(a_full_queue_is_told_and_doorbells_leave_room),
        cmocka_unit_test(with_kafka_away_sends_end_and_the_loop_goes_on),
        cmocka_unit_test(an_outage_passes),
        cmocka_unit_test(a_dead_letter_is_the_record_and_why),
        cmocka_unit_test(a_dead_letter_goes_to_the_topic_of_the_dead),
        cmocka_unit_test(a_dead_letter_too_large_goes_without_its_value),
        cmocka_unit_test(the_brokers_limit_holds_too),
        cmocka_unit_test(a_dead_letter_with_kafka_away_is_tried_later),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
