/*
 * plan.h -- one step of one run, from the doorbell to the doorbells of its calls.
 *
 *       <-------- what is shown was too much: read again
 *     claim --> load --> think --> commit --> ring --> done
 *      | ^       | |        |         ^  |               ^
 *      | +-------+ +--------+---------+  +---------------+
 *      |  another  what cannot be thought   stale: somebody else
 *      |  model: its prompt is read anew
 *       +-----------------------------------------------> done
 *        not ours
 *
 *     claim   takes the step; the answer brings what is new in the conversation
 *     load    gets the agent's revision with its model and tools
 *     quota   (between load and think) takes what the call needs of the provider's
 *             limits, or gives the claim back until its turn; only if it has limits
 *     think   asks the model, streamed
 *     commit  stores the plan, or why there is none
 *     ring    tells the hands; announces the end of a run
 *
 * What is committed is never computed again: whoever finds the step again after a
 * death at any of these places asks `claim`, and a step that has its plan is not
 * given out any more.
 *
 * A failed model call is committed, too (outcome retry): waiting holds no slot.
 *
 * Limits:  PLAN_SCRATCH_BYTES for the conversation read at once, the history's
 *          text, the model's max_output_bytes for the answer.
 * Threads: the loop's.
 * Errors:  none leave this machine: each ends in a row, or in a claim given back.
 */
#ifndef PAWL_PLANNER_PLAN_H
#define PAWL_PLANNER_PLAN_H

#include "common/arena.h"
#include "common/message.h"
#include "common/outcome.h"
#include "common/registry.h"
#include "common/store.h"
#include "common/uuid.h"
#include "planner/context.h"
#include "planner/conversation.h"
#include "planner/history.h"
#include "planner/model.h"
#include "planner/model_call.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PLAN_TENANT_SIZE = 129 };

#define PLAN_SCRATCH_BYTES ((size_t)96 << 20)

enum plan_state {
    PLAN_CLAIM,
    PLAN_LOAD,
    PLAN_QUOTA, /* only if the model has limits */
    PLAN_THINK,
    PLAN_COMMIT,
    PLAN_RING,
    PLAN_DONE,
    PLAN_STATES
};

const char *plan_state_name(unsigned state); /* "claim", ... */

struct plan;

/* The answer of an operation; all but the reply is borrowed. */
struct plan_event {
    unsigned ticket;
    enum outcome outcome;
    const struct error *err;                /* unless OK */
    const struct store_plan_claim *claim;   /* of claim */
    const struct registry_agent *agent;     /* of load; must stay valid until the end */
    struct model_reply *reply;              /* of think; the plan's from here on */
    const struct store_plan_commit *commit; /* of commit */
    int64_t wait_ms;                        /* of quota: 0, go on */
};

/* How the machine sees the world.  Operations answer once, by plan_resume() with
 * the ticket, and never from inside the call.                                */
struct plan_ports {
    void *self;
    void (*claim)(void *self, struct plan *p, unsigned ticket,
                  const struct store_claim_plan *request);
    void (*load)(void *self, struct plan *p, unsigned ticket, int64_t revision);
    /* May the model be asked now, as far as its provider's limits go? */
    void (*quota)(void *self, struct plan *p, unsigned ticket, const struct store_quota *request);
    void (*think)(void *self, struct plan *p, unsigned ticket,
                  const struct model_call_request *request);
    void (*commit)(void *self, struct plan *p, unsigned ticket,
                   const struct store_commit_plan *request);
    /* Answers OK after delay_ms. */
    void (*later)(void *self, struct plan *p, unsigned ticket, int64_t delay_ms);
    /* Nobody waits for the present operation any more. */
    void (*forget)(void *self, struct plan *p);

    void (*ring)(void *self, const struct doorbell *d);
    void (*announce)(void *self, int64_t event_id);
    void (*retry_in)(void *self, const struct uuid *run, int64_t delay_ms);
    /* What a call has used beyond what was taken; nobody waits for an answer. */
    void (*settle)(void *self, const struct store_quota *request);
    /* 0: this model may be asked now; else its provider is left alone for so long. */
    int64_t (*blocked_ms)(void *self, const struct model_def *model);
    enum outcome (*secret)(void *self, const char *name, const char **value, struct error *err);
    double (*dice)(void *self); /* in [0, 1) */
    /* The step cannot be thought here (a secret is missing, a schema is too new): others may. */
    void (*cannot)(void *self, const struct plan *p, const struct error *why);
    /* The last word: the plan may be freed. */
    void (*ended)(void *self, struct plan *p);
};

/* Why a claim is given back, or not even made use of. */
enum plan_stop { PLAN_GO_ON, PLAN_GIVE_BACK };

struct plan {
    enum plan_state state;
    unsigned ticket;
    bool paused; /* waits to try the same operation again */
    int tries;   /* of the present operation */
    enum plan_stop stop;
    const struct plan_ports *ports;

    struct uuid run, token;
    bool alone;
    int step, epoch, version;
    int model_at; /* place of the model among the agent's */
    int failures; /* of its calls in this step */
    int64_t revision, left_ms;
    char tenant[PLAN_TENANT_SIZE];

    struct history_cache *cache;
    struct history *history; /* of the run, while we have it */
    bool keep_history;
    struct conversation conversation; /* in scratch, until the prompt is made */
    struct context context;           /* what of the run the prompt shows */
    bool view_moved;                  /* by us: the claim does not say it any more */
    int64_t estimate;                 /* tokens of the prompt */
    int64_t taken;                    /* of the provider's, for this call */
    struct arena scratch;

    const struct registry_agent *agent;
    const struct registry_model *model; /* the chosen one */
    const struct dialect *dialect;
    char call_prefix[24];
    struct model_reply *reply;

    struct store_commit_plan plan; /* what is committed */
    struct error why;
    int open_calls, next_step; /* as the commit answered */
    int64_t event_id;
    struct arena arena;
};

/* Begins with the claim.  `p` is uninitialised memory of the caller's. */
void plan_start(struct plan *p, const struct plan_ports *ports, struct history_cache *cache,
                const struct uuid *run, bool alone);

void plan_resume(struct plan *p, const struct plan_event *ev);

/* The run has ended under us, or nobody wants its result: whatever is in flight is
 * cut off, and the claim given back.  Only before the commit.                */
void plan_cancel(struct plan *p);

/* We are about to leave: a step whose model was not asked yet is given back. */
void plan_drain(struct plan *p);

/* Our claims are gone: ends at once, without a word to anybody. */
void plan_drop(struct plan *p);

/* Frees what the plan holds; after `ended`, or instead of it. */
void plan_release(struct plan *p);

void plan_print_graph(FILE *out); /* Mermaid, for the documentation */

#endif
