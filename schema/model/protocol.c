#include "schema/model/protocol.h"

#include <string.h>

/* ------------------------------------------------------- 0003: the brain */

enum answer claim_plans(struct world *w, struct holder h, int run)
{
    struct run *r = &w->runs[run];
    if (!is_live(r))
        return DONE;
    if (r->claim_by == h.process && r->claim_slot == h.slot)
        return YOURS; /* asked again */
    if (r->claim_by)
        return BUSY;
    if (r->open_calls > 0)
        return NO;
    r->claim_by = h.process;
    r->claim_slot = h.slot;
    r->version++;
    return YOURS;
}

/* What is checked under the run's lock, and by a mistake only in part. */
static bool holds_plan(const struct run *r, struct holder h, const struct task *t)
{
    bool same = r->step == t->step && r->epoch == t->epoch;
    if (wrong(CANCEL_KEEPS_CLAIM) && r->status == CANCELLED)
        return same;
    return same && is_live(r) && r->claim_by == h.process && r->claim_slot == h.slot &&
           r->version == t->version;
}

enum answer commit_plans(struct world *w, struct holder h, const struct task *t)
{
    struct run *r = &w->runs[t->run];
    if (!holds_plan(r, h, t))
        return STALE; /* or `done`, when this very commit went through before */
    if (!is_live(r))
        note(w, MOVED_AFTER_END);
    r->claim_by = r->claim_slot = 0;
    r->due = true;
    if (t->outcome == HANDED_BACK) {
        r->version--;
        return OK;
    }
    for (int i = 0; i < CALLS && r->step == 1; i++) {
        r->plan_epoch = r->epoch;
        if (is_call(t->run, i))
            r->open_calls++;
    }
    if (r->open_calls == 0)
        end_runs(w, t->run, SUCCEEDED);
    return OK;
}

/* ------------------------------------------------------- 0004: the hands */

/* What a commit that counts before it has the run's lock has counted: SNAPSHOT_COUNT. */
static int counted_early;

/* The only place where a step completes by its calls. */
void count_calls(struct world *w, int run, int closed, int waiting, bool due)
{
    struct run *r = &w->runs[run];
    if (!is_live(r))
        return;
    int before = counted_early > 0 ? counted_early : r->open_calls;
    int open = before - closed, waits = r->waiting_calls + waiting;
    bool done = before > 0 && open == 0;
    if (open < 0 || waits < 0) {
        note(w, BELOW_ZERO);
        return;
    }
    if (due || done || (r->open_calls > setting->parallel && !wrong(NO_PLACE_DUE)))
        r->due = true;
    r->open_calls = (byte)open;
    r->waiting_calls = (byte)waits;
    if (done) {
        r->step++;
        r->version = 0;
    }
}

static bool is_waiting(const struct call *c)
{
    return c->open && (c->status == AWAITING_DECISION || c->status == AWAITING_APPROVAL ||
                       c->status == AWAITING_CHILD);
}

/* What an outcome makes of a call: by its tool's policy, and what was before. */
enum rule { END_SUCCEEDED, END_FAILED, END_UNSENT, END_UNKNOWN, END_DENIED, ASK, PROBE, AGAIN };

static enum rule rule_of_unknown(enum effect effect, bool again, bool death)
{
    bool once = effect == ONCE_TELL || effect == ONCE_ASK || effect == ONCE_PROBE;
    if (wrong(LITERAL_CLAIM) && death)
        return AGAIN;
    if (!once && (again || death))
        return AGAIN;
    switch (effect) {
    case READ_ONLY: return END_FAILED;
    case ONCE_ASK: return ASK;
    case ONCE_PROBE: return PROBE;
    case NO_CALL:
    case IDEMPOTENT:
    case ONCE_TELL:
    case SUB_AGENT: return END_UNKNOWN;
    }
    return END_UNKNOWN;
}

static enum rule rule_of(const struct call *c, enum effect effect, enum outcome outcome, bool again,
                         bool death)
{
    bool may_have_run = c->cut && effect != READ_ONLY;
    switch (outcome) {
    case ANSWERED:
    case HAPPENED: return END_SUCCEEDED;
    case CHILD_ENDED: return again ? END_SUCCEEDED : END_FAILED;
    case HANDED_BACK: return may_have_run && !c->open ? END_UNKNOWN : AGAIN;
    case NOT_REACHED: return again ? AGAIN : may_have_run ? END_UNKNOWN : END_UNSENT;
    case DID_NOT_HAPPEN: return AGAIN;
    case UNSURE: return ASK;
    case PROBE_FAILED: return again ? PROBE : ASK; /* again: fewer than probes_max */
    case TOLD_UNKNOWN: return c->twin && !c->cut ? END_UNSENT : END_UNKNOWN;
    case REFUSED: return END_DENIED;
    case NO_OUTCOME:
    case PLANNED:
    case CUT: return rule_of_unknown(effect, again, death);
    }
    return END_UNKNOWN;
}

static byte status_by(enum rule rule, enum outcome outcome, const struct call *c, bool counts)
{
    bool unsent = rule == END_UNSENT || (rule == AGAIN && outcome != CUT);
    if (!counts && unsent && (c->status == CALL_UNKNOWN || c->status == CALL_CANCELLED))
        return CALL_CANCELLED;
    switch (rule) {
    case END_SUCCEEDED: return CALL_SUCCEEDED;
    case END_FAILED: return CALL_FAILED;
    case END_DENIED: return CALL_DENIED;
    case END_UNSENT: return CALL_UNSENT;
    case ASK: return AWAITING_DECISION;
    case AGAIN: return unsent ? CALL_UNSENT : CALL_UNKNOWN;
    case END_UNKNOWN:
    case PROBE: return CALL_UNKNOWN;
    }
    return CALL_UNKNOWN;
}

/* Keeps pawl.unknown_calls. */
static void note_unknown(struct world *w, int run, int index, const struct call *c)
{
    byte *entry = &w->doubt[run][index];
    if (!is_once(run, index))
        return;
    if (c->status == CALL_UNKNOWN || c->status == AWAITING_DECISION)
        *entry = *entry ? *entry : c->version;
    else if (*entry == c->version)
        *entry = 0;
}

static void write_row(struct call *c, enum rule rule, enum outcome outcome, bool counts)
{
    c->status = status_by(rule, outcome, c, counts);
    c->open = counts && (rule == ASK || rule == PROBE || rule == AGAIN);
    c->cut = outcome == CUT || (c->cut && outcome != DID_NOT_HAPPEN);
    c->may_retry = counts && rule == AGAIN;
    c->may_probe = counts && rule == PROBE;
    c->probe_by = c->probe_slot = 0;
}

void settle_calls(struct world *w, int run, int index, int epoch, enum outcome outcome, bool again,
                  bool death)
{
    struct run *r = &w->runs[run];
    struct call *c = &w->calls[run][index][epoch - 1];
    bool counts = is_live(r) && r->step == 1 && r->epoch == epoch;
    bool was_open = c->open, was_waiting = is_waiting(c);
    bool may_again = again && (c->open || outcome == CHILD_ENDED);

    write_row(c, rule_of(c, setting->plan[run][index].effect, outcome, may_again, death), outcome,
              counts);
    note_unknown(w, run, index, c);
    if (counts) {
        bool closed = !c->open && (was_open || wrong(LATE_DECREMENT));
        bool due = c->open && !(death && wrong(BURY_NO_DUE));
        count_calls(w, run, closed, is_waiting(c) - was_waiting, due);
    }
}

/* The highest version of this call, in whichever epoch. */
static byte newest_version(const struct world *w, int run, int index)
{
    byte version = 0;
    for (int e = 0; e < EPOCHS; e++)
        version =
            w->calls[run][index][e].version > version ? w->calls[run][index][e].version : version;
    return version;
}

/* A call of a retried run whose success an earlier epoch has. */
static void copy_successes(struct world *w, int run)
{
    struct run *r = &w->runs[run];
    for (int i = 0; i < CALLS && is_acting(r) && !wrong(RETRY_FORGETS); i++) {
        struct call *c = call_now(w, run, i);
        for (int e = 0; e < r->epoch - 1 && c->status == NO_ROW && is_call(run, i); e++) {
            const struct call *old = &w->calls[run][i][e];
            if (old->status != CALL_SUCCEEDED || old->copied)
                continue;
            byte version = newest_version(w, run, i);
            *c = (struct call){ .status = CALL_SUCCEEDED, .copied = true, .version = version };
            c->version++;
            count_calls(w, run, 1, 0, false);
        }
    }
}

static bool has_newer(const struct world *w, int run, int index, byte version)
{
    return newest_version(w, run, index) > version;
}

/* Whether another call with the same tool and arguments is in pawl.unknown_calls. */
static bool has_unknown_twin(const struct world *w, int run, int index, const struct call *c)
{
    for (int r = 0; r < RUNS; r++) {
        for (int i = 0; i < CALLS; i++) {
            bool itself = r == run && i == index && c->status != NO_ROW;
            if (w->doubt[r][i] && !itself && is_twin(r, i, run, index))
                return true;
        }
    }
    return false;
}

static void hold_twins(struct world *w, int run, int index)
{
    struct call *c = call_now(w, run, index);
    if (!is_acting(&w->runs[run]) || !is_once(run, index) || wrong(NO_TWINS) ||
        (wrong(RETRY_RESENDS) && w->runs[run].epoch > 1))
        return;
    if (c->status != NO_ROW && !(c->open && c->status == CALL_UNSENT))
        return;
    if (!has_unknown_twin(w, run, index, c))
        return;
    byte version = newest_version(w, run, index);
    *c = (struct call){ .status = AWAITING_DECISION,
                        .open = true,
                        .twin = true,
                        .version = version,
                        .approved = c->approved };
    c->version++;
    count_calls(w, run, 0, 1, true);
}

/*
 * The first claim of a call that needs an approval asks for it instead; also after a
 * person has said of it, or of its twin in an earlier epoch, that it did not happen.
 */
static void ask_approval(struct world *w, int run, int index)
{
    struct call *c = call_now(w, run, index);
    bool unsent = c->open && c->status == CALL_UNSENT && !wrong(DECIDE_ALLOWS);
    if (!is_acting(&w->runs[run]) || !setting->plan[run][index].needs_approval || c->approved)
        return;
    if (c->status != NO_ROW && !unsent)
        return;
    byte version = newest_version(w, run, index);
    *c = (struct call){ .status = AWAITING_APPROVAL, .open = true, .version = version };
    c->version++;
    count_calls(w, run, 0, 1, true);
}

static int running_calls(const struct world *w, int run)
{
    int n = 0;
    for (int i = 0; i < CALLS; i++)
        n += w->calls[run][i][w->runs[run].epoch - 1].status == CALL_RUNNING;
    return n;
}

bool is_settled(const struct world *w, int run, int index)
{
    for (int p = 0; p < PROCESSES; p++) {
        for (int s = 0; s < SLOTS; s++) {
            const struct task *t = &w->processes[p].tasks[s];
            bool may_send = t->state == HELD || t->state == ON_THE_WIRE;
            if (may_send && w->processes[p].kind == EXECUTOR && !t->probe && t->run == run &&
                t->index == index)
                return false;
        }
    }
    return true;
}

/* Who asks is who holds it: the same worker, and the same token. */
static bool is_same(struct holder h, byte by, byte slot)
{
    return by == h.process && (slot == h.slot || wrong(OWN_CLAIM_WINS));
}

/* claim_actions, of a call that has a row: what may be done with it. */
static enum answer may_claim(const struct world *w, struct holder h, int run, int index,
                             const struct call *c, bool *probe)
{
    if (!c->open)
        return DONE;
    if (c->status == CALL_RUNNING)
        return is_same(h, c->by, c->slot) ? YOURS : BUSY;
    if (is_waiting(c) && !(wrong(UNASKED) && c->status == AWAITING_APPROVAL))
        return NO;
    if (c->probe_by) {
        *probe = true;
        return is_same(h, c->probe_by, c->probe_slot) ? YOURS : BUSY;
    }
    if (c->may_probe) {
        *probe = true;
        return is_settled(w, run, index) || wrong(NO_SEND_FENCE) ? OK : LATER;
    }
    return OK;
}

/* What must be true when a call is let go, whatever the rules say. */
static void judge_claim(struct world *w, int run, int index)
{
    for (int e = 0; e < w->runs[run].epoch - 1; e++) {
        if (w->calls[run][index][e].status == CALL_SUCCEEDED && !w->calls[run][index][e].copied)
            note(w, COMPUTED_AGAIN);
    }
    for (int i = 0; i < CALLS; i++) {
        const struct call *other = call_now(w, run, i);
        if (i != index && other->status == CALL_UNKNOWN && w->doubt[run][i] &&
            is_twin(run, i, run, index))
            note(w, TWIN_SENT);
    }
    if (setting->plan[run][index].needs_approval && !w->allowed[run][index][w->runs[run].epoch - 1])
        note(w, UNASKED_SENT);
}

enum answer claim_actions(struct world *w, struct holder h, int run, int index, bool *probe)
{
    struct run *r = &w->runs[run];
    *probe = false;
    if (r->epoch > 1)
        copy_successes(w, run);
    hold_twins(w, run, index);
    ask_approval(w, run, index);
    if (!is_live(r) || r->step > 1)
        return DONE; /* who asks again for a claim whose run has ended does not hold it */
    if (r->open_calls == 0)
        return NO;
    struct call *c = call_now(w, run, index);
    enum answer may = c->status == NO_ROW ? OK : may_claim(w, h, run, index, c, probe);
    if (may != OK)
        return may;
    if (*probe) {
        c->probe_by = h.process;
        c->probe_slot = h.slot;
        return YOURS;
    }
    if (r->open_calls > setting->parallel && running_calls(w, run) >= setting->parallel)
        return LATER;
    judge_claim(w, run, index);
    byte version = newest_version(w, run, index);
    *c = (struct call){ .status = CALL_RUNNING,
                        .open = true,
                        .version = version,
                        .by = h.process,
                        .slot = h.slot,
                        .cut = c->open && c->cut,
                        .approved = c->approved };
    c->version++;
    if (wrong(CLEAR_DUE))
        r->due = false;
    return YOURS;
}

/* The run has ended: the truth about the call is stored all the same. */
static bool is_stored(const struct world *w, const struct task *t, const struct call *c)
{
    const struct run *r = &w->runs[t->run];
    bool truth = t->outcome == ANSWERED && r->epoch == t->epoch && r->step == 1 &&
                 !has_newer(w, t->run, t->index, c->version);
    if (is_live(r) || (c->status != CALL_UNKNOWN && c->status != CALL_CANCELLED))
        return false;
    return t->outcome != CUT && (c->run_ended || truth) && !wrong(CANCEL_DROPS_LATE);
}

/* A late result, in place of `unknown`: while it is the last version and nobody has read it. */
static bool is_late_truth(const struct world *w, const struct task *t, const struct call *c)
{
    const struct run *r = &w->runs[t->run];
    bool unclaimed = (r->version == 0 && !r->claim_by) || wrong(LATE_ANY);
    if (!is_live(r) || r->epoch != t->epoch || t->outcome != ANSWERED)
        return false;
    return (c->status == CALL_UNKNOWN || c->status == AWAITING_DECISION) &&
           (r->step == 1 || unclaimed) && !has_newer(w, t->run, t->index, c->version);
}

/* Ours, and not running any more. */
static enum answer answer_late(const struct world *w, const struct task *t, const struct call *c)
{
    if (is_stored(w, t, c))
        return STORED;
    if (is_late_truth(w, t, c))
        return OK;
    return t->outcome == ANSWERED && c->status == CALL_SUCCEEDED ? DONE : STALE;
}

/* commit_actions: whether this commit counts. */
static enum answer judge_commit(const struct world *w, struct holder h, const struct task *t,
                                const struct call *c)
{
    const struct run *r = &w->runs[t->run];
    bool here = is_live(r) && r->epoch == t->epoch && r->step == 1;
    if (wrong(NO_FENCE) && t->outcome == ANSWERED && here)
        return OK;
    if (c->version != t->version)
        return STALE; /* an older row, and a newer one has taken its place */
    if (t->probe)
        return is_same(h, c->probe_by, c->probe_slot) && c->open && here ? OK : STALE;
    if (!is_same(h, c->by, c->slot))
        return STALE;
    if (c->status == CALL_RUNNING)
        return here ? OK : STALE; /* also after our death was declared */
    return answer_late(w, t, c);
}

enum answer commit_actions(struct world *w, struct holder h, const struct task *t)
{
    struct call *c = &w->calls[t->run][t->index][t->epoch - 1];
    enum answer answer = judge_commit(w, h, t, c);
    bool lives = !w->processes[h.process - 1].buried;
    if (lives && t->state == COMMITTING && answer == STALE && t->outcome == ANSWERED)
        note(w, TRUTH_REFUSED);
    if (c->by == h.process)
        c->cancellation = false;
    counted_early = wrong(SNAPSHOT_COUNT) ? t->seen : 0;
    if (answer == OK || answer == STORED)
        settle_calls(w, t->run, t->index, t->epoch, t->outcome, t->again, false);
    counted_early = 0;
    return answer;
}

/* ------------------------------------------------------- 0002: the end */

static void close_call(struct world *w, int run, int index, struct call *c)
{
    enum effect effect = setting->plan[run][index].effect;
    bool may_have_run = effect != SUB_AGENT && effect != READ_ONLY;
    c->cancellation = c->status == CALL_RUNNING;
    c->run_ended = c->status == CALL_RUNNING;
    if (may_have_run && ((c->status == CALL_RUNNING && !wrong(CANCEL_FORGETS)) ||
                         (c->cut && !wrong(CANCEL_FORGETS_CUT))))
        c->status = CALL_UNKNOWN;
    else if (c->status == CALL_RUNNING || c->status == CALL_UNKNOWN || is_waiting(c))
        c->status = CALL_CANCELLED;
    c->open = c->may_retry = c->may_probe = c->probe_by = c->probe_slot = 0;
    if (is_once(run, index) && c->status == CALL_UNKNOWN && !w->doubt[run][index])
        w->doubt[run][index] = c->version;
}

void end_runs(struct world *w, int run, enum run_status status)
{
    struct run *r = &w->runs[run];
    for (int i = 0; i < CALLS && is_acting(r); i++) {
        if (call_now(w, run, i)->open)
            close_call(w, run, i, call_now(w, run, i));
    }
    if (++r->ends > 1)
        note(w, TWO_ENDS);
    r->status = (byte)status;
    r->claim_by = r->claim_slot = r->open_calls = r->waiting_calls = r->due = 0;
    end_in_tree(w, run);
}

/* ------------------------------------------------------- 0005: due work */

/* Whether a claim of this call would be answered `yours` now. */
bool is_takeable(const struct world *w, int run, int index)
{
    const struct run *r = &w->runs[run];
    const struct call *c = &w->calls[run][index][r->epoch - 1];
    if (!is_acting(r) || !is_call(run, index) || running_calls(w, run) >= setting->parallel)
        return false;
    if (c->status == NO_ROW)
        return true;
    return c->open && c->status != CALL_RUNNING && !c->probe_by && (c->may_retry || c->may_probe);
}

void claim_due(struct world *w, int run)
{
    struct run *r = &w->runs[run];
    bool due = r->open_calls == 0 && !r->claim_by;
    for (int i = 0; i < CALLS && r->open_calls > 0; i++) {
        const struct call *c = call_now(w, run, i);
        due = due || is_takeable(w, run, i) || (is_waiting(c) && c->status != AWAITING_CHILD) ||
              (c->may_probe && !c->probe_by && !is_settled(w, run, i));
    }
    r->due = due;
}

/* ------------------------------------------------------- 0006: death */

void bury(struct world *w, int process)
{
    byte by = (byte)(process + 1);
    w->processes[process].buried = true;
    for (int run = 0; run < RUNS; run++) {
        struct run *r = &w->runs[run];
        if (r->claim_by == by) {
            r->claim_by = r->claim_slot = 0;
            r->due = r->due || !wrong(BURY_NO_DUE);
        }
        for (int i = 0; i < CALLS; i++) {
            for (int e = 1; e <= EPOCHS; e++) {
                struct call *c = &w->calls[run][i][e - 1];
                c->cancellation = c->cancellation && c->by != by;
                if (c->status == CALL_RUNNING && c->by == by)
                    settle_calls(w, run, i, e, CUT, true, true);
                else if (c->probe_by == by && c->open)
                    settle_calls(w, run, i, e, PROBE_FAILED, true, true);
            }
        }
    }
}

/* ------------------------------------------------------- 0007: people */

void cancel(struct world *w, int run)
{
    if (is_live(&w->runs[run]) || wrong(CANCEL_BLIND))
        end_runs(w, run, CANCELLED);
}

/* False: a living executor has not yet closed a call of the ended epoch. */
bool retry(struct world *w, int run, int step)
{
    struct run *r = &w->runs[run];
    for (int i = 0; i < CALLS; i++) {
        for (int e = 0; e < EPOCHS; e++) {
            struct call *c = &w->calls[run][i][e];
            if (c->cancellation && step == 1 && !is_buried(w, c->by) && !wrong(RETRY_AT_ONCE))
                return false;
            c->cancellation = false;
        }
    }
    if (!wrong(RETRY_SAME_EPOCH))
        r->epoch++;
    r->status = RUNNING;
    r->step = (byte)step;
    r->version = r->ends = 0;
    r->due = true;
    return true;
}

/* Nobody can know yet: what was sent of this call, or of a twin, may still arrive. */
static bool is_early(const struct world *w, int run, int index)
{
    for (int r = 0; r < RUNS; r++) {
        for (int i = 0; i < CALLS; i++) {
            if (is_twin(r, i, run, index) && w->doubt[r][i] && !is_settled(w, r, i))
                return true;
        }
    }
    return false;
}

/* False: `early`, or nothing waits for a decision. */
bool decide(struct world *w, int run, int index, bool happened)
{
    struct call *c = call_now(w, run, index);
    if (!is_acting(&w->runs[run]) || !c->open || c->status != AWAITING_DECISION)
        return false;
    if (!happened && is_early(w, run, index) && !wrong(DECIDE_EARLY))
        return false;
    for (int r = 0; r < RUNS; r++) {
        for (int i = 0; i < CALLS; i++)
            w->doubt[r][i] = is_twin(r, i, run, index) ? 0 : w->doubt[r][i];
    }
    settle_calls(w, run, index, w->runs[run].epoch, happened ? HAPPENED : HANDED_BACK, true, false);
    if (!happened)
        c->cut = false;
    return true;
}
