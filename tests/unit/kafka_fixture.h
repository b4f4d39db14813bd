/*
 * kafka_fixture.h -- a loop, an embedded broker and what the Kafka tests do with
 * them. Nothing waits for a fixed time: turn_until() turns the loop until a
 * condition holds, and its limit only ends a test that has failed.
 *
 * With PAWL_TEST_KAFKA=host:port the same tests run against a real Kafka
 * (tests/kafka/kafka-local); what needs a broker to fail is left out.
 */
#ifndef PAWL_TESTS_UNIT_KAFKA_FIXTURE_H
#define PAWL_TESTS_UNIT_KAFKA_FIXTURE_H

#include "cli/broker.h"
#include "common/clock.h"
#include "common/consumer.h"
#include "common/loop.h"
#include "common/producer.h"

enum { PATIENCE_MS = 60000, PARTITIONS = 4 };

struct fixture {
    struct loop loop;
    struct broker *broker; /* NULL: a real Kafka, outside */
    char topic_a[64];
    char topic_b[64];
    struct kafka_settings settings;
    struct config_property properties[16];
    char bootstrap[256];
};

/* The one of this test program; opened and closed by the group functions. */
extern struct fixture fixture;
int fixture_open(void **state);
int fixture_close(void **state);

/* The embedded broker dies with all it had, and another one begins in its
 * place, on the same port, with the same topics, empty.                     */
void fixture_restart_broker(void);

#define turn_until(condition)                              \
    do {                                                   \
        int64_t give_up_ = clock_mono_ms() + PATIENCE_MS;  \
        while (!(condition) && clock_mono_ms() < give_up_) \
            loop_turn(&fixture.loop, 100);                 \
        assert_true(condition);                            \
    } while (0)

/* The settings with one more property; one at a time. */
struct kafka_settings settings_with(const char *name, const char *value);

/* Sends n records "<prefix><i>" under the key of the same text, in order, and
 * waits until all are acknowledged.                                         */
void send_records(struct producer *p, const char *topic, const char *prefix, int n);

struct producer *open_producer(void);

/* The lag of a group on a topic, as the broker sees it. */
int64_t lag_of(const char *group, const char *topic);

#endif
