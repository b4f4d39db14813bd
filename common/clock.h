/*
 * clock.h -- the two clocks, and time as text.
 *
 * Monotonic time measures distances (timeouts, back-off, who beat last) and
 * means nothing outside this process. Wall time is for people, for rows and
 * for messages; it can jump, so no decision about liveness hangs on it.
 *
 * Text is RFC 3339, in UTC with milliseconds: 2026-11-23T20:00:00.123Z
 *
 * Limits:  text covers the years 0000 to 9999.
 * Threads: any.
 * Errors:  clock_parse_iso() answers REFUSED and says what would be right.
 */
#ifndef PAWL_COMMON_CLOCK_H
#define PAWL_COMMON_CLOCK_H

#include "common/outcome.h"

#include <stdint.h>

enum { CLOCK_ISO_SIZE = 32 };

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_ms(void); /* since 1970-01-01T00:00:00Z */

/* A time outside the years 0000..9999 is written as the nearest one inside. */
void clock_format_iso(int64_t wall_ms, char out[CLOCK_ISO_SIZE]);

/* Accepts any RFC 3339 date-time: offset Z or +hh:mm, fraction of any length
 * (cut to milliseconds), and a leap second :60 as the second after it.      */
MUST_CHECK enum outcome clock_parse_iso(const char *text, int64_t *wall_ms, struct error *err);

#endif
