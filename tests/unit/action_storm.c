#include "tests/unit/cm.h"

#include "tests/unit/action_storm.h"

void storm_hold(const struct storm *s, bool good, const char *promise)
{
    if (!good)
        fail_msg("%s: PAWL_STORM_SEED=%llu", promise, (unsigned long long)s->seed);
}

unsigned storm_dice(struct storm *s, unsigned sides)
{
    uint64_t z = s->random += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (unsigned)((z ^ (z >> 31)) % sides);
}

bool storm_is_final(const struct row *r)
{
    return r->state == SUCCEEDED || r->state == FAILED || r->state == UNKNOWN;
}

/* ---- the ports ------------------------------------------------------------------ */

static struct task *task_of(struct storm *s, const struct action *a)
{
    for (int i = 0; i < TASKS; i++) {
        if (&s->tasks[i].action == a)
            return &s->tasks[i];
    }
    storm_hold(s, false, "an action that nobody knows");
    return NULL;
}

static struct op *push(struct storm *s, struct action *a, enum op_kind kind)
{
    struct task *t = task_of(s, a);
    storm_hold(s, s->op_count < OPS, "too many operations");
    struct op *op = &s->ops[s->op_count++];
    *op = (struct op){ .kind = kind,
                       .task = (int)(t - s->tasks),
                       .life = t->life,
                       .ticket = a->ticket,
                       .waiting = true,
                       .wanted = true,
                       .incarnation = t->incarnation,
                       .call = t->call,
                       .asked_ms = s->now_ms };
    t->asked++;
    return op;
}

static int64_t port_now(void *self)
{
    return ((struct storm *)self)->now_ms;
}

static void port_claim(void *self, struct action *a, const struct store_claim_action *request)
{
    push(self, a, OP_CLAIM)->claim_request = *request;
}

static const struct tool_def *port_load(void *self, struct action *a, int64_t revision)
{
    struct storm *s = self;
    struct task *t = task_of(s, a);
    storm_hold(s, revision == 7 && t->told_yours, "loads a tool without a claim");
    s->def =
        (struct tool_def){ .name = "tool", .idempotent = s->rows[t->call].policy == IDEMPOTENT };
    if (storm_dice(s, 2))
        return &s->def;
    (void)push(s, a, OP_LOAD);
    return NULL;
}

static enum outcome port_call(void *self, struct action *a, const struct tool_call *call,
                              struct error *err)
{
    struct storm *s = self;
    struct task *t = task_of(s, a);
    const struct row *r = &s->rows[t->call];
    storm_hold(s, t->told_yours, "sent without a claim");
    storm_hold(s, !a->stopping, "sent after it was asked to stop");
    storm_hold(s, !t->sent, "two requests of one claim");
    if (!s->calm && storm_dice(s, 20) == 0)
        return fail(err, REFUSED, "a secret is missing");
    if (call->errand == STORE_WORK_CALL)
        storm_hold(s, s->now_ms < call->send_by_ms, "sent after send_by");
    storm_hold(s, uuid_eq(&call->key, &r->key), "another key");
    t->sent = true;
    push(s, a, OP_CALL)->sent = *call;
    return OK;
}

/* What was sent may arrive all the same; its answer is that of a former operation. */
static bool port_cancel(void *self, struct action *a)
{
    struct storm *s = self;
    const struct task *t = task_of(s, a);
    for (int i = 0; i < s->op_count; i++) {
        struct op *op = &s->ops[i];
        if (op->kind != OP_CALL || op->life != t->life || &s->tasks[op->task] != t)
            continue;
        bool sent = !op->waiting || storm_dice(s, 2);
        op->waiting = op->waiting && sent;
        return sent;
    }
    return false;
}

static void port_commit(void *self, struct action *a, const struct store_commit_action *request)
{
    struct storm *s = self;
    storm_hold(s, task_of(s, a)->told_yours, "commits without a claim");
    push(s, a, OP_COMMIT)->commit_request = *request;
    task_of(s, a)->committed = true;
}

static void port_ring(void *self, struct action *a, const struct doorbell *d)
{
    struct storm *s = self;
    const struct row *r = &s->rows[task_of(s, a)->call];
    storm_hold(s, d->index != DOORBELL_PLAN || storm_is_final(r),
               "rings for what is not committed");
    storm_hold(s, task_of(s, a)->commit_ok, "rings before its commit");
}

static void port_cannot(void *self, struct action *a, const struct error *why)
{
    (void)self;
    (void)a;
    assert_true(why->text[0] != '\0');
}

static void port_moved(void *self, struct action *a, enum action_state from, enum action_state to)
{
    (void)self;
    assert_int_equal(a->state, from);
    assert_true(to < ACTION_STATES);
}

static void port_done(void *self, struct action *a)
{
    struct storm *s = self;
    struct task *t = task_of(s, a);
    storm_hold(s, !t->done, "done twice");
    storm_hold(s, !t->told_yours || t->committed, "a claim was left without a commit");
    t->done = true;
}

/* ---- the database ------------------------------------------------------------------ */

static void settle_unknown(struct row *r)
{
    r->cut = true;
    r->state = r->policy == IDEMPOTENT ? FREE : r->policy == ONCE_PROBE ? PROBE_DUE : UNKNOWN;
}

static bool is_on_the_wire(const struct storm *s, int call)
{
    for (int i = 0; i < s->op_count; i++) {
        if (s->ops[i].kind == OP_CALL && s->ops[i].waiting && s->ops[i].call == call &&
            s->ops[i].sent.errand == STORE_WORK_CALL)
            return true;
    }
    return false;
}

static enum store_claim_answer judge_claim(const struct storm *s, const struct op *op)
{
    const struct row *r = &s->rows[op->call];
    if (s->buried[op->incarnation])
        return STORE_DEAD;
    if ((r->state == HELD || r->state == PROBED) && uuid_eq(&r->token, &op->claim_request.token))
        return STORE_YOURS; /* asked again */
    if (storm_is_final(r))
        return STORE_DONE;
    if (r->state == HELD || r->state == PROBED)
        return STORE_BUSY;
    if (r->state == PROBE_DUE &&
        (s->now_ms < r->send_by_ms + TOOL_MS || is_on_the_wire(s, op->call)))
        return STORE_LATER;
    return STORE_YOURS;
}

static void do_claim(struct storm *s, struct op *op)
{
    struct row *r = &s->rows[op->call];
    enum store_claim_answer answer = judge_claim(s, op);
    op->claim = (struct store_action_claim){ .answer = answer };
    op->event = (struct action_event){ .ticket = op->ticket, .outcome = OK, .claim = &op->claim };
    if (answer != STORE_YOURS)
        return;
    if (!uuid_eq(&r->token, &op->claim_request.token)) {
        if (!r->key_made)
            r->key = uuid_v4();
        r->key_made = true;
        r->state = r->state == PROBE_DUE ? PROBED : HELD;
        r->version += r->state == HELD;
        r->token = op->claim_request.token;
        r->holder = op->incarnation;
        r->send_by_ms = op->asked_ms + SEND_BY_MS;
    }
    op->claim = (struct store_action_claim){ .answer = STORE_YOURS,
                                             .work = r->state == PROBED ? STORE_WORK_PROBE
                                                                        : STORE_WORK_CALL,
                                             .version = r->version,
                                             .key = r->key,
                                             .tool = "tool",
                                             .revision = 7,
                                             .arguments = "{}",
                                             .attempt = 1,
                                             .send_by_ms = r->send_by_ms };
}

static void settle(struct row *r, const struct store_commit_action *c)
{
    switch (c->outcome) {
    case STORE_CALL_SUCCEEDED:
    case STORE_PROBE_HAPPENED: r->state = SUCCEEDED; break;
    case STORE_CALL_FAILED: r->state = FAILED; break;
    case STORE_CALL_FAILED_BEFORE_EFFECT:
        r->state = r->cut && c->retry_ms < 0 ? UNKNOWN : c->retry_ms < 0 ? FAILED : FREE;
        break;
    case STORE_CALL_HANDED_BACK: r->state = FREE; break;
    case STORE_CALL_UNKNOWN: settle_unknown(r); break;
    case STORE_PROBE_DID_NOT_HAPPEN:
        r->cut = false;
        r->state = FREE;
        break;
    case STORE_PROBE_UNSURE: r->state = UNKNOWN; break;
    case STORE_PROBE_FAILED: r->state = PROBE_DUE; break;
    }
}

static void do_commit(struct storm *s, struct op *op)
{
    struct row *r = &s->rows[op->call];
    const struct store_commit_action *c = &op->commit_request;
    bool ours = uuid_eq(&r->token, &c->token);
    bool holds = ours && (r->state == HELD || r->state == PROBED);
    bool late = ours && r->state == UNKNOWN && c->outcome == STORE_CALL_SUCCEEDED;
    bool repeated = op->commit.status != NULL;
    op->event = (struct action_event){ .ticket = op->ticket, .outcome = OK, .commit = &op->commit };
    if (!holds && !late && !repeated) {
        op->event = (struct action_event){ .ticket = op->ticket, .outcome = STALE, .err = &s->why };
        return;
    }
    if (holds || late)
        settle(r, c);
    op->commit = (struct store_action_commit){ .status = "?",
                                               .repeated = repeated,
                                               .retry_ms = storm_is_final(r) ? -1 : 0,
                                               .ring_plan = storm_is_final(r) ? 2 : 0,
                                               .ring_index = -1 };
}

void storm_bury(struct storm *s, int incarnation)
{
    s->buried[incarnation] = true;
    for (int i = 0; i < CALLS; i++) {
        struct row *r = &s->rows[i];
        if (r->holder != incarnation)
            continue;
        if (r->state == HELD)
            settle_unknown(r);
        else if (r->state == PROBED)
            r->state = PROBE_DUE;
    }
}

/* ---- the tool ------------------------------------------------------------------------ */

static void execute(struct storm *s, const struct op *op)
{
    struct row *r = &s->rows[op->call];
    r->executions++;
    storm_hold(s, r->policy == IDEMPOTENT || r->executions <= 1,
               "what is not repeatable ran twice");
}

static void do_probe(const struct storm *s, struct op *op)
{
    bool ran = s->rows[op->call].executions > 0;
    op->answer.outcome = ran ? STORE_PROBE_HAPPENED : STORE_PROBE_DID_NOT_HAPPEN;
    op->answer.result = ran ? "42" : NULL;
    op->answer.result_bytes = ran ? 2 : 0;
}

static void do_request(struct storm *s, struct op *op)
{
    unsigned fate = s->calm ? 0 : storm_dice(s, 10);
    if (s->now_ms > op->asked_ms + TOOL_MS) /* its caller has given up, and its bytes are lost */
        fate = 7;
    if (fate < 8 && fate != 7)
        execute(s, op);
    if (fate < 5) {
        op->answer.outcome = STORE_CALL_SUCCEEDED;
        op->answer.result = "42";
        op->answer.result_bytes = 2;
    } else if (fate < 8) {
        op->answer.outcome = STORE_CALL_UNKNOWN;
        op->answer.retry_ms = s->rows[op->call].policy == IDEMPOTENT ? 0 : TOOL_NO_RETRY;
    } else {
        op->answer.outcome = STORE_CALL_FAILED_BEFORE_EFFECT;
        op->answer.maybe_sent = false;
        op->answer.retry_ms = 0;
    }
}

static void do_call(struct storm *s, struct op *op)
{
    op->answer = (struct tool_answer){ .retry_ms = TOOL_NO_RETRY, .maybe_sent = true };
    op->event = (struct action_event){ .ticket = op->ticket, .outcome = OK, .answer = &op->answer };
    if (op->sent.errand == STORE_WORK_PROBE)
        do_probe(s, op);
    else
        do_request(s, op);
    if (!op->answer.result) {
        op->answer.code = "code";
        op->answer.error = "it went wrong";
    }
}

/* A statement or a request takes effect. */
void storm_take_effect(struct storm *s, struct op *op)
{
    switch (op->kind) {
    case OP_CLAIM: do_claim(s, op); break;
    case OP_COMMIT: do_commit(s, op); break;
    case OP_CALL: do_call(s, op); break;
    case OP_LOAD:
        op->event = (struct action_event){ .ticket = op->ticket, .outcome = OK, .def = &s->def };
        if (!s->calm && storm_dice(s, 20) == 0)
            op->event =
                (struct action_event){ .ticket = op->ticket, .outcome = REFUSED, .err = &s->why };
        break;
    }
    /* the answer of a statement may be lost: then it is asked again, just the same */
    bool lost = !s->calm && op->kind != OP_CALL && storm_dice(s, 8) == 0;
    op->waiting = lost;
    op->answered = !lost;
}

struct action_ports storm_ports(struct storm *s)
{
    return (struct action_ports){ s,           port_now,    port_claim,  port_load,
                                  port_call,   port_cancel, port_commit, port_ring,
                                  port_cannot, port_moved,  port_done };
}
