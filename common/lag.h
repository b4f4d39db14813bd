/*
 * lag.h -- how far a consumer group is behind, whoever its members are.
 *
 *     lag = end of the partition - committed offset of the group
 *
 * Counted from what the brokers say, not from what we consume, so it is true
 * also when nobody consumes.  In this project offsets are committed when
 * Postgres owns the work: lag means records not yet looked at.
 *
 * lag_read() asks and waits: for the command line, or for a thread.  A
 * lag_watch is such a thread: it asks at an interval and keeps the last answer
 * for the metrics page.
 *
 * Limits:  1000 partitions per read.
 * Threads: lag_read() from any thread; a lag_watch locks inside.
 * Errors:  RETRY: Kafka did not answer in time.  REFUSED: settings.
 */
#ifndef PAWL_COMMON_LAG_H
#define PAWL_COMMON_LAG_H

#include "common/kafka.h"
#include "common/outcome.h"

#include <stddef.h>
#include <stdint.h>

struct lag_query {
    const char *group;
    const char *const *topics; /* those that do not exist are left out */
    size_t n_topics;
};

struct lag_row {
    char topic[256];
    int partition;
    int64_t committed; /* -1: the group has committed nothing yet */
    int64_t end;       /* offset of the next record to be written */
    int64_t lag;       /* records; from the oldest kept one if committed is -1 */
};

struct lag_report {
    struct lag_row *rows; /* by topic, then partition */
    size_t n;
    int64_t lag; /* sum */
};

/* A client to ask with, of one's own.  Kafka need not be there yet. */
MUST_CHECK enum outcome lag_open(const struct kafka_settings *settings, struct rd_kafka_s **out,
                                 struct error *err);
void lag_close(struct rd_kafka_s *client);

/* Waits for timeout_ms at most. `client` is of lag_open() or consumer_client(). */
MUST_CHECK enum outcome lag_read(struct rd_kafka_s *client, const struct lag_query *query,
                                 int timeout_ms, struct lag_report *out, struct error *err);
void lag_report_release(struct lag_report *r);

/* ---- a thread for the metrics page --------------------------------------- */

struct lag_watch;

/* Asks every interval_ms with the given client, which must outlive it.  The
 * queries are copied.                                                        */
MUST_CHECK enum outcome lag_watch_init(struct lag_watch **out, struct rd_kafka_s *client,
                                       const struct lag_query *queries, size_t n_queries,
                                       int interval_ms, struct error *err);

/* Calls row() for each partition of the last good answers, with the lock held:
 * be quick.  Groups whose last answer is older than three intervals are left
 * out, so that a number on the page is never an old one.                     */
void lag_watch_each(struct lag_watch *w,
                    void (*row)(void *arg, const char *group, const struct lag_row *row),
                    void *arg);

/* Waits for a question in flight: at most its timeout of 5 s. */
void lag_watch_free(struct lag_watch *w);

#endif
