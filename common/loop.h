/*
 * loop.h -- the one event loop of a process, and the only door to libuv.
 *
 *      timers fire --> deferred tasks --> wait for descriptors --> their
 *        ^             (loop_defer)       (watches, wakes, signals)  callbacks
 *        |                                                               |
 *        +------------------------ deferred tasks <----------------------+
 *
 * One round of this picture is a turn.  Whoever waits for something embeds a
 * struct loop_timer, loop_watch, loop_wake or loop_task in a struct of its own
 * and gets called back with the `arg` it gave.  After the close (or cancel)
 * call no callback comes any more and the embedding struct may be freed at
 * once, also from inside a callback: libuv's own handles, which must outlive
 * their close, belong to the loop and are used again.
 *
 * Limits:  callbacks must not block; the watchdog of the heartbeat takes a
 *          turn of 5 s for a dead process (loop_last_tick_ms).  Delays are cut
 *          at LOOP_DELAY_MAX_MS.  Memory is allocated only when more timers or
 *          watches are open than ever before.
 * Threads: everything belongs to the thread that runs the loop, except
 *          loop_wake_send() and loop_last_tick_ms(), which any thread may call.
 * Errors:  only loop_init, loop_watch_start, loop_wake_init and loop_signal can
 *          fail, for want of descriptors or for a wrong argument.
 */
#ifndef PAWL_COMMON_LOOP_H
#define PAWL_COMMON_LOOP_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stdint.h>

#define LOOP_DELAY_MAX_MS INT64_C(31536000000) /* one year */

struct loop_core;  /* libuv's side of it, private to loop.c */
struct loop_poll;  /* one poll handle of libuv, private to loop.c */
struct loop_alarm; /* one timer handle */
struct loop_async; /* one async handle */

struct loop {
    struct loop_core *core;
};

/* Also ignores SIGPIPE for the whole process: a peer that hangs up is an error
 * of one call, never the end of the daemon.                                  */
MUST_CHECK enum outcome loop_init(struct loop *loop, struct error *err);

/* Turns until loop_stop().  May be called again afterwards. */
void loop_run(struct loop *loop);

/* Ends loop_run() after the present turn.  From the loop's thread only; other
 * threads send a wake.                                                       */
void loop_stop(struct loop *loop);

/* One turn that waits at most max_wait_ms for something to happen (0: looks and
 * does not wait).  For tests, and for draining at the end of a process.      */
void loop_turn(struct loop *loop, int64_t max_wait_ms);

/* Closes what is still open without calling anybody.  Nothing that was opened
 * on this loop may be touched afterwards.                                    */
void loop_release(struct loop *loop);

/* The monotonic time at which the present turn began: cheap, and the same for
 * everything that happens in one turn.                                       */
int64_t loop_now_ms(const struct loop *loop);

/* When the loop last turned, on the clock of clock_mono_ms(); an idle loop turns
 * at least once a second.  A value that stands still means a blocked loop.   */
int64_t loop_last_tick_ms(const struct loop *loop);

/* ---- timers: fire once, never early, may be started again at any time ---- */

struct loop_timer {
    struct loop *loop;
    struct loop_alarm *alarm; /* NULL once closed */
    void (*fn)(void *arg);
    void *arg;
};

void loop_timer_init(struct loop *loop, struct loop_timer *t, void (*fn)(void *arg), void *arg);

/* Moves the timer when it runs already. A delay of 0 is the next turn, 1 ms at
 * the least; what should happen in this turn is a task for loop_defer().    */
void loop_timer_start(struct loop_timer *t, int64_t delay_ms);
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_active(const struct loop_timer *t);
void loop_timer_close(struct loop_timer *t); /* harmless when closed, or zeroed and never opened */

/* ---- watches: a foreign descriptor becomes readable or writable ---------- */

enum {
    LOOP_READ = 1,
    LOOP_WRITE = 2,
    /* Only reported, never asked for: the descriptor is in error or hung up, as
     * POLLERR of poll(2).  READ and WRITE are set beside it as far as they were
     * asked for, so that the next read or write finds the error.  It comes again
     * turn after turn until the watch is closed or stopped.                 */
    LOOP_ERROR = 4,
};

struct loop_watch {
    struct loop *loop;
    struct loop_poll *poll; /* NULL once closed */
    void (*fn)(void *arg, int events);
    void *arg;
    int fd;
    int events;
};

/* One watch for a descriptor at a time; it is made non-blocking. With `events` 0
 * it is silent until loop_watch_update(). Close the watch before the descriptor.
 * BROKEN when the descriptor cannot be polled.                              */
MUST_CHECK enum outcome loop_watch_start(struct loop *loop, struct loop_watch *w, int fd,
                                         int events, void (*fn)(void *arg, int events), void *arg,
                                         struct error *err);
void loop_watch_update(struct loop_watch *w, int events);
void loop_watch_stop(struct loop_watch *w);  /* silent until loop_watch_update */
void loop_watch_close(struct loop_watch *w); /* harmless when closed, or zeroed */

/* ---- wakes: another thread has something for us -------------------------- */

struct loop_wake {
    struct loop *loop;
    struct loop_async *async;
    void (*fn)(void *arg);
    void *arg;
};

MUST_CHECK enum outcome loop_wake_init(struct loop *loop, struct loop_wake *w,
                                       void (*fn)(void *arg), void *arg, struct error *err);

/* Any thread, any number of times; sends before the callback are one callback. */
void loop_wake_send(struct loop_wake *w);

/* The other threads must have stopped sending. */
void loop_wake_close(struct loop_wake *w);

/* ---- deferred tasks: later in this turn, when the stack is empty --------- */

struct loop_task {
    struct loop *loop;
    struct loop_task *prev, *next;
    void (*fn)(void *arg);
    void *arg;
    bool queued;
};

/* Runs fn(arg) soon, in the order of asking and never from inside this call.
 * A task is queued once: deferring it again before it ran changes nothing. A
 * task that defers itself runs again in the next turn, after the descriptors. */
void loop_defer(struct loop *loop, struct loop_task *task, void (*fn)(void *arg), void *arg);
void loop_defer_cancel(struct loop_task *task); /* harmless when not queued, or zeroed */

/* ---- signals -------------------------------------------------------------- */

/* fn(arg, signum) runs in the loop, outside the signal handler.  Stays until the
 * loop is released.                                                          */
MUST_CHECK enum outcome loop_signal(struct loop *loop, int signum,
                                    void (*fn)(void *arg, int signum), void *arg,
                                    struct error *err);

#endif
