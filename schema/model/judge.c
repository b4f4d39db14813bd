#include "schema/model/explore.h"
#include "schema/model/protocol.h"

#include <stddef.h>

bool is_over(const struct world *w)
{
    for (int run = 0; run < RUNS; run++) {
        if (is_live(&w->runs[run]))
            return false;
    }
    return true;
}

static const char *judge_event(enum broken what)
{
    switch (what) {
    case HOLDS: return NULL;
    case TWO_ENDS: return "a run ended twice (P1)";
    case MOVED_AFTER_END: return "a run moved after its end (P1)";
    case COMPUTED_AGAIN: return "a call was let go although there is a success of it (P2)";
    case TRUTH_REFUSED: return "what a living holder brought was refused (P2)";
    case TWIN_SENT: return "a call was let go while its twin is unknown (P4)";
    case UNASKED_SENT: return "a call was let go that nobody allowed";
    case REOPENED: return "a call with a final result was opened again (P2)";
    case NO_AFTER_YES: return "a call that was let go was closed as refused";
    case TWO_CHILDREN: return "one call has two children";
    case BELOW_ZERO: return "more calls were closed than were open";
    }
    return "unknown";
}

static bool is_closed(const struct call *c)
{
    return c->status != NO_ROW && !c->open;
}

/* How often the tool ran for this call, or for one like it. */
static int executions(const struct world *w, int run, int index, bool with_twins)
{
    int n = 0;
    for (int r = 0; r < RUNS; r++) {
        for (int i = 0; i < CALLS; i++) {
            if ((r == run && i == index) || (with_twins && is_twin(r, i, run, index))) {
                for (int e = 0; e < EPOCHS; e++)
                    n += w->ran[r][i][e];
            }
        }
    }
    return n;
}

/* One call, in one epoch: what its row says against what the tool's ledger says. */
static const char *judge_row(const struct world *w, int run, int index, int e)
{
    const struct call *c = &w->calls[run][index][e];
    enum effect effect = setting->plan[run][index].effect;
    bool ran = w->ran[run][index][e] > 0;
    bool denied_it =
        c->status == CALL_UNSENT || c->status == CALL_CANCELLED || c->status == CALL_DENIED;
    if (c->status == CALL_SUCCEEDED && effect != SUB_AGENT && !executions(w, run, index, true))
        return "a success was invented";
    if (is_closed(c) && denied_it && ran && effect != READ_ONLY)
        return "a call that ran is closed as one that did not (section 6)";
    if (w->forbidden[run][index][e] && ran)
        return "a call that was refused ran";
    if (c->open && !is_live(&w->runs[run]))
        return "an ended run has open calls";
    return NULL;
}

static const char *judge_calls(const struct world *w, int run)
{
    for (int i = 0; i < CALLS; i++) {
        if (is_once(run, i) && executions(w, run, i, false) > 1)
            return "a call that is not repeatable ran twice (P4)";
        for (int e = 0; e < EPOCHS; e++) {
            const char *broken = judge_row(w, run, i, e);
            if (broken)
                return broken;
        }
    }
    return NULL;
}

/* The counters in the run's row against the calls' rows. */
static const char *judge_counts(const struct world *w, int run)
{
    const struct run *r = &w->runs[run];
    int open = 0, waiting = 0;
    for (int i = 0; i < CALLS; i++) {
        const struct call *c = &w->calls[run][i][r->epoch - 1];
        open += is_call(run, i) && !is_closed(c);
        waiting += c->open && (c->status == AWAITING_DECISION || c->status == AWAITING_APPROVAL ||
                               c->status == AWAITING_CHILD);
    }
    if (is_acting(r) && (open != r->open_calls || waiting != r->waiting_calls))
        return "the counters of open and waiting calls are wrong";
    if (is_live(r) && r->step == 2 && r->plan_epoch == r->epoch && open)
        return "the step advanced without a result";
    return NULL;
}

/* `due_at` answers one question: if nobody moved it by then, look. */
static const char *judge_due(const struct world *w, int run)
{
    struct world after = *w;
    if (!is_live(&w->runs[run]))
        return NULL;
    claim_due(&after, run);
    return after.runs[run].due && !w->runs[run].due ? "what anybody could take is not due (P1)"
                                                    : NULL;
}

/* A claim that its holder believes in, and that is not in the tables. */
static bool is_robbed(const struct world *w, int p, int slot)
{
    const struct task *t = &w->processes[p].tasks[slot];
    const struct run *r = &w->runs[t->run];
    byte by = (byte)(p + 1), token = (byte)(slot + 1);
    if (w->processes[p].buried || w->processes[p].life != ALIVE || !is_live(r) ||
        r->epoch != t->epoch ||
        (t->state != HELD && t->state != ON_THE_WIRE && t->state != COMMITTING))
        return false;
    if (w->processes[p].kind == PLANNER)
        return r->claim_by != by || r->claim_slot != token;
    const struct call *c = &w->calls[t->run][t->index][r->epoch - 1];
    if (t->probe) /* it may lose its point: a late result closes the call */
        return c->open && (c->probe_by != by || c->probe_slot != token);
    return c->status != CALL_RUNNING || c->by != by || c->slot != token;
}

/* What a prompt was made of stays as it is (P8, P9: the history is only appended to). */
static bool is_overwritten(const struct world *w, const struct task *t)
{
    const struct run *r = &w->runs[t->run];
    if (t->state != HELD || t->step != 2 || !is_live(r) || r->epoch != t->epoch || r->step != 2)
        return false;
    for (int i = 0; i < CALLS; i++) {
        if (t->read[i] != w->calls[t->run][i][r->plan_epoch - 1].status)
            return true;
    }
    return false;
}

static const char *judge_tasks(const struct world *w)
{
    for (int p = 0; p < PROCESSES; p++) {
        for (int s = 0; s < SLOTS; s++) {
            const struct task *t = &w->processes[p].tasks[s];
            if (t->state == IDLE)
                continue;
            if (is_robbed(w, p, s))
                return "a living holder's claim is gone, or another has it too (P3)";
            bool reads = w->processes[p].kind == PLANNER && !w->processes[p].buried;
            if (reads && is_overwritten(w, t))
                return "what a model has read was overwritten";
        }
    }
    return NULL;
}

/* Parent and child. */
static const char *judge_tree(const struct world *w)
{
    bool lives = is_live(&w->runs[1]);
    bool waits = false;
    for (int i = 0; i < CALLS; i++) {
        const struct call *c = &w->calls[0][i][w->runs[0].epoch - 1];
        waits = waits || (c->open && c->status == AWAITING_CHILD);
    }
    if (lives && !is_live(&w->runs[0]))
        return "a child lives on under a parent that has ended";
    if (waits && !lives)
        return "a call waits for a child that has ended";
    if (lives && !waits)
        return "a child lives for which no call waits";
    return NULL;
}

const char *judge(const struct world *w)
{
    const char *broken = judge_event((enum broken)w->broken);
    for (int run = 0; run < RUNS && !broken; run++) {
        if (w->runs[run].status == NO_RUN)
            continue;
        broken = judge_calls(w, run);
        broken = broken ? broken : judge_counts(w, run);
        broken = broken ? broken : judge_due(w, run);
    }
    broken = broken ? broken : judge_tasks(w);
    return broken ? broken : judge_tree(w);
}
