/*
 * test_health.c -- asks the health server over real sockets, as a probe does.
 */
#include "common/clock.h"
#include "common/health.h"
#include "common/metrics.h"
#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 30000 };

static struct loop loop;
static struct health *health;
static char reply[1 << 16]; /* of the last request, head and body */

static int connect_to(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((in_port_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static int exchange(int port, const char *request)
{
    int fd = connect_to(port);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    size_t len = 0;
    ssize_t n;
    while ((n = recv(fd, reply + len, sizeof reply - 1 - len, 0)) > 0)
        len += (size_t)n;
    reply[len] = '\0';
    close(fd);
    int status = 0;
    assert_int_equal(sscanf(reply, "HTTP/1.1 %d", &status), 1);
    return status;
}

static int ask(const char *method, const char *path)
{
    char request[200];
    (void)snprintf(request, sizeof request,
                   "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    return exchange(health_port(health), request);
}

static const char *body(void)
{
    const char *end = strstr(reply, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static int open_health(void **state)
{
    (void)state;
    struct error err;
    if (loop_init(&loop, &err) != OK)
        return -1;
    if (health_init(&health, &loop, "127.0.0.1:0", &err) != OK)
        return -1;
    return 0;
}

static int close_health(void **state)
{
    (void)state;
    health_release(health);
    loop_release(&loop);
    return 0;
}

static void a_live_loop_is_alive(void **state)
{
    (void)state;
    loop_turn(&loop, 0);
    assert_int_equal(ask("GET", "/livez"), 200);
    assert_int_equal(strncmp(body(), "ok: the event loop turned ", 26), 0);
    assert_non_null(strstr(reply, "Content-Type: text/plain; charset=utf-8"));
}

/* Nobody turns the loop here; the answer has to come all the same. */
static void a_blocked_loop_is_reported_while_it_blocks(void **state)
{
    (void)state;
    int64_t began = clock_mono_ms();
    loop_turn(&loop, 0);
    while (ask("GET", "/livez") == 200 && clock_mono_ms() - began < PATIENCE_MS)
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    assert_int_equal(ask("GET", "/livez"), 503);
    assert_int_equal(strncmp(body(), "blocked: the event loop turned ", 31), 0);
    assert_true(clock_mono_ms() - began >= HEALTH_TICK_MAX_MS);
    loop_turn(&loop, 0);
    assert_int_equal(ask("GET", "/livez"), 200);
}

static void readiness_is_the_sum_of_its_conditions(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/startupz"), 503);
    assert_int_equal(ask("GET", "/readyz"), 503);
    assert_string_equal(body(), "not ready process: still starting\n");

    health_started(health);
    assert_int_equal(ask("GET", "/startupz"), 200);
    assert_int_equal(ask("GET", "/readyz"), 200);
    assert_string_equal(body(), "ok: nothing to wait for\n");

    health_set(health, "kafka", true, "3 partitions");
    health_set(health, "postgres", false, "cannot connect:\nrefused");
    assert_int_equal(ask("GET", "/readyz"), 503);
    assert_string_equal(body(),
                        "not ready postgres: cannot connect:\\nrefused\nok kafka: 3 partitions\n");

    health_set(health, "postgres", true, "connected");
    assert_int_equal(ask("GET", "/readyz"), 200);
    assert_string_equal(body(), "ok kafka: 3 partitions\nok postgres: connected\n");

    health_set(health, "draining", false, "finishing 3 calls");
    assert_int_equal(ask("GET", "/readyz"), 503);
    assert_int_equal(ask("GET", "/livez"), 200); /* which looks at the loop alone */

    for (int i = 3; i < HEALTH_CONDITIONS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "c%d", i);
        health_set(health, name, true, "fine");
    }
    health_set(NULL, "postgres", false, "no server configured");
    health_started(NULL);
}

static void the_page_of_metrics_is_served(void **state)
{
    (void)state;
    metrics_register_process("tester", "1.2.3");
    assert_int_equal(ask("GET", "/metrics"), 200);
    assert_non_null(strstr(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
    assert_non_null(strstr(body(), "pawl_build_info{service=\"tester\",version=\"1.2.3\"} 1\n"));
    assert_non_null(strstr(body(), "\npawl_loop_tick_age_seconds "));
    assert_non_null(strstr(body(), "\nprocess_resident_memory_bytes "));
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/"), 404);
    assert_non_null(strstr(body(), "/readyz"));
    assert_int_equal(ask("GET", "/livez/x"), 404);
    assert_int_equal(ask("POST", "/livez"), 405);
    assert_non_null(strstr(reply, "Allow: GET, HEAD"));
    assert_int_equal(ask("HEAD", "/livez"), 200);
    assert_string_equal(body(), "");
    assert_int_equal(exchange(health_port(health), "POST /livez HTTP/1.1\r\nHost: x\r\n"
                                                   "Content-Length: 5\r\nConnection: close\r\n\r\n"
                                                   "hello"),
                     405);
    assert_int_equal(ask("GET", "/livez?verbose=1"), 200); /* a query changes nothing */
}

static void a_connection_serves_several_requests(void **state)
{
    (void)state;
    assert_int_equal(exchange(health_port(health),
                              "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                     200);
    assert_non_null(strstr(reply, "pawl_loop_tick_age_seconds"));
}

static void garbage_does_not_stop_the_server(void **state)
{
    (void)state;
    char junk[70000];
    memset(junk, 'x', sizeof junk - 1);
    junk[sizeof junk - 1] = '\0';
    int fd = connect_to(health_port(health));
    (void)send(fd, junk, sizeof junk - 1, MSG_NOSIGNAL);
    close(fd);
    fd = connect_to(health_port(health));
    (void)send(fd, "\r\n\0\xff GET", 9, MSG_NOSIGNAL);
    close(fd);
    int idle = connect_to(health_port(health)); /* says nothing at all */
    assert_int_equal(ask("GET", "/livez"), 200);
    close(idle);
}

static atomic_bool churning;

static void *churn(void *arg)
{
    (void)arg;
    static struct metric m = { .kind = METRIC_COUNTER,
                               .name = "pawl_test_churn_total",
                               .help = "Moves while it is read.",
                               .labels = { "n" } };
    metrics_register(&m);
    for (int i = 0; atomic_load(&churning); i++) {
        char n[8];
        (void)snprintf(n, sizeof n, "%d", i % 100);
        health_set(health, "kafka", i % 2, n);
        metric_add(metric_with(&m, n), 1);
    }
    return NULL;
}

/* For ThreadSanitizer: the pages are read while all that they show changes. */
static void pages_are_read_while_they_change(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_store(&churning, true);
    assert_int_equal(pthread_create(&thread, NULL, churn, NULL), 0);
    for (int i = 0; i < 50; i++) {
        loop_turn(&loop, 0);
        int ready = ask("GET", "/readyz");
        assert_true(ready == 200 || ready == 503);
        assert_int_equal(ask("GET", "/metrics"), 200);
        assert_int_equal(ask("GET", "/livez"), 200);
    }
    atomic_store(&churning, false);
    pthread_join(thread, NULL);
}

static void addresses_are_checked(void **state)
{
    (void)state;
    static const char *const right[] = { "127.0.0.1:0", "localhost:0", ":0", "*:0", "[::1]:0" };
    static const char *const wrong[] = {
        "",      "8080",       "127.0.0.1", "127.0.0.1:",   "127.0.0.1:99999", "127.0.0.1:80x",
        "::1:0", "example:80", "[::1:80",   "1.2.3.4.5:80", "127.0.0.1:-1",    "127.0.0.1: 1",
    };
    struct error err;
    struct health *h;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        enum outcome outcome = health_init(&h, &loop, right[i], &err);
        if (outcome == REFUSED && right[i][0] == '[')
            continue; /* a machine without IPv6 */
        assert_int_equal(outcome, OK);
        assert_true(health_port(h) > 0);
        health_release(h);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(health_init(&h, &loop, wrong[i], &err), REFUSED);
        assert_non_null(strstr(err.text, "give HOST:PORT"));
    }
    char taken[32];
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%d", health_port(health));
    assert_int_equal(health_init(&h, &loop, taken, &err), REFUSED);
    assert_non_null(strstr(err.text, "in use"));
    assert_non_null(strstr(err.text, taken));
    health_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_live_loop_is_alive, open_health, close_health),
        cmocka_unit_test_setup_teardown(a_blocked_loop_is_reported_while_it_blocks, open_health,
                                        close_health),
        cmocka_unit_test_setup_teardown(readiness_is_the_sum_of_its_conditions, open_health,
                                        close_health),
        cmocka_unit_test_setup_teardown(the_page_of_metrics_is_served, open_health, close_health),
        cmocka_unit_test_setup_teardown(everything_else_is_refused, open_health, close_health),
        cmocka_unit_test_setup_teardown(a_connection_serves_several_requests, open_health,
                                        close_health),
        cmocka_unit_test_setup_teardown(garbage_does_not_stop_the_server, open_health,
                                        close_health),
        cmocka_unit_test_setup_teardown(pages_are_read_while_they_change, open_health,
                                        close_health),
        cmocka_unit_test_setup_teardown(addresses_are_checked, open_health, close_health),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
