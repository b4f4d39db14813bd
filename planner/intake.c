#include "planner/intake.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* One record; in exactly one list: held, or at work. */
struct intake_task {
    struct arrival arrival; /* first: a task is found by its arrival */
    struct intake *intake;
    struct intake_task *prev, *next;
    struct loop_timer timer;
    enum outcome timer_says;
    store_ticket op;
    struct burial *burial;
    unsigned ticket; /* of the machine, for the operation in flight */
    bool working;
};

struct intake_list {
    struct intake_task *first, *last;
    size_t count;
};

/* What we know of a partition since it was assigned to us. */
struct intake_lane {
    uint32_t lane, generation;
    int64_t suspect_until; /* offset; records from there on are beyond suspicion */
    int64_t since_wall_ms;
};

struct intake {
    struct daemon *daemon;
    struct intake_calls calls;
    struct arrival_ports ports;
    struct arrival_settings settings;
    struct intake_list held, working;
    size_t bytes;
    bool paused, draining, closing;
    struct intake_lane *lanes;
    size_t lane_count;
    bool asking;  /* whether a planner died lately */
    bool suspect; /* one did: records of suspect lanes go alone */
    bool alone;   /* the record at work is such a one */
    store_ticket question;
    struct loop_task next;
};

static struct metric requests_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_requests_total",
    .help = "Request records that were answered, by the answer.",
    .labels = { "answer" },
};
static struct metric dead_letters_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_dead_letters_total",
    .help = "Request records that the dead letter topic has.",
};

/* ---- lists and bounds ------------------------------------------------------------- */

static void list_add(struct intake_list *list, struct intake_task *t)
{
    t->prev = list->last;
    t->next = NULL;
    if (list->last)
        list->last->next = t;
    else
        list->first = t;
    list->last = t;
    list->count++;
}

static void list_remove(struct intake_list *list, struct intake_task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        list->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        list->last = t->prev;
    t->prev = t->next = NULL;
    list->count--;
}

size_t intake_in_flight(const struct intake *in)
{
    return in->held.count + in->working.count;
}

static void mind_bounds(struct intake *in)
{
    size_t count = intake_in_flight(in);
    bool full = count >= INTAKE_RECORDS_MAX || in->bytes >= INTAKE_BYTES_MAX;
    bool roomy = count <= INTAKE_RECORDS_MAX / 2 && in->bytes <= INTAKE_BYTES_MAX / 2;
    const char *topic = in->daemon->config.topic_requests;
    if (full && !in->paused) {
        in->paused = true;
        daemon_pause(in->daemon, topic);
    } else if (roomy && in->paused) {
        in->paused = false;
        daemon_resume(in->daemon, topic);
    }
}

/* ---- suspicion ---------------------------------------------------------------------- */

static struct intake_lane *lane_of(struct intake *in, struct consumer_slot slot)
{
    for (size_t i = 0; i < in->lane_count; i++)
        if (in->lanes[i].lane == slot.lane)
            return &in->lanes[i];
    in->lanes = xreallocarray(in->lanes, in->lane_count + 1, sizeof *in->lanes);
    struct intake_lane *lane = &in->lanes[in->lane_count++];
    *lane = (struct intake_lane){ .lane = slot.lane, .generation = slot.generation - 1 };
    return lane;
}

static void work_on_held(struct intake *in);
static void work_on_next(void *arg);

static void on_died_lately(void *arg, enum outcome outcome, int died, const struct error *err)
{
    struct intake *in = arg;
    (void)err;
    in->asking = false;
    in->question = 0;
    in->suspect = outcome == OK && died > 0;
    if (in->suspect)
        log_event(LOG_WARN, "a planner died lately: its requests are read one at a time", LOG_END);
    work_on_held(in);
}

/* The first record of a new assignment makes us ask; until the answer is here all
 * records wait.                                                              */
static void look_at_lane(struct intake *in, const struct record_view *rec,
                         struct consumer_slot slot)
{
    struct intake_lane *lane = lane_of(in, slot);
    if (lane->generation == slot.generation)
        return;
    lane->generation = slot.generation;
    lane->suspect_until = rec->offset + INTAKE_SUSPECTS;
    lane->since_wall_ms = clock_wall_ms();
    if (in->asking)
        return;
    in->asking = true;
    in->question = store_planner_died_lately(in->daemon->store, on_died_lately, in);
}

static bool is_suspect(struct intake *in, const struct intake_task *t)
{
    if (!in->suspect)
        return false;
    const struct record_view *rec = &t->arrival.record;
    const struct intake_lane *lane = lane_of(in, t->arrival.slot);
    bool young = rec->timestamp_ms > lane->since_wall_ms + INTAKE_SUSPECT_AGE_MS;
    return rec->offset < lane->suspect_until && !young;
}

/* ---- the arrivals' ports -------------------------------------------------------------- */

static struct intake_task *task_of(struct arrival *a)
{
    return (struct intake_task *)a;
}

static void on_opened(void *arg, enum outcome outcome, int count, const struct error *err)
{
    struct intake_task *t = arg;
    t->op = 0;
    const struct arrival_event ev = { t->ticket, outcome, err, count, NULL };
    arrival_resume(&t->arrival, &ev);
}

static void port_open(void *self, struct arrival *a, unsigned ticket)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    t->ticket = ticket;
    t->op = store_open_record(in->daemon->store, a->record.topic, a->record.partition,
                              a->record.offset, on_opened, t);
}

static void on_accepted(void *arg, enum outcome outcome, const struct store_accepted *accepted,
                        const struct error *err)
{
    struct intake_task *t = arg;
    t->op = 0;
    const struct arrival_event ev = { t->ticket, outcome, err, 0, accepted };
    arrival_resume(&t->arrival, &ev);
}

static void port_accept(void *self, struct arrival *a, unsigned ticket,
                        const struct store_accept *request)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    t->ticket = ticket;
    t->op = store_accept(in->daemon->store, request, on_accepted, t);
}

static void on_closed(void *arg, enum outcome outcome, const struct error *err)
{
    struct intake_task *t = arg;
    t->op = 0;
    const struct arrival_event ev = { t->ticket, outcome, err, 0, NULL };
    arrival_resume(&t->arrival, &ev);
}

static void port_close(void *self, struct arrival *a, unsigned ticket)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    t->ticket = ticket;
    t->op = store_close_record(in->daemon->store, a->record.topic, a->record.partition,
                               a->record.offset, on_closed, t);
}

static void on_timer(void *arg)
{
    struct intake_task *t = arg;
    const struct arrival_event ev = { .ticket = t->ticket, .outcome = t->timer_says };
    arrival_resume(&t->arrival, &ev);
}

static void port_later(void *self, struct arrival *a, unsigned ticket, int64_t delay_ms)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    if (in->draining) { /* it comes again, to whoever is there then */
        arrival_drop(a);
        return;
    }
    t->ticket = ticket;
    t->timer_says = OK;
    loop_timer_start(&t->timer, delay_ms);
}

/* The delivery of a dead letter cannot be called back: who forgets it leaves the
 * burial without a task.                                                     */
struct burial {
    struct intake_task *task;
};

static void on_buried(void *arg, enum outcome outcome, const struct error *err)
{
    struct burial *b = arg;
    struct intake_task *t = b->task;
    free(b);
    if (outcome == OK)
        metric_add(metric_with(&dead_letters_total), 1);
    if (!t)
        return;
    t->burial = NULL;
    if (outcome != OK)
        log_event(LOG_ERROR, "dead letter not delivered",
                  LOG_INT("offset", t->arrival.record.offset),
                  LOG_STR("topic", t->arrival.why.topic), LOG_WHY(err), LOG_END);
    const struct arrival_event ev = { .ticket = t->ticket, .outcome = outcome, .err = err };
    arrival_resume(&t->arrival, &ev);
}

static void port_bury(void *self, struct arrival *a, unsigned ticket, const struct dead_letter *why)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    struct error err;
    t->ticket = ticket;
    struct burial *b = xcalloc(1, sizeof *b);
    b->task = t;
    enum outcome outcome = dlq_send(in->daemon->producer, &a->record, why, on_buried, b, &err);
    if (outcome == OK) {
        t->burial = b;
        return;
    }
    free(b);
    if (outcome == BROKEN)
        daemon_fail(in->daemon, EXIT_FAILURE, err.text);
    t->timer_says = outcome;
    loop_timer_start(&t->timer, 0);
}

static void port_forget(void *self, struct arrival *a)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    store_cancel_op(in->daemon->store, t->op);
    t->op = 0;
    loop_timer_stop(&t->timer);
    if (t->burial)
        t->burial->task = NULL;
    t->burial = NULL;
}

static void port_ring(void *self, const struct doorbell *d)
{
    struct intake *in = self;
    in->calls.ring(in->calls.arg, d);
}

static void port_announce(void *self, int64_t event_id)
{
    struct intake *in = self;
    in->calls.announce(in->calls.arg, event_id);
}

static void port_told(void *self, const char *answer)
{
    (void)self;
    metric_add(metric_with(&requests_total, answer), 1);
}

static void task_free(struct intake_task *t)
{
    struct intake *in = t->intake;
    list_remove(t->working ? &in->working : &in->held, t);
    in->bytes -= t->arrival.size_bytes;
    loop_timer_close(&t->timer);
    arrival_release(&t->arrival);
    free(t);
}

static void port_ended(void *self, struct arrival *a)
{
    struct intake *in = self;
    struct intake_task *t = task_of(a);
    if (a->taken)
        daemon_record_done(in->daemon, a->slot);
    else if (!in->closing)
        daemon_record_left(in->daemon);
    task_free(t);
    if (in->working.count == 0)
        in->alone = false;
    mind_bounds(in);
    if (in->held.count > 0)
        loop_defer(&in->daemon->loop, &in->next, work_on_next, in);
    daemon_progress(in->daemon);
}

/* ---- the work ---------------------------------------------------------------------------- */

/* Held records go on, side by side; but a suspect one goes alone, with no other
 * record at work, so that its death is its own.                              */
static void work_on_held(struct intake *in)
{
    while (in->held.first && !in->asking && !in->draining) {
        struct intake_task *t = in->held.first;
        bool suspect = is_suspect(in, t);
        if (in->alone || (suspect && in->working.count > 0))
            return;
        in->alone = suspect;
        list_remove(&in->held, t);
        list_add(&in->working, t);
        t->working = true;
        arrival_start(&t->arrival, suspect);
    }
}

static void work_on_next(void *arg)
{
    work_on_held(arg);
}

void intake_record(struct intake *in, const struct record_view *rec, struct consumer_slot slot)
{
    struct intake_task *t = xcalloc(1, sizeof *t);
    t->intake = in;
    arrival_init(&t->arrival, &in->ports, &in->settings, rec, slot);
    loop_timer_init(&in->daemon->loop, &t->timer, on_timer, t);
    list_add(&in->held, t);
    in->bytes += t->arrival.size_bytes;
    look_at_lane(in, rec, slot);
    mind_bounds(in);
    work_on_held(in);
}

/* ---- life ----------------------------------------------------------------------------------- */

void intake_init(struct intake **out, struct daemon *daemon, const struct intake_calls *calls)
{
    const struct config *cfg = &daemon->config;
    struct intake *in = xcalloc(1, sizeof *in);
    in->daemon = daemon;
    in->calls = *calls;
    in->ports = (struct arrival_ports){
        .self = in,
        .open = port_open,
        .accept = port_accept,
        .bury = port_bury,
        .close = port_close,
        .later = port_later,
        .forget = port_forget,
        .ring = port_ring,
        .announce = port_announce,
        .told = port_told,
        .ended = port_ended,
    };
    in->settings = (struct arrival_settings){
        .tenant = cfg->tenant,
        .class = cfg->class,
        .dlq = cfg->topic_dlq,
        .group = cfg->group_planner,
        .limits = { .bytes = cfg->limit_request_bytes, .tenant = cfg->tenant, .class = cfg->class },
        .deaths_max = INTAKE_DEATHS_MAX,
    };
    metrics_register(&requests_total);
    metrics_register(&dead_letters_total);
    *out = in;
}

/* Drops every task of the list for which `which` holds. */
static void drop_tasks(struct intake_list *list, bool (*which)(const struct intake_task *t))
{
    for (struct intake_task *t = list->first, *next; t; t = next) {
        next = t->next;
        if (which(t))
            arrival_drop(&t->arrival);
    }
}

static bool any(const struct intake_task *t)
{
    (void)t;
    return true;
}

static bool waits(const struct intake_task *t)
{
    return t->arrival.paused;
}

void intake_drain(struct intake *in)
{
    in->draining = true;
    drop_tasks(&in->held, any);
    drop_tasks(&in->working, waits);
}

void intake_free(struct intake *in)
{
    if (!in)
        return;
    in->draining = in->closing = true;
    drop_tasks(&in->held, any);
    drop_tasks(&in->working, any);
    loop_defer_cancel(&in->next);
    store_cancel_op(in->daemon->store, in->question);
    free(in->lanes);
    free(in);
}
