/*
 * plan_world.h -- a scripted world for the machine of one step (planner/plan.h):
 * Postgres, the registry, the model and Kafka in one struct, without a socket.
 *
 * Each operation costs one unit of fuel; without fuel nothing is answered any more,
 * as after kill -9.
 */
#ifndef PAWL_TESTS_UNIT_PLAN_WORLD_H
#define PAWL_TESTS_UNIT_PLAN_WORLD_H

#include "common/digest.h"
#include "planner/plan.h"

enum { WORLD_QUEUE_MAX = 64, WORLD_STEPS = 3, FOREVER = 1000 };

/* Stands for Postgres, the registry, the model and Kafka. */
struct world {
    /* The run. */
    int step, version, model_at, failures, steps_planned[16];
    bool claimed, ended;
    struct uuid token;
    const char *status, *code;
    char error[300];

    /* What is in flight, and how many operations are left until "kill -9". */
    struct {
        struct plan_event ev;
        int what; /* 0 claim, 1 load, 2 think, 3 commit, 4 later */
    } queue[WORLD_QUEUE_MAX];
    int count, next, fuel;

    /* What happened. */
    int model_calls, model_calls_after_commit, commits, act_rings, plan_rings, announced, waits;
    int retries, cannot, forgotten, ends;
    int64_t retry_in_ms;
    char last_body[4096];
    bool cost_known_to_none;   /* the last commit names no model: none was asked */
    char asked[16];            /* the models, by the first letters of their names */
    int too_long, read_anew;   /* prompts over the window; claims that began with the input */
    char context[300];         /* as the last commit stored it */
    struct digest prompts[64]; /* of what the model was sent, by call */

    /* The script. */
    int last_step;      /* 0: WORLD_STEPS */
    int window;         /* tokens of four bytes that the model takes; 0: it does not count */
    const char *result; /* of each call; NULL: "seen" */
    int retry_claim, retry_load, retry_commit; /* answers RETRY so often first */
    int fail_model;                            /* the model fails so often first */
    enum outcome model_says;                   /* how it fails */
    const char *model_code;                    /* NULL: "overloaded" */
    int64_t retry_after_ms;
    int64_t blocked_ms[2]; /* by model */
    int said;              /* so many final answers come after somebody said something */
    int64_t quota_wait_ms; /* what the provider's limits want */
    enum outcome quota_says;
    int quotas, settles; /* what became of it */
    int64_t quota_tokens, settled, pause_ms;
    int empty_turns; /* the model says nothing so often first */
    enum outcome commit_says;
    int refuse_commits;
    enum store_claim_answer claim_says;
    bool no_secret, no_agent, all_refused;
    enum reply_end end;
    struct history_cache cache;
};

extern struct model_def world_model, world_other_model;
extern struct agent_def world_agent;
extern const struct uuid world_run;

/* Setup and teardown of cmocka. */
int world_set_up(void **state);
int world_tear_down(void **state);

/* From here on the agent's tool has a schema that this version cannot read; the next
 * time it has its own again.                                                 */
void world_swap_schema(void);

struct world new_world(void);
void end_world(struct world *w);
struct plan_ports ports_of(struct world *w);

/* Answers what is in flight, one after the other, until nothing is. */
void answer_all(struct world *w, struct plan *p);

/* One doorbell with so much fuel; what is left is thrown away as by a death, and
 * its claim with it.                                                         */
enum plan_state deliver(struct world *w, int fuel);

/* Starts a plan and stops it in the state. */
void bring_to(struct world *w, struct plan *p, const struct plan_ports *ports,
              enum plan_state wanted);

#endif
