#include "planner/brain.h"

#include "common/alone.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/text.h"
#include "planner/admission.h"
#include "planner/announce.h"
#include "planner/brain_task.h"
#include "planner/intake.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAKES_MAX = 4096,    /* retries that we look at ourselves; more fall due */
    DECLINED_MAX = 256,  /* runs remembered as not for us */
    LOGGED_MAX = 64,     /* models whose missing secret was told */
    WAKE_MARGIN_MS = 10, /* Postgres' back-off began before ours */
    STALE_CLAIM_MS = 10000,
};

/* A failed model call of ours whose time to be made again will come. */
struct wake {
    struct brain *brain;
    struct wake *prev, *next;
    struct uuid run;
    struct loop_timer timer;
};

struct declined {
    struct uuid run;
    int64_t until_ms;
};

struct brain {
    struct daemon *daemon;
    struct brain_tasks tasks;
    struct intake *intake;
    struct announcer *announcer;
    struct admission *admission;
    bool paused, finishing;

    struct alone alone;

    struct wake *wakes;
    size_t wake_count;
    struct declined declined[DECLINED_MAX];
    size_t declined_next;
    int64_t logged[LOGGED_MAX]; /* revisions of models */
    size_t logged_count;
};

static struct metric doorbells_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_doorbells_total",
    .help = "Doorbells for steps, by what became of them (started, in_flight, declined, alone, "
            "bad).",
    .labels = { "fate" },
};
static struct metric history_bytes = {
    .kind = METRIC_GAUGE,
    .name = "pawl_planner_history_bytes",
    .help = "Memory of the recent conversations that are kept.",
};
static struct metric history_hits = {
    .kind = METRIC_GAUGE,
    .name = "pawl_planner_history_hit_ratio",
    .help = "Share of claims whose history was here, since the start.",
};

static int64_t now_ms(const struct brain *b)
{
    return loop_now_ms(&b->daemon->loop);
}

/* ---- beginning work ---------------------------------------------------------------------- */

static bool is_declined(const struct brain *b, const struct uuid *run)
{
    for (size_t i = 0; i < DECLINED_MAX; i++)
        if (b->declined[i].until_ms > now_ms(b) && uuid_eq(&b->declined[i].run, run))
            return true;
    return false;
}

static bool is_full(const struct brain *b)
{
    return b->tasks.count >= (size_t)b->daemon->config.capacity_plans;
}

/* Doorbells come only while there is room, and nobody wants to be alone. */
static void mind_topic(struct brain *b)
{
    size_t capacity = (size_t)b->daemon->config.capacity_plans;
    bool stop = is_full(b) || b->alone.phase != ALONE_OPEN;
    bool go = b->alone.phase == ALONE_OPEN && b->tasks.count <= capacity - (capacity + 3) / 4;
    if (stop && !b->paused) {
        b->paused = true;
        daemon_pause(b->daemon, b->daemon->config.topic_plan);
    } else if (go && b->paused) {
        b->paused = false;
        daemon_resume(b->daemon, b->daemon->config.topic_plan);
    }
}

static const char *begin(struct brain *b, const struct uuid *run, bool alone,
                         const struct consumer_slot *slot)
{
    if (brain_tasks_find(&b->tasks, run))
        return "in_flight";
    if (is_declined(b, run))
        return "declined";
    if (b->finishing || (b->alone.phase != ALONE_OPEN && !alone))
        return "alone"; /* it falls due again */
    brain_tasks_start(&b->tasks, run, alone, slot);
    mind_topic(b);
    return "started";
}

static void on_doorbell(struct brain *b, const struct record_view *rec, struct consumer_slot slot)
{
    struct doorbell bell;
    struct error err;
    const char *fate = "bad";
    if (doorbell_read(rec->value, rec->value_n, &bell, &err) == OK)
        fate = begin(b, &bell.run, false, &slot);
    else
        log_event(LOG_WARN, "bad doorbell dropped", LOG_STR("topic", rec->topic),
                  LOG_INT("partition", rec->partition), LOG_INT("offset", rec->offset),
                  LOG_WHY(&err), LOG_END);
    metric_add(metric_with(&doorbells_total, fate), 1);
    if (strcmp(fate, "started") != 0)
        daemon_record_done(b->daemon, slot); /* whatever it was for will fall due */
}

static void brain_on_record(void *self, const struct record_view *rec, struct consumer_slot slot)
{
    struct brain *b = self;
    if (strcmp(rec->topic, b->daemon->config.topic_requests) == 0)
        intake_record(b->intake, rec, slot);
    else
        on_doorbell(b, rec, slot);
}

/* ---- being alone ----------------------------------------------------------------------------- */

static bool take_alone(struct brain *b)
{
    struct uuid run = b->alone.item.run;
    log_event(LOG_WARN, "planning alone what processes died with", LOG_UUID("run_id", &run),
              LOG_END);
    bool started = strcmp(begin(b, &run, true, NULL), "started") == 0;
    if (!started)
        alone_over(&b->alone, now_ms(b));
    return started;
}

/* What was chosen is taken as soon as nothing else is in flight. */
static void be_alone_if_due(struct brain *b)
{
    while (b->tasks.count == 0 && !b->finishing && alone_empty(&b->alone))
        if (take_alone(b))
            break;
    mind_topic(b);
}

static void want_to_be_alone(struct brain *b, const struct store_due *due)
{
    struct doorbell item = { .run = due->run, .step = due->step, .index = DOORBELL_PLAN };
    if (alone_offer(&b->alone, &item, b->tasks.count == 0, now_ms(b)))
        (void)take_alone(b);
    be_alone_if_due(b);
}

/* ---- what is due --------------------------------------------------------------------------------
 */

/* Postgres sees nobody plan this step, yet we do, and not only since its answer was
 * on its way: our claim is gone (the run was cancelled and begun anew).  The next
 * sweep takes it up.                                                         */
static void give_up_if_stale(struct brain *b, struct brain_task *t)
{
    bool thinks =
        t->plan.state == PLAN_LOAD || t->plan.state == PLAN_QUOTA || t->plan.state == PLAN_THINK;
    if (thinks && now_ms(b) - t->claimed_ms > STALE_CLAIM_MS)
        plan_cancel(&t->plan);
}

static void brain_on_due(void *self, const struct store_due *due)
{
    struct brain *b = self;
    struct brain_task *t = brain_tasks_find(&b->tasks, &due->run);
    if (b->finishing || due->what != STORE_DUE_PLAN)
        return;
    if (t)
        give_up_if_stale(b, t);
    else if (due->alone)
        want_to_be_alone(b, due);
    else if (!is_full(b))
        (void)begin(b, &due->run, false, NULL);
}

static void wake_free(struct wake *w)
{
    struct brain *b = w->brain;
    if (w->prev)
        w->prev->next = w->next;
    else
        b->wakes = w->next;
    if (w->next)
        w->next->prev = w->prev;
    b->wake_count--;
    loop_timer_close(&w->timer);
    free(w);
}

static void free_wakes(struct brain *b)
{
    for (struct wake *w = b->wakes, *next; w; w = next) {
        next = w->next;
        wake_free(w);
    }
}

static void on_wake(void *arg)
{
    struct wake *w = arg;
    struct brain *b = w->brain;
    const struct uuid run = w->run;
    wake_free(w);
    if (!is_full(b))
        (void)begin(b, &run, false, NULL);
}

static void task_retry_in(void *arg, const struct uuid *run, int64_t delay_ms)
{
    struct brain *b = arg;
    if (b->finishing || b->wake_count >= WAKES_MAX)
        return;
    struct wake *w = xcalloc(1, sizeof *w);
    w->brain = b;
    w->run = *run;
    w->next = b->wakes;
    if (b->wakes)
        b->wakes->prev = w;
    b->wakes = w;
    b->wake_count++;
    loop_timer_init(&b->daemon->loop, &w->timer, on_wake, w);
    loop_timer_start(&w->timer, delay_ms + WAKE_MARGIN_MS);
}

/* ---- what tasks tell
 * ------------------------------------------------------------------------------- */

static void tell_announce(void *arg, int64_t event_id)
{
    struct brain *b = arg;
    announce(b->announcer, event_id);
}

static void task_run_ended(void *arg, int64_t event_id)
{
    struct brain *b = arg;
    announce(b->announcer, event_id);
    admission_place_freed(b->admission);
}

static void intake_ring(void *arg, const struct doorbell *d)
{
    struct brain *b = arg;
    producer_ring(b->daemon->producer, b->daemon->config.topic_plan, d);
}

static void task_cannot(void *arg, const struct uuid *run, int64_t model_seq,
                        const struct error *why)
{
    struct brain *b = arg;
    b->declined[b->declined_next++ % DECLINED_MAX] =
        (struct declined){ *run, now_ms(b) + BRAIN_DECLINE_MS };
    for (size_t i = 0; i < b->logged_count; i++)
        if (b->logged[i] == model_seq)
            return;
    if (b->logged_count < LOGGED_MAX)
        b->logged[b->logged_count++] = model_seq;
    log_event(LOG_ERROR, "this planner cannot call a model; its runs are left to others",
              LOG_UUID("run_id", run), LOG_INT("model_revision", model_seq), LOG_WHY(why), LOG_END);
}

static void task_ended(void *arg)
{
    struct brain *b = arg;
    if (b->alone.phase == ALONE_TAKEN && b->tasks.count == 0)
        alone_over(&b->alone, now_ms(b));
    be_alone_if_due(b);
    daemon_progress(b->daemon);
}

/* The run of a claim of ours has ended.  Without a task here, the note that it was
 * cancelled is all that is left: a commit of nothing takes it away.          */
static void brain_on_cancel(void *self, const struct uuid *run, int step, int index)
{
    struct brain *b = self;
    struct brain_task *t = brain_tasks_find(&b->tasks, run);
    if (index != DOORBELL_PLAN)
        return;
    if (t) {
        if (t->plan.step == step || t->plan.state == PLAN_CLAIM)
            plan_cancel(&t->plan);
        return;
    }
    const struct store_commit_plan nothing = { .run = *run,
                                               .step = step,
                                               .outcome = STORE_PLAN_HANDED_BACK };
    (void)store_commit_plan(b->daemon->store, &nothing, NULL, NULL);
}

/* ---- now and then
 * -------------------------------------------------------------------------------------- */

static void brain_on_sweep(void *self)
{
    struct brain *b = self;
    announce_due(b->announcer);
    admission_sweep(b->admission);
    if (alone_tick(&b->alone, now_ms(b)))
        mind_topic(b);
    struct history_cache *cache = &b->tasks.cache;
    size_t dropped = history_cache_expire(cache, now_ms(b) - BRAIN_HISTORY_IDLE_MS);
    if (dropped > 0 && cache->count == 0 && b->tasks.count == 0)
        (void)malloc_trim(0);
    metric_set(metric_with(&history_bytes), (double)cache->used_bytes);
    uint64_t lookups = cache->hits + cache->misses;
    if (lookups > 0)
        metric_set(metric_with(&history_hits), (double)cache->hits / (double)lookups);
}

/* ---- the way of life
 * ---------------------------------------------------------------------------------------- */

static enum outcome history_limit(size_t *bytes, struct error *err)
{
    const char *text = getenv("PAWL_PLANNER_HISTORY");
    struct error why;
    *bytes = HISTORY_CACHE_BYTES;
    if (!text || !*text || text_parse_size(text, bytes, &why) == OK)
        return OK;
    return fail(err, REFUSED, "PAWL_PLANNER_HISTORY: %.180s", why.text);
}

static enum outcome brain_start(struct daemon *d, void **self, struct error *err)
{
    size_t history;
    enum outcome outcome = history_limit(&history, err);
    if (outcome != OK)
        return outcome;
    struct brain *b = xcalloc(1, sizeof *b);
    b->daemon = d;
    const struct brain_task_calls task_calls = { b, task_run_ended, task_retry_in, task_cannot,
                                                 task_ended };
    outcome = brain_tasks_init(&b->tasks, d, history, &task_calls, err);
    if (outcome != OK) {
        free(b);
        return outcome;
    }
    const struct intake_calls intake_calls = { b, intake_ring, tell_announce };
    intake_init(&b->intake, d, &intake_calls);
    announcer_init(&b->announcer, d);
    admission_init(&b->admission, d);
    metrics_register(&doorbells_total);
    metrics_register(&history_bytes);
    metrics_register(&history_hits);
    *self = b;
    return OK;
}

static void brain_on_finish(void *self, bool dead)
{
    struct brain *b = self;
    b->finishing = true;
    b->alone.phase = ALONE_OPEN;
    intake_drain(b->intake);
    admission_drain(b->admission);
    free_wakes(b);
    for (struct brain_task *t = b->tasks.first, *next; t; t = next) {
        next = t->next;
        if (dead)
            plan_drop(&t->plan);
        else
            plan_drain(&t->plan);
    }
}

static int brain_free_places(void *self)
{
    struct brain *b = self;
    if (b->finishing || b->alone.phase != ALONE_OPEN || is_full(b))
        return 0;
    return b->daemon->config.capacity_plans - (int)b->tasks.count;
}

static int brain_in_flight(void *self)
{
    struct brain *b = self;
    return (int)(b->tasks.count + intake_in_flight(b->intake) + announce_in_flight(b->announcer));
}

static int64_t brain_longest_call_ms(void *self)
{
    struct brain *b = self;
    return registry_longest_model_ms(b->daemon->registry);
}

static void brain_stop(void *self)
{
    struct brain *b = self;
    b->finishing = true;
    free_wakes(b);
    brain_tasks_release(&b->tasks);
    intake_free(b->intake);
    announcer_free(b->announcer);
    admission_free(b->admission);
    free(b);
}

static const char *brain_group(const struct config *cfg)
{
    return cfg->group_planner;
}

static size_t brain_topics(const struct config *cfg, const char *topics[DAEMON_TOPICS_MAX])
{
    topics[0] = cfg->topic_plan;
    topics[1] = cfg->topic_requests;
    return 2;
}

static int brain_capacity(const struct config *cfg)
{
    return cfg->capacity_plans;
}

const struct daemon_work brain_work = {
    .name = "planner",
    .summary = "the brain: takes requests, asks models, plans steps",
    .group = brain_group,
    .topics = brain_topics,
    .capacity = brain_capacity,
    .start = brain_start,
    .on_record = brain_on_record,
    .on_due = brain_on_due,
    .on_sweep = brain_on_sweep,
    .on_cancel = brain_on_cancel,
    .on_finish = brain_on_finish,
    .free_places = brain_free_places,
    .in_flight = brain_in_flight,
    .longest_call_ms = brain_longest_call_ms,
    .stop = brain_stop,
};
