#include "executor/hands.h"

#include "common/alone.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/http.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/producer.h"
#include "executor/action.h"
#include "executor/cannot.h"
#include "executor/hands_metrics.h"
#include "executor/later.h"
#include "executor/request.h"
#include "executor/tool_http.h"

#include <assert.h>
#include <stdlib.h>

enum {
    /* A beat that was under way while we claimed may still tell of the cancel of an
     * earlier claim of the same call; the next beat tells a true one again.    */
    CANCEL_AFTER_CLAIM_MS = 250,
    CALL_MS_MIN = 30000, /* how long a call may last when no tool is known yet */
    LINGER_MS = 2,       /* how long a result waits for that of its sibling */
    SIBLINGS_LOOKED_AT = 8,
};

/* One action with what its ports need. */
struct hand {
    struct action action;
    struct hands *owner;
    struct hand *prev, *next;
    unsigned asked; /* ticket of the operation that is under way */
    store_ticket store_ticket;
    registry_ticket registry_ticket;
    struct tool_task *task;
    struct consumer_slot slot;
    bool has_slot; /* the doorbell is not acknowledged yet */
    bool lonely;   /* taken alone */
};

/* A doorbell that has no free place yet. */
struct waiting {
    struct waiting *next;
    struct doorbell item;
    struct consumer_slot slot;
};

struct hands {
    struct daemon *daemon;
    const char *topic_act, *topic_plan;
    struct http *http;
    struct outbound *outbound;
    struct tool_http tool_http;
    struct tool_kind tool;
    struct action_ports ports;
    int capacity;
    struct hand *list;
    int count;
    struct waiting *waiting, **waiting_end;
    size_t waiting_count;
    bool paused, finishing, dead;
    struct later later;
    struct alone alone;
    struct cannot cannot;
};

static void begin(struct hands *h, const struct doorbell *item, const struct consumer_slot *slot,
                  bool lonely);

/* ---- places ------------------------------------------------------------------- */

static bool is_open(const struct hands *h)
{
    return !h->finishing && h->alone.phase == ALONE_OPEN && h->count < h->capacity;
}

static void set_paused(struct hands *h, bool paused)
{
    if (h->paused == paused)
        return;
    h->paused = paused;
    if (paused)
        daemon_pause(h->daemon, h->topic_act);
    else
        daemon_resume(h->daemon, h->topic_act);
}

static void wait_for_place(struct hands *h, const struct doorbell *item,
                           const struct consumer_slot *slot)
{
    struct waiting *w = xcalloc(1, sizeof *w);
    w->item = *item;
    w->slot = *slot;
    *h->waiting_end = w;
    h->waiting_end = &w->next;
    h->waiting_count++;
    set_paused(h, true);
}

static struct waiting *take_waiting(struct hands *h)
{
    struct waiting *w = h->waiting;
    if (!w)
        return NULL;
    h->waiting = w->next;
    if (!h->waiting)
        h->waiting_end = &h->waiting;
    h->waiting_count--;
    return w;
}

/* Places have become free, or are to be kept free. */
static void look_at_places(struct hands *h)
{
    if (h->count == 0 && !h->finishing && alone_empty(&h->alone)) {
        struct doorbell item = h->alone.item;
        begin(h, &item, NULL, true);
    }
    while (h->waiting && is_open(h)) {
        struct waiting *w = take_waiting(h);
        begin(h, &w->item, &w->slot, false);
        free(w);
    }
    set_paused(h, !is_open(h));
    hands_set_waiting(h->waiting_count, h->later.count);
    daemon_progress(h->daemon);
}

/* ---- ports of the actions -------------------------------------------------------- */

static struct hand *hand_of(struct action *a)
{
    return (struct hand *)a; /* its first member */
}
_Static_assert(offsetof(struct hand, action) == 0, "a hand begins with its action");

static int64_t port_now(void *self)
{
    (void)self;
    return clock_mono_ms();
}

static void acknowledge(struct hand *hand)
{
    if (hand->has_slot)
        daemon_record_done(hand->owner->daemon, hand->slot);
    hand->has_slot = false;
}

static void on_claimed(void *arg, enum outcome outcome, const struct store_action_claim *claim,
                       const struct error *err)
{
    struct hand *hand = arg;
    hand->store_ticket = 0;
    acknowledge(hand); /* from here on Postgres owns the call, whoever got it */
    hands_count_claim(outcome == OK ? store_claim_answer_name(claim->answer) : "refused");
    action_resume(&hand->action,
                  &(struct action_event){
                      .ticket = hand->asked, .outcome = outcome, .err = err, .claim = claim });
}

static void port_claim(void *self, struct action *a, const struct store_claim_action *request)
{
    struct hands *h = self;
    struct hand *hand = hand_of(a);
    hand->asked = a->ticket;
    hand->store_ticket = store_claim_action(h->daemon->store, request, on_claimed, hand);
}

static void on_loaded(void *arg, enum outcome outcome, const struct tool_def *def,
                      const struct error *err)
{
    struct hand *hand = arg;
    hand->registry_ticket = 0;
    action_resume(&hand->action,
                  &(struct action_event){
                      .ticket = hand->asked, .outcome = outcome, .err = err, .def = def });
}

static const struct tool_def *port_load(void *self, struct action *a, int64_t revision)
{
    struct hands *h = self;
    struct hand *hand = hand_of(a);
    const struct tool_def *def = registry_tool_now(h->daemon->registry, revision);
    if (def)
        return def;
    hand->asked = a->ticket;
    hand->registry_ticket = registry_tool(h->daemon->registry, revision, on_loaded, hand);
    return NULL;
}

static void on_answered(void *arg, const struct tool_answer *answer)
{
    struct hand *hand = arg;
    hand->task = NULL;
    action_resume(&hand->action,
                  &(struct action_event){ .ticket = hand->asked, .outcome = OK, .answer = answer });
}

static enum outcome port_call(void *self, struct action *a, const struct tool_call *call,
                              struct error *err)
{
    struct hands *h = self;
    struct hand *hand = hand_of(a);
    hand->asked = a->ticket;
    return h->tool.start(h->tool.self, call, on_answered, hand, &hand->task, err);
}

static bool port_cancel(void *self, struct action *a)
{
    struct hands *h = self;
    struct hand *hand = hand_of(a);
    struct tool_task *task = hand->task;
    hand->task = NULL;
    return h->tool.cancel(h->tool.self, task);
}

static void on_committed(void *arg, enum outcome outcome, const struct store_action_commit *commit,
                         const struct error *err)
{
    struct hand *hand = arg;
    hand->store_ticket = 0;
    action_resume(&hand->action,
                  &(struct action_event){
                      .ticket = hand->asked, .outcome = outcome, .err = err, .commit = commit });
}

static bool is_out_for_same_step(const struct hand *hand, const struct doorbell *item)
{
    return hand->action.state == ACTION_CALL && hand->action.item.step == item->step &&
           uuid_eq(&hand->action.item.run, &item->run);
}

/* Is another call of this step with its tool?  Those that begin together stand
 * together; a few of them are looked at on each side.                        */
static bool has_sibling_out(const struct hand *hand)
{
    const struct doorbell *item = &hand->action.item;
    const struct hand *before = hand->prev, *after = hand->next;
    for (int i = 0; i < SIBLINGS_LOOKED_AT && (before || after); i++) {
        if ((before && is_out_for_same_step(before, item)) ||
            (after && is_out_for_same_step(after, item)))
            return true;
        before = before ? before->prev : NULL;
        after = after ? after->next : NULL;
    }
    return false;
}

/* A step goes on with its last result: the others need not hurry, and when the
 * last one comes at once they share a statement with it.                     */
static void port_commit(void *self, struct action *a, const struct store_commit_action *request)
{
    struct hands *h = self;
    struct hand *hand = hand_of(a);
    struct store_commit_action commit = *request;
    if (commit.outcome == STORE_CALL_SUCCEEDED && has_sibling_out(hand))
        commit.linger_ms = LINGER_MS;
    hand->asked = a->ticket;
    hand->store_ticket = store_commit_action(h->daemon->store, &commit, on_committed, hand);
}

static void port_ring(void *self, struct action *a, const struct doorbell *d)
{
    struct hands *h = self;
    (void)a;
    producer_ring(h->daemon->producer, d->index == DOORBELL_PLAN ? h->topic_plan : h->topic_act, d);
}

static void note_cannot(struct hands *h, int64_t revision, int64_t until_ms)
{
    if (cannot_add(&h->cannot, revision, until_ms))
        store_set_cannot(h->daemon->store, h->cannot.revisions, h->cannot.count);
}

static void port_cannot(void *self, struct action *a, const struct error *why)
{
    struct hands *h = self;
    log_event(LOG_WARN, "call cannot be served here", LOG_UUID("run_id", &a->item.run),
              LOG_INT("step", a->item.step), LOG_INT("call", a->item.index),
              LOG_STR("tool", a->tool), LOG_INT("revision", a->revision), LOG_WHY(why), LOG_END);
    hands_count_not_served(a->tool);
    note_cannot(h, a->revision, clock_mono_ms() + CANNOT_KEEP_MS);
}

static void port_moved(void *self, struct action *a, enum action_state from, enum action_state to)
{
    (void)self;
    hands_count_move((int)from, to == ACTION_DONE ? HANDS_NO_STATE : (int)to);
    log_event(LOG_DEBUG, "call", LOG_UUID("run_id", &a->item.run), LOG_INT("step", a->item.step),
              LOG_INT("call", a->item.index), LOG_INT("version", a->version),
              LOG_STR("from", action_state_name(from)), LOG_STR("to", action_state_name(to)),
              LOG_END);
}

static void log_end(const struct action *a)
{
    if (!a->end.committed && !a->end.stale)
        return; /* it was not ours */
    bool plain = a->end.committed && !a->end.late &&
                 (a->end.outcome == STORE_CALL_SUCCEEDED || a->end.outcome == STORE_CALL_FAILED);
    log_event(plain ? LOG_DEBUG : LOG_INFO,
              a->end.stale ? "result came too late" : "call has an outcome",
              LOG_UUID("run_id", &a->item.run), LOG_INT("step", a->item.step),
              LOG_INT("call", a->item.index), LOG_INT("version", a->version),
              LOG_STR("tool", a->tool), LOG_STR("outcome", store_call_outcome_name(a->end.outcome)),
              LOG_STR("code", a->outcome.code), LOG_STR("error", a->outcome.error),
              LOG_INT("duration_ms", a->outcome.duration_ms), LOG_INT("retry_ms", a->end.retry_ms),
              LOG_BOOL("late", a->end.late), LOG_END);
}

/* The call is open again: by us when we can, by others at once when we finish,
 * and otherwise when it falls due.                                           */
static void try_again(struct hands *h, const struct action *a)
{
    if (a->end.retry_ms < 0 || a->end.unable)
        return;
    if (!h->finishing)
        later_add(&h->later, &a->item, a->end.retry_ms);
    else if (a->end.retry_ms == 0)
        producer_ring(h->daemon->producer, h->topic_act, &a->item);
}

static void hand_free(struct hand *hand)
{
    struct hands *h = hand->owner;
    *(hand->prev ? &hand->prev->next : &h->list) = hand->next;
    if (hand->next)
        hand->next->prev = hand->prev;
    h->count--;
    action_release(&hand->action);
    free(hand);
}

static void port_done(void *self, struct action *a)
{
    struct hands *h = self;
    struct hand *hand = hand_of(a);
    log_end(a);
    hands_count_end(a, a->tool, h->dead);
    try_again(h, a);
    if (hand->lonely)
        alone_over(&h->alone, clock_mono_ms());
    hand_free(hand);
    look_at_places(h);
}

/* ---- taking work ------------------------------------------------------------------- */

static void begin(struct hands *h, const struct doorbell *item, const struct consumer_slot *slot,
                  bool lonely)
{
    struct hand *hand = xcalloc(1, sizeof *hand);
    hand->owner = h;
    hand->lonely = lonely;
    if (slot) {
        hand->slot = *slot;
        hand->has_slot = true;
    }
    hand->next = h->list;
    if (h->list)
        h->list->prev = hand;
    h->list = hand;
    h->count++;
    hands_count_move(HANDS_NO_STATE, ACTION_CLAIM);
    action_start(&hand->action, &h->ports, item, lonely);
}

static void on_record(void *self, const struct record_view *rec, struct consumer_slot slot)
{
    struct hands *h = self;
    struct doorbell item = { 0 };
    struct error why;
    FAULT_POINT(EXECUTOR_AFTER_CONSUME);
    enum outcome outcome = rec->value ? doorbell_read(rec->value, rec->value_n, &item, &why)
                                      : fail(&why, REFUSED, "it has no value");
    if (outcome == OK && item.index == DOORBELL_PLAN)
        outcome = fail(&why, REFUSED, "it rings for a step, which is the planner's");
    if (outcome != OK) {
        log_event(LOG_WARN, "doorbell is not understood", LOG_STR("topic", rec->topic),
                  LOG_INT("partition", rec->partition), LOG_INT("offset", rec->offset),
                  LOG_WHY(&why), LOG_END);
        daemon_record_done(h->daemon, slot);
        return;
    }
    if (is_open(h))
        begin(h, &item, &slot, false);
    else
        wait_for_place(h, &item, &slot);
    set_paused(h, !is_open(h));
}

static void on_due(void *self, const struct store_due *due)
{
    struct hands *h = self;
    struct doorbell item = { .run = due->run, .step = due->step, .index = due->index };
    if (due->what != STORE_DUE_ACT || h->finishing)
        return;
    if (due->alone) {
        if (alone_offer(&h->alone, &item, h->count == 0, clock_mono_ms()))
            begin(h, &h->alone.item, NULL, true);
    } else if (is_open(h)) {
        begin(h, &item, NULL, false);
    } /* else it falls due again, for whoever has a place then */
    set_paused(h, !is_open(h));
}

static void on_later(void *arg, const struct doorbell *item)
{
    struct hands *h = arg;
    if (is_open(h))
        begin(h, item, NULL, false);
    hands_set_waiting(h->waiting_count, h->later.count);
}

static void on_cancel(void *self, const struct uuid *run, int step, int index)
{
    struct hands *h = self;
    for (struct hand *hand = h->list, *next; hand; hand = next) {
        next = hand->next;
        struct action *a = &hand->action;
        if (a->item.step != step || a->item.index != index || !uuid_eq(&a->item.run, run))
            continue;
        bool fresh =
            a->state > ACTION_CLAIM && clock_mono_ms() - a->claimed_ms < CANCEL_AFTER_CLAIM_MS;
        if (!fresh)
            action_cancel(a);
    }
}

static void on_tool(void *self, int64_t seq, const struct tool_def *def)
{
    struct hands *h = self;
    struct error why;
    if (request_check(&h->daemon->config, def, &why) == OK)
        return;
    log_event(LOG_WARN, "tool cannot be served here", LOG_STR("tool", def->name),
              LOG_INT("revision", seq), LOG_WHY(&why), LOG_END);
    note_cannot(h, seq, INT64_MAX); /* secrets are read once, at the start */
}

static void on_sweep(void *self)
{
    struct hands *h = self;
    if (cannot_expire(&h->cannot, clock_mono_ms()))
        store_set_cannot(h->daemon->store, h->cannot.revisions, h->cannot.count);
    if (alone_tick(&h->alone, clock_mono_ms()))
        look_at_places(h);
}

/* ---- the end -------------------------------------------------------------------------- */

/* Their doorbells ring once more, for those who get our partitions. */
static void hand_on_waiting(struct hands *h)
{
    for (struct waiting *w; (w = take_waiting(h)); free(w)) {
        producer_ring(h->daemon->producer, h->topic_act, &w->item);
        daemon_record_done(h->daemon, w->slot);
    }
}

static void on_finish(void *self, bool dead)
{
    struct hands *h = self;
    h->finishing = true;
    h->dead = h->dead || dead;
    hand_on_waiting(h);
    later_clear(&h->later);
    for (struct hand *hand = h->list; hand; hand = hand->next)
        action_stop(&hand->action);
    look_at_places(h);
}

static int free_places(void *self)
{
    const struct hands *h = self;
    return is_open(h) && !h->waiting ? h->capacity - h->count : 0;
}

static int in_flight(void *self)
{
    const struct hands *h = self;
    return h->count;
}

static int64_t longest_call_ms(void *self)
{
    const struct hands *h = self;
    int64_t longest_ms = registry_longest_tool_ms(h->daemon->registry);
    for (const struct hand *hand = h->list; hand; hand = hand->next) {
        const struct tool_def *def = hand->action.call.def;
        if (def && def->timeout_ms > longest_ms)
            longest_ms = def->timeout_ms; /* of a revision that is not current any more */
    }
    return longest_ms > 0 ? longest_ms : CALL_MS_MIN;
}

static void drop(struct hand *hand)
{
    struct hands *h = hand->owner;
    store_cancel_op(h->daemon->store, hand->store_ticket);
    registry_cancel(h->daemon->registry, hand->registry_ticket);
    if (hand->task)
        (void)h->tool.cancel(h->tool.self, hand->task);
    hand_free(hand);
}

static void stop(void *self)
{
    struct hands *h = self;
    for (struct hand *hand = h->list, *next; hand; hand = next) {
        next = hand->next;
        drop(hand);
    }
    for (struct waiting *w; (w = take_waiting(h));)
        free(w);
    later_release(&h->later);
    http_release(h->http);
    outbound_free(h->outbound);
    free(h);
}

/* ---- the beginning ----------------------------------------------------------------------- */

static const char *group(const struct config *cfg)
{
    return cfg->group_executor;
}

static size_t topics(const struct config *cfg, const char *names[DAEMON_TOPICS_MAX])
{
    names[0] = cfg->topic_act;
    return 1;
}

static int capacity(const struct config *cfg)
{
    return cfg->capacity_actions;
}

static enum outcome start(struct daemon *d, void **self, struct error *err)
{
    struct hands *h = xcalloc(1, sizeof *h);
    struct http_options options = { .user_agent = "pawl-executor/" PAWL_VERSION };
    enum outcome outcome = http_init(&h->http, &d->loop, &options, err);
    if (outcome != OK) {
        free(h);
        return outcome;
    }
    h->outbound = outbound_new(&d->config.outbound);
    h->daemon = d;
    h->topic_act = d->config.topic_act;
    h->topic_plan = d->config.topic_plan;
    h->capacity = d->config.capacity_actions;
    h->waiting_end = &h->waiting;
    h->tool_http = (struct tool_http){
        .loop = &d->loop, .http = h->http, .config = &d->config, .outbound = h->outbound
    };
    h->tool = tool_http_kind(&h->tool_http);
    h->ports = (struct action_ports){
        .self = h,
        .now_ms = port_now,
        .claim = port_claim,
        .load = port_load,
        .call = port_call,
        .cancel = port_cancel,
        .commit = port_commit,
        .ring = port_ring,
        .cannot = port_cannot,
        .moved = port_moved,
        .done = port_done,
    };
    later_init(&h->later, &d->loop, on_later, h);
    hands_metrics_register();
    *self = h;
    return OK;
}

const struct daemon_work hands_work = {
    .name = "executor",
    .summary = "Calls the tools that plans ask for.",
    .group = group,
    .topics = topics,
    .capacity = capacity,
    .start = start,
    .on_record = on_record,
    .on_due = on_due,
    .on_sweep = on_sweep,
    .on_cancel = on_cancel,
    .on_tool = on_tool,
    .on_finish = on_finish,
    .free_places = free_places,
    .in_flight = in_flight,
    .longest_call_ms = longest_call_ms,
    .stop = stop,
};
