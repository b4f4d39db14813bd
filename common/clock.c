#include "common/clock.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <time.h>

enum { DAY_MS = 86400 * 1000 };

static const int64_t ISO_MIN_MS = INT64_C(-62167219200000); /* 0000-01-01T00:00:00Z     */
static const int64_t ISO_MAX_MS = INT64_C(253402300799999); /* 9999-12-31T23:59:59.999Z */

static struct timespec read_clock(clockid_t id)
{
    struct timespec t;
    int failed = clock_gettime(id, &t);
    assert(!failed); /* both clocks always exist on Linux */
    (void)failed;
    return t;
}

int64_t clock_mono_us(void)
{
    struct timespec t = read_clock(CLOCK_MONOTONIC);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_wall_ms(void)
{
    struct timespec t = read_clock(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Days since 1970-01-01 in the Gregorian calendar, for years 0..9999. The year
 * is counted from March, so that the leap day is the last one of its year.  */
static int64_t days_from_date(int year, int month, int day)
{
    int64_t y = year - (month <= 2) + 400; /* never negative; 400 years repeat exactly */
    int64_t month_from_march = (month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + day_of_year;
    return days - 146097 - 719468; /* the 400 years, and 0000-03-01 to 1970-01-01 */
}

static int days_in_month(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

void clock_format_iso(int64_t wall_ms, char out[CLOCK_ISO_SIZE])
{
    if (wall_ms < ISO_MIN_MS)
        wall_ms = ISO_MIN_MS;
    if (wall_ms > ISO_MAX_MS)
        wall_ms = ISO_MAX_MS;

    int64_t days = wall_ms / DAY_MS, rest = wall_ms % DAY_MS;
    if (rest < 0) {
        rest += DAY_MS;
        days--;
    }
    time_t midnight = (time_t)(days * 86400);
    struct tm date;
    struct tm *done = gmtime_r(&midnight, &date);
    assert(done);
    (void)done;
    unsigned ms = (unsigned)rest;
    (void)snprintf(out, CLOCK_ISO_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
                   (unsigned)(date.tm_year + 1900) % 10000, (unsigned)(date.tm_mon + 1) % 100,
                   (unsigned)date.tm_mday % 100, ms / 3600000 % 24, ms / 60000 % 60, ms / 1000 % 60,
                   ms % 1000);
}

/* Reads exactly `digits` digits and moves on; -1 when they are not there. */
static int number(const char **at, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        char c = **at;
        if (!isdigit((unsigned char)c))
            return -1;
        value = value * 10 + (c - '0');
        ++*at;
    }
    return value;
}

static bool literal(const char **at, char wanted)
{
    if (**at != wanted)
        return false;
    ++*at;
    return true;
}

/* ".123456" as milliseconds, 0 when there is no fraction, -1 when malformed. */
static int fraction_ms(const char **at)
{
    if (!literal(at, '.'))
        return 0;
    int ms = 0, weight = 100;
    const char *start = *at;
    for (; isdigit((unsigned char)**at); ++*at) {
        ms += weight * (**at - '0');
        weight /= 10;
    }
    return *at == start ? -1 : ms;
}

/* "Z" or "+hh:mm"; false when malformed. */
static bool offset_ms(const char **at, int64_t *ms)
{
    *ms = 0;
    if (literal(at, 'Z') || literal(at, 'z'))
        return true;
    int sign = literal(at, '+') ? 1 : literal(at, '-') ? -1 : 0;
    if (sign == 0)
        return false;
    int hours = number(at, 2);
    if (hours < 0 || hours > 23 || !literal(at, ':'))
        return false;
    int minutes = number(at, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *ms = sign * (hours * INT64_C(3600000) + minutes * INT64_C(60000));
    return true;
}

static bool read_date(const char **at, int64_t *days)
{
    int year = number(at, 4);
    if (year < 0 || !literal(at, '-'))
        return false;
    int month = number(at, 2);
    if (month < 1 || month > 12 || !literal(at, '-'))
        return false;
    int day = number(at, 2);
    if (day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_from_date(year, month, day);
    return true;
}

static bool read_time(const char **at, int64_t *ms)
{
    int hour = number(at, 2);
    if (hour < 0 || hour > 23 || !literal(at, ':'))
        return false;
    int minute = number(at, 2);
    if (minute < 0 || minute > 59 || !literal(at, ':'))
        return false;
    int second = number(at, 2);
    if (second < 0 || second > 60)
        return false;
    int fraction = fraction_ms(at);
    if (fraction < 0)
        return false;
    *ms = ((hour * INT64_C(60) + minute) * 60 + second) * 1000 + fraction;
    return true;
}

enum outcome clock_parse_iso(const char *text, int64_t *wall_ms, struct error *err)
{
    const char *at = text;
    int64_t days = 0, time_ms = 0, zone_ms = 0;
    bool good = read_date(&at, &days) && (literal(&at, 'T') || literal(&at, 't')) &&
                read_time(&at, &time_ms) && offset_ms(&at, &zone_ms) && *at == '\0';
    if (!good)
        return fail(err, REFUSED, "'%.40s' is not a time; write it like 2026-11-23T20:00:00.123Z",
                    text);
    *wall_ms = days * DAY_MS + time_ms - zone_ms;
    return OK;
}
