/*
 * heartbeat.h -- says that we are alive, and watches whether the others are.
 *
 *      thread of its own                                   loop
 *      -----------------                                   ----
 *      connect, check the schema, register  ---------->  on_registered(incarnation)
 *      take our session lock
 *      every 500 ms:
 *        has the loop turned lately?  no: abort()  <---  loop_last_tick_ms()
 *        heartbeat() in Postgres
 *          self: dead?  catalogue changed?      ---------->  on_dead, on_catalog
 *          cancelled claims of ours             ---------->  on_cancel
 *          peers --> liveness.h --> declare_dead()
 *
 * The thread does nothing else and has its own connection, so that neither a
 * slow query nor a full loop can make a living process look dead.  A loop that
 * has not turned for 5 s makes it stop beating and abort the process: a blocked
 * process must not keep its claims.
 *
 * Limits:  256 cancellations are passed on per beat; the rest comes with
 *          the next beats.
 * Threads: heartbeat_set_in_flight() from any; the rest from the loop's.
 * Errors:  Postgres being away is logged and waited for.  on_refused: what a
 *          person must mend before this process can work.
 */
#ifndef PAWL_COMMON_HEARTBEAT_H
#define PAWL_COMMON_HEARTBEAT_H

#include "common/loop.h"
#include "common/outcome.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stdint.h>

struct heartbeat;

struct heartbeat_options {
    const char *dsn;
    const char *instance; /* host and slot: the same after a restart */
    const char *kind;     /* "planner" or "executor" */
    const char *class;
    const char *program; /* version of this binary */
    int capacity;
    int interval_ms;   /* 0: 500 */
    int dead_after_ms; /* a beat that stands still for so long: dead; 0: 10 s */
    int tick_max_ms;   /* a loop that stands still for so long: abort; 0: 5 s */
};

/* All on the loop. */
struct heartbeat_calls {
    void *arg;
    void (*on_registered)(void *arg, int64_t incarnation);
    void (*on_refused)(void *arg, const struct error *err);
    /* Beats go through again, or do not any more. */
    void (*on_link)(void *arg, bool up, const char *text);
    /* The run of a claim of ours has ended; index -1: the plan of that step.  Told
     * again with every beat until the claim is committed (or handed back).   */
    void (*on_cancel)(void *arg, const struct uuid *run, int step, int index);
    /* Others have ended, or died: what they held may be due now. */
    void (*on_gone)(void *arg);
    void (*on_catalog)(void *arg); /* something was published; also after registering */
    void (*on_dead)(void *arg);    /* once: come back as a new incarnation */
};

MUST_CHECK enum outcome heartbeat_start(struct heartbeat **out, struct loop *loop,
                                        const struct heartbeat_options *options,
                                        const struct heartbeat_calls *calls, struct error *err);

void heartbeat_set_in_flight(struct heartbeat *h, int calls); /* shown to people */

/* Ends the thread, waiting for a statement of its own at most; no callback comes
 * any more.  NULL is fine.                                                  */
void heartbeat_stop(struct heartbeat *h);

#endif
