/* test_run_table.c -- what is put in is found until it is taken out. */
#include "tests/unit/cm.h"

#include "planner/run_table.h"

enum { MANY = 5000 };

static struct run_entry entries[MANY];
static struct uuid runs[MANY];

static void finds_what_is_in_it(void **state)
{
    (void)state;
    struct run_table t;
    run_table_init(&t);
    for (int i = 0; i < MANY; i++) {
        runs[i] = uuid_v4();
        assert_null(run_table_find(&t, &runs[i]));
        run_table_add(&t, &entries[i], &runs[i]);
    }
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(run_table_find(&t, &runs[i]), &entries[i]);
    for (int i = 0; i < MANY; i += 2)
        run_table_remove(&t, &entries[i]);
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(run_table_find(&t, &runs[i]), i % 2 ? &entries[i] : NULL);
    for (int i = 1; i < MANY; i += 2)
        run_table_remove(&t, &entries[i]);
    assert_int_equal(t.count, 0);
    run_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(finds_what_is_in_it) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
