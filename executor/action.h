/*
 * action.h -- the life of one call of a tool, from the doorbell to the stored result.
 *
 *     claim --> load --> call ---> commit --> ring --> done
 *       |         |----> probe ----^  ^          ^
 *       |         +---- not here -----+          |
 *       +---- the claim completed the step ------+
 *       +---- not ours -----------------------------> done
 *
 * Everything that matters is in Postgres before the next thing happens: the claim
 * with its key before the first byte is sent, the outcome before a doorbell rings.
 * So nothing in this struct has to survive a crash, and a call is begun anew from
 * its row: by us, or by anybody else.
 *
 * What is sent, and when not:
 *   - nothing after send_by, which is counted from before the claim was sent;
 *   - nothing after a cancel, or once the process was asked to finish;
 *   - at most one request per claim.
 * A claim that is not used is handed back.
 *
 * Whether a call may be tried again is not decided here: the database does, from
 * the outcome, the policy frozen in the row, and `retry_ms`.
 *
 * Limits:  one operation in flight; ACTION_ARENA_BYTES of memory.
 * Threads: the loop's.
 * Errors:  none of its own: each ends in a row or in a line of the log.
 */
#ifndef PAWL_EXECUTOR_ACTION_H
#define PAWL_EXECUTOR_ACTION_H

#include "common/arena.h"
#include "common/message.h"
#include "common/store.h"
#include "executor/tool.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { ACTION_ARENA_BYTES = 48 * 1024 * 1024, ACTION_CODE_SIZE = 32 };

enum action_state {
    ACTION_CLAIM,  /* asking Postgres whether this call is ours      */
    ACTION_LOAD,   /* reading the revision of the tool               */
    ACTION_CALL,   /* the request is with the tool                   */
    ACTION_PROBE,  /* asking the tool whether an earlier call happened */
    ACTION_COMMIT, /* storing the outcome                            */
    ACTION_RING,   /* telling others what is next                    */
    ACTION_DONE,   /* the task is over and will be freed             */
    ACTION_STATES
};

const char *action_state_name(unsigned state); /* "claim", ... */

struct action;

/* The answer of one operation.  Exactly one of the pointers, by state; borrowed
 * during the call.                                                           */
struct action_event {
    unsigned ticket; /* which operation answers */
    enum outcome outcome;
    const struct error *err;                  /* when outcome is not OK */
    const struct store_action_claim *claim;   /* ACTION_CLAIM */
    const struct tool_def *def;               /* ACTION_LOAD */
    const struct tool_answer *answer;         /* ACTION_CALL, ACTION_PROBE */
    const struct store_action_commit *commit; /* ACTION_COMMIT */
};

/* What the world does for us.  Real: hands.c.  In tests: a script.  Operations
 * return at once; their answer comes later, through action_resume() with the
 * action's ticket at the time of asking.                                     */
struct action_ports {
    void *self;
    int64_t (*now_ms)(void *self); /* clock_mono_ms() */
    void (*claim)(void *self, struct action *a, const struct store_claim_action *request);
    /* The tool when it is here already; else NULL, and the answer comes later. */
    const struct tool_def *(*load)(void *self, struct action *a, int64_t revision);
    /* As in tool.h. */
    enum outcome (*call)(void *self, struct action *a, const struct tool_call *call,
                         struct error *err);
    bool (*cancel)(void *self, struct action *a); /* the call or probe; was anything sent? */
    void (*commit)(void *self, struct action *a, const struct store_commit_action *request);
    void (*ring)(void *self, struct action *a, const struct doorbell *d);
    /* This process cannot serve that revision: do not claim it for a while. */
    void (*cannot)(void *self, struct action *a, const struct error *why);
    void (*moved)(void *self, struct action *a, enum action_state from, enum action_state to);
    void (*done)(void *self, struct action *a); /* the last call: may free it */
};

/* How it went: for metrics, and for the timer of the next attempt. */
struct action_end {
    bool committed;                  /* `outcome` is in the database */
    bool late;                       /* ... though the claim was not ours any more */
    bool stale;                      /* it was not taken */
    enum store_call_outcome outcome; /* of this attempt */
    int64_t retry_ms;                /* >= 0: may be claimed again from then on */
    bool unable;                     /* handed back because this process cannot serve it */
};

struct action {
    enum action_state state;
    unsigned ticket; /* of the one operation in flight */
    const struct action_ports *ports;
    struct doorbell item; /* run, step, index */
    struct uuid token;
    bool alone;
    bool stopping; /* cancelled or asked to finish: nothing is sent any more */

    /* From the claim. */
    enum store_work work;
    int version;
    int64_t revision;
    const char *tool; /* its name */
    int64_t claimed_ms;
    struct tool_call call;

    /* What will be stored.  Texts are in the arena. */
    struct store_commit_action outcome;
    char code[ACTION_CODE_SIZE];
    struct error error;
    bool plain; /* the second try of a commit that was refused */

    int ring_plan;  /* > 0: the step to ring for */
    int ring_index; /* >= 0: the call to ring for */
    struct action_end end;
    struct arena arena;
};

void action_start(struct action *a, const struct action_ports *ports, const struct doorbell *item,
                  bool alone);
void action_resume(struct action *a, const struct action_event *ev);

/* The run of this claim has ended: aborts what is under way.  What may have been
 * sent is stored as unknown.                                                 */
void action_cancel(struct action *a);

/* Asked to finish: what was not sent yet will not be; what was sent goes on. */
void action_stop(struct action *a);

void action_release(struct action *a);

void action_print_graph(FILE *out); /* the machine as Mermaid, for the documentation */

#endif
