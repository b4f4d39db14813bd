#include "planner/brain_task.h"

#include "common/config.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_QUEUE_MESSAGES = 20000 };

static struct metric model_calls_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_calls_total",
    .help = "Model calls that ended, by model and outcome (ok, or the code of the failure).",
    .labels = { "model", "outcome" },
};
static struct metric model_call_seconds = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_model_call_duration_seconds",
    .help = "How long model calls took, by model.",
    .labels = { "model" },
};
static struct metric model_tokens_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_tokens_total",
    .help = "Tokens as counted by the providers, by model and kind (input, output; of these: "
            "cached, cache_written, reasoning).",
    .labels = { "model", "kind" },
};
static struct metric model_cost_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_cost_total",
    .help = "What model calls cost, by model, in the currency of the prices.",
    .labels = { "model" },
};
static struct metric wasted_calls_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_wasted_calls_total",
    .help = "Model calls that brought nothing, by model and why: retry (it failed and is asked "
            "again), fail (the run ended by it), stale (the answer came too late).",
    .labels = { "model", "why" },
};
static struct metric wasted_tokens_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_wasted_tokens_total",
    .help = "Tokens, in and out, of wasted model calls, by model, as far as they are known.",
    .labels = { "model" },
};
static struct metric wasted_cost_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_wasted_cost_total",
    .help = "What wasted model calls cost, by model, as far as it is known.",
    .labels = { "model" },
};
static struct metric plans_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_commits_total",
    .help = "Steps that were committed, by outcome.",
    .labels = { "outcome" },
};
static struct metric refused_calls_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_refused_calls_total",
    .help = "Tool calls of models that are not made: the model reads why.",
};

static struct metric context_moves_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_context_moves_total",
    .help = "Steps from which on less of a run is shown, because its prompt was over the budget of "
            "its model; the provider's cache begins anew there.",
    .labels = { "model" },
};
static struct metric context_tokens_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_context_tokens_total",
    .help = "Tokens of prompts to models with a context_window: as they were estimated before the "
            "call, and as the provider counted them.",
    .labels = { "model", "kind" },
};
static struct metric quota_waits_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_quota_waits_total",
    .help = "Model calls that were put off because the provider's limits were used up, by model.",
    .labels = { "model" },
};

static struct brain_task *task_of(struct plan *p)
{
    return (struct brain_task *)p;
}

static void slot_done(struct brain_task *t)
{
    if (t->has_slot)
        daemon_record_done(t->all->daemon, t->slot);
    t->has_slot = false;
}

/* ---- claim, load --------------------------------------------------------------------- */

static void on_claimed(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
                       const struct error *err)
{
    struct brain_task *t = arg;
    t->op = 0;
    t->claimed_ms = loop_now_ms(&t->all->daemon->loop);
    /* From here on Postgres owns the work.  Its commit may still be on the way to the
     * disk; what such a claim leads to is stale should it not arrive.           */
    slot_done(t);
    const struct plan_event ev = {
        .ticket = t->ticket, .outcome = outcome, .err = err, .claim = claim
    };
    plan_resume(&t->plan, &ev);
}

static void port_claim(void *self, struct plan *p, unsigned ticket,
                       const struct store_claim_plan *request)
{
    struct brain_tasks *all = self;
    struct brain_task *t = task_of(p);
    t->ticket = ticket;
    t->op = store_claim_plan(all->daemon->store, request, on_claimed, t);
}

static void on_agent(void *arg, enum outcome outcome, const struct registry_agent *agent,
                     const struct error *err)
{
    struct brain_task *t = arg;
    t->load = 0;
    const struct plan_event ev = {
        .ticket = t->ticket, .outcome = outcome, .err = err, .agent = agent
    };
    plan_resume(&t->plan, &ev);
}

static void port_load(void *self, struct plan *p, unsigned ticket, int64_t revision)
{
    struct brain_tasks *all = self;
    struct brain_task *t = task_of(p);
    t->ticket = ticket;
    t->load = registry_agent(all->daemon->registry, revision, on_agent, t);
}

/* ---- quota ------------------------------------------------------------------------------ */

static void on_quota(void *arg, enum outcome outcome, int64_t wait_ms, const struct error *err)
{
    struct brain_task *t = arg;
    t->op = 0;
    if (outcome == OK && wait_ms > 0)
        metric_add(metric_with(&quota_waits_total, t->plan.model->def->name), 1);
    const struct plan_event ev = {
        .ticket = t->ticket, .outcome = outcome, .err = err, .wait_ms = wait_ms
    };
    plan_resume(&t->plan, &ev);
}

static void port_quota(void *self, struct plan *p, unsigned ticket,
                       const struct store_quota *request)
{
    struct brain_tasks *all = self;
    struct brain_task *t = task_of(p);
    t->ticket = ticket;
    t->op = store_take_quota(all->daemon->store, request, on_quota, t);
}

/* One copy of each text, for as long as the process lives. */
static const char *keep_text(struct brain_tasks *all, const char *text)
{
    if (!text)
        return NULL;
    for (size_t i = 0; i < all->text_count; i++)
        if (strcmp(all->texts[i], text) == 0)
            return all->texts[i];
    all->texts = xreallocarray(all->texts, all->text_count + 1, sizeof *all->texts);
    return all->texts[all->text_count++] = xstrdup(text);
}

static void port_settle(void *self, const struct store_quota *request)
{
    struct brain_tasks *all = self;
    struct store_quota kept = *request;
    kept.base_url = keep_text(all, request->base_url);
    kept.secret = keep_text(all, request->secret);
    (void)store_take_quota(all->daemon->store, &kept, NULL, NULL);
}

/* ---- think ------------------------------------------------------------------------------ */

static void count_tokens(const char *model, const char *kind, int64_t tokens)
{
    if (tokens > 0)
        metric_add(metric_with(&model_tokens_total, model, kind), (double)tokens);
}

static void count_estimate(const struct plan *p, const struct model_reply *reply)
{
    const struct model_def *model = p->model->def;
    if (model->context_window == 0 || reply->usage.tokens_in <= 0)
        return;
    metric_add(metric_with(&context_tokens_total, model->name, "estimated"), (double)p->estimate);
    metric_add(metric_with(&context_tokens_total, model->name, "counted"),
               (double)reply->usage.tokens_in);
}

static void on_reply(void *arg, struct model_reply *reply)
{
    struct brain_task *t = arg;
    const struct model_def *def = t->plan.model->def;
    const char *model = def->name;
    t->call = NULL;
    breaker_note(&t->all->breakers, def, reply, loop_now_ms(&t->all->daemon->loop));
    metric_add(metric_with(&model_calls_total, model, reply->outcome == OK ? "ok" : reply->code),
               1);
    metric_observe(metric_with(&model_call_seconds, model), (double)reply->took_ms / 1000);
    count_tokens(model, "input", reply->usage.tokens_in);
    count_tokens(model, "cached", reply->usage.tokens_cached);
    count_tokens(model, "cache_written", reply->usage.tokens_written);
    count_tokens(model, "output", reply->usage.tokens_out);
    count_tokens(model, "reasoning", reply->usage.tokens_reasoning);
    count_estimate(&t->plan, reply);
    const struct plan_event ev = { .ticket = t->ticket, .outcome = OK, .reply = reply };
    plan_resume(&t->plan, &ev);
}

static bool send_live(void *arg, const struct uuid *run, const char *value, size_t n)
{
    struct brain_tasks *all = arg;
    char key[UUID_TEXT_SIZE];
    uuid_format(run, key);
    const struct record_draft draft = {
        .key = key, .key_n = strlen(key), .value = value, .value_n = n
    };
    return producer_send(all->stream, all->daemon->config.topic_stream, &draft, NULL, NULL, NULL) ==
           OK;
}

static void listen_to_model(struct brain_task *t, struct model_call_request *request)
{
    const struct plan *p = &t->plan;
    const struct tokens_place place = { p->run, p->epoch, p->step, p->version };
    live_end(t->live, false); /* another model is asked in the same attempt */
    t->live = live_begin(&t->all->live, &place);
    request->listener = live_listener(t->live);
}

static void port_think(void *self, struct plan *p, unsigned ticket,
                       const struct model_call_request *request)
{
    struct brain_tasks *all = self;
    struct brain_task *t = task_of(p);
    struct model_call_request heard = *request;
    t->ticket = ticket;
    if (all->stream)
        listen_to_model(t, &heard);
    t->call = model_call_start(all->http, &all->daemon->loop, &heard, on_reply, t);
}

static int64_t port_blocked_ms(void *self, const struct model_def *model)
{
    struct brain_tasks *all = self;
    return breaker_wait_ms(&all->breakers, model, loop_now_ms(&all->daemon->loop));
}

static enum outcome port_secret(void *self, const char *name, const char **value, struct error *err)
{
    struct brain_tasks *all = self;
    return config_secret_get(&all->daemon->config, name, value, err);
}

static double port_dice(void *self)
{
    struct brain_tasks *all = self;
    return erand48(all->dice);
}

static void port_cannot(void *self, const struct plan *p, const struct error *why)
{
    struct brain_tasks *all = self;
    metric_add(metric_with(&model_calls_total, p->model->def->name, "not_here"), 1);
    all->calls.cannot(all->calls.arg, &p->run, p->model->seq, why);
}

/* ---- commit ------------------------------------------------------------------------------ */

static const char *outcome_word(enum store_plan_outcome outcome)
{
    switch (outcome) {
    case STORE_PLAN_CALLS: return "calls";
    case STORE_PLAN_FINAL:
    case STORE_PLAN_LAST: return "final";
    case STORE_PLAN_RETRY: return "retry";
    case STORE_PLAN_FAIL: return "fail";
    case STORE_PLAN_HANDED_BACK: return "handed_back";
    }
    return "?";
}

static void add_known(struct metric *m, const char *model, double n)
{
    if (n > 0)
        metric_add(metric_with(m, model), n);
}

/* Whether the plan is of use is known only when it is committed, or not. */
static void count_cost(const struct store_commit_plan *plan, bool stale)
{
    const char *model = plan->model;
    if (!model || plan->outcome == STORE_PLAN_HANDED_BACK)
        return; /* none was asked */
    double cost = (double)plan->cost_micros / 1e6;
    add_known(&model_cost_total, model, cost);
    if (!stale && plan->outcome != STORE_PLAN_RETRY && plan->outcome != STORE_PLAN_FAIL)
        return;
    metric_add(
        metric_with(&wasted_calls_total, model, stale ? "stale" : outcome_word(plan->outcome)), 1);
    add_known(&wasted_cost_total, model, cost);
    add_known(&wasted_tokens_total, model, (double)(plan->tokens_in + plan->tokens_out));
}

static void count_commit(const struct store_commit_plan *plan)
{
    count_cost(plan, false);
    metric_add(metric_with(&plans_total, outcome_word(plan->outcome)), 1);
    for (size_t i = 0; i < plan->item_count; i++)
        if (plan->items[i].refused)
            metric_add(metric_with(&refused_calls_total), 1);
}

static void on_committed(void *arg, enum outcome outcome, const struct store_plan_commit *commit,
                         const struct error *err)
{
    struct brain_task *t = arg;
    t->op = 0;
    if (outcome == OK || outcome == STALE) {
        live_end(t->live, outcome == OK && t->plan.plan.item_count > 0);
        t->live = NULL;
    }
    if (outcome == OK) {
        count_commit(&t->plan.plan);
        if (t->plan.view_moved && t->plan.model)
            metric_add(metric_with(&context_moves_total, t->plan.model->def->name), 1);
    } else if (outcome == STALE) {
        count_cost(&t->plan.plan, true);
        metric_add(metric_with(&plans_total, "stale"), 1);
        log_event(LOG_INFO, "plan came too late", LOG_UUID("run_id", &t->plan.run),
                  LOG_INT("step", t->plan.plan.step), LOG_INT("version", t->plan.plan.version),
                  LOG_END);
    }
    const struct plan_event ev = {
        .ticket = t->ticket, .outcome = outcome, .err = err, .commit = commit
    };
    plan_resume(&t->plan, &ev);
}

static void port_commit(void *self, struct plan *p, unsigned ticket,
                        const struct store_commit_plan *request)
{
    struct brain_tasks *all = self;
    struct brain_task *t = task_of(p);
    t->ticket = ticket;
    t->op = store_commit_plan(all->daemon->store, request, on_committed, t);
}

/* ---- the rest of the ports ---------------------------------------------------------------- */

static void on_later(void *arg)
{
    struct brain_task *t = arg;
    const struct plan_event ev = { .ticket = t->ticket, .outcome = OK };
    plan_resume(&t->plan, &ev);
}

static void port_later(void *self, struct plan *p, unsigned ticket, int64_t delay_ms)
{
    (void)self;
    struct brain_task *t = task_of(p);
    t->ticket = ticket;
    loop_timer_start(&t->timer, delay_ms);
}

static void port_forget(void *self, struct plan *p)
{
    struct brain_tasks *all = self;
    struct brain_task *t = task_of(p);
    store_cancel_op(all->daemon->store, t->op);
    registry_cancel(all->daemon->registry, t->load);
    if (t->call)
        model_call_cancel(t->call);
    loop_timer_stop(&t->timer);
    t->op = 0;
    t->load = 0;
    t->call = NULL;
}

static void port_ring(void *self, const struct doorbell *d)
{
    struct brain_tasks *all = self;
    const struct config *cfg = &all->daemon->config;
    producer_ring(all->daemon->producer,
                  d->index == DOORBELL_PLAN ? cfg->topic_plan : cfg->topic_act, d);
}

static void port_announce(void *self, int64_t event_id)
{
    struct brain_tasks *all = self;
    all->calls.announce(all->calls.arg, event_id);
}

static void port_retry_in(void *self, const struct uuid *run, int64_t delay_ms)
{
    struct brain_tasks *all = self;
    all->calls.retry_in(all->calls.arg, run, delay_ms);
}

static void task_free(struct brain_task *t)
{
    struct brain_tasks *all = t->all;
    slot_done(t);
    run_table_remove(&all->runs, &t->entry);
    if (t->prev)
        t->prev->next = t->next;
    else
        all->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    all->count--;
    live_end(t->live, false);
    loop_timer_close(&t->timer);
    plan_release(&t->plan);
    free(t);
}

static void port_ended(void *self, struct plan *p)
{
    struct brain_tasks *all = self;
    task_free(task_of(p));
    all->calls.ended(all->calls.arg);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

struct brain_task *brain_tasks_find(const struct brain_tasks *all, const struct uuid *run)
{
    struct run_entry *entry = run_table_find(&all->runs, run);
    return entry ? (struct brain_task *)((char *)entry - offsetof(struct brain_task, entry)) : NULL;
}

void brain_tasks_start(struct brain_tasks *all, const struct uuid *run, bool alone,
                       const struct consumer_slot *slot)
{
    struct brain_task *t = xcalloc(1, sizeof *t);
    t->all = all;
    t->has_slot = slot != NULL;
    if (slot)
        t->slot = *slot;
    loop_timer_init(&all->daemon->loop, &t->timer, on_later, t);
    run_table_add(&all->runs, &t->entry, run);
    t->next = all->first;
    if (all->first)
        all->first->prev = t;
    all->first = t;
    all->count++;
    plan_start(&t->plan, &all->ports, &all->cache, run, alone);
}

static void register_metrics(void)
{
    metrics_register(&model_calls_total);
    metrics_register(&model_call_seconds);
    metrics_register(&model_tokens_total);
    metrics_register(&model_cost_total);
    metrics_register(&wasted_calls_total);
    metrics_register(&wasted_tokens_total);
    metrics_register(&wasted_cost_total);
    metrics_register(&plans_total);
    metrics_register(&quota_waits_total);
    metrics_register(&refused_calls_total);
    metrics_register(&context_moves_total);
    metrics_register(&context_tokens_total);
}

/* A client of its own: a flood of tokens never takes a doorbell's or an event's place. */
static enum outcome open_stream(struct brain_tasks *all, struct error *err)
{
    const struct config *cfg = &all->daemon->config;
    const struct producer_options options = { .queue_messages = STREAM_QUEUE_MESSAGES };
    const struct kafka_settings settings = kafka_settings_of(cfg, "planner-stream");
    all->live = (struct live_sink){ &all->daemon->loop, send_live, all };
    return cfg->topic_stream
               ? producer_init(&all->stream, &all->daemon->loop, &settings, &options, err)
               : OK;
}

enum outcome brain_tasks_init(struct brain_tasks *all, struct daemon *daemon, size_t history_bytes,
                              const struct brain_task_calls *calls, struct error *err)
{
    *all = (struct brain_tasks){ .daemon = daemon, .calls = *calls };
    const struct http_options options = {
        .connections = (size_t)daemon->config.capacity_plans,
        .user_agent = "pawl/" PAWL_VERSION,
    };
    enum outcome outcome = http_init(&all->http, &daemon->loop, &options, err);
    if (outcome == OK && (outcome = open_stream(all, err)) != OK)
        http_release(all->http);
    if (outcome != OK)
        return outcome;
    all->ports = (struct plan_ports){
        .self = all,
        .claim = port_claim,
        .load = port_load,
        .quota = port_quota,
        .settle = port_settle,
        .think = port_think,
        .commit = port_commit,
        .later = port_later,
        .forget = port_forget,
        .ring = port_ring,
        .announce = port_announce,
        .retry_in = port_retry_in,
        .blocked_ms = port_blocked_ms,
        .secret = port_secret,
        .dice = port_dice,
        .cannot = port_cannot,
        .ended = port_ended,
    };
    const struct uuid seed = uuid_v4();
    memcpy(all->dice, seed.b, sizeof all->dice);
    run_table_init(&all->runs);
    history_cache_init(&all->cache, history_bytes);
    breakers_init(&all->breakers);
    register_metrics();
    return OK;
}

void brain_tasks_release(struct brain_tasks *all)
{
    for (struct brain_task *t = all->first, *next; t; t = next) {
        next = t->next;
        port_forget(all, &t->plan);
        task_free(t);
    }
    run_table_release(&all->runs);
    for (size_t i = 0; i < all->text_count; i++)
        free(all->texts[i]);
    free(all->texts);
    history_cache_release(&all->cache);
    breakers_release(&all->breakers);
    producer_free(all->stream);
    http_release(all->http);
}
