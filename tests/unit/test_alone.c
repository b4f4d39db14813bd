/*
 * test_alone.c -- what killed processes is taken with nothing else in flight.
 */
#include "tests/unit/cm.h"

#include "common/alone.h"

static struct doorbell item_of(int n)
{
    return (struct doorbell){ .step = n, .index = 0 };
}

static void the_idle_take_it_at_once(void **state)
{
    struct alone a = { 0 };
    struct doorbell item = item_of(1);
    (void)state;
    assert_true(alone_offer(&a, &item, true, 0));
    assert_int_equal(a.phase, ALONE_TAKEN);
    assert_false(alone_empty(&a));
    alone_over(&a, 10);
    assert_int_equal(a.phase, ALONE_OPEN);
    assert_true(alone_offer(&a, &item, true, 11));
}

static void the_busy_leave_it_to_others_first(void **state)
{
    struct alone a = { 0 };
    struct doorbell item = item_of(1);
    (void)state;
    assert_false(alone_offer(&a, &item, false, 1000));
    assert_false(alone_offer(&a, &item, false, 3000));
    assert_int_equal(a.phase, ALONE_OPEN);
    assert_false(alone_offer(&a, &item, false, 1000 + ALONE_PATIENCE_MS));
    assert_int_equal(a.phase, ALONE_CHOSEN); /* no new work from here on */
    assert_true(alone_empty(&a));
    assert_int_equal(a.phase, ALONE_TAKEN);
    assert_int_equal(a.item.step, 1);
    assert_int_equal(a.count, 0);
}

static void one_follows_the_other_for_a_spell(void **state)
{
    struct alone a = { 0 };
    struct doorbell first = item_of(1), second = item_of(2), third = item_of(3);
    (void)state;
    assert_true(alone_offer(&a, &first, true, 0));
    assert_false(alone_offer(&a, &second, true, 1));
    assert_false(alone_offer(&a, &third, true, 2));
    assert_false(alone_offer(&a, &first, true, 3)); /* it is in our hands */
    alone_over(&a, 100);
    assert_true(alone_empty(&a));
    assert_int_equal(a.item.step, 2);
    alone_over(&a, ALONE_SPELL_MS); /* the spell is over; the third one waits */
    assert_int_equal(a.phase, ALONE_OPEN);
    assert_false(
        alone_offer(&a, &third, true, 2 * ALONE_SPELL_MS - 1)); /* others have their turn */
    assert_true(alone_offer(&a, &third, true, 2 * ALONE_SPELL_MS));
}

static void hands_that_stay_full_are_not_waited_for_for_ever(void **state)
{
    struct alone a = { 0 };
    struct doorbell item = item_of(1);
    (void)state;
    assert_false(alone_offer(&a, &item, false, 0));
    assert_false(alone_offer(&a, &item, false, ALONE_PATIENCE_MS));
    assert_false(alone_tick(&a, ALONE_PATIENCE_MS + ALONE_WAIT_MAX_MS));
    assert_true(alone_tick(&a, ALONE_PATIENCE_MS + ALONE_WAIT_MAX_MS + 1));
    assert_int_equal(a.phase, ALONE_OPEN);
    assert_false(alone_empty(&a));
    assert_false(alone_offer(&a, &item, true, ALONE_PATIENCE_MS + ALONE_WAIT_MAX_MS + 2));
}

static void what_others_took_is_forgotten(void **state)
{
    struct alone a = { 0 };
    struct doorbell item = item_of(1);
    (void)state;
    assert_false(alone_offer(&a, &item, false, 0));
    assert_false(alone_offer(&a, &item, false, ALONE_FORGET_MS + 1)); /* as if new */
    assert_int_equal(a.phase, ALONE_OPEN);
    for (int i = 0; i < 3 * ALONE_NOTED_MAX; i++) {
        item = item_of(10 + i);
        assert_false(alone_offer(&a, &item, false, ALONE_FORGET_MS + 2 + i));
    }
    assert_int_equal(a.count, ALONE_NOTED_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_idle_take_it_at_once),
        cmocka_unit_test(the_busy_leave_it_to_others_first),
        cmocka_unit_test(one_follows_the_other_for_a_spell),
        cmocka_unit_test(hands_that_stay_full_are_not_waited_for_for_ever),
        cmocka_unit_test(what_others_took_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
