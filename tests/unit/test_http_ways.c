/*
 * test_http_ways.c -- the ways to a peer: TLS, and proxies from the environment.
 *
 * The TLS server is `openssl s_server` with a certificate made for the test; where
 * there is no openssl, that test is skipped.
 */
#include "common/clock.h"
#include "tests/unit/cm.h"
#include "tests/unit/http_trial.h"
#include "tests/unit/peer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct peer peer;

/* ---- TLS ----------------------------------------------------------------- */

static char folder[] = "/tmp/pawl-test-tls-XXXXXX";
static char key_file[64], cert_file[64];

static pid_t spawn(int *out, const char *const *argv)
{
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(pipe_fds[1], STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipe_fds[1]);
    *out = pipe_fds[0];
    return child;
}

static int run(const char *const *argv)
{
    int out, status = 0;
    char text[512];
    pid_t child = spawn(&out, argv);
    while (read(out, text, sizeof text) > 0)
        continue;
    close(out);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool make_certificate(void)
{
    assert_non_null(mkdtemp(folder));
    (void)snprintf(key_file, sizeof key_file, "%s/key.pem", folder);
    (void)snprintf(cert_file, sizeof cert_file, "%s/cert.pem", folder);
    const char *const argv[] = { "openssl",  "req",      "-x509",   "-newkey",
                                 "rsa:2048", "-nodes",   "-keyout", key_file,
                                 "-out",     cert_file,  "-days",   "2",
                                 "-subj",    "/CN=pawl", "-addext", "subjectAltName=IP:127.0.0.1",
                                 NULL };
    return run(argv) == 0;
}

static void remove_certificate(void)
{
    (void)unlink(key_file);
    (void)unlink(cert_file);
    (void)rmdir(folder);
}

/* s_server says "ACCEPT 127.0.0.1:PORT" when it listens. */
static int read_port(int out)
{
    char text[512] = "";
    size_t len = 0;
    ssize_t n;
    while (len < sizeof text - 1 && (n = read(out, text + len, sizeof text - 1 - len)) > 0) {
        len += (size_t)n;
        text[len] = '\0';
        const char *at = strstr(text, "ACCEPT ");
        const char *colon = at ? strchr(at, ':') : NULL;
        if (colon && strchr(colon, '\n'))
            return (int)strtol(colon + 1, NULL, 10);
    }
    return 0;
}

static void certificates_are_checked(void **state)
{
    (void)state;
    if (!make_certificate()) {
        remove_certificate();
        skip();
    }
    int out;
    const char *const argv[] = { "openssl", "s_server", "-accept", "127.0.0.1:0", "-key", key_file,
                                 "-cert",   cert_file,  "-www",    "-no_ticket",  NULL };
    pid_t server = spawn(&out, argv);
    int port = read_port(out);
    char url[64];
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%d/", port);

    struct trial unknown = { 0 };
    trial_run(&unknown, &(struct http_request){ .method = "GET", .url = url });
    struct error err;
    struct http_options options = { .ca_file = cert_file };
    http_release(trial_http);
    assert_ok(http_init(&trial_http, &trial_loop, &options, &err), &err);
    struct trial known = { 0 };
    trial_run(&known, &(struct http_request){ .method = "GET", .url = url, .single_send = true });
    (void)snprintf(url, sizeof url, "https://localhost:%d/", port);
    struct trial misnamed = { 0 };
    trial_run(&misnamed, &(struct http_request){ .method = "GET", .url = url });

    (void)kill(server, SIGKILL);
    assert_int_equal(waitpid(server, NULL, 0), server);
    close(out);
    remove_certificate();

    assert_true(port > 0);
    assert_int_equal(unknown.result.end, HTTP_NOT_SENT);
    assert_contains(unknown.result.error.text, "TLS with 127.0.0.1:");
    assert_contains(unknown.result.error.text, "self");
    assert_int_equal(known.result.end, HTTP_ANSWERED);
    assert_int_equal(known.result.status, 200);
    assert_contains(known.body, "TLSv1");
    assert_int_equal(misnamed.result.end, HTTP_NOT_SENT);
    assert_contains(misnamed.result.error.text, "TLS with localhost:");
}

/* ---- proxies ------------------------------------------------------------- */

static char last_line[200];

static void note_line(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t)) {
        (void)snprintf(last_line, sizeof last_line, "%.*s", (int)strcspn(t->request, "\r"),
                       t->request);
        peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

static void proxies_are_used_but_not_for_loopback(void **state)
{
    (void)state;
    static struct peer proxy;
    char address[64], url[100];
    peer_start(&peer, note_line, NULL);
    peer_start(&proxy, note_line, NULL);
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%d", proxy.port);
    setenv("http_proxy", address, 1);
    setenv("all_proxy", address, 1);

    struct trial far = { 0 };
    trial_run(&far, &(struct http_request){ .method = "GET", .url = "http://pawl.test:8080/x" });
    assert_int_equal(far.result.end, HTTP_ANSWERED);
    assert_string_equal(last_line, "GET http://pawl.test:8080/x HTTP/1.1");
    assert_int_equal(atomic_load(&proxy.requests), 1);

    static const char *const near[] = { "127.0.0.1", "localhost", "LOCALHOST", "127.8.8.8" };
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        struct trial t = { 0 };
        (void)snprintf(url, sizeof url, "http://%s:%d/y", near[i], peer.port);
        trial_run(&t, &(struct http_request){ .method = "GET", .url = url });
        if (strcmp(near[i], "127.8.8.8") == 0)
            assert_int_equal(t.result.end, HTTP_NOT_SENT); /* nobody listens there */
        else
            assert_string_equal(last_line, "GET /y HTTP/1.1");
    }
    assert_int_equal(atomic_load(&proxy.requests), 1);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    peer_stop(&proxy);
    peer_stop(&peer);
}

static void a_refusing_proxy_means_not_sent(void **state)
{
    (void)state;
    int fd;
    char address[64];
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%d", peer_refusing_port(&fd));
    setenv("http_proxy", address, 1);
    struct trial t = { 0 };
    trial_run(&t, &(struct http_request){ .method = "POST", .url = "http://pawl.test/x?s3cret" });
    unsetenv("http_proxy");
    assert_int_equal(t.result.end, HTTP_NOT_SENT);
    assert_contains(t.result.error.text, "pawl.test:80");
    assert_null(strstr(t.result.error.text, "s3cret"));
    close(fd);
}

static void deny_tunnel(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t))
        peer_send(t, "HTTP/1.1 403 Forbidden\r\nX-Large: x\r\nContent-Length: 6\r\n\r\ndenied");
}

/* The proxy saw a CONNECT, but the request itself never left. */
static void a_denied_tunnel_means_not_sent(void **state)
{
    (void)state;
    static struct peer proxy;
    char address[64];
    peer_start(&proxy, deny_tunnel, NULL);
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%d", proxy.port);
    setenv("https_proxy", address, 1);
    struct trial t = { .stream = true };
    trial_run(&t, &(struct http_request){
                      .method = "POST", .url = "https://pawl.test/x", .single_send = true });
    unsetenv("https_proxy");
    assert_int_equal(t.result.end, HTTP_NOT_SENT);
    assert_int_equal(t.heads, 0);
    assert_int_equal(atomic_load(&proxy.requests), 1);
    peer_stop(&proxy);
}

#define with_client(test) cmocka_unit_test_setup_teardown(test, trial_open, trial_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_client(certificates_are_checked),
        with_client(proxies_are_used_but_not_for_loopback),
        with_client(a_refusing_proxy_means_not_sent),
        with_client(a_denied_tunnel_means_not_sent),
    };
    static const char *const variables[] = { "http_proxy",  "https_proxy", "all_proxy", "no_proxy",
                                             "HTTPS_PROXY", "ALL_PROXY",   "NO_PROXY" };
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
