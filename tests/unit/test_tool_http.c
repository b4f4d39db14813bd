/*
 * test_tool_http.c -- HTTP tools over real sockets: what stands in the request, what
 * becomes of the answer, and that a call which may be sent once is sent once.
 *
 * The server is a thread that reads one request at a time and does what its script
 * says; it counts executions as a tool's ledger would.
 */
#include "tests/unit/cm.h"

#include "common/buf.h"
#include "common/clock.h"
#include "executor/request.h"
#include "executor/tool_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, REQUEST_MAX = 64 * 1024 };

/* ---- the tool -------------------------------------------------------------------- */

enum manner { ANSWER, CLOSE_WITHOUT_ANSWER, HANG };

struct server {
    int fd, port;
    pthread_t thread;
    atomic_int executions;
    atomic_int stopping;
    _Atomic(enum manner) manner;
    const char *answer;
    char request[REQUEST_MAX]; /* the last one; read when its answer is here */
};

static struct server server;

static bool read_request(int fd, char *out, size_t room)
{
    size_t length = 0;
    for (;;) {
        ssize_t got = read(fd, out + length, room - 1 - length);
        if (got <= 0)
            return false;
        length += (size_t)got;
        out[length] = '\0';
        const char *end = strstr(out, "\r\n\r\n");
        if (!end)
            continue;
        const char *said = strcasestr(out, "\r\nContent-Length:");
        size_t body = said && said < end ? (size_t)atol(said + 17) : 0;
        if (length >= (size_t)(end + 4 - out) + body)
            return true;
    }
}

static pthread_mutex_t request_lock = PTHREAD_MUTEX_INITIALIZER;

/* Serves one connection until it is closed, or it closes it. */
static void *serve_connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *request = malloc(REQUEST_MAX);
    assert_non_null(request);
    while (read_request(fd, request, REQUEST_MAX)) {
        (void)pthread_mutex_lock(&request_lock); /* a call that may be repeated has two of us */
        memcpy(server.request, request, REQUEST_MAX);
        (void)pthread_mutex_unlock(&request_lock);
        atomic_fetch_add(&server.executions, 1);
        enum manner manner = atomic_load(&server.manner);
        if (manner == CLOSE_WITHOUT_ANSWER)
            break;
        if (manner == ANSWER && write(fd, server.answer, strlen(server.answer)) < 0)
            break;
    }
    free(request);
    (void)close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = accept(server.fd, NULL, NULL);
        if (fd < 0 || atomic_load(&server.stopping))
            return fd < 0 ? NULL : (close(fd), NULL);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd) == 0)
            (void)pthread_detach(thread);
    }
}

static void server_open(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server.fd >= 0);
    assert_int_equal(bind(server.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(server.fd, 16), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&at, &size), 0);
    server.port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void server_close(void)
{
    atomic_store(&server.stopping, 1);
    (void)shutdown(server.fd, SHUT_RDWR);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.fd);
}

/* ---- the bench -------------------------------------------------------------------- */

static struct loop loop;
static struct tool_http tool_http;
static struct tool_kind kind;
static struct config config;
static char url[128];

static int setup(void **state)
{
    (void)state;
    struct error err;
    char path[] = "/tmp/pawl-test-tool-XXXXXX";
    int fd = mkstemp(path);
    static const char yaml[] =
        "secrets: {KEY: {env: PAWL_TEST_KEY}, GONE: {env: PAWL_TEST_GONE}}\n";
    if (fd < 0 || write(fd, yaml, sizeof yaml - 1) < 0)
        return -1;
    (void)setenv("PAWL_TEST_KEY", "s3cr3t-key", 1);
    (void)unsetenv("PAWL_TEST_GONE");
    assert_ok(config_load(&config, path, NULL, 0, &err), &err);
    (void)close(fd);
    (void)unlink(path);
    assert_ok(loop_init(&loop, &err), &err);
    tool_http = (struct tool_http){ .loop = &loop, .config = &config };
    assert_ok(http_init(&tool_http.http, &loop, &(struct http_options){ 0 }, &err), &err);
    kind = tool_http_kind(&tool_http);
    server_open();
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/invoices", server.port);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_release(tool_http.http);
    loop_release(&loop);
    config_release(&config);
    server_close();
    return 0;
}

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct field_pair pairs[] = {
    { .name = "X-Api-Key", .secret = "KEY", .prefix = "Bearer " },
    { .name = "X-Fixed", .text = "text" },
    { .name = "X-Pawl-Step", .text = "forged" },
};

static struct tool_def tool_of(bool once)
{
    return (struct tool_def){
        .name = "invoice",
        .method = TOOL_POST,
        .url = url,
        .headers = { pairs, 3 },
        .idempotent = !once,
        .probe_url = url,
        .probe_timeout_ms = 5000,
        .timeout_ms = 5000,
        .connect_timeout_ms = 2000,
        .key_mode = TOOL_KEY_QUOTED,
        .key_header = "Idempotency-Key",
        .max_result_bytes = 1024,
    };
}

struct seen {
    bool answered;
    enum store_call_outcome outcome;
    char result[2048], error[512];
    int64_t retry_ms;
    bool maybe_sent;
};

static void on_answered(void *arg, const struct tool_answer *answer)
{
    struct seen *seen = arg;
    *seen = (struct seen){ .answered = true,
                           .outcome = answer->outcome,
                           .retry_ms = answer->retry_ms,
                           .maybe_sent = answer->maybe_sent };
    (void)snprintf(seen->result, sizeof seen->result, "%s", answer->result ? answer->result : "");
    (void)snprintf(seen->error, sizeof seen->error, "%s", answer->error ? answer->error : "");
}

static struct tool_call call_of(const struct tool_def *def)
{
    static const char arguments[] = "{\"customer\":\"ada\", \"amount\":120}";
    struct tool_call call = {
        .errand = STORE_WORK_CALL,
        .def = def,
        .step = 3,
        .index = 1,
        .attempt = 1,
        .arguments = arguments,
        .arguments_bytes = sizeof arguments - 1,
        .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        .tracestate = "evil\r\nX-Injected: 1",
        .send_by_ms = clock_mono_ms() + 5000,
    };
    struct error err;
    assert_ok(uuid_parse("0190a1b2-0000-4000-8000-00000000abcd", &call.key, &err), &err);
    assert_ok(uuid_parse("0190a1b2-7777-7000-8000-000000001234", &call.run_id, &err), &err);
    return call;
}

static struct seen run(const struct tool_call *call)
{
    struct seen seen = { 0 };
    struct tool_task *task = NULL;
    struct error err;
    assert_ok(kind.start(kind.self, call, on_answered, &seen, &task, &err), &err);
    assert_false(seen.answered);
    int64_t give_up_ms = clock_mono_ms() + PATIENCE_MS;
    while (!seen.answered && clock_mono_ms() < give_up_ms)
        loop_turn(&loop, 100);
    assert_true(seen.answered);
    return seen;
}

static struct seen run_tool(const struct tool_def *def, enum manner manner, const char *answer)
{
    atomic_store(&server.executions, 0);
    atomic_store(&server.manner, manner);
    server.answer = answer;
    struct tool_call call = call_of(def);
    return run(&call);
}

/* ---- tests -------------------------------------------------------------------------- */

static void the_request_says_who_asks(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    struct seen seen = run_tool(&def, ANSWER, OK_ANSWER);
    assert_int_equal(seen.outcome, STORE_CALL_SUCCEEDED);
    assert_string_equal(seen.result, "ok");
    const char *r = server.request;
    assert_contains(r, "POST /invoices HTTP/1.1\r\n");
    assert_contains(r, "\r\nIdempotency-Key: \"0190a1b2-0000-4000-8000-00000000abcd\"\r\n");
    assert_contains(r, "\r\nX-Pawl-Run-Id: 0190a1b2-7777-7000-8000-000000001234\r\n");
    assert_contains(r, "\r\nX-Pawl-Step: 3\r\n");
    assert_null(strstr(r, "forged"));
    assert_contains(r, "\r\nX-Pawl-Call: 1\r\n");
    assert_contains(r, "\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_null(strstr(r, "X-Injected"));
    assert_contains(r, "\r\nX-Api-Key: Bearer s3cr3t-key\r\n");
    assert_contains(r, "\r\nX-Fixed: text\r\n");
    assert_contains(r, "\r\nContent-Type: application/json\r\n");
    assert_contains(r, "\r\n\r\n{\"customer\":\"ada\", \"amount\":120}");
}

static void the_key_is_written_as_the_tool_wants_it(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    def.key_mode = TOOL_KEY_BARE;
    def.key_header = "X-Request-Token";
    (void)run_tool(&def, ANSWER, OK_ANSWER);
    assert_contains(server.request,
                    "\r\nX-Request-Token: 0190a1b2-0000-4000-8000-00000000abcd\r\n");
    def.key_mode = TOOL_KEY_NONE;
    (void)run_tool(&def, ANSWER, OK_ANSWER);
    assert_null(strstr(server.request, "0190a1b2-0000"));
}

static void a_tool_may_say_what_its_body_is(void **state)
{
    (void)state;
    struct field_pair own[] = { { .name = "content-type", .text = "application/vnd.x+json" } };
    struct tool_def def = tool_of(true);
    def.headers = (struct field_pairs){ own, 1 };
    (void)run_tool(&def, ANSWER, OK_ANSWER);
    assert_contains(server.request, "application/vnd.x+json");
    assert_null(strstr(server.request, "application/json"));
}

static void an_echoed_secret_is_not_stored(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    struct seen seen =
        run_tool(&def, ANSWER,
                 "HTTP/1.1 500 Oops\r\nContent-Length: 31\r\n\r\nyou sent X-Api-Key: s3cr3t-key!");
    assert_int_equal(seen.outcome, STORE_CALL_FAILED);
    assert_contains(seen.result, "you sent X-Api-Key: [secret]!");
    assert_null(strstr(seen.error, "s3cr3t"));
}

static void what_may_be_sent_once_is_sent_once(void **state)
{
    (void)state;
    struct tool_def once = tool_of(true);
    struct tool_def often = tool_of(false);
    /* A kept-alive connection stands; the server executes and closes it. */
    (void)run_tool(&often, ANSWER, OK_ANSWER);
    struct seen seen = run_tool(&once, CLOSE_WITHOUT_ANSWER, "");
    assert_int_equal(seen.outcome, STORE_CALL_UNKNOWN);
    assert_int_equal(seen.retry_ms, TOOL_NO_RETRY);
    assert_int_equal(atomic_load(&server.executions), 1);

    seen = run_tool(&often, CLOSE_WITHOUT_ANSWER, "");
    assert_int_equal(seen.outcome, STORE_CALL_UNKNOWN);
    assert_true(seen.retry_ms >= 0);
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    struct seen seen = run_tool(&def, ANSWER,
                                "HTTP/1.1 307 Elsewhere\r\nLocation: /again\r\n"
                                "Content-Length: 0\r\n\r\n");
    assert_int_equal(seen.outcome, STORE_CALL_FAILED);
    assert_int_equal(atomic_load(&server.executions), 1);
}

static void a_large_answer_is_cut_and_counts(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    static struct buf answer; /* stays: the server may still write it when the call is over */
    buf_init(&answer, 1 << 20);
    assert_true(buf_puts(&answer, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"));
    for (int i = 0; i < 1000; i++)
        assert_true(buf_puts(&answer,
                             "0123456789012345678901234567890123456789"
                             "012345678901234567890123456789012345678901234567890123456789"));
    struct seen seen = run_tool(&def, ANSWER, answer.data);
    assert_int_equal(seen.outcome, STORE_CALL_SUCCEEDED);
    assert_contains(seen.result, "1024 of its 100000 bytes are shown, 98976 were left out");
}

static void nobody_listening_means_before_the_effect(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    def.url = "http://127.0.0.1:1/";
    struct seen seen = run_tool(&def, ANSWER, OK_ANSWER);
    assert_int_equal(seen.outcome, STORE_CALL_FAILED_BEFORE_EFFECT);
    assert_false(seen.maybe_sent);
    assert_true(seen.retry_ms >= 0);
}

static void a_timeout_is_unknown(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    def.timeout_ms = 200;
    struct seen seen = run_tool(&def, HANG, "");
    assert_int_equal(seen.outcome, STORE_CALL_UNKNOWN);
    assert_contains(seen.error, "may have run");
}

static void a_cancel_tells_whether_anything_was_sent(void **state)
{
    (void)state;
    struct tool_def def = tool_of(true);
    struct tool_call call = call_of(&def);
    struct seen seen = { 0 };
    struct tool_task *task = NULL;
    struct error err;
    atomic_store(&server.executions, 0);
    atomic_store(&server.manner, HANG);
    assert_ok(kind.start(kind.self, &call, on_answered, &seen, &task, &err), &err);
    assert_false(kind.cancel(kind.self, task)); /* before the loop turned */

    assert_ok(kind.start(kind.self, &call, on_answered, &seen, &task, &err), &err);
    int64_t give_up_ms = clock_mono_ms() + PATIENCE_MS;
    while (atomic_load(&server.executions) == 0 && clock_mono_ms() < give_up_ms)
        loop_turn(&loop, 10);
    assert_true(kind.cancel(kind.self, task));
    loop_turn(&loop, 0);
    assert_false(seen.answered);
}

static void a_missing_secret_sends_nothing(void **state)
{
    (void)state;
    struct field_pair gone[] = { { .name = "X-Api-Key", .secret = "GONE" } };
    struct tool_def def = tool_of(true);
    def.headers = (struct field_pairs){ gone, 1 };
    struct tool_call call = call_of(&def);
    struct tool_task *task = NULL;
    struct error err;
    assert_int_equal(kind.start(kind.self, &call, on_answered, NULL, &task, &err), REFUSED);
    assert_contains(err.text, "GONE");
    assert_int_equal(request_check(&config, &def, &err), REFUSED);
    def = tool_of(true);
    assert_ok(request_check(&config, &def, &err), &err);
}

static void a_probe_asks_about_the_key(void **state)
{
    (void)state;
    char probe[160];
    (void)snprintf(probe, sizeof probe, "%s/by-key/{key}", url);
    struct tool_def def = tool_of(true);
    def.probe_url = probe;
    def.probe_headers = (struct field_pairs){ pairs, 1 };
    struct tool_call call = call_of(&def);
    call.errand = STORE_WORK_PROBE;
    atomic_store(&server.manner, ANSWER);
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n"
                    "{\"happened\":true,\"result\":\"R-17\"}";
    struct seen seen = run(&call);
    assert_int_equal(seen.outcome, STORE_PROBE_HAPPENED);
    assert_string_equal(seen.result, "R-17");
    assert_contains(server.request,
                    "GET /invoices/by-key/0190a1b2-0000-4000-8000-00000000abcd HTTP/1.1\r\n");
    assert_contains(server.request, "\r\nX-Api-Key: Bearer s3cr3t-key\r\n");
    assert_null(strstr(server.request, "Idempotency-Key"));
    assert_null(strstr(server.request, "customer"));
}

static void arguments_become_a_query_for_get(void **state)
{
    (void)state;
    char with_query[160];
    (void)snprintf(with_query, sizeof with_query, "%s?v=1", url);
    struct tool_def def = tool_of(false);
    def.method = TOOL_GET;
    def.read_only = true;
    def.url = with_query;
    struct tool_call call = call_of(&def);
    call.arguments =
        "{\"q\":\"a b&c=\xc3\xbc\",\"n\":3,\"none\":null,\"list\":[1,\"x\"],\"on\":true}";
    call.arguments_bytes = strlen(call.arguments);
    atomic_store(&server.manner, ANSWER);
    server.answer = OK_ANSWER;
    struct seen seen = run(&call);
    assert_int_equal(seen.outcome, STORE_CALL_SUCCEEDED);
    assert_contains(server.request, "GET /invoices?v=1&q=a%20b%26c%3D%C3%BC&n=3&"
                                    "list=%5B1%2C%22x%22%5D&on=true HTTP/1.1\r\n");
    assert_null(strcasestr(server.request, "content-type"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_says_who_asks),
        cmocka_unit_test(the_key_is_written_as_the_tool_wants_it),
        cmocka_unit_test(a_tool_may_say_what_its_body_is),
        cmocka_unit_test(an_echoed_secret_is_not_stored),
        cmocka_unit_test(what_may_be_sent_once_is_sent_once),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(a_large_answer_is_cut_and_counts),
        cmocka_unit_test(nobody_listening_means_before_the_effect),
        cmocka_unit_test(a_timeout_is_unknown),
        cmocka_unit_test(a_cancel_tells_whether_anything_was_sent),
        cmocka_unit_test(a_missing_secret_sends_nothing),
        cmocka_unit_test(a_probe_asks_about_the_key),
        cmocka_unit_test(arguments_become_a_query_for_get),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
