/*
 * liveness.h -- when may an observer say that another process is dead?
 *
 *      look    look    look    look   ...   look        each look: the peer's beat,
 *       7       7       7       7            7          and whether its lock is free
 *       |<--------- 10 s, one connection, our own beats go through --------->| dead
 *       |<-- half a second, its lock free at both ends -->| dead
 *
 * Pure arithmetic: no clock, no connection.  The rules are those of the design,
 * section 4:
 *
 * 1. A beat counter that stood still for `dead_after_ms` of the observer's own
 *    monotonic time, seen over one connection, while the observer's own beats
 *    went through.  A pause of the observer, or of the whole machine, is no
 *    time of silence: after a gap between two looks everything starts anew.
 * 2. A session lock that was free at two looks `free_after_ms` apart, with the
 *    same beat at both.  Whether a free lock says anything (it was taken on this
 *    very server, by who was beating until just now) is decided in SQL.
 *
 * After a new connection (liveness_reset) all windows start from zero, so that a
 * restart of Postgres looks like nobody's death.
 *
 * Limits:  LIVENESS_VERDICTS_MAX verdicts per look, the others at the next ones;
 *          memory is one entry per living peer.
 * Threads: one owner.
 * Errors:  none.
 */
#ifndef PAWL_COMMON_LIVENESS_H
#define PAWL_COMMON_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LIVENESS_VERDICTS_MAX = 4, /* burying takes time in which we do not beat */
};

struct liveness_peer {
    int64_t worker;
    int64_t beat;
    int64_t since_ms;      /* when this beat was first seen */
    int64_t free_since_ms; /* ... with its lock free; -1: it was held at the last look */
    bool seen;             /* at this look */
};

struct liveness {
    int64_t dead_after_ms, free_after_ms, gap_ms;
    struct liveness_peer *peers;
    size_t count, room;
    size_t lost;     /* peers that were there at the last look and are not at this one */
    int64_t last_ms; /* when the last look ended; -1: none on this connection */
    int64_t sent_ms, received_ms;
};

struct liveness_verdict {
    int64_t worker;
    int64_t beat;       /* what declare_dead() must still find */
    int64_t silence_ms; /* for the log */
    bool by_lock;
};

/* `gap_ms`: two looks that are further apart do not belong together. */
void liveness_init(struct liveness *l, int64_t dead_after_ms, int64_t free_after_ms,
                   int64_t gap_ms);
void liveness_release(struct liveness *l);

/* A new connection: nothing that was seen before counts. */
void liveness_reset(struct liveness *l);

/* One look: our own beat went through, in a statement that left us at `sent_ms` and
 * whose answer came at `received_ms`; then each living peer in it; then the
 * verdicts.  Peers that were not seen are forgotten, and counted in `lost`.  */
void liveness_begin(struct liveness *l, int64_t sent_ms, int64_t received_ms);
void liveness_see(struct liveness *l, int64_t worker, int64_t beat, bool lock_free);
size_t liveness_end(struct liveness *l, struct liveness_verdict out[LIVENESS_VERDICTS_MAX]);

#endif
