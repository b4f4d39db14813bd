/*
 * world.h -- a model of the protocol: all that matters of the tables, of the
 * processes and of the tools, in a few hundred bytes.
 *
 *      world.h      what there is             protocol.c   what the SQL functions do
 *      mistake.h    what could be wrong       tree.c       ... and will do (sub-agents)
 *      moves.c      what can happen next      judge.c      what must hold
 *      explore.c    all of it, in every order, as far as the budgets go
 *      test_*.c     small worlds: each holds, and each mistake is found in one
 *
 * A rule of protocol.c bears the name of the SQL function in schema/migrations
 * that it stands for, and is to be read beside it.  An SQL function is one
 * move: it takes the locks of its runs first, and reads only then.  What comes
 * before the locks is a move of its own: a claim that is on its way and holds
 * its worker's row (hold_worker), a person who looked and has not yet acted.
 *
 * Left out, because the order of events does not matter to it, or because
 * sql/walk.py goes there: tenants, revisions, batches, back-off and the deaths
 * that are counted, tools that answer with an error (an answer like any other),
 * what people say to a run (a final answer that crosses it is a plan without
 * calls), steps beyond the second.  Time is not counted either.  `due` says that
 * somebody will look before the run's own deadline; a moment that is waited for
 * (send_by, the end of a suspension) is a condition, or may come at any time.
 *
 * Left out: places and queued runs (0010_admission.sql), and limits of providers: a
 * run of the model always has a place.
 *
 * Sub-agents and approvals are not in the SQL yet.  tree.c and the verbs
 * APPROVE, DENY and EXPIRE say what sections 6 and 8 of the design ask of them.
 *
 * Limits:  the enum below.  Everything is a byte, and 0 is "nothing", so that
 *          states pack well (see explore.c).
 * Threads: one.
 * Errors:  what breaks a promise is written into world.broken.
 */
#ifndef PAWL_SCHEMA_MODEL_WORLD_H
#define PAWL_SCHEMA_MODEL_WORLD_H

#include <stdbool.h>

typedef unsigned char byte;

enum { RUNS = 2, CALLS = 2, EPOCHS = 3, PROCESSES = 7, SLOTS = 2, PEOPLE = 2 };

/* ------------------------------------------------------------- the tables */

enum run_status { NO_RUN, RUNNING, SUCCEEDED, FAILED, CANCELLED };

/* agent_runs.  `version` counts the claims of the current step's plan. */
struct run {
    byte status, epoch, step, version;
    byte claim_by, claim_slot; /* process + 1; with its slot, this is the token */
    byte open_calls, waiting_calls;
    byte due;
    byte plan_epoch; /* of the newest plan of step 1: what step 2 reads (read_steps) */
    byte ends;       /* of this epoch: how often end_runs was here */
};

enum call_status {
    NO_ROW, /* planned, and nobody has claimed it */
    CALL_RUNNING,
    CALL_SUCCEEDED,
    CALL_FAILED, /* only of a sub-agent that did not succeed */
    CALL_UNSENT, /* failed_before_effect */
    CALL_UNKNOWN,
    CALL_DENIED,
    CALL_CANCELLED,
    AWAITING_DECISION,
    AWAITING_APPROVAL,
    AWAITING_CHILD,
};

/*
 * The newest row of agent_actions for one call in one epoch.  Older attempts of
 * the same epoch change nothing any more, so a commit to one of them is just
 * stale.  A call is of the stable plan when its epoch is the run's: step 1 is
 * planned once an epoch.
 */
struct call {
    byte status, open, version;
    byte by, slot; /* claim_by, claim_token */
    byte cut;
    byte may_retry, may_probe; /* retry_at, probe_after */
    byte probe_by, probe_slot;
    byte run_ended;    /* error_code = 'run_ended' */
    byte twin;         /* error_code = 'twin_unknown' */
    byte copied;       /* copied_from */
    byte approved;     /* a person allowed it */
    byte cancellation; /* pawl.cancellations has it: its holder is told at its next beat */
};

/* ---------------------------------------------------------- the processes */

enum kind { NOBODY, PLANNER, EXECUTOR };
enum life { ALIVE, TOLD, CRASHED, REPLACED }; /* TOLD: it knows that it was declared dead */

enum task_state {
    IDLE,
    ASKING, /* its claim is on its way, holds the worker's row, waits for the run's lock */
    LOST,   /* the claim's answer was lost: it will ask again, with the same token */
    HELD,
    ON_THE_WIRE, /* the request may reach the tool, also after its sender's death */
    COMMITTING,
    COMMITTED, /* ... went through and its answer was lost: asked again */
    TELLING,   /* a mistake's second transaction (see tree.c) */
};

enum outcome {
    NO_OUTCOME,
    PLANNED, /* calls, or the final answer where there are none to make */
    HANDED_BACK,
    ANSWERED,    /* succeeded */
    NOT_REACHED, /* failed_before_effect */
    CUT,         /* unknown */
    HAPPENED,    /* ... of a probe: */
    DID_NOT_HAPPEN,
    UNSURE,
    PROBE_FAILED,
    TOLD_UNKNOWN, /* the default end of a decision */
    REFUSED,      /* the person said no, or nothing in time */
    CHILD_ENDED,
};

/* A plan (index = CALLS) or a call in the hands of a process. */
struct task {
    byte state, run, index, epoch, step, version;
    byte probe;
    byte outcome, again; /* again: p_retry_ms is not null */
    byte read[CALLS];    /* what the prompt was made of */
    byte seen;           /* what a mistake has read before the lock */
};

struct process {
    byte kind, life, buried, holds; /* holds: see canonical() */
    struct task tasks[SLOTS];
};

/* ------------------------------------------------- people, tools, budgets */

enum verb { NOTHING, CANCEL, APPROVE, DENY, EXPIRE };

/* Somebody who has looked at a run, and is about to act on what was there. */
struct person {
    byte verb, run, index;
    byte seen; /* the version, or whether the run was live */
};

/* What may still go wrong, or be asked for. */
struct budget {
    byte faults;   /* deaths, and declarations of death over the living */
    byte cuts;     /* time-outs */
    byte refusals; /* not one byte was sent */
    byte losses;   /* answers of the database */
    byte returns;  /* claims that are handed back */
    byte doubts;   /* probes without a word */
    byte cancels, retries;
    byte words; /* approvals and denials */
};

struct world {
    struct run runs[RUNS];
    struct call calls[RUNS][CALLS][EPOCHS];
    byte doubt[RUNS][CALLS];       /* pawl.unknown_calls: version of the entry, or 0 */
    byte ran[RUNS][CALLS][EPOCHS]; /* the tool's own ledger, by idempotency key */
    byte allowed[RUNS][CALLS][EPOCHS], forbidden[RUNS][CALLS][EPOCHS]; /* what people were told */
    byte children; /* made so far, for the one call that asks for one */
    struct process processes[PROCESSES];
    struct person people[PEOPLE];
    struct budget left;
    byte broken; /* enum broken: what an event did that it must not do */
};

/* --------------------------------------------------------------- a world's kind */

/* What a call does, by its tool's declaration. */
enum effect { NO_CALL, READ_ONLY, IDEMPOTENT, ONCE_TELL, ONCE_ASK, ONCE_PROBE, SUB_AGENT };

struct call_plan {
    enum effect effect;
    byte tool; /* equal ones are twins: same tool, same arguments */
    bool needs_approval;
};

/* What a small world is made of. */
struct setting {
    const char *name;
    struct call_plan plan[RUNS][CALLS]; /* of step 1; none: the first answer is final */
    int planners, executors, slots, parallel;
    struct budget budget;
};

extern const struct setting *setting;

static inline bool is_live(const struct run *r)
{
    return r->status == RUNNING;
}

static inline bool is_once(int run, int index)
{
    enum effect e = setting->plan[run][index].effect;
    return e == ONCE_TELL || e == ONCE_ASK || e == ONCE_PROBE;
}

/* The same tool with the same arguments, or the very same call. */
static inline bool is_twin(int run, int index, int other_run, int other_index)
{
    return is_once(run, index) &&
           setting->plan[run][index].tool == setting->plan[other_run][other_index].tool;
}

static inline bool is_call(int run, int index)
{
    return setting->plan[run][index].effect != NO_CALL;
}

/* The row of this call in the run's current epoch; it may be NO_ROW. */
static inline struct call *call_now(struct world *w, int run, int index)
{
    return &w->calls[run][index][w->runs[run].epoch - 1];
}

static inline bool is_buried(const struct world *w, byte by)
{
    return by && w->processes[by - 1].buried;
}

/* Whether the hands are at work on this run. */
static inline bool is_acting(const struct run *r)
{
    return is_live(r) && r->open_calls > 0;
}

/* The world as it begins: run 0 accepted, processes idle. */
void world_begin(struct world *w);

/* Puts a new process into a free place; there is always one (see moves.c). */
void world_start(struct world *w, byte kind);

/*
 * The one state that stands for all that differ only in what nobody can tell:
 * processes in another order, or past everything; who made a call that is closed.
 * was: which process stood before where each one stands now.
 */
void world_canonical(struct world *w, byte was[PROCESSES]);

#endif
