/*
 * alone.h -- work that killed processes is taken with nothing else in flight.
 *
 *     offered --> noted --idle, or offered for ALONE_PATIENCE_MS--> chosen
 *                   ^                                                 | hands empty
 *                   |                                                 v
 *     rest <--------+------ spell over, or nothing noted -------- taken --+
 *                                                                  ^      | over, and
 *                                                                  +------+ more noted
 *
 * When processes have died twice with an item in their hands, the third attempt must
 * not take a thousand others with it.  An idle process takes such an item at once.
 * A busy one leaves it to others first; when it is still there after a while, it
 * takes no new work until its hands are empty, and then one noted item after the
 * other, for a spell.  Then other work has its turn for as long.  Hands that do not
 * become empty in time give it up for now: one long call must not idle a process.
 *
 * This is arithmetic only: no clock, no Postgres.
 *
 * Limits:  ALONE_NOTED_MAX items are remembered, the longest not offered is
 *          forgotten first.
 * Threads: one owner, no locks.
 */
#ifndef PAWL_COMMON_ALONE_H
#define PAWL_COMMON_ALONE_H

#include "common/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ALONE_NOTED_MAX = 256,
    ALONE_PATIENCE_MS = 5000,
    ALONE_FORGET_MS = 60000,
    ALONE_SPELL_MS = 5000,
    ALONE_WAIT_MAX_MS = 30000, /* for the hands to become empty */
};

struct alone_note {
    struct doorbell item;
    int64_t first_ms, last_ms; /* when it was offered */
};

enum alone_phase {
    ALONE_OPEN,   /* other work may be taken */
    ALONE_CHOSEN, /* no new work: `item` waits until the hands are empty */
    ALONE_TAKEN,  /* `item` is in our hands */
};

/* Zeroed: open, nothing noted. */
struct alone {
    enum alone_phase phase;
    struct doorbell item;
    int64_t chosen_ms; /* since when no new work is taken */
    int64_t rest_until_ms;
    struct alone_note noted[ALONE_NOTED_MAX];
    size_t count;
};

/* Postgres offers an item that is to be taken alone.  True: take a->item now. */
bool alone_offer(struct alone *a, const struct doorbell *item, bool empty, int64_t now_ms);

/* The hands are empty.  True: take a->item now. */
bool alone_empty(struct alone *a);

/* The item that was taken is over; the next one may be chosen already, so ask
 * alone_empty().                                                             */
void alone_over(struct alone *a, int64_t now_ms);

/* Time has passed: now and then.  True: hands that did not become empty are
 * waited for no longer, and other work may be taken again.                   */
bool alone_tick(struct alone *a, int64_t now_ms);

#endif
