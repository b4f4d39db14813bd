/*
 * brain_task.h -- one step in the hands of this planner: a plan.h machine with the
 * operations that it has in flight, and the ports that connect it with the store,
 * the registry and the models.
 *
 * Threads: the loop's.
 */
#ifndef PAWL_PLANNER_BRAIN_TASK_H
#define PAWL_PLANNER_BRAIN_TASK_H

#include "common/daemon.h"
#include "common/http.h"
#include "common/producer.h"
#include "planner/breaker.h"
#include "planner/live.h"
#include "planner/plan.h"
#include "planner/run_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct brain_tasks;

struct brain_task {
    struct plan plan; /* first: a task is found by its plan */
    struct run_entry entry;
    struct brain_tasks *all;
    struct brain_task *prev, *next;
    store_ticket op;
    registry_ticket load;
    struct model_call *call;
    struct live_attempt *live; /* what the model says goes out; NULL: it does not */
    struct loop_timer timer;
    int64_t claimed_ms;        /* when the claim was answered; 0: not yet */
    unsigned ticket;           /* of the machine, for the operation in flight */
    struct consumer_slot slot; /* of the doorbell, until the claim is answered */
    bool has_slot;
};

struct brain_task_calls {
    void *arg;
    void (*announce)(void *arg, int64_t event_id);
    void (*retry_in)(void *arg, const struct uuid *run, int64_t delay_ms);
    void (*cannot)(void *arg, const struct uuid *run, int64_t model_seq, const struct error *why);
    void (*ended)(void *arg); /* a task is gone */
};

struct brain_tasks {
    struct daemon *daemon;
    struct http *http;
    struct producer *stream; /* of live tokens, which may not crowd out doorbells; NULL: none */
    struct live_sink live;
    struct history_cache cache;
    struct breakers breakers;
    char **texts; /* of keys of providers: what is told to Postgres outlives a revision */
    size_t text_count;
    struct brain_task_calls calls;
    struct plan_ports ports;
    struct run_table runs;
    struct brain_task *first;
    size_t count;
    unsigned short dice[3];
};

MUST_CHECK enum outcome brain_tasks_init(struct brain_tasks *all, struct daemon *daemon,
                                         size_t history_bytes, const struct brain_task_calls *calls,
                                         struct error *err);
void brain_tasks_release(struct brain_tasks *all); /* drops what is left */

/* The task of a run, or NULL. */
struct brain_task *brain_tasks_find(const struct brain_tasks *all, const struct uuid *run);

/* Begins one; the run must have none.  `slot` may be NULL. */
void brain_tasks_start(struct brain_tasks *all, const struct uuid *run, bool alone,
                       const struct consumer_slot *slot);

#endif
