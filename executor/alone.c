#include "executor/alone.h"

static bool same(const struct doorbell *a, const struct doorbell *b)
{
    return a->step == b->step && a->index == b->index && uuid_eq(&a->run, &b->run);
}

static void forget(struct alone *a, size_t at)
{
    a->noted[at] = a->noted[--a->count];
}

static void forget_old(struct alone *a, int64_t now_ms)
{
    for (size_t i = a->count; i > 0; i--)
        if (now_ms - a->noted[i - 1].last_ms > ALONE_FORGET_MS)
            forget(a, i - 1);
}

static struct alone_note *note(struct alone *a, const struct doorbell *item, int64_t now_ms)
{
    size_t oldest = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (same(&a->noted[i].item, item)) {
            a->noted[i].last_ms = now_ms;
            return &a->noted[i];
        }
        if (a->noted[i].last_ms < a->noted[oldest].last_ms)
            oldest = i;
    }
    if (a->count == ALONE_NOTED_MAX)
        forget(a, oldest);
    a->noted[a->count] = (struct alone_note){ *item, now_ms, now_ms };
    return &a->noted[a->count++];
}

static void take(struct alone *a, const struct doorbell *item, enum alone_phase phase)
{
    a->phase = phase;
    a->item = *item;
    for (size_t i = a->count; i > 0; i--)
        if (same(&a->noted[i - 1].item, item))
            forget(a, i - 1);
}

bool alone_offer(struct alone *a, const struct doorbell *item, bool empty, int64_t now_ms)
{
    if (a->phase != ALONE_OPEN)
        return false;
    if (empty) {
        take(a, item, ALONE_TAKEN);
        return true;
    }
    forget_old(a, now_ms);
    if (now_ms - note(a, item, now_ms)->first_ms >= ALONE_PATIENCE_MS)
        take(a, item, ALONE_CHOSEN);
    return false;
}

bool alone_empty(struct alone *a)
{
    if (a->phase != ALONE_CHOSEN)
        return false;
    a->phase = ALONE_TAKEN;
    return true;
}

void alone_over(struct alone *a)
{
    a->phase = ALONE_OPEN;
}
