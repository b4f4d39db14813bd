/*
 * producer.h -- sends records to Kafka without ever making the loop wait.
 *
 *     producer_send()  -->  librdkafka's queue  -->  broker
 *          |                                            |
 *     done(arg, OK) on the loop  <-- eventfd <-- delivery report
 *
 * Two manners.  A doorbell has no `done`: it is sent with best effort, and when
 * Kafka is away it is dropped after a short time, since whoever is idle looks
 * into Postgres anyway.  An event or a dead letter has a `done`, called exactly
 * once on the loop and never from inside producer_send(): OK after the broker's
 * acknowledgement, else RETRY or REFUSED.
 *
 * Limits:  messages and bytes in flight (options); beyond them producer_send()
 *          answers RETRY.  Doorbells get half of it, so that a flood of them
 *          never keeps an event out.
 * Threads: the loop's.  librdkafka's threads only signal the eventfd.
 * Errors:  RETRY: queue full, or not delivered in time.  REFUSED: this record
 *          will never be taken (too large).  BROKEN: the client is dead beyond
 *          repair; restart the process.
 */
#ifndef PAWL_COMMON_PRODUCER_H
#define PAWL_COMMON_PRODUCER_H

#include "common/kafka.h"
#include "common/loop.h"
#include "common/message.h"
#include "common/outcome.h"

#include <stddef.h>
#include <stdint.h>

struct producer;

struct producer_options {
    size_t queue_messages; /* 0: 10,000 */
    size_t queue_bytes;    /* 0: 8 MiB */
    int timeout_ms;        /* a record not acknowledged by then is given up;
                              0: message.timeout.ms of the settings, or 5000 */
};

struct producer_stats {
    uint64_t sent;      /* taken by producer_send() */
    uint64_t delivered; /* acknowledged by a broker */
    uint64_t failed;    /* given up, doorbells included */
    uint64_t full;      /* turned away because the queue was full */
    size_t in_flight;
    size_t in_flight_bytes;
};

/* err is NULL when outcome is OK. */
typedef void producer_done(void *arg, enum outcome outcome, const struct error *err);

/* Makes a producer that lives on the loop.  Kafka need not be there. */
MUST_CHECK enum outcome producer_init(struct producer **out, struct loop *loop,
                                      const struct kafka_settings *settings,
                                      const struct producer_options *options, struct error *err);

/* Sends a copy of the draft.  With `done` it will be called unless this
 * returns other than OK; without, the record is a doorbell.                  */
MUST_CHECK enum outcome producer_send(struct producer *p, const char *topic,
                                      const struct record_draft *draft, producer_done *done,
                                      void *arg, struct error *err);

/* A doorbell under its key; what becomes of it is nobody's business. */
void producer_ring(struct producer *p, const char *topic, const struct doorbell *d);

/* Calls done(arg, OK) on the loop when nothing is in flight any more, or
 * RETRY after timeout_ms.  One at a time.                                    */
void producer_flush(struct producer *p, int timeout_ms, producer_done *done, void *arg);

struct producer_stats producer_stats(const struct producer *p);

/* Drops what is still queued: its `done`s are called with RETRY before this
 * returns.  May wait for librdkafka's threads (milliseconds): for the end of
 * the process, after producer_flush().                                       */
void producer_free(struct producer *p);

/* ---- dead letters ------------------------------------------------------- */

struct dead_letter {
    const char *topic; /* where to; NULL: "<topic of the record>.dlq" */
    const char *code;  /* short word: request_fault_code() */
    const char *text;  /* sentence for people; made safe and bounded here */
    const char *group; /* consumer group that gave up */
    int attempts;      /* how often the record was tried; at least 1 */
};

/* Sends the record unchanged (key, value, all headers) with headers
 * pawl_dlq_{topic,partition,offset,group,timestamp,error_code,error_message,
 * attempts} added.  Acknowledge the record (consumer_done) only after
 * done(arg, OK); after RETRY send it again, later.  When the broker refuses the
 * record as too large it is sent once more without its value, which
 * `pawl_dlq_value_dropped` (its size in bytes) then says.                    */
MUST_CHECK enum outcome dlq_send(struct producer *p, const struct record_view *rec,
                                 const struct dead_letter *why, producer_done *done, void *arg,
                                 struct error *err);

#endif
