#include "executor/action.h"

#include "common/fault.h"
#include "common/json.h"
#include "common/log.h"

#include <assert.h>
#include <string.h>

enum { META_BYTES_MAX = 64 * 1024, META_DEPTH_MAX = 32 };

/* A state is two functions: `enter` starts its one operation and answers its own
 * state, or the next one when there is nothing to wait for; `answer` reads the
 * reply and names the next state.                                            */
struct step {
    const char *name;
    enum action_state (*enter)(struct action *a);
    enum action_state (*answer)(struct action *a, const struct action_event *ev);
    unsigned next; /* bit set of legal successors: checked, and drawn */
};

#define TO(state) (1u << (state))

/* ---- what will be stored ------------------------------------------------------ */

/* An outcome that is ours, not the tool's. */
static enum action_state settle(struct action *a, enum store_call_outcome outcome, const char *code,
                                const char *text, int64_t retry_ms)
{
    (void)snprintf(a->code, sizeof a->code, "%s", code);
    (void)snprintf(a->error.text, sizeof a->error.text, "%s", text);
    a->outcome.outcome = outcome;
    a->outcome.result = NULL;
    a->outcome.code = a->code;
    a->outcome.error = a->error.text;
    a->outcome.retry_ms = retry_ms;
    a->outcome.duration_ms = STORE_NOT_KNOWN;
    return ACTION_COMMIT;
}

/* Nothing was sent: the claim is given up, or the probe is left to others. */
static enum action_state give_up(struct action *a, const char *code, const char *text)
{
    if (a->work == STORE_WORK_PROBE)
        return settle(a, STORE_PROBE_FAILED, code, text, 0);
    return settle(a, STORE_CALL_HANDED_BACK, code, text, 0);
}

static enum action_state keep_answer(struct action *a, const struct tool_answer *answer)
{
    const char *result = NULL;
    if (answer->result)
        result = arena_memdup(&a->arena, answer->result, answer->result_bytes);
    (void)settle(a, answer->outcome, answer->code ? answer->code : "",
                 answer->error ? answer->error : "", answer->retry_ms);
    a->outcome.code = answer->code ? a->code : NULL;
    a->outcome.error = answer->error ? a->error.text : NULL;
    a->outcome.result = answer->result && !result
                            ? "[The tool has run; its answer did not fit into memory.]"
                            : result;
    a->outcome.duration_ms = answer->took_ms < INT32_MAX ? (int)answer->took_ms : INT32_MAX;
    return ACTION_COMMIT;
}

/* ---- claim ---------------------------------------------------------------------- */

static enum action_state claim_enter(struct action *a)
{
    struct store_claim_action request = {
        .token = a->token,
        .run = a->item.run,
        .step = a->item.step,
        .index = a->item.index,
        .alone = a->alone,
    };
    a->ports->claim(a->ports->self, a, &request);
    return ACTION_CLAIM;
}

/* The trace context that the request of the run came with. */
static void read_meta(struct action *a, const char *text)
{
    struct json_limits limits = { .bytes = META_BYTES_MAX, .depth = META_DEPTH_MAX };
    json_t *meta = NULL;
    if (!text || json_read(text, strlen(text), &limits, &meta, NULL) != OK)
        return;
    const char *parent = json_str(meta, "traceparent");
    const char *state = json_str(meta, "tracestate");
    a->call.traceparent = parent ? arena_strdup(&a->arena, parent) : NULL;
    a->call.tracestate = state ? arena_strdup(&a->arena, state) : NULL;
    json_decref(meta);
}

static bool keep_claim(struct action *a, const struct store_action_claim *claim)
{
    const char *arguments = claim->arguments ? claim->arguments : "{}";
    a->work = claim->work;
    a->version = claim->version;
    a->revision = claim->revision;
    a->claimed_ms = a->ports->now_ms(a->ports->self);
    const char *tool = arena_strdup(&a->arena, claim->tool ? claim->tool : "");
    a->tool = tool ? tool : "";
    a->call = (struct tool_call){
        .errand = claim->work,
        .run_id = a->item.run,
        .step = a->item.step,
        .index = a->item.index,
        .attempt = claim->attempt,
        .key = claim->key,
        .arguments = arena_strdup(&a->arena, arguments),
        .arguments_bytes = strlen(arguments),
        .send_by_ms = claim->send_by_ms,
    };
    read_meta(a, claim->meta);
    return a->call.arguments != NULL;
}

static enum action_state claim_answer(struct action *a, const struct action_event *ev)
{
    if (ev->outcome != OK) {
        log_event(LOG_ERROR, "call cannot be claimed", LOG_UUID("run_id", &a->item.run),
                  LOG_INT("step", a->item.step), LOG_INT("call", a->item.index), LOG_WHY(ev->err),
                  LOG_END);
        return ACTION_DONE;
    }
    const struct store_action_claim *claim = ev->claim;
    if (claim->answer != STORE_YOURS) {
        a->ring_plan = claim->ring_plan;
        return claim->ring_plan > 0 ? ACTION_RING : ACTION_DONE;
    }
    bool kept = keep_claim(a, claim);
    if (a->work == STORE_WORK_PROBE)
        FAULT_POINT(EXECUTOR_AFTER_PROBE_CLAIM);
    else
        FAULT_POINT(EXECUTOR_AFTER_CLAIM);
    if (!kept)
        return settle(a, STORE_CALL_FAILED_BEFORE_EFFECT, "too_large",
                      "the arguments of the call are too large", TOOL_NO_RETRY);
    return ACTION_LOAD;
}

/* ---- load ----------------------------------------------------------------------- */

static enum action_state loaded(const struct action *a)
{
    return a->work == STORE_WORK_PROBE ? ACTION_PROBE : ACTION_CALL;
}

static enum action_state load_enter(struct action *a)
{
    if (a->stopping)
        return give_up(a, "not_sent", "the process was asked to stop before it had sent the call");
    a->call.def = a->ports->load(a->ports->self, a, a->revision);
    return a->call.def ? loaded(a) : ACTION_LOAD;
}

static enum action_state unable(struct action *a, const struct error *why)
{
    a->end.unable = true;
    a->ports->cannot(a->ports->self, a, why);
    return give_up(a, "cannot_serve", why->text);
}

static enum action_state load_answer(struct action *a, const struct action_event *ev)
{
    if (ev->outcome != OK)
        return unable(a, ev->err);
    a->call.def = ev->def;
    return loaded(a);
}

/* ---- call and probe --------------------------------------------------------------- */

static enum action_state call_enter(struct action *a)
{
    if (a->stopping)
        return give_up(a, "not_sent", "the process was asked to stop before it had sent the call");
    if (a->work == STORE_WORK_CALL && a->ports->now_ms(a->ports->self) >= a->call.send_by_ms)
        return give_up(a, "send_by_passed", "the claim was too old to send the call");
    struct error why;
    if (a->ports->call(a->ports->self, a, &a->call, &why) != OK)
        return unable(a, &why);
    return a->state;
}

static enum action_state call_answer(struct action *a, const struct action_event *ev)
{
    FAULT_POINT(EXECUTOR_AFTER_CALL);
    return keep_answer(a, ev->answer);
}

static enum action_state probe_answer(struct action *a, const struct action_event *ev)
{
    FAULT_POINT(EXECUTOR_AFTER_PROBE);
    return keep_answer(a, ev->answer);
}

/* ---- commit ----------------------------------------------------------------------- */

static enum action_state commit_enter(struct action *a)
{
    a->outcome.token = a->token;
    a->outcome.run = a->item.run;
    a->outcome.step = a->item.step;
    a->outcome.index = a->item.index;
    a->outcome.version = a->version;
    a->ports->commit(a->ports->self, a, &a->outcome);
    return ACTION_COMMIT;
}

/* What we know is worth more than the text that could not be stored. */
static enum action_state commit_refused(struct action *a, const struct error *err)
{
    log_event(LOG_ERROR, "result cannot be stored", LOG_UUID("run_id", &a->item.run),
              LOG_INT("step", a->item.step), LOG_INT("call", a->item.index), LOG_WHY(err),
              LOG_BOOL("given_up", a->plain), LOG_END);
    if (a->plain)
        return ACTION_DONE; /* stays claimed until this process ends: then it is unknown */
    a->plain = true;
    if (a->outcome.result)
        a->outcome.result = "[The tool has answered; the answer could not be stored.]";
    if (a->outcome.error)
        a->outcome.error = "the text of this error could not be stored";
    return ACTION_COMMIT;
}

static enum action_state commit_answer(struct action *a, const struct action_event *ev)
{
    a->end.outcome = a->outcome.outcome;
    if (ev->outcome == STALE) {
        a->end.stale = true;
        return ACTION_DONE;
    }
    if (ev->outcome != OK)
        return commit_refused(a, ev->err);
    a->end.committed = true;
    a->end.late = ev->commit->stored_only;
    a->end.retry_ms = ev->commit->retry_ms;
    a->ring_plan = ev->commit->ring_plan;
    a->ring_index = ev->commit->ring_index;
    FAULT_POINT(EXECUTOR_AFTER_COMMIT);
    return ACTION_RING;
}

/* ---- ring --------------------------------------------------------------------------- */

static enum action_state ring_enter(struct action *a)
{
    struct doorbell d = { .run = a->item.run };
    if (a->ring_plan > 0) {
        d.step = a->ring_plan;
        d.index = DOORBELL_PLAN;
        a->ports->ring(a->ports->self, a, &d);
    }
    if (a->ring_index >= 0) {
        d.step = a->item.step;
        d.index = a->ring_index;
        a->ports->ring(a->ports->self, a, &d);
    }
    if (a->ring_plan > 0 || a->ring_index >= 0)
        FAULT_POINT(EXECUTOR_AFTER_RING);
    return ACTION_DONE;
}

static enum action_state done_enter(struct action *a)
{
    a->ports->done(a->ports->self, a); /* may free it */
    return ACTION_DONE;
}

/* ---- the machine ---------------------------------------------------------------------- */

/* clang-format off */
static const struct step steps[ACTION_STATES] = {
    [ACTION_CLAIM]  = { "claim",  claim_enter,  claim_answer,  TO(ACTION_LOAD) | TO(ACTION_COMMIT) | TO(ACTION_RING) | TO(ACTION_DONE) },
    [ACTION_LOAD]   = { "load",   load_enter,   load_answer,   TO(ACTION_CALL) | TO(ACTION_PROBE) | TO(ACTION_COMMIT) },
    [ACTION_CALL]   = { "call",   call_enter,   call_answer,   TO(ACTION_COMMIT) },
    [ACTION_PROBE]  = { "probe",  call_enter,   probe_answer,  TO(ACTION_COMMIT) },
    [ACTION_COMMIT] = { "commit", commit_enter, commit_answer, TO(ACTION_COMMIT) | TO(ACTION_RING) | TO(ACTION_DONE) },
    [ACTION_RING]   = { "ring",   ring_enter,   NULL,          TO(ACTION_DONE) },
    [ACTION_DONE]   = { "done",   done_enter,   NULL,          0 },
};
/* clang-format on */

const char *action_state_name(unsigned state)
{
    assert(state < ACTION_STATES);
    return steps[state].name;
}

/* The only place where `state` changes.  `a` may be gone when this returns. */
static void action_go(struct action *a, enum action_state to)
{
    for (;;) {
        assert(steps[a->state].next & TO(to));
        a->ports->moved(a->ports->self, a, a->state, to);
        a->state = to;
        a->ticket++; /* answers to what we left are now strangers */
        enum action_state next = steps[to].enter(a);
        if (next == to)
            return;
        to = next;
    }
}

void action_start(struct action *a, const struct action_ports *ports, const struct doorbell *item,
                  bool alone)
{
    *a = (struct action){
        .state = ACTION_CLAIM,
        .ticket = 1,
        .ports = ports,
        .item = *item,
        .token = uuid_v4(),
        .alone = alone,
        .tool = "",
        .ring_index = -1,
        .end = { .retry_ms = TOOL_NO_RETRY },
    };
    arena_init(&a->arena, ACTION_ARENA_BYTES);
    (void)claim_enter(a);
}

void action_resume(struct action *a, const struct action_event *ev)
{
    if (ev->ticket != a->ticket || !steps[a->state].answer)
        return; /* late answer of an operation we gave up on */
    action_go(a, steps[a->state].answer(a, ev));
}

void action_cancel(struct action *a)
{
    a->stopping = true;
    if (a->state != ACTION_CALL && a->state != ACTION_PROBE)
        return; /* not sent yet, and will not be; or on its way into the database already */
    bool sent = a->ports->cancel(a->ports->self, a);
    FAULT_POINT(EXECUTOR_AFTER_CANCEL);
    if (a->state == ACTION_CALL && sent && !a->call.def->read_only)
        (void)settle(a, STORE_CALL_UNKNOWN, "cancelled", "the run ended while the tool was at work",
                     TOOL_NO_RETRY);
    else
        (void)give_up(a, "cancelled", "the run ended before this call had a result");
    action_go(a, ACTION_COMMIT);
}

void action_stop(struct action *a)
{
    a->stopping = true;
}

void action_release(struct action *a)
{
    arena_free(&a->arena);
}

void action_print_graph(FILE *out)
{
    (void)fputs("stateDiagram-v2\n", out);
    for (unsigned from = 0; from < ACTION_STATES; from++)
        for (unsigned to = 0; to < ACTION_STATES; to++)
            if (steps[from].next & TO(to))
                (void)fprintf(out, "    %s --> %s\n", steps[from].name, steps[to].name);
}
