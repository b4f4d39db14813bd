#include "common/liveness.h"

#include "common/memory.h"

#include <stdlib.h>

enum { NEVER = -1 };

void liveness_init(struct liveness *l, int64_t dead_after_ms, int64_t free_after_ms, int64_t gap_ms)
{
    *l = (struct liveness){
        .dead_after_ms = dead_after_ms,
        .free_after_ms = free_after_ms,
        .gap_ms = gap_ms,
        .last_ms = NEVER,
    };
}

void liveness_release(struct liveness *l)
{
    free(l->peers);
    l->peers = NULL;
    l->count = l->room = 0;
}

void liveness_reset(struct liveness *l)
{
    l->count = 0;
    l->last_ms = NEVER;
}

void liveness_begin(struct liveness *l, int64_t sent_ms, int64_t received_ms)
{
    if (l->last_ms != NEVER && received_ms - l->last_ms > l->gap_ms)
        liveness_reset(l);
    l->sent_ms = sent_ms;
    l->received_ms = received_ms;
    for (size_t i = 0; i < l->count; i++)
        l->peers[i].seen = false;
}

static struct liveness_peer *find(struct liveness *l, int64_t worker)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->peers[i].worker == worker)
            return &l->peers[i];
    return NULL;
}

/* A window begins when an answer is here and is measured to the moment at which a
 * later question left: the time in between has passed for certain.           */
void liveness_see(struct liveness *l, int64_t worker, int64_t beat, bool lock_free)
{
    struct liveness_peer *p = find(l, worker);
    if (!p) {
        if (l->count == l->room) {
            l->room = l->room ? l->room * 2 : 16;
            l->peers = xreallocarray(l->peers, l->room, sizeof *l->peers);
        }
        p = &l->peers[l->count++];
        *p = (struct liveness_peer){ .worker = worker, .beat = beat - 1 };
    }
    p->seen = true;
    if (p->beat != beat) {
        p->beat = beat;
        p->since_ms = l->received_ms;
        p->free_since_ms = NEVER;
    }
    if (!lock_free)
        p->free_since_ms = NEVER;
    else if (p->free_since_ms == NEVER)
        p->free_since_ms = l->received_ms;
}

size_t liveness_end(struct liveness *l, struct liveness_verdict out[LIVENESS_VERDICTS_MAX])
{
    size_t kept = 0, verdicts = 0;
    l->lost = 0;
    l->last_ms = l->received_ms;
    for (size_t i = 0; i < l->count; i++) {
        struct liveness_peer p = l->peers[i];
        if (!p.seen) {
            l->lost++;
            continue;
        }
        l->peers[kept++] = p;
        bool by_lock = p.free_since_ms != NEVER && l->sent_ms - p.free_since_ms >= l->free_after_ms;
        bool by_silence = l->sent_ms - p.since_ms >= l->dead_after_ms;
        if ((by_lock || by_silence) && verdicts < LIVENESS_VERDICTS_MAX)
            out[verdicts++] = (struct liveness_verdict){
                .worker = p.worker,
                .beat = p.beat,
                .silence_ms = l->sent_ms - p.since_ms,
                .by_lock = by_lock && !by_silence,
            };
    }
    l->count = kept;
    return verdicts;
}
