#include "tests/unit/cm.h"

#include "tests/unit/action_world.h"

#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

static const struct error some_error = { "no" };

bool world_is_final(const struct world *w)
{
    return w->row == ROW_SUCCEEDED || w->row == ROW_FAILED || w->row == ROW_UNKNOWN;
}

static bool alive(struct world *w)
{
    if (w->fuel <= 0)
        return false;
    w->fuel--;
    w->operations++;
    return true;
}

/* An operation may take long: the clock has moved when it is over. */
static void pass_time(struct world *w)
{
    if (w->operations == w->jump_at)
        w->now_ms += 2 * SEND_BY_MS;
}

static void reply(struct world *w, struct action_event ev)
{
    if (w->fuel <= 0)
        return;
    pass_time(w);
    ev.ticket = w->action->ticket;
    assert_true(w->written < QUEUE);
    w->queue[w->written++] = ev;
}

/* ---- the database ------------------------------------------------------------- */

static bool may_repeat(const struct world *w)
{
    return w->policy == IDEMPOTENT || w->policy == READ_ONLY;
}

static void settle_unknown(struct world *w, bool again)
{
    w->cut = true;
    if (may_repeat(w))
        w->row = again ? ROW_OPEN : w->policy == READ_ONLY ? ROW_FAILED : ROW_UNKNOWN;
    else
        w->row = w->policy == ONCE_PROBE ? ROW_PROBE : ROW_UNKNOWN;
}

static void settle(struct world *w, const struct store_commit_action *c)
{
    bool again = w->failures + 1 < ATTEMPTS && c->retry_ms != STORE_NOT_KNOWN;
    w->last = c->outcome;
    w->failures += c->outcome == STORE_CALL_HANDED_BACK ? 0 : 1;
    switch (c->outcome) {
    case STORE_CALL_SUCCEEDED:
    case STORE_PROBE_HAPPENED:
        w->row = ROW_SUCCEEDED;
        (void)snprintf(w->result, sizeof w->result, "%s", c->result);
        break;
    case STORE_CALL_FAILED: w->row = again && may_repeat(w) ? ROW_OPEN : ROW_FAILED; break;
    case STORE_CALL_FAILED_BEFORE_EFFECT: w->row = again ? ROW_OPEN : ROW_FAILED; break;
    case STORE_CALL_UNKNOWN: settle_unknown(w, again); break;
    case STORE_CALL_HANDED_BACK: w->row = ROW_OPEN; break;
    case STORE_PROBE_DID_NOT_HAPPEN:
        w->cut = false;
        w->row = ROW_OPEN;
        break;
    case STORE_PROBE_UNSURE: w->row = ROW_UNKNOWN; break;
    case STORE_PROBE_FAILED: w->row = ROW_PROBE; break;
    }
}

void world_bury(struct world *w)
{
    if (w->row == ROW_RUNNING && w->probing)
        w->row = ROW_PROBE;
    else if (w->row == ROW_RUNNING)
        settle_unknown(w, true);
    w->probing = false;
}

static void do_claim(void *self, struct action *a, const struct store_claim_action *request)
{
    struct world *w = self;
    (void)a;
    if (!alive(w))
        return;
    w->claim = (struct store_action_claim){ .answer = STORE_YOURS };
    if (world_is_final(w)) {
        w->claim.answer = STORE_DONE;
    } else if (w->row == ROW_RUNNING) {
        w->claim.answer = STORE_BUSY;
    } else {
        w->probing = w->row == ROW_PROBE;
        if (w->row == ROW_NONE)
            w->key = uuid_v4();
        if (!w->probing)
            w->version++;
        w->row = ROW_RUNNING;
        w->holder = request->token;
        w->claim.work = w->probing ? STORE_WORK_PROBE : STORE_WORK_CALL;
        w->claim.version = w->version;
        w->claim.key = w->key;
        w->claim.tool = "tool";
        w->claim.revision = 7;
        w->claim.arguments = "{\"n\":1}";
        w->claim.attempt = w->failures + 1;
        w->claim.send_by_ms = w->now_ms + SEND_BY_MS;
        w->claim.meta = "{\"traceparent\":\"00-aa-bb-01\"}";
    }
    reply(w, (struct action_event){ .outcome = OK, .claim = &w->claim });
}

static void do_commit(void *self, struct action *a, const struct store_commit_action *request)
{
    struct world *w = self;
    (void)a;
    if (!alive(w))
        return;
    enum outcome outcome = w->commits < 3 ? w->commit_outcome[w->commits] : OK;
    w->commits++;
    if (outcome != OK) {
        reply(w, (struct action_event){ .outcome = outcome, .err = &some_error });
        return;
    }
    if (w->row != ROW_RUNNING || !uuid_eq(&w->holder, &request->token)) {
        reply(w, (struct action_event){ .outcome = STALE, .err = &some_error });
        return;
    }
    settle(w, request);
    w->probing = false;
    w->commit = (struct store_action_commit){
        .status = "?",
        .retry_ms = w->row == ROW_OPEN || w->row == ROW_PROBE ? 0 : -1,
        .ring_plan = world_is_final(w) ? 2 : 0,
        .ring_index = -1,
    };
    reply(w, (struct action_event){ .outcome = OK, .commit = &w->commit });
}

/* ---- the tool and the rest ------------------------------------------------------ */

static int64_t do_now(void *self)
{
    return ((struct world *)self)->now_ms;
}

static const struct tool_def *do_load(void *self, struct action *a, int64_t revision)
{
    struct world *w = self;
    (void)a;
    assert_int_equal(revision, 7);
    if (!alive(w))
        return NULL;
    w->def = (struct tool_def){ .name = "tool",
                                .read_only = w->policy == READ_ONLY,
                                .idempotent = w->policy == IDEMPOTENT };
    if (w->load_refused)
        reply(w, (struct action_event){ .outcome = REFUSED, .err = &some_error });
    else if (w->operations % 2 == 1)
        reply(w, (struct action_event){ .outcome = OK, .def = &w->def });
    else { /* both ways: later, and at once */
        pass_time(w);
        return &w->def;
    }
    return NULL;
}

static void answer_of(struct world *w, enum manner manner)
{
    struct tool_answer *t = &w->answer;
    *t = (struct tool_answer){ .retry_ms = TOOL_NO_RETRY, .maybe_sent = true, .took_ms = 5 };
    switch (manner) {
    case TOOL_ANSWERS:
        t->outcome = STORE_CALL_SUCCEEDED;
        t->result = "42";
        t->result_bytes = 2;
        break;
    case TOOL_CUTS:
        t->outcome = w->policy == READ_ONLY ? STORE_CALL_FAILED : STORE_CALL_UNKNOWN;
        t->retry_ms = may_repeat(w) ? 10 : TOOL_NO_RETRY;
        break;
    case TOOL_REFUSES_CONNECTION:
        t->outcome = STORE_CALL_FAILED_BEFORE_EFFECT;
        t->retry_ms = 10;
        t->maybe_sent = false;
        break;
    case TOOL_SAYS_503:
        t->outcome = STORE_CALL_FAILED;
        t->retry_ms = may_repeat(w) ? 10 : TOOL_NO_RETRY;
        break;
    case TOOL_SAYS_422: t->outcome = STORE_CALL_FAILED; break;
    }
    if (t->outcome != STORE_CALL_SUCCEEDED) {
        t->code = "code";
        t->error = "it went wrong";
    }
}

static void answer_probe(struct world *w)
{
    w->probes++;
    w->answer = (struct tool_answer){ .retry_ms = TOOL_NO_RETRY, .maybe_sent = true };
    if (w->executions > 0) {
        w->answer.outcome = STORE_PROBE_HAPPENED;
        w->answer.result = "42";
        w->answer.result_bytes = 2;
    } else {
        w->answer.outcome = STORE_PROBE_DID_NOT_HAPPEN;
        w->answer.code = "did_not_happen";
        w->answer.error = "it did not";
    }
}

static enum outcome do_call(void *self, struct action *a, const struct tool_call *call,
                            struct error *err)
{
    struct world *w = self;
    (void)a;
    if (w->call_refused)
        return fail(err, REFUSED, "a secret is missing");
    if (!alive(w))
        return OK;
    if (call->errand == STORE_WORK_PROBE) {
        answer_probe(w);
    } else {
        int nth = w->requests < 4 ? w->requests : 3;
        enum manner manner = w->manner[nth];
        w->requests++;
        w->executions += manner == TOOL_ANSWERS || manner == TOOL_CUTS;
        w->requests_after_success += w->row == ROW_SUCCEEDED;
        w->requests_after_send_by += w->now_ms >= call->send_by_ms;
        w->key_changes += !uuid_eq(&call->key, &w->key);
        assert_string_equal(call->arguments, "{\"n\":1}");
        assert_string_equal(call->traceparent, "00-aa-bb-01");
        answer_of(w, manner);
    }
    reply(w, (struct action_event){ .outcome = OK, .answer = &w->answer });
    return OK;
}

static bool do_cancel(void *self, struct action *a)
{
    struct world *w = self;
    (void)a;
    w->read = w->written; /* the answer comes no more */
    return w->sent_when_cancelled;
}

static void do_ring(void *self, struct action *a, const struct doorbell *d)
{
    struct world *w = self;
    if (!alive(w))
        return;
    w->rings_before_commit += !world_is_final(w);
    w->plan_rings += d->index == DOORBELL_PLAN;
    w->act_rings += d->index != DOORBELL_PLAN;
    assert_true(uuid_eq(&d->run, &a->item.run));
}

static void do_cannot(void *self, struct action *a, const struct error *why)
{
    struct world *w = self;
    assert_int_equal(a->revision, 7);
    assert_true(why->text[0] != '\0');
    w->cannot++;
}

static void do_moved(void *self, struct action *a, enum action_state from, enum action_state to)
{
    (void)self;
    assert_int_equal(a->state, from);
    assert_true(to < ACTION_STATES);
}

static void do_done(void *self, struct action *a)
{
    struct world *w = self;
    if (w->fuel <= 0)
        return;
    w->done = true;
    w->end = a->end;
}

/* ---- driving --------------------------------------------------------------------- */

struct action_ports world_ports(struct world *w)
{
    return (struct action_ports){ w,         do_now,  do_claim,  do_load,  do_call, do_cancel,
                                  do_commit, do_ring, do_cannot, do_moved, do_done };
}

void world_pump(struct world *w)
{
    while (!w->hold && w->read < w->written && w->fuel > 0)
        action_resume(w->action, &w->queue[w->read++]);
}

const struct doorbell world_item = { .run = { { 1 } }, .step = 1, .index = 0 };

void world_live(struct world *w, int fuel)
{
    w->fuel = fuel;
    for (int i = 0; i < 12 && w->fuel > 0 && !world_is_final(w); i++) {
        struct action_ports ports = world_ports(w);
        w->action = xcalloc(1, sizeof *w->action);
        w->read = w->written = 0;
        // cppcheck-suppress autoVariables ; the action ends before this turn of the loop does
        action_start(w->action, &ports, &world_item, false);
        world_pump(w);
        action_release(w->action);
        free(w->action);
    }
}

void world_check_promises(const struct world *w)
{
    assert_int_equal(w->requests_after_success, 0);
    assert_int_equal(w->requests_after_send_by, 0);
    assert_int_equal(w->key_changes, 0);
    assert_int_equal(w->rings_before_commit, 0);
    if (w->policy == ONCE_TELL || w->policy == ONCE_PROBE)
        assert_true(w->executions <= 1);
    if (w->row == ROW_SUCCEEDED) {
        assert_true(w->executions > 0);
        assert_string_equal(w->result, "42");
    }
}

static const enum manner scripts[WORLD_SCRIPTS][4] = {
    { TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_CUTS, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_REFUSES_CONNECTION, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_REFUSES_CONNECTION, TOOL_CUTS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_SAYS_503, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_SAYS_422, TOOL_SAYS_422, TOOL_SAYS_422, TOOL_SAYS_422 },
    { TOOL_CUTS, TOOL_CUTS, TOOL_CUTS, TOOL_CUTS },
};
struct world world_make(int policy, int script)
{
    struct world w = { .policy = (enum policy)policy, .now_ms = 1000 };
    memcpy(w.manner, scripts[script], sizeof w.manner);
    return w;
}

/* ---- one action, by hand ------------------------------------------------------------ */

void bench_open(struct bench *b, enum policy policy, enum action_state stop_in)
{
    *b = (struct bench){ .w = world_make((int)policy, 0) };
    b->ports = world_ports(&b->w);
    b->w.action = &b->a;
    b->w.fuel = 1000;
    b->w.operations = 1; /* so that the tool is loaded by an event */
    b->w.hold = true;
    action_start(&b->a, &b->ports, &world_item, false);
    while (b->a.state != stop_in) {
        assert_true(b->w.read < b->w.written);
        action_resume(&b->a, &b->w.queue[b->w.read++]);
    }
}

void bench_finish(struct bench *b)
{
    b->w.hold = false;
    world_pump(&b->w);
    assert_true(b->w.done);
    assert_int_equal(b->a.state, ACTION_DONE);
    action_release(&b->a);
}
