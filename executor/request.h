/*
 * request.h -- the HTTP request of one call, or of its probe.
 *
 *     POST /invoices                                 method and url of the tool
 *     Content-Type: application/json                 unless the tool says another
 *     Idempotency-Key: "0b3c..."                     quoted, bare, or not sent
 *     X-Pawl-Run-Id, X-Pawl-Step, X-Pawl-Call        for the tool's own log
 *     traceparent, tracestate                        when the run was asked with them
 *     X-Api-Key: ...                                 headers of the tool, secrets filled in
 *
 *     {"customer":"ada","amount":120}                the arguments as the model gave them
 *
 * Tools called by GET get the members of the arguments as query parameters:
 * strings as they are, other values as JSON, null not at all.
 *
 * The value of the Idempotency-Key is a string of structured fields, so it is
 * quoted by default (draft-ietf-httpapi-idempotency-key-header, section 2.1).
 * Our own headers win over headers of the same name in the tool.
 *
 * A call that may be sent only once (neither read-only nor idempotent) follows
 * no redirect and gets single_send.
 *
 * Limits:  the arena; REQUEST_HEADERS_MAX headers.
 * Threads: any.
 * Errors:  REFUSED: a secret is missing here, or what it holds cannot stand in a
 *          header.  The sentence names the secret or header, never its value.
 */
#ifndef PAWL_EXECUTOR_REQUEST_H
#define PAWL_EXECUTOR_REQUEST_H

#include "common/arena.h"
#include "common/config.h"
#include "common/http.h"
#include "executor/scrub.h"
#include "executor/tool.h"

enum { REQUEST_HEADERS_MAX = 96, REQUEST_ARENA_BYTES = 512 * 1024 };

struct request {
    struct http_request http; /* lives as long as the arena and the call */
    struct scrub scrub;       /* the secrets that were filled in */
};

MUST_CHECK enum outcome request_build(struct request *out, struct arena *arena,
                                      const struct config *config, const struct tool_call *call,
                                      struct error *err);

/* Can this process fill in all secrets of the tool?  REFUSED with the reason. */
MUST_CHECK enum outcome request_check(const struct config *config, const struct tool_def *def,
                                      struct error *err);

#endif
