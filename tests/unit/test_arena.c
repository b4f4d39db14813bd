#include "common/arena.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

static int released[8];
static int released_count;

static void note_release(void *thing)
{
    released[released_count++] = *(int *)thing;
}

static void memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    for (size_t size = 0; size < 5000; size += 37) {
        unsigned char *p = arena_alloc(&a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xaa, size); /* would show in a later one that overlaps */
    }
    arena_free(&a);
}

static void blocks_do_not_overlap(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static unsigned char *blocks[COUNT];
    static size_t sizes[COUNT];
    struct arena a;
    arena_init(&a, 64 << 20);
    for (int i = 0; i < COUNT; i++) {
        /* small ones with a large one (a block of its own) among them */
        sizes[i] = i % 50 == 0 ? 9000 : (size_t)i % 300;
        blocks[i] = arena_alloc(&a, sizes[i]);
        assert_non_null(blocks[i]);
        memset(blocks[i], i % 251, sizes[i]);
    }
    for (int i = 0; i < COUNT; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(blocks[i][j], i % 251);
    arena_free(&a);
}

static void limit_holds(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1024);
    size_t got = 0;
    while (arena_alloc(&a, 64))
        got += 64;
    assert_int_equal(got, 1024);
    assert_null(arena_alloc(&a, 1));
    arena_free(&a);
    assert_non_null(arena_alloc(&a, 1024)); /* usable again, the limit kept */
    assert_null(arena_alloc(&a, 0));        /* nothing is free of charge    */
    arena_free(&a);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX;
    struct arena a;
    arena_init(&a, SIZE_MAX);
    assert_null(arena_alloc(&a, huge));
    assert_null(arena_alloc(&a, huge - 7));
    assert_null(arena_alloc_array(&a, huge / 2, 3));
    assert_null(arena_memdup(&a, "", huge));
    assert_non_null(arena_alloc_array(&a, 3, 5));
    arena_free(&a);
}

static void copies_and_prints(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    assert_string_equal(arena_strdup(&a, "pawl"), "pawl");
    assert_memory_equal(arena_memdup(&a, "a\0b", 3), "a\0b", 4); /* with the NUL added */
    assert_string_equal(arena_memdup(&a, NULL, 0), "");
    assert_string_equal(arena_printf(&a, "%s/%d", "run", 7), "run/7");
    assert_null(arena_printf(&a, "%5000d", 1));
    arena_free(&a);
}

static void deferred_things_go_in_reverse_order(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    released_count = 0;
    int *one = arena_alloc(&a, sizeof *one), *two = arena_alloc(&a, sizeof *two);
    *one = 1;
    *two = 2;
    assert_true(arena_defer(&a, note_release, one));
    assert_true(arena_defer(&a, note_release, two));
    assert_true(arena_defer(&a, free, malloc(1))); /* a leak would show under ASan */
    assert_int_equal(released_count, 0);
    arena_free(&a);
    assert_int_equal(released_count, 2);
    assert_int_equal(released[0], 2);
    assert_int_equal(released[1], 1);
    arena_free(&a); /* nothing twice */
    assert_int_equal(released_count, 2);
}

static void a_deferred_thing_past_the_limit_is_released_at_once(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 8);
    released_count = 0;
    int thing = 5;
    assert_false(arena_defer(&a, note_release, &thing));
    assert_int_equal(released_count, 1);
    arena_free(&a);
    assert_int_equal(released_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(blocks_do_not_overlap),
        cmocka_unit_test(limit_holds),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(copies_and_prints),
        cmocka_unit_test(deferred_things_go_in_reverse_order),
        cmocka_unit_test(a_deferred_thing_past_the_limit_is_released_at_once),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
