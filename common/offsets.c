#include "common/offsets.h"

#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>

enum { RING_CAP_MIN = 64 };

struct offsets_entry {
    int64_t offset;
    bool done;
};

void offsets_init(struct offsets *t)
{
    *t = (struct offsets){ .last = OFFSETS_NONE, .committed = OFFSETS_NONE };
}

void offsets_release(struct offsets *t)
{
    free(t->ring);
    offsets_init(t);
}

void offsets_reset(struct offsets *t)
{
    offsets_release(t);
}

static struct offsets_entry *entry_at(const struct offsets *t, size_t i)
{
    return &t->ring[(t->head + i) & (t->cap - 1)];
}

/* A ring of another size with the same entries in the same order. */
static void resize(struct offsets *t, size_t cap)
{
    struct offsets_entry *ring = xcalloc(cap, sizeof *ring);
    for (size_t i = 0; i < t->count; i++)
        ring[i] = *entry_at(t, i);
    free(t->ring);
    t->ring = ring;
    t->head = 0;
    t->cap = cap;
}

bool offsets_begin(struct offsets *t, int64_t offset)
{
    assert(offset >= 0);
    if (offset <= t->last)
        return false;
    if (t->count == t->cap)
        resize(t, t->cap ? 2 * t->cap : RING_CAP_MIN);
    *entry_at(t, t->count++) = (struct offsets_entry){ offset, false };
    if (t->last == OFFSETS_NONE)
        t->committed = offset; /* here we were told to begin */
    t->unfinished++;
    t->last = offset;
    return true;
}

/* Offsets rise along the ring, so a record is found by halving. */
static struct offsets_entry *find(const struct offsets *t, int64_t offset)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_at(t, middle)->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->count && entry_at(t, low)->offset == offset ? entry_at(t, low) : NULL;
}

bool offsets_done(struct offsets *t, int64_t offset)
{
    struct offsets_entry *entry = find(t, offset);
    if (!entry || entry->done)
        return false;
    entry->done = true;
    t->unfinished--;
    while (t->count > 0 && entry_at(t, 0)->done) {
        t->head = (t->head + 1) & (t->cap - 1);
        t->count--;
    }
    size_t cap = t->cap;
    while (cap > RING_CAP_MIN && t->count <= cap / 4)
        cap /= 2;
    if (cap < t->cap)
        resize(t, cap);
    return true;
}

int64_t offsets_next(const struct offsets *t)
{
    if (t->last == OFFSETS_NONE)
        return OFFSETS_NONE;
    return t->count > 0 ? entry_at(t, 0)->offset : t->last + 1;
}

int64_t offsets_take(struct offsets *t)
{
    int64_t next = offsets_next(t);
    if (next == OFFSETS_NONE || next <= t->committed)
        return OFFSETS_NONE;
    t->committed = next;
    return next;
}

void offsets_untake(struct offsets *t)
{
    t->committed = OFFSETS_NONE;
}
