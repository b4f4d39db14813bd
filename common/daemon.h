/*
 * daemon.h -- what planner and executor share: everything but their work.
 *
 *     starting --> joining --> working --> finishing --> leaving --> closed
 *     Postgres,    our number,  records,    no new work,  hand_back,   exit 0
 *     schema       catalogue    sweeps      calls end     flush        (75: dead)
 *
 * daemon_main() is the whole of main(): flags, configuration, log, loop, store,
 * registry, heartbeat, health page, Kafka, signals, and this way of life.  The
 * work itself is a struct daemon_work: planner and executor fill it in.
 *
 * SIGTERM, SIGINT: finishing.  The group is left as soon as no record is half
 * looked at, so that others get our partitions while our calls still run; the
 * calls in flight have `grace` to end.  A second signal ends the grace at once.
 * What still runs then is handed back, which treats it as after a crash.
 *
 * Declared dead: finishing too, without hand_back, and exit 75, so that the
 * supervisor starts a new incarnation.
 *
 * The sweep asks Postgres about once a second for what is due, as long as there
 * is free capacity, and again at once when the batch was full.
 *
 * PAWL_WATCHDOG=DURATION changes how long the loop may stand still before the
 * process aborts (heartbeat.h); 0 switches it off, for a debugger.
 *
 * Limits:  one daemon per process.
 * Threads: the loop's; see heartbeat.h, pg_async.h, health.h for their own.
 * Errors:  REFUSED at the start ends the process with 1 and one line that says
 *          what to do.
 */
#ifndef PAWL_COMMON_DAEMON_H
#define PAWL_COMMON_DAEMON_H

#include "common/config.h"
#include "common/consumer.h"
#include "common/health.h"
#include "common/heartbeat.h"
#include "common/loop.h"
#include "common/message.h"
#include "common/outcome.h"
#include "common/producer.h"
#include "common/registry.h"
#include "common/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DAEMON_TOPICS_MAX = 4,
    DAEMON_EXIT_DEAD = 75, /* EX_TEMPFAIL: start me again */
};

struct daemon;

/* One piece of work per process, filled in by planner or executor.  `self` is what
 * start() made.  All on the loop; all but those marked optional must be there. */
struct daemon_work {
    const char *name;    /* "planner": also the kind in pawl.workers, and in the log */
    const char *summary; /* one line for --help */

    /* From the configuration. */
    const char *(*group)(const struct config *cfg);
    size_t (*topics)(const struct config *cfg, const char *topics[DAEMON_TOPICS_MAX]);
    int (*capacity)(const struct config *cfg);

    /* Everything in struct daemon is there but the consumer; begins to take work
     * after it.                                                              */
    enum outcome (*start)(struct daemon *d, void **self, struct error *err);

    void (*on_record)(void *self, const struct record_view *rec, struct consumer_slot slot);
    void (*on_due)(void *self, const struct store_due *due); /* PLAN and ACT only */
    void (*on_sweep)(void *self);                            /* optional: about once a second */
    void (*on_cancel)(void *self, const struct uuid *run, int step, int index);
    void (*on_tool)(void *self, int64_t seq, const struct tool_def *def);   /* optional */
    void (*on_model)(void *self, int64_t seq, const struct model_def *def); /* optional */

    /* No new work from here on; what has begun is finished.  Records that come
     * late are not given any more.  `dead`: our claims are gone; plans may be
     * dropped, results of tool calls are still committed.  Called again, with
     * `dead`, when that is learned while finishing.                          */
    void (*on_finish)(void *self, bool dead);

    int (*free_places)(void *self);         /* how much more work could be begun now */
    int (*in_flight)(void *self);           /* tasks that are not done; 0: may leave */
    int64_t (*longest_call_ms)(void *self); /* what the default grace is made of */

    /* Drops what is left and frees itself.  Only the producer calls back after it:
     * with RETRY, for what it could not send any more.                       */
    void (*stop)(void *self);
};

/* Open to the work: use, do not change. */
struct daemon {
    struct config config;
    struct loop loop;
    struct store *store;
    struct registry *registry;
    struct heartbeat *heartbeat;
    struct health *health; /* NULL: no listener configured */
    struct producer *producer;
    struct consumer *consumer; /* NULL before work, and after the group was left */
    int64_t incarnation;

    struct daemon_life *life; /* private to daemon.c */
};

/* Returns what main() returns. */
int daemon_main(int argc, char **argv, const struct daemon_work *work);

/* The work says that in_flight() has become 0, or that there are free places
 * again: looked at in the next turn.  Calling it too often is cheap.         */
void daemon_progress(struct daemon *d);

/* consumer_done() and consumer_pause/resume() for those who may be called after
 * the group was left.                                                        */
void daemon_record_done(struct daemon *d, struct consumer_slot slot);
void daemon_pause(struct daemon *d, const char *topic);
void daemon_resume(struct daemon *d, const char *topic);

/* A record is let go without being looked at, at the end of the process: it comes
 * again, to its next owner.                                                  */
void daemon_record_left(struct daemon *d);

/* No new work is wanted: SIGTERM, or declared dead. */
bool daemon_finishing(const struct daemon *d);

/* Something cannot go on (a client is beyond repair): finish and exit with
 * `code`.                                                                    */
void daemon_fail(struct daemon *d, int code, const char *why);

#endif
