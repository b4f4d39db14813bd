#include "common/heartbeat.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/liveness.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/pg.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    INTERVAL_MS = 500,
    DEAD_AFTER_MS = 10 * 1000,
    TICK_MAX_MS = 5 * 1000,
    CONNECT_TIMEOUT_MS = 3 * 1000,
    STATEMENT_TIMEOUT_MS = 3 * 1000,
    BURY_TIMEOUT_MS = 8 * 1000, /* we do not beat meanwhile: shorter than DEAD_AFTER_MS */
    PAUSE_MIN_MS = 20,          /* before connecting again; grows to the interval */
    CANCELS_MAX = 256,
};

struct cancel {
    struct uuid run;
    int step, index;
};

/* From the thread to the loop. */
struct mail {
    bool registered, dead, catalog, refused, link, gone;
    bool link_up;
    int64_t incarnation;
    struct error text; /* of `refused` or `link` */
    struct cancel cancels[CANCELS_MAX];
    size_t cancel_count;
};

struct heartbeat {
    /* Constant while the thread runs. */
    const struct loop *loop;
    struct heartbeat_options options;
    char *dsn, *instance, *kind, *class, *program;
    struct heartbeat_calls calls;
    pthread_t thread;
    int stop_fd; /* readable: stop */

    /* Shared. */
    _Atomic bool stopping;
    _Atomic int in_flight;
    pthread_mutex_t lock;
    struct mail mail;
    struct loop_wake wake;

    /* The thread's own. */
    struct pg *pg;
    int64_t incarnation; /* 0: not registered */
    bool has_lock, up, dead, refused_told;
    int64_t catalog; /* as of the last beat; -1: none yet */
    struct liveness liveness;
    int64_t next_beat_ms;
    int pause_ms;
    int64_t seen_tick_ms, stalled_ms, watched_at_ms;
};

static struct metric beats_metric = {
    .kind = METRIC_COUNTER,
    .name = "pawl_heartbeat_beats_total",
    .help = "Beats of this process, by what became of them.",
    .labels = { "end" },
};
static struct metric seconds_metric = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_heartbeat_seconds",
    .help = "How long a beat took.",
};
static struct metric declared_metric = {
    .kind = METRIC_COUNTER,
    .name = "pawl_workers_declared_dead_total",
    .help = "Processes that this one declared dead, by the sign: silence or a free lock.",
    .labels = { "sign" },
};

/* ---- from the thread to the loop -------------------------------------------- */

static void post(struct heartbeat *h)
{
    pthread_mutex_unlock(&h->lock);
    loop_wake_send(&h->wake);
}

static struct mail *open_mail(struct heartbeat *h)
{
    pthread_mutex_lock(&h->lock);
    return &h->mail;
}

static void tell_link(struct heartbeat *h, bool up, const char *text)
{
    if (up == h->up)
        return;
    h->up = up;
    log_event(up ? LOG_INFO : LOG_WARN,
              up ? "heartbeat goes through" : "heartbeat does not go through", LOG_STR("why", text),
              LOG_END);
    struct mail *mail = open_mail(h);
    mail->link = true;
    mail->link_up = up;
    (void)fail(&mail->text, OK, "%s", text);
    post(h);
}

static void tell_refused(struct heartbeat *h, const struct error *err)
{
    if (h->refused_told)
        return;
    h->refused_told = true;
    struct mail *mail = open_mail(h);
    mail->refused = true;
    mail->text = *err;
    post(h);
}

static void tell_gone(struct heartbeat *h)
{
    open_mail(h)->gone = true;
    post(h);
}

static void on_wake(void *arg)
{
    struct heartbeat *h = arg;
    struct mail mail;
    pthread_mutex_lock(&h->lock);
    mail = h->mail;
    h->mail = (struct mail){ .cancel_count = 0 };
    pthread_mutex_unlock(&h->lock);

    const struct heartbeat_calls *calls = &h->calls;
    if (mail.registered)
        calls->on_registered(calls->arg, mail.incarnation);
    if (mail.link)
        calls->on_link(calls->arg, mail.link_up, mail.text.text);
    if (mail.refused)
        calls->on_refused(calls->arg, &mail.text);
    if (mail.catalog)
        calls->on_catalog(calls->arg);
    for (size_t i = 0; i < mail.cancel_count; i++)
        calls->on_cancel(calls->arg, &mail.cancels[i].run, mail.cancels[i].step,
                         mail.cancels[i].index);
    if (mail.gone)
        calls->on_gone(calls->arg);
    if (mail.dead)
        calls->on_dead(calls->arg);
}

/* ---- the loop's own pulse ------------------------------------------------------ */

/* Time counts only as far as this thread itself was running: a process that was
 * stopped as a whole is judged by the others, not by itself.                 */
static void watch_loop(struct heartbeat *h)
{
    int64_t now_ms = clock_mono_ms(), tick_ms = loop_last_tick_ms(h->loop);
    int64_t passed_ms = now_ms - h->watched_at_ms;
    h->watched_at_ms = now_ms;
    if (tick_ms != h->seen_tick_ms || atomic_load(&h->stopping)) {
        h->seen_tick_ms = tick_ms;
        h->stalled_ms = 0;
        return;
    }
    h->stalled_ms += passed_ms < 1000 ? passed_ms : 1000;
    if (h->options.tick_max_ms < 0 || h->stalled_ms < h->options.tick_max_ms)
        return;
    log_event(LOG_ERROR,
              "the event loop is blocked: this process ends, so that others take its work",
              LOG_INT("blocked_ms", h->stalled_ms), LOG_END);
    abort();
}

/* ---- statements ------------------------------------------------------------------ */

static enum outcome register_now(struct heartbeat *h, struct error *err)
{
    struct pg_params p;
    struct pg_result *rows = NULL;
    pg_params_init(&p, 4096);
    pg_add_text(&p, h->instance);
    pg_add_text(&p, h->kind);
    pg_add_text(&p, h->class);
    pg_add_text(&p, h->program);
    pg_add_int4(&p, (int32_t)getpid());
    pg_add_int4(&p, h->options.capacity);
    enum outcome outcome =
        pg_exec(h->pg, "SELECT pawl.register($1, $2, $3, $4, $5, $6)", &p, 0, &rows, err);
    pg_params_release(&p);
    if (outcome != OK)
        return outcome;
    h->incarnation = pg_int8(rows, 0, 0);
    pg_result_free(rows);
    FAULT_POINT(DAEMON_AFTER_REGISTER);
    log_event(LOG_INFO, "registered", LOG_INT("incarnation", h->incarnation),
              LOG_STR("instance_name", h->instance), LOG_END);
    struct mail *mail = open_mail(h);
    mail->registered = true;
    mail->incarnation = h->incarnation;
    post(h);
    /* Only now: the number itself must survive a crash of Postgres. */
    return pg_run(h->pg, "SET synchronous_commit = off", 0, err);
}

static enum outcome connect_now(struct heartbeat *h, struct error *err)
{
    struct pg_options options = {
        .dsn = h->dsn,
        .application = "pawl-heartbeat",
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .statement_timeout_ms = BURY_TIMEOUT_MS,
        .commit_without_wait = h->incarnation != 0,
    };
    pg_close(h->pg);
    h->pg = NULL;
    h->has_lock = false;
    liveness_reset(&h->liveness);
    enum outcome outcome = pg_open(&h->pg, &options, err);
    if (outcome == OK && h->incarnation == 0) {
        outcome = pg_check_schema(h->pg, h->kind, err);
        if (outcome == OK)
            outcome = register_now(h, err);
    }
    if (outcome != OK) {
        pg_close(h->pg);
        h->pg = NULL;
    }
    return outcome;
}

/* False while an old connection of ours still holds it: then at the next beat. */
static enum outcome take_lock(struct heartbeat *h, struct error *err)
{
    struct pg_params p;
    struct pg_result *rows = NULL;
    pg_params_init(&p, 64);
    pg_add_int8(&p, h->incarnation);
    enum outcome outcome =
        pg_exec(h->pg, "SELECT pawl.take_lock($1)", &p, STATEMENT_TIMEOUT_MS, &rows, err);
    pg_params_release(&p);
    if (outcome == OK)
        h->has_lock = pg_bool(rows, 0, 0);
    pg_result_free(rows);
    return outcome;
}

/* Others see the same and may have been faster (gone); or it has beaten after all. */
static void tell_verdict(const struct liveness_verdict *v, const char *answer)
{
    const char *sign = v->by_lock ? "free_lock" : "silence";
    bool dead = strcmp(answer, "dead") == 0;
    log_event(dead ? LOG_WARN : LOG_DEBUG,
              dead ? "a process is dead: its work is free" : "a process looked dead",
              LOG_INT("worker", v->worker), LOG_STR("sign", sign),
              LOG_INT("silence_ms", v->silence_ms), LOG_STR("answer", answer), LOG_END);
    if (!dead)
        return;
    FAULT_POINT(DAEMON_AFTER_DECLARE);
    metric_add(metric_with(&declared_metric, sign), 1);
}

static enum outcome declare_dead(struct heartbeat *h, const struct liveness_verdict *v, size_t n,
                                 struct error *err)
{
    struct pg_params p;
    struct pg_result *rows = NULL;
    pg_params_init(&p, 1024);
    pg_add_int8(&p, h->incarnation);
    pg_array_begin(&p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_put_int8(&p, v[i].worker);
    pg_array_end(&p);
    pg_array_begin(&p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_put_int8(&p, v[i].beat);
    pg_array_end(&p);
    enum outcome outcome =
        pg_exec(h->pg, "SELECT worker, answer FROM pawl.declare_dead($1, $2, $3)", &p,
                BURY_TIMEOUT_MS, &rows, err);
    pg_params_release(&p);
    for (int row = 0; outcome == OK && row < pg_row_count(rows); row++) {
        const struct liveness_verdict *verdict = v;
        while (verdict < v + n - 1 && verdict->worker != pg_int8(rows, row, 0))
            verdict++;
        tell_verdict(verdict, pg_text(rows, row, 1));
    }
    pg_result_free(rows);
    if (outcome == OK)
        tell_gone(h);
    return outcome;
}

/* ---- one beat -------------------------------------------------------------------- */

enum { WHAT, WORKER, STATE, BEAT, LOCK_FREE, CATALOG, RUN, STEP, INDEX };

/* Our own row: false when this incarnation is over. */
static bool read_self(struct heartbeat *h, const struct pg_result *rows, int row)
{
    const char *state = pg_text(rows, row, STATE);
    int64_t catalog = pg_int8(rows, row, CATALOG);
    if (catalog != h->catalog) {
        h->catalog = catalog;
        open_mail(h)->catalog = true;
        post(h);
    }
    return strcmp(state, "alive") == 0 || strcmp(state, "leaving") == 0;
}

static void read_cancel(struct mail *mail, const struct pg_result *rows, int row)
{
    if (mail->cancel_count == CANCELS_MAX)
        return;
    mail->cancels[mail->cancel_count++] = (struct cancel){
        .run = pg_uuid(rows, row, RUN),
        .step = pg_int4(rows, row, STEP),
        .index = pg_int4(rows, row, INDEX),
    };
}

/* What was not fetched yet is in this answer too. */
static void read_cancels(struct heartbeat *h, const struct pg_result *rows)
{
    struct mail *mail = open_mail(h);
    mail->cancel_count = 0;
    for (int row = 0; row < pg_row_count(rows); row++)
        if (strcmp(pg_text(rows, row, WHAT), "cancel") == 0)
            read_cancel(mail, rows, row);
    bool any = mail->cancel_count > 0;
    pthread_mutex_unlock(&h->lock);
    if (any)
        loop_wake_send(&h->wake);
}

static void end_incarnation(struct heartbeat *h, const char *state)
{
    h->dead = true;
    if (strcmp(state, "gone") == 0)
        return; /* we said so ourselves: hand_back */
    log_event(LOG_ERROR, "this process was declared dead while it lived",
              LOG_INT("incarnation", h->incarnation), LOG_END);
    open_mail(h)->dead = true;
    post(h);
}

/* Reads the answer.  The number of those to be declared dead is in *verdicts. */
static void read_beat(struct heartbeat *h, const struct pg_result *rows, int64_t sent_ms,
                      struct liveness_verdict *out, size_t *verdicts)
{
    const char *state = "dead"; /* no row of ours: somebody deleted it */
    bool alive = false;
    liveness_begin(&h->liveness, sent_ms, clock_mono_ms());
    for (int row = 0; row < pg_row_count(rows); row++) {
        const char *what = pg_text(rows, row, WHAT);
        if (strcmp(what, "self") == 0) {
            alive = read_self(h, rows, row);
            state = pg_text(rows, row, STATE);
        } else if (strcmp(what, "peer") == 0) {
            liveness_see(&h->liveness, pg_int8(rows, row, WORKER), pg_int8(rows, row, BEAT),
                         pg_bool(rows, row, LOCK_FREE));
        }
    }
    *verdicts = liveness_end(&h->liveness, out);
    if (h->liveness.lost > 0)
        tell_gone(h);
    read_cancels(h, rows);
    if (!alive) {
        *verdicts = 0; /* who is dead himself judges nobody */
        end_incarnation(h, state);
    }
}

static enum outcome beat(struct heartbeat *h, struct error *err)
{
    struct liveness_verdict verdicts[LIVENESS_VERDICTS_MAX];
    struct pg_params p;
    struct pg_result *rows = NULL;
    size_t n = 0;
    enum outcome outcome = h->has_lock ? OK : take_lock(h, err);
    if (outcome != OK)
        return outcome;
    pg_params_init(&p, 64);
    pg_add_int8(&p, h->incarnation);
    pg_add_int4(&p, atomic_load(&h->in_flight));
    int64_t sent_ms = clock_mono_ms();
    outcome = pg_exec(h->pg,
                      "SELECT what, worker, state, beat, lock_free, catalog, run_id, step, index "
                      "FROM pawl.heartbeat($1, $2)",
                      &p, STATEMENT_TIMEOUT_MS, &rows, err);
    pg_params_release(&p);
    if (outcome != OK)
        return outcome;
    metric_observe(metric_with(&seconds_metric), (double)(clock_mono_ms() - sent_ms) / 1000.0);
    read_beat(h, rows, sent_ms, verdicts, &n);
    pg_result_free(rows);
    return n > 0 ? declare_dead(h, verdicts, n, err) : OK;
}

/* ---- the thread ------------------------------------------------------------------- */

/* Connects if need be and beats.  A failure of any kind closes the connection:
 * whatever was wrong with it, the next one starts clean.                     */
static void beat_once(struct heartbeat *h)
{
    struct error err;
    enum outcome outcome = OK;
    if (h->dead)
        return;
    if (!h->pg || !pg_is_open(h->pg))
        outcome = connect_now(h, &err);
    if (outcome == OK)
        outcome = beat(h, &err);
    metric_add(metric_with(&beats_metric, outcome == OK ? "ok" : "failed"), 1);
    if (outcome == OK) {
        h->next_beat_ms = clock_mono_ms() + h->options.interval_ms;
        h->pause_ms = PAUSE_MIN_MS;
        tell_link(h, true, "beating");
        return;
    }
    pg_close(h->pg);
    h->pg = NULL;
    h->next_beat_ms = clock_mono_ms() + h->pause_ms;
    h->pause_ms =
        h->pause_ms * 2 < h->options.interval_ms ? h->pause_ms * 2 : h->options.interval_ms;
    tell_link(h, false, err.text);
    if (outcome == REFUSED)
        tell_refused(h, &err);
}

static void *run(void *arg)
{
    struct heartbeat *h = arg;
    while (!atomic_load(&h->stopping)) {
        watch_loop(h);
        if (clock_mono_ms() >= h->next_beat_ms)
            beat_once(h);
        int64_t left_ms = h->dead ? h->options.interval_ms : h->next_beat_ms - clock_mono_ms();
        pg_nap(h->pg, h->stop_fd, left_ms > 0 ? (int)left_ms : 0);
        if (h->pg && !pg_is_open(h->pg))
            h->next_beat_ms = 0; /* it broke: at once, before our free lock is seen */
    }
    return NULL;
}

static void heartbeat_free(struct heartbeat *h)
{
    pg_close(h->pg);
    liveness_release(&h->liveness);
    pthread_mutex_destroy(&h->lock);
    loop_wake_close(&h->wake);
    if (h->stop_fd >= 0)
        (void)close(h->stop_fd);
    free(h->dsn);
    free(h->instance);
    free(h->kind);
    free(h->class);
    free(h->program);
    free(h);
}

/* Signals are for the loop's thread. */
static int start_thread(struct heartbeat *h)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&h->thread, NULL, run, h);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void copy_options(struct heartbeat *h, const struct heartbeat_options *options)
{
    h->options = *options;
    h->dsn = xstrdup(options->dsn);
    h->instance = xstrdup(options->instance);
    h->kind = xstrdup(options->kind);
    h->class = xstrdup(options->class);
    h->program = xstrdup(options->program);
    if (h->options.interval_ms == 0)
        h->options.interval_ms = INTERVAL_MS;
    if (h->options.dead_after_ms == 0)
        h->options.dead_after_ms = DEAD_AFTER_MS;
    if (h->options.tick_max_ms == 0)
        h->options.tick_max_ms = TICK_MAX_MS;
}

enum outcome heartbeat_start(struct heartbeat **out, struct loop *loop,
                             const struct heartbeat_options *options,
                             const struct heartbeat_calls *calls, struct error *err)
{
    struct heartbeat *h = xcalloc(1, sizeof *h);
    *out = NULL;
    metrics_register(&beats_metric);
    metrics_register(&seconds_metric);
    metrics_register(&declared_metric);
    copy_options(h, options);
    h->loop = loop;
    h->calls = *calls;
    h->catalog = -1;
    h->pause_ms = PAUSE_MIN_MS;
    h->watched_at_ms = clock_mono_ms();
    /* Two looks with a beat between them, and a gap of several that never came. */
    int64_t interval_ms = h->options.interval_ms;
    liveness_init(&h->liveness, h->options.dead_after_ms, interval_ms * 4 / 5, interval_ms * 6);
    int rc = pthread_mutex_init(&h->lock, NULL);
    assert(rc == 0);
    h->stop_fd = eventfd(0, EFD_CLOEXEC);
    enum outcome outcome = loop_wake_init(loop, &h->wake, on_wake, h, err);
    if (outcome == OK && (h->stop_fd < 0 || start_thread(h) != 0))
        outcome = fail(err, BROKEN,
                       "cannot start the heartbeat thread; raise the limits of open "
                       "files and threads");
    if (outcome != OK) {
        heartbeat_free(h);
        return outcome;
    }
    *out = h;
    return OK;
}

void heartbeat_set_in_flight(struct heartbeat *h, int calls)
{
    atomic_store(&h->in_flight, calls);
}

void heartbeat_stop(struct heartbeat *h)
{
    uint64_t one = 1;
    if (!h)
        return;
    atomic_store(&h->stopping, true);
    ssize_t written = write(h->stop_fd, &one, sizeof one);
    assert(written == sizeof one);
    int rc = pthread_join(h->thread, NULL);
    assert(rc == 0);
    heartbeat_free(h);
}
