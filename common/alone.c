#include "common/alone.h"

#include <assert.h>

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

static const struct alone_note *note(struct alone *a, const struct doorbell *item, int64_t now_ms)
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

static void choose(struct alone *a, const struct doorbell *item)
{
    a->phase = ALONE_CHOSEN;
    a->item = *item;
    for (size_t i = a->count; i > 0; i--)
        if (same(&a->noted[i - 1].item, &a->item))
            forget(a, i - 1);
}

bool alone_offer(struct alone *a, const struct doorbell *item, bool empty, int64_t now_ms)
{
    forget_old(a, now_ms);
    if (a->phase != ALONE_OPEN && same(&a->item, item))
        return false;
    int64_t waited_ms = now_ms - note(a, item, now_ms)->first_ms;
    if (a->phase != ALONE_OPEN || now_ms < a->rest_until_ms)
        return false;
    if (!empty && waited_ms < ALONE_PATIENCE_MS)
        return false;
    struct doorbell chosen = *item;
    choose(a, &chosen);
    a->chosen_ms = now_ms;
    return empty && alone_empty(a);
}

bool alone_empty(struct alone *a)
{
    if (a->phase != ALONE_CHOSEN)
        return false;
    a->phase = ALONE_TAKEN;
    return true;
}

void alone_over(struct alone *a, int64_t now_ms)
{
    assert(a->phase == ALONE_TAKEN);
    int64_t spell_ms = now_ms - a->chosen_ms;
    forget_old(a, now_ms);
    if (a->count > 0 && spell_ms < ALONE_SPELL_MS) {
        struct doorbell next = a->noted[0].item;
        choose(a, &next);
        return;
    }
    a->phase = ALONE_OPEN;
    a->rest_until_ms = a->count > 0 ? now_ms + spell_ms : 0;
}

bool alone_tick(struct alone *a, int64_t now_ms)
{
    if (a->phase != ALONE_CHOSEN || now_ms - a->chosen_ms <= ALONE_WAIT_MAX_MS)
        return false;
    a->phase = ALONE_OPEN;
    a->rest_until_ms = now_ms + ALONE_WAIT_MAX_MS;
    return true;
}
