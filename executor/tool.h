/*
 * tool.h -- the port between the life of a call (action.c) and the kinds of tools.
 *
 *     action.c --start(call or probe)--> tool_http.c --answer--> action.c
 *              --cancel---------------->
 *
 * A kind of tool sends one request and judges what comes back.  It neither
 * repeats nor stores anything: whether a call is tried again is decided by the
 * database from the outcome, the tool's policy and `retry_ms`.
 *
 * Outcomes are those of pawl.commit_actions() (enum store_call_outcome):
 *
 *     succeeded             it ran; `result` is what the model reads
 *     failed                it answered with an error; the model reads `result`
 *     failed_before_effect  certainly nothing has reached it
 *     unknown               it may have run, and nobody knows
 *     handed_back           not sent, for a reason of our own
 *     happened, did_not_happen, unsure, probe_failed    answers of a probe
 *
 * Threads: the loop's.
 * Errors:  start() is REFUSED when this process cannot serve the tool (a secret
 *          is missing here); then nothing was sent and no answer comes.
 */
#ifndef PAWL_EXECUTOR_TOOL_H
#define PAWL_EXECUTOR_TOOL_H

#include "common/catalog.h"
#include "common/outcome.h"
#include "common/store.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOOL_NO_RETRY = STORE_NOT_KNOWN };

/* What is asked.  Borrowed until the answer or the cancel. */
struct tool_call {
    enum store_work errand; /* the call itself, or: did the call with this key happen? */
    const struct tool_def *def;
    struct uuid run_id;
    int step;
    int index;
    int attempt;     /* from 1 */
    struct uuid key; /* the same for every attempt of this call */
    const char *arguments;
    size_t arguments_bytes;
    const char *traceparent; /* W3C trace context of the request; may be NULL */
    const char *tracestate;  /* may be NULL */
    int64_t send_by_ms;      /* clock_mono_ms(): after it no first byte leaves */
};

/* What came back.  Everything is borrowed: valid during the callback only, and
 * free of secrets.  `result` and `error` are UTF-8 without NUL.              */
struct tool_answer {
    enum store_call_outcome outcome;
    const char *result; /* NULL: none */
    size_t result_bytes;
    const char *code;  /* a short word for machines; NULL when it succeeded */
    const char *error; /* a sentence for people; NULL when it succeeded */
    int64_t retry_ms;  /* TOOL_NO_RETRY: nothing is gained by another attempt */
    bool maybe_sent;
    int64_t took_ms;
};

struct tool_task; /* one errand under way, private to its kind */

typedef void tool_answered(void *arg, const struct tool_answer *answer);

/* One kind of tools.  `start` never calls back before it returned; after
 * `cancel`, which tells whether anything may have been sent, no answer comes. */
struct tool_kind {
    void *self;
    enum outcome (*start)(void *self, const struct tool_call *call, tool_answered *answered,
                          void *arg, struct tool_task **out, struct error *err);
    bool (*cancel)(void *self, struct tool_task *task);
};

#endif
