/*
 * test_plan_models.c -- a step of an agent with more than one model: which of them is
 * asked, and what a provider that is left alone changes.
 */
#include "tests/unit/cm.h"

#include "tests/unit/plan_world.h"

#include <stdio.h>
#include <string.h>

static struct world two_models(void)
{
    world_agent.model_count = 2;
    struct world w = new_world();
    w.model_says = RETRY;
    return w;
}

static void one_model_again(struct world *w)
{
    world_agent.model_count = 1;
    end_world(w);
}

static void the_next_model_is_asked_after_so_many_failures(void **state)
{
    (void)state;
    struct world w = two_models();
    w.fail_model = 2; /* world_agent.fallback_after */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.failures, 1);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.model_at, 1);
    assert_int_equal(w.failures, 0);
    assert_int_equal(w.retry_in_ms, 0);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    assert_int_equal(w.model_at, 0); /* the next step begins with the first one again */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.asked, "ddod");
    one_model_again(&w);
}

static void some_failures_are_not_waited_out(void **state)
{
    (void)state;
    struct world w = two_models();
    w.model_says = REFUSED;
    w.model_code = "unauthorized";
    w.fail_model = 1;
    for (int i = 0; i < 2; i++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.asked, "do");
    assert_int_equal(w.step, 2);
    one_model_again(&w);

    w = two_models();
    w.model_says = REFUSED;
    w.model_code = "bad_request"; /* another model would refuse it, too */
    w.fail_model = 1;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "model_refused");
    one_model_again(&w);

    const char *named[] = { "bad_request" };
    world_agent.fallback_on = (struct field_strings){ named, 1 };
    w = two_models();
    w.model_says = REFUSED;
    w.model_code = "bad_request";
    w.fail_model = 1;
    for (int i = 0; i < 2; i++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    world_agent.fallback_on = (struct field_strings){ 0 };
    assert_string_equal(w.asked, "do");
    one_model_again(&w);
}

static void when_all_models_have_failed_the_run_does(void **state)
{
    (void)state;
    struct world w = two_models();
    w.fail_model = FOREVER;
    for (int i = 0; i < 4; i++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.asked, "ddoo"); /* the second one has two attempts */
    assert_true(w.ended);
    assert_string_equal(w.code, "model_failed");
    one_model_again(&w);
}

static void a_provider_that_is_left_alone_is_passed_over(void **state)
{
    (void)state;
    struct world w = two_models();
    w.blocked_ms[0] = 700;
    w.fail_model = 1;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.model_at, 1);
    assert_int_equal(w.failures, 1);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    assert_string_equal(w.asked, "oo");
    one_model_again(&w);

    w = two_models();
    w.blocked_ms[0] = 700;
    w.blocked_ms[1] = 300;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.model_calls, 0);
    assert_false(w.claimed); /* it waits, and has used up no attempt */
    assert_int_equal(w.failures, 0);
    assert_int_equal(w.version, 0);
    assert_int_equal(w.retry_in_ms, 300);
    w.blocked_ms[1] = 0;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.asked, "o");
    one_model_again(&w);
}

/* The text kept for one model is not sent to another one. */
static void another_model_gets_its_own_prompt(void **state)
{
    (void)state;
    struct world w = two_models();
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    w.blocked_ms[0] = 700;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 3);
    assert_string_equal(w.asked, "do");
    assert_contains(w.last_body, "\"model\":\"o\"");
    assert_contains(w.last_body, "\"content\":\"step 1\"");
    assert_contains(w.last_body, "seen");
    one_model_again(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_model_is_asked_after_so_many_failures),
        cmocka_unit_test(some_failures_are_not_waited_out),
        cmocka_unit_test(when_all_models_have_failed_the_run_does),
        cmocka_unit_test(a_provider_that_is_left_alone_is_passed_over),
        cmocka_unit_test(another_model_gets_its_own_prompt),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
