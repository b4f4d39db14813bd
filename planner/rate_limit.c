#include "planner/rate_limit.h"

#include "common/http.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As Go writes it: "1s", "6m0s", "17ms", "1h2m3.5s".  -1: it cannot be read. */
static double go_duration_ms(const char *text)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = { { "ms", 1 },    { "us", 1e-3 },   { "\xc2\xb5s", 1e-3 }, { "ns", 1e-6 },
                  { "h", 3.6e6 }, { "m", 60000.0 }, { "s", 1000 } };
    double total = 0;
    do {
        char *end;
        double n = strtod(text, &end);
        size_t u = 0, count = sizeof units / sizeof *units;
        while (u < count && strncmp(end, units[u].unit, strlen(units[u].unit)) != 0)
            u++;
        if (end == text || !isfinite(n) || n < 0 || u == count)
            return -1;
        total += n * units[u].ms;
        text = end + strlen(units[u].unit);
    } while (*text);
    return total;
}

/* RFC 3339; milliseconds from now, -1: it cannot be read. */
static double time_from_now_ms(const char *text, int64_t now_wall_ms)
{
    struct tm tm = { 0 };
    double fraction = 0;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest && *rest == '.') {
        char *end;
        fraction = strtod(rest, &end);
        rest = end;
    }
    if (!rest || !strptime(rest, "%z", &tm))
        return -1;
    long east_s = tm.tm_gmtoff;
    double at_ms = ((double)(timegm(&tm) - east_s) + fraction) * 1000;
    double wait_ms = at_ms - (double)now_wall_ms;
    return wait_ms > 0 ? wait_ms : 0;
}

static bool is_used_up(const char *remaining)
{
    char *end = NULL;
    return remaining && strtod(remaining, &end) == 0 && end != remaining;
}

int64_t rate_limit_reset_ms(rate_limit_get *get, const void *arg, int64_t now_wall_ms)
{
    static const struct {
        const char *remaining, *reset;
        bool is_time; /* else a duration */
    } limits[] = {
        { "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", false },
        { "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", false },
        { "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", true },
        { "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", true },
        { "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset",
          true },
        { "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset",
          true },
    };
    double longest = -1;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        const char *reset = get(arg, limits[i].reset);
        if (!reset || !is_used_up(get(arg, limits[i].remaining)))
            continue;
        double ms =
            limits[i].is_time ? time_from_now_ms(reset, now_wall_ms) : go_duration_ms(reset);
        longest = ms > longest ? ms : longest;
    }
    if (longest < 0)
        return -1;
    return longest < (double)HTTP_RETRY_AFTER_MAX_MS ? (int64_t)ceil(longest)
                                                     : HTTP_RETRY_AFTER_MAX_MS;
}
