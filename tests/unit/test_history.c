/*
 * test_history.c -- the cache of recent conversations: bounded, the oldest goes
 * first, and nothing is kept that may still change.
 */
#include "tests/unit/cm.h"

#include "planner/history.h"

#include "common/memory.h"

#include <string.h>

static struct history *known(int n, size_t text_bytes)
{
    struct uuid run = { { 0 } };
    memcpy(run.b, &n, sizeof n);
    struct history *h = history_new(&run);
    AUTO_FREE char *text = xcalloc(1, text_bytes + 1);
    memset(text, 'x', text_bytes);
    assert_true(buf_add(&h->text, text, text_bytes));
    h->stable_len = text_bytes;
    h->known_step = n + 1;
    h->epoch = 1;
    return h;
}

static int known_step_of(struct history_cache *cache, int n)
{
    struct uuid run = { { 0 } };
    memcpy(run.b, &n, sizeof n);
    struct history *h = history_take(cache, &run);
    int step = h->known_step;
    history_free(h);
    return step;
}

static void the_cache_is_bounded_and_drops_the_oldest(void **state)
{
    (void)state;
    struct history_cache cache;
    history_cache_init(&cache, (size_t)1 << 20);
    for (int n = 0; n < 1000; n++) {
        history_put(&cache, known(n, 10000), n);
        assert_true(cache.used_bytes <= cache.limit_bytes);
    }
    assert_true(cache.count > 20 && cache.count < 105);
    assert_int_equal(known_step_of(&cache, 0), 0);
    assert_int_equal(known_step_of(&cache, 999), 1000);
    assert_int_equal(known_step_of(&cache, 999), 0); /* it was taken out */
    assert_int_equal(known_step_of(&cache, 990), 991);
    history_cache_release(&cache);
}

static void the_cache_finds_many(void **state)
{
    (void)state;
    struct history_cache cache;
    history_cache_init(&cache, SIZE_MAX);
    for (int n = 0; n < 5000; n++)
        history_put(&cache, known(n, 10), n);
    for (int n = 4999; n >= 0; n--)
        assert_int_equal(known_step_of(&cache, n), n + 1);
    assert_int_equal(cache.count, 0);
    assert_int_equal(cache.used_bytes, 0);
    history_cache_release(&cache);
}

static void the_cache_keeps_nothing_of_no_use(void **state)
{
    (void)state;
    struct history_cache cache;
    history_cache_init(&cache, 100000);
    history_put(&cache, history_new(&(const struct uuid){ { 1 } }), 0); /* knows nothing */
    history_put(&cache, known(1, 200000), 0);                           /* larger than all of it */
    assert_int_equal(cache.count, 0);
    history_put(&cache, known(1, 10), 0);
    history_put(&cache, known(1, 20), 1); /* the same run */
    assert_int_equal(cache.count, 1);
    history_put(&cache, known(2, 20), 5);
    assert_int_equal(history_cache_expire(&cache, 5), 1);
    assert_int_equal(known_step_of(&cache, 2), 3);
    history_cache_release(&cache);
}

static void the_cache_cuts_what_is_not_stable(void **state)
{
    (void)state;
    struct history_cache cache;
    history_cache_init(&cache, 100000);
    struct history *h = known(1, 10);
    assert_true(buf_puts(&h->text, "results"));
    history_put(&cache, h, 0);
    h = history_take(&cache, &h->run);
    assert_string_equal(h->text.data, "xxxxxxxxxx");
    history_free(h);
    history_cache_release(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_is_bounded_and_drops_the_oldest),
        cmocka_unit_test(the_cache_finds_many),
        cmocka_unit_test(the_cache_keeps_nothing_of_no_use),
        cmocka_unit_test(the_cache_cuts_what_is_not_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
