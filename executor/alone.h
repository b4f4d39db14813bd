/*
 * alone.h -- calls that killed processes are taken with nothing else in flight.
 *
 *     offered --busy--> noted --still offered after ALONE_PATIENCE_MS--> chosen
 *        |                                                                 |
 *        +-- nothing in flight ---------------------------------> taken <--+ empty
 *
 * When a process has died twice with a call in its hands, the third attempt must
 * not take a thousand other calls with it.  An idle process takes such a call at
 * once.  A busy one leaves it to others first; when it is still there after a
 * while, it takes no new work until its hands are empty, and then this call alone.
 *
 * This is arithmetic only: no clock, no Postgres.
 *
 * Limits:  ALONE_NOTED_MAX calls are remembered, the longest forgotten first.
 * Threads: one owner, no locks.
 */
#ifndef PAWL_EXECUTOR_ALONE_H
#define PAWL_EXECUTOR_ALONE_H

#include "common/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ALONE_NOTED_MAX = 32, ALONE_PATIENCE_MS = 5000, ALONE_FORGET_MS = 60000 };

struct alone_note {
    struct doorbell item;
    int64_t first_ms, last_ms; /* when it was offered */
};

enum alone_phase {
    ALONE_OPEN,   /* other work may be taken */
    ALONE_CHOSEN, /* no new work: `item` waits until the hands are empty */
    ALONE_TAKEN,  /* `item` is in our hands */
};

struct alone {
    enum alone_phase phase;
    struct doorbell item;
    struct alone_note noted[ALONE_NOTED_MAX];
    size_t count;
};

/* Postgres offers a call that is to be taken alone.  True: take it now. */
bool alone_offer(struct alone *a, const struct doorbell *item, bool empty, int64_t now_ms);

/* The hands are empty.  True: take a->item now. */
bool alone_empty(struct alone *a);

/* The call that was taken is over: other work may be taken again. */
void alone_over(struct alone *a);

#endif
