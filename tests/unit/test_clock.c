#include "common/clock.h"
#include "tests/unit/cm.h"

#include <time.h>

static void formats_known_moments(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        { 0, "1970-01-01T00:00:00.000Z" },
        { INT64_C(1795464000123), "2026-11-23T20:00:00.123Z" },
        { -1, "1969-12-31T23:59:59.999Z" },
        { INT64_C(951782400000), "2000-02-29T00:00:00.000Z" },
        { INT64_C(-62167219200000), "0000-01-01T00:00:00.000Z" },
        { INT64_C(253402300799999), "9999-12-31T23:59:59.999Z" },
        { INT64_MIN, "0000-01-01T00:00:00.000Z" },
        { INT64_MAX, "9999-12-31T23:59:59.999Z" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[CLOCK_ISO_SIZE];
        clock_format_iso(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void parses_what_rfc_3339_allows(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "2026-11-23T20:00:00.123Z", INT64_C(1795464000123) },
        { "2026-11-23t20:00:00.123456789z", INT64_C(1795464000123) },
        { "2026-11-23T20:00:00.1Z", INT64_C(1795464000100) },
        { "2026-11-23T21:30:00+01:30", INT64_C(1795464000000) },
        { "2026-11-23T12:00:00-08:00", INT64_C(1795464000000) },
        { "2016-12-31T23:59:60Z", INT64_C(1483228800000) }, /* leap second */
        { "2000-02-29T00:00:00Z", INT64_C(951782400000) },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -7;
        struct error err;
        assert_ok(clock_parse_iso(cases[i].text, &ms, &err), &err);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void refuses_what_is_not_a_time(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "now",
        "2026-11-23",
        "2026-11-23 20:00:00Z",
        "2026-11-23T20:00:00",
        "2026-11-23T20:00:00.Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T20:60:00Z",
        "2026-11-23T20:00:61Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-11-00T00:00:00Z",
        "2026-11-23T20:00:00Zx",
        "2026-11-23T20:00:00+0100",
        "2026-11-23T20:00:00+24:00",
        "2026-11-23T20:00:00+01:60",
        "-026-11-23T20:00:00Z",
        "2026-11-23T2",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -7;
        struct error err = { "" };
        if (clock_parse_iso(cases[i], &ms, &err) != REFUSED)
            fail_msg("'%s' was accepted", cases[i]);
        assert_int_equal(ms, -7);
        assert_contains(err.text, "write it like");
    }
}

/* Against the C library, over all days of 400 years: the calendar's period. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    struct tm first = { .tm_year = 1800 - 1900, .tm_mday = 1, .tm_hour = 7, .tm_min = 8 };
    time_t start = timegm(&first);
    for (int day = 0; day < 146097; day++) {
        time_t t = start + (time_t)day * 86400;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        char expected[CLOCK_ISO_SIZE], text[CLOCK_ISO_SIZE];
        assert_true(strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.000Z", &tm) > 0);
        clock_format_iso((int64_t)t * 1000, text);
        int64_t ms = 0;
        if (strcmp(text, expected) != 0 || clock_parse_iso(text, &ms, NULL) != OK ||
            ms != (int64_t)t * 1000)
            fail_msg("day %d: %s, expected %s", day, text, expected);
    }
}

static void monotonic_time_moves_forward(void **state)
{
    (void)state;
    int64_t us = clock_mono_us(), ms = clock_mono_ms();
    struct timespec pause = { .tv_nsec = 3000000 };
    (void)nanosleep(&pause, NULL);
    assert_true(clock_mono_us() - us >= 3000);
    assert_true(clock_mono_ms() - ms >= 2);
}

static void wall_time_is_that_of_the_c_library(void **state)
{
    (void)state;
    int64_t ours = clock_wall_ms(), theirs = (int64_t)time(NULL) * 1000;
    assert_in_range((uint64_t)(ours - theirs + 2000), 0, 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_known_moments),
        cmocka_unit_test(parses_what_rfc_3339_allows),
        cmocka_unit_test(refuses_what_is_not_a_time),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(monotonic_time_moves_forward),
        cmocka_unit_test(wall_time_is_that_of_the_c_library),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
