/*
 * verdict.h -- what the end of an HTTP call means for the call of a tool.
 *
 * Design section 6 as a table; nothing here is sent, stored or repeated.
 *
 *     how the HTTP call ended          not repeatable          repeatable
 *     -------------------------------  ----------------------  -------------------
 *     2xx                              succeeded               succeeded
 *     2xx, answer over the bound       succeeded, cut          succeeded, cut
 *     certainly not sent               failed_before_effect *  failed_before_effect *
 *     request is wrong (hopeless)      failed_before_effect    failed_before_effect
 *     cut, timed out                   unknown                 unknown *, read-only: failed *
 *     409, and a key was sent          unknown                 failed *
 *     408, 425, 429, 5xx               failed                  failed *
 *     another status                   failed                  failed
 *
 *     * with retry_ms: another attempt may help (Retry-After is obeyed).
 *
 * 409 after an Idempotency-Key says that the first request with this key is
 * still running (draft-ietf-httpapi-idempotency-key-header, section 2.7): for a
 * call that is sent only once, somebody below us has sent it twice, or the peer
 * uses 409 in another sense; both are "nobody knows".
 *
 * How probes are judged stands in probe.h.
 *
 * Threads: any.
 */
#ifndef PAWL_EXECUTOR_VERDICT_H
#define PAWL_EXECUTOR_VERDICT_H

#include "common/buf.h"
#include "common/http.h"
#include "executor/scrub.h"
#include "executor/tool.h"

enum { VERDICT_ERROR_BODY_BYTES = 16 * 1024, VERDICT_CODE_SIZE = 32 };

/* What the verdict hangs on beside the result. */
struct verdict_case {
    const struct tool_def *def;
    const struct http_result *result;
    const struct scrub *scrub;
    int64_t announced_bytes; /* Content-Length of the answer; -1: none */
    int attempt;             /* from 1: how long to wait before the next one */
    unsigned jitter;         /* any number, so that callers do not come back in step */
};

/* Holds what the answer points to. */
struct verdict {
    struct tool_answer answer;
    char code[VERDICT_CODE_SIZE];
    struct error error;
    struct buf text;
};

void verdict_init(struct verdict *v);
void verdict_release(struct verdict *v);

/* Fills v->answer, which is valid until the next one and as long as the result's
 * body is.                                                                   */
void verdict_of_call(struct verdict *v, const struct verdict_case *c);

/* The parts, also for probe.c: an empty answer; an outcome with its code and
 * sentence; the body as the result, under v->error as its title if wished.   */
struct tool_answer *verdict_begin(struct verdict *v, const struct verdict_case *c);
PRINTF(4, 5)
void verdict_error(struct verdict *v, enum store_call_outcome outcome, const char *code,
                   const char *format, ...);
void verdict_body(struct verdict *v, const struct verdict_case *c, size_t max_bytes, bool titled);

/* Did a whole answer come, or one of which only our bound cut the end? */
bool verdict_is_answered(const struct http_result *r);

/* Statuses by which a server says that the same request may succeed later. */
bool verdict_is_passing(long status);

/* When to come back: after the back-off, or when the server says (Retry-After). */
int64_t verdict_wait_ms(const struct verdict_case *c);

/* 0.5 s, 1 s, 2 s ... up to 60 s, each up to a fifth longer by `jitter`. */
int64_t verdict_backoff_ms(int attempt, unsigned jitter);

#endif
