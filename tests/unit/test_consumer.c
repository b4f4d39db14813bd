/*
 * test_consumer.c -- the consumer against the embedded broker, over real TCP.
 *
 * What is committed is read back with lag_read(), so it is what the broker says
 * and not what the consumer believes.  Joining a group of the embedded broker
 * takes 3 s, so most tests do several things with one member.
 */
#include "tests/unit/cm.h"

#include "common/memory.h"
#include "tests/unit/kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEEN_MAX = 4096 };

struct seen {
    char topic[64], value[64];
    int partition;
    int64_t offset;
    struct consumer_slot slot;
    bool done;
};

/* A member of a group that remembers what it was given. */
struct member {
    struct consumer *consumer;
    struct seen seen[SEEN_MAX];
    size_t n_seen;
    bool finish; /* consumer_done() at once */
    bool joined, closed;
    size_t partitions;
};

static void done(struct member *m, size_t i)
{
    m->seen[i].done = true;
    consumer_done(m->consumer, m->seen[i].slot);
}

static void on_record(void *arg, const struct record_view *rec, struct consumer_slot slot)
{
    struct member *m = arg;
    assert_true(m->n_seen < SEEN_MAX);
    struct seen *s = &m->seen[m->n_seen++];
    *s = (struct seen){ .partition = rec->partition, .offset = rec->offset, .slot = slot };
    (void)snprintf(s->topic, sizeof s->topic, "%s", rec->topic);
    (void)snprintf(s->value, sizeof s->value, "%.*s", (int)rec->value_n, rec->value);
    assert_int_equal(rec->key_n, rec->value_n);
    assert_memory_equal(rec->key, rec->value, rec->key_n);
    assert_true(rec->timestamp_ms > 1600000000000);
    if (m->finish)
        done(m, m->n_seen - 1);
}

static void on_assignment(void *arg, bool joined, size_t partitions)
{
    struct member *m = arg;
    m->joined = joined;
    m->partitions = partitions;
}

static void on_closed(void *arg)
{
    struct member *m = arg;
    m->closed = true;
}

static struct member *open_member_as(const struct kafka_settings *settings, const char *group,
                                     struct consumer_options options)
{
    struct member *m = xcalloc(1, sizeof *m);
    struct consumer_calls calls = { m, on_record, on_assignment, on_closed };
    const char *topics[] = { fixture.topic_a, fixture.topic_b };
    struct error err;
    m->finish = true;
    options.group = group;
    options.topics = topics;
    options.n_topics = 2;
    assert_ok(consumer_init(&m->consumer, &fixture.loop, settings, &options, &calls, &err), &err);
    return m;
}

static struct member *open_member_with(const char *group, struct consumer_options options)
{
    return open_member_as(&fixture.settings, group, options);
}

static struct member *open_member(const char *group)
{
    return open_member_with(group, (struct consumer_options){ 0 });
}

static void leave(struct member *m)
{
    consumer_close(m->consumer);
    turn_until(m->closed);
    assert_false(consumer_joined(m->consumer));
    consumer_free(m->consumer);
    free(m);
}

static size_t seen_of(const struct member *m, const char *topic, const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_seen; i++)
        n += strcmp(m->seen[i].topic, topic) == 0 &&
             strncmp(m->seen[i].value, prefix, strlen(prefix)) == 0;
    return n;
}

/* Every record once, and those of one partition in the order of their offsets. */
static void assert_each_once_in_order(const struct member *m, const char *topic)
{
    for (size_t i = 0; i < m->n_seen; i++) {
        for (size_t k = 0; k < i; k++) {
            const struct seen *a = &m->seen[k], *b = &m->seen[i];
            if (strcmp(a->topic, topic) == 0 && strcmp(b->topic, topic) == 0 &&
                a->partition == b->partition)
                assert_true(a->offset < b->offset);
        }
    }
}

/* ---- tests ------------------------------------------------------------------- */

static void commits_what_is_done_and_leaves(void **state)
{
    struct producer *p = open_producer();
    (void)state;
    send_records(p, fixture.topic_a, "first-", 100);
    struct member *m = open_member("g.commit");
    assert_false(consumer_joined(m->consumer));
    turn_until(m->n_seen == 100);
    assert_true(consumer_joined(m->consumer) && m->joined);
    turn_until(consumer_stats(m->consumer).commits > 0 && lag_of("g.commit", fixture.topic_a) == 0);
    struct consumer_stats stats = consumer_stats(m->consumer);
    assert_int_equal(stats.records, 100);
    assert_int_equal(stats.out, 0);
    assert_true(stats.commits < 20); /* batches, not records */
    assert_each_once_in_order(m, fixture.topic_a);

    /* What is done right before leaving is committed by leaving. */
    send_records(p, fixture.topic_a, "second-", 50);
    turn_until(m->n_seen == 150);
    leave(m);
    assert_int_equal(lag_of("g.commit", fixture.topic_a), 0);
    producer_free(p);
}

static void only_the_finished_prefix_is_committed(void **state)
{
    struct producer *p = open_producer();
    struct member *m = open_member("g.prefix");
    (void)state;
    m->finish = false;
    turn_until(m->joined);
    int64_t before = lag_of("g.prefix", fixture.topic_b);
    send_records(p, fixture.topic_b, "prefix-", 40);
    turn_until(seen_of(m, fixture.topic_b, "prefix-") == 40);
    assert_int_equal(consumer_stats(m->consumer).out, m->n_seen);

    /* The last of each partition first: nothing can be committed.  The first
     * record of all stays out to the end and holds back its partition alone.  */
    struct seen *held = &m->seen[0];
    for (size_t i = m->n_seen; i-- > 1;)
        done(m, i);
    int64_t held_back = 0;
    for (size_t i = 0; i < m->n_seen; i++)
        held_back +=
            strcmp(m->seen[i].topic, held->topic) == 0 && m->seen[i].partition == held->partition;
    assert_true(held_back > 0 && before >= 0);
    turn_until(lag_of("g.prefix", fixture.topic_a) + lag_of("g.prefix", fixture.topic_b) ==
               held_back);

    /* Who leaves now gives the held record and what follows it to the next. */
    char value[64];
    (void)snprintf(value, sizeof value, "%s", held->value);
    leave(m);
    m = open_member("g.prefix");
    turn_until(m->n_seen == (size_t)held_back);
    assert_string_equal(m->seen[0].value, value);
    turn_until(lag_of("g.prefix", fixture.topic_a) + lag_of("g.prefix", fixture.topic_b) == 0);
    leave(m);
    producer_free(p);
}

static void a_paused_topic_waits_and_loses_nothing(void **state)
{
    struct producer *p = open_producer();
    struct member *m = open_member("g.pause");
    (void)state;
    consumer_pause(m->consumer, fixture.topic_a);
    send_records(p, fixture.topic_a, "paused-", 30);
    send_records(p, fixture.topic_b, "flowing-", 30);
    turn_until(seen_of(m, fixture.topic_b, "flowing-") == 30);
    assert_int_equal(seen_of(m, fixture.topic_a, ""), 0);

    /* Another member comes and goes: the pause stays. */
    struct member *other = open_member("g.pause");
    consumer_pause(other->consumer, fixture.topic_a);
    turn_until(other->joined && other->partitions == PARTITIONS && m->partitions == PARTITIONS);
    leave(other);
    turn_until(m->partitions == 2 * PARTITIONS);
    send_records(p, fixture.topic_b, "after-", 30);
    turn_until(seen_of(m, fixture.topic_b, "after-") == 30);
    assert_int_equal(seen_of(m, fixture.topic_a, ""), 0);

    /* On and off again, in the middle of the records. */
    for (int i = 0; seen_of(m, fixture.topic_a, "paused-") < 30; i++) {
        size_t before = m->n_seen;
        consumer_resume(m->consumer, fixture.topic_a);
        turn_until(m->n_seen > before);
        consumer_pause(m->consumer, fixture.topic_a);
        assert_true(i < 100);
    }
    assert_each_once_in_order(m, fixture.topic_a);
    leave(m);
    assert_int_equal(lag_of("g.pause", fixture.topic_a), 0);
    producer_free(p);
}

static void a_partition_taken_away_makes_its_slots_void(void **state)
{
    struct producer *p = open_producer();
    struct member *m = open_member("g.rebalance");
    (void)state;
    turn_until(m->joined && m->n_seen > 0);
    turn_until(lag_of("g.rebalance", fixture.topic_a) + lag_of("g.rebalance", fixture.topic_b) ==
               0);
    size_t from = m->n_seen;
    m->finish = false;
    send_records(p, fixture.topic_a, "moved-", 60);
    turn_until(m->n_seen == from + 60);

    struct member *other = open_member("g.rebalance");
    turn_until(other->joined && other->partitions == PARTITIONS && m->partitions == PARTITIONS);
    turn_until(consumer_stats(m->consumer).out + other->n_seen == 60);

    /* All slots are finished by the first member, those it lost included. */
    size_t out = consumer_stats(m->consumer).out;
    for (size_t i = from; i < m->n_seen; i++)
        done(m, i);
    assert_int_equal(consumer_stats(m->consumer).out, 0);
    assert_int_equal(out + seen_of(other, fixture.topic_a, "moved-"), 60);
    turn_until(lag_of("g.rebalance", fixture.topic_a) == 0);

    /* The one that stays gets everything back. */
    m->finish = true;
    leave(other);
    turn_until(m->partitions == 2 * PARTITIONS);
    from = m->n_seen;
    send_records(p, fixture.topic_a, "back-", 20);
    turn_until(seen_of(m, fixture.topic_a, "back-") == 20);
    assert_int_equal(m->n_seen - from, 20);
    leave(m);
    producer_free(p);
}

static void records_out_and_per_turn_are_bounded(void **state)
{
    struct producer *p = open_producer();
    struct consumer_options options = { .records_out = 10, .records_per_turn = 4 };
    struct member *m = open_member_with("g.bounds", options);
    (void)state;
    m->finish = false;
    send_records(p, fixture.topic_b, "bounded-", 100);
    for (size_t finished = 0; seen_of(m, fixture.topic_b, "bounded-") < 100;) {
        size_t before = m->n_seen;
        loop_turn(&fixture.loop, 100);
        assert_true(m->n_seen - before <= 8); /* tasks run twice in one turn */
        assert_true(consumer_stats(m->consumer).out <= 10);
        if (consumer_stats(m->consumer).out == 10)
            while (finished < m->n_seen)
                done(m, finished++);
    }
    assert_each_once_in_order(m, fixture.topic_b);
    leave(m);
    producer_free(p);
}

static void a_crash_gives_the_records_back(void **state)
{
    struct producer *p = open_producer();
    struct member *m = open_member("g.crash");
    (void)state;
    m->finish = false;
    turn_until(m->joined);
    send_records(p, fixture.topic_a, "crash-", 10);
    turn_until(seen_of(m, fixture.topic_a, "crash-") == 10);
    consumer_free(m->consumer);
    free(m);
    m = open_member("g.crash");
    turn_until(seen_of(m, fixture.topic_a, "crash-") == 10);
    leave(m);
    producer_free(p);
}

static void closing_before_joining_works(void **state)
{
    (void)state;
    struct member *m = open_member("g.early");
    leave(m); /* at once */
    m = open_member("g.early");
    for (int i = 0; i < 20; i++) /* somewhere on the way into the group */
        loop_turn(&fixture.loop, 10);
    leave(m);
    struct kafka_settings settings =
        settings_with("partition.assignment.strategy", "cooperative-sticky");
    m = open_member_as(&settings, "g.early.cooperative", (struct consumer_options){ 0 });
    leave(m);
}

static void a_cooperative_group_works_too(void **state)
{
    struct kafka_settings settings =
        settings_with("partition.assignment.strategy", "cooperative-sticky");
    struct consumer_options options = { 0 };
    struct producer *p = open_producer();
    struct member *m = open_member_as(&settings, "g.cooperative", options);
    (void)state;
    turn_until(m->joined && m->partitions == 2 * PARTITIONS);
    struct member *other = open_member_as(&settings, "g.cooperative", options);
    turn_until(m->partitions == PARTITIONS && other->partitions == PARTITIONS);
    assert_true(consumer_joined(m->consumer) && consumer_joined(other->consumer));
    send_records(p, fixture.topic_b, "shared-", 40);
    turn_until(
        seen_of(m, fixture.topic_b, "shared-") + seen_of(other, fixture.topic_b, "shared-") >= 40);
    leave(other);
    turn_until(m->partitions == 2 * PARTITIONS);
    /* The embedded broker refuses commits in a rebalance, and they are repeated. */
    turn_until(lag_of("g.cooperative", fixture.topic_b) == 0);
    leave(m);
    producer_free(p);
}

static void bad_settings_are_refused(void **state)
{
    struct kafka_settings settings = settings_with("no.such.property", "x");
    const char *topic = fixture.topic_a;
    struct consumer_options options = { .group = "g", .topics = &topic, .n_topics = 1 };
    struct consumer_calls calls = { .on_record = on_record };
    struct consumer *c;
    struct error err;
    (void)state;
    assert_int_equal(consumer_init(&c, &fixture.loop, &settings, &options, &calls, &err), REFUSED);
    assert_contains(err.text, "no.such.property");
    assert_null(c);
}

static void an_outage_passes(void **state)
{
    (void)state;
    if (!fixture.broker)
        skip();
    struct producer *p = open_producer();
    struct member *m = open_member("g.outage");
    turn_until(m->joined);
    broker_set_down(fixture.broker, true);
    turn_until(consumer_stats(m->consumer).errors > 0);
    broker_set_down(fixture.broker, false);
    send_records(p, fixture.topic_a, "after-outage-", 10);
    turn_until(seen_of(m, fixture.topic_a, "after-outage-") == 10);

    /* A new broker that knows nothing of the past: offsets begin at 0 again. */
    fixture_restart_broker();
    producer_free(p);
    p = open_producer();
    send_records(p, fixture.topic_a, "new-life-", 10);
    turn_until(seen_of(m, fixture.topic_a, "new-life-") == 10);
    turn_until(lag_of("g.outage", fixture.topic_a) == 0);
    leave(m);
    producer_free(p);
}

static void closing_without_a_broker_ends(void **state)
{
    (void)state;
    if (!fixture.broker)
        skip();
    struct member *m = open_member("g.gone");
    turn_until(m->joined);
    broker_set_down(fixture.broker, true);
    int64_t began_ms = clock_mono_ms();
    leave(m);
    assert_true(clock_mono_ms() - began_ms < 15000);
    broker_set_down(fixture.broker, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_what_is_done_and_leaves),
        cmocka_unit_test(only_the_finished_prefix_is_committed),
        cmocka_unit_test(a_paused_topic_waits_and_loses_nothing),
        cmocka_unit_test(a_partition_taken_away_makes_its_slots_void),
        cmocka_unit_test(records_out_and_per_turn_are_bounded),
        cmocka_unit_test(a_crash_gives_the_records_back),
        cmocka_unit_test(closing_before_joining_works),
        cmocka_unit_test(a_cooperative_group_works_too),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(an_outage_passes),
        cmocka_unit_test(closing_without_a_broker_ends),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
