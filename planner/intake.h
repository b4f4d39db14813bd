/*
 * intake.h -- all request records that this planner has in its hands.
 *
 *     records --> [held] --> arrivals (arrival.h), side by side --> record done
 *                   |
 *                   +--> after an assignment: did a planner die lately?
 *                          no:  all go on at once
 *                          yes: one at a time and noted, until the partition has
 *                               passed what may have been in the dead one's hands
 *
 * Requests are not paused for want of capacity, since accepting one is only a row;
 * but what is in our hands at once is bounded.
 *
 * Limits:  INTAKE_RECORDS_MAX records and INTAKE_BYTES_MAX bytes; beyond them the
 *          topic pauses until half of them are done.
 * Threads: the loop's.
 * Errors:  none leave it.
 */
#ifndef PAWL_PLANNER_INTAKE_H
#define PAWL_PLANNER_INTAKE_H

#include "common/daemon.h"
#include "planner/arrival.h"

#include <stddef.h>
#include <stdint.h>

enum {
    INTAKE_RECORDS_MAX = 512,
    INTAKE_BYTES_MAX = 32 << 20,
    INTAKE_SUSPECTS = 1024,       /* records of a partition after an assignment */
    INTAKE_SUSPECT_AGE_MS = 5000, /* what is younger than the assignment by more is new */
    INTAKE_DEATHS_MAX = 3,
};

struct intake;

struct intake_calls {
    void *arg;
    void (*ring)(void *arg, const struct doorbell *d);
    void (*announce)(void *arg, int64_t event_id);
};

void intake_init(struct intake **out, struct daemon *daemon, const struct intake_calls *calls);
void intake_free(struct intake *in); /* drops what is left; NULL is fine */

void intake_record(struct intake *in, const struct record_view *rec, struct consumer_slot slot);

/* What has not begun is dropped; what has begun is finished, but not waited for
 * where only Kafka is missing.                                               */
void intake_drain(struct intake *in);

size_t intake_in_flight(const struct intake *in);

#endif
