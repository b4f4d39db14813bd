/*
 * sse.h -- reads a stream of Server-Sent Events, however its bytes are cut.
 *
 *     bytes --> lines (CR, LF or CRLF) --> fields --> event at the empty line
 *
 * Follows section 9.2 "Server-sent events" of the WHATWG HTML standard: a
 * leading byte order mark is skipped, comments and unknown fields are ignored,
 * several `data:` lines are joined by LF, an event without data is no event,
 * an event that the end of the stream cuts off is dropped.  The one liberty:
 * bytes that are not UTF-8 are handed on as they came, since the reader of the
 * data (json_read) refuses them, and a replacement character would hide them.
 *
 * Limits:  `limit_bytes` bounds one event with all its lines, a single line,
 *          and so the memory held; beyond it the stream is REFUSED.
 * Threads: one owner.
 * Errors:  REFUSED from sse_feed() is final: the parser stays refused.
 */
#ifndef PAWL_COMMON_SSE_H
#define PAWL_COMMON_SSE_H

#include "common/buf.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sse_event {
    const char *type; /* "message" when the stream does not say */
    const char *data; /* NUL-terminated; may hold NUL and newlines */
    size_t data_bytes;
    const char *last_id; /* of the stream so far; "" when none was sent */
};

/* All that `ev` points to is borrowed for the call.  Any answer but OK stops
 * sse_feed(), which returns it; the bytes behind the event are not read, and the
 * parser takes no more of them (a caller stops so at "[DONE]").              */
typedef enum outcome (*sse_fn)(void *arg, const struct sse_event *ev, struct error *err);

struct sse {
    sse_fn fn;
    void *arg;
    size_t limit_bytes;
    struct buf line; /* the part of an unfinished line that came so far */
    struct buf data; /* of the event being built, an LF after each line */
    struct buf type;
    struct buf last_id;
    int64_t retry_ms;   /* -1 until the stream sends one */
    unsigned mark_seen; /* bytes of the byte order mark matched at the start */
    bool past_mark;
    bool skip_lf; /* the last line ended in CR: an LF now belongs to it */
    enum outcome ended;
};

void sse_init(struct sse *s, size_t limit_bytes, sse_fn fn, void *arg);

/* Reads n bytes and calls back for every event they complete.  OK, or REFUSED
 * when the limit is passed, or what the callback answered; from then on the same
 * again for every further call.                                              */
MUST_CHECK enum outcome sse_feed(struct sse *s, const char *bytes, size_t n, struct error *err);

/* True when the stream may end here: no event is half read. */
bool sse_at_boundary(const struct sse *s);

void sse_release(struct sse *s);

#endif
