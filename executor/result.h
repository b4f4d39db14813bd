/*
 * result.h -- from the bytes that a tool answered to the text that is stored.
 *
 *     bytes --> secrets out --> UTF-8 without NUL --> cut at the bound --> + notes
 *
 * Postgres stores UTF-8 without NUL, the model reads it, and neither should have
 * to care what a tool may send.  What had to be changed is said in notes at the
 * end, in square brackets, so that the model does not take a part for the whole.
 *
 * A text that needs no change is not copied.
 *
 * Limits:  the text has at most max_bytes, and RESULT_NOTES_BYTES for title and notes.
 * Threads: any.
 */
#ifndef PAWL_EXECUTOR_RESULT_H
#define PAWL_EXECUTOR_RESULT_H

#include "common/buf.h"
#include "executor/scrub.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RESULT_NOTES_BYTES = 1024 };

struct result_source {
    const char *bytes; /* NUL-terminated; NULs inside are allowed */
    size_t count;
    bool more;           /* the tool sent more than these bytes */
    int64_t total_bytes; /* as announced by the tool; -1: not known */
    size_t max_bytes;
    const char *title;         /* a sentence to stand above the bytes; NULL: none */
    const struct scrub *scrub; /* NULL: no secrets */
};

/* How many bytes to read of an answer so that a secret which straddles the bound
 * is still seen whole.                                                       */
size_t result_read_bytes(size_t max_bytes, const struct scrub *scrub);

/* The text and its length: the source itself or the contents of `work`, which
 * the caller has initialised (any limit; it is set here) and releases.  The
 * notes alone when there is no memory.                                       */
const char *result_text(const struct result_source *source, struct buf *work, size_t *length);

#endif
