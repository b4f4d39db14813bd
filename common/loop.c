#include "common/loop.h"

#include "common/clock.h"
#include "common/memory.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

enum { BEAT_MS = 500 };

/* The blocks below hold libuv's handles. `data` of each handle points to its
 * block, so that loop_release() can free what it finds; timers and polls go to
 * a list of free blocks when their users close them.                        */
struct loop_alarm {
    uv_timer_t uv;
    struct loop_timer *user;
    struct loop_alarm *next_free;
};

struct loop_poll {
    uv_poll_t uv;
    struct loop_watch *user; /* NULL while closing */
    struct loop_core *core;
    struct loop_poll *next_free;
};

struct loop_async {
    uv_async_t uv;
    struct loop_wake *user;
};

struct signal_block {
    uv_signal_t uv;
    void (*fn)(void *arg, int signum);
    void *arg;
};

struct loop_core {
    uv_loop_t uv;
    uv_timer_t beat;      /* makes an idle loop turn */
    uv_timer_t turn_ends; /* bounds the wait of loop_turn() */
    uv_prepare_t before_wait;
    uv_check_t after_wait;
    uv_idle_t no_wait; /* active while deferred tasks are left over */
    _Atomic int64_t last_tick_ms;
    struct loop_task waiting; /* heads of two rings: tasks asked for, */
    struct loop_task running; /* and those of the present round       */
    struct loop_alarm *free_alarms;
    struct loop_poll *free_polls;
    bool turning;
};

/* ---- deferred tasks ------------------------------------------------------ */

static void ring_init(struct loop_task *head)
{
    head->prev = head->next = head;
}

static bool ring_empty(const struct loop_task *head)
{
    return head->next == head;
}

static void ring_remove(struct loop_task *task)
{
    task->prev->next = task->next;
    task->next->prev = task->prev;
    task->prev = task->next = NULL;
    task->queued = false;
}

void loop_defer(struct loop *loop, struct loop_task *task, void (*fn)(void *arg), void *arg)
{
    if (task->queued)
        return;
    struct loop_task *head = &loop->core->waiting;
    *task = (struct loop_task){
        .loop = loop, .prev = head->prev, .next = head, .fn = fn, .arg = arg, .queued = true
    };
    head->prev->next = task;
    head->prev = task;
}

void loop_defer_cancel(struct loop_task *task)
{
    if (task->queued)
        ring_remove(task);
}

/* Runs what was asked for until now. What these tasks defer waits for the next
 * round, so that a chain of tasks cannot keep descriptors waiting.          */
static void run_tasks(struct loop_core *core)
{
    struct loop_task *head = &core->running;
    if (ring_empty(&core->waiting))
        return;
    *head = core->waiting;
    head->next->prev = head->prev->next = head;
    ring_init(&core->waiting);
    while (!ring_empty(head)) {
        struct loop_task *task = head->next;
        ring_remove(task);
        task->fn(task->arg); /* may free the task */
    }
}

/* ---- the turn ------------------------------------------------------------ */

static void tick(struct loop_core *core)
{
    atomic_store_explicit(&core->last_tick_ms, clock_mono_ms(), memory_order_relaxed);
}

static void on_nothing(uv_timer_t *timer)
{
    (void)timer;
}

static void on_no_wait(uv_idle_t *idle)
{
    (void)idle;
}

static struct loop_core *core_of(const uv_loop_t *uv)
{
    return uv->data;
}

static void on_before_wait(uv_prepare_t *prepare)
{
    struct loop_core *core = core_of(prepare->loop);
    run_tasks(core);
    tick(core);
    int rc = ring_empty(&core->waiting) ? uv_idle_stop(&core->no_wait)
                                        : uv_idle_start(&core->no_wait, on_no_wait);
    assert(rc == 0);
}

static void on_after_wait(uv_check_t *check)
{
    struct loop_core *core = core_of(check->loop);
    tick(core);
    run_tasks(core);
}

enum outcome loop_init(struct loop *loop, struct error *err)
{
    struct loop_core *core = xcalloc(1, sizeof *core);
    loop->core = core;
    int rc = uv_loop_init(&core->uv);
    if (rc != 0) {
        free(core);
        loop->core = NULL;
        return fail(err, BROKEN, "cannot open the event loop: %s; raise the limit of open files",
                    uv_strerror(rc));
    }
    (void)signal(SIGPIPE, SIG_IGN);
    core->uv.data = core;
    ring_init(&core->waiting);
    ring_init(&core->running);
    tick(core);

    /* None of these can fail: their callbacks are given and nothing closes. */
    rc |= uv_timer_init(&core->uv, &core->turn_ends);
    rc |= uv_timer_init(&core->uv, &core->beat);
    rc |= uv_timer_start(&core->beat, on_nothing, BEAT_MS, BEAT_MS);
    rc |= uv_idle_init(&core->uv, &core->no_wait);
    rc |= uv_prepare_init(&core->uv, &core->before_wait);
    rc |= uv_prepare_start(&core->before_wait, on_before_wait);
    rc |= uv_check_init(&core->uv, &core->after_wait);
    rc |= uv_check_start(&core->after_wait, on_after_wait);
    assert(rc == 0);
    return OK;
}

static void turn(struct loop_core *core, uv_run_mode mode)
{
    assert(!core->turning); /* a callback must not run the loop it runs in */
    core->turning = true;
    tick(core);
    (void)uv_run(&core->uv, mode);
    core->turning = false;
}

void loop_run(struct loop *loop)
{
    turn(loop->core, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->core->uv);
}

void loop_turn(struct loop *loop, int64_t max_wait_ms)
{
    struct loop_core *core = loop->core;
    if (max_wait_ms <= 0) {
        turn(core, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&core->uv);
    int rc = uv_timer_start(&core->turn_ends, on_nothing, (uint64_t)max_wait_ms, 0);
    assert(rc == 0);
    turn(core, UV_RUN_ONCE);
    uv_timer_stop(&core->turn_ends);
}

static void on_block_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_any(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, handle->data ? on_block_closed : NULL);
}

void loop_release(struct loop *loop)
{
    struct loop_core *core = loop->core;
    if (!core)
        return;
    assert(!core->turning);
    ring_init(&core->waiting);
    /* The hooks go first, so that nobody is called while the rest closes. */
    uv_prepare_stop(&core->before_wait);
    uv_check_stop(&core->after_wait);
    uv_walk(&core->uv, close_any, NULL);
    while (uv_run(&core->uv, UV_RUN_DEFAULT) != 0)
        continue;
    int rc = uv_loop_close(&core->uv);
    assert(rc == 0);
    for (struct loop_poll *p = core->free_polls, *next; p; p = next) {
        next = p->next_free;
        free(p);
    }
    free(core);
    loop->core = NULL;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return (int64_t)uv_now(&loop->core->uv);
}

int64_t loop_last_tick_ms(const struct loop *loop)
{
    return atomic_load_explicit(&loop->core->last_tick_ms, memory_order_relaxed);
}

/* ---- timers -------------------------------------------------------------- */

void loop_timer_init(struct loop *loop, struct loop_timer *t, void (*fn)(void *arg), void *arg)
{
    struct loop_core *core = loop->core;
    struct loop_alarm *alarm = core->free_alarms;
    if (alarm) {
        core->free_alarms = alarm->next_free;
    } else {
        alarm = xcalloc(1, sizeof *alarm);
        int rc = uv_timer_init(&core->uv, &alarm->uv);
        assert(rc == 0);
        alarm->uv.data = alarm;
    }
    *t = (struct loop_timer){ .loop = loop, .alarm = alarm, .fn = fn, .arg = arg };
    alarm->user = t;
}

static void on_alarm(uv_timer_t *uv)
{
    struct loop_alarm *alarm = uv->data;
    struct loop_timer *t = alarm->user;
    t->fn(t->arg);
}

void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    assert(t->alarm);
    int64_t bounded = delay_ms < 0 ? 0 : delay_ms;
    if (bounded > LOOP_DELAY_MAX_MS)
        bounded = LOOP_DELAY_MAX_MS;
    /* libuv counts from the start of the turn: what has passed since is added, so
     * that a long turn makes no timer early. And never 0: a timer that starts
     * itself again would keep the turn from ending.                         */
    int64_t passed = clock_mono_ms() - loop_now_ms(t->loop);
    int64_t delay = bounded + (passed > 0 ? passed : 0);
    int rc = uv_timer_start(&t->alarm->uv, on_alarm, (uint64_t)(delay > 0 ? delay : 1), 0);
    assert(rc == 0);
}

void loop_timer_stop(struct loop_timer *t)
{
    if (t->alarm)
        uv_timer_stop(&t->alarm->uv);
}

bool loop_timer_active(const struct loop_timer *t)
{
    return t->alarm && uv_is_active((const uv_handle_t *)&t->alarm->uv);
}

void loop_timer_close(struct loop_timer *t)
{
    struct loop_alarm *alarm = t->alarm;
    if (!alarm)
        return;
    uv_timer_stop(&alarm->uv); /* a stopped timer can be started for another user */
    alarm->user = NULL;
    alarm->next_free = t->loop->core->free_alarms;
    t->loop->core->free_alarms = alarm;
    t->alarm = NULL;
}

/* ---- watches ------------------------------------------------------------- */

static int to_uv(int events)
{
    return (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
}

static void on_poll(uv_poll_t *uv, int status, int uv_events)
{
    struct loop_poll *poll = uv->data;
    struct loop_watch *w = poll->user;
    if (!w)
        return;
    int events =
        (uv_events & UV_READABLE ? LOOP_READ : 0) | (uv_events & UV_WRITABLE ? LOOP_WRITE : 0);
    if (status < 0)
        events = w->events | LOOP_ERROR;
    w->fn(w->arg, events);

    /* libuv stops a poll that is in error. There may still be bytes to read in
     * front of the error, more than its user took, so go on until it is closed. */
    if (status < 0 && poll->user && !uv_is_active((const uv_handle_t *)uv))
        loop_watch_update(poll->user, poll->user->events);
}

enum outcome loop_watch_start(struct loop *loop, struct loop_watch *w, int fd, int events,
                              void (*fn)(void *arg, int events), void *arg, struct error *err)
{
    struct loop_core *core = loop->core;
    struct loop_poll *poll = core->free_polls;
    *w = (struct loop_watch){ .loop = loop, .fn = fn, .arg = arg, .fd = fd };
    if (poll)
        core->free_polls = poll->next_free;
    else
        poll = xcalloc(1, sizeof *poll);

    int rc = uv_poll_init(&core->uv, &poll->uv, fd);
    if (rc != 0) {
        poll->next_free = core->free_polls;
        core->free_polls = poll;
        return fail(err, BROKEN, "cannot watch descriptor %d: %s", fd, uv_strerror(rc));
    }
    poll->uv.data = poll;
    poll->core = core;
    poll->user = w;
    w->poll = poll;
    loop_watch_update(w, events);
    return OK;
}

void loop_watch_update(struct loop_watch *w, int events)
{
    assert(w->poll);
    assert((events & ~(LOOP_READ | LOOP_WRITE)) == 0);
    w->events = events;
    int rc =
        events ? uv_poll_start(&w->poll->uv, to_uv(events), on_poll) : uv_poll_stop(&w->poll->uv);
    assert(rc == 0);
}

void loop_watch_stop(struct loop_watch *w)
{
    if (w->poll)
        loop_watch_update(w, 0);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct loop_poll *poll = handle->data;
    poll->next_free = poll->core->free_polls;
    poll->core->free_polls = poll;
}

void loop_watch_close(struct loop_watch *w)
{
    if (!w->poll)
        return;
    w->poll->user = NULL;
    /* Leaves epoll now; only the memory is needed until the end of the turn. */
    uv_close((uv_handle_t *)&w->poll->uv, on_poll_closed);
    w->poll = NULL;
}

/* ---- wakes --------------------------------------------------------------- */

static void on_async(uv_async_t *uv)
{
    struct loop_async *async = uv->data;
    if (async->user)
        async->user->fn(async->user->arg);
}

enum outcome loop_wake_init(struct loop *loop, struct loop_wake *w, void (*fn)(void *arg),
                            void *arg, struct error *err)
{
    struct loop_async *async = xcalloc(1, sizeof *async);
    *w = (struct loop_wake){ .loop = loop, .fn = fn, .arg = arg };
    int rc = uv_async_init(&loop->core->uv, &async->uv, on_async);
    if (rc != 0) {
        free(async);
        return fail(err, BROKEN, "cannot open a wake-up: %s; raise the limit of open files",
                    uv_strerror(rc));
    }
    async->uv.data = async;
    async->user = w;
    w->async = async;
    return OK;
}

void loop_wake_send(struct loop_wake *w)
{
    int rc = uv_async_send(&w->async->uv);
    assert(rc == 0);
}

void loop_wake_close(struct loop_wake *w)
{
    if (!w->async)
        return;
    w->async->user = NULL;
    uv_close((uv_handle_t *)&w->async->uv, on_block_closed);
    w->async = NULL;
}

/* ---- signals ------------------------------------------------------------- */

static void on_signal(uv_signal_t *uv, int signum)
{
    struct signal_block *block = uv->data;
    block->fn(block->arg, signum);
}

enum outcome loop_signal(struct loop *loop, int signum, void (*fn)(void *arg, int signum),
                         void *arg, struct error *err)
{
    struct signal_block *block = xcalloc(1, sizeof *block);
    int rc = uv_signal_init(&loop->core->uv, &block->uv);
    if (rc != 0) {
        free(block);
        return fail(err, BROKEN, "cannot watch signal %d: %s; raise the limit of open files",
                    signum, uv_strerror(rc));
    }
    block->uv.data = block;
    block->fn = fn;
    block->arg = arg;
    rc = uv_signal_start(&block->uv, on_signal, signum);
    if (rc != 0) {
        uv_close((uv_handle_t *)&block->uv, on_block_closed);
        return fail(err, BROKEN, "cannot watch signal %d: %s", signum, uv_strerror(rc));
    }
    return OK;
}
