/*
 * cannot.h -- revisions of tools that this process cannot serve.
 *
 * Two fleets with different local files may share one database: a secret that a
 * tool needs may be missing here and be there elsewhere, or a revision may be too
 * new for this version.  Claims carry this list, and the database leaves those
 * calls due for others.
 *
 * Entries expire, so that a passing reason does not last for ever.
 *
 * Limits:  CANNOT_MAX revisions; the one that expires first makes room.
 * Threads: one owner, no locks.
 * Errors:  none.
 */
#ifndef PAWL_EXECUTOR_CANNOT_H
#define PAWL_EXECUTOR_CANNOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CANNOT_MAX = 1024, CANNOT_KEEP_MS = 300000 };

struct cannot {
    int64_t revisions[CANNOT_MAX];
    int64_t until_ms[CANNOT_MAX]; /* on the caller's clock; INT64_MAX: for good */
    size_t count;
};

/* True when the list has changed (an entry whose time is only moved is none). */
bool cannot_add(struct cannot *c, int64_t revision, int64_t until_ms);
bool cannot_expire(struct cannot *c, int64_t now_ms);

#endif
