#include "executor/tool_http.h"

#include "common/arena.h"
#include "common/fault.h"
#include "common/memory.h"
#include "executor/probe.h"
#include "executor/request.h"
#include "executor/verdict.h"

#include <stdlib.h>

enum { MIDDLE_OF_CALL_MS = 50 };

struct tool_task {
    const struct tool_call *call;
    tool_answered *answered;
    void *arg;
    struct arena arena;
    struct request request;
    struct http_call *http_call;
    int64_t announced_bytes;
    struct loop_timer middle; /* test builds: hits EXECUTOR_DURING_CALL */
};

static void task_free(struct tool_task *task)
{
    loop_timer_close(&task->middle);
    arena_free(&task->arena);
    free(task);
}

static bool on_head(void *arg, const struct http_head *head)
{
    struct tool_task *task = arg;
    const char *length = http_head_get(head, "Content-Length");
    if (length) {
        char *end;
        long long bytes = strtoll(length, &end, 10);
        if (end != length && *end == '\0' && bytes >= 0)
            task->announced_bytes = bytes;
    }
    return true;
}

static void on_done(void *arg, const struct http_result *result)
{
    struct tool_task *task = arg;
    struct uuid noise = uuid_v4();
    struct verdict_case c = {
        .def = task->call->def,
        .result = result,
        .scrub = &task->request.scrub,
        .announced_bytes = task->announced_bytes,
        .attempt = task->call->attempt,
        .jitter = noise.b[0] | (unsigned)noise.b[1] << 8,
    };
    struct verdict v;
    verdict_init(&v);
    if (task->call->errand == STORE_WORK_PROBE)
        probe_verdict(&v, &c);
    else
        verdict_of_call(&v, &c);
    task->answered(task->arg, &v.answer);
    verdict_release(&v);
    task_free(task);
}

static void on_middle(void *arg)
{
    (void)arg;
    FAULT_POINT(EXECUTOR_DURING_CALL);
}

static enum outcome start(void *self, const struct tool_call *call, tool_answered *answered,
                          void *arg, struct tool_task **out, struct error *err)
{
    static const struct http_events events = { .on_head = on_head, .on_done = on_done };
    struct tool_http *t = self;
    struct tool_task *task = xcalloc(1, sizeof *task);
    task->call = call;
    task->answered = answered;
    task->arg = arg;
    task->announced_bytes = -1;
    arena_init(&task->arena, REQUEST_ARENA_BYTES);
    enum outcome outcome = request_build(&task->request, &task->arena, t->config, call, err);
    if (outcome != OK) {
        task_free(task);
        return outcome;
    }
    task->request.http.outbound = t->outbound;
    if (call->errand == STORE_WORK_CALL)
        FAULT_POINT(EXECUTOR_BEFORE_SEND);
    task->http_call = http_start(t->http, &task->request.http, &events, task);
#ifdef PAWL_FAULTS
    loop_timer_init(t->loop, &task->middle, on_middle, task);
    if (call->errand == STORE_WORK_CALL)
        loop_timer_start(&task->middle, MIDDLE_OF_CALL_MS);
#else
    (void)on_middle;
#endif
    *out = task;
    return OK;
}

static bool cancel(void *self, struct tool_task *task)
{
    (void)self;
    bool maybe_sent = http_cancel(task->http_call);
    task_free(task);
    return maybe_sent;
}

struct tool_kind tool_http_kind(struct tool_http *t)
{
    return (struct tool_kind){ .self = t, .start = start, .cancel = cancel };
}
