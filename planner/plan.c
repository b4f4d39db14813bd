#include "planner/plan.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/metrics.h"
#include "planner/fallback.h"
#include "planner/judge.h"
#include "planner/plan_prompt.h"
#include "planner/prompt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TRY_AGAIN_MS = 200, TRY_AGAIN_MAX_MS = 5000, REFUSALS_MAX = 3 };

struct plan_step {
    const char *name;
    void (*enter)(struct plan *p);
    enum plan_state (*answer)(struct plan *p, const struct plan_event *ev);
    unsigned next; /* bit set of legal successors: checked, and drawn */
};

#define TO(state) (1u << (state))

static void plan_go(struct plan *p, enum plan_state to);

/* ---- what is committed ---------------------------------------------------------- */

static enum plan_state commit_with(struct plan *p, enum store_plan_outcome outcome,
                                   const char *code, const char *error)
{
    p->plan.outcome = outcome;
    p->plan.code = code;
    p->plan.error = error;
    return PLAN_COMMIT;
}

static enum plan_state give_back(struct plan *p)
{
    p->plan.items = NULL;
    p->plan.item_count = 0;
    p->plan.retry_ms = 0;
    return commit_with(p, STORE_PLAN_HANDED_BACK, NULL, NULL);
}

/* ---- claim ------------------------------------------------------------------------ */

static void claim_enter(struct plan *p)
{
    if (!p->history)
        p->history = history_take(p->cache, &p->run);
    const struct store_claim_plan request = {
        .token = p->token,
        .run = p->run,
        .known_step = p->history->known_step,
        .known_epoch = p->history->epoch,
        .alone = p->alone,
        .has_view = p->history->known_step > 0 || p->view_moved,
        .view = p->history->known_step > 0 ? p->history->view : p->context.view,
    };
    p->ports->claim(p->ports->self, p, p->ticket, &request);
}

static void take_claim(struct plan *p, const struct store_plan_claim *claim)
{
    p->step = claim->step;
    p->epoch = claim->epoch;
    p->version = claim->version;
    if (!p->model) { /* not asked again by us */
        p->failures = claim->failures;
        p->model_at = claim->model_at;
    }
    p->revision = claim->revision;
    (void)snprintf(p->tenant, sizeof p->tenant, "%s", claim->tenant ? claim->tenant : "");
    p->left_ms = claim->left_ms;
    p->plan = (struct store_commit_plan){
        .token = p->token,
        .run = p->run,
        .step = claim->step,
        .epoch = claim->epoch,
        .version = claim->version,
        .model_at = claim->model_at,
        .failures = claim->failures,
        .tokens_in = STORE_NOT_KNOWN,
        .tokens_out = STORE_NOT_KNOWN,
        .tokens_cached = STORE_NOT_KNOWN,
        .tokens_written = STORE_NOT_KNOWN,
        .tokens_reasoning = STORE_NOT_KNOWN,
        .cost_micros = STORE_NOT_KNOWN,
    };
    if (claim->known_step != p->history->known_step)
        history_forget(p->history);
    p->history->epoch = claim->epoch;
}

/* A view that we have moved is stored with what comes of it, and not before. */
static void take_context(struct plan *p)
{
    if (!p->view_moved)
        context_read(&p->context, p->conversation.context, p->conversation.context_n);
}

static enum plan_state claim_answer(struct plan *p, const struct plan_event *ev)
{
    if (ev->outcome == RETRY)
        return PLAN_CLAIM;
    if (!ev->claim || ev->claim->answer != STORE_YOURS) {
        p->keep_history = ev->claim && ev->claim->answer != STORE_DONE;
        return PLAN_DONE; /* it is, or will be, somebody else's business */
    }
    FAULT_POINT(PLANNER_AFTER_PLAN_CLAIM);
    take_claim(p, ev->claim);
    if (p->stop == PLAN_GIVE_BACK)
        return give_back(p);
    if (ev->outcome != OK) { /* ours, but what was said before cannot be read */
        p->why = *ev->err;
        return commit_with(p, STORE_PLAN_FAIL, "history_unreadable", p->why.text);
    }
    if (conversation_read(&p->conversation, &p->scratch, ev->claim->rows, ev->claim->row_count,
                          &p->why) != OK)
        return commit_with(p, STORE_PLAN_FAIL, "prompt_too_large", p->why.text);
    take_context(p);
    return PLAN_LOAD;
}

/* ---- load ------------------------------------------------------------------------- */

static void load_enter(struct plan *p)
{
    p->ports->load(p->ports->self, p, p->ticket, p->revision);
}

/* The last one is for the answer. */
static bool is_last_step(const struct plan *p)
{
    return p->step >= p->agent->def->limit_steps;
}

/* The first model, from the one on where this step stands, whose provider is not
 * left alone.  NULL: none; then *wait_ms says for how long.                  */
static const struct registry_model *choose_model(struct plan *p, int64_t *wait_ms)
{
    int count = (int)p->agent->def->model_count;
    int from = p->model_at < count ? p->model_at : count - 1;
    *wait_ms = INT64_MAX;
    for (int at = from; at < count; at++) {
        const struct registry_model *model = &p->agent->models[at];
        int64_t blocked_ms = p->ports->blocked_ms(p->ports->self, model->def);
        if (blocked_ms <= 0) {
            if (at != p->model_at)
                p->failures = 0;
            p->model_at = at;
            return model;
        }
        *wait_ms = blocked_ms < *wait_ms ? blocked_ms : *wait_ms;
    }
    return NULL;
}

/* Nobody can be asked: the run waits without a place of ours, and without using up
 * an attempt.                                                                */
static enum plan_state wait_for_provider(struct plan *p, int64_t wait_ms)
{
    enum plan_state next = give_back(p);
    p->plan.retry_ms = wait_ms;
    return next;
}

static bool is_limited(const struct model_def *model)
{
    return model->limits.requests_per_minute > 0 || model->limits.tokens_per_minute > 0;
}

static enum plan_state load_answer(struct plan *p, const struct plan_event *ev)
{
    if (ev->outcome == RETRY)
        return PLAN_LOAD;
    if (ev->outcome != OK) {
        p->why = *ev->err;
        return commit_with(p, STORE_PLAN_FAIL, "bad_revision", p->why.text);
    }
    p->agent = ev->agent;
    if (p->step > p->agent->def->limit_steps) {
        (void)fail(&p->why, REFUSED,
                   "the run has made %d steps, which is its agent's limit (limits.steps)",
                   p->agent->def->limit_steps);
        return commit_with(p, STORE_PLAN_FAIL, "step_limit", p->why.text);
    }
    int64_t wait_ms = 0;
    if (!p->model && !(p->model = choose_model(p, &wait_ms)))
        return wait_for_provider(p, wait_ms);
    if (p->history->known_step > 0 && p->history->model != p->model->seq) {
        history_forget(p->history); /* it is written for another model */
        arena_free(&p->scratch);
        return PLAN_CLAIM;
    }
    p->dialect = dialect_of(p->model->def->dialect);
    const char *secret = NULL, *name = p->model->def->api_key_secret;
    if (!p->dialect || (name && p->ports->secret(p->ports->self, name, &secret, &p->why) != OK) ||
        !judge_can(p->agent, &p->why)) {
        p->ports->cannot(p->ports->self, p, &p->why);
        return give_back(p);
    }
    switch (plan_prompt_make(p, is_last_step(p))) {
    case PLAN_PROMPT_READY: return is_limited(p->model->def) ? PLAN_QUOTA : PLAN_THINK;
    case PLAN_PROMPT_READ_AGAIN: return PLAN_CLAIM;
    case PLAN_PROMPT_REFUSED: break;
    }
    return commit_with(p, STORE_PLAN_FAIL, "prompt_too_large", p->why.text);
}

/* ---- quota ------------------------------------------------------------------------ */

static struct store_quota quota_of(const struct model_def *model)
{
    return (struct store_quota){
        .base_url = model->base_url,
        .secret = model->api_key_secret,
        .requests_per_minute = model->limits.requests_per_minute,
        .tokens_per_minute = model->limits.tokens_per_minute,
    };
}

static void quota_enter(struct plan *p)
{
    struct store_quota request = quota_of(p->model->def);
    request.run = p->run;
    request.tenant = p->tenant;
    request.tokens = p->estimate;
    p->ports->quota(p->ports->self, p, p->ticket, &request);
}

/* Limits that cannot be asked for hold nobody up: the provider keeps them, too. */
static enum plan_state quota_answer(struct plan *p, const struct plan_event *ev)
{
    if (ev->outcome == OK && ev->wait_ms > 0)
        return wait_for_provider(p, ev->wait_ms);
    p->taken = ev->outcome == OK ? p->estimate : 0;
    return PLAN_THINK;
}

/* What was used is put right, and a pause that the provider wants is everybody's. */
static void settle(struct plan *p)
{
    const struct model_reply *reply = p->reply;
    const struct model_usage *usage = &reply->usage;
    struct store_quota request = quota_of(p->model->def);
    if (!is_limited(p->model->def))
        return;
    if (usage->tokens_in > 0 || usage->tokens_out > 0)
        request.settle = (usage->tokens_in > 0 ? usage->tokens_in : 0) +
                         (usage->tokens_out > 0 ? usage->tokens_out : 0) - p->taken;
    if (reply->outcome == RETRY && strcmp(reply->code, "rate_limited") == 0)
        request.pause_ms = reply->retry_after_ms > 0 ? reply->retry_after_ms : 0;
    if (request.settle != 0 || request.pause_ms > 0)
        p->ports->settle(p->ports->self, &request);
}

/* ---- think ------------------------------------------------------------------------ */

static void think_enter(struct plan *p)
{
    const char *secret = NULL, *name = p->model->def->api_key_secret;
    if (name)
        (void)p->ports->secret(p->ports->self, name, &secret, &p->why); /* asked for by load */
    (void)snprintf(p->call_prefix, sizeof p->call_prefix, "pawl_%d", p->step);
    p->plan.model = p->model->def->name; /* from here on the step may have cost something */
    const struct model_call_request request = {
        .dialect = p->dialect,
        .model = p->model->def,
        .secret = secret,
        .body = p->history->text.data,
        .body_n = p->history->text.len,
        .call_prefix = p->call_prefix,
        .left_ms = p->left_ms,
    };
    p->ports->think(p->ports->self, p, p->ticket, &request);
}

static void count_usage(struct plan *p)
{
    const struct model_usage *usage = &p->reply->usage;
    p->plan.tokens_in = usage->tokens_in;
    p->plan.tokens_out = usage->tokens_out;
    p->plan.tokens_cached = usage->tokens_cached;
    p->plan.tokens_written = usage->tokens_written;
    p->plan.tokens_reasoning = usage->tokens_reasoning;
    p->plan.cost_micros = model_cost_micros(&p->model->def->price, usage);
    p->plan.duration_ms = p->reply->took_ms < INT32_MAX ? (int)p->reply->took_ms : INT32_MAX;
    plan_prompt_count(p);
}

/* The step is tried again after wait_ms, by whoever is free then, with the model at
 * `model_at` that failed `failures` times.                                   */
static enum plan_state try_again(struct plan *p, int model_at, int failures, int64_t wait_ms)
{
    int64_t left_ms = p->left_ms - p->reply->took_ms;
    if (wait_ms > left_ms)
        wait_ms = left_ms > 0 ? left_ms : 0; /* then the run has come to its deadline */
    p->plan.retry_ms = wait_ms;
    p->plan.model_at = model_at;
    p->plan.failures = failures;
    return commit_with(p, STORE_PLAN_RETRY, p->reply->code, p->reply->error.text);
}

/* Not earlier than the provider asks; a little later, each for itself. */
static int64_t wait_of(struct plan *p, int failures)
{
    double dice = p->ports->dice(p->ports->self);
    int64_t wait_ms = model_backoff_ms(failures, dice), asked_ms = p->reply->retry_after_ms;
    return asked_ms > wait_ms ? asked_ms + (int64_t)((double)asked_ms * 0.1 * dice) : wait_ms;
}

static enum plan_state think_failed(struct plan *p)
{
    const struct model_reply *reply = p->reply;
    int failures = p->failures + 1;
    log_event(LOG_WARN, "model call failed", LOG_UUID("run_id", &p->run), LOG_INT("step", p->step),
              LOG_STR("model", p->model->def->name), LOG_STR("code", reply->code),
              LOG_INT("failures", failures), LOG_WHY(&reply->error), LOG_END);
    bool used_up = failures >= p->model->def->attempts;
    bool last = p->model_at + 1 >= (int)p->agent->def->model_count;
    if (!used_up && plan_prompt_shorten(p))
        return try_again(p, p->model_at, failures, 0);
    if (fallback_moves_on(p->agent->def, p->model_at, failures, reply) ||
        (reply->outcome == RETRY && used_up && !last))
        return try_again(p, p->model_at + 1, 0, 0);
    if (reply->outcome == RETRY && !used_up)
        return try_again(p, p->model_at, failures, wait_of(p, failures));
    if (plan_prompt_hopeless(p))
        return commit_with(p, STORE_PLAN_FAIL, "prompt_too_large", p->why.text);
    const char *code = reply->outcome == RETRY ? "model_failed" : "model_refused";
    char *text = reply->outcome == RETRY
                     ? arena_printf(&p->arena, "the model failed %d times; last: %s", failures,
                                    reply->error.text)
                     : arena_printf(&p->arena, "%s: %s", reply->code, reply->error.text);
    return commit_with(p, STORE_PLAN_FAIL, code, text ? text : reply->error.text);
}

static enum plan_state think_answer(struct plan *p, const struct plan_event *ev)
{
    FAULT_POINT(PLANNER_AFTER_MODEL_CALL);
    p->reply = ev->reply;
    count_usage(p);
    settle(p);
    if (p->reply->outcome != OK)
        return think_failed(p);
    struct store_item *items;
    if (judge_items(p->reply, p->agent, is_last_step(p), &p->arena, &items, &p->why) != OK)
        return commit_with(p, STORE_PLAN_FAIL, "answer_too_large", p->why.text);
    p->plan.items = items;
    p->plan.item_count = p->reply->item_count;
    p->plan.dialect = p->dialect->name;
    const char *code = NULL;
    enum store_plan_outcome outcome = judge_outcome(p->reply, &code, &p->why);
    if (outcome == STORE_PLAN_FINAL && !is_last_step(p) && !p->history->empty_turn &&
        prompt_is_empty_turn(p->reply->items, p->reply->item_count))
        outcome = STORE_PLAN_CALLS; /* without any: the next step asks once more */
    if (outcome == STORE_PLAN_FINAL && is_last_step(p))
        outcome = STORE_PLAN_LAST;
    return commit_with(p, outcome, code, code ? p->why.text : NULL);
}

/* ---- commit ----------------------------------------------------------------------- */

static void commit_enter(struct plan *p)
{
    p->ports->commit(p->ports->self, p, p->ticket, &p->plan);
}

/* Postgres will not take these rows, ever.  The run must not hang on them: first it
 * fails for that reason, and if not even that can be stored, the claim goes back. */
static enum plan_state commit_refused(struct plan *p, const struct error *err)
{
    log_event(LOG_ERROR, "plan refused by Postgres", LOG_UUID("run_id", &p->run),
              LOG_INT("step", p->step), LOG_WHY(err), LOG_END);
    if (p->plan.outcome == STORE_PLAN_HANDED_BACK)
        return PLAN_DONE;
    if (p->plan.outcome == STORE_PLAN_FAIL && !p->plan.items)
        return give_back(p);
    p->plan.items = NULL;
    p->plan.item_count = 0;
    return commit_with(p, STORE_PLAN_FAIL, "plan_refused",
                       "the database refused the model's answer; see the planner's log");
}

static void committed(struct plan *p, const struct store_plan_commit *commit)
{
    p->open_calls = commit->open_calls;
    p->next_step = commit->next_step;
    p->event_id = commit->event_id;
    bool goes_on = p->plan.outcome == STORE_PLAN_FINAL && commit->next_step > 0;
    if (p->plan.outcome == STORE_PLAN_CALLS || goes_on)
        p->keep_history = prompt_add_answer(p->dialect, p->reply, p->step, p->history);
    else
        p->keep_history = p->event_id == 0;
}

static enum plan_state commit_answer(struct plan *p, const struct plan_event *ev)
{
    switch (ev->outcome) {
    case OK: break;
    case RETRY: return PLAN_COMMIT;
    case STALE: return PLAN_DONE; /* the run has gone on, or ended, without us */
    case REFUSED: return commit_refused(p, ev->err);
    case BROKEN: abort();
    }
    if (p->plan.outcome == STORE_PLAN_CALLS)
        FAULT_POINT(PLANNER_AFTER_PLAN_COMMIT);
    if (p->plan.outcome == STORE_PLAN_RETRY)
        FAULT_POINT(PLANNER_AFTER_RETRY_COMMIT);
    if (ev->commit->event_id)
        FAULT_POINT(PLANNER_AFTER_END_COMMIT);
    committed(p, ev->commit);
    return PLAN_RING;
}

/* ---- ring -------------------------------------------------------------------------- */

/* Only as many calls as may be made at once: the hands ring for the rest as places
 * become free.                                                               */
static void ring_calls(struct plan *p)
{
    int room = p->agent->def->limit_parallel_calls;
    for (size_t i = 0; i < p->plan.item_count && room > 0; i++) {
        const struct store_item *item = &p->plan.items[i];
        if (item->type != STORE_FUNCTION_CALL || item->refused)
            continue;
        const struct doorbell bell = { p->run, p->step, (int)i };
        p->ports->ring(p->ports->self, &bell);
        room--;
    }
    FAULT_POINT(PLANNER_AFTER_PLAN_RING);
}

static void ring_enter(struct plan *p)
{
    if (p->open_calls > 0)
        ring_calls(p);
    if (p->next_step > 0) { /* every call was refused, or people said something meanwhile */
        const struct doorbell bell = { p->run, p->next_step, DOORBELL_PLAN };
        p->ports->ring(p->ports->self, &bell);
    }
    if (p->event_id)
        p->ports->announce(p->ports->self, p->event_id);
    if (p->plan.outcome == STORE_PLAN_RETRY || p->plan.retry_ms > 0)
        p->ports->retry_in(p->ports->self, &p->run, p->plan.retry_ms);
    plan_go(p, PLAN_DONE);
}

static void done_enter(struct plan *p)
{
    if (p->history && p->keep_history)
        history_put(p->cache, p->history, clock_mono_ms());
    else
        history_free(p->history);
    p->history = NULL;
    p->ports->ended(p->ports->self, p);
}

/* ---- the machine -------------------------------------------------------------------- */

/* clang-format off */
static const struct plan_step steps[PLAN_STATES] = {
    [PLAN_CLAIM]  = { "claim",  claim_enter,  claim_answer,  TO(PLAN_CLAIM) | TO(PLAN_LOAD) | TO(PLAN_COMMIT) | TO(PLAN_DONE) },
    [PLAN_LOAD]   = { "load",   load_enter,   load_answer,   TO(PLAN_LOAD) | TO(PLAN_CLAIM) | TO(PLAN_QUOTA) | TO(PLAN_THINK) | TO(PLAN_COMMIT) | TO(PLAN_DONE) },
    [PLAN_QUOTA]  = { "quota",  quota_enter,  quota_answer,  TO(PLAN_THINK) | TO(PLAN_COMMIT) | TO(PLAN_DONE) },
    [PLAN_THINK]  = { "think",  think_enter,  think_answer,  TO(PLAN_COMMIT) | TO(PLAN_DONE) },
    [PLAN_COMMIT] = { "commit", commit_enter, commit_answer, TO(PLAN_COMMIT) | TO(PLAN_RING) | TO(PLAN_DONE) },
    [PLAN_RING]   = { "ring",   ring_enter,   NULL,          TO(PLAN_DONE) },
    [PLAN_DONE]   = { "done",   done_enter,   NULL,          0 },
};
/* clang-format on */

const char *plan_state_name(unsigned state)
{
    return state < PLAN_STATES ? steps[state].name : "?";
}

static struct metric_states plan_states = {
    .metric = { .name = "pawl_planner_plans",
                .help = "Steps in the hands of this planner, by state." },
};

/* The only place where `state` changes.  Nothing may touch `p` after it: the last
 * state gives it back to its owner.                                          */
static void plan_go(struct plan *p, enum plan_state to)
{
    assert(steps[p->state].next & TO(to));
    log_event(LOG_DEBUG, "plan", LOG_UUID("run_id", &p->run), LOG_INT("step", p->step),
              LOG_STR("from", steps[p->state].name), LOG_STR("to", steps[to].name), LOG_END);
    metric_states_move(&plan_states, (int)p->state, to == PLAN_DONE ? METRIC_NO_STATE : (int)to);
    bool again = p->state == to && p->tries++ >= 0;
    p->state = to;
    p->ticket++; /* answers to what we left are now strangers */
    p->paused = again;
    if (again) {
        int64_t wait_ms = TRY_AGAIN_MS * (int64_t)p->tries;
        p->ports->later(p->ports->self, p, p->ticket,
                        wait_ms < TRY_AGAIN_MAX_MS ? wait_ms : TRY_AGAIN_MAX_MS);
        return;
    }
    p->tries = 0;
    steps[to].enter(p);
}

void plan_start(struct plan *p, const struct plan_ports *ports, struct history_cache *cache,
                const struct uuid *run, bool alone)
{
    metric_states_register(&plan_states, PLAN_DONE, plan_state_name);
    *p = (struct plan){
        .state = PLAN_CLAIM,
        .ticket = 1,
        .ports = ports,
        .cache = cache,
        .run = *run,
        .token = uuid_v4(),
        .alone = alone,
    };
    arena_init(&p->arena, PLAN_SCRATCH_BYTES);
    arena_init(&p->scratch, PLAN_SCRATCH_BYTES);
    metric_states_move(&plan_states, METRIC_NO_STATE, PLAN_CLAIM);
    log_event(LOG_DEBUG, "plan", LOG_UUID("run_id", run), LOG_STR("to", "claim"), LOG_END);
    steps[PLAN_CLAIM].enter(p);
}

void plan_resume(struct plan *p, const struct plan_event *ev)
{
    if (ev->ticket != p->ticket || !steps[p->state].answer) {
        model_reply_free(ev->reply); /* late answer of an operation we gave up on */
        return;
    }
    if (p->paused) { /* the wait is over: the same operation once more */
        p->paused = false;
        p->ticket++;
        steps[p->state].enter(p);
        return;
    }
    plan_go(p, steps[p->state].answer(p, ev));
}

/* ---- ends that come from outside ------------------------------------------------------ */

void plan_cancel(struct plan *p)
{
    p->stop = PLAN_GIVE_BACK;
    if (p->state != PLAN_LOAD && p->state != PLAN_QUOTA && p->state != PLAN_THINK)
        return;
    p->ports->forget(p->ports->self, p);
    FAULT_POINT(PLANNER_AFTER_CANCEL);
    plan_go(p, give_back(p));
}

void plan_drain(struct plan *p)
{
    p->stop = PLAN_GIVE_BACK;
    if (p->state == PLAN_LOAD || p->state == PLAN_QUOTA)
        plan_cancel(p);
}

void plan_drop(struct plan *p)
{
    if (p->state == PLAN_RING || p->state == PLAN_DONE)
        return;
    p->ports->forget(p->ports->self, p);
    p->keep_history = false;
    plan_go(p, PLAN_DONE);
}

void plan_release(struct plan *p)
{
    if (p->state != PLAN_DONE) /* never ended: the process does */
        metric_states_move(&plan_states, (int)p->state, METRIC_NO_STATE);
    history_free(p->history);
    model_reply_free(p->reply);
    arena_free(&p->scratch);
    arena_free(&p->arena);
    *p = (struct plan){ .state = PLAN_DONE };
}

void plan_print_graph(FILE *out)
{
    (void)fputs("stateDiagram-v2\n    [*] --> claim\n", out);
    for (unsigned s = 0; s < PLAN_STATES; s++)
        for (unsigned t = 0; t < PLAN_STATES; t++)
            if (steps[s].next & TO(t))
                (void)fprintf(out, "    %s --> %s\n", steps[s].name, steps[t].name);
    (void)fputs("    done --> [*]\n", out);
}
