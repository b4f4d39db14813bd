#include "planner/history.h"

#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>

enum { BUCKETS_FIRST = 64 };

struct history *history_new(const struct uuid *run)
{
    struct history *h = xcalloc(1, sizeof *h);
    h->run = *run;
    buf_init(&h->text, HISTORY_TEXT_BYTES);
    return h;
}

void history_free(struct history *h)
{
    if (!h)
        return;
    buf_release(&h->text);
    free(h->steps);
    free(h);
}

void history_forget(struct history *h)
{
    h->epoch = 0;
    h->known_step = 0;
    h->empty_turn = false;
    h->view = (struct store_view){ 0 };
    h->head_len = h->head_kept = h->stable_len = h->open_len = 0;
    h->step_count = 0;
    buf_reset(&h->text);
}

void history_cut(struct history *h, size_t len)
{
    assert(len <= h->text.len);
    h->text.len = len;
    h->text.full = false;
    if (h->text.data)
        h->text.data[len] = '\0';
}

struct history_step *history_step(struct history *h, int step)
{
    if (h->step_count > 0 && h->steps[h->step_count - 1].step == step)
        return &h->steps[h->step_count - 1];
    if (h->step_count == h->step_room) {
        h->step_room = h->step_room ? 2 * h->step_room : 16;
        h->steps = xreallocarray(h->steps, h->step_room, sizeof *h->steps);
    }
    h->steps[h->step_count] = (struct history_step){ .step = step };
    return &h->steps[h->step_count++];
}

/* ---- the cache ------------------------------------------------------------- */

static size_t cost_of(const struct history *h)
{
    return sizeof *h + h->text.cap + h->step_room * sizeof *h->steps;
}

static struct history **bucket_of(const struct history_cache *cache, const struct uuid *run)
{
    return &cache->buckets[uuid_hash(run) & (cache->bucket_count - 1)];
}

void history_cache_init(struct history_cache *cache, size_t limit_bytes)
{
    *cache = (struct history_cache){ .limit_bytes = limit_bytes, .bucket_count = BUCKETS_FIRST };
    cache->buckets = xcalloc(cache->bucket_count, sizeof *cache->buckets);
}

static void remove_from(struct history_cache *cache, struct history *h)
{
    struct history **at = bucket_of(cache, &h->run);
    while (*at != h)
        at = &(*at)->chain;
    *at = h->chain;
    if (h->newer)
        h->newer->older = h->older;
    else
        cache->newest = h->older;
    if (h->older)
        h->older->newer = h->newer;
    else
        cache->oldest = h->newer;
    h->newer = h->older = h->chain = NULL;
    cache->used_bytes -= cost_of(h);
    cache->count--;
}

void history_cache_release(struct history_cache *cache)
{
    for (struct history *h = cache->oldest, *newer; h; h = newer) {
        newer = h->newer;
        history_free(h);
    }
    free(cache->buckets);
    *cache = (struct history_cache){ 0 };
}

static struct history *look_up(const struct history_cache *cache, const struct uuid *run)
{
    for (struct history *h = *bucket_of(cache, run); h; h = h->chain)
        if (uuid_eq(&h->run, run))
            return h;
    return NULL;
}

struct history *history_take(struct history_cache *cache, const struct uuid *run)
{
    struct history *h = look_up(cache, run);
    if (!h) {
        cache->misses++;
        return history_new(run);
    }
    cache->hits++;
    remove_from(cache, h);
    return h;
}

static void grow(struct history_cache *cache)
{
    size_t old_count = cache->bucket_count;
    struct history **old = cache->buckets;
    cache->bucket_count *= 2;
    cache->buckets = xcalloc(cache->bucket_count, sizeof *cache->buckets);
    for (size_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct history *h = old[i];
            old[i] = h->chain;
            struct history **at = bucket_of(cache, &h->run);
            h->chain = *at;
            *at = h;
        }
    }
    free(old);
}

void history_put(struct history_cache *cache, struct history *h, int64_t now_ms)
{
    if (h->known_step == 0 || cost_of(h) > cache->limit_bytes) {
        history_free(h);
        return;
    }
    struct history *twin = look_up(cache, &h->run);
    if (twin) { /* two tasks had the run one after the other: the newer word stands */
        remove_from(cache, twin);
        history_free(twin);
    }
    history_cut(h, h->stable_len);
    while (cache->oldest && cache->used_bytes + cost_of(h) > cache->limit_bytes) {
        struct history *oldest = cache->oldest;
        remove_from(cache, oldest);
        history_free(oldest);
    }
    if (cache->count >= cache->bucket_count)
        grow(cache);
    struct history **at = bucket_of(cache, &h->run);
    h->chain = *at;
    *at = h;
    h->older = cache->newest;
    h->newer = NULL;
    if (cache->newest)
        cache->newest->newer = h;
    else
        cache->oldest = h;
    cache->newest = h;
    h->used_ms = now_ms;
    cache->used_bytes += cost_of(h);
    cache->count++;
}

size_t history_cache_expire(struct history_cache *cache, int64_t before_ms)
{
    size_t dropped = 0;
    for (struct history *h = cache->oldest, *newer; h && h->used_ms < before_ms; h = newer) {
        newer = h->newer;
        remove_from(cache, h);
        history_free(h);
        dropped++;
    }
    return dropped;
}
