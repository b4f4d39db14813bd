/*
 * test_http.c -- calls that go well, what is sent for them, and what cannot be
 * sent. See test_http_send.c for the rule of sending once, and test_http_bounds.c
 * for peers that misbehave.
 */
#include "common/clock.h"
#include "common/metrics.h"
#include "common/sse.h"
#include "tests/unit/cm.h"
#include "tests/unit/http_trial.h"
#include "tests/unit/peer.h"

#include <stdlib.h>
#include <time.h>

static struct peer peer;

/* ---- what goes out and comes back ---------------------------------------- */

static char last_request[PEER_REQUEST_BYTES];

static void serve_json(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t)) {
        memcpy(last_request, t->request, t->request_bytes + 1);
        peer_send(t, "HTTP/1.1 201 Created\r\n"
                     "Content-Type: application/json; charset=utf-8\r\n"
                     "X-Note: first\r\nX-Note: second\r\nX-Empty:\r\n"
                     "Content-Length: 11\r\n\r\n{\"ok\":true}");
    }
}

static bool check_head(struct trial *t, const struct http_head *head)
{
    (void)t;
    assert_int_equal(head->status, 201);
    assert_string_equal(http_head_get(head, "x-note"), "first");
    assert_string_equal(http_head_get(head, "X-EMPTY"), "");
    assert_null(http_head_get(head, "X-Missing"));
    return true;
}

static void a_call_is_answered(void **state)
{
    (void)state;
    peer_start(&peer, serve_json, NULL);
    const struct http_header headers[] = {
        { "Idempotency-Key", "\"8e03\"" },
        { "Content-Type", "application/json" },
        { "X-Empty", "" },
        { "X-Utf8", "h\xc3\xa4nde" },
    };
    struct trial t = { .port = peer.port, .path = "/invoices?a=b%20c", .on_head = check_head };
    trial_run(&t, &(struct http_request){ .method = "POST",
                                          .headers = headers,
                                          .header_count = 4,
                                          .body = "{\"n\":1}",
                                          .body_bytes = 7 });
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_int_equal(t.result.status, 201);
    assert_int_equal(t.heads, 1);
    assert_string_equal(t.body, "{\"ok\":true}");
    assert_int_equal(t.result.body_bytes, 11);
    assert_string_equal(t.content_type, "application/json; charset=utf-8");
    assert_int_equal(t.result.retry_after_ms, -1);
    assert_true(t.result.took_ms >= 0);
    assert_false(t.result.hopeless);

    assert_contains(last_request, "POST /invoices?a=b%20c HTTP/1.1\r\n");
    assert_contains(last_request, "\r\nIdempotency-Key: \"8e03\"\r\n");
    assert_contains(last_request, "\r\nContent-Type: application/json\r\n");
    assert_contains(last_request, "\r\nX-Empty:\r\n");
    assert_contains(last_request, "\r\nX-Utf8: h\xc3\xa4nde\r\n");
    assert_contains(last_request, "\r\nAccept-Encoding: identity\r\n");
    assert_contains(last_request, "\r\nUser-Agent: pawl/");
    assert_contains(last_request, "\r\nContent-Length: 7\r\n");
    assert_contains(last_request, "\r\n\r\n{\"n\":1}");
    assert_null(strstr(last_request, "Expect:"));
    peer_stop(&peer);
}

static void serve_head_too(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t)) {
        memcpy(last_request, t->request, t->request_bytes + 1);
        peer_send(t, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n");
        if (strncmp(t->request, "HEAD", 4) != 0)
            peer_send(t, "ok");
    }
}

static void every_method_is_sent_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *method, *body, *expected;
    } cases[] = {
        { "GET", NULL, "GET / HTTP/1.1\r\n" },      { "GET", "x", "GET / HTTP/1.1\r\n" },
        { "HEAD", NULL, "HEAD / HTTP/1.1\r\n" },    { "POST", NULL, "POST / HTTP/1.1\r\n" },
        { "PUT", "x", "PUT / HTTP/1.1\r\n" },       { "PUT", NULL, "PUT / HTTP/1.1\r\n" },
        { "PATCH", "x", "PATCH / HTTP/1.1\r\n" },   { "DELETE", NULL, "DELETE / HTTP/1.1\r\n" },
        { "DELETE", "x", "DELETE / HTTP/1.1\r\n" },
    };
    peer_start(&peer, serve_head_too, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool head = strcmp(cases[i].method, "HEAD") == 0;
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = cases[i].method,
                                              .body = cases[i].body,
                                              .body_bytes = cases[i].body ? 1 : 0 });
        assert_int_equal(t.result.end, HTTP_ANSWERED);
        assert_int_equal(t.result.status, 201);
        assert_string_equal(t.body, head ? "" : "ok");
        assert_int_equal(strncmp(last_request, cases[i].expected, strlen(cases[i].expected)), 0);
        assert_null(strstr(last_request, "Content-Type"));
        if (cases[i].body)
            assert_contains(last_request, "Content-Length: 1\r\n");
    }
    peer_stop(&peer);
}

static void a_large_body_is_sent_whole(void **state)
{
    (void)state;
    enum { SIZE = 60000 };
    char *body = malloc(SIZE);
    memset(body, 'b', SIZE);
    peer_start(&peer, serve_json, NULL);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "POST", .body = body, .body_bytes = SIZE });
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_int_equal(strspn(strstr(last_request, "\r\n\r\n") + 4, "b"), SIZE);
    free(body);
    peer_stop(&peer);
}

static void connections_are_used_again(void **state)
{
    (void)state;
    peer_start(&peer, peer_serve_ok, NULL);
    for (int i = 0; i < 5; i++) {
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = i % 2 ? "POST" : "GET" });
        assert_string_equal(t.body, "ok");
    }
    assert_int_equal(atomic_load(&peer.connections), 1);
    peer_stop(&peer);
}

static void many_calls_run_side_by_side(void **state)
{
    (void)state;
    enum { CALLS = 200 };
    static struct trial trials[CALLS];
    peer_start(&peer, peer_serve_ok, NULL);
    for (int i = 0; i < CALLS; i++) {
        trials[i] = (struct trial){ .port = peer.port };
        trial_start(&trials[i], &(struct http_request){ .method = "GET" });
    }
    assert_int_equal(http_in_flight(trial_http), CALLS);
    for (int i = 0; i < CALLS; i++) {
        trial_wait(&trials[i]);
        assert_string_equal(trials[i].body, "ok");
    }
    assert_int_equal(http_in_flight(trial_http), 0);
    peer_stop(&peer);
}

/* ---- streams and interim heads ------------------------------------------- */

static void serve_events(struct peer *p, struct peer_talk *t)
{
    const char *const pieces[] = { "data: on",   "e\n\nda", "ta: t\xe2",       "\x82\xac",
                                   "o\r\n\r\n:", "c\n\n",   "data: [DONE]\n\n" };
    if (!peer_read(t))
        return;
    peer_send(t, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
                 "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                 "Transfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n");
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char chunk[64];
        (void)snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(pieces[i]), pieces[i]);
        peer_send(t, chunk);
        (void)peer_sleep_ms(p, 5);
    }
    peer_send(t, "0\r\nX-End: yes\r\n\r\n");
    peer_wait_closed(t);
}

static char events_seen[200];

static enum outcome note_event(void *arg, const struct sse_event *ev, struct error *err)
{
    (void)arg;
    (void)err;
    strcat(strcat(events_seen, ev->data), ";");
    return OK;
}

static bool feed_events(struct trial *t, const char *bytes, size_t n)
{
    struct error err;
    return sse_feed(t->arg, bytes, n, &err) == OK;
}

static void an_event_stream_arrives_piece_by_piece(void **state)
{
    (void)state;
    struct sse sse;
    events_seen[0] = '\0';
    sse_init(&sse, 4096, note_event, NULL);
    peer_start(&peer, serve_events, NULL);
    struct trial t = { .port = peer.port, .stream = true, .on_body = feed_events, .arg = &sse };
    trial_run(&t, &(struct http_request){ .method = "POST" });
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_int_equal(t.result.status, 200);
    assert_string_equal(t.content_type, "text/event-stream");
    assert_int_equal(t.heads, 1);
    assert_true(t.pieces > 1);
    assert_string_equal(events_seen, "one;t\xe2\x82\xaco;[DONE];");
    sse_release(&sse);
    peer_stop(&peer);
}

static void serve_no_content(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t))
        peer_send(t, "HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n");
}

static void an_answer_without_a_body_has_a_head(void **state)
{
    (void)state;
    peer_start(&peer, serve_no_content, NULL);
    struct trial t = { .port = peer.port, .stream = true };
    trial_run(&t, &(struct http_request){ .method = "GET" });
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_int_equal(t.result.status, 204);
    assert_int_equal(t.heads, 1);
    assert_int_equal(t.pieces, 0);
    assert_string_equal(t.content_type, "");
    peer_stop(&peer);
}

/* ---- Retry-After --------------------------------------------------------- */

static void serve_retry_after(struct peer *p, struct peer_talk *t)
{
    char head[200];
    while (peer_read(t)) {
        (void)snprintf(head, sizeof head,
                       "HTTP/1.1 429 Slow Down\r\n%s\r\nContent-Length: 0\r\n\r\n",
                       (const char *)p->arg);
        peer_send(t, head);
    }
}

static int64_t retry_after(const char *header)
{
    static char line[160];
    (void)snprintf(line, sizeof line, "%s", header);
    peer_start(&peer, serve_retry_after, line);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET" });
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_int_equal(t.result.status, 429);
    peer_stop(&peer);
    return t.result.retry_after_ms;
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    assert_int_equal(retry_after("X: 1"), -1);
    assert_int_equal(retry_after("Retry-After: 0"), 0);
    assert_int_equal(retry_after("retry-after: 17"), 17000);
    assert_int_equal(retry_after("Retry-After: 99999999999999999999999"), 86400000);
    assert_int_equal(retry_after("Retry-After: -5"), -1);
    assert_int_equal(retry_after("Retry-After: soon"), -1);
    assert_int_equal(retry_after("Retry-After:"), -1);
    assert_int_equal(retry_after("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT"), 0);
    assert_int_equal(retry_after("Retry-After: 05 Nov 999999999"), 86400000);
    char header[64];
    time_t in_a_minute = time(NULL) + 60;
    struct tm tm;
    gmtime_r(&in_a_minute, &tm);
    (void)strftime(header, sizeof header, "Retry-After: %a, %d %b %Y %H:%M:%S GMT", &tm);
    int64_t ms = retry_after(header);
    assert_true(ms > 30000 && ms <= 60000);
    /* By the clock of who sent it, if he tells: ours may be wrong. */
    assert_int_equal(retry_after("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                 "Date: Sun, 06 Nov 1994 08:48:37 GMT"),
                     60000);
}

/* ---- redirects ----------------------------------------------------------- */

static struct peer other;

static void serve_redirects(struct peer *p, struct peer_talk *t)
{
    char head[300];
    while (peer_read(t)) {
        const char *to = NULL;
        if (strstr(t->request, "GET /once") || strstr(t->request, "POST /once"))
            to = "/there";
        else if (strstr(t->request, "GET /endless"))
            to = "/endless";
        else if (strstr(t->request, "GET /away"))
            to = p->arg;
        if (to)
            (void)snprintf(head, sizeof head,
                           "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nmoved",
                           to);
        peer_send(t, to ? head : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere");
    }
}

static void try_redirect(struct trial *t, const char *method, const char *path, int redirects,
                         bool single_send)
{
    *t = (struct trial){ .port = peer.port, .path = path };
    trial_run(t, &(struct http_request){
                     .method = method, .redirects = redirects, .single_send = single_send });
}

static void redirects_are_followed_only_where_it_is_safe(void **state)
{
    (void)state;
    char away[64];
    struct trial t;
    peer_start(&other, peer_serve_ok, NULL);
    (void)snprintf(away, sizeof away, "http://127.0.0.1:%d/secret", other.port);
    peer_start(&peer, serve_redirects, away);

    try_redirect(&t, "GET", "/once", 0, false); /* off by default: an answer like any other */
    assert_int_equal(t.result.status, 302);
    assert_string_equal(t.body, "moved");
    try_redirect(&t, "GET", "/once", 1, false);
    assert_int_equal(t.result.status, 200);
    assert_string_equal(t.body, "there");
    assert_int_equal(t.heads, 1);

    int before = atomic_load(&peer.requests);
    try_redirect(&t, "POST", "/once", 5, false);
    assert_int_equal(t.result.status, 302);
    try_redirect(&t, "GET", "/once", 5, true);
    assert_int_equal(t.result.status, 302);
    assert_int_equal(atomic_load(&peer.requests), before + 2);

    before = atomic_load(&peer.requests);
    try_redirect(&t, "GET", "/endless", 1000, false);
    assert_int_equal(t.result.end, HTTP_CUT);
    assert_contains(t.result.error.text, "redirects more than 5 times");
    assert_int_equal(atomic_load(&peer.requests), before + 1 + HTTP_REDIRECTS_MAX);

    try_redirect(&t, "GET", "/away", 3, false); /* its headers may hold a secret */
    assert_int_equal(t.result.end, HTTP_CUT);
    assert_contains(t.result.error.text, "redirects to another host");
    assert_int_equal(atomic_load(&other.requests), 0);
    peer_stop(&peer);
    peer_stop(&other);
}

/* ---- requests that can never be sent ------------------------------------- */

static void refuse(const struct http_request *request, const char *why)
{
    struct trial t = { 0 };
    trial_run(&t, request);
    assert_int_equal(t.result.end, HTTP_NOT_SENT);
    assert_true(t.result.hopeless);
    assert_int_equal(t.heads, 0);
    assert_contains(t.result.error.text, why);
    assert_null(strstr(t.result.error.text, "s3cret"));
}

static void wrong_urls_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "localhost:80/x?k=s3cret",
        "/path?k=s3cret",
        "ftp://127.0.0.1/s3cret",
        "file:///etc/passwd",
        "gopher://127.0.0.1/s3cret",
        "http://",
        "http:///s3cret",
        "http://127.0.0.1:99999/s3cret",
        "http://user:s3cret@127.0.0.1/",
        "http://s3cret@127.0.0.1/",
        "http://127.0.0.1/s3cret\r\nX: y",
        "http://127.0.0.1/a b s3cret",
        "http://exa mple/s3cret",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error err;
        if (http_check_url(wrong[i], &err) != REFUSED)
            fail_msg("'%s' was taken for a URL", wrong[i]);
        refuse(&(struct http_request){ .method = "GET", .url = wrong[i] }, "URL");
    }
    char *longest = malloc(10000);
    memset(longest, 'x', 9999);
    memcpy(longest, "http://h/", 9);
    longest[9999] = '\0';
    refuse(&(struct http_request){ .method = "GET", .url = longest }, "longer than 8192");
    free(longest);
    struct error err;
    assert_ok(http_check_url("http://127.0.0.1:8080/x?y=z#f", &err), &err);
    assert_ok(http_check_url("HTTPS://[::1]/", &err), &err);
}

static void wrong_headers_and_methods_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct http_header header;
        const char *why;
    } wrong[] = {
        { { "", "x" }, "not the name of a header" },
        { { "X Y", "x" }, "not the name of a header" },
        { { "X:", "x" }, "not the name of a header" },
        { { "X\r\nY", "x" }, "not the name of a header" },
        { { "X\xc3\xa4", "x" }, "not the name of a header" },
        { { "X-Key", "s3cret\r\nX-Other: y" }, "control character" },
        { { "X-Key", "s3cret\n" }, "control character" },
        { { "X-Key", "s3cret\x7f" }, "control character" },
        { { "content-length", "5" }, "made by the client itself" },
        { { "Transfer-Encoding", "chunked" }, "made by the client itself" },
        { { "Expect", "100-continue" }, "made by the client itself" },
        { { "Connection", "close" }, "made by the client itself" },
        { { "Accept-Encoding", "gzip" }, "made by the client itself" },
        { { "Proxy-Authorization", "s3cret" }, "for proxies" },
    };
    static const char *const methods[] = { "", "GE T", "CONNECT", "TRACE", "GET\r\n" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refuse(&(struct http_request){ .method = "GET",
                                       .url = "http://127.0.0.1:1/",
                                       .headers = &wrong[i].header,
                                       .header_count = 1 },
               wrong[i].why);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        refuse(&(struct http_request){ .method = methods[i], .url = "http://127.0.0.1:1/" },
               "not a method");
    struct http_header many[65];
    for (size_t i = 0; i < 65; i++)
        many[i] = (struct http_header){ "X", "y" };
    refuse(
        &(struct http_request){
            .method = "GET", .url = "http://127.0.0.1:1/", .headers = many, .header_count = 65 },
        "more than 64 headers");
}

static void a_refused_call_can_be_cancelled_before_it_says_so(void **state)
{
    (void)state;
    struct trial t = { 0 };
    trial_start(&t, &(struct http_request){ .method = "GET", .url = "nonsense" });
    assert_false(http_cancel(t.call));
    loop_turn(&trial_loop, 20);
    assert_false(t.done);
}

static void the_ends_are_counted(void **state)
{
    (void)state;
    struct buf page;
    struct error err;
    buf_init(&page, 1 << 20);
    assert_ok(metrics_render(&page, &err), &err);
    assert_contains(page.data, "\npawl_http_calls_total{end=\"answered\"} ");
    assert_contains(page.data, "\npawl_http_calls_total{end=\"not_sent\"} ");
    assert_contains(page.data, "\npawl_http_calls_total{end=\"cancelled\"} 1\n");
    assert_contains(page.data, "\npawl_http_calls_in_flight 0\n");
    assert_contains(page.data, "\npawl_http_call_seconds_count ");
    buf_release(&page);
    for (int i = 0; i < HTTP_ENDS; i++)
        assert_true(strlen(http_end_name((enum http_end)i)) > 1);
}

#define with_client(test) cmocka_unit_test_setup_teardown(test, trial_open, trial_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_client(a_call_is_answered),
        with_client(every_method_is_sent_as_it_is),
        with_client(a_large_body_is_sent_whole),
        with_client(connections_are_used_again),
        with_client(many_calls_run_side_by_side),
        with_client(an_event_stream_arrives_piece_by_piece),
        with_client(an_answer_without_a_body_has_a_head),
        with_client(retry_after_is_seconds_or_a_date),
        with_client(redirects_are_followed_only_where_it_is_safe),
        with_client(wrong_urls_are_refused),
        with_client(wrong_headers_and_methods_are_refused),
        with_client(a_refused_call_can_be_cancelled_before_it_says_so),
        with_client(the_ends_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
