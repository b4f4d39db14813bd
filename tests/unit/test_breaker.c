/*
 * test_breaker.c -- when a provider is left alone, and when it is asked again.
 */
#include "tests/unit/cm.h"

#include "planner/breaker.h"

static const struct model_def one = { .base_url = "http://one/v1", .api_key_secret = "A" };
static const struct model_def one_again = { .base_url = "http://one/v1", .api_key_secret = "A" };
static const struct model_def other_key = { .base_url = "http://one/v1", .api_key_secret = "B" };
static const struct model_def no_key = { .base_url = "http://one/v1" };

static void note(struct breakers *b, const struct model_def *model, enum outcome outcome,
                 const char *code, int64_t now_ms)
{
    struct model_reply *reply = model_reply_new(1000);
    if (outcome != OK)
        (void)model_reply_fail(reply, outcome, code, "x");
    breaker_note(b, model, reply, now_ms);
    model_reply_free(reply);
}

static void fail_often(struct breakers *b, int times, int64_t now_ms)
{
    for (int i = 0; i < times; i++)
        note(b, &one, RETRY, "connection_lost", now_ms);
}

static void opens_after_failures_in_a_row(void **state)
{
    (void)state;
    struct breakers b;
    breakers_init(&b);
    fail_often(&b, BREAKER_FAILURES - 1, 0);
    note(&b, &one, OK, NULL, 0);
    fail_often(&b, BREAKER_FAILURES - 1, 0);
    assert_int_equal(breaker_wait_ms(&b, &one, 0), 0);
    fail_often(&b, 1, 0);
    assert_int_equal(breaker_wait_ms(&b, &one_again, 0), BREAKER_FIRST_MS);
    assert_int_equal(breaker_wait_ms(&b, &one_again, 400), BREAKER_FIRST_MS - 400);
    assert_int_equal(breaker_wait_ms(&b, &other_key, 0), 0);
    assert_int_equal(breaker_wait_ms(&b, &no_key, 0), 0);
    breakers_release(&b);
}

static void one_call_tries(void **state)
{
    (void)state;
    struct breakers b;
    breakers_init(&b);
    fail_often(&b, BREAKER_FAILURES + 20, 0); /* those that were on the way do not count */
    assert_int_equal(breaker_wait_ms(&b, &one, BREAKER_FIRST_MS), 0);
    assert_int_equal(breaker_wait_ms(&b, &one, BREAKER_FIRST_MS), BREAKER_FIRST_MS);
    fail_often(&b, 1, BREAKER_FIRST_MS);
    assert_int_equal(breaker_wait_ms(&b, &one, BREAKER_FIRST_MS), 2 * BREAKER_FIRST_MS);
    fail_often(&b, 1, BREAKER_FIRST_MS);
    assert_int_equal(breaker_wait_ms(&b, &one, BREAKER_FIRST_MS), 2 * BREAKER_FIRST_MS);
    assert_int_equal(breaker_wait_ms(&b, &one, 3 * BREAKER_FIRST_MS), 0);
    note(&b, &one, OK, NULL, 3 * BREAKER_FIRST_MS);
    assert_int_equal(breaker_wait_ms(&b, &one, 3 * BREAKER_FIRST_MS), 0);
    breakers_release(&b);
}

/* The planner that was to try died, or its run was cancelled. */
static void a_try_that_is_never_heard_of_is_followed_by_another(void **state)
{
    (void)state;
    struct breakers b;
    breakers_init(&b);
    fail_often(&b, BREAKER_FAILURES, 0);
    assert_int_equal(breaker_wait_ms(&b, &one, 5000), 0);
    assert_true(breaker_wait_ms(&b, &one, 5000) > 0);
    assert_int_equal(breaker_wait_ms(&b, &one, 5000 + BREAKER_FIRST_MS), 0);
    breakers_release(&b);
}

static void it_stays_open_for_a_bounded_time(void **state)
{
    (void)state;
    struct breakers b;
    breakers_init(&b);
    fail_often(&b, BREAKER_FAILURES, 0);
    int64_t now_ms = 0;
    for (int i = 0; i < 12; i++) {
        int64_t wait_ms = breaker_wait_ms(&b, &one, now_ms);
        assert_true(wait_ms > 0 && wait_ms <= BREAKER_MAX_MS);
        now_ms += wait_ms;
        assert_int_equal(breaker_wait_ms(&b, &one, now_ms), 0);
        fail_often(&b, 1, now_ms);
    }
    assert_int_equal(breaker_wait_ms(&b, &one, now_ms), BREAKER_MAX_MS);
    breakers_release(&b);
}

static void who_answers_is_there(void **state)
{
    (void)state;
    struct breakers b;
    breakers_init(&b);
    for (int i = 0; i < 3 * BREAKER_FAILURES; i++) {
        note(&b, &one, RETRY, "rate_limited", 0);
        note(&b, &one, REFUSED, "bad_request", 0);
    }
    assert_int_equal(breaker_wait_ms(&b, &one, 0), 0);
    fail_often(&b, BREAKER_FAILURES, 0);
    assert_true(breaker_wait_ms(&b, &one, 0) > 0);
    note(&b, &one, REFUSED, "unauthorized", 0);
    assert_int_equal(breaker_wait_ms(&b, &one, 0), 0);
    breakers_release(&b);
}

static void too_many_providers_are_never_left_alone(void **state)
{
    (void)state;
    struct breakers b;
    breakers_init(&b);
    for (int i = 0; i < BREAKERS_MAX; i++) {
        char url[32];
        (void)snprintf(url, sizeof url, "http://%d", i);
        const struct model_def model = { .base_url = url };
        note(&b, &model, RETRY, "timeout", 0);
    }
    fail_often(&b, 2 * BREAKER_FAILURES, 0);
    assert_int_equal(breaker_wait_ms(&b, &one, 0), 0);
    breakers_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_after_failures_in_a_row),
        cmocka_unit_test(one_call_tries),
        cmocka_unit_test(a_try_that_is_never_heard_of_is_followed_by_another),
        cmocka_unit_test(it_stays_open_for_a_bounded_time),
        cmocka_unit_test(who_answers_is_there),
        cmocka_unit_test(too_many_providers_are_never_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
