/*
 * consumer.h -- takes records from Kafka, and says when they need not come again.
 *
 *     broker --> librdkafka's queue --> eventfd --> on_record(rec, slot)
 *                                                        |   any time,
 *     broker <-- commit, every 100 ms <-- prefix <-- consumer_done(slot)  any order
 *
 * A record that was handed out counts as taken when consumer_done() was called
 * with its slot: for us, when Postgres owns the work.  Committed is the
 * contiguous taken prefix of each partition (offsets.h), in batches, never a
 * message alone.  When a partition is taken away, its prefix is committed first
 * and its slots are forgotten: a late consumer_done() then does nothing, and
 * the next owner gets the record again.
 *
 * Joining and leaving, pausing and committing never block the loop.
 *
 * Limits:  records per turn of the loop; records out at once (beyond, all
 *          partitions pause until half of them are done); bytes fetched ahead.
 * Threads: the loop's.  librdkafka's threads only signal the eventfd.
 * Errors:  consumer_init() REFUSED for settings.  Kafka being away is not an
 *          error: it is logged, counted, and ends by itself.
 */
#ifndef PAWL_COMMON_CONSUMER_H
#define PAWL_COMMON_CONSUMER_H

#include "common/kafka.h"
#include "common/loop.h"
#include "common/message.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct consumer;

/* The place of a record in the queue of its partition; copy it freely. */
struct consumer_slot {
    uint32_t lane;       /* which partition, of this consumer */
    uint32_t generation; /* which assignment of it */
    int64_t offset;
};

struct consumer_options {
    const char *group;
    const char *const *topics;
    size_t n_topics;
    size_t records_per_turn;  /* 0: 64 */
    size_t records_out;       /* 0: 4096 */
    size_t fetch_ahead_bytes; /* 0: 1 MiB */
    int commit_interval_ms;   /* 0: 100 */
};

/* All called on the loop.  Only on_record must be there. */
struct consumer_calls {
    void *arg;
    /* The record is borrowed: copy what must outlive the call. */
    void (*on_record)(void *arg, const struct record_view *rec, struct consumer_slot slot);
    /* The group gave us another set of partitions (perhaps none). */
    void (*on_assignment)(void *arg, bool joined, size_t partitions);
    /* The end that consumer_close() began. */
    void (*on_closed)(void *arg);
};

struct consumer_stats {
    uint64_t records; /* handed out */
    uint64_t commits; /* batches of offsets acknowledged by the broker */
    uint64_t commit_errors;
    uint64_t errors;     /* told by librdkafka: connections, topics, rights */
    uint64_t rebalances; /* changes of our partitions */
    size_t out;          /* handed out and not done */
    size_t partitions;   /* ours now */
};

/* Joins the group and begins to hand out records.  Kafka need not be there. */
MUST_CHECK enum outcome consumer_init(struct consumer **out, struct loop *loop,
                                      const struct kafka_settings *settings,
                                      const struct consumer_options *options,
                                      const struct consumer_calls *calls, struct error *err);

void consumer_done(struct consumer *c, struct consumer_slot slot);

/* No more records of this topic until resumed; those already out are finished
 * as usual.  Holds for partitions that come later, too.  Both are idempotent. */
void consumer_pause(struct consumer *c, const char *topic);
void consumer_resume(struct consumer *c, const char *topic);

/* True from the first assignment until the group is lost or left, through
 * rebalances, unless one takes longer than 20 s.                            */
bool consumer_joined(const struct consumer *c);
struct consumer_stats consumer_stats(const struct consumer *c);

/* The client beneath, for lag.h: questions may go over its connections. */
struct rd_kafka_s *consumer_client(struct consumer *c);

/* Hands out no more records, commits what is done, leaves the group, then calls
 * on_closed.  Call consumer_done() for what is done before this.             */
void consumer_close(struct consumer *c);

/* Without consumer_close() before it, this is a crash to the group: its other
 * members wait for the session to end.  May wait for librdkafka's threads.    */
void consumer_free(struct consumer *c);

#endif
