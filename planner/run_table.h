/*
 * run_table.h -- finds what there is here about a run, by its id.
 *
 * Whoever is to be found embeds a struct run_entry; the table owns nothing.
 *
 * Limits:  grows with its entries, so that a look-up stays short.
 * Threads: one owner.
 */
#ifndef PAWL_PLANNER_RUN_TABLE_H
#define PAWL_PLANNER_RUN_TABLE_H

#include "common/uuid.h"

#include <stddef.h>

struct run_entry {
    struct uuid run;
    struct run_entry *chain;
};

struct run_table {
    struct run_entry **buckets;
    size_t bucket_count, count;
};

void run_table_init(struct run_table *t);
void run_table_release(struct run_table *t);

/* The run must not be in it yet. */
void run_table_add(struct run_table *t, struct run_entry *entry, const struct uuid *run);
void run_table_remove(struct run_table *t, struct run_entry *entry);
struct run_entry *run_table_find(const struct run_table *t, const struct uuid *run); /* or NULL */

#endif
