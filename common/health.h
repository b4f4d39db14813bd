/*
 * health.h -- the small HTTP server that probes and dashboards ask, and the only
 * door to libmicrohttpd.
 *
 *     /livez     200 while our own event loop turns (last tick < 5 s), else 503.
 *                Never looks at Kafka or Postgres: their outage is no reason to
 *                kill this process.
 *     /startupz  200 once health_started() was called.
 *     /readyz    200 once started, while every condition that was ever set holds;
 *                the body lists them, one a line, those that fail first.
 *     /metrics   the page of metrics.h.
 *
 *     loop thread --health_set()--> conditions (mutex) <-- the server's thread
 *     loop thread ---- tick -----> atomic             <-- the server's thread
 *     loop thread ---- counts ---> atomics            <-- the server's thread
 *
 * The server runs in a thread of its own, so that a blocked loop can still be
 * seen to be blocked.
 *
 * Limits:  HEALTH_CONDITIONS_MAX conditions; 32 connections, 10 s each when
 *          idle; 16 KiB a request; only GET and HEAD.
 * Threads: health_set() and health_started() from any thread; init and release
 *          from one.
 * Errors:  health_init() says which address cannot be bound and why.
 */
#ifndef PAWL_COMMON_HEALTH_H
#define PAWL_COMMON_HEALTH_H

#include "common/loop.h"
#include "common/outcome.h"

#include <stdbool.h>

enum {
    HEALTH_CONDITIONS_MAX = 16,
    HEALTH_TICK_MAX_MS = 5000, /* an older tick is a blocked loop */
};

struct health; /* private */

/* `listen_at` is "HOST:PORT": a numeric address, "[::1]:8080", "localhost:8080", or
 * ":8080" for all addresses; port 0 takes any free one.  The loop must outlive
 * the server.                                                                */
MUST_CHECK enum outcome health_init(struct health **out, const struct loop *loop,
                                    const char *listen_at, struct error *err);

/* The port that the server listens on. */
int health_port(const struct health *h);

/* States a condition of readiness, by a short name that stays ("postgres",
 * "kafka", "draining"): holds or not, and a few words about it.  `h` may be NULL
 * (no server configured): then nothing happens.                              */
void health_set(struct health *h, const char *name, bool holds, const char *text);

void health_started(struct health *h); /* h may be NULL */

void health_release(struct health *h); /* waits for the server's thread; NULL is fine */

#endif
