/*
 * test_http_bounds.c -- peers that are silent, slow, endless or broken: every call
 * ends, in bounded memory and time, and is called what it was.
 */
#include "common/buf.h"
#include "common/clock.h"
#include "tests/unit/cm.h"
#include "tests/unit/http_trial.h"
#include "tests/unit/peer.h"

#include <stdlib.h>
#include <string.h>

static struct peer peer;

/* ---- time ---------------------------------------------------------------- */

static void never_answer(struct peer *p, struct peer_talk *t)
{
    (void)p;
    if (peer_read(t))
        peer_wait_closed(t);
}

static void a_peer_that_never_answers_is_left(void **state)
{
    (void)state;
    peer_start(&peer, never_answer, NULL);
    struct trial whole = { .port = peer.port }, first = { .port = peer.port };
    trial_start(&whole, &(struct http_request){ .method = "POST", .timeout_ms = 150 });
    trial_start(&first, &(struct http_request){ .method = "POST", .first_byte_timeout_ms = 100 });
    trial_wait(&whole);
    trial_wait(&first);
    assert_int_equal(whole.result.end, HTTP_TIMED_OUT);
    assert_contains(whole.result.error.text, "no answer from 127.0.0.1:");
    assert_contains(whole.result.error.text, "within 150 ms");
    assert_true(whole.result.took_ms >= 149);
    assert_int_equal(first.result.end, HTTP_TIMED_OUT);
    assert_contains(first.result.error.text, "within 100 ms");
    assert_true(first.result.took_ms >= 99);
    assert_int_equal(first.result.status, 0);
    peer_stop(&peer);
}

static void drip(struct peer *p, struct peer_talk *t)
{
    if (!peer_read(t))
        return;
    peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while (peer_sleep_ms(p, 10) && peer_send(t, "x"))
        continue;
}

static void dripping_is_no_silence_but_it_ends(void **state)
{
    (void)state;
    peer_start(&peer, drip, NULL);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET",
                                          .timeout_ms = 500,
                                          .first_byte_timeout_ms = 400,
                                          .silence_timeout_ms = 400 });
    assert_int_equal(t.result.end, HTTP_TIMED_OUT);
    assert_contains(t.result.error.text, "no whole answer");
    assert_contains(t.result.error.text, "within 500 ms");
    assert_int_equal(t.result.status, 200);
    assert_true(t.result.body_bytes > 0);
    assert_int_equal(strspn(t.body, "x"), t.result.body_bytes); /* what came is there */
    peer_stop(&peer);
}

static void speak_then_fall_silent(struct peer *p, struct peer_talk *t)
{
    (void)p;
    if (!peer_read(t))
        return;
    peer_send(t, p->arg);
    peer_wait_closed(t);
}

static void silence_after_the_first_byte_ends_the_call(void **state)
{
    (void)state;
    static char beginnings[][100] = {
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        peer_start(&peer, speak_then_fall_silent, beginnings[i]);
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "GET",
                                              .first_byte_timeout_ms = 20000,
                                              .silence_timeout_ms = 80 });
        assert_int_equal(t.result.end, HTTP_TIMED_OUT);
        assert_contains(t.result.error.text, "fell silent for 80 ms");
        assert_true(t.result.took_ms >= 79);
        peer_stop(&peer);
    }
}

static atomic_bool answered;

static void answer_in_time(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t)) {
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        atomic_store(&answered, true);
    }
}

/* Until the answer stands in the socket, and its deadline has passed. */
static void block(void *arg)
{
    const struct trial *t = arg;
    int64_t until_ms = clock_mono_ms() + 60;
    if (atomic_load(&peer.requests) == 0)
        return; /* this machine is so slow that the deadline does not run yet */
    while (!t->done && (!atomic_load(&answered) || clock_mono_ms() < until_ms))
        (void)peer_sleep_ms(&peer, 5);
}

static bool block_the_loop(struct trial *t, const char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    block(t->arg);
    return true;
}

/* The answer arrives in time, but the loop is busy with another call until after
 * the deadline: what stands in the socket is read before the call is given up. */
static void a_busy_loop_does_not_make_the_peer_silent(void **state)
{
    (void)state;
    static struct peer other;
    atomic_store(&answered, false);
    peer_start(&peer, answer_in_time, NULL);
    peer_start(&other, peer_serve_ok, NULL);
    struct trial t = { .port = peer.port };
    struct trial busy = {
        .port = other.port, .stream = true, .on_body = block_the_loop, .arg = &t
    };
    trial_start(&busy, &(struct http_request){ .method = "GET" });
    trial_start(&t, &(struct http_request){ .method = "GET", .first_byte_timeout_ms = 50 });
    trial_wait(&busy);
    trial_wait(&t);
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_string_equal(t.body, "ok");
    peer_stop(&other);
    peer_stop(&peer);
}

/* ---- size ---------------------------------------------------------------- */

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %ld", &pages), 1);
    (void)fclose(f);
    return pages * 4;
}

enum { BLOCK = 64 * 1024, FLOOD_BYTES = 1 << 30 };

static void flood(struct peer *p, struct peer_talk *t)
{
    (void)p;
    static const char block_of_zeros[BLOCK];
    if (!peer_read(t))
        return;
    char head[100];
    (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", FLOOD_BYTES);
    peer_send(t, head);
    for (size_t sent = 0; sent < FLOOD_BYTES; sent += BLOCK)
        if (!peer_send_bytes(t, block_of_zeros, BLOCK))
            return;
}

static void a_gigabyte_is_cut_at_the_limit(void **state)
{
    (void)state;
    peer_start(&peer, flood, NULL);
    long before = resident_kib();
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET", .body_limit_bytes = 100000 });
    assert_int_equal(t.result.end, HTTP_TOO_LARGE);
    assert_int_equal(t.result.status, 200);
    assert_int_equal(t.result.body_bytes, 100000); /* all that fits is there */
    assert_contains(t.result.error.text, "larger than 100000 bytes");

    t = (struct trial){ .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET" });
    assert_int_equal(t.result.end, HTTP_TOO_LARGE);
    assert_int_equal(t.result.body_bytes, HTTP_BODY_LIMIT_BYTES);
    assert_true(resident_kib() - before < 32 * 1024);
    peer_stop(&peer);
}

static long resident_max_kib;

static bool watch_memory(struct trial *t, const char *bytes, size_t n)
{
    (void)t;
    (void)bytes;
    (void)n;
    long now = t->pieces % 64 ? 0 : resident_kib();
    if (now > resident_max_kib)
        resident_max_kib = now;
    return true;
}

static void a_streamed_gigabyte_leaves_no_trace_in_memory(void **state)
{
    (void)state;
    enum { LIMIT = 200 << 20 };
    peer_start(&peer, flood, NULL);
    long before = resident_max_kib = resident_kib();
    struct trial t = { .port = peer.port, .stream = true, .on_body = watch_memory };
    trial_run(&t, &(struct http_request){ .method = "GET", .body_limit_bytes = LIMIT });
    assert_int_equal(t.result.end, HTTP_TOO_LARGE);
    assert_int_equal(t.streamed_bytes, LIMIT);
    assert_int_equal(t.result.body_bytes, LIMIT);
    assert_true(resident_max_kib - before < 16 * 1024);
    peer_stop(&peer);
}

static void exactly_the_limit(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t))
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
}

static void an_answer_of_exactly_the_limit_is_whole(void **state)
{
    (void)state;
    peer_start(&peer, exactly_the_limit, NULL);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET", .body_limit_bytes = 10 });
    assert_int_equal(t.result.end, HTTP_ANSWERED);
    assert_string_equal(t.body, "0123456789");
    t = (struct trial){ .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET", .body_limit_bytes = 9 });
    assert_int_equal(t.result.end, HTTP_TOO_LARGE);
    assert_string_equal(t.body, "012345678");
    peer_stop(&peer);
}

/* Megabytes of head: many headers, one long header, endless interim heads. */
static void flood_head(struct peer *p, struct peer_talk *t)
{
    const char *piece = p->arg;
    if (!peer_read(t))
        return;
    if (strncmp(piece, "HTTP/", 5) != 0)
        peer_send(t, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 1000000; i++)
        if (!peer_send(t, piece))
            return;
}

static void a_head_of_megabytes_is_refused(void **state)
{
    (void)state;
    static char pieces[][100] = {
        "X-Header: 0123456789012345678901234567890123456789\r\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "HTTP/1.1 102 Processing\r\n\r\n",
        " folded\r\n",
    };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        peer_start(&peer, flood_head, pieces[i]);
        long before = resident_kib();
        struct trial t = { .port = peer.port };
        trial_run(&t, &(struct http_request){ .method = "GET" });
        if (t.result.end != HTTP_TOO_LARGE && t.result.end != HTTP_CUT)
            fail_msg("%zu: %s", i, http_end_name(t.result.end));
        assert_contains(t.result.error.text, "127.0.0.1:");
        assert_true(i == 3 || t.result.end == HTTP_TOO_LARGE);
        assert_int_equal(t.result.body_bytes, 0);
        assert_true(resident_kib() - before < 16 * 1024);
        peer_stop(&peer);
    }
    peer_start(&peer, flood_head, pieces[0]);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "GET", .header_limit_bytes = 1000 });
    assert_int_equal(t.result.end, HTTP_TOO_LARGE);
    assert_contains(t.result.error.text, "head of the answer of 127.0.0.1:");
    assert_contains(t.result.error.text, "larger than 1000 bytes");
    peer_stop(&peer);
}

/* ---- form ---------------------------------------------------------------- */

static void say_and_close(struct peer *p, struct peer_talk *t)
{
    if (peer_read(t))
        peer_send(t, p->arg);
}

static void broken_answers_are_cut(void **state)
{
    (void)state;
    static struct {
        char answer[200];
        enum http_end end;
        long status;
        const char *body;
    } cases[] = {
        { "", HTTP_CUT, 0, "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", HTTP_CUT, 200, "short" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", HTTP_ANSWERED, 200, "ok" },
        { "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\nx", HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", HTTP_CUT, 200,
          "hello" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", HTTP_CUT, 200, "hel" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", HTTP_CUT, 200,
          "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "ffffffffffffffffffff\r\nhello\r\n",
          HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!!!\r\n", HTTP_CUT, 200,
          "hello" },
        { "HTTP/1.1 200 OK\r\n\r\nuntil the end", HTTP_ANSWERED, 200, "until the end" },
        { "HTTP/1.0 404 No\r\n\r\nold", HTTP_ANSWERED, 404, "old" },
        { "I am no web server\r\n", HTTP_CUT, 0, "" },
        { "SSH-2.0-OpenSSH_9.2\r\n", HTTP_CUT, 0, "" },
        { "HTTP/1.1 99999 Huge\r\n\r\n", HTTP_CUT, 0, NULL },
        { "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8bx",
          HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
          HTTP_ANSWERED, 200, "ok" },
        { "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", HTTP_ANSWERED,
          200, "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"
          "\x1f\x8b\x08\x01\x01\x01\x01\x01\x02\x03\xcb\xcf\x06",
          HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello", HTTP_CUT, 200,
          "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello", HTTP_CUT, 200,
          "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", HTTP_ANSWERED, 200,
          "ok" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", HTTP_CUT, 200, "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
          "2\r\nok\r\n0\r\n\r\n",
          HTTP_ANSWERED, 200, "ok" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        peer_start(&peer, say_and_close, cases[i].answer);
        struct trial t = { .port = peer.port, .path = "/?s3cret" };
        trial_run(&t, &(struct http_request){ .method = "POST", .single_send = i % 2 });
        if (t.result.end != cases[i].end)
            fail_msg("'%s': %s, %s", cases[i].answer, http_end_name(t.result.end),
                     t.result.error.text);
        assert_true(t.result.maybe_sent);
        if (cases[i].body) {
            assert_int_equal(t.result.status, cases[i].status);
            assert_string_equal(t.body, cases[i].body);
        }
        assert_int_equal(atomic_load(&peer.requests), 1);
        assert_null(strstr(t.result.error.text, "s3cret"));
        assert_null(strstr(t.result.error.text, "OpenSSH")); /* nothing of what it said */
        peer_stop(&peer);
    }
}

static void reset_in_the_middle(struct peer *p, struct peer_talk *t)
{
    (void)p;
    if (!peer_read(t))
        return;
    peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    (void)peer_sleep_ms(p, 30);
    peer_reset(t);
}

static void a_reset_in_the_middle_is_a_cut(void **state)
{
    (void)state;
    peer_start(&peer, reset_in_the_middle, NULL);
    struct trial t = { .port = peer.port };
    trial_run(&t, &(struct http_request){ .method = "POST", .single_send = true });
    assert_int_equal(t.result.end, HTTP_CUT);
    assert_int_equal(t.result.status, 200);
    assert_true(t.result.maybe_sent);
    peer_stop(&peer);
}

/* ---- the reader has enough ----------------------------------------------- */

static bool no_head(struct trial *t, const struct http_head *head)
{
    (void)t;
    (void)head;
    return false;
}

static bool no_third_piece(struct trial *t, const char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    return t->pieces < 3;
}

static void the_reader_may_stop_the_answer(void **state)
{
    (void)state;
    peer_start(&peer, flood, NULL);
    struct trial at_head = { .port = peer.port, .stream = true, .on_head = no_head };
    struct trial at_body = { .port = peer.port, .stream = true, .on_body = no_third_piece };
    trial_run(&at_head, &(struct http_request){ .method = "GET" });
    trial_run(&at_body, &(struct http_request){ .method = "GET" });
    assert_int_equal(at_head.result.end, HTTP_STOPPED);
    assert_int_equal(at_head.pieces, 0);
    assert_int_equal(at_body.result.end, HTTP_STOPPED);
    assert_int_equal(at_body.pieces, 3);
    assert_true(at_body.result.maybe_sent);
    peer_stop(&peer);
}

#define with_client(test) cmocka_unit_test_setup_teardown(test, trial_open, trial_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_client(a_peer_that_never_answers_is_left),
        with_client(dripping_is_no_silence_but_it_ends),
        with_client(silence_after_the_first_byte_ends_the_call),
        with_client(a_busy_loop_does_not_make_the_peer_silent),
        with_client(a_gigabyte_is_cut_at_the_limit),
        with_client(a_streamed_gigabyte_leaves_no_trace_in_memory),
        with_client(an_answer_of_exactly_the_limit_is_whole),
        with_client(a_head_of_megabytes_is_refused),
        with_client(broken_answers_are_cut),
        with_client(a_reset_in_the_middle_is_a_cut),
        with_client(the_reader_may_stop_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
