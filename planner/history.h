/*
 * history.h -- the recent conversations of this process, ready to be sent again.
 *
 *     text:  {"model":...,"messages":[ system, user, step 1, results 1, step 2  results 2 ]}
 *                                                                             ^
 *                                                            stable_len, known_step = 2
 *
 * A history is the body of the last request of a run.  The next step appends what
 * is new to it and sends it, so that a step costs what it adds and not what the
 * run has said before.  Up to `stable_len` the text can never change within the
 * epoch: plans are final.  What stands behind it is cut off before a history is
 * put away and read again next time, since the result of a call may still be
 * replaced by a late one as long as nobody has planned on it.
 *
 * A task takes the history of its run out of the cache and gives it back; while it
 * is out nobody else can have it.  The least recently used goes first.
 *
 * Limits:  `limit_bytes` for all texts in the cache together; a single text as its
 *          buffer says.  history_cache_expire() drops what lay unused.
 * Threads: the loop's.
 * Errors:  none: a history that is not here is read from Postgres.
 */
#ifndef PAWL_PLANNER_HISTORY_H
#define PAWL_PLANNER_HISTORY_H

#include "common/buf.h"
#include "common/store.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_CACHE_BYTES ((size_t)64 << 20) /* the default */
#define HISTORY_TEXT_BYTES ((size_t)32 << 20)  /* of one run: a larger prompt is refused */

/* What one step takes in the text; the same for whoever made it. */
struct history_step {
    int step;
    size_t plan_bytes, result_bytes;
    size_t emptied_bytes; /* its results, were the long ones only named; an estimate */
};

struct history {
    struct uuid run;
    int epoch;
    int64_t model;          /* revision of the model that the text is written for */
    int known_step;         /* plans up to this step are in the text; 0: nothing is */
    bool empty_turn;        /* the last plan in it said nothing and asked for nothing */
    struct store_view view; /* what the text shows of the run */
    struct buf text;
    size_t head_len;            /* instructions, input, and what people said: always shown */
    size_t head_kept;           /* of these, what stands up to stable_len */
    struct history_step *steps; /* in their order, from the first that is shown */
    size_t step_count, step_room;
    size_t stable_len;
    size_t open_len; /* of the text before it was closed to be sent */

    /* Private to history.c. */
    struct history *newer, *older, *chain;
    int64_t used_ms;
};

struct history *history_new(const struct uuid *run);
void history_free(struct history *h);            /* NULL is fine */
void history_forget(struct history *h);          /* knows nothing any more; keeps its memory */
void history_cut(struct history *h, size_t len); /* forgets what stands behind */

/* The record of a step whose plan is being added; a step's may be asked for again. */
struct history_step *history_step(struct history *h, int step);

struct history_cache {
    struct history **buckets;
    size_t bucket_count, count;
    size_t used_bytes, limit_bytes;
    struct history *newest, *oldest;
    uint64_t hits, misses;
};

void history_cache_init(struct history_cache *cache, size_t limit_bytes);
void history_cache_release(struct history_cache *cache);

/* The history of the run, now the caller's; a new, empty one when there is none. */
struct history *history_take(struct history_cache *cache, const struct uuid *run);

/* Puts it away; it may be gone before it is asked for.  One without plans is not
 * worth keeping and is freed.                                                */
void history_put(struct history_cache *cache, struct history *h, int64_t now_ms);

/* Drops what was put away before `before_ms`; returns how many. */
size_t history_cache_expire(struct history_cache *cache, int64_t before_ms);

#endif
