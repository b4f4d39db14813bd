/*
 * peer.h -- an HTTP server that does in a test exactly what its script says, and
 * counts what it was asked.
 *
 *     static void serve(struct peer *p, struct peer_talk *t)
 *     {
 *         while (peer_read(t))
 *             peer_send(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
 *     }
 *     peer_start(&peer, serve, NULL); ... peer.port ... peer_stop(&peer);
 *
 * A thread accepts, one more serves each connection; when the script returns, the
 * connection is closed. peer_stop() cuts all connections, so that no script can
 * hang, and waits for the threads.
 *
 * Limits:  PEER_TALKS_MAX connections in the life of a peer; requests of 64 KiB.
 * Threads: the counters are atomic; the rest belongs to the peer's threads.
 */
#ifndef PAWL_TESTS_UNIT_PEER_H
#define PAWL_TESTS_UNIT_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { PEER_TALKS_MAX = 1024, PEER_REQUEST_BYTES = 64 * 1024 };

struct peer;

/* One connection. */
struct peer_talk {
    struct peer *peer;
    int fd;
    int number;                           /* of the connection, from 1 */
    int requests;                         /* read on it so far */
    char request[PEER_REQUEST_BYTES + 1]; /* the last one: head and body */
    size_t request_bytes, head_bytes;
    pthread_t thread;
};

struct peer {
    int fd, port;
    void (*serve)(struct peer *p, struct peer_talk *t);
    void *arg;
    atomic_int connections, requests;
    atomic_bool stopping;
    pthread_t thread;
    pthread_mutex_t lock; /* of talks and their descriptors */
    struct peer_talk *talks[PEER_TALKS_MAX];
};

/* Listens on a free port of 127.0.0.1. */
void peer_start(struct peer *p, void (*serve)(struct peer *p, struct peer_talk *t), void *arg);
void peer_stop(struct peer *p);

/* Reads one request with its body. False when the other side closed or stopped. */
bool peer_read(struct peer_talk *t);
const char *peer_body(const struct peer_talk *t);

/* False when the other side is gone. */
bool peer_send(struct peer_talk *t, const char *text);
bool peer_send_bytes(struct peer_talk *t, const void *bytes, size_t n);

/* Waits until the other side closes; what it says meanwhile is thrown away. */
void peer_wait_closed(struct peer_talk *t);

/* Closes with a reset instead of in order. */
void peer_reset(struct peer_talk *t);

/* False when the peer is being stopped. */
bool peer_sleep_ms(struct peer *p, int ms);

/* Serves every request with 200 and the body "ok", and keeps alive. */
void peer_serve_ok(struct peer *p, struct peer_talk *t);

/* A port of 127.0.0.1 that refuses connections as long as the descriptor is open. */
int peer_refusing_port(int *fd);

#endif
