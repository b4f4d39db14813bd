/*
 * breaker.h -- leaves a provider alone that does not answer any more.
 *
 *     closed --BREAKER_FAILURES in a row--> open --its time is over--> one call may try
 *        ^                                   ^                               |
 *        +----------- it succeeds -----------|-------------------------------+
 *                                            +-- it fails: open for twice as long
 *
 * One for each provider and key (base_url and the name of the secret), in each
 * planner for itself.  What counts as a failure is that nobody answers, or that the
 * answer says it is the provider's fault; a refused request or a rate limit shows
 * that somebody is there.
 *
 * Limits:  BREAKERS_MAX providers; beyond it, none is ever open.
 * Threads: the loop's.  Times are clock_mono_ms().
 */
#ifndef PAWL_PLANNER_BREAKER_H
#define PAWL_PLANNER_BREAKER_H

#include "planner/model.h"

#include <stddef.h>
#include <stdint.h>

enum {
    BREAKERS_MAX = 256,
    BREAKER_FAILURES = 5,
    BREAKER_FIRST_MS = 1000,
    BREAKER_MAX_MS = 30000,
};

struct breaker;

struct breakers {
    struct breaker *list;
    size_t count;
};

void breakers_init(struct breakers *b);
void breakers_release(struct breakers *b);

/* 0: the model may be asked now; else how long it is left alone.  With 0 for a
 * provider that was left alone, the others go on waiting for what becomes of it. */
int64_t breaker_wait_ms(struct breakers *b, const struct model_def *model, int64_t now_ms);

/* A call ended so. */
void breaker_note(struct breakers *b, const struct model_def *model,
                  const struct model_reply *reply, int64_t now_ms);

#endif
