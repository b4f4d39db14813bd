#include "executor/cannot.h"

static void drop(struct cannot *c, size_t at)
{
    c->count--;
    c->revisions[at] = c->revisions[c->count];
    c->until_ms[at] = c->until_ms[c->count];
}

bool cannot_add(struct cannot *c, int64_t revision, int64_t until_ms)
{
    size_t first = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->revisions[i] == revision) {
            if (c->until_ms[i] < until_ms)
                c->until_ms[i] = until_ms;
            return false;
        }
        if (c->until_ms[i] < c->until_ms[first])
            first = i;
    }
    if (c->count == CANNOT_MAX)
        drop(c, first);
    c->revisions[c->count] = revision;
    c->until_ms[c->count] = until_ms;
    c->count++;
    return true;
}

bool cannot_expire(struct cannot *c, int64_t now_ms)
{
    size_t before = c->count;
    for (size_t i = c->count; i > 0; i--)
        if (c->until_ms[i - 1] <= now_ms)
            drop(c, i - 1);
    return c->count != before;
}
