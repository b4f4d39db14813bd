/*
 * test_store_rest.c -- the operations of the store beside plans and calls.
 */
#include "tests/store/got.h"

#include <stdlib.h>

static struct world world;
static struct store *store;
static int64_t worker;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    worker = world_worker(&world, "planner", "tests/planner");
    store = got_store(&world, "planner", worker);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_free(store);
    world_close(&world);
    return 0;
}

/* ---- what is due, announcements, records, revisions, our end --------------------------- */

struct due_seen {
    int answers, count, plans, acts;
    bool ours;
    struct uuid run;
};

static void on_due(void *arg, enum outcome outcome, const struct store_due *due, size_t count,
                   const struct error *err)
{
    struct due_seen *d = arg;
    assert_ok(outcome, err);
    d->answers++;
    d->count = (int)count;
    for (size_t i = 0; i < count; i++) {
        d->plans += due[i].what == STORE_DUE_PLAN;
        d->acts += due[i].what == STORE_DUE_ACT;
        d->ours = d->ours || uuid_eq(&due[i].run, &d->run);
    }
}

static void test_due(void **state)
{
    struct due_seen d = { .run = world_start_run(&world) };
    (void)state;
    world_sql(&world, "UPDATE pawl.agent_runs SET due_at = NULL WHERE due_at IS NOT NULL AND "
                      "run_id <> (SELECT max(run_id::text)::uuid FROM pawl.agent_runs)");
    world_sql(&world, "UPDATE pawl.agent_runs SET due_at = now() WHERE due_at IS NOT NULL");
    store_claim_due(store, 10, on_due, &d);
    UNTIL(&world, d.answers == 1, 5000);
    assert_int_equal(d.plans, 1);
    assert_true(d.ours);
    store_claim_due(store, 10, on_due, &d);
    UNTIL(&world, d.answers == 2, 5000);
    assert_int_equal(d.count, 0);

    struct store *hands =
        got_store(&world, "executor", world_worker(&world, "executor", "tests/exec"));
    d = (struct due_seen){ .run = world_planned_run(&world, worker, "look,put,send") };
    world_sql(&world, "UPDATE pawl.agent_runs SET due_at = now() WHERE open_calls = 3");
    store_claim_due(hands, 10, on_due, &d);
    UNTIL(&world, d.answers == 1, 5000);
    assert_int_equal(d.acts, 3);
    store_free(hands);
}

static void test_announcements(void **state)
{
    struct got g = { 0 };
    (void)state;
    world_sql(&world, "DELETE FROM pawl.announcements");
    struct store_accept a = got_request_of("told", "billing", "1");
    store_accept(store, &a, got_accept, &g);
    got_wait(&world, &g, 1);
    int64_t id = g.accepted.event_id;
    store_read_announcement(store, id, got_announcement, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.id, id);
    assert_string_equal(g.text, "accepted billing default");
    store_take_announcements(store, 10, got_ids, &g);
    got_wait(&world, &g, 3);
    assert_int_equal(g.count, 0); /* ours for ten seconds */
    world_sql(&world, "UPDATE pawl.announcements SET taken_until = now()");
    store_take_announcements(store, 10, got_ids, &g);
    got_wait(&world, &g, 4);
    assert_int_equal(g.count, 1);
    assert_int_equal(g.id, id);
    store_announce(store, id, got_plain, &g);
    got_wait(&world, &g, 5);
    store_read_announcement(store, id, got_announcement, &g);
    got_wait(&world, &g, 6);
    assert_int_equal(g.outcome, OK);
    assert_int_equal(g.id, 0);
}

static void test_records_that_kill(void **state)
{
    struct got g = { 0 };
    (void)state;
    store_open_record(store, "requests", 3, 77, got_count, &g);
    got_wait(&world, &g, 1);
    assert_int_equal(g.count, 1);
    store_open_record(store, "requests", 3, 77, got_count, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.count, 2);
    store_close_record(store, "requests", 3, 77, got_plain, &g);
    got_wait(&world, &g, 3);
    store_open_record(store, "requests", 3, 77, got_count, &g);
    got_wait(&world, &g, 4);
    assert_int_equal(g.count, 1);
    store_planner_died_lately(store, got_count, &g);
    got_wait(&world, &g, 5);
    assert_int_equal(g.count, 0);
}

static void test_revisions(void **state)
{
    struct got g = { 0 };
    char digest[200];
    (void)state;
    store_read_current(store, got_revisions, &g);
    got_wait(&world, &g, 1);
    assert_int_equal(g.count, 5);
    int64_t seq = g.id;
    store_read_revisions(store, &seq, 1, got_revisions, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(g.count, 1);
    assert_contains(g.text, "tool");
    world_text(&world, digest, "SELECT digest FROM pawl.revisions WHERE name = 'look'");
    struct store_revision_name names[] = { { "tool", "look", digest }, { "tool", "none", digest } };
    store_find_revisions(store, names, 2, got_revisions, &g);
    got_wait(&world, &g, 3);
    assert_int_equal(g.count, 1);
    assert_string_equal(g.text, "tool look {} 1");
}

static void test_dead_is_told_once(void **state)
{
    struct got g = { 0 };
    int64_t doomed = world_worker(&world, "planner", "tests/doomed");
    struct store *s = got_store(&world, "planner", doomed);
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    (void)state;
    world_sql(&world, "SELECT pawl.declare_dead(NULL, ARRAY[%lld::bigint], ARRAY[0::bigint])",
              (long long)doomed);
    got_dead = 0;
    store_claim_plan(s, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    assert_int_equal(g.plan.answer, STORE_DEAD);
    assert_int_equal(got_dead, 1);
    store_claim_plan(s, &c, got_plan, &g);
    got_wait(&world, &g, 2);
    assert_int_equal(got_dead, 1);
    store_free(s);
}

static void test_leave_and_hand_back(void **state)
{
    struct got g = { 0 };
    char text[200];
    int64_t leaver = world_worker(&world, "planner", "tests/leaver");
    struct store *s = got_store(&world, "planner", leaver);
    struct uuid run = world_start_run(&world);
    struct store_claim_plan c = got_plan_of(&run);
    (void)state;
    store_claim_plan(s, &c, got_plan, &g);
    got_wait(&world, &g, 1);
    store_leave(s, got_plain, &g);
    got_wait(&world, &g, 2);
    world_text(&world, text, "SELECT state FROM pawl.workers WHERE incarnation = %lld",
               (long long)leaver);
    assert_string_equal(text, "leaving");
    store_hand_back(s, got_plain, &g);
    got_wait(&world, &g, 3);
    world_text(&world, text, "SELECT state FROM pawl.workers WHERE incarnation = %lld",
               (long long)leaver);
    assert_string_equal(text, "gone");
    struct got next = { 0 };
    c = got_plan_of(&run);
    store_claim_plan(store, &c, got_plan, &next);
    got_wait(&world, &next, 1);
    assert_int_equal(next.plan.answer, STORE_YOURS);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_announcements),
        cmocka_unit_test(test_records_that_kill),
        cmocka_unit_test(test_revisions),
        cmocka_unit_test(test_dead_is_told_once),
        cmocka_unit_test(test_leave_and_hand_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
