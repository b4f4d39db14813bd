/*
 * test_action.c -- drives the life of a call with a scripted world: no sockets, no
 * Postgres, no clock.
 *
 * `struct world` stands for the database (one call, by the rules of design section
 * 6, simplified), the tool and Kafka. The crash test stops the world after every
 * possible number of operations, twice, throws the task away, buries the process
 * and delivers the call again: whatever the points of death, a call that is not
 * repeatable runs at most once, a committed success is never followed by another
 * request, the key never changes, and doorbells ring only for what is committed.
 */
#include "tests/unit/cm.h"

#include "executor/action.h"

#include <string.h>

enum policy { ONCE_TELL, ONCE_PROBE, IDEMPOTENT, READ_ONLY, POLICIES };
enum row { ROW_NONE, ROW_RUNNING, ROW_OPEN, ROW_PROBE, ROW_SUCCEEDED, ROW_FAILED, ROW_UNKNOWN };
enum manner { TOOL_ANSWERS, TOOL_CUTS, TOOL_REFUSES_CONNECTION, TOOL_SAYS_503, TOOL_SAYS_422 };

enum { SEND_BY_MS = 5000, ATTEMPTS = 3, QUEUE = 64 };

struct world {
    /* the database */
    enum policy policy;
    enum row row;
    struct uuid key, holder;
    int version, failures;
    bool cut, probing;
    char result[128];
    enum store_call_outcome last;
    int commits;

    /* the tool */
    enum manner manner[4]; /* of the 1st, 2nd ... request; the last one repeats */
    int requests, executions, probes;
    int requests_after_success, key_changes, requests_after_send_by;

    /* Kafka */
    int plan_rings, act_rings, rings_before_commit;

    /* the process */
    int fuel; /* operations until "kill -9" */
    int64_t now_ms;
    int jump_at, operations; /* the clock jumps at this operation */
    struct action *action;
    struct action_event queue[QUEUE];
    int read, written;
    bool done;
    struct action_end end;
    int cannot;
    bool load_refused, call_refused, sent_when_cancelled;
    enum outcome commit_outcome[3];
    bool hold; /* answers are queued, and not delivered */

    struct tool_def def;
    struct store_action_claim claim;
    struct store_action_commit commit;
    struct tool_answer answer;
};

static const struct error some_error = { "no" };

static bool is_final(const struct world *w)
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

/* What declare_dead does with the claims of a process. */
static void bury(struct world *w)
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
    if (is_final(w)) {
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
        .ring_plan = is_final(w) ? 2 : 0,
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
    w->rings_before_commit += !is_final(w);
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

static struct action_ports ports_of(struct world *w)
{
    return (struct action_ports){ w,         do_now,  do_claim,  do_load,  do_call, do_cancel,
                                  do_commit, do_ring, do_cannot, do_moved, do_done };
}

static void pump(struct world *w)
{
    while (!w->hold && w->read < w->written && w->fuel > 0)
        action_resume(w->action, &w->queue[w->read++]);
}

static const struct doorbell item = { .run = { { 1 } }, .step = 1, .index = 0 };

/* One process: takes the call again and again until it has its end, or dies. */
static void live(struct world *w, int fuel)
{
    w->fuel = fuel;
    for (int i = 0; i < 12 && w->fuel > 0 && !is_final(w); i++) {
        struct action a;
        struct action_ports ports = ports_of(w);
        w->action = &a;
        w->read = w->written = 0;
        action_start(&a, &ports, &item, false);
        pump(w);
        action_release(&a);
    }
}

static void check_promises(const struct world *w)
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

static const enum manner scripts[][4] = {
    { TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_CUTS, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_REFUSES_CONNECTION, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_REFUSES_CONNECTION, TOOL_CUTS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_SAYS_503, TOOL_ANSWERS, TOOL_ANSWERS, TOOL_ANSWERS },
    { TOOL_SAYS_422, TOOL_SAYS_422, TOOL_SAYS_422, TOOL_SAYS_422 },
    { TOOL_CUTS, TOOL_CUTS, TOOL_CUTS, TOOL_CUTS },
};
enum { SCRIPTS = sizeof scripts / sizeof *scripts, FUEL_MAX = 16 };

static struct world world_of(int policy, int script)
{
    struct world w = { .policy = (enum policy)policy, .now_ms = 1000 };
    memcpy(w.manner, scripts[script], sizeof w.manner);
    return w;
}

static void keeps_its_promises_wherever_it_dies(void **state)
{
    (void)state;
    for (int policy = 0; policy < POLICIES; policy++) {
        for (int script = 0; script < SCRIPTS; script++) {
            for (int first = 1; first <= FUEL_MAX; first++) {
                for (int second = 1; second <= FUEL_MAX; second++) {
                    struct world w = world_of(policy, script);
                    live(&w, first);
                    bury(&w);
                    live(&w, second);
                    bury(&w);
                    live(&w, 1000);
                    assert_true(is_final(&w));
                    check_promises(&w);
                    /* Delivered once more: nothing happens. */
                    int requests = w.requests;
                    live(&w, 1000);
                    assert_int_equal(w.requests, requests);
                }
            }
        }
    }
}

static void sends_nothing_after_send_by(void **state)
{
    (void)state;
    for (int policy = 0; policy < POLICIES; policy++) {
        for (int jump_at = 1; jump_at <= 8; jump_at++) {
            struct world w = world_of(policy, 0);
            w.jump_at = jump_at;
            live(&w, 1000);
            assert_int_equal(w.row, ROW_SUCCEEDED);
            assert_int_equal(w.executions, 1);
            check_promises(&w);
        }
    }
}

static void a_claim_that_grew_too_old_is_handed_back(void **state)
{
    (void)state;
    struct world w = world_of(ONCE_TELL, 0);
    struct action a;
    struct action_ports ports = ports_of(&w);
    w.action = &a;
    w.fuel = 100;
    w.jump_at = 2; /* while the tool is loaded */
    action_start(&a, &ports, &item, false);
    pump(&w);
    assert_true(w.done);
    assert_int_equal(w.last, STORE_CALL_HANDED_BACK);
    assert_int_equal(w.requests, 0);
    assert_int_equal(w.end.retry_ms, 0);
    action_release(&a);
}

/* ---- one action, by hand ------------------------------------------------------------ */

struct bench {
    struct world w;
    struct action a;
    struct action_ports ports;
};

static void bench_open(struct bench *b, enum policy policy, enum action_state stop_in)
{
    *b = (struct bench){ .w = world_of((int)policy, 0) };
    b->ports = ports_of(&b->w);
    b->w.action = &b->a;
    b->w.fuel = 1000;
    b->w.operations = 1; /* so that the tool is loaded by an event */
    b->w.hold = true;
    action_start(&b->a, &b->ports, &item, false);
    while (b->a.state != stop_in) {
        assert_true(b->w.read < b->w.written);
        action_resume(&b->a, &b->w.queue[b->w.read++]);
    }
}

static void bench_finish(struct bench *b)
{
    b->w.hold = false;
    pump(&b->w);
    assert_true(b->w.done);
    assert_int_equal(b->a.state, ACTION_DONE);
    action_release(&b->a);
}

static void a_cancel_before_the_send_sends_nothing(void **state)
{
    (void)state;
    const enum action_state states[] = { ACTION_CLAIM, ACTION_LOAD };
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        bench_open(&b, ONCE_TELL, states[i]);
        action_cancel(&b.a);
        bench_finish(&b);
        assert_int_equal(b.w.requests, 0);
        assert_int_equal(b.w.last, STORE_CALL_HANDED_BACK);
    }
}

static void a_cancel_of_what_was_sent_is_unknown(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CALL);
    b.w.sent_when_cancelled = true;
    action_cancel(&b.a);
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_CALL_UNKNOWN);

    bench_open(&b, ONCE_TELL, ACTION_CALL);
    action_cancel(&b.a); /* still connecting */
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_CALL_HANDED_BACK);

    bench_open(&b, READ_ONLY, ACTION_CALL);
    b.w.sent_when_cancelled = true;
    action_cancel(&b.a);
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_CALL_HANDED_BACK);
}

static void a_cancel_while_committing_changes_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_COMMIT);
    action_cancel(&b.a);
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_CALL_SUCCEEDED);
    assert_int_equal(b.w.commits, 1);
}

static void asked_to_stop_it_finishes_what_was_sent(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CALL);
    action_stop(&b.a);
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_CALL_SUCCEEDED);
    assert_int_equal(b.w.plan_rings, 1);

    bench_open(&b, ONCE_TELL, ACTION_LOAD);
    action_stop(&b.a);
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_CALL_HANDED_BACK);
    assert_int_equal(b.w.requests, 0);
}

static void what_cannot_be_served_is_handed_back(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CLAIM);
    b.w.load_refused = true;
    bench_finish(&b);
    assert_int_equal(b.w.cannot, 1);
    assert_true(b.w.end.unable);
    assert_int_equal(b.w.last, STORE_CALL_HANDED_BACK);

    bench_open(&b, ONCE_TELL, ACTION_CLAIM);
    b.w.call_refused = true;
    bench_finish(&b);
    assert_int_equal(b.w.cannot, 1);
    assert_true(b.w.end.unable);
    assert_int_equal(b.w.last, STORE_CALL_HANDED_BACK);
}

static void a_probe_that_cannot_be_made_is_left_to_others(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_PROBE, ACTION_CLAIM);
    b.w.claim.work = STORE_WORK_PROBE;
    b.w.probing = true;
    b.w.call_refused = true;
    bench_finish(&b);
    assert_int_equal(b.w.last, STORE_PROBE_FAILED);
}

static void a_stale_commit_rings_nobody(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CALL);
    b.w.commit_outcome[0] = STALE;
    bench_finish(&b);
    assert_true(b.w.end.stale);
    assert_int_equal(b.w.plan_rings + b.w.act_rings, 0);
}

static void a_result_that_cannot_be_stored_is_stored_without_its_text(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CALL);
    b.w.commit_outcome[0] = REFUSED;
    bench_finish(&b);
    assert_int_equal(b.w.row, ROW_SUCCEEDED);
    assert_non_null(strstr(b.w.result, "could not be stored"));

    bench_open(&b, ONCE_TELL, ACTION_CALL);
    b.w.commit_outcome[0] = b.w.commit_outcome[1] = REFUSED;
    bench_finish(&b);
    assert_false(b.w.end.committed);
    assert_int_equal(b.w.row, ROW_RUNNING);
}

static void strangers_are_not_listened_to(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CALL);
    struct action_event late = { .ticket = b.a.ticket - 1, .outcome = OK, .answer = &b.w.answer };
    action_resume(&b.a, &late);
    assert_int_equal(b.a.state, ACTION_CALL);
    bench_finish(&b);
    late.ticket = b.a.ticket;
    action_resume(&b.a, &late); /* after the end, too */
    assert_int_equal(b.a.state, ACTION_DONE);
}

static void a_claim_that_completed_the_step_rings(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, ONCE_TELL, ACTION_CLAIM);
    b.w.row = ROW_SUCCEEDED; /* copied from an earlier epoch */
    b.w.claim = (struct store_action_claim){ .answer = STORE_DONE, .ring_plan = 3 };
    bench_finish(&b);
    assert_int_equal(b.w.plan_rings, 1);
    assert_int_equal(b.w.requests, 0);
}

static void what_is_not_ours_is_let_be(void **state)
{
    (void)state;
    const enum store_claim_answer answers[] = { STORE_BUSY, STORE_DONE, STORE_LATER, STORE_NO,
                                                STORE_DEAD };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct bench b;
        bench_open(&b, ONCE_TELL, ACTION_CLAIM);
        b.w.claim = (struct store_action_claim){ .answer = answers[i] };
        bench_finish(&b);
        assert_int_equal(b.w.requests + b.w.commits + b.w.plan_rings, 0);
    }
}

static void the_graph_is_drawn_from_the_table(void **state)
{
    (void)state;
    char text[2048] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    action_print_graph(out);
    (void)fclose(out);
    assert_non_null(strstr(text, "claim --> load"));
    assert_null(strstr(text, "done -->"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_promises_wherever_it_dies),
        cmocka_unit_test(sends_nothing_after_send_by),
        cmocka_unit_test(a_claim_that_grew_too_old_is_handed_back),
        cmocka_unit_test(a_cancel_before_the_send_sends_nothing),
        cmocka_unit_test(a_cancel_of_what_was_sent_is_unknown),
        cmocka_unit_test(a_cancel_while_committing_changes_nothing),
        cmocka_unit_test(asked_to_stop_it_finishes_what_was_sent),
        cmocka_unit_test(what_cannot_be_served_is_handed_back),
        cmocka_unit_test(a_probe_that_cannot_be_made_is_left_to_others),
        cmocka_unit_test(a_stale_commit_rings_nobody),
        cmocka_unit_test(a_result_that_cannot_be_stored_is_stored_without_its_text),
        cmocka_unit_test(strangers_are_not_listened_to),
        cmocka_unit_test(a_claim_that_completed_the_step_rings),
        cmocka_unit_test(what_is_not_ours_is_let_be),
        cmocka_unit_test(the_graph_is_drawn_from_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
