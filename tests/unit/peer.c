#include "tests/unit/peer.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int bound_socket(int *port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0);
    int rc = bind(fd, (struct sockaddr *)&at, size);
    assert(rc == 0);
    rc = getsockname(fd, (struct sockaddr *)&at, &size);
    assert(rc == 0);
    *port = ntohs(at.sin_port);
    return fd;
}

int peer_refusing_port(int *fd)
{
    int port;
    *fd = bound_socket(&port); /* bound, so nobody else takes it; not listening */
    return port;
}

static void close_talk(struct peer_talk *t)
{
    pthread_mutex_lock(&t->peer->lock);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    pthread_mutex_unlock(&t->peer->lock);
}

static void *run_talk(void *arg)
{
    struct peer_talk *t = arg;
    t->peer->serve(t->peer, t);
    close_talk(t);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct peer *p = arg;
    for (int number = 1; !atomic_load(&p->stopping); number++) {
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        int fd = accept4(p->fd, (struct sockaddr *)&from, &size, SOCK_CLOEXEC);
        if (fd < 0)
            break;
        assert(number <= PEER_TALKS_MAX);
        struct peer_talk *t = xcalloc(1, sizeof *t);
        t->peer = p;
        t->fd = fd;
        t->number = number;
        atomic_fetch_add(&p->connections, 1);
        pthread_mutex_lock(&p->lock);
        if (atomic_load(&p->stopping))
            (void)shutdown(fd, SHUT_RDWR);
        p->talks[number - 1] = t;
        int rc = pthread_create(&t->thread, NULL, run_talk, t);
        pthread_mutex_unlock(&p->lock);
        assert(rc == 0);
    }
    return NULL;
}

void peer_start(struct peer *p, void (*serve)(struct peer *p, struct peer_talk *t), void *arg)
{
    memset(p, 0, sizeof *p);
    p->serve = serve;
    p->arg = arg;
    p->fd = bound_socket(&p->port);
    pthread_mutex_init(&p->lock, NULL);
    int rc = listen(p->fd, 256);
    assert(rc == 0);
    rc = pthread_create(&p->thread, NULL, accept_all, p);
    assert(rc == 0);
}

void peer_stop(struct peer *p)
{
    atomic_store(&p->stopping, true);
    (void)shutdown(p->fd, SHUT_RDWR);
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < PEER_TALKS_MAX && p->talks[i]; i++)
        if (p->talks[i]->fd >= 0)
            (void)shutdown(p->talks[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    for (int i = 0; i < PEER_TALKS_MAX && p->talks[i]; i++) {
        pthread_join(p->talks[i]->thread, NULL);
        free(p->talks[i]);
    }
    close(p->fd);
    pthread_mutex_destroy(&p->lock);
}

static size_t body_length(const char *head)
{
    for (const char *line = head; line; line = strstr(line, "\r\n")) {
        line += line != head ? 2 : 0;
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            return strtoul(line + 15, NULL, 10);
    }
    return 0;
}

bool peer_read(struct peer_talk *t)
{
    size_t want = 0;
    t->request_bytes = t->head_bytes = 0;
    t->request[0] = '\0';
    while (t->head_bytes == 0 || t->request_bytes < want) {
        size_t room = PEER_REQUEST_BYTES - t->request_bytes;
        ssize_t n = recv(t->fd, t->request + t->request_bytes, room, 0);
        if (n <= 0)
            return false;
        t->request_bytes += (size_t)n;
        t->request[t->request_bytes] = '\0';
        const char *end = strstr(t->request, "\r\n\r\n");
        if (end && t->head_bytes == 0) {
            t->head_bytes = (size_t)(end - t->request) + 4;
            want = t->head_bytes + body_length(t->request);
            assert(want <= PEER_REQUEST_BYTES);
        }
    }
    t->requests++;
    atomic_fetch_add(&t->peer->requests, 1);
    return true;
}

const char *peer_body(const struct peer_talk *t)
{
    return t->request + t->head_bytes;
}

bool peer_send_bytes(struct peer_talk *t, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t sent = send(t->fd, at, n, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool peer_send(struct peer_talk *t, const char *text)
{
    return peer_send_bytes(t, text, strlen(text));
}

void peer_wait_closed(struct peer_talk *t)
{
    char thrown_away[4096];
    while (recv(t->fd, thrown_away, sizeof thrown_away, 0) > 0)
        continue;
}

void peer_reset(struct peer_talk *t)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close_talk(t);
}

bool peer_sleep_ms(struct peer *p, int ms)
{
    struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
    return !atomic_load(&p->stopping);
}

void peer_serve_ok(struct peer *p, struct peer_talk *t)
{
    (void)p;
    while (peer_read(t))
        if (!peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            return;
}
