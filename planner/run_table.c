#include "planner/run_table.h"

#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>

enum { BUCKETS_FIRST = 64 };

static struct run_entry **bucket_of(const struct run_table *t, const struct uuid *run)
{
    return &t->buckets[uuid_hash(run) & (t->bucket_count - 1)];
}

void run_table_init(struct run_table *t)
{
    *t = (struct run_table){ .bucket_count = BUCKETS_FIRST };
    t->buckets = xcalloc(t->bucket_count, sizeof *t->buckets);
}

void run_table_release(struct run_table *t)
{
    assert(t->count == 0);
    free(t->buckets);
    *t = (struct run_table){ 0 };
}

static void put(struct run_table *t, struct run_entry *entry)
{
    struct run_entry **at = bucket_of(t, &entry->run);
    entry->chain = *at;
    *at = entry;
}

static void grow(struct run_table *t)
{
    struct run_entry **old = t->buckets;
    size_t old_count = t->bucket_count;
    t->bucket_count *= 2;
    t->buckets = xcalloc(t->bucket_count, sizeof *t->buckets);
    for (size_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct run_entry *entry = old[i];
            old[i] = entry->chain;
            put(t, entry);
        }
    }
    free(old);
}

void run_table_add(struct run_table *t, struct run_entry *entry, const struct uuid *run)
{
    assert(!run_table_find(t, run));
    if (t->count == t->bucket_count)
        grow(t);
    entry->run = *run;
    put(t, entry);
    t->count++;
}

void run_table_remove(struct run_table *t, struct run_entry *entry)
{
    struct run_entry **at = bucket_of(t, &entry->run);
    while (*at != entry) {
        assert(*at);
        at = &(*at)->chain;
    }
    *at = entry->chain;
    entry->chain = NULL;
    t->count--;
}

struct run_entry *run_table_find(const struct run_table *t, const struct uuid *run)
{
    for (struct run_entry *entry = *bucket_of(t, run); entry; entry = entry->chain)
        if (uuid_eq(&entry->run, run))
            return entry;
    return NULL;
}
