/*
 * tool_http.h -- tools that are called by HTTP, and the probes of them.
 *
 *     start --> request.c --> common/http --> verdict.c or probe.c --> answered
 *
 * Limits:  an answer is read up to the tool's max_result_bytes.
 * Threads: the loop's.
 * Errors:  as in tool.h.
 */
#ifndef PAWL_EXECUTOR_TOOL_HTTP_H
#define PAWL_EXECUTOR_TOOL_HTTP_H

#include "common/config.h"
#include "common/http.h"
#include "common/loop.h"
#include "common/outbound.h"
#include "executor/tool.h"

struct tool_http {
    struct loop *loop;
    struct http *http;
    const struct config *config; /* for the secrets */
    const struct outbound *outbound;
};

/* A port over `t`, which must outlive it. */
struct tool_kind tool_http_kind(struct tool_http *t);

#endif
