#include "executor/later.h"

#include "common/memory.h"

#include <stdlib.h>

static void swap(struct later *l, size_t a, size_t b)
{
    struct later_item kept = l->heap[a];
    l->heap[a] = l->heap[b];
    l->heap[b] = kept;
}

static void sift_up(struct later *l, size_t at)
{
    for (; at > 0 && l->heap[at].at_ms < l->heap[(at - 1) / 2].at_ms; at = (at - 1) / 2)
        swap(l, at, (at - 1) / 2);
}

static void sift_down(struct later *l, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < l->count; child++)
            if (l->heap[child].at_ms < l->heap[least].at_ms)
                least = child;
        if (least == at)
            return;
        swap(l, at, least);
        at = least;
    }
}

static void set_timer(struct later *l)
{
    if (l->count == 0) {
        loop_timer_stop(&l->timer);
        return;
    }
    int64_t wait_ms = l->heap[0].at_ms - loop_now_ms(l->loop);
    loop_timer_start(&l->timer, wait_ms > 0 ? wait_ms : 0);
}

static void on_timer(void *arg)
{
    struct later *l = arg;
    while (l->count > 0 && l->heap[0].at_ms <= loop_now_ms(l->loop)) {
        struct doorbell item = l->heap[0].item;
        l->heap[0] = l->heap[--l->count];
        sift_down(l, 0);
        l->fn(l->arg, &item);
    }
    set_timer(l);
}

void later_init(struct later *l, struct loop *loop,
                void (*fn)(void *arg, const struct doorbell *item), void *arg)
{
    *l = (struct later){ .loop = loop, .fn = fn, .arg = arg };
    loop_timer_init(loop, &l->timer, on_timer, l);
}

void later_add(struct later *l, const struct doorbell *item, int64_t delay_ms)
{
    if (l->count == LATER_ITEMS_MAX || delay_ms > LATER_MS_MAX)
        return;
    if (l->count == l->room) {
        l->room = l->room > 0 ? 2 * l->room : 16;
        l->heap = xreallocarray(l->heap, l->room, sizeof *l->heap);
    }
    l->heap[l->count] = (struct later_item){ loop_now_ms(l->loop) + delay_ms, *item };
    sift_up(l, l->count++);
    set_timer(l);
}

void later_clear(struct later *l)
{
    l->count = 0;
    loop_timer_stop(&l->timer);
}

void later_release(struct later *l)
{
    loop_timer_close(&l->timer);
    free(l->heap);
    *l = (struct later){ 0 };
}
