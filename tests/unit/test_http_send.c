/*
 * test_http_send.c -- whether a request was sent, and that it is not sent twice.
 *
 * Two functions of the libraries below are replaced by ours, to show what would
 * happen without a guard and to make names resolve slowly: curl_easy_setopt() and
 * getaddrinfo(). The program's own symbols win over those of shared libraries.
 */
#include "common/clock.h"
#include "tests/unit/cm.h"
#include "tests/unit/http_trial.h"
#include "tests/unit/peer.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct peer peer;

/* ---- what is replaced ---------------------------------------------------- */

static bool connections_may_be_old; /* drops the options that forbid it */

#undef curl_easy_setopt
CURLcode curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
    CURLcode (*real)(CURL *, CURLoption, ...) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "curl_easy_setopt");
    va_list args;
    va_start(args, option);
    void *value = va_arg(args, void *); /* longs, offsets and pointers travel alike */
    va_end(args);
    if (connections_may_be_old &&
        (option == CURLOPT_FRESH_CONNECT || option == CURLOPT_FORBID_REUSE))
        return CURLE_OK;
    return real(curl, option, value);
}

enum { RESOLVER_STUCK_MS = 15000 };
static atomic_bool resolver_stuck;
static atomic_int resolving;

/* "missing.test" does not exist; "slow.test" does not answer as long as
 * resolver_stuck is set; all else is asked in earnest.                      */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && strcmp(name, "missing.test") == 0)
        return EAI_NONAME;
    if (!name || strcmp(name, "slow.test") != 0)
        return real(name, service, hints, found);
    atomic_fetch_add(&resolving, 1);
    int64_t give_up = clock_mono_ms() + RESOLVER_STUCK_MS;
    while (atomic_load(&resolver_stuck) && clock_mono_ms() < give_up)
        (void)peer_sleep_ms(&peer, 5);
    atomic_fetch_sub(&resolving, 1);
    return EAI_AGAIN;
}

static void free_resolver(void)
{
    atomic_store(&resolver_stuck, false);
    trial_until(atomic_load(&resolving) == 0);
}

/* ---- certainly not sent -------------------------------------------------- */

static void assert_not_sent(const struct trial *t, const char *why)
{
    assert_int_equal(t->result.end, HTTP_NOT_SENT);
    assert_false(t->result.maybe_sent);
    assert_false(t->result.hopeless);
    assert_int_equal(t->result.status, 0);
    assert_contains(t->result.error.text, why);
    assert_null(strstr(t->result.error.text, "s3cret"));
}

static void a_refused_connection_is_not_sent(void **state)
{
    (void)state;
    int fd;
    struct trial t = { .port = peer_refusing_port(&fd), .path = "/x?key=s3cret" };
    trial_run(&t, &(struct http_request){ .method = "POST", .single_send = true });
    assert_not_sent(&t, "Connection refused");
    assert_contains(t.result.error.text, "127.0.0.1:");
    close(fd);
}

static void an_unresolved_name_is_not_sent(void **state)
{
    (void)state;
    struct trial t = { 0 };
    trial_run(&t, &(struct http_request){ .method = "GET", .url = "http://missing.test/?s3cret" });
    assert_not_sent(&t, "cannot resolve the name in missing.test:80");
}

static void a_stuck_resolver_does_not_hold_the_loop(void **state)
{
    (void)state;
    int64_t began = clock_mono_ms();
    atomic_store(&resolver_stuck, true);
    struct trial t = { 0 }, cancelled = { 0 }, released = { 0 };
    struct http_request request = { .method = "GET", .url = "http://slow.test/" };
    trial_start(&cancelled, &request);
    trial_start(&released, &request);
    request.connect_timeout_ms = 100;
    trial_start(&t, &request);
    trial_until(atomic_load(&resolving) == 3);

    trial_wait(&t); /* while the resolver is still stuck */
    assert_not_sent(&t, "no connection to slow.test:80 within 100 ms");
    assert_false(http_cancel(cancelled.call));
    trial_close(state); /* with `released` in flight */
    assert_true(clock_mono_ms() - began < RESOLVER_STUCK_MS / 2);
    assert_int_equal(atomic_load(&resolving), 3);
    assert_int_equal(trial_open(state), 0);
    assert_false(cancelled.done);
    assert_false(released.done);
    free_resolver();
}

/* A listener whose queue is full: further connections neither come nor fail. */
static void a_connect_timeout_is_not_sent(void **state)
{
    (void)state;
    enum { FILLERS = 8 };
    int fd, fillers[FILLERS];
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int port = peer_refusing_port(&fd);
    at.sin_port = htons((in_port_t)port);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&at, sizeof at);
    }
    struct trial t = { .port = port }, whole = { .port = port };
    trial_start(&t, &(struct http_request){ .method = "GET", .connect_timeout_ms = 150 });
    trial_start(&whole,
                &(struct http_request){ .method = "GET", .timeout_ms = 120, .single_send = true });
    trial_wait(&t);
    trial_wait(&whole);
    assert_not_sent(&t, "within 150 ms");
    assert_true(t.result.took_ms >= 149);
    assert_not_sent(&whole, "within 120 ms");
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(fd);
}

static void serve_hello_back(struct peer *p, struct peer_talk *t)
{
    (void)p;
    char hello[600];
    if (recv(t->fd, hello, sizeof hello, 0) > 0)
        peer_send(t, "I do not speak TLS\r\n\r\n");
    peer_wait_closed(t);
}

static void a_failed_handshake_is_not_sent(void **state)
{
    (void)state;
    char url[64];
    peer_start(&peer, serve_hello_back, NULL);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%d/s3cret", peer.port);
    struct trial t = { 0 };
    trial_run(&t, &(struct http_request){ .method = "POST", .url = url, .body = "s3cret" });
    assert_not_sent(&t, "TLS with 127.0.0.1:");
    assert_int_equal(atomic_load(&peer.connections), 1);
    peer_stop(&peer);
}

static void hang_up_unread(struct peer *p, struct peer_talk *t)
{
    (void)p;
    char first;
    (void)recv(t->fd, &first, 1, MSG_PEEK); /* something has come; nothing is read */
    peer_reset(t);
}

/* The peer executed nothing, but who could know: the request was on its way. */
static void a_request_on_its_way_counts_as_sent(void **state)
{
    (void)state;
    peer_start(&peer, hang_up_unread, NULL);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "POST", .single_send = true });
    assert_int_equal(t.result.end, HTTP_CUT);
    assert_true(t.result.maybe_sent);
    peer_stop(&peer);
}

static void hang_up_at_once(struct peer *p, struct peer_talk *t)
{
    (void)p;
    peer_reset(t);
}

/* Whether the reset meets the connect or the request is chance. In both cases the
 * end says what is known (http_trial.c checks that not sent is certain).    */
static void a_reset_at_once_is_told_as_it_is(void **state)
{
    (void)state;
    peer_start(&peer, hang_up_at_once, NULL);
    for (int i = 0; i < 50; i++) {
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "POST", .single_send = true });
        assert_true(t.result.end == HTTP_CUT || t.result.end == HTTP_NOT_SENT);
    }
    peer_stop(&peer);
}

/* ---- sent once ----------------------------------------------------------- */

/* Executes whatever is asked. Answers the first request of a connection, and
 * hangs up without a word on "invoice" when it is not the first.            */
static void execute_then_hang_up(struct peer *p, struct peer_talk *t)
{
    while (peer_read(t)) {
        if (strcmp(peer_body(t), "invoice") == 0) {
            atomic_fetch_add((atomic_int *)p->arg, 1);
            if (t->requests > 1)
                return;
        }
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

/* Warms a connection up, then sends one invoice. Answers the executions. */
static int send_invoice(struct trial *t, const struct http_request *how)
{
    atomic_int executed = 0;
    peer_start(&peer, execute_then_hang_up, &executed);
    struct trial warm = { .port = peer.port };
    trial_run(&warm, &(struct http_request){ .method = "POST", .body = "hi", .body_bytes = 2 });
    assert_int_equal(warm.result.end, HTTP_ANSWERED);
    *t = (struct trial){ .port = peer.port };
    struct http_request request = *how;
    request.method = "POST";
    request.body = "invoice";
    request.body_bytes = 7;
    trial_run(t, &request);
    peer_stop(&peer);
    return atomic_load(&executed);
}

/* The control: this is what libcurl does when nobody forbids it. Should it stop
 * to do so, the tests below prove nothing any more.                         */
static void without_the_guards_libcurl_sends_twice(void **state)
{
    (void)state;
    struct trial t;
    assert_int_equal(send_invoice(&t, &(struct http_request){ 0 }), 2);
    assert_int_equal(t.result.end, HTTP_ANSWERED);
}

static void a_single_send_is_executed_once(void **state)
{
    (void)state;
    struct trial t;
    assert_int_equal(send_invoice(&t, &(struct http_request){ .single_send = true }), 1);
    assert_int_equal(t.result.end, HTTP_ANSWERED); /* its connection was a fresh one */
}

static void the_second_guard_holds_without_the_first(void **state)
{
    (void)state;
    struct trial t;
    connections_may_be_old = true;
    int executed = send_invoice(&t, &(struct http_request){ .single_send = true });
    connections_may_be_old = false;
    assert_int_equal(executed, 1);
    assert_int_equal(t.result.end, HTTP_CUT);
    assert_true(t.result.maybe_sent);
    assert_contains(t.result.error.text, "the call is not sent again");
}

static void a_call_without_resend_uses_old_connections_and_is_executed_once(void **state)
{
    (void)state;
    struct trial t;
    assert_int_equal(send_invoice(&t, &(struct http_request){ .no_resend = true }), 1);
    assert_int_equal(t.result.end, HTTP_CUT); /* a fresh connection would have had its answer */
    assert_true(t.result.maybe_sent);
    assert_contains(t.result.error.text, "without an answer");
}

static void execute_and_hang_up(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
}

static void a_single_send_that_is_cut_may_have_been_sent(void **state)
{
    (void)state;
    peer_start(&peer, execute_and_hang_up, NULL);
    struct trial t = { .port = peer.port, .path = "/?s3cret" };
    trial_run(&t, &(struct http_request){ .method = "POST", .single_send = true });
    assert_int_equal(t.result.end, HTTP_CUT);
    assert_true(t.result.maybe_sent);
    assert_contains(t.result.error.text, "without an answer");
    assert_null(strstr(t.result.error.text, "s3cret"));
    assert_int_equal(atomic_load(&peer.requests), 1);
    assert_int_equal(atomic_load(&peer.connections), 1);
    peer_stop(&peer);
}

static void single_sends_never_share_a_connection(void **state)
{
    (void)state;
    peer_start(&peer, peer_serve_ok, NULL);
    for (int i = 0; i < 10; i++) {
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "POST", .single_send = true });
        assert_string_equal(t.body, "ok");
    }
    assert_int_equal(atomic_load(&peer.connections), 10);
    assert_int_equal(atomic_load(&peer.requests), 10);
    peer_stop(&peer);
}

static void serve_status(struct peer *p, struct peer_talk *t)
{
    char head[300];
    while (peer_read(t)) {
        (void)snprintf(head, sizeof head,
                       "HTTP/1.1 %s\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                       "WWW-Authenticate: Negotiate\r\nProxy-Authenticate: Basic\r\n"
                       "Retry-After: 0\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
                       (const char *)p->arg);
        peer_send(t, head);
    }
}

static void no_status_makes_libcurl_send_again(void **state)
{
    (void)state;
    static char statuses[][32] = { "301 Moved", "303 See Other", "307 Temporary", "308 Permanent",
                                   "401 No",    "407 Proxy",     "408 Late",      "417 Expect",
                                   "425 Early", "429 Slow",      "500 Oh",        "503 Later" };
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        peer_start(&peer, serve_status, statuses[i]);
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "POST",
                                              .body = "invoice",
                                              .body_bytes = 7,
                                              .redirects = 5,
                                              .single_send = i % 2 == 0 });
        assert_int_equal(t.result.end, HTTP_ANSWERED);
        assert_int_equal(t.result.status, strtol(statuses[i], NULL, 10));
        assert_int_equal(atomic_load(&peer.requests), 1);
        peer_stop(&peer);
    }
}

static void serve_one_per_connection(struct peer *p, struct peer_talk *t)
{
    (void)p;
    if (peer_read(t))
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static void a_dead_connection_does_not_hurt_repeatable_calls(void **state)
{
    (void)state;
    peer_start(&peer, serve_one_per_connection, NULL);
    for (int i = 0; i < 10; i++) {
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "POST", .body = "x", .body_bytes = 1 });
        assert_string_equal(t.body, "ok");
    }
    assert_int_equal(atomic_load(&peer.connections), 10);
    peer_stop(&peer);
}

static atomic_int unasked; /* answers that were sent although nobody had asked */

static void answer_twice(struct peer *p, struct peer_talk *t)
{
    while (peer_read(t)) {
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        (void)peer_sleep_ms(p, 5); /* else it comes with the first, and libcurl sees it */
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        atomic_fetch_add(&unasked, 1);
    }
}

static void what_nobody_asked_for_is_no_answer(void **state)
{
    (void)state;
    peer_start(&peer, answer_twice, NULL);
    for (int i = 0; i < 5; i++) {
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "GET", .redirects = i % 2 });
        assert_int_equal(t.result.end, HTTP_ANSWERED);
        assert_string_equal(t.body, "ok");
        assert_int_equal(t.heads, 1);
        trial_until(atomic_load(&unasked) == i + 1);
    }
    assert_int_equal(atomic_load(&peer.requests), 5);
    assert_int_equal(atomic_load(&peer.connections), 5);
    peer_stop(&peer);
}

/* ---- cancelling ---------------------------------------------------------- */

static atomic_int hung_up;

static void read_and_wait(struct peer *p, struct peer_talk *t)
{
    (void)p;
    if (!peer_read(t))
        return;
    peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
    peer_wait_closed(t);
    atomic_fetch_add(&hung_up, 1);
}

static void cancelling_tells_what_is_known(void **state)
{
    (void)state;
    atomic_store(&hung_up, 0);
    peer_start(&peer, read_and_wait, NULL);
    struct trial before = { .port = peer.port }, after = { .port = peer.port };
    trial_start(&before, &(struct http_request){ .method = "POST", .single_send = true });
    assert_false(http_cancel(before.call));

    trial_start(&after, &(struct http_request){ .method = "POST", .single_send = true });
    trial_until(atomic_load(&peer.requests) == 1);
    assert_true(http_cancel(after.call));
    assert_int_equal(http_in_flight(trial_http), 0);
    trial_until(atomic_load(&hung_up) == 1); /* the connection went with the call */
    assert_false(before.done);
    assert_false(after.done);
    assert_int_equal(atomic_load(&peer.requests), 1);
    peer_stop(&peer);
}

static bool cancel_at_head(struct trial *t, const struct http_head *head)
{
    (void)head;
    assert_true(http_cancel(t->call));
    assert_true(http_cancel(t->call)); /* twice is harmless */
    return t->arg != NULL;
}

static bool cancel_at_body(struct trial *t, const char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    assert_true(http_cancel(t->call));
    return t->arg != NULL;
}

static void a_call_can_be_cancelled_in_its_own_callbacks(void **state)
{
    (void)state;
    struct trial t[5] = {
        { .on_head = cancel_at_head },
        { .on_head = cancel_at_head, .arg = &peer, .stream = true },
        { .on_body = cancel_at_body, .stream = true },
        { .on_body = cancel_at_body, .arg = &peer, .stream = true },
        { .on_head = cancel_at_head, .path = "/empty" },
    };
    atomic_store(&hung_up, 0);
    peer_start(&peer, read_and_wait, NULL);
    for (int i = 0; i < 4; i++) {
        t[i].port = peer.port;
        trial_start(&t[i], &(struct http_request){ .method = "GET" });
    }
    trial_until(http_in_flight(trial_http) == 0);
    trial_until(atomic_load(&hung_up) == 4);
    peer_stop(&peer);

    static char empty[] = "204 No Content"; /* on_head comes at the very end */
    peer_start(&peer, serve_status, empty);
    t[4].port = peer.port;
    trial_start(&t[4], &(struct http_request){ .method = "GET" });
    trial_until(http_in_flight(trial_http) == 0);
    for (int i = 0; i < 5; i++)
        assert_false(t[i].done);
    peer_stop(&peer);
}

static struct trial victims[3], followers[3];

static bool meddle_at_body(struct trial *t, const char *bytes, size_t n)
{
    (void)t;
    (void)bytes;
    (void)n;
    if (victims[0].call && !victims[0].arg) {
        victims[0].arg = t;
        (void)http_cancel(victims[0].call);
        for (int i = 0; i < 2; i++)
            trial_start(&followers[i], &(struct http_request){ .method = "GET" });
        assert_false(http_cancel(followers[1].call)); /* started and cancelled inside libcurl */
    }
    return true;
}

static void meddle_at_done(struct trial *t)
{
    (void)t;
    (void)http_cancel(victims[1].call);
    trial_start(&followers[2], &(struct http_request){ .method = "GET" });
}

static void callbacks_may_start_and_cancel_other_calls(void **state)
{
    (void)state;
    static struct peer slow;
    peer_start(&peer, peer_serve_ok, NULL);
    peer_start(&slow, read_and_wait, NULL);
    memset(victims, 0, sizeof victims);
    memset(followers, 0, sizeof followers);
    for (int i = 0; i < 3; i++) {
        followers[i].port = peer.port;
        victims[i].port = slow.port;
        trial_start(&victims[i], &(struct http_request){ .method = "GET" });
    }
    struct trial t = {
        .port = peer.port, .stream = true, .on_body = meddle_at_body, .on_done = meddle_at_done
    };
    trial_run(&t, &(struct http_request){ .method = "GET" });
    trial_wait(&followers[0]);
    trial_wait(&followers[2]);
    assert_string_equal(followers[0].body, "ok");
    assert_string_equal(followers[2].body, "ok");
    assert_false(followers[1].done);
    assert_false(victims[0].done);
    assert_false(victims[1].done);
    assert_int_equal(http_in_flight(trial_http), 1); /* victims[2] goes with the client */
    trial_close(state);
    assert_int_equal(trial_open(state), 0);
    assert_false(victims[2].done);
    peer_stop(&slow);
    peer_stop(&peer);
}

#define with_client(test) cmocka_unit_test_setup_teardown(test, trial_open, trial_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_client(a_refused_connection_is_not_sent),
        with_client(an_unresolved_name_is_not_sent),
        with_client(a_stuck_resolver_does_not_hold_the_loop),
        with_client(a_connect_timeout_is_not_sent),
        with_client(a_failed_handshake_is_not_sent),
        with_client(a_request_on_its_way_counts_as_sent),
        with_client(a_reset_at_once_is_told_as_it_is),
        with_client(without_the_guards_libcurl_sends_twice),
        with_client(a_single_send_is_executed_once),
        with_client(the_second_guard_holds_without_the_first),
        with_client(a_call_without_resend_uses_old_connections_and_is_executed_once),
        with_client(a_single_send_that_is_cut_may_have_been_sent),
        with_client(single_sends_never_share_a_connection),
        with_client(no_status_makes_libcurl_send_again),
        with_client(a_dead_connection_does_not_hurt_repeatable_calls),
        with_client(what_nobody_asked_for_is_no_answer),
        with_client(cancelling_tells_what_is_known),
        with_client(a_call_can_be_cancelled_in_its_own_callbacks),
        with_client(callbacks_may_start_and_cancel_other_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
