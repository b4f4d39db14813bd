/*
 * model_call.h -- one call of a model over HTTP.
 *
 *     start --> connect --> head --> first bytes ... last bytes --> done(reply)
 *          |<- connect_timeout ->|                |
 *          |<------ first_event_timeout --->|<- silence ->|
 *          |<------------------- timeout, and left_ms ------------------>|
 *
 * Whatever happens ends in one reply: an answer, or a classed error.  A model call
 * has no effect in the world, so one that failed may always be made again; whether
 * it is, and when, is the plan's business.
 *
 * When the dialect says that the answer is complete, the rest of the HTTP answer
 * (which keeps the connection usable) gets MODEL_LINGER_MS to arrive.
 *
 * Limits:  the model's timeouts and max_output_bytes.
 * Threads: the loop's.
 * Errors:  in the reply.
 */
#ifndef PAWL_PLANNER_MODEL_CALL_H
#define PAWL_PLANNER_MODEL_CALL_H

#include "common/http.h"
#include "common/loop.h"
#include "planner/model.h"

#include <stddef.h>
#include <stdint.h>

enum { MODEL_LINGER_MS = 250 };

struct model_call_request {
    const struct dialect *dialect;
    const struct model_def *model; /* must stay until the reply */
    const char *secret;            /* the same; NULL: none */
    const char *body;              /* the same */
    size_t body_n;
    const char *call_prefix;         /* copied */
    int64_t left_ms;                 /* until the run's deadline */
    struct reader_listener listener; /* until the reply; may be empty */
};

struct model_call;

/* The reply is the callee's. */
typedef void model_call_done(void *arg, struct model_reply *reply);

/* Never NULL, and never calls back before it returned. */
struct model_call *model_call_start(struct http *http, struct loop *loop,
                                    const struct model_call_request *request, model_call_done *done,
                                    void *arg);

/* Ends it without a callback.  After the callback the call is gone: do not. */
void model_call_cancel(struct model_call *call);

#endif
