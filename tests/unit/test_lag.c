/*
 * test_lag.c -- lag as the broker tells it, asked once and by the thread.
 */
#include "tests/unit/cm.h"

#include "common/lag.h"
#include "tests/unit/kafka_fixture.h"

#include <stdio.h>

static struct rd_kafka_s *open_lag(void)
{
    struct rd_kafka_s *client;
    struct error err;
    assert_ok(lag_open(&fixture.settings, &client, &err), &err);
    return client;
}

struct taker {
    struct consumer *consumer;
    int64_t taken, limit;
    bool closed;
};

static void on_record(void *arg, const struct record_view *rec, struct consumer_slot slot)
{
    struct taker *t = arg;
    (void)rec;
    if (t->taken < t->limit) {
        t->taken++;
        consumer_done(t->consumer, slot);
    }
}

static void on_closed(void *arg)
{
    struct taker *t = arg;
    t->closed = true;
}

/* A member of the group that finishes `n` records of the topic and leaves. */
static void take(const char *group, const char *topic, int64_t n)
{
    struct taker t = { .limit = n };
    struct consumer_options options = { .group = group, .topics = &topic, .n_topics = 1 };
    struct consumer_calls calls = { .arg = &t, .on_record = on_record, .on_closed = on_closed };
    struct error err;
    assert_ok(consumer_init(&t.consumer, &fixture.loop, &fixture.settings, &options, &calls, &err),
              &err);
    turn_until(t.taken == n);
    consumer_close(t.consumer);
    turn_until(t.closed);
    consumer_free(t.consumer);
}

static void lag_counts_what_nobody_took(void **state)
{
    struct producer *p = open_producer();
    const char *topics[] = { fixture.topic_b, fixture.topic_a };
    struct lag_query query = { "lag.g", topics, 2 };
    struct rd_kafka_s *client = open_lag();
    struct lag_report report;
    struct error err;
    (void)state;
    send_records(p, fixture.topic_a, "a-", 100);
    send_records(p, fixture.topic_b, "b-", 1); /* so that a real broker has the topic */

    assert_ok(lag_read(client, &query, 10000, &report, &err), &err);
    assert_int_equal(report.n, 2 * PARTITIONS);
    assert_int_equal(report.lag, 101);
    int64_t sum = 0;
    for (size_t i = 0; i < report.n; i++) {
        const struct lag_row *row = &report.rows[i];
        assert_string_equal(row->topic, i < PARTITIONS ? fixture.topic_a : fixture.topic_b);
        assert_int_equal(row->partition, i % PARTITIONS);
        assert_int_equal(row->committed, -1);
        assert_int_equal(row->lag, row->end);
        sum += row->lag;
    }
    assert_int_equal(sum, 101);
    lag_report_release(&report);

    take("lag.g", fixture.topic_a, 100);
    assert_ok(lag_read(client, &query, 10000, &report, &err), &err);
    assert_int_equal(report.lag, 1);
    lag_report_release(&report);
    send_records(p, fixture.topic_a, "more-", 7);
    assert_ok(lag_read(client, &query, 10000, &report, &err), &err);
    assert_int_equal(report.lag, 8);
    lag_report_release(&report);
    lag_close(client);

    producer_free(p);
}

/* The embedded broker makes every topic that it is asked for. */
static void asking_for_a_topic_does_not_make_it(void **state)
{
    const char *topics[] = { "test.lag.nowhere" };
    struct lag_query query = { "g", topics, 1 };
    struct rd_kafka_s *client = open_lag();
    struct lag_report report;
    struct error err;
    (void)state;
    for (int i = 0; i < 3 && !fixture.broker; i++) {
        assert_ok(lag_read(client, &query, 10000, &report, &err), &err);
        assert_int_equal(report.n, 0);
        lag_report_release(&report);
    }
    lag_close(client);
}

static void no_broker_is_told_in_time(void **state)
{
    struct kafka_settings nobody = fixture.settings;
    const char *topics[] = { "x" };
    struct lag_query query = { "g", topics, 1 };
    struct rd_kafka_s *client;
    struct lag_report report;
    struct error err;
    (void)state;
    nobody.bootstrap = "127.0.0.1:1";
    assert_ok(lag_open(&nobody, &client, &err), &err);
    int64_t began_ms = clock_mono_ms();
    assert_int_equal(lag_read(client, &query, 300, &report, &err), RETRY);
    assert_true(clock_mono_ms() - began_ms < 5000);
    assert_contains(err.text, "Kafka did not answer");
    lag_close(client);
}

struct page {
    size_t rows;
    int64_t lag;
    char group[64];
};

static void on_row(void *arg, const char *group, const struct lag_row *row)
{
    struct page *page = arg;
    page->rows++;
    page->lag += row->lag;
    (void)snprintf(page->group, sizeof page->group, "%s", group);
}

static struct page read_page(struct lag_watch *w)
{
    struct page page = { 0 };
    lag_watch_each(w, on_row, &page);
    return page;
}

static void the_watch_keeps_the_last_answer(void **state)
{
    struct producer *p = open_producer();
    const char *topics[] = { fixture.topic_a };
    struct lag_query query = { "lag.w", topics, 1 };
    struct lag_watch *w;
    struct error err;
    (void)state;
    /* Over the connections of a consumer, as in a daemon. */
    struct taker t = { .limit = 0 };
    struct consumer_options options = { .group = "lag.c", .topics = topics, .n_topics = 1 };
    struct consumer_calls calls = { .arg = &t, .on_record = on_record, .on_closed = on_closed };
    assert_ok(consumer_init(&t.consumer, &fixture.loop, &fixture.settings, &options, &calls, &err),
              &err);
    int64_t before = lag_of("lag.w", fixture.topic_a);
    assert_ok(lag_watch_init(&w, consumer_client(t.consumer), &query, 1, 200, &err), &err);
    turn_until(read_page(w).rows == PARTITIONS);
    assert_string_equal(read_page(w).group, "lag.w");
    assert_int_equal(read_page(w).lag, before);
    send_records(p, fixture.topic_a, "w-", 5);
    turn_until(read_page(w).lag == before + 5);
    if (fixture.broker) { /* old numbers go from the page */
        broker_set_down(fixture.broker, true);
        turn_until(read_page(w).rows == 0);
        broker_set_down(fixture.broker, false);
        turn_until(read_page(w).rows == PARTITIONS);
    }
    lag_watch_free(w);
    consumer_close(t.consumer);
    turn_until(t.closed);
    consumer_free(t.consumer);
    producer_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lag_counts_what_nobody_took),
        cmocka_unit_test(asking_for_a_topic_does_not_make_it),
        cmocka_unit_test(no_broker_is_told_in_time),
        cmocka_unit_test(the_watch_keeps_the_last_answer),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
