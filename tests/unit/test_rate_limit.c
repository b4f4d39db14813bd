/*
 * test_rate_limit.c -- when a limit of the provider is renewed.
 */
#include "tests/unit/cm.h"

#include "common/http.h"
#include "planner/rate_limit.h"

#include <string.h>

struct header {
    const char *name, *value;
};

static const char *get(const void *arg, const char *name)
{
    for (const struct header *h = arg; h->name; h++)
        if (strcmp(h->name, name) == 0)
            return h->value;
    return NULL;
}

enum { NOW_MS = 1000 }; /* one second after the epoch */

static int64_t reset_of(const char *remaining, const char *reset)
{
    const struct header headers[] = { { "x-ratelimit-remaining-tokens", remaining },
                                      { "x-ratelimit-reset-tokens", reset },
                                      { NULL, NULL } };
    return rate_limit_reset_ms(get, headers, NOW_MS);
}

static int64_t time_of(const char *reset)
{
    const struct header headers[] = { { "anthropic-ratelimit-requests-remaining", "0" },
                                      { "anthropic-ratelimit-requests-reset", reset },
                                      { NULL, NULL } };
    return rate_limit_reset_ms(get, headers, NOW_MS);
}

static void reads_durations(void **state)
{
    (void)state;
    assert_int_equal(reset_of("0", "1s"), 1000);
    assert_int_equal(reset_of("0", "6m0s"), 360000);
    assert_int_equal(reset_of("0", "17ms"), 17);
    assert_int_equal(reset_of("0", "1h2m3.5s"), 3723500);
    assert_int_equal(reset_of("0", "120\xc2\xb5s"), 1);
    assert_int_equal(reset_of("0", "9999999h"), HTTP_RETRY_AFTER_MAX_MS);
    const char *const bad[] = { "", "s", "1", "-1s", "1x", "1s x", "nan", "infs" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(reset_of("0", bad[i]), -1);
}

static void only_what_is_used_up_counts(void **state)
{
    (void)state;
    assert_int_equal(reset_of("1", "1s"), -1);
    assert_int_equal(reset_of("-1", "1s"), -1);
    assert_int_equal(reset_of("", "1s"), -1);
    assert_int_equal(reset_of(NULL, "1s"), -1);
    assert_int_equal(reset_of("0", NULL), -1);
    const struct header both[] = { { "x-ratelimit-remaining-tokens", "0" },
                                   { "x-ratelimit-reset-tokens", "1s" },
                                   { "x-ratelimit-remaining-requests", "0" },
                                   { "x-ratelimit-reset-requests", "3s" },
                                   { NULL, NULL } };
    assert_int_equal(rate_limit_reset_ms(get, both, NOW_MS), 3000);
}

static void reads_times(void **state)
{
    (void)state;
    assert_int_equal(time_of("1970-01-01T00:00:03Z"), 2000);
    assert_int_equal(time_of("1970-01-01T00:00:03.25Z"), 2250);
    assert_int_equal(time_of("1970-01-01T01:00:03+01:00"), 2000);
    assert_int_equal(time_of("1969-12-31T23:00:03-01:00"), 2000);
    assert_int_equal(time_of("1970-01-01T00:00:00Z"), 0); /* over already */
    assert_int_equal(time_of("2070-01-01T00:00:00Z"), HTTP_RETRY_AFTER_MAX_MS);
    assert_int_equal(time_of("soon"), -1);
    assert_int_equal(time_of("1970-01-01T00:00:03"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_durations),
        cmocka_unit_test(only_what_is_used_up_counts),
        cmocka_unit_test(reads_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
