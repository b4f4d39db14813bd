/*
 * test_hands_lists.c -- what the executor remembers: what is to be tried again when
 * (later.h) and what it cannot serve (cannot.h).
 */
#include "tests/unit/cm.h"

#include "common/clock.h"
#include "executor/cannot.h"
#include "executor/later.h"

static struct doorbell item_of(int step)
{
    return (struct doorbell){ .run = { { 1 } }, .step = step, .index = 0 };
}

/* ---- later ---------------------------------------------------------------------- */

struct rung {
    int steps[64];
    int count;
};

static void on_later(void *arg, const struct doorbell *item)
{
    struct rung *r = arg;
    r->steps[r->count++] = item->step;
}

static void items_come_back_in_their_order(void **state)
{
    (void)state;
    struct loop loop;
    struct error err;
    assert_ok(loop_init(&loop, &err), &err);
    struct later later;
    struct rung rung = { .count = 0 };
    later_init(&later, &loop, on_later, &rung);
    const int delays[] = { 30, 10, 50, 20, 40, 0, 10 };
    const int count = sizeof delays / sizeof *delays;
    for (int i = 0; i < count; i++) {
        struct doorbell item = item_of(delays[i]);
        later_add(&later, &item, delays[i]);
    }
    struct doorbell far = item_of(1000);
    later_add(&later, &far, LATER_MS_MAX + 1); /* Postgres will know */
    int64_t give_up_ms = clock_mono_ms() + 20000;
    while (rung.count < count && clock_mono_ms() < give_up_ms)
        loop_turn(&loop, 100);
    assert_int_equal(rung.count, count);
    for (int i = 1; i < count; i++)
        assert_true(rung.steps[i - 1] <= rung.steps[i]);
    assert_int_equal(later.count, 0);
    later_release(&later);
    loop_release(&loop);
}

static void there_are_never_too_many(void **state)
{
    (void)state;
    struct loop loop;
    struct error err;
    assert_ok(loop_init(&loop, &err), &err);
    struct later later;
    struct rung rung = { .count = 0 };
    later_init(&later, &loop, on_later, &rung);
    struct doorbell item = item_of(1);
    for (int i = 0; i < LATER_ITEMS_MAX + 10; i++)
        later_add(&later, &item, 100000);
    assert_int_equal(later.count, LATER_ITEMS_MAX);
    later_clear(&later);
    assert_int_equal(later.count, 0);
    later_release(&later);
    loop_release(&loop);
}

/* ---- cannot --------------------------------------------------------------------- */

static void what_cannot_be_served_expires(void **state)
{
    (void)state;
    struct cannot c = { .count = 0 };
    assert_true(cannot_add(&c, 7, 1000));
    assert_false(cannot_add(&c, 7, 2000));
    assert_true(cannot_add(&c, 8, INT64_MAX));
    assert_false(cannot_expire(&c, 1500));
    assert_true(cannot_expire(&c, 2000));
    assert_int_equal(c.count, 1);
    assert_int_equal(c.revisions[0], 8);
    for (int i = 0; i < CANNOT_MAX; i++)
        assert_true(cannot_add(&c, 100 + i, 5000 + i));
    assert_int_equal(c.count, CANNOT_MAX);
    assert_false(cannot_add(&c, 8, 1)); /* the lasting one was not pushed out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_back_in_their_order),
        cmocka_unit_test(there_are_never_too_many),
        cmocka_unit_test(what_cannot_be_served_expires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
