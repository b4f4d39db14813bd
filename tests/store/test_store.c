/*
 * test_store.c -- each operation of the store, and how operations share statements.
 */
#include "tests/store/got.h"

#include <stdlib.h>

static struct world world;
static struct store *store, *hands;
static int64_t worker;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    worker = world_worker(&world, "planner", "tests/planner");
    store = got_store(&world, "planner", worker);
    hands = got_store(&world, "executor", world_worker(&world, "executor", "tests/executor"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_free(store);
    store_free(hands);
    world_close(&world);
    return 0;
}

/* ---- accept ------------------------------------------------------------------------ */

static void test_accept(void **state)
{
    struct got g = { 0 };
    struct store_accept a = got_request_of("one", "billing", "\"hello\"");
    (void)state;
    a.meta = "{\"subject\":\"x\"}";
    a.deadline_ms = clock_wall_ms() + 60000;
    a.record_time_ms = clock_wall_ms();
    assert_int_not_equal(store_accept(store, &a, got_accept, &g), 0);
    assert_int_equal(g.answers, 0);
    got_wait(&world, &g, 1);
    assert_ok(g.outcome, &g.error);
    assert_int_equal(g.accepted.answer, STORE_ACCEPTED);
    assert_true(g.accepted.event_id > 0);
    struct uuid run = g.accepted.run;

    store_accept(store, &a, got_accept, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.accepted.answer, STORE_DUPLICATE);
    assert_true(uuid_eq(&run, &g.accepted.run));

    a = got_request_of("one", "billing", "\"something else\"");
    store_accept(store, &a, got_accept, &g);
    got_wait(&world, &g, 3);
    assert_int_equal(g.accepted.answer, STORE_CONFLICT);

    a = got_request_of("two", "nobody", "\"hello\"");
    store_accept(store, &a, got_accept, &g);
    got_wait(&world, &g, 4);
    assert_int_equal(g.accepted.answer, STORE_UNKNOWN_AGENT);
    assert_contains(g.text, "nobody");

    a = got_request_of("three", "billing", "\"hello\"");
    a.deadline_ms = clock_wall_ms() - 1000;
    store_accept(store, &a, got_accept, &g);
    got_wait(&world, &g, 5);
    assert_int_equal(g.accepted.answer, STORE_PAST_DEADLINE);
}

/* Asked in one turn: one statement.  Asked while it is on its way: the next one. */
static void test_requests_share_a_statement(void **state)
{
    enum { N = 600 };
    static struct got g[N];
    static char ids[N][20];
    (void)state;
    memset(g, 0, sizeof g);
    int64_t before = world_int(&world, "SELECT count(*) FROM pawl.agent_runs");
    for (int i = 0; i < N; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "shared-%d", i);
        struct store_accept a = got_request_of(ids[i], "billing", "1");
        store_accept(store, &a, got_accept, &g[i]);
    }
    assert_int_equal(store_waiting(store), N);
    for (int i = 0; i < N; i++) {
        UNTIL(&world, g[i].answers == 1, 20000);
        assert_int_equal(g[i].outcome, OK);
        assert_int_equal(g[i].accepted.answer, STORE_ACCEPTED);
    }
    assert_int_equal(store_waiting(store), 0);
    assert_int_equal(world_int(&world, "SELECT count(*) FROM pawl.agent_runs") - before, N);
    /* now() of the inserts is that of their transaction: one per statement. */
    assert_int_equal(world_int(&world, "SELECT count(DISTINCT created_at) FROM pawl.requests "
                                       "WHERE id LIKE 'shared-%%'"),
                     3);
}

/* One request in a batch that Postgres cannot store (input that is not JSON) is
 * refused alone.                                                             */
static void test_bad_item_is_refused_alone(void **state)
{
    enum { N = 50, BAD = 17, WORSE = 33 };
    static struct got g[N];
    static char ids[N][20];
    (void)state;
    memset(g, 0, sizeof g);
    for (int i = 0; i < N; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "split-%d", i);
        struct store_accept a = got_request_of(ids[i], "billing",
                                               i == BAD     ? "{not json"
                                               : i == WORSE ? "\"\xff\""
                                                            : "{}");
        store_accept(store, &a, got_accept, &g[i]);
    }
    for (int i = 0; i < N; i++) {
        UNTIL(&world, g[i].answers == 1, 20000);
        bool bad = i == BAD || i == WORSE;
        assert_int_equal(g[i].outcome, bad ? REFUSED : OK);
        if (!bad)
            assert_int_equal(g[i].accepted.answer, STORE_ACCEPTED);
    }
    assert_contains(g[BAD].error.text, "json");
    assert_contains(g[WORSE].error.text, "UTF8");
    for (int i = 0; i < 5; i++)
        loop_turn(&world.loop, 10);
    for (int i = 0; i < N; i++)
        assert_int_equal(g[i].answers, 1);
}

/* ---- plans ----------------------------------------------------------------------------- */

/* Step 1: a word, and a call that is refused at once, so that step 2 is next. */
static void commit_step_1_with(const struct store_claim_plan *c, struct got *g, const char *context)
{
    struct digest digest;
    digest_of("x", 1, &digest);
    struct store_item items[] = {
        { .type = STORE_TEXT, .content = "let me see", .raw = "{\"role\":\"assistant\"}" },
        { .type = STORE_FUNCTION_CALL,
          .call_id = "c1",
          .tool = "look",
          .arguments = "{}",
          .digest = &digest,
          .refused = "no such argument" },
    };
    struct store_commit_plan commit = got_commit_of(c, g, STORE_PLAN_CALLS);
    int before = g->answers;
    commit.items = items;
    commit.item_count = 2;
    commit.model = "demo";
    commit.context = context;
    store_commit_plan(store, &commit, got_plan_commit, g);
    got_wait(&world, g, before + 1);
    assert_ok(g->outcome, &g->error);
}

static void commit_step_1(const struct store_claim_plan *c, struct got *g)
{
    commit_step_1_with(c, g, NULL);
}

static void test_plan_is_claimed_and_committed(void **state)
{
    struct got g = { 0 }, busy = { 0 };
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run), other = got_plan_of(&run);
    (void)state;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    assert_int_equal(g.plan.answer, STORE_YOURS);
    assert_int_equal(g.plan.step, 1);
    assert_int_equal(g.plan.version, 1);
    assert_true(g.plan.left_ms > 3500000 && g.plan.revision > 0);
    assert_string_equal(g.rows, "input0.0=\"hello\"");

    /* The answer was lost: asked again with the same token. */
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.plan.answer, STORE_YOURS);
    assert_int_equal(g.plan.version, 1);
    store_claim_plan(store, &other, got_plan, &busy);
    got_wait(&world, &busy, 1);
    assert_int_equal(busy.plan.answer, STORE_BUSY);

    commit_step_1(&c, &g);
    assert_string_equal(g.text, "running");
    assert_int_equal(g.plan_commit.next_step, 2);
    assert_false(g.plan_commit.repeated);
    g.plan.step = 1;
    commit_step_1(&c, &g);
    assert_true(g.plan_commit.repeated);
}

/* Step 2 reads all of it, or what is not known yet; then the end. */
static void test_known_steps_are_not_read_again(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    (void)state;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    commit_step_1(&c, &g);
    c = got_plan_of(&run);
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 3);
    assert_int_equal(g.plan.step, 2);
    assert_string_equal(g.rows, "input0.0=\"hello\" item1.0=let me see item1.1= result1.1=");
    c.known_step = 1;
    c.known_epoch = 1;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 4);
    assert_string_equal(g.rows, "result1.1=");
    assert_int_equal(g.plan.known_step, 1);
    c.known_epoch = 2; /* of another epoch: nothing of it holds */
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 5);
    assert_int_equal(g.plan.known_step, 0);

    struct store_item answer = { .type = STORE_TEXT, .content = "done" };
    struct store_commit_plan commit = got_commit_of(&c, &g, STORE_PLAN_FINAL);
    commit.items = &answer;
    commit.item_count = 1;
    store_commit_plan(store, &commit, got_plan_commit, &g);
    got_wait(&world, &g, 6);
    assert_string_equal(g.text, "succeeded");
    assert_true(g.plan_commit.event_id > 0);
    commit.token = uuid_v4();
    store_commit_plan(store, &commit, got_plan_commit, &g);
    got_wait(&world, &g, 7);
    assert_int_equal(g.outcome, STALE);
}

/* The context comes back with the next claim; what of the run is read goes by it, by
 * what the caller has, or by what it asks for.                               */
static void test_a_run_is_read_by_a_view(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    (void)state;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    commit_step_1_with(&c, &g, "{\"result_bytes\":7}");
    c = got_plan_of(&run);
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 3);
    const char *all = "context0.0={\"result_bytes\":7} input0.0=\"hello\" item1.0=let me see "
                      "item1.1= result1.1=";
    assert_string_equal(g.rows, all);

    c.known_step = 1;
    c.known_epoch = 1;
    c.has_view = true;
    c.view = (struct store_view){ .result_bytes = 7 };
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 4);
    assert_string_equal(g.rows, "context0.0={\"result_bytes\":7} result1.1=");
    c.view.result_bytes = 8;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 5);
    assert_string_equal(g.rows, all);

    c.known_step = 0;
    c.view.left_out = 1;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 6);
    assert_string_equal(g.rows, "context0.0={\"result_bytes\":7} input0.0=\"hello\"");
    c.known_step = 1;
    c.known_epoch = 2; /* what we have is of no use: nothing is asked for by its view */
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 7);
    assert_string_equal(g.rows, all);
}

/* Many claims at once, of which some are ours: each gets its own history. */
static void test_histories_do_not_mix(void **state)
{
    enum { N = 100 };
    static struct got g[N];
    static struct uuid runs[N];
    char input[40];
    (void)state;
    memset(g, 0, sizeof g);
    for (int i = 0; i < N; i++) {
        runs[i] = i % 7 == 3 ? uuid_v4() : world_start_run(&world);
        char id[UUID_TEXT_SIZE];
        uuid_format(&runs[i], id);
        world_sql(&world,
                  "UPDATE pawl.agent_run_inputs SET input = '\"run %d\"' WHERE run_id = '%s'", i,
                  id);
    }
    for (int i = 0; i < N; i++) {
        struct store_claim_plan c = got_plan_of(&runs[i]);
        store_claim_plan(store, &c, got_plan, &g[i]);
    }
    for (int i = 0; i < N; i++) {
        UNTIL(&world, g[i].answers == 1, 20000);
        assert_int_equal(g[i].plan.answer, i % 7 == 3 ? STORE_NO : STORE_YOURS);
        (void)snprintf(input, sizeof input, "input0.0=\"run %d\"", i);
        assert_string_equal(g[i].rows, i % 7 == 3 ? "" : input);
    }
}

static void test_other_plan_outcomes(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    (void)state;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    struct store_commit_plan commit = got_commit_of(&c, &g, STORE_PLAN_HANDED_BACK);
    store_commit_plan(store, &commit, got_plan_commit, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.outcome, OK);

    c = got_plan_of(&run);
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 3);
    assert_int_equal(g.plan.version, 1);
    commit = got_commit_of(&c, &g, STORE_PLAN_RETRY);
    commit.retry_ms = 60000;
    commit.code = "overloaded";
    commit.error = "the model is busy";
    store_commit_plan(store, &commit, got_plan_commit, &g);
    got_wait(&world, &g, 4);
    c = got_plan_of(&run);
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 5);
    assert_int_equal(g.plan.answer, STORE_LATER);

    run = world_start_run(&world);
    c = got_plan_of(&run);
    c.alone = true;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 6);
    commit = got_commit_of(&c, &g, STORE_PLAN_FAIL);
    commit.code = "steps_exceeded";
    commit.error = "too many steps";
    store_commit_plan(store, &commit, got_plan_commit, &g);
    got_wait(&world, &g, 7);
    assert_string_equal(g.text, "failed");
    assert_true(g.plan_commit.event_id > 0);
}

/* An item that no row can take is answered by the function itself. */
static void test_malformed_plan_is_refused(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    struct store_item item = { .type = STORE_FUNCTION_CALL, .tool = NULL };
    (void)state;
    store_claim_plan(store, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    struct store_commit_plan commit = got_commit_of(&c, &g, STORE_PLAN_CALLS);
    commit.items = &item;
    commit.item_count = 1;
    store_commit_plan(store, &commit, got_plan_commit, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.outcome, REFUSED);
}

/* ---- actions --------------------------------------------------------------------------- */

static void test_call_from_claim_to_result(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_planned_run(&world, worker, "look,send");
    struct store_claim_action c = got_call_of(&run, 0), d = got_call_of(&run, 1);
    (void)state;
    int64_t before_ms = clock_mono_ms();
    store_claim_action(hands, &c, got_action, &g);
    got_wait(&world, &g, 1);
    assert_int_equal(g.action.answer, STORE_YOURS);
    assert_int_equal(g.action.work, STORE_WORK_CALL);
    assert_string_equal(g.text, "look");
    assert_false(uuid_is_nil(&g.action.key));
    assert_true(g.action.send_by_ms >= before_ms + 5000 &&
                g.action.send_by_ms <= clock_mono_ms() + 5000);
    assert_int_equal(g.action.attempt, 1);
    struct got first = g;
    int64_t claimed_ms = clock_mono_ms(); /* at the latest */

    /* Asked again: the same, and the time to send is not longer for it. */
    for (int i = 0; i < 20; i++)
        loop_turn(&world.loop, 10);
    store_claim_action(hands, &c, got_action, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.action.answer, STORE_YOURS);
    assert_true(uuid_eq(&first.action.key, &g.action.key));
    assert_true(g.action.send_by_ms <= claimed_ms + 5000);

    struct store_commit_action r = got_result_of(&c, &g, STORE_CALL_SUCCEEDED);
    r.result = "{\"found\":true}";
    store_commit_action(hands, &r, got_action_commit, &g);
    got_wait(&world, &g, 3);
    assert_ok(g.outcome, &g.error);
    assert_string_equal(g.text, "succeeded");
    assert_int_equal(g.action_commit.ring_plan, 0);
    assert_int_equal(g.action_commit.ring_index, -1);
    assert_int_equal(g.action_commit.retry_ms, -1);
    store_commit_action(hands, &r, got_action_commit, &g);
    got_wait(&world, &g, 4);
    assert_true(g.outcome == OK && g.action_commit.repeated);

    store_claim_action(hands, &d, got_action, &g);
    got_wait(&world, &g, 5);
    r = got_result_of(&d, &g, STORE_CALL_FAILED_BEFORE_EFFECT);
    r.code = "refused";
    r.error = "connection refused";
    r.retry_ms = 0;
    store_commit_action(hands, &r, got_action_commit, &g);
    got_wait(&world, &g, 6);
    assert_int_equal(g.action_commit.retry_ms, 0);

    d = got_call_of(&run, 1);
    store_claim_action(hands, &d, got_action, &g);
    got_wait(&world, &g, 7);
    assert_int_equal(g.action.attempt, 2);
    r = got_result_of(&d, &g, STORE_CALL_UNKNOWN);
    store_commit_action(hands, &r, got_action_commit, &g);
    got_wait(&world, &g, 8);
    assert_string_equal(g.text, "unknown");
    assert_int_equal(g.action_commit.ring_plan, 2);
    r.token = uuid_v4();
    store_commit_action(hands, &r, got_action_commit, &g);
    got_wait(&world, &g, 9);
    assert_int_equal(g.outcome, STALE);
}

static void test_tools_that_cannot_be_served_are_left(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_planned_run(&world, worker, "look,send");
    int64_t look = world_int(&world, "SELECT seq FROM pawl.current_revisions WHERE name = 'look'");
    struct store_claim_action c = got_call_of(&run, 0), d = got_call_of(&run, 1);
    (void)state;
    store_set_cannot(hands, &look, 1);
    store_claim_action(hands, &c, got_action, &g);
    got_wait(&world, &g, 1);
    assert_int_equal(g.action.answer, STORE_LATER);
    store_claim_action(hands, &d, got_action, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.action.answer, STORE_YOURS);
    store_set_cannot(hands, NULL, 0);
    store_claim_action(hands, &c, got_action, &g);
    got_wait(&world, &g, 3);
    assert_int_equal(g.action.answer, STORE_YOURS);
}

/* ---- giving up ------------------------------------------------------------------------- */

/* Somebody else has the run, so that whoever claims it has to wait. */
static void hold_run(const struct uuid *run)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(run, id);
    world_sql(&world, "BEGIN");
    world_sql(&world, "SELECT 1 FROM pawl.agent_runs WHERE run_id = '%s' FOR UPDATE", id);
}

/* The claim is at the server for certain. */
static bool is_waited_for(void)
{
    return world_int(&world, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0;
}

static void test_cancelled_operations_are_silent(void **state)
{
    struct got g = { 0 };
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    char id[UUID_TEXT_SIZE];
    (void)state;

    /* Before it was sent: nothing happens at all. */
    store_ticket t = store_claim_plan(store, &c, got_plan, &g);
    store_cancel_op(store, t);
    store_cancel_op(store, t);
    store_cancel_op(store, 0);
    assert_int_equal(store_waiting(store), 0);

    /* On its way: the claim goes through, and is handed back. */
    hold_run(&run);
    t = store_claim_plan(store, &c, got_plan, &g);
    UNTIL(&world, is_waited_for(), 5000);
    store_cancel_op(store, t);
    assert_int_equal(store_waiting(store), 1);
    world_sql(&world, "COMMIT");
    UNTIL(&world, store_waiting(store) == 0, 5000);
    uuid_format(&run, id);
    assert_int_equal(world_int(&world,
                               "SELECT count(*) FROM pawl.agent_runs WHERE run_id = '%s' "
                               "AND claim_by IS NULL AND version = 0",
                               id),
                     1);
    assert_int_equal(g.answers, 0);

    /* The same for a call. */
    run = world_planned_run(&world, worker, "send");
    struct store_claim_action a = got_call_of(&run, 0);
    hold_run(&run);
    t = store_claim_action(hands, &a, got_action, &g);
    UNTIL(&world, is_waited_for(), 5000);
    store_cancel_op(hands, t);
    world_sql(&world, "COMMIT");
    UNTIL(&world, store_waiting(hands) == 0, 5000);
    uuid_format(&run, id);
    assert_int_equal(world_int(&world,
                               "SELECT count(*) FROM pawl.agent_actions WHERE run_id = '%s' "
                               "AND status = 'failed_before_effect' AND open",
                               id),
                     1);
    assert_int_equal(g.answers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_requests_share_a_statement),
        cmocka_unit_test(test_bad_item_is_refused_alone),
        cmocka_unit_test(test_plan_is_claimed_and_committed),
        cmocka_unit_test(test_known_steps_are_not_read_again),
        cmocka_unit_test(test_a_run_is_read_by_a_view),
        cmocka_unit_test(test_histories_do_not_mix),
        cmocka_unit_test(test_other_plan_outcomes),
        cmocka_unit_test(test_malformed_plan_is_refused),
        cmocka_unit_test(test_call_from_claim_to_result),
        cmocka_unit_test(test_tools_that_cannot_be_served_are_left),
        cmocka_unit_test(test_cancelled_operations_are_silent),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
