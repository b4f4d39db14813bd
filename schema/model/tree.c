/* Sub-agents and approvals: sections 6 and 8 of the design, ahead of the SQL. */
#include "schema/model/protocol.h"

/* The parent is run 0, the child of its one such call run 1. */
enum { PARENT = 0, CHILD = 1 };

static struct call *call_of_child(struct world *w)
{
    for (int i = 0; i < CALLS; i++) {
        if (setting->plan[PARENT][i].effect == SUB_AGENT)
            return call_now(w, PARENT, i);
    }
    return call_now(w, PARENT, 0);
}

static bool holds_claim(const struct world *w, struct holder h, const struct task *t,
                        const struct call *c)
{
    const struct run *r = &w->runs[t->run];
    return c->status == CALL_RUNNING && c->version == t->version && c->by == h.process &&
           c->slot == h.slot && is_acting(r) && r->epoch == t->epoch;
}

/* Ends the parent's call by what became of the child, if it waits for that. */
void tell_parent(struct world *w, bool blind)
{
    const struct call *c = call_of_child(w);
    bool waits = is_live(&w->runs[PARENT]) && c->open && c->status == AWAITING_CHILD;
    if (!waits && !blind)
        return;
    if (!waits)
        note(w, MOVED_AFTER_END);
    for (int i = 0; i < CALLS; i++) {
        if (call_now(w, PARENT, i) == c)
            settle_calls(w, PARENT, i, w->runs[PARENT].epoch, CHILD_ENDED,
                         w->runs[CHILD].status == SUCCEEDED, false);
    }
}

/*
 * The child, whose id is the key of its parent's call, is inserted, and the call
 * waits for it: one transaction.  A start that went through before is `done`.
 */
enum answer start_child(struct world *w, struct holder h, struct task *t)
{
    const struct call *c = &w->calls[t->run][t->index][t->epoch - 1];
    bool again = wrong(CHILD_AGAIN) && c->status == AWAITING_CHILD;
    if (!holds_claim(w, h, t, c) && !again && !(wrong(CHILD_OF_THE_DEAD) && !w->children))
        return STALE;
    if (w->runs[CHILD].status == NO_RUN || again) {
        w->runs[CHILD] = (struct run){ .status = RUNNING, .epoch = 1, .step = 1, .due = true };
        if (++w->children > 1)
            note(w, TWO_CHILDREN);
    }
    return wrong(CHILD_APART) ? OK : suspend_parent(w, h, t);
}

enum answer suspend_parent(struct world *w, struct holder h, const struct task *t)
{
    struct call *c = &w->calls[t->run][t->index][t->epoch - 1];
    if (!holds_claim(w, h, t, c))
        return STALE;
    c->status = AWAITING_CHILD;
    c->by = c->slot = 0;
    count_calls(w, t->run, 0, 1, false);
    return OK;
}

/* What the end of a run means in its tree; end_runs calls it, under the locks of both rows. */
void end_in_tree(struct world *w, int run)
{
    if (run == PARENT) {
        if (is_live(&w->runs[CHILD]) && !wrong(CHILD_LIVES_ON))
            end_runs(w, CHILD, CANCELLED);
        return;
    }
    bool apart = wrong(CHILD_END_APART) && w->runs[CHILD].status == SUCCEEDED;
    bool silent = wrong(CHILD_END_SILENT) && w->runs[CHILD].status == CANCELLED;
    if (!apart && !silent)
        tell_parent(w, wrong(CHILD_END_BLIND));
}

/* ------------------------------------------------------------- approval */

static void approve(struct world *w, const struct person *p)
{
    struct call *c = call_now(w, p->run, p->index);
    bool asked = c->open && c->status == AWAITING_APPROVAL && c->version == p->seen;
    if (!asked && !(wrong(APPROVE_BLIND) && !c->open) && !(wrong(APPROVE_TWICE) && c->open))
        return;
    if (!c->open)
        note(w, REOPENED);
    c->open = true;
    settle_calls(w, p->run, p->index, w->runs[p->run].epoch, HANDED_BACK, true, false);
    c->approved = true;
    w->allowed[p->run][p->index][w->runs[p->run].epoch - 1] = true;
}

static void refuse(struct world *w, const struct person *p, bool blind)
{
    struct call *c = call_now(w, p->run, p->index);
    bool asked = c->open && c->status == AWAITING_APPROVAL && c->version == p->seen;
    if (!asked && !(blind && c->open))
        return;
    if (c->approved)
        note(w, NO_AFTER_YES);
    settle_calls(w, p->run, p->index, w->runs[p->run].epoch, REFUSED, false, false);
    w->forbidden[p->run][p->index][w->runs[p->run].epoch - 1] = true;
}

static void expire(struct world *w, const struct person *p)
{
    const struct call *c = call_now(w, p->run, p->index);
    if (setting->plan[p->run][p->index].needs_approval && c->status != AWAITING_DECISION)
        refuse(w, p, wrong(EXPIRY_BLIND));
    else if (c->open && c->status == AWAITING_DECISION && c->version == p->seen)
        settle_calls(w, p->run, p->index, w->runs[p->run].epoch, TOLD_UNKNOWN, false, false);
}

/* Compare and swap, under the run's lock: what was seen must still be so. */
void person_acts(struct world *w, const struct person *p)
{
    switch ((enum verb)p->verb) {
    case CANCEL: cancel(w, p->run); break;
    case APPROVE: approve(w, p); break;
    case DENY: refuse(w, p, wrong(DENY_BLIND)); break;
    case EXPIRE: expire(w, p); break;
    case NOTHING: break;
    }
}
