/*
 * offsets.h -- which records of a partition are finished, out of order.
 *
 *     handed out    10  11  12  13  15  16        (14 was never there)
 *     finished       x   x       x
 *                            ^ next = 12: the offset to commit
 *
 * Records are handed out in the order of their offsets and finished in any
 * order.  Only the contiguous finished prefix may be committed: whatever dies,
 * the record at `next` and all after it are delivered again.  Offsets may have
 * holes (compaction, transactions); a hole is passed with what follows it.
 *
 * This is arithmetic only: no Kafka, no clock.  A consumer keeps one track per
 * partition that is assigned to it.
 *
 * Limits:  memory is two words per record that is out, given back as they end.
 * Threads: one owner, no locks.
 * Errors:  none; a record that is not out is told by `false`.
 */
#ifndef PAWL_COMMON_OFFSETS_H
#define PAWL_COMMON_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OFFSETS_NONE = -1 };

struct offsets {
    struct offsets_entry *ring; /* records that are out, oldest at `head` */
    size_t head, count, cap;    /* cap is a power of two, or 0 */
    size_t unfinished;          /* of the `count` */
    int64_t last;               /* newest offset handed out, or OFFSETS_NONE */
    int64_t committed;          /* what the broker knows, as far as we know */
};

void offsets_init(struct offsets *t);
void offsets_release(struct offsets *t);

/* Forgets all that is out and begins anew, with nothing to commit. */
void offsets_reset(struct offsets *t);

/* A record is handed out.  False when it is not newer than the last one: the
 * log was made anew under us, and the caller resets the track first.        */
bool offsets_begin(struct offsets *t, int64_t offset);

/* A record is finished.  False when it is not out, or was finished before. */
bool offsets_done(struct offsets *t, int64_t offset);

/* The offset to commit, or OFFSETS_NONE while nothing was handed out or its
 * first record is still out.                                                */
int64_t offsets_next(const struct offsets *t);

/* offsets_next() if records were finished since the last call, else
 * OFFSETS_NONE.                                                             */
int64_t offsets_take(struct offsets *t);

/* The commit of what was taken failed: take it again. */
void offsets_untake(struct offsets *t);

#endif
