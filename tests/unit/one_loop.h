/*
 * one_loop.h -- the loop of a test, and how to wait on it without sleeping.
 *
 * turn_until() turns the loop until a condition holds; the time limit only ends a
 * test that has failed.
 */
#ifndef PAWL_TESTS_UNIT_ONE_LOOP_H
#define PAWL_TESTS_UNIT_ONE_LOOP_H

#include "common/clock.h"
#include "common/loop.h"

enum { PATIENCE_MS = 20000 };

extern struct loop loop;

/* Setup and teardown of cmocka. */
int open_loop(void **state);
int close_loop(void **state);

void sleep_ms(long ms);

#define turn_until(condition)                              \
    do {                                                   \
        int64_t give_up_ = clock_mono_ms() + PATIENCE_MS;  \
        while (!(condition) && clock_mono_ms() < give_up_) \
            loop_turn(&loop, 100);                         \
        assert_true(condition);                            \
    } while (0)

#endif
