#include "common/http_call.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    CONNECTIONS_DEFAULT = 256,
    READY_MAX = 128, /* descriptors looked at in one turn */
    TURN_MS = 50,    /* after which the rest waits for the next turn */
};

static const char *const end_names[HTTP_ENDS] = {
    [HTTP_ANSWERED] = "answered",   [HTTP_NOT_SENT] = "not_sent",   [HTTP_CUT] = "cut",
    [HTTP_TIMED_OUT] = "timed_out", [HTTP_TOO_LARGE] = "too_large", [HTTP_STOPPED] = "stopped",
    [HTTP_CANCELLED] = "cancelled",
};

const char *http_end_name(enum http_end end)
{
    return end < HTTP_ENDS ? end_names[end] : "?";
}

static struct metric calls_ended = {
    .kind = METRIC_COUNTER,
    .name = "pawl_http_calls_total",
    .help = "HTTP calls that ended, by their end.",
    .labels = { "end" },
};
static struct metric calls_in_flight = {
    .kind = METRIC_GAUGE,
    .name = "pawl_http_calls_in_flight",
    .help = "HTTP calls that were started and have not ended.",
};
static struct metric call_seconds = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_http_call_seconds",
    .help = "How long HTTP calls took that were answered.",
};

/* ---- libcurl asks the loop ----------------------------------------------- */

static void settle(struct http *http);

static void drive(struct http *http, curl_socket_t fd, int events)
{
    int running;
    http->inside++;
    CURLMcode rc = curl_multi_socket_action(http->multi, fd, events, &running);
    http->inside--;
    assert(rc == CURLM_OK);
    settle(http);
}

static void on_ready(void *arg, int events)
{
    (void)events;
    struct http *http = arg;
    struct epoll_event ready[READY_MAX];
    int n = epoll_wait(http->epoll_fd, ready, READY_MAX, 0); /* the rest: next turn */
    int64_t until_ms = clock_mono_ms() + TURN_MS;            /* many busy peers hold no loop */
    for (int i = 0; i < n && (i == 0 || clock_mono_ms() < until_ms); i++) {
        uint32_t e = ready[i].events;
        drive(http, ready[i].data.fd,
              (e & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                  (e & EPOLLOUT ? CURL_CSELECT_OUT : 0) | (e & EPOLLERR ? CURL_CSELECT_ERR : 0));
    }
}

/* `known` is what was assigned to the descriptor below, as long as libcurl uses it. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy;
    struct http *http = arg;
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event event = { .data.fd = fd };
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    int rc = epoll_ctl(http->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (rc != 0 && known && errno == ENOENT) /* closed and opened again in between */
        rc = epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    assert(rc == 0); /* else the kernel has no memory for it: restart */
    if (!known) {
        CURLMcode assigned = curl_multi_assign(http->multi, fd, http);
        assert(assigned == CURLM_OK);
    }
    return 0;
}

static void on_curl_time(void *arg)
{
    drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long delay_ms, void *arg)
{
    (void)multi;
    struct http *http = arg;
    loop_timer_stop(&http->timer);
    loop_defer_cancel(&http->now);
    if (delay_ms == 0)
        loop_defer(http->loop, &http->now, on_curl_time, http);
    else if (delay_ms > 0)
        loop_timer_start(&http->timer, delay_ms);
    return 0;
}

/* ---- the end of a call --------------------------------------------------- */

static void unlink_call(struct http_call *call)
{
    struct http *http = call->http;
    loop_timer_close(&call->timer);
    if (call->in_multi) {
        CURLMcode rc = curl_multi_remove_handle(http->multi, call->easy);
        assert(rc == CURLM_OK);
        call->in_multi = false;
    }
    if (call->prev)
        call->prev->next = call->next;
    else
        http->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    http->in_flight--;
    metric_add(metric_with(&calls_in_flight), -1);
}

static void free_call(struct http_call *call)
{
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    curl_url_cleanup(call->origin);
    buf_release(&call->body);
    free(call);
}

void http_call_drop(struct http_call *call)
{
    unlink_call(call);
    free_call(call);
}

void http_call_end(struct http_call *call, enum http_end end)
{
    struct http_result result = {
        .end = end,
        .maybe_sent = call->sends > 0,
        .hopeless = call->hopeless,
        .forbidden = call->forbidden,
        .body_bytes = call->body_bytes,
        .retry_after_ms = http_call_retry_after_ms(call),
        .content_type = http_call_header(call, "Content-Type"),
        .took_ms = clock_mono_ms() - call->started_ms,
        .error = call->error,
    };
    assert(result.maybe_sent == (end != HTTP_NOT_SENT));
    if (call->easy)
        (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &result.status);
    if (!call->events.on_body)
        result.body = call->body.data;
    if (!result.content_type)
        result.content_type = "";

    call->ending = call->ended = true;
    unlink_call(call); /* its connection may serve the calls that on_done starts */
    metric_add(metric_with(&calls_ended, http_end_name(end)), 1);
    if (end == HTTP_ANSWERED)
        metric_observe(metric_with(&call_seconds), (double)result.took_ms / 1000);
    call->events.on_done(call->arg, &result);
    free_call(call);
}

/* ---- start and cancel ---------------------------------------------------- */

static int64_t or_default(int64_t value_ms, int64_t default_ms)
{
    if (value_ms <= 0)
        return default_ms;
    return value_ms < INT32_MAX ? value_ms : INT32_MAX; /* libcurl's limit on some machines */
}

static void give_to_curl(struct http_call *call)
{
    CURLMcode rc = curl_multi_add_handle(call->http->multi, call->easy);
    assert(rc == CURLM_OK);
    call->in_multi = true;
}

static void park(struct http_call *call)
{
    if (call->parked)
        return;
    struct http_call **end = &call->http->parked; /* few: what one run of libcurl brought */
    while (*end)
        end = &(*end)->next_parked;
    call->parked = true;
    call->next_parked = NULL;
    *end = call;
}

void http_call_again(struct http_call *call)
{
    int64_t left_ms = call->timeout_ms - (clock_mono_ms() - call->started_ms);
    CURLMcode rc = curl_multi_remove_handle(call->http->multi, call->easy);
    assert(rc == CURLM_OK);
    call->soiled = call->ending = false;
    SET(call->easy, CURLOPT_FRESH_CONNECT, 1L);
    SET(call->easy, CURLOPT_TIMEOUT_MS, (long)(left_ms > 1 ? left_ms : 1));
    give_to_curl(call);
}

struct http_call *http_start(struct http *http, const struct http_request *request,
                             const struct http_events *events, void *arg)
{
    struct http_call *call = xcalloc(1, sizeof *call);
    assert(events->on_done);
    call->http = http;
    call->events = *events;
    call->arg = arg;
    call->started_ms = clock_mono_ms();
    call->verdict = HTTP_ENDS;
    call->connect_timeout_ms = or_default(request->connect_timeout_ms, HTTP_CONNECT_TIMEOUT_MS);
    call->timeout_ms = or_default(request->timeout_ms, HTTP_TIMEOUT_MS);
    call->first_byte_timeout_ms = or_default(request->first_byte_timeout_ms, 0);
    call->silence_timeout_ms = or_default(request->silence_timeout_ms, 0);
    call->body_limit_bytes =
        request->body_limit_bytes ? request->body_limit_bytes : HTTP_BODY_LIMIT_BYTES;
    call->header_limit_bytes =
        request->header_limit_bytes ? request->header_limit_bytes : HTTP_HEADER_LIMIT_BYTES;
    buf_init(&call->body, call->body_limit_bytes);
    loop_timer_init(http->loop, &call->timer, http_on_call_time, call);

    call->next = http->calls;
    if (call->next)
        call->next->prev = call;
    http->calls = call;
    http->in_flight++;
    metric_add(metric_with(&calls_in_flight), 1);

    call->hopeless = http_call_prepare(call, request, &call->error) != OK;
    if (call->hopeless)
        loop_timer_start(&call->timer, 0);
    else if (http->inside > 0)
        park(call);
    else
        give_to_curl(call);
    return call;
}

bool http_cancel(struct http_call *call)
{
    bool maybe_sent = call->sends > 0;
    if (call->ended || call->cancelled)
        return maybe_sent;
    call->cancelled = true;
    metric_add(metric_with(&calls_ended, http_end_name(HTTP_CANCELLED)), 1);
    if (call->http->inside > 0)
        park(call);
    else if (!call->ending)
        http_call_drop(call);
    return maybe_sent;
}

size_t http_in_flight(const struct http *http)
{
    return http->in_flight;
}

/* libcurl has returned: now do what its callbacks wanted to do, and tell the
 * ends of calls. on_done may start and cancel calls at once.                */
static void settle(struct http *http)
{
    for (struct http_call *call; (call = http->parked);) {
        http->parked = call->next_parked;
        call->parked = false;
        if (call->cancelled)
            http_call_drop(call);
        else
            give_to_curl(call);
    }
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left))) {
        assert(message->msg == CURLMSG_DONE);
        struct http_call *call = NULL;
        CURLcode code = message->data.result;
        CURLcode rc = curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        assert(rc == CURLE_OK && call);
        http_call_ended_with(call, code);
    }
}

/* ---- the client ---------------------------------------------------------- */

enum outcome http_init(struct http **out, struct loop *loop, const struct http_options *options,
                       struct error *err)
{
    static const struct http_options none;
    const struct http_options *o = options ? options : &none;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return fail(err, BROKEN, "cannot start libcurl");
    metrics_register(&calls_ended);
    metrics_register(&calls_in_flight);
    metrics_register(&call_seconds);

    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        curl_global_cleanup();
        return fail(err, BROKEN, "cannot open the descriptors of the HTTP client: %s",
                    strerror(errno));
    }
    struct http *http = xcalloc(1, sizeof *http);
    http->loop = loop;
    http->epoll_fd = epoll_fd;
    enum outcome outcome =
        loop_watch_start(loop, &http->watch, epoll_fd, LOOP_READ, on_ready, http, err);
    if (outcome != OK) {
        close(epoll_fd);
        free(http);
        curl_global_cleanup();
        return outcome;
    }
    http->user_agent = xstrdup(o->user_agent ? o->user_agent : "pawl/" PAWL_VERSION);
    http->ca_file = o->ca_file ? xstrdup(o->ca_file) : NULL;
    http->multi = curl_multi_init();
    assert(http->multi);
    loop_timer_init(loop, &http->timer, on_curl_time, http);
    SET_MULTI(http->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    SET_MULTI(http->multi, CURLMOPT_SOCKETDATA, http);
    SET_MULTI(http->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    SET_MULTI(http->multi, CURLMOPT_TIMERDATA, http);
    SET_MULTI(http->multi, CURLMOPT_MAXCONNECTS,
              (long)(o->connections ? o->connections : CONNECTIONS_DEFAULT));
    *out = http;
    return OK;
}

void http_release(struct http *http)
{
    if (!http)
        return;
    assert(http->inside == 0);
    for (struct http_call *call = http->calls, *next; call; call = next) {
        next = call->next;
        assert(!call->ending);
        (void)http_cancel(call);
    }
    CURLMcode rc = curl_multi_cleanup(http->multi);
    assert(rc == CURLM_OK);
    loop_watch_close(&http->watch);
    close(http->epoll_fd);
    loop_timer_close(&http->timer);
    loop_defer_cancel(&http->now);
    free(http->user_agent);
    free(http->ca_file);
    free(http->sockets);
    free(http);
    curl_global_cleanup();
}
