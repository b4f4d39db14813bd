/*
 * test_plan.c -- drives the machine of one step with a scripted world: no sockets,
 * no Postgres.
 *
 * The crash test stops the script after every possible number of operations,
 * throws the task away (declares its process dead), and delivers the doorbell
 * again: whatever the point of death, the run goes on, and a plan that was
 * committed is never asked of the model again.
 */
#include "tests/unit/cm.h"

#include "tests/unit/plan_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void a_run_of_three_steps(void **state)
{
    (void)state;
    struct world w = new_world();
    for (int s = 1; s <= WORLD_STEPS; s++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_true(w.ended);
    assert_string_equal(w.status, "succeeded");
    assert_int_equal(w.model_calls, WORLD_STEPS);
    assert_int_equal(w.announced, 1);
    assert_int_equal(w.act_rings, 4); /* two places in each of two steps */
    assert_int_equal(w.cache.hits, 2);
    assert_int_equal(w.cache.count, 0); /* what has ended needs no history */
    /* The third prompt grew from the cache and holds all there was, once. */
    const char *second = strstr(w.last_body, "step 2");
    assert_non_null(second);
    assert_null(strstr(second + 1, "step 2"));
    assert_contains(w.last_body, "step 1");
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE); /* a late doorbell */
    assert_int_equal(w.model_calls, WORLD_STEPS);
    end_world(&w);
}

static void survives_death_at_every_operation(void **state)
{
    (void)state;
    for (int fuel = 1; fuel <= 6; fuel++) {
        for (int dies_at = 1; dies_at <= WORLD_STEPS; dies_at++) {
            struct world w = new_world();
            for (int s = 1; s <= WORLD_STEPS; s++) {
                int before = w.step;
                if (s == dies_at)
                    (void)deliver(&w, fuel);
                if (!w.ended && w.step == before) /* it falls due: again */
                    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
            }
            assert_true(w.ended);
            assert_string_equal(w.status, "succeeded");
            assert_int_equal(w.model_calls_after_commit, 0);
            for (int s = 1; s <= WORLD_STEPS; s++)
                assert_int_equal(w.steps_planned[s], 1);
            assert_true(w.model_calls <= WORLD_STEPS + 1);
            end_world(&w);
        }
    }
}

/* Death with an empty cache each time: all is read anew. */
static void needs_no_history(void **state)
{
    (void)state;
    struct world w = new_world();
    for (int s = 1; s <= WORLD_STEPS; s++) {
        (void)deliver(&w, FOREVER);
        history_cache_release(&w.cache);
        history_cache_init(&w.cache, (size_t)1 << 20);
    }
    assert_true(w.ended);
    assert_contains(w.last_body, "step 1");
    assert_contains(w.last_body, "step 2");
    end_world(&w);
}

static void late_answers_are_ignored(void **state)
{
    (void)state;
    struct world w = new_world();
    const struct plan_ports ports = ports_of(&w);
    struct plan p;
    plan_start(&p, &ports, &w.cache, &world_run, false);
    struct plan_event late = { .ticket = p.ticket + 9, .outcome = OK };
    plan_resume(&p, &late);
    assert_int_equal(p.state, PLAN_CLAIM);
    late.ticket = p.ticket - 1;
    late.reply = model_reply_new(10); /* is freed */
    plan_resume(&p, &late);
    assert_int_equal(p.state, PLAN_CLAIM);
    answer_all(&w, &p);
    assert_int_equal(p.state, PLAN_DONE);
    late.reply = NULL;
    late.ticket = p.ticket;
    plan_resume(&p, &late);
    assert_int_equal(w.ends, 1);
    plan_release(&p);
    end_world(&w);
}

static void retries_are_tried_again(void **state)
{
    (void)state;
    struct world w = new_world();
    w.retry_claim = 3;
    w.retry_load = 2;
    w.retry_commit = 4;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.waits, 9);
    assert_int_equal(w.commits, 1);
    assert_int_equal(w.model_calls, 1);
    end_world(&w);
}

static void what_is_not_ours_is_left(void **state)
{
    (void)state;
    const enum store_claim_answer answers[] = { STORE_BUSY, STORE_DONE, STORE_LATER, STORE_NO,
                                                STORE_DEAD };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct world w = new_world();
        w.claim_says = answers[i];
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
        assert_int_equal(w.model_calls + w.commits, 0);
        assert_int_equal(w.ends, 1);
        end_world(&w);
    }
}

static void a_failed_model_is_asked_again_by_and_by(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 2;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.failures, 1);
    assert_int_equal(w.retries, 1);
    assert_int_equal(w.retry_in_ms, 500);
    w.retry_after_ms = 7000;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.retry_in_ms, 7000);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    assert_int_equal(w.model_calls, 3);
    end_world(&w);
}

static void a_wait_ends_at_the_deadline(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 1;
    w.retry_after_ms = 3600000;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.retry_in_ms, 60000 - 12);
    end_world(&w);
}

static void after_its_attempts_the_run_fails(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 99;
    for (int i = 0; i < 3; i++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_true(w.ended);
    assert_string_equal(w.code, "model_failed");
    assert_string_equal(w.error, "the model failed 3 times; last: no capacity");
    assert_int_equal(w.model_calls, 3);
    assert_int_equal(w.announced, 1);
    end_world(&w);
}

static void a_final_error_is_final(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 1;
    w.model_says = REFUSED;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_true(w.ended);
    assert_string_equal(w.code, "model_refused");
    assert_string_equal(w.error, "overloaded: no capacity");
    assert_false(w.cost_known_to_none);
    end_world(&w);
}

/* ---- the end -------------------------------------------------------------------------- */

static void an_empty_turn_gets_one_more_step(void **state)
{
    (void)state;
    struct world w = new_world();
    w.empty_turns = 1;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    assert_int_equal(w.plan_rings, 1);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_contains(w.last_body, "was empty");
    assert_false(w.ended);
    end_world(&w);

    w = new_world();
    w.empty_turns = 2;
    for (int i = 0; i < 2; i++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.status, "succeeded"); /* it really has nothing to say */
    end_world(&w);
}

/* A model that paused goes on at once, and not for ever. */
static void a_paused_turn_is_asked_on_at_once(void **state)
{
    (void)state;
    struct world w = new_world();
    int limit = world_agent.limit_steps;
    world_agent.limit_steps = WORLD_STEPS + 1;
    w.step = WORLD_STEPS;
    w.end = REPLY_END_PAUSE;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.ended);
    assert_int_equal(w.step, WORLD_STEPS + 1);
    assert_int_equal(w.plan_rings, 1);
    assert_int_equal(w.retries, 0);
    w.empty_turns = 1; /* in the last step that there is */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.model_calls, 2);
    assert_string_equal(w.status, "failed");
    assert_string_equal(w.code, "step_limit");
    world_agent.limit_steps = limit;
    end_world(&w);
}

static void an_answer_to_which_somebody_spoke_is_not_the_end(void **state)
{
    (void)state;
    struct world w = new_world();
    w.said = 1;
    w.step = WORLD_STEPS;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.ended);
    assert_int_equal(w.announced, 0);
    assert_int_equal(w.plan_rings, 1); /* the next step is rung for */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.cache.hits, 1); /* the answer stands in the history */
    assert_int_equal(w.model_calls_after_commit, 0);
    end_world(&w);
}

static void the_last_step_is_for_the_answer(void **state)
{
    (void)state;
    struct world w = new_world();
    world_agent.limit_steps = 2;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_null(strstr(w.last_body, "tool_choice"));
    assert_int_equal(w.act_rings, 2);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_contains(w.last_body, "\"tool_choice\":\"none\"");
    assert_int_equal(w.act_rings, 2); /* calls all the same: they are not made */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    world_agent.limit_steps = 64;
    assert_string_equal(w.code, "step_limit");
    end_world(&w);
}

static void ends_by_rule(void **state)
{
    (void)state;
    struct world w = new_world();
    world_agent.limit_steps = 0;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    world_agent.limit_steps = 64;
    assert_string_equal(w.code, "step_limit");
    assert_int_equal(w.model_calls, 0);
    assert_true(w.cost_known_to_none);
    end_world(&w);

    w = new_world();
    w.no_agent = true;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "bad_revision");
    end_world(&w);

    w = new_world();
    w.step = WORLD_STEPS;
    w.end = REPLY_END_LENGTH;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "answer_cut");
    end_world(&w);
}

static void a_missing_secret_gives_the_claim_back(void **state)
{
    (void)state;
    struct world w = new_world();
    w.no_secret = true;
    world_model.api_key_secret = "KEY";
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.claimed);
    assert_false(w.ended);
    assert_int_equal(w.cannot, 1);
    assert_int_equal(w.model_calls, 0);
    w.no_secret = false;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    world_model.api_key_secret = NULL;
    assert_int_equal(w.step, 2);
    end_world(&w);
}

static void a_schema_that_is_too_new_gives_the_claim_back(void **state)
{
    (void)state;
    struct world w = new_world();
    world_swap_schema();
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.claimed);
    assert_false(w.ended);
    assert_int_equal(w.cannot, 1);
    assert_int_equal(w.model_calls, 0);
    assert_int_equal(w.step, 1);
    world_swap_schema(); /* upgraded */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    end_world(&w);
}

static void when_every_call_is_refused_the_model_is_asked_at_once(void **state)
{
    (void)state;
    struct world w = new_world();
    w.all_refused = true;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.act_rings, 0);
    assert_int_equal(w.plan_rings, 1);
    end_world(&w);
}

static void a_stale_commit_is_dropped(void **state)
{
    (void)state;
    struct world w = new_world();
    w.commit_says = STALE;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.act_rings + w.plan_rings + w.announced, 0);
    assert_int_equal(w.cache.count, 0);
    end_world(&w);
}

static void rows_that_cannot_be_stored_fail_the_run(void **state)
{
    (void)state;
    struct world w = new_world();
    w.refuse_commits = 1;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "plan_refused");
    end_world(&w);

    w = new_world();
    w.refuse_commits = 2; /* not even that */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.claimed);
    end_world(&w);

    w = new_world();
    w.refuse_commits = 99;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.ends, 1);
    end_world(&w);
}

static void a_cancelled_run_is_given_back(void **state)
{
    (void)state;
    const enum plan_state places[] = { PLAN_CLAIM, PLAN_LOAD, PLAN_THINK };
    for (size_t i = 0; i < 3; i++) {
        struct world w = new_world();
        const struct plan_ports ports = ports_of(&w);
        struct plan p;
        bring_to(&w, &p, &ports, places[i]);
        plan_cancel(&p);
        answer_all(&w, &p); /* the answer of the forgotten operation comes late, too */
        assert_int_equal(p.state, PLAN_DONE);
        assert_false(w.claimed);
        assert_int_equal(w.steps_planned[1], 0);
        assert_int_equal(w.forgotten, places[i] == PLAN_CLAIM ? 0 : 1);
        plan_release(&p);
        end_world(&w);
    }
}

static void draining_gives_back_what_has_not_begun(void **state)
{
    (void)state;
    const enum plan_state places[] = { PLAN_CLAIM, PLAN_LOAD, PLAN_THINK };
    for (size_t i = 0; i < 3; i++) {
        struct world w = new_world();
        const struct plan_ports ports = ports_of(&w);
        struct plan p;
        bring_to(&w, &p, &ports, places[i]);
        plan_drain(&p);
        answer_all(&w, &p);
        assert_int_equal(p.state, PLAN_DONE);
        assert_int_equal(w.steps_planned[1], places[i] == PLAN_THINK ? 1 : 0);
        plan_release(&p);
        end_world(&w);
    }
}

static void dropping_says_nothing(void **state)
{
    (void)state;
    const enum plan_state places[] = { PLAN_CLAIM, PLAN_LOAD, PLAN_THINK, PLAN_COMMIT };
    for (size_t i = 0; i < 4; i++) {
        struct world w = new_world();
        const struct plan_ports ports = ports_of(&w);
        struct plan p;
        bring_to(&w, &p, &ports, places[i]);
        plan_drop(&p);
        assert_int_equal(p.state, PLAN_DONE);
        assert_int_equal(w.ends, 1);
        answer_all(&w, &p);
        plan_release(&p);
        end_world(&w);
    }
}

static void draws_itself(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    plan_print_graph(out);
    (void)fclose(out);
    assert_contains(text, "claim --> load");
    assert_null(strstr(text, "commit --> think"));
    free(text);
}

static void backs_off(void **state)
{
    (void)state;
    assert_int_equal(model_backoff_ms(1, 0), 500);
    assert_int_equal(model_backoff_ms(2, 0), 1000);
    assert_int_equal(model_backoff_ms(3, 0.999), 2000 - 499);
    assert_int_equal(model_backoff_ms(1000000, 0), 20000);
}

static void counts_the_cost(void **state)
{
    (void)state;
    struct model_price price = { 2500000, 250000, 3000000, 10000000 };
    const struct model_price none = { -1, -1, -1, -1 };
    struct model_usage usage = MODEL_USAGE_UNKNOWN;
    assert_int_equal(model_cost_micros(&price, &usage), -1);
    usage.tokens_in = 1000;
    usage.tokens_out = 100;
    usage.tokens_cached = 400;
    assert_int_equal(model_cost_micros(&price, &usage), 1500 + 100 + 1000);
    assert_int_equal(model_cost_micros(&none, &usage), -1);
    usage.tokens_written = 100;
    assert_int_equal(model_cost_micros(&price, &usage), 1250 + 100 + 300 + 1000);
    price.cache_write_micros = -1;
    assert_int_equal(model_cost_micros(&price, &usage), 1500 + 100 + 1000);
    usage.tokens_written = 5000; /* more than there were: what is left of them */
    assert_int_equal(model_cost_micros(&price, &usage), 1500 + 100 + 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_three_steps),
        cmocka_unit_test(survives_death_at_every_operation),
        cmocka_unit_test(needs_no_history),
        cmocka_unit_test(late_answers_are_ignored),
        cmocka_unit_test(retries_are_tried_again),
        cmocka_unit_test(what_is_not_ours_is_left),
        cmocka_unit_test(a_failed_model_is_asked_again_by_and_by),
        cmocka_unit_test(a_wait_ends_at_the_deadline),
        cmocka_unit_test(after_its_attempts_the_run_fails),
        cmocka_unit_test(a_final_error_is_final),
        cmocka_unit_test(an_empty_turn_gets_one_more_step),
        cmocka_unit_test(a_paused_turn_is_asked_on_at_once),
        cmocka_unit_test(an_answer_to_which_somebody_spoke_is_not_the_end),
        cmocka_unit_test(the_last_step_is_for_the_answer),
        cmocka_unit_test(ends_by_rule),
        cmocka_unit_test(a_missing_secret_gives_the_claim_back),
        cmocka_unit_test(a_schema_that_is_too_new_gives_the_claim_back),
        cmocka_unit_test(when_every_call_is_refused_the_model_is_asked_at_once),
        cmocka_unit_test(a_stale_commit_is_dropped),
        cmocka_unit_test(rows_that_cannot_be_stored_fail_the_run),
        cmocka_unit_test(a_cancelled_run_is_given_back),
        cmocka_unit_test(draining_gives_back_what_has_not_begun),
        cmocka_unit_test(dropping_says_nothing),
        cmocka_unit_test(draws_itself),
        cmocka_unit_test(backs_off),
        cmocka_unit_test(counts_the_cost),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
