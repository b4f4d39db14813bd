/*
 * arena.h -- memory that lives exactly as long as one task.
 *
 * A task (one plan step, one tool call) allocates freely and frees nothing;
 * when it ends, arena_free() returns everything at once. Things that are not
 * memory (a json_t, a curl handle) are handed over with arena_defer() and are
 * released in reverse order, while the arena's memory is still there.
 *
 * Limits:  every arena has a byte ceiling, given at birth. Each allocation
 *          counts with its size rounded up to the alignment; beyond the
 *          ceiling the answer is NULL, and the task fails with REFUSED. The
 *          same when the machine has no memory.
 * Threads: one owner, no locks.
 * ASan:    in sanitizer builds every allocation is its own malloc block of the
 *          exact size, so an overrun between neighbours is caught.
 */
#ifndef PAWL_COMMON_ARENA_H
#define PAWL_COMMON_ARENA_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>

struct arena {
    struct arena_block *blocks;
    struct arena_defer *defers;
    size_t used_bytes;
    size_t limit_bytes;
};

void arena_init(struct arena *a, size_t limit_bytes);

/* All of these answer NULL past the limit. */
void *arena_alloc(struct arena *a, size_t size_bytes); /* zeroed */
void *arena_alloc_array(struct arena *a, size_t count,
                        size_t size_bytes); /* zeroed; checks the product */
char *arena_strdup(struct arena *a, const char *text);
char *arena_memdup(struct arena *a, const void *data, size_t size_bytes); /* a NUL is added */
PRINTF(2, 3) char *arena_printf(struct arena *a, const char *format, ...);

/* The arena owns `thing` from here on, even when the answer is false (past the
 * limit): then it has been released already and must not be used any more.  */
MUST_CHECK bool arena_defer(struct arena *a, void (*release)(void *), void *thing);

/* Releases the deferred things and all memory; the arena is empty and usable again. */
void arena_free(struct arena *a);

#endif
