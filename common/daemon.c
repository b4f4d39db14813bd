#include "common/daemon.h"

#include "common/daemon_life.h"
#include "common/fault.h"
#include "common/kafka.h"
#include "common/log.h"
#include "common/text.h"

#include <assert.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    SWEEP_MS = 1000,
    IDLE_SWEEPS_TRIM = 10, /* so many without work, and free memory is given back */
    SWEEP_BATCH_MAX = 256,
    GRACE_UNKNOWN_MS = 60 * 1000, /* no model and no tool is known here yet */
    LEAVE_MS = 10 * 1000,         /* for the last words to Postgres */
    FLUSH_MS = 5 * 1000,
};

static const char *const state_names[] = {
    [DAEMON_STARTING] = "starting", [DAEMON_WORKING] = "working", [DAEMON_FINISHING] = "finishing",
    [DAEMON_LEAVING] = "leaving",   [DAEMON_CLOSED] = "closed",
};

static struct metric in_flight_metric = {
    .kind = METRIC_GAUGE,
    .name = "pawl_work_in_flight",
    .help = "Tasks of this process that are not done: steps being planned, or calls.",
};
static struct metric free_metric = {
    .kind = METRIC_GAUGE,
    .name = "pawl_work_free_places",
    .help = "How many more tasks this process would begin now.",
};
static struct metric due_metric = {
    .kind = METRIC_COUNTER,
    .name = "pawl_work_due_total",
    .help = "Work that was taken because it was due in Postgres, not because a doorbell rang.",
};
static struct metric cancel_metric = {
    .kind = METRIC_COUNTER,
    .name = "pawl_work_cancelled_total",
    .help = "Notices that the run of a claim of ours has ended; told with each beat until it is "
            "closed.",
};

static void go(struct daemon *d, enum daemon_state to)
{
    struct daemon_life *life = d->life;
    assert(to > life->state);
    log_event(LOG_INFO, "daemon", LOG_STR("from", state_names[life->state]),
              LOG_STR("to", state_names[to]), LOG_INT("incarnation", d->incarnation),
              LOG_INT("in_flight", life->self ? life->work->in_flight(life->self) : 0), LOG_END);
    life->state = to;
}

/* ---- the end -------------------------------------------------------------------- */

static void closed(struct daemon *d)
{
    if (d->life->state == DAEMON_CLOSED)
        return;
    go(d, DAEMON_CLOSED);
    loop_stop(&d->loop);
}

static void on_flushed(void *arg, enum outcome outcome, const struct error *err)
{
    (void)err;
    if (outcome != OK)
        log_event(LOG_WARN, "some messages could not be sent to Kafka; what they say falls due",
                  LOG_END);
    closed(arg);
}

/* When Postgres and the group know that we are gone, the last doorbells go out.
 * A group that was not left would keep our partitions for its session timeout. */
static void flush_when_left(struct daemon *d)
{
    struct daemon_life *life = d->life;
    if (life->state != DAEMON_LEAVING || !life->handed_back || life->flushing ||
        (d->consumer && !life->left_group))
        return;
    life->flushing = true;
    producer_flush(d->producer, FLUSH_MS, on_flushed, d);
}

static void on_handed_back(void *arg, enum outcome outcome, const struct error *err)
{
    struct daemon *d = arg;
    if (outcome != OK)
        log_event(LOG_WARN, "cannot say goodbye to Postgres; others will notice", LOG_WHY(err),
                  LOG_END);
    else
        FAULT_POINT(DAEMON_AFTER_HAND_BACK);
    d->life->handed_back = true;
    flush_when_left(d);
}

static void on_leave_timeout(void *arg)
{
    struct daemon *d = arg;
    log_event(LOG_WARN, "the last words take too long; going without them", LOG_END);
    closed(d);
}

static void leave(struct daemon *d)
{
    struct daemon_life *life = d->life;
    go(d, DAEMON_LEAVING);
    loop_timer_stop(&life->grace);
    loop_timer_stop(&life->sweep);
    loop_timer_init(&d->loop, &life->goodbye, on_leave_timeout, d);
    loop_timer_start(&life->goodbye, LEAVE_MS + FLUSH_MS);
    if (life->dead || d->incarnation == 0)
        on_handed_back(d, OK, NULL);
    else
        (void)store_hand_back(d->store, on_handed_back, d);
}

/* Leaves the group as soon as no record is half looked at. */
static void leave_group(struct daemon *d)
{
    struct daemon_life *life = d->life;
    if (life->closing || !d->consumer || (life->records_out > 0 && !life->hurry))
        return;
    life->closing = true;
    consumer_close(d->consumer);
}

static void progress(void *arg)
{
    struct daemon *d = arg;
    struct daemon_life *life = d->life;
    if (life->state == DAEMON_WORKING && life->hungry && life->work->free_places(life->self) > 0)
        daemon_sweep_now(d);
    if (life->state != DAEMON_FINISHING)
        return;
    leave_group(d);
    bool idle = !life->self || life->work->in_flight(life->self) == 0;
    bool left = !d->consumer || life->left_group;
    if ((idle && left) || life->hurry)
        leave(d);
}

void daemon_progress(struct daemon *d)
{
    loop_defer(&d->loop, &d->life->progress, progress, d);
}

static void on_grace_over(void *arg)
{
    struct daemon *d = arg;
    struct daemon_life *life = d->life;
    int left = life->self ? life->work->in_flight(life->self) : 0;
    if (left > 0)
        log_event(LOG_WARN, "the grace is over; what still runs is treated as after a crash",
                  LOG_INT("in_flight", left), LOG_END);
    life->hurry = true;
    daemon_progress(d);
}

static void on_leaving(void *arg, enum outcome outcome, const struct error *err)
{
    (void)arg, (void)err;
    if (outcome == OK)
        FAULT_POINT(DAEMON_AFTER_LEAVE);
}

static int64_t grace_ms(struct daemon *d)
{
    if (d->config.grace_ms >= 0)
        return d->config.grace_ms;
    int64_t longest = d->life->self ? d->life->work->longest_call_ms(d->life->self) : 0;
    return longest > 0 ? longest : GRACE_UNKNOWN_MS;
}

static void finish(struct daemon *d, const char *why)
{
    struct daemon_life *life = d->life;
    if (life->state >= DAEMON_FINISHING)
        return;
    int64_t grace = grace_ms(d);
    log_event(LOG_INFO, "no new work is taken", LOG_STR("why", why), LOG_INT("grace_ms", grace),
              LOG_END);
    go(d, DAEMON_FINISHING);
    health_set(d->health, "draining", false, why);
    store_cancel_op(d->store, life->due_op);
    life->due_op = 0;
    for (size_t i = 0; d->consumer && i < life->topic_count; i++)
        consumer_pause(d->consumer, life->topics[i]);
    if (!life->dead && d->incarnation != 0)
        (void)store_leave(d->store, on_leaving, d);
    if (life->self)
        life->work->on_finish(life->self, life->dead);
    loop_timer_init(&d->loop, &life->grace, on_grace_over, d);
    loop_timer_start(&life->grace, grace);
    daemon_progress(d);
}

bool daemon_finishing(const struct daemon *d)
{
    return d->life->state >= DAEMON_FINISHING;
}

void daemon_fail(struct daemon *d, int code, const char *why)
{
    log_event(LOG_ERROR, "cannot go on", LOG_STR("why", why), LOG_INT("exit_code", code), LOG_END);
    if (d->life->exit_code == 0)
        d->life->exit_code = code;
    finish(d, why);
}

static void on_signal(void *arg, int signum)
{
    struct daemon *d = arg;
    const char *name = signum == SIGTERM ? "SIGTERM" : "SIGINT";
    if (d->life->state < DAEMON_FINISHING)
        finish(d, name);
    else if (d->life->state == DAEMON_FINISHING)
        on_grace_over(d);
    else
        closed(d);
}

/* ---- records ------------------------------------------------------------------------ */

static void on_record(void *arg, const struct record_view *rec, struct consumer_slot slot)
{
    struct daemon *d = arg;
    struct daemon_life *life = d->life;
    if (life->state != DAEMON_WORKING)
        return; /* not done: its next owner gets it again */
    life->records_out++;
    life->work->on_record(life->self, rec, slot);
}

void daemon_record_done(struct daemon *d, struct consumer_slot slot)
{
    assert(d->life->records_out > 0); /* each record is done once */
    d->life->records_out--;
    if (d->consumer && !d->life->closing)
        consumer_done(d->consumer, slot);
    if (daemon_finishing(d))
        daemon_progress(d);
}

void daemon_record_left(struct daemon *d)
{
    assert(d->life->records_out > 0 && daemon_finishing(d));
    d->life->records_out--;
    daemon_progress(d);
}

void daemon_pause(struct daemon *d, const char *topic)
{
    if (d->consumer && !daemon_finishing(d))
        consumer_pause(d->consumer, topic);
}

void daemon_resume(struct daemon *d, const char *topic)
{
    if (d->consumer && !daemon_finishing(d))
        consumer_resume(d->consumer, topic);
}

static void on_assignment(void *arg, bool joined, size_t partitions)
{
    struct daemon *d = arg;
    char text[64];
    (void)snprintf(text, sizeof text, joined ? "%zu partitions" : "not in the group", partitions);
    log_event(LOG_INFO, "partitions", LOG_BOOL("joined", joined), LOG_INT("count", partitions),
              LOG_END);
    health_set(d->health, "kafka", joined, text);
}

static void on_closed(void *arg)
{
    struct daemon *d = arg;
    d->life->left_group = true;
    flush_when_left(d);
    daemon_progress(d);
}

static enum outcome join(struct daemon *d, struct error *err)
{
    struct daemon_life *life = d->life;
    struct kafka_settings settings = kafka_settings_of(&d->config, life->name);
    struct consumer_options options = { .group = life->work->group(&d->config) };
    struct consumer_calls calls = {
        .arg = d, .on_record = on_record, .on_assignment = on_assignment, .on_closed = on_closed
    };
    life->topic_count = life->work->topics(&d->config, life->topics);
    options.topics = life->topics;
    options.n_topics = life->topic_count;
    health_set(d->health, "kafka", false, "not in the group");
    return consumer_init(&d->consumer, &d->loop, &settings, &options, &calls, err);
}

/* ---- what is due ---------------------------------------------------------------------- */

static void on_due(void *arg, enum outcome outcome, const struct store_due *due, size_t count,
                   const struct error *err)
{
    struct daemon *d = arg;
    struct daemon_life *life = d->life;
    life->due_op = 0;
    if (outcome != OK) {
        log_event(LOG_WARN, "cannot look for due work", LOG_WHY(err), LOG_END);
        return;
    }
    if (count > 0)
        FAULT_POINT(DAEMON_AFTER_DUE);
    life->hungry = count >= (size_t)life->due_asked || life->missed;
    life->missed = false;
    for (size_t i = 0; i < count && life->state == DAEMON_WORKING; i++) {
        if (due[i].what == STORE_DUE_MOVED)
            continue;
        metric_add(metric_with(&due_metric), 1);
        life->work->on_due(life->self, &due[i]);
    }
    daemon_progress(d); /* a full batch: there is more */
}

void daemon_sweep_now(struct daemon *d)
{
    struct daemon_life *life = d->life;
    int places = life->work->free_places(life->self);
    if (life->due_op != 0 || places <= 0 || life->state != DAEMON_WORKING)
        return;
    life->hungry = false;
    life->due_asked = places < SWEEP_BATCH_MAX ? places : SWEEP_BATCH_MAX;
    life->due_op = store_claim_due(d->store, life->due_asked, on_due, d);
}

/* What a busy hour took is given back once, when it is over. */
static void mind_memory(struct daemon_life *life, int in_flight)
{
    if (in_flight > 0)
        life->idle_sweeps = 0;
    else if (life->idle_sweeps < IDLE_SWEEPS_TRIM && ++life->idle_sweeps == IDLE_SWEEPS_TRIM)
        (void)malloc_trim(0);
}

static void on_sweep_timer(void *arg)
{
    struct daemon *d = arg;
    struct daemon_life *life = d->life;
    struct uuid chance = uuid_v4();
    if (life->state != DAEMON_WORKING)
        return;
    loop_timer_start(&life->sweep, SWEEP_MS * 3 / 4 + SWEEP_MS * chance.b[0] / 512);
    int in_flight = life->work->in_flight(life->self);
    int places = life->work->free_places(life->self);
    heartbeat_set_in_flight(d->heartbeat, in_flight);
    metric_set(metric_with(&in_flight_metric), in_flight);
    metric_set(metric_with(&free_metric), places);
    mind_memory(life, in_flight);
    daemon_sweep_now(d);
    if (life->work->on_sweep)
        life->work->on_sweep(life->self);
}

/* What the dead held is due now, and the timer may be a second away. */
static void on_gone(void *arg)
{
    struct daemon *d = arg;
    if (d->life->state != DAEMON_WORKING)
        return;
    d->life->missed = d->life->due_op != 0; /* that answer may be older than the death */
    on_sweep_timer(d);
}

/* ---- the beginning ----------------------------------------------------------------------- */

static void begin_work(struct daemon *d)
{
    struct daemon_life *life = d->life;
    struct error err;
    enum outcome outcome = life->work->start(d, &life->self, &err);
    if (outcome == OK)
        outcome = join(d, &err);
    if (outcome != OK) {
        daemon_fail(d, 1, err.text);
        return;
    }
    go(d, DAEMON_WORKING);
    health_started(d->health);
    loop_timer_init(&d->loop, &life->sweep, on_sweep_timer, d);
    on_sweep_timer(d);
}

static void on_registered(void *arg, int64_t incarnation)
{
    struct daemon *d = arg;
    d->incarnation = incarnation;
    store_set_worker(d->store, incarnation);
    health_set(d->health, "registered", true, "");
    if (d->life->state == DAEMON_STARTING)
        begin_work(d);
}

/* Later on, a right or a schema that is gone may come back while we wait. */
static void on_refused(void *arg, const struct error *err)
{
    struct daemon *d = arg;
    if (d->life->state == DAEMON_STARTING)
        daemon_fail(d, 1, err->text);
}

static void on_beat_link(void *arg, bool up, const char *text)
{
    struct daemon *d = arg;
    health_set(d->health, "heartbeat", up, text);
}

static void on_store_link(void *arg, enum outcome outcome, const char *text)
{
    struct daemon *d = arg;
    health_set(d->health, "postgres", outcome == OK, text);
    if (outcome == REFUSED && d->life->state == DAEMON_STARTING)
        daemon_fail(d, 1, text);
}

static void on_dead(void *arg)
{
    struct daemon *d = arg;
    if (d->life->dead)
        return;
    d->life->dead = true;
    if (d->life->exit_code == 0)
        d->life->exit_code = DAEMON_EXIT_DEAD;
    log_event(LOG_ERROR,
              "this incarnation was declared dead; results in flight are still committed, then the "
              "process ends and should be started again",
              LOG_INT("incarnation", d->incarnation), LOG_END);
    if (d->life->state == DAEMON_FINISHING && d->life->self)
        d->life->work->on_finish(d->life->self, true);
    finish(d, "declared dead");
}

static void on_cancel(void *arg, const struct uuid *run, int step, int index)
{
    struct daemon *d = arg;
    metric_add(metric_with(&cancel_metric), 1);
    if (d->life->self)
        d->life->work->on_cancel(d->life->self, run, step, index);
}

static void on_catalog(void *arg)
{
    struct daemon *d = arg;
    registry_refresh(d->registry);
}

static void on_tool(void *arg, int64_t seq, const struct tool_def *def)
{
    struct daemon *d = arg;
    if (d->life->self && d->life->work->on_tool)
        d->life->work->on_tool(d->life->self, seq, def);
}

static void on_model(void *arg, int64_t seq, const struct model_def *def)
{
    struct daemon *d = arg;
    if (d->life->self && d->life->work->on_model)
        d->life->work->on_model(d->life->self, seq, def);
}

static enum outcome connect_postgres(struct daemon *d, struct error *err)
{
    const struct config *cfg = &d->config;
    struct store_options options = { .dsn = cfg->postgres_dsn,
                                     .program = d->life->work->name,
                                     .class = cfg->class,
                                     .connections = cfg->postgres_connections };
    struct store_calls calls = { .arg = d, .on_link = on_store_link, .on_dead = on_dead };
    health_set(d->health, "postgres", false, "not connected yet");
    health_set(d->health, "registered", false, "no number from Postgres yet");
    enum outcome outcome = store_init(&d->store, &d->loop, &options, &calls, err);
    if (outcome != OK)
        return outcome;
    struct registry_calls read = { .arg = d, .on_tool = on_tool, .on_model = on_model };
    registry_init(&d->registry, &d->loop, d->store, &read);
    return OK;
}

/* PAWL_WATCHDOG=30s: how long the loop may stand still; 0: for ever (debuggers). */
static enum outcome read_watchdog(int *max_ms, struct error *err)
{
    const char *text = getenv("PAWL_WATCHDOG");
    struct error why;
    int64_t ms;
    *max_ms = 0;
    if (!text || !*text)
        return OK;
    if (text_parse_duration(text, &ms, &why) != OK)
        return fail(err, REFUSED, "PAWL_WATCHDOG: %s", why.text);
    *max_ms = ms == 0 || ms > INT_MAX ? -1 : (int)ms;
    return OK;
}

static enum outcome begin_beating(struct daemon *d, struct error *err)
{
    const struct config *cfg = &d->config;
    int tick_max_ms;
    enum outcome outcome = read_watchdog(&tick_max_ms, err);
    if (outcome != OK)
        return outcome;
    struct heartbeat_options options = {
        .dsn = cfg->postgres_dsn,
        .instance = d->life->name,
        .kind = d->life->work->name,
        .class = cfg->class,
        .program = PAWL_VERSION,
        .capacity = d->life->work->capacity(cfg),
        .tick_max_ms = tick_max_ms,
    };
    struct heartbeat_calls calls = {
        .arg = d,
        .on_registered = on_registered,
        .on_refused = on_refused,
        .on_link = on_beat_link,
        .on_cancel = on_cancel,
        .on_gone = on_gone,
        .on_catalog = on_catalog,
        .on_dead = on_dead,
    };
    return heartbeat_start(&d->heartbeat, &d->loop, &options, &calls, err);
}

/* Everything but the work, which begins when Postgres has given us a number. */
enum outcome daemon_open(struct daemon *d, struct error *err)
{
    const struct config *cfg = &d->config;
    struct kafka_settings kafka = kafka_settings_of(cfg, d->life->name);
    struct producer_options producing = { 0 };
    metrics_register_process(d->life->work->name, PAWL_VERSION);
    metrics_register(&in_flight_metric);
    metrics_register(&free_metric);
    metrics_register(&due_metric);
    metrics_register(&cancel_metric);
    enum outcome outcome = loop_init(&d->loop, err);
    if (outcome == OK)
        outcome = loop_signal(&d->loop, SIGTERM, on_signal, d, err);
    if (outcome == OK)
        outcome = loop_signal(&d->loop, SIGINT, on_signal, d, err);
    if (outcome == OK && cfg->http_listen)
        outcome = health_init(&d->health, &d->loop, cfg->http_listen, err);
    if (outcome == OK)
        outcome = connect_postgres(d, err);
    if (outcome == OK)
        outcome = producer_init(&d->producer, &d->loop, &kafka, &producing, err);
    return outcome == OK ? begin_beating(d, err) : outcome;
}

/* In the opposite order.  The work may still be called by what is freed before
 * it, and by nothing after it.                                               */
void daemon_close(struct daemon *d)
{
    struct daemon_life *life = d->life;
    heartbeat_stop(d->heartbeat);
    if (d->consumer)
        consumer_free(d->consumer);
    d->consumer = NULL;
    if (life->self)
        life->work->stop(life->self);
    life->self = NULL;
    if (d->producer)
        producer_free(d->producer);
    registry_free(d->registry);
    store_free(d->store);
    loop_timer_close(&life->sweep);
    loop_timer_close(&life->grace);
    loop_timer_close(&life->goodbye);
    loop_defer_cancel(&life->progress);
    health_release(d->health);
    if (d->loop.core)
        loop_release(&d->loop);
}
