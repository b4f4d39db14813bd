/*
 * protocol.h -- the SQL functions of schema/migrations, on struct world.
 *
 * Each is one transaction from the moment at which it has the locks of its
 * runs.  What it finds wrong with itself it notes in world.broken.
 *
 * Threads: one.
 * Errors:  none; the answers are those of the SQL functions.
 */
#ifndef PAWL_SCHEMA_MODEL_PROTOCOL_H
#define PAWL_SCHEMA_MODEL_PROTOCOL_H

#include "schema/model/mistake.h"
#include "schema/model/world.h"

enum answer { NO, BUSY, DONE, LATER, YOURS, DEAD, OK, STORED, STALE };

/* What an event did that it must not do; each is a promise of the design. */
enum broken {
    HOLDS = 0,
    TWO_ENDS,        /* P1: a run ended that had ended */
    MOVED_AFTER_END, /* P1 */
    COMPUTED_AGAIN,  /* P2: a call of which there is a success */
    TRUTH_REFUSED,   /* P2: a living holder's commit */
    TWIN_SENT,       /* P4: section 6, unknown twins */
    UNASKED_SENT,    /* section 8: approval */
    REOPENED,        /* P2: a call with its final result is open again */
    NO_AFTER_YES,    /* section 8: a call that was let go is closed as refused */
    TWO_CHILDREN,    /* section 8 */
    BELOW_ZERO,      /* open_calls: the domain pawl.counter would refuse it */
};

static inline void note(struct world *w, enum broken what)
{
    if (!w->broken)
        w->broken = (byte)what;
}

/* The process and its slot are the claim's worker and token. */
struct holder {
    byte process, slot; /* process + 1 */
};

/* 0003_plan.sql */
enum answer claim_plans(struct world *w, struct holder h, int run);
enum answer commit_plans(struct world *w, struct holder h, const struct task *t);

/* 0004_action.sql.  *probe: the claim is that of a read-back */
enum answer claim_actions(struct world *w, struct holder h, int run, int index, bool *probe);
enum answer commit_actions(struct world *w, struct holder h, const struct task *t);
void settle_calls(struct world *w, int run, int index, int epoch, enum outcome outcome, bool again,
                  bool death);
void count_calls(struct world *w, int run, int closed, int waiting, bool due);
/* no request of this call is on its way or may still leave: send_by, the time-out and the margin
   are over */
bool is_settled(const struct world *w, int run, int index);

/* 0002_accept.sql, and tree.c for what an end means in the tree */
void end_runs(struct world *w, int run, enum run_status status);

/* 0005_due.sql */
bool is_takeable(const struct world *w, int run, int index);
void claim_due(struct world *w, int run); /* what a look leaves as due_at */

/* 0006_worker.sql */
void bury(struct world *w, int process);

/* 0007_operator.sql */
void cancel(struct world *w, int run);
bool retry(struct world *w, int run, int step);
bool decide(struct world *w, int run, int index, bool happened);

/* tree.c: not in the SQL yet */
enum answer start_child(struct world *w, struct holder h, struct task *t);
enum answer suspend_parent(struct world *w, struct holder h, const struct task *t);
void end_in_tree(struct world *w, int run);
void tell_parent(struct world *w, bool blind);
void person_acts(struct world *w, const struct person *p);

#endif
