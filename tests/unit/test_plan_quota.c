/*
 * test_plan_quota.c -- a step whose provider has limits: who has to wait, waits in
 * Postgres.
 */
#include "tests/unit/cm.h"

#include "tests/unit/plan_world.h"

static void a_run_waits_in_postgres_for_the_limits_of_its_provider(void **state)
{
    (void)state;
    struct world w = new_world();
    world_model.limits.requests_per_minute = 60;
    w.quota_wait_ms = 1500;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.model_calls, 0);
    assert_false(w.claimed);
    assert_int_equal(w.version, 0);
    assert_int_equal(w.failures, 0);
    assert_int_equal(w.retry_in_ms, 1500);
    w.quota_wait_ms = 0;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    assert_int_equal(w.quotas, 2);
    assert_true(w.quota_tokens > 0);
    assert_int_equal(w.settles, 1);
    w.quota_says = REFUSED; /* the provider keeps its limits itself */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 3);
    end_world(&w);
    world_model.limits.requests_per_minute = 0;

    w = new_world();
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.quotas + w.settles, 0); /* without limits nobody is asked */
    end_world(&w);
}

static void a_pause_that_the_provider_wants_is_told(void **state)
{
    (void)state;
    struct world w = new_world();
    world_model.limits.tokens_per_minute = 60000;
    w.fail_model = 1;
    w.model_says = RETRY;
    w.model_code = "rate_limited";
    w.retry_after_ms = 9000;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.pause_ms, 9000);
    assert_int_equal(w.failures, 1);
    end_world(&w);
    world_model.limits.tokens_per_minute = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_waits_in_postgres_for_the_limits_of_its_provider),
        cmocka_unit_test(a_pause_that_the_provider_wants_is_told),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
