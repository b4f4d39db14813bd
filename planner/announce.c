#include "planner/announce.h"

#include "common/fault.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"

#include <stdlib.h>
#include <string.h>

enum { EVENT_BYTES_MAX = 4 << 20 };

struct notice {
    struct announcer *announcer; /* NULL: it is gone, and only the producer knows us */
    struct notice *prev, *next;
    int64_t id;
    store_ticket op;
    enum run_event_kind kind;
    bool sending;
};

struct announcer {
    struct daemon *daemon;
    struct notice *first;
    size_t count;
    store_ticket taking;
};

static struct metric events_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_events_total",
    .help = "Events of runs that the events topic has, by type.",
    .labels = { "type" },
};
static struct metric event_failures_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_event_failures_total",
    .help = "Announcements that failed and were left for the next sweep.",
};

static void notice_free(struct notice *n)
{
    struct announcer *a = n->announcer;
    if (a) {
        if (n->prev)
            n->prev->next = n->next;
        else
            a->first = n->next;
        if (n->next)
            n->next->prev = n->prev;
        a->count--;
        daemon_progress(a->daemon);
    }
    free(n);
}

static void leave(struct notice *n, const struct error *err)
{
    metric_add(metric_with(&event_failures_total), 1);
    log_event(LOG_WARN, "event not announced yet", LOG_INT("id", n->id), LOG_WHY(err), LOG_END);
    notice_free(n);
}

/* ---- mark ----------------------------------------------------------------------------- */

static void on_marked(void *arg, enum outcome outcome, const struct error *err)
{
    struct notice *n = arg;
    n->op = 0;
    if (outcome != OK) {
        leave(n, err);
        return;
    }
    notice_free(n);
}

static void on_sent(void *arg, enum outcome outcome, const struct error *err)
{
    struct notice *n = arg;
    n->sending = false;
    if (!n->announcer) {
        notice_free(n);
        return;
    }
    if (outcome != OK) {
        leave(n, err);
        return;
    }
    FAULT_POINT(PLANNER_AFTER_ANNOUNCE);
    metric_add(metric_with(&events_total, run_event_name(n->kind)), 1);
    n->op = store_announce(n->announcer->daemon->store, n->id, on_marked, n);
}

/* ---- send ------------------------------------------------------------------------------ */

static bool kind_of(const char *type, enum run_event_kind *kind)
{
    for (int k = 0; k < RUN_EVENT_KINDS; k++) {
        if (strcmp(run_event_name((enum run_event_kind)k), type) == 0) {
            *kind = (enum run_event_kind)k;
            return true;
        }
    }
    return false;
}

static json_t *read_meta(const char *meta)
{
    const struct json_limits limits = { (size_t)1 << 20, 16 };
    json_t *value = NULL;
    if (meta && json_read(meta, strlen(meta), &limits, &value, NULL) != OK)
        value = NULL;
    return value;
}

static enum outcome send_event(struct notice *n, const struct store_announcement *told,
                               struct error *err)
{
    struct daemon *d = n->announcer->daemon;
    if (!kind_of(told->type, &n->kind))
        return fail(err, REFUSED, "this version knows no event '%s'", told->type);
    json_t *meta = read_meta(told->meta);
    const struct run_event_view view = {
        .kind = n->kind,
        .run = told->run,
        .epoch = told->epoch,
        .seq = told->id,
        .time_ms = told->at_ms,
        .agent = told->agent,
        .revision = told->digest,
        .tenant = told->tenant,
        .class = told->class,
        .step = told->step,
        .answer = told->answer,
        .error_code = told->error_code,
        .error_text = told->error,
        .request_source = told->source,
        .request_id = told->request_id,
        .traceparent = json_str(meta, "traceparent"),
        .tracestate = json_str(meta, "tracestate"),
    };
    struct arena arena;
    struct record_draft draft;
    arena_init(&arena, EVENT_BYTES_MAX);
    enum outcome outcome = event_write(&view, &arena, &draft, err);
    if (outcome == OK) {
        n->sending = true;
        outcome = producer_send(d->producer, d->config.topic_events, &draft, on_sent, n, err);
        n->sending = outcome == OK;
    }
    arena_free(&arena);
    json_decref(meta);
    if (outcome == BROKEN)
        daemon_fail(d, EXIT_FAILURE, err->text);
    return outcome;
}

static void on_read(void *arg, enum outcome outcome, const struct store_announcement *told,
                    const struct error *err)
{
    struct notice *n = arg;
    struct error why;
    n->op = 0;
    if (outcome != OK)
        leave(n, err);
    else if (!told)
        notice_free(n); /* somebody else was faster */
    else if (send_event(n, told, &why) != OK)
        leave(n, &why);
}

void announce(struct announcer *a, int64_t event_id)
{
    if (a->count >= ANNOUNCE_MAX)
        return;
    struct notice *n = xcalloc(1, sizeof *n);
    n->announcer = a;
    n->id = event_id;
    n->next = a->first;
    if (a->first)
        a->first->prev = n;
    a->first = n;
    a->count++;
    n->op = store_read_announcement(a->daemon->store, event_id, on_read, n);
}

/* ---- what is due -------------------------------------------------------------------------- */

static void on_taken(void *arg, enum outcome outcome, const int64_t *ids, size_t count,
                     const struct error *err)
{
    struct announcer *a = arg;
    (void)err;
    a->taking = 0;
    if (outcome == OK && count > 0)
        FAULT_POINT(PLANNER_AFTER_TAKE);
    for (size_t i = 0; outcome == OK && i < count; i++)
        announce(a, ids[i]);
}

void announce_due(struct announcer *a)
{
    size_t room = ANNOUNCE_MAX - a->count;
    if (a->taking || room == 0)
        return;
    int limit = room < ANNOUNCE_TAKE_MAX ? (int)room : ANNOUNCE_TAKE_MAX;
    a->taking = store_take_announcements(a->daemon->store, limit, on_taken, a);
}

size_t announce_in_flight(const struct announcer *a)
{
    return a->count;
}

/* ---- life ------------------------------------------------------------------------------------ */

void announcer_init(struct announcer **out, struct daemon *daemon)
{
    struct announcer *a = xcalloc(1, sizeof *a);
    a->daemon = daemon;
    metrics_register(&events_total);
    metrics_register(&event_failures_total);
    *out = a;
}

void announcer_free(struct announcer *a)
{
    if (!a)
        return;
    store_cancel_op(a->daemon->store, a->taking);
    for (struct notice *n = a->first, *next; n; n = next) {
        next = n->next;
        store_cancel_op(a->daemon->store, n->op);
        n->announcer = NULL;
        if (!n->sending) /* else the producer gives it back */
            free(n);
    }
    free(a);
}
