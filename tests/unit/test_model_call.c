/*
 * test_model_call.c -- model calls over real sockets, against servers that do what
 * providers do on bad days.
 */
#include "tests/unit/cm.h"

#include "planner/model_call.h"
#include "planner/model_openai_chat.h"
#include "tests/unit/one_loop.h"
#include "tests/unit/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAM \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define HALF "data: {\"choices\":[{\"delta\":{\"content\":\"hel\"}}]}\n\n"
#define REST                                                                                \
    "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n" \
    "data: [DONE]\n\n"

static struct http *http;
static struct peer peer;
static struct model_reply *reply;
static char base_url[64];
static struct model_def model;

static int set_up(void **state)
{
    struct error err;
    model = (struct model_def){ .name = "demo",
                                .model = "m",
                                .base_url = base_url,
                                .connect_timeout_ms = 2000,
                                .first_event_timeout_ms = 5000,
                                .silence_timeout_ms = 5000,
                                .timeout_ms = 10000,
                                .max_output_bytes = 64 * 1024 };
    return open_loop(state) != 0 || http_init(&http, &loop, NULL, &err) != OK;
}

static int tear_down(void **state)
{
    http_release(http);
    return close_loop(state);
}

static void on_reply(void *arg, struct model_reply *r)
{
    (void)arg;
    reply = r;
}

static struct model_call *start(int64_t left_ms)
{
    (void)snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", peer.port);
    static const char body[] = "{\"model\":\"m\",\"messages\":[]}";
    const struct model_call_request request = { .dialect = &openai_chat,
                                                .model = &model,
                                                .secret = "sk-key-1",
                                                .body = body,
                                                .body_n = sizeof body - 1,
                                                .call_prefix = "pawl_1",
                                                .left_ms = left_ms };
    reply = NULL;
    return model_call_start(http, &loop, &request, on_reply, NULL);
}

/* The reply of a server with that script. */
static void ask(void (*serve)(struct peer *p, struct peer_talk *t))
{
    peer_start(&peer, serve, NULL);
    (void)start(60000);
    turn_until(reply != NULL);
    peer_stop(&peer);
}

static void expect(enum outcome outcome, const char *code)
{
    if (!reply)
        fail_msg("no reply");
    if (reply->outcome != outcome || (code && strcmp(reply->code, code) != 0))
        print_error("%s: %s\n", reply->code ? reply->code : "ok", reply->error.text);
    assert_int_equal(reply->outcome, outcome);
    if (code)
        assert_string_equal(reply->code, code);
    assert_null(strstr(reply->error.text, "sk-key"));
    model_reply_free(reply);
}

static void expect_text(const char *text)
{
    if (!reply || reply->item_count != 1)
        fail_msg("no reply with one item");
    assert_string_equal(reply->items[0].content, text);
    expect(OK, NULL);
}

static void send_chunk(struct peer_talk *t, const char *text)
{
    char head[20];
    (void)snprintf(head, sizeof head, "%zx\r\n", strlen(text));
    (void)(peer_send(t, head) && peer_send(t, text) && peer_send(t, "\r\n"));
}

static void serve_stream(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t)) {
        (void)peer_send(t, STREAM);
        send_chunk(t, HALF);
        send_chunk(t, REST);
        (void)peer_send(t, "0\r\n\r\n");
    }
}

static void streams_and_keeps_the_connection(void **state)
{
    (void)state;
    peer_start(&peer, serve_stream, NULL);
    for (int i = 0; i < 3; i++) {
        (void)start(60000);
        turn_until(reply != NULL);
        expect_text("hello");
    }
    assert_int_equal(atomic_load(&peer.connections), 1);
    peer_stop(&peer);
}

static char seen[PEER_REQUEST_BYTES + 1];

static void serve_witness(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    memcpy(seen, t->request, sizeof seen);
    (void)peer_send(t, STREAM);
    send_chunk(t, REST);
    (void)peer_send(t, "0\r\n\r\n");
}

static void asks_as_a_client_should(void **state)
{
    (void)state;
    ask(serve_witness);
    expect(OK, NULL);
    assert_contains(seen, "POST /v1/chat/completions HTTP/1.1\r\n");
    assert_contains(seen, "Authorization: Bearer sk-key-1\r\n");
    assert_contains(seen, "Content-Type: application/json\r\n");
}

/* The answer is complete, but the server neither ends nor closes. */
static void serve_no_end(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, STREAM);
    send_chunk(t, HALF);
    send_chunk(t, REST);
    peer_wait_closed(t);
}

static void done_is_done(void **state)
{
    (void)state;
    int64_t before = clock_mono_ms();
    ask(serve_no_end);
    assert_true(clock_mono_ms() - before < 4000);
    expect_text("hello");
}

static void serve_cut(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, STREAM);
    send_chunk(t, HALF);
}

static void serve_reset(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, STREAM);
    send_chunk(t, HALF);
    (void)peer_sleep_ms(p, 50);
    peer_reset(t);
}

static void serve_nothing(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
}

static void cut_streams_may_be_asked_again(void **state)
{
    (void)state;
    ask(serve_cut);
    expect(RETRY, "answer_cut");
    ask(serve_reset);
    expect(RETRY, "answer_cut");
    ask(serve_nothing);
    expect(RETRY, "connection_lost");
}

static void serve_silence(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    peer_wait_closed(t);
}

static void serve_silence_in_the_middle(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, STREAM);
    send_chunk(t, HALF);
    peer_wait_closed(t);
}

static void serve_drip(struct peer *p, struct peer_talk *t)
{
    (void)peer_read(t);
    (void)peer_send(t, STREAM);
    while (peer_sleep_ms(p, 20) && peer_send(t, "4\r\n: x\n\r\n"))
        continue;
}

static void silence_ends(void **state)
{
    (void)state;
    model.first_event_timeout_ms = 150;
    ask(serve_silence);
    expect(RETRY, "timeout");
    model.first_event_timeout_ms = 5000;
    model.silence_timeout_ms = 150;
    ask(serve_silence_in_the_middle);
    expect(RETRY, "timeout");
    model.timeout_ms = 400; /* comments keep it alive, but not for ever */
    ask(serve_drip);
    expect(RETRY, "timeout");
    model.timeout_ms = 10000;
    model.silence_timeout_ms = 5000;
    peer_start(&peer, serve_drip, NULL);
    (void)start(200); /* the run's own deadline */
    turn_until(reply != NULL);
    expect(RETRY, "timeout");
    peer_stop(&peer);
}

static void serve_too_much(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, STREAM);
    for (int i = 0; i < 1000000; i++) {
        const char event[] = "data: {\"choices\":[{\"delta\":{\"content\":\"0123456789\"}}]}\n\n";
        char head[20];
        (void)snprintf(head, sizeof head, "%zx\r\n", sizeof event - 1);
        if (!peer_send(t, head) || !peer_send(t, event) || !peer_send(t, "\r\n"))
            return;
    }
}

static void serve_comments(struct peer *p, struct peer_talk *t)
{
    static char noise[64 * 1024];
    (void)p;
    memset(noise, 'x', sizeof noise);
    for (size_t i = 0; i + 64 < sizeof noise; i += 64)
        memcpy(noise + i, "\n\n:", 3);
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    for (int i = 0; i < 16384; i++) /* 1 GiB */
        if (!peer_send_bytes(t, noise, sizeof noise))
            return;
}

static void a_gigabyte_is_bounded(void **state)
{
    (void)state;
    ask(serve_too_much);
    expect(RETRY, "answer_too_large");
    ask(serve_comments); /* nothing but comments: bounded by bytes */
    expect(RETRY, "answer_too_large");
}

static void serve_garbage(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n"
                       "\r\ngarbage");
}

static void serve_429(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 31\r\n"
                       "\r\n{\"error\":{\"message\":\"slow it\"}}");
}

static void serve_429_in_ms(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nretry-after-ms: 1250.5"
                       "\r\nContent-Length: 0\r\n\r\n");
}

static void serve_429_used_up(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 429 Too Many Requests\r\nX-RateLimit-Remaining-Requests: 0\r\n"
                       "X-RateLimit-Reset-Requests: 1m2s\r\nContent-Length: 0\r\n\r\n");
}

static void serve_503_for_good(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 503 No\r\nX-Should-Retry: false\r\nContent-Length: 0\r\n\r\n");
}

static void serve_400_for_now(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 400 No\r\nX-Should-Retry: true\r\nContent-Length: 0\r\n\r\n");
}

static void serve_401(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 401 No\r\nContent-Length: 51\r\n\r\n"
                       "{\"error\":{\"message\":\"wrong key sk-key-1 was given\"}}");
}

static void serve_endless_error(struct peer *p, struct peer_talk *t)
{
    (void)p;
    (void)peer_read(t);
    (void)peer_send(t, "HTTP/1.1 500 No\r\n\r\n");
    while (peer_send(t, "more and more and more words about what went wrong "))
        continue;
}

static void errors_are_classed(void **state)
{
    (void)state;
    ask(serve_garbage);
    expect(RETRY, "bad_answer");
    ask(serve_429);
    assert_int_equal(reply->retry_after_ms, 7000);
    assert_string_equal(reply->error.text, "HTTP 429: slow it");
    expect(RETRY, "rate_limited");
    ask(serve_429_in_ms);
    assert_int_equal(reply->retry_after_ms, 1250);
    expect(RETRY, "rate_limited");
    ask(serve_429_used_up);
    assert_int_equal(reply->retry_after_ms, 62000);
    expect(RETRY, "rate_limited");
    ask(serve_503_for_good);
    expect(REFUSED, "overloaded");
    ask(serve_400_for_now);
    expect(RETRY, "bad_request");
    ask(serve_401);
    assert_int_equal(reply->usage.tokens_in, 0); /* what is refused costs nothing */
    assert_contains(reply->error.text, "wrong key *** was given");
    expect(REFUSED, "unauthorized");
    ask(serve_endless_error);
    expect(RETRY, "provider_error");
}

static void an_unreachable_model(void **state)
{
    (void)state;
    int fd;
    peer.port = peer_refusing_port(&fd);
    (void)start(60000);
    turn_until(reply != NULL);
    assert_true(reply && reply->usage.tokens_in == 0);
    expect(RETRY, "unreachable");
    close(fd);
}

static void cancelling_cuts_the_call(void **state)
{
    (void)state;
    peer_start(&peer, serve_silence_in_the_middle, NULL);
    struct model_call *call = start(60000);
    turn_until(atomic_load(&peer.requests) > 0);
    model_call_cancel(call);
    loop_turn(&loop, 10);
    assert_null(reply);
    assert_int_equal(http_in_flight(http), 0);
    peer_stop(&peer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(streams_and_keeps_the_connection),
        TEST(asks_as_a_client_should),
        TEST(done_is_done),
        TEST(cut_streams_may_be_asked_again),
        TEST(silence_ends),
        TEST(a_gigabyte_is_bounded),
        TEST(errors_are_classed),
        TEST(an_unreachable_model),
        TEST(cancelling_cuts_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
