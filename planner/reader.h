/*
 * reader.h -- reads the bytes of a model's answer, for every dialect.
 *
 *     bytes --> by content type:  Server-Sent Events --> events --+
 *                                 one JSON object    --> whole  --+--> dialect --> model_reply
 *
 * How an answer is read follows its content type, not our wish; where a server
 * says neither, the first byte decides.  What the events mean is the dialect's
 * business: it notes here what it learnt.
 *
 * Limits:  reader_options.output_limit_bytes for the message, and as much with the
 *          fields around it, and what is echoed, for one event.
 * Threads: one owner.
 * Errors:  the first failure stands and is what the reply says.
 */
#ifndef PAWL_PLANNER_READER_H
#define PAWL_PLANNER_READER_H

#include "common/buf.h"
#include "common/sse.h"
#include "planner/model.h"

#include <jansson.h>

/* The depth: a tool's parameters, echoed, are as deep as a file of YAML, and more. */
enum {
    READER_REASON_BYTES = 48,
    READER_EVENT_ROOM_BYTES = 64 * 1024,
    READER_ECHO_FACTOR = 3,
    READER_DEPTH_MAX = 80,
};

enum reader_form { READER_FORM_UNKNOWN, READER_FORM_STREAM, READER_FORM_WHOLE };

struct reader {
    const struct dialect *dialect;
    struct reader_options options;
    enum reader_form form;
    struct sse sse;
    struct buf body; /* READER_FORM_WHOLE */
    void *parts;     /* the dialect's: the message so far */

    /* What the dialect notes. */
    bool has_message; /* some part of a message came */
    bool done;        /* the end was said: no byte is missing */
    char end_reason[READER_REASON_BYTES];
    struct model_usage usage;

    /* The first failure. */
    enum outcome outcome;
    const char *code;
    struct error error;
};

struct reader *reader_new(const struct dialect *dialect, const struct reader_options *options,
                          const char *content_type);
void reader_free(struct reader *r); /* NULL is fine */

/* Before the first byte: in a dialect that echoes, one event may hold the request's
 * instructions and tools beside the answer, perhaps with escapes where we had none. */
void reader_expect_echo(struct reader *r, size_t request_bytes);

/* OK: go on; anything else: no further byte is wanted. */
enum outcome reader_feed(struct reader *r, const char *bytes, size_t n);
bool reader_complete(const struct reader *r);

/* Makes the reply of what came.  `whole`: the answer ended as HTTP wants it. */
void reader_finish(struct reader *r, bool whole, struct model_reply *reply);

/* ---- for dialects ------------------------------------------------------------ */

/* Set the failure, with `error` already filled in by the caller; return `outcome`. */
enum outcome reader_fail(struct reader *r, enum outcome outcome, const char *code);

/* The provider says by this object that it failed (model_error.h). */
enum outcome reader_fail_with(struct reader *r, const json_t *answer);

/* Takes over why the model stopped; NULL and "" say nothing. */
void reader_end(struct reader *r, const char *reason);

/* A piece of text or reasoning came (REPLY_TEXT, REPLY_REASONING): the bytes that the
 * item `index` of the reply grows by.  `index` is the item's place in the reply as far
 * as it is known by now; the pieces of one item, one behind the other, are its content.
 * To be called by read_event() for each piece, in the order of coming, with the bytes
 * as they came (what a row cannot hold is replaced here as in the reply); an answer
 * that came as one object is told by reader_finish().  Nothing when nobody listens. */
void reader_tell(struct reader *r, enum reply_item_type type, int index, const char *bytes,
                 size_t n);

#endif
