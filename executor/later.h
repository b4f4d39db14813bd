/*
 * later.h -- calls that may be tried again at a known moment.
 *
 *     later_add(item, in 800 ms) --> heap --one timer--> fn(arg, item)
 *
 * Only a convenience: Postgres knows the same moment and hands the call to
 * whoever is idle then.  So what does not fit, or is further away than
 * LATER_MS_MAX, is simply not kept, and a process that dies loses nothing.
 *
 * Limits:  LATER_ITEMS_MAX items.
 * Threads: the loop's.
 * Errors:  none.
 */
#ifndef PAWL_EXECUTOR_LATER_H
#define PAWL_EXECUTOR_LATER_H

#include "common/loop.h"
#include "common/message.h"

#include <stddef.h>
#include <stdint.h>

enum { LATER_ITEMS_MAX = 4096, LATER_MS_MAX = 600000 };

struct later_item {
    int64_t at_ms; /* loop_now_ms() */
    struct doorbell item;
};

struct later {
    struct loop *loop;
    struct loop_timer timer;
    struct later_item *heap; /* earliest first */
    size_t count, room;
    void (*fn)(void *arg, const struct doorbell *item);
    void *arg;
};

void later_init(struct later *l, struct loop *loop,
                void (*fn)(void *arg, const struct doorbell *item), void *arg);
void later_add(struct later *l, const struct doorbell *item, int64_t delay_ms);
void later_clear(struct later *l); /* forgets all */
void later_release(struct later *l);

#endif
