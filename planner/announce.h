/*
 * announce.h -- tells the world, through the events topic, what became of runs.
 *
 *     event id --> read --> send --> acknowledged --> mark --> forgotten
 *                    |        |            |            |
 *                    +--------+------------+------------+--> left: falls due again
 *
 * An id comes from the very commit that it announces, or from the sweep, which
 * takes what nobody has announced in time.  So nothing is tried twice here: what
 * fails anywhere on its way is left, and some planner's sweep finds it some seconds
 * later.  An event is announced at least once, and only after its commit; a second
 * announcement carries the same id.
 *
 * Limits:  ANNOUNCE_MAX at a time; beyond them ids are left.
 * Threads: the loop's.
 * Errors:  none leave it; they are logged.
 */
#ifndef PAWL_PLANNER_ANNOUNCE_H
#define PAWL_PLANNER_ANNOUNCE_H

#include "common/daemon.h"

#include <stddef.h>
#include <stdint.h>

enum { ANNOUNCE_MAX = 1024, ANNOUNCE_TAKE_MAX = 256 };

struct announcer;

void announcer_init(struct announcer **out, struct daemon *daemon);
void announcer_free(struct announcer *a); /* before store and producer; NULL is fine */

void announce(struct announcer *a, int64_t event_id);

/* Takes what is due, if there is room; called about once a second. */
void announce_due(struct announcer *a);

size_t announce_in_flight(const struct announcer *a);

#endif
