/*
 * scrub.h -- the secrets of one call, so that no answer can carry them on.
 *
 * A tool may echo the headers that it was sent, in a debug page for example.
 * What is stored as a result is read by the model, by people and by consumers
 * of events, so every occurrence of a secret is replaced by SCRUB_MARK, in its
 * plain form and as it would stand inside a JSON string.
 *
 * Limits:  SCRUB_WORDS_MAX forms; values shorter than SCRUB_BYTES_MIN are left
 *          alone, since they would be found in any text.
 * Threads: one owner, no locks.
 */
#ifndef PAWL_EXECUTOR_SCRUB_H
#define PAWL_EXECUTOR_SCRUB_H

#include "common/arena.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>

enum { SCRUB_WORDS_MAX = 128, SCRUB_BYTES_MIN = 4 };
#define SCRUB_MARK "[secret]"

struct scrub_word {
    const char *text;
    size_t length;
};

struct scrub {
    struct scrub_word *words;
    size_t count;
    size_t longest;       /* bytes of the longest word */
    bool first_byte[256]; /* with which bytes words begin */
};

/* Adds a secret; its forms are copied to the arena.  REFUSED when there are too
 * many, or the arena is full.                                                */
MUST_CHECK enum outcome scrub_add(struct scrub *s, struct arena *arena, const char *secret,
                                  struct error *err);

/* The length of the longest secret that stands at the beginning of these bytes,
 * or 0.                                                                      */
size_t scrub_match(const struct scrub *s, const char *bytes, size_t count);

#endif
