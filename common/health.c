#include "common/health.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/text.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 32,
    IDLE_TIMEOUT_S = 10,
    REQUEST_MEMORY_BYTES = 16 * 1024,
    PAGE_LIMIT_BYTES = 8 * 1024 * 1024,
    BACKLOG = 64,
};

struct condition {
    char name[32];
    char text[200];
    bool holds;
};

struct health {
    const struct loop *loop;
    struct MHD_Daemon *server;
    int port;
    atomic_bool started;
    pthread_mutex_t lock; /* of the two below */
    struct condition conditions[HEALTH_CONDITIONS_MAX];
    size_t condition_count;
};

static struct metric tick_age = {
    .kind = METRIC_GAUGE,
    .name = "pawl_loop_tick_age_seconds",
    .help = "How long ago the event loop last turned; more than 5 is a blocked loop.",
};

/* ---- the pages ----------------------------------------------------------- */

static int64_t tick_age_ms(const struct health *h)
{
    int64_t age = clock_mono_ms() - loop_last_tick_ms(h->loop);
    return age > 0 ? age : 0;
}

static unsigned livez(struct health *h, struct buf *out)
{
    int64_t age = tick_age_ms(h);
    bool alive = age < HEALTH_TICK_MAX_MS;
    buf_printf(out, "%s: the event loop turned %lld ms ago\n", alive ? "ok" : "blocked",
               (long long)age);
    return alive ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned startupz(struct health *h, struct buf *out)
{
    bool started = atomic_load(&h->started);
    buf_puts(out, started ? "ok: started\n" : "starting\n");
    return started ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static void list_conditions(const struct health *h, bool holds, struct buf *out)
{
    for (size_t i = 0; i < h->condition_count; i++) {
        const struct condition *c = &h->conditions[i];
        if (c->holds == holds)
            buf_printf(out, "%s %s: %s\n", holds ? "ok" : "not ready", c->name, c->text);
    }
}

static unsigned readyz(struct health *h, struct buf *out)
{
    bool ready = atomic_load(&h->started);
    if (!ready)
        buf_puts(out, "not ready process: still starting\n");
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->condition_count; i++)
        ready = ready && h->conditions[i].holds;
    list_conditions(h, false, out);
    list_conditions(h, true, out);
    pthread_mutex_unlock(&h->lock);
    if (out->len == 0)
        buf_puts(out, "ok: nothing to wait for\n");
    return ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned metrics(struct health *h, struct buf *out)
{
    struct error err;
    metric_set(metric_with(&tick_age), (double)tick_age_ms(h) / 1000);
    if (metrics_render(out, &err) == OK)
        return MHD_HTTP_OK;
    buf_reset(out);
    buf_printf(out, "%s\n", err.text);
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static const struct page {
    const char *path;
    unsigned (*render)(struct health *h, struct buf *out);
    const char *content_type;
} pages[] = {
    { "/livez", livez, "text/plain; charset=utf-8" },
    { "/readyz", readyz, "text/plain; charset=utf-8" },
    { "/startupz", startupz, "text/plain; charset=utf-8" },
    { "/metrics", metrics, "text/plain; version=0.0.4; charset=utf-8" },
};

static unsigned render(struct health *h, const char *method, const char *path, struct buf *out,
                       const char **content_type)
{
    *content_type = pages[0].content_type;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        buf_puts(out, "only GET and HEAD\n");
        return MHD_HTTP_METHOD_NOT_ALLOWED;
    }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (strcmp(path, pages[i].path) != 0)
            continue;
        *content_type = pages[i].content_type;
        return pages[i].render(h, out);
    }
    buf_puts(out, "no such page; there are /livez, /readyz, /startupz and /metrics\n");
    return MHD_HTTP_NOT_FOUND;
}

/* ---- the server ---------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
                              const struct buf *body, const char *content_type)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    enum MHD_Result sent = MHD_NO;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type) == MHD_YES &&
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
        (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES))
        sent = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return sent;
}

/* libmicrohttpd calls this when the head is read, for each piece of a body (which
 * is thrown away), and at the end of the request, when it may be answered.  */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **seen)
{
    (void)version;
    (void)upload;
    static char head_seen;
    if (!*seen) {
        *seen = &head_seen;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    struct buf body;
    const char *content_type;
    buf_init(&body, PAGE_LIMIT_BYTES);
    unsigned status = render(arg, method, path, &body, &content_type);
    enum MHD_Result sent = answer(connection, status, &body, content_type);
    buf_release(&body);
    return sent;
}

/* ---- listening ----------------------------------------------------------- */

struct address {
    struct sockaddr_storage at;
    socklen_t size;
};

static enum outcome bad_listen(struct error *err, const char *listen_at)
{
    char shown[100];
    return fail(err, REFUSED,
                "cannot listen on '%s': give HOST:PORT with a numeric host, as 127.0.0.1:8080, "
                "[::1]:8080 or :8080",
                text_bounded(shown, sizeof shown, listen_at, strlen(listen_at)));
}

static void all_addresses(struct address *a, in_port_t port)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->at;
    *in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
                                  .sin6_addr = in6addr_any,
                                  .sin6_port = htons(port) };
    a->size = sizeof *in6;
}

static void all_ipv4_addresses(struct address *a, in_port_t port)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&a->at;
    *in = (struct sockaddr_in){ .sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_ANY),
                                .sin_port = htons(port) };
    a->size = sizeof *in;
}

/* Splits "HOST:PORT" at the last colon; brackets around the host are taken off. */
static bool split(const char *listen_at, char host[64], in_port_t *port)
{
    const char *colon = strrchr(listen_at, ':');
    if (!colon || colon[1] < '0' || colon[1] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long number = strtoul(colon + 1, &end, 10);
    if (*end || errno != 0 || number > UINT16_MAX)
        return false;
    *port = (in_port_t)number;
    size_t n = (size_t)(colon - listen_at);
    if (n >= 2 && listen_at[0] == '[' && listen_at[n - 1] == ']') {
        listen_at++;
        n -= 2;
    } else if (memchr(listen_at, ':', n)) {
        return false; /* ::1:8080 could mean two things */
    }
    if (n >= 64)
        return false;
    memcpy(host, listen_at, n);
    host[n] = '\0';
    return true;
}

static enum outcome parse_listen(const char *listen_at, struct address *a, struct error *err)
{
    char host[64];
    in_port_t port;
    if (!split(listen_at, host, &port))
        return bad_listen(err, listen_at);
    if (host[0] == '\0' || strcmp(host, "*") == 0) {
        all_addresses(a, port);
        return OK;
    }
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *found;
    const char *name = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return bad_listen(err, listen_at);
    memcpy(&a->at, found->ai_addr, found->ai_addrlen);
    a->size = found->ai_addrlen;
    freeaddrinfo(found);
    if (a->at.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a->at)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&a->at)->sin_port = htons(port);
    return OK;
}

static int listen_at_address(const struct address *a)
{
    const int on = 1, off = 0;
    int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->at.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (const struct sockaddr *)&a->at, a->size) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static in_port_t port_of(const struct address *a)
{
    return ntohs(a->at.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&a->at)->sin6_port
                                             : ((const struct sockaddr_in *)&a->at)->sin_port);
}

static enum outcome open_listener(const char *listen_at, int *fd, int *port, struct error *err)
{
    struct address a = { .size = 0 };
    enum outcome outcome = parse_listen(listen_at, &a, err);
    if (outcome != OK)
        return outcome;
    *fd = listen_at_address(&a);
    if (*fd < 0 && errno == EAFNOSUPPORT && strchr(":*", listen_at[0])) {
        all_ipv4_addresses(&a, port_of(&a)); /* a machine without IPv6 */
        *fd = listen_at_address(&a);
    }
    if (*fd < 0)
        return fail(err, REFUSED, "cannot listen on '%s': %s; choose another address or port",
                    listen_at, strerror(errno));
    socklen_t size = sizeof a.at;
    int rc = getsockname(*fd, (struct sockaddr *)&a.at, &size);
    assert(rc == 0);
    *port = port_of(&a);
    return OK;
}

enum outcome health_init(struct health **out, const struct loop *loop, const char *listen_at,
                         struct error *err)
{
    int fd = -1, port = 0;
    enum outcome outcome = open_listener(listen_at, &fd, &port, err);
    if (outcome != OK)
        return outcome;
    metrics_register(&tick_age);

    struct health *h = xcalloc(1, sizeof *h);
    h->loop = loop;
    h->port = port;
    pthread_mutex_init(&h->lock, NULL);

    /* The server's thread must not take the signals meant for the loop. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->server = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC, 0, NULL, NULL, on_request, h,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)REQUEST_MEMORY_BYTES, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!h->server) {
        pthread_mutex_destroy(&h->lock);
        free(h);
        return fail(err, BROKEN, "cannot start the health server on '%s'", listen_at);
    }
    *out = h;
    return OK;
}

int health_port(const struct health *h)
{
    return h->port;
}

void health_release(struct health *h)
{
    if (!h)
        return;
    MHD_stop_daemon(h->server);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- what the process says about itself ---------------------------------- */

void health_set(struct health *h, const char *name, bool holds, const char *text)
{
    if (!h)
        return;
    assert(strlen(name) < sizeof h->conditions[0].name);
    pthread_mutex_lock(&h->lock);
    size_t i = 0;
    while (i < h->condition_count && strcmp(h->conditions[i].name, name) != 0)
        i++;
    assert(i < HEALTH_CONDITIONS_MAX);
    struct condition *c = &h->conditions[i];
    if (i == h->condition_count) {
        h->condition_count++;
        memcpy(c->name, name, strlen(name) + 1);
    }
    c->holds = holds;
    (void)text_bounded(c->text, sizeof c->text, text, strlen(text));
    pthread_mutex_unlock(&h->lock);
}

void health_started(struct health *h)
{
    if (h)
        atomic_store(&h->started, true);
}
