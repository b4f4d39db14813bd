/*
 * test_offsets.c -- the finished prefix, against a plain model that keeps every
 * record in an array.
 */
#include "tests/unit/cm.h"

#include "common/offsets.h"

#include <stdlib.h>

static void nothing_handed_out_is_nothing_to_commit(void **state)
{
    struct offsets t;
    (void)state;
    offsets_init(&t);
    assert_int_equal(offsets_next(&t), OFFSETS_NONE);
    assert_int_equal(offsets_take(&t), OFFSETS_NONE);
    assert_false(offsets_done(&t, 0));
    offsets_release(&t);
}

static void the_first_unfinished_record_holds_back(void **state)
{
    struct offsets t;
    (void)state;
    offsets_init(&t);
    for (int64_t offset = 10; offset < 16; offset++)
        assert_true(offsets_begin(&t, offset));
    assert_int_equal(offsets_next(&t), 10);
    assert_true(offsets_done(&t, 12));
    assert_true(offsets_done(&t, 11));
    assert_int_equal(offsets_take(&t), OFFSETS_NONE); /* where we began: no news */
    assert_true(offsets_done(&t, 10));
    assert_int_equal(offsets_next(&t), 13);
    assert_int_equal(offsets_take(&t), 13);
    assert_int_equal(offsets_take(&t), OFFSETS_NONE); /* once */
    assert_true(offsets_done(&t, 15));
    assert_int_equal(offsets_take(&t), OFFSETS_NONE);
    assert_true(offsets_done(&t, 13));
    assert_int_equal(offsets_take(&t), 14);
    assert_int_equal(t.unfinished, 1);
    assert_true(offsets_done(&t, 14));
    assert_int_equal(offsets_take(&t), 16);
    assert_int_equal(t.unfinished, 0);
    offsets_release(&t);
}

static void a_failed_commit_is_taken_again(void **state)
{
    struct offsets t;
    (void)state;
    offsets_init(&t);
    assert_true(offsets_begin(&t, 5));
    assert_true(offsets_done(&t, 5));
    assert_int_equal(offsets_take(&t), 6);
    offsets_untake(&t);
    assert_int_equal(offsets_take(&t), 6);
    offsets_release(&t);
}

static void what_is_not_out_is_told(void **state)
{
    struct offsets t;
    (void)state;
    offsets_init(&t);
    assert_true(offsets_begin(&t, 5));
    assert_true(offsets_begin(&t, 9)); /* 6 to 8 were compacted away */
    assert_false(offsets_begin(&t, 9));
    assert_false(offsets_begin(&t, 3));
    assert_false(offsets_done(&t, 4));
    assert_false(offsets_done(&t, 7));
    assert_false(offsets_done(&t, 10));
    assert_true(offsets_done(&t, 9));
    assert_false(offsets_done(&t, 9)); /* twice */
    assert_true(offsets_done(&t, 5));
    assert_int_equal(offsets_next(&t), 10);
    assert_false(offsets_done(&t, 5)); /* late */
    offsets_release(&t);
}

static void a_reset_begins_anew(void **state)
{
    struct offsets t;
    (void)state;
    offsets_init(&t);
    assert_true(offsets_begin(&t, 500));
    assert_true(offsets_begin(&t, 501));
    offsets_reset(&t);
    assert_int_equal(t.unfinished, 0);
    assert_false(offsets_done(&t, 500)); /* late, and without harm */
    assert_true(offsets_begin(&t, 0));   /* the log was made anew */
    assert_true(offsets_done(&t, 0));
    assert_int_equal(offsets_take(&t), 1);
    offsets_release(&t);
}

/* Random order of handing out and finishing, with holes, against the model. */
static void any_order_agrees_with_the_model(void **state)
{
    enum { RECORDS = 3000 };
    static int64_t offsets[RECORDS];
    static bool done[RECORDS];
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct offsets t;
        size_t out = 0, finished = 0;
        int64_t next_offset = rand_r(&seed) % 100, taken = OFFSETS_NONE;
        unsigned random = seed * 7919;
        offsets_init(&t);
        memset(done, 0, sizeof done);
        while (finished < RECORDS) {
            size_t window = 1 + (size_t)(rand_r(&random) % 300);
            if (out < RECORDS && (out - finished < window || finished == out)) {
                offsets[out++] = next_offset;
                assert_true(offsets_begin(&t, next_offset));
                next_offset += 1 + (rand_r(&random) % 4 == 0 ? rand_r(&random) % 5 : 0);
            } else {
                size_t i = (size_t)rand_r(&random) % out;
                assert_int_equal(offsets_done(&t, offsets[i]), !done[i]);
                finished += !done[i];
                done[i] = true;
            }
            size_t first = 0;
            while (first < out && done[first])
                first++;
            int64_t expected = first < out ? offsets[first] : offsets[out - 1] + 1;
            assert_int_equal(offsets_next(&t), expected);
            assert_int_equal(t.unfinished, out - finished);
            if (rand_r(&random) % 10 == 0) {
                int64_t take = offsets_take(&t);
                int64_t known = taken == OFFSETS_NONE ? offsets[0] : taken;
                assert_int_equal(take, expected > known ? expected : OFFSETS_NONE);
                taken = take != OFFSETS_NONE ? take : taken;
            }
        }
        assert_true(t.cap <= 64); /* memory comes back */
        offsets_release(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_handed_out_is_nothing_to_commit),
        cmocka_unit_test(the_first_unfinished_record_holds_back),
        cmocka_unit_test(a_failed_commit_is_taken_again),
        cmocka_unit_test(what_is_not_out_is_told),
        cmocka_unit_test(a_reset_begins_anew),
        cmocka_unit_test(any_order_agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
