/*
 * test_action.c -- drives the life of a call with a scripted world.
 *
 * The crash test stops the world after every possible number of operations, twice,
 * throws the task away, buries the process and delivers the call again: whatever
 * the points of death, a call that is not repeatable runs at most once, a committed
 * success is never followed by another request, the key never changes, and
 * doorbells ring only for what is committed.
 */
#include "tests/unit/cm.h"

#include "tests/unit/action_world.h"

#include <string.h>

enum { FUEL_MAX = 16 };

static void keeps_its_promises_wherever_it_dies(void **state)
{
    (void)state;
    for (int policy = 0; policy < POLICIES; policy++) {
        for (int script = 0; script < WORLD_SCRIPTS; script++) {
            for (int first = 1; first <= FUEL_MAX; first++) {
                for (int second = 1; second <= FUEL_MAX; second++) {
                    struct world w = world_make(policy, script);
                    world_live(&w, first);
                    world_bury(&w);
                    world_live(&w, second);
                    world_bury(&w);
                    world_live(&w, 1000);
                    assert_true(world_is_final(&w));
                    world_check_promises(&w);
                    /* Delivered once more: nothing happens. */
                    int requests = w.requests;
                    world_live(&w, 1000);
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
            struct world w = world_make(policy, 0);
            w.jump_at = jump_at;
            world_live(&w, 1000);
            assert_int_equal(w.row, ROW_SUCCEEDED);
            assert_int_equal(w.executions, 1);
            world_check_promises(&w);
        }
    }
}

static void a_claim_that_grew_too_old_is_handed_back(void **state)
{
    (void)state;
    struct world w = world_make(ONCE_TELL, 0);
    struct action a;
    struct action_ports ports = world_ports(&w);
    w.action = &a;
    w.fuel = 100;
    w.jump_at = 2; /* while the tool is loaded */
    action_start(&a, &ports, &world_item, false);
    world_pump(&w);
    assert_true(w.done);
    assert_int_equal(w.last, STORE_CALL_HANDED_BACK);
    assert_int_equal(w.requests, 0);
    assert_int_equal(w.end.retry_ms, 0);
    action_release(&a);
}

/* ---- one action, by hand ------------------------------------------------------------ */

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
