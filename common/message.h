/*
 * message.h -- what travels through Kafka, and nothing about how.
 *
 *     requests   a run is asked for     CloudEvents 1.0 or bare JSON   in
 *     plan, act  "look at run R"        doorbell                       in and out
 *     events     a run began, ended     CloudEvents 1.0, binary mode   out
 *     stream     what a model says      token piece, or an end         out
 *
 * A record is judged here and only here: what this file lets through has valid
 * UTF-8, known types and bounded sizes, and what it refuses goes to the dead
 * letter topic with the code and the sentence that it answers.  Requests are
 * read in message_request.c, all else is in message.c.  The formats are written
 * down for other programs in schema/messages/ and docs/messages.md.
 *
 * Limits:  a doorbell 4 KiB; a request as the caller says; source, id, agent
 *          and the like as in the table in message_request.c.
 * Threads: no state, call from anywhere.
 * Errors:  REFUSED only: a record never becomes better by reading it again.
 */
#ifndef PAWL_COMMON_MESSAGE_H
#define PAWL_COMMON_MESSAGE_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/digest.h"
#include "common/outcome.h"
#include "common/uuid.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* ---- records ----------------------------------------------------------- */

/* One header of a record.  A Kafka header may have no value (NULL), and its
 * bytes end where value_n says: there is no NUL after them.                 */
struct record_header {
    const char *name; /* NUL-terminated */
    const char *value;
    size_t value_n;
};

/* A record as it lies in Kafka.  All pointers are borrowed: they are valid
 * while the function runs to which the record was given.                    */
struct record_view {
    const char *topic;
    int partition;
    int64_t offset;
    int64_t timestamp_ms; /* -1: the broker knows none */
    const char *key;      /* NULL: no key */
    size_t key_n;
    const char *value; /* NULL: a null value, which is not an empty one */
    size_t value_n;
    const struct record_header *headers;
    size_t n_headers;
};

/* The last header of that name (names are compared as CloudEvents writes them,
 * in lower case, whatever the sender's case), or NULL.                      */
const struct record_header *record_header(const struct record_view *rec, const char *name);

/* A record to be sent.  Made by event_write(); its memory is the arena's.   */
struct record_draft {
    const char *key;
    size_t key_n;
    const char *value;
    size_t value_n;
    const struct record_header *headers;
    size_t n_headers;
};

/* ---- doorbells --------------------------------------------------------- */

enum { DOORBELL_PLAN = -1, DOORBELL_VERSION = 1, DOORBELL_KEY_SIZE = 64 };

/* "Look at this step", or "look at this call of it".                        */
struct doorbell {
    struct uuid run;
    int step;
    int index; /* of the call within the step; DOORBELL_PLAN: the step itself */
};

/* {"v":1,"run":"0190...","step":3,"index":0}, without index for a step.
 * False when the buffer is full.                                            */
bool doorbell_write(struct buf *out, const struct doorbell *d);

/* Unknown fields are tolerated; another version, whose fields could mean
 * something else, is refused.                                               */
MUST_CHECK enum outcome doorbell_read(const char *bytes, size_t n, struct doorbell *d,
                                      struct error *err);

/* The key to send it under.  Steps go by run, so that one planner keeps the
 * history of a run in its cache.  Calls go by DOORBELL_NEIGHBOURS: the few calls of
 * a step arrive together and share one claim, the many of a wide step spread.
 * Returns the length.                                                       */
enum { DOORBELL_NEIGHBOURS = 8 };
size_t doorbell_key(const struct doorbell *d, char key[DOORBELL_KEY_SIZE]);

/* ---- requests ---------------------------------------------------------- */

#define REQUEST_TYPE "dev.pawl.run.requested.v1"

struct request_limits {
    size_t bytes; /* of the value; 0: 1 MiB */
    int depth;    /* of nested arrays and objects; 0: 64 */
    /* Whom and what this topic serves; a body that names another one is refused
     * rather than served as something it is not.  NULL: not looked at.       */
    const char *tenant;
    const char *class;
};

/* Why a request was refused: a short word for machines (metrics, the header
 * pawl_dlq_error_code).  The sentence for people is in struct error.        */
enum request_fault {
    REQUEST_FINE,
    REQUEST_NULL_VALUE,    /* null_value    a tombstone asks for nothing         */
    REQUEST_TOO_LARGE,     /* too_large     the record, or one of its fields     */
    REQUEST_NOT_UTF8,      /* not_utf8                                           */
    REQUEST_BAD_JSON,      /* bad_json      not JSON, or doubled keys            */
    REQUEST_TOO_DEEP,      /* too_deep      nested beyond the limit              */
    REQUEST_MISSING_FIELD, /* missing_field                                      */
    REQUEST_WRONG_TYPE,    /* wrong_type    a field is not of its type           */
    REQUEST_BAD_VALUE,     /* bad_value     right type, impossible content       */
    REQUEST_BAD_TYPE,      /* bad_type      a CloudEvent, but not this request   */
    REQUEST_FAULTS
};

const char *request_fault_code(enum request_fault fault);

/* A request that passed.  Strings are NUL-terminated UTF-8 without NUL inside,
 * and live in the arena, like `input`.  Optional ones are NULL.             */
enum { REQUEST_PRIORITY_MIN = -9, REQUEST_PRIORITY_MAX = 9 };
#define BUDGET_TOKENS_MAX INT64_C(1000000000000)

struct run_request {
    const char *source; /* with id: the idempotency key of the request */
    const char *id;
    const char *type; /* REQUEST_TYPE, for bare JSON too */
    const char *agent;
    json_t *input;            /* any JSON but null; borrowed from the arena */
    const char *asked_tenant; /* what the body says; the topic decides, not this */
    const char *class;        /* the same */
    /* At most one of these.  Whether a deadline is past, and when a timeout ends,
     * is for Postgres to say: our own clock may be wrong.                    */
    int64_t deadline_wall_ms; /* 0: none */
    int64_t timeout_ms;       /* from the acceptance on; 0: none */
    int priority;             /* REQUEST_PRIORITY_MIN .. _MAX; 0 when it says nothing */
    int64_t budget_tokens;    /* of the run with all its descendants; 0: the agent's limit */
    int64_t budget_micros;    /* the same in money */
    const char *traceparent;  /* header traceparent, else ce_traceparent */
    const char *tracestate;
    const char *subject;
    const char *content_type; /* of the data, as sent */
    struct digest digest;     /* of what is asked for, however it was wrapped:
                                 same (source, id), other digest: a conflict */
    enum request_fault fault; /* set when REFUSED */
};

/* Reads one record of the requests topic in any of its three forms.  On
 * REFUSED, out->fault and err say why, and err names the field.             */
MUST_CHECK enum outcome request_read(const struct record_view *rec,
                                     const struct request_limits *limits, struct arena *arena,
                                     struct run_request *out, struct error *err);

/* ---- live tokens ------------------------------------------------------- */

enum { TOKENS_VERSION = 1 };

/* Which attempt at which step speaks: the highest version of the highest epoch counts. */
struct tokens_place {
    struct uuid run;
    int epoch, step, version;
};

/* A piece of what the model said; `offset` is in bytes of the item's content before it.
 * {"v":1,"run":"0190...","epoch":1,"step":3,"version":1,"kind":"text","index":0,
 *  "offset":17,"text":"..."}    False when the buffer is full.                */
bool tokens_write(struct buf *out, const struct tokens_place *place, const char *kind, int index,
                  int64_t offset, const char *text, size_t n);

/* The attempt is over: {...,"kind":"end","outcome":"committed","bytes":123}, or
 * "dropped"; bytes: of all its items.                                        */
bool tokens_write_end(struct buf *out, const struct tokens_place *place, bool committed,
                      int64_t bytes);

/* ---- run events -------------------------------------------------------- */

enum run_event_kind {
    RUN_EVENT_ACCEPTED,  /* dev.pawl.run.accepted.v1  */
    RUN_EVENT_WAITING,   /* dev.pawl.run.waiting.v1   */
    RUN_EVENT_SUCCEEDED, /* dev.pawl.run.succeeded.v1 */
    RUN_EVENT_FAILED,    /* dev.pawl.run.failed.v1    */
    RUN_EVENT_CANCELLED, /* dev.pawl.run.cancelled.v1 */
    RUN_EVENT_KINDS
};

/* "accepted", "waiting", ... */
const char *run_event_name(enum run_event_kind kind);

/* A longer answer is cut; `answer_bytes` then says how long it is, and the
 * whole of it is in the run (`pawl run show`).                              */
enum { EVENT_ANSWER_BYTES_MAX = 128 * 1024 };

struct run_event_view {
    enum run_event_kind kind;
    struct uuid run;
    int epoch;
    int64_t seq;     /* tells two events of one kind and epoch apart (waiting);
                        the same at each announcement of the same event */
    int64_t time_ms; /* wall clock, of the commit that is announced */
    const char *agent;
    const char *revision;
    const char *tenant;
    const char *class;
    const char *status; /* of the run row; NULL: the kind's name */
    int step;
    const char *answer; /* optional, as all below */
    const char *error_code;
    const char *error_text;
    const char *request_source;
    const char *request_id;
    const char *traceparent;
    const char *tracestate;
};

/* Writes a CloudEvent in binary mode: attributes as ce_ headers, the data as
 * JSON value, the run id as key.  The event's id is made of run, epoch, kind
 * and seq, so that a second announcement carries the same one.  REFUSED when
 * the arena is full.                                                        */
MUST_CHECK enum outcome event_write(const struct run_event_view *ev, struct arena *arena,
                                    struct record_draft *out, struct error *err);

#endif
