/*
 * test_store_break.c -- Postgres breaks under operations in flight: whatever
 * happens, each is answered once, and what was asked happens once.
 */
#include "tests/store/world.h"

#include "common/store.h"

#include <stdlib.h>

enum { RUNS = 300, AT_ONCE = 40, WAIT_MS = 60000 };

static struct world world;
static int64_t worker;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    worker = world_worker(&world, "planner", "tests/planner");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

static struct store *open_store(void)
{
    struct error err;
    struct store *s;
    struct store_options options = {
        .dsn = world.planner_dsn, .program = "planner", .class = "default", .connections = 3
    };
    struct store_calls calls = { .arg = NULL };
    assert_ok(store_init(&s, &world.loop, &options, &calls, &err), &err);
    store_set_worker(s, worker);
    return s;
}

/* ---- one run from its request to its end, again and again ------------------------- */

struct crowd {
    struct store *store;
    int begun, ended, wrong;
};

struct life {
    struct crowd *crowd;
    char id[40];
    int waits; /* operations in flight: one, or none */
    struct store_claim_plan claim;
    struct store_item answer;
};

static void on_claim(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
                     const struct error *err);

static void answered(struct life *l, bool good)
{
    l->waits--;
    if (l->waits != 0 || !good)
        l->crowd->wrong++;
}

static void on_accept(void *arg, enum outcome outcome, const struct store_accepted *a,
                      const struct error *err)
{
    struct life *l = arg;
    (void)err;
    answered(l, outcome == OK && (a->answer == STORE_ACCEPTED || a->answer == STORE_DUPLICATE));
    l->claim = (struct store_claim_plan){ .token = uuid_v4(), .run = a->run };
    l->waits++;
    store_claim_plan(l->crowd->store, &l->claim, on_claim, l);
}

static void begin(struct crowd *c)
{
    if (c->begun == RUNS)
        return;
    struct life *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->crowd = c;
    struct uuid id = uuid_v4();
    uuid_format(&id, l->id);
    struct store_accept a = { .source = "crowd",
                              .id = l->id,
                              .agent = "billing",
                              .tenant = "tenant",
                              .class = "default",
                              .input = "1" };
    c->begun++;
    l->waits++;
    store_accept(c->store, &a, on_accept, l);
}

static void on_commit(void *arg, enum outcome outcome, const struct store_plan_commit *commit,
                      const struct error *err)
{
    struct life *l = arg;
    struct crowd *c = l->crowd;
    (void)err;
    answered(l, outcome == OK && strcmp(commit->status, "succeeded") == 0);
    c->ended++;
    free(l);
    begin(c);
}

static void on_claim(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
                     const struct error *err)
{
    struct life *l = arg;
    (void)err;
    answered(l, outcome == OK && claim->answer == STORE_YOURS && claim->row_count == 1);
    l->answer = (struct store_item){ .type = STORE_TEXT, .content = "the end" };
    struct store_commit_plan commit = { .token = l->claim.token,
                                        .run = l->claim.run,
                                        .step = claim->step,
                                        .epoch = claim->epoch,
                                        .version = claim->version,
                                        .outcome = STORE_PLAN_FINAL,
                                        .items = &l->answer,
                                        .item_count = 1 };
    l->waits++;
    store_commit_plan(l->crowd->store, &commit, on_commit, l);
}

/* `disturb` comes whenever a tenth of the runs has ended. */
static void live_through(void (*disturb)(void))
{
    struct crowd c = { .store = open_store() };
    int tenths = 0;
    world_sql(&world, "TRUNCATE pawl.requests, pawl.agent_runs, pawl.announcements");
    for (int i = 0; i < AT_ONCE; i++)
        begin(&c);
    int64_t until_ms = clock_mono_ms() + WAIT_MS;
    while (c.ended < RUNS && clock_mono_ms() < until_ms) {
        loop_turn(&world.loop, 20);
        if (c.ended * 10 / RUNS > tenths && tenths < 9) {
            tenths = c.ended * 10 / RUNS;
            disturb();
        }
    }
    assert_int_equal(c.ended, RUNS);
    assert_int_equal(c.wrong, 0);
    assert_int_equal(store_waiting(c.store), 0);
    store_free(c.store);
    assert_int_equal(world_int(&world, "SELECT count(*) FROM pawl.agent_runs "
                                       "WHERE status = 'succeeded' AND model_calls = 1"),
                     RUNS);
    assert_int_equal(world_int(&world, "SELECT count(*) FROM pawl.agent_runs"), RUNS);
    assert_int_equal(world_int(&world, "SELECT count(*) FROM pawl.announcements "
                                       "WHERE type = 'succeeded'"),
                     RUNS);
}

static void kill_backends(void)
{
    world_sql(&world, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                      "WHERE application_name = 'pawl-planner'");
}

static void cancel_statements(void)
{
    world_sql(&world, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                      "WHERE application_name = 'pawl-planner'");
}

static void restart_fast(void)
{
    world_server("restart fast");
}

static void restart_immediate(void)
{
    world_server("restart immediate");
}

static void test_killed_backends(void **state)
{
    (void)state;
    live_through(kill_backends);
}

static void test_cancelled_statements(void **state)
{
    (void)state;
    live_through(cancel_statements);
}

static void test_fast_restarts(void **state)
{
    (void)state;
    live_through(restart_fast);
}

static void test_immediate_restarts(void **state)
{
    (void)state;
    live_through(restart_immediate);
}

/* ---- exactly in the middle ---------------------------------------------------------- */

struct got {
    int answers;
    struct store_plan_claim claim;
};

static void on_one(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
                   const struct error *err)
{
    struct got *g = arg;
    assert_ok(outcome, err);
    g->answers++;
    g->claim = *claim;
}

/* The claim commits and its answer is lost: asked again by itself, it is ours. */
static void test_lost_answer_of_a_claim(void **state)
{
    struct got g = { 0 };
    struct store *s = open_store();
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = { .token = uuid_v4(), .run = run };
    char id[UUID_TEXT_SIZE];
    (void)state;
    uuid_format(&run, id);

    /* The history cannot be read, so the claim stands and nobody has heard of it;
     * then the connection breaks.                                            */
    world_sql(&world, "ALTER FUNCTION pawl.read_steps RENAME TO hidden");
    store_claim_plan(s, &c, on_one, &g);
    UNTIL(&world,
          world_int(&world,
                    "SELECT count(*) FROM pawl.agent_runs WHERE run_id = '%s' AND claim_by = %lld",
                    id, (long long)worker) == 1,
          10000);
    assert_int_equal(g.answers, 0);
    kill_backends();
    world_sql(&world, "ALTER FUNCTION pawl.hidden RENAME TO read_steps");
    UNTIL(&world, g.answers == 1, 20000);
    assert_int_equal(g.claim.answer, STORE_YOURS);
    assert_int_equal(g.claim.version, 1); /* claimed once */
    store_free(s);
}

struct heard {
    int answers;
    enum outcome outcome;
    bool has_claim;
    struct store_plan_claim claim;
};

static void on_heard(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
                     const struct error *err)
{
    struct heard *h = arg;
    h->answers++;
    h->outcome = outcome;
    h->has_claim = claim != NULL;
    if (claim)
        h->claim = *claim;
    if (outcome == REFUSED)
        assert_contains(err->text, "this history is cursed");
}

/* One history of a batch cannot be read: its claim is told all the same, so that
 * the run can be ended; the others get theirs.                               */
static void test_unreadable_history(void **state)
{
    enum { N = 9, BAD = 4 };
    struct heard heard[N] = { { .answers = 0 } };
    struct store *s = open_store();
    struct uuid run[N];
    char id[UUID_TEXT_SIZE];
    (void)state;
    for (int i = 0; i < N; i++)
        run[i] = world_start_run(&world);
    uuid_format(&run[BAD], id);
    world_sql(&world, "ALTER FUNCTION pawl.read_steps RENAME TO real_steps");
    world_sql(
        &world,
        "CREATE FUNCTION pawl.read_steps(p_run uuid[], p_known int[], p_left_out int[], p_emptied "
        "int[], p_result_bytes int[]) RETURNS TABLE (item int, "
        "kind text, step int, index int, type text, content text, call_id text, tool text, "
        "arguments text, refused text, raw text, status text, error_code text, dialect text, "
        "hidden bigint) LANGUAGE "
        "plpgsql AS $$ BEGIN IF '%s'::uuid = ANY (p_run) THEN RAISE 'this history is cursed'; "
        "END IF; RETURN QUERY SELECT * FROM pawl.real_steps(p_run, p_known, p_left_out, "
        "p_emptied, p_result_bytes); END $$",
        id);
    for (int i = 0; i < N; i++) {
        struct store_claim_plan c = { .token = uuid_v4(), .run = run[i] };
        store_claim_plan(s, &c, on_heard, &heard[i]);
    }
    for (int i = 0; i < N; i++) {
        UNTIL(&world, heard[i].answers == 1, 10000);
        assert_int_equal(heard[i].outcome, i == BAD ? REFUSED : OK);
        assert_true(heard[i].has_claim);
        assert_int_equal(heard[i].claim.answer, STORE_YOURS);
        assert_int_equal(heard[i].claim.version, 1);
        assert_int_equal(heard[i].claim.row_count, i == BAD ? 0 : 1);
    }
    world_sql(&world, "DROP FUNCTION pawl.read_steps");
    world_sql(&world, "ALTER FUNCTION pawl.real_steps RENAME TO read_steps");
    store_free(s);
}

/* Waiting for a lock when the server goes away. */
static void test_restart_while_a_statement_waits(void **state)
{
    struct error err;
    struct got g = { 0 };
    struct pg *holder;
    struct pg_options options = { .dsn = world.dsn };
    struct store *s = open_store();
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = { .token = uuid_v4(), .run = run };
    (void)state;
    assert_ok(pg_open(&holder, &options, &err), &err);
    assert_ok(pg_run(holder, "BEGIN", 0, &err), &err);
    assert_ok(pg_run(holder, "SELECT FROM pawl.agent_runs FOR UPDATE", 0, &err), &err);
    store_claim_plan(s, &c, on_one, &g);
    for (int i = 0; i < 20; i++)
        loop_turn(&world.loop, 20);
    assert_int_equal(g.answers, 0);
    world_server("restart fast");
    UNTIL(&world, g.answers == 1, 20000);
    assert_int_equal(g.claim.answer, STORE_YOURS);
    assert_int_equal(g.claim.version, 1);
    pg_close(holder);
    store_free(s);
}

/* What no item is guilty of is waited for: here a right that is missing. */
static void test_missing_rights_are_waited_for(void **state)
{
    struct got g = { 0 };
    struct store *s = open_store();
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = { .token = uuid_v4(), .run = run };
    (void)state;
    world_sql(&world, "ALTER FUNCTION pawl.claim_plans RENAME TO hidden");
    store_claim_plan(s, &c, on_one, &g);
    for (int i = 0; i < 30; i++)
        loop_turn(&world.loop, 20);
    assert_int_equal(g.answers, 0);
    world_sql(&world, "ALTER FUNCTION pawl.hidden RENAME TO claim_plans");
    UNTIL(&world, g.answers == 1, 20000);
    assert_int_equal(g.claim.answer, STORE_YOURS);
    store_free(s);
}

struct link_seen {
    int refused, ok;
    char text[300];
};

static void on_link(void *arg, enum outcome outcome, const char *text)
{
    struct link_seen *l = arg;
    l->refused += outcome == REFUSED;
    l->ok += outcome == OK;
    (void)snprintf(l->text, sizeof l->text, "%s", text);
}

static void test_old_schema_is_refused_until_migrated(void **state)
{
    struct error err;
    struct link_seen seen = { 0 };
    struct store *s;
    struct store_options options = { .dsn = world.planner_dsn,
                                     .program = "planner",
                                     .class = "default" };
    struct store_calls calls = { .arg = &seen, .on_link = on_link };
    (void)state;
    world_sql(&world, "UPDATE pawl.schema_migrations SET number = -number WHERE number > 2");
    assert_ok(store_init(&s, &world.loop, &options, &calls, &err), &err);
    UNTIL(&world, seen.refused == 1, 10000);
    assert_contains(seen.text, "run `pawl migrate up`");
    for (int i = 0; i < 30; i++)
        loop_turn(&world.loop, 20);
    assert_int_equal(seen.refused, 1); /* the same is told once */
    world_sql(&world, "UPDATE pawl.schema_migrations SET number = abs(number)");
    UNTIL(&world, seen.ok == 1, 10000);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_backends),
        cmocka_unit_test(test_cancelled_statements),
        cmocka_unit_test(test_fast_restarts),
        cmocka_unit_test(test_immediate_restarts),
        cmocka_unit_test(test_lost_answer_of_a_claim),
        cmocka_unit_test(test_unreadable_history),
        cmocka_unit_test(test_restart_while_a_statement_waits),
        cmocka_unit_test(test_missing_rights_are_waited_for),
        cmocka_unit_test(test_old_schema_is_refused_until_migrated),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
