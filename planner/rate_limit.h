/*
 * rate_limit.h -- what a provider's headers say about its limits.
 *
 * A 429 usually comes with Retry-After.  Where it does not, the limit that is used
 * up says by itself when it is renewed:
 *     OpenAI     x-ratelimit-remaining-requests: 0, x-ratelimit-reset-requests: 6m0s
 *     Anthropic  anthropic-ratelimit-requests-remaining: 0, ...-reset: 2026-11-28T10:00:00Z
 * Some servers send -1 or 0 for everything; only a limit of which nothing remains,
 * with a time that can be read, counts.
 *
 * Threads: pure.
 */
#ifndef PAWL_PLANNER_RATE_LIMIT_H
#define PAWL_PLANNER_RATE_LIMIT_H

#include <stdint.h>

/* The value of a header, or NULL. */
typedef const char *rate_limit_get(const void *arg, const char *name);

/* How long until every limit that is used up is renewed, at most a day; -1: not said. */
int64_t rate_limit_reset_ms(rate_limit_get *get, const void *arg, int64_t now_wall_ms);

#endif
