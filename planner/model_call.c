#include "planner/model_call.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/memory.h"
#include "planner/model_error.h"
#include "planner/rate_limit.h"
#include "planner/reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    ERROR_BODY_BYTES = 64 * 1024, /* of an answer with an error status */
    STREAM_OVERHEAD = 128,        /* a streamed token weighs so much more than its text */
    STREAM_ROOM_BYTES = 1 << 20,
    PREFIX_BYTES = 48,
};

struct model_call {
    const struct dialect *dialect;
    const struct model_def *model;
    struct reader_options options;
    char call_prefix[PREFIX_BYTES];
    size_t request_bytes;
    struct http_call *http;
    struct loop_timer silence;
    int64_t started_ms, heard_ms, patience_ms;
    bool first_heard, lingering;
    struct arena arena; /* of the headers */

    long status;
    struct reader *reader; /* of a good answer */
    struct buf error_body; /* of another one */
    int should_retry;      /* x-should-retry: 1 yes, 0 no, -1 not said */
    int64_t retry_after_ms;
    int64_t reset_ms; /* of 429: until the provider's limit is renewed; -1: not said */

    model_call_done *done;
    void *arg;
};

static void call_free(struct model_call *c)
{
    loop_timer_close(&c->silence);
    if (c->reader)
        reader_free(c->reader);
    buf_release(&c->error_body);
    arena_free(&c->arena);
    free(c);
}

/* ---- while it runs ------------------------------------------------------------- */

static int64_t read_retry_after_ms(const char *text)
{
    char *end = NULL;
    double ms = text ? strtod(text, &end) : -1;
    if (!text || end == text || !isfinite(ms) || ms < 0)
        return -1;
    return ms < (double)HTTP_RETRY_AFTER_MAX_MS ? (int64_t)ms : HTTP_RETRY_AFTER_MAX_MS;
}

static const char *header_of(const void *head, const char *name)
{
    return http_head_get(head, name);
}

static void start_reader(struct model_call *c, const char *content_type)
{
    c->reader = reader_new(c->dialect, &c->options, content_type);
    reader_expect_echo(c->reader, c->request_bytes);
}

static bool on_head(void *arg, const struct http_head *head)
{
    struct model_call *c = arg;
    c->status = head->status;
    c->retry_after_ms = read_retry_after_ms(http_head_get(head, "retry-after-ms"));
    if (c->status == 429)
        c->reset_ms = rate_limit_reset_ms(header_of, head, clock_wall_ms());
    const char *retry = http_head_get(head, "x-should-retry");
    if (retry)
        c->should_retry = strcasecmp(retry, "true") == 0    ? 1
                          : strcasecmp(retry, "false") == 0 ? 0
                                                            : -1;
    const char *type = http_head_get(head, "content-type");
    if (c->status >= 200 && c->status < 300 && !c->reader)
        start_reader(c, type ? type : "");
    return true;
}

/* Looking at the clock with every piece is cheaper than moving the timer. */
static void hear(struct model_call *c)
{
    c->heard_ms = loop_now_ms(c->silence.loop);
    c->patience_ms = c->model->silence_timeout_ms;
    if (c->first_heard)
        return;
    c->first_heard = true;
    loop_timer_start(&c->silence, c->patience_ms);
    FAULT_POINT(PLANNER_DURING_MODEL_CALL);
}

static bool on_body(void *arg, const char *bytes, size_t n)
{
    struct model_call *c = arg;
    if (c->lingering)
        return true; /* nothing of interest can come any more */
    hear(c);
    if (!c->reader) {
        size_t room = ERROR_BODY_BYTES - c->error_body.len;
        buf_add(&c->error_body, bytes, n < room ? n : room);
        return n < room;
    }
    if (reader_feed(c->reader, bytes, n) != OK)
        return false;
    if (reader_complete(c->reader)) {
        c->lingering = true;
        c->patience_ms = MODEL_LINGER_MS;
        loop_timer_start(&c->silence, MODEL_LINGER_MS);
    }
    return true;
}

/* ---- its end --------------------------------------------------------------------- */

static void end_by_status(struct model_call *c, struct model_reply *reply)
{
    model_read_error(c->status, c->error_body.data ? c->error_body.data : "", c->error_body.len,
                     c->options.secret, reply);
    bool quota = reply->code && strcmp(reply->code, "quota_spent") == 0;
    if (c->should_retry >= 0 && !quota)
        reply->outcome = c->should_retry ? RETRY : REFUSED;
    reply->usage = MODEL_USAGE_NONE;
}

/* No good answer began to come.  What a provider refuses, and what never reached it, it
 * does not charge; of a call that was cut nobody knows.                       */
static void end_by_http(const struct http_result *result, struct model_reply *reply)
{
    const char *text = result->error.text;
    switch (result->end) {
    case HTTP_NOT_SENT:
        reply->usage = MODEL_USAGE_NONE;
        (void)model_reply_fail(reply, result->hopeless ? REFUSED : RETRY, "unreachable", "%s",
                               text);
        return;
    case HTTP_TIMED_OUT: (void)model_reply_fail(reply, RETRY, "timeout", "%s", text); return;
    case HTTP_TOO_LARGE:
        (void)model_reply_fail(reply, RETRY, "answer_too_large", "%s", text);
        return;
    case HTTP_ANSWERED:
    case HTTP_CUT:
    case HTTP_STOPPED:
    case HTTP_CANCELLED:
    case HTTP_ENDS: break;
    }
    (void)model_reply_fail(reply, RETRY, "connection_lost", "%s",
                           *text ? text : "the connection ended before the answer did");
}

static struct model_reply *make_reply(struct model_call *c, const struct http_result *result)
{
    struct model_reply *reply =
        model_reply_new(8 * c->options.output_limit_bytes + (size_t)STREAM_ROOM_BYTES);
    bool complete = c->reader && reader_complete(c->reader);
    if (c->reader && (complete || result->end == HTTP_ANSWERED || result->end == HTTP_STOPPED ||
                      result->end == HTTP_CUT))
        reader_finish(c->reader, result->end == HTTP_ANSWERED, reply);
    else if (c->status && !c->reader)
        end_by_status(c, reply);
    else
        end_by_http(result, reply);
    if (reply->outcome == RETRY)
        reply->retry_after_ms = c->retry_after_ms >= 0        ? c->retry_after_ms
                                : result->retry_after_ms >= 0 ? result->retry_after_ms
                                                              : c->reset_ms;
    reply->took_ms = loop_now_ms(c->silence.loop) - c->started_ms;
    return reply;
}

static void finish(struct model_call *c, const struct http_result *result)
{
    struct model_reply *reply = make_reply(c, result);
    model_call_done *done = c->done;
    void *arg = c->arg;
    call_free(c);
    done(arg, reply);
}

static void on_done(void *arg, const struct http_result *result)
{
    finish(arg, result);
}

static void on_silence(void *arg)
{
    struct model_call *c = arg;
    int64_t silent_ms = loop_now_ms(c->silence.loop) - c->heard_ms;
    if (silent_ms < c->patience_ms) {
        loop_timer_start(&c->silence, c->patience_ms - silent_ms);
        return;
    }
    struct http_result result = { .end = HTTP_TIMED_OUT, .maybe_sent = true, .retry_after_ms = -1 };
    (void)fail(&result.error, RETRY, "the model was silent for %lld ms", (long long)silent_ms);
    (void)http_cancel(c->http);
    finish(c, &result);
}

/* ---- its beginning ----------------------------------------------------------------- */

/* The echo comes at the beginning, twice, and at the end. */
static size_t answer_limit(const struct model_call *c)
{
    size_t echo = c->dialect->echoes ? (size_t)3 * READER_ECHO_FACTOR * c->request_bytes : 0;
    size_t output = c->options.output_limit_bytes, room = STREAM_ROOM_BYTES + echo;
    size_t most = (SIZE_MAX - room) / STREAM_OVERHEAD;
    return (output < most ? output : most) * STREAM_OVERHEAD + room;
}

struct model_call *model_call_start(struct http *http, struct loop *loop,
                                    const struct model_call_request *request, model_call_done *done,
                                    void *arg)
{
    const struct model_def *model = request->model;
    struct model_call *c = xcalloc(1, sizeof *c);
    c->dialect = request->dialect;
    c->model = model;
    c->done = done;
    c->arg = arg;
    c->should_retry = -1;
    c->retry_after_ms = c->reset_ms = -1;
    c->started_ms = c->heard_ms = loop_now_ms(loop);
    c->patience_ms = model->first_event_timeout_ms;
    c->request_bytes = request->body_n;
    (void)snprintf(c->call_prefix, sizeof c->call_prefix, "%s", request->call_prefix);
    c->options = (struct reader_options){ .output_limit_bytes = model->max_output_bytes,
                                          .call_prefix = c->call_prefix,
                                          .secret = request->secret,
                                          .listener = request->listener };
    buf_init(&c->error_body, ERROR_BODY_BYTES);
    arena_init(&c->arena, (size_t)1 << 20);
    loop_timer_init(loop, &c->silence, on_silence, c);
    loop_timer_start(&c->silence, c->patience_ms);

    struct http_header headers[MODEL_HEADERS_MAX + 1] = { { "Content-Type", "application/json" } };
    size_t count = 1 + c->dialect->headers(request->secret, &c->arena, headers + 1);
    int64_t timeout_ms =
        model->timeout_ms < request->left_ms ? model->timeout_ms : request->left_ms;
    char *url = arena_printf(&c->arena, "%s%s", model->base_url, c->dialect->path);
    const struct http_request http_request = {
        .method = "POST",
        .url = url ? url : "",
        .headers = headers,
        .header_count = count,
        .body = request->body,
        .body_bytes = request->body_n,
        .connect_timeout_ms = model->connect_timeout_ms,
        .timeout_ms = timeout_ms > 0 ? timeout_ms : 1,
        .body_limit_bytes = answer_limit(c),
        .no_resend = true, /* each request is billed: it is an attempt of its own */
    };
    static const struct http_events events = { on_head, on_body, on_done };
    c->http = http_start(http, &http_request, &events, c);
    return c;
}

void model_call_cancel(struct model_call *c)
{
    (void)http_cancel(c->http);
    call_free(c);
}
