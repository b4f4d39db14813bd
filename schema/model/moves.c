#include "schema/model/explore.h"
#include "schema/model/protocol.h"

/*
 * What can happen next.  A doorbell may ring at any time, any number of times,
 * or never: so any idle process may ask for anything.  A pause of a process is
 * every order of events in which others come first; declared dead meanwhile, it
 * may go on with what it holds until it learns of it, and after.
 */

static struct holder holder_of(int p, int s)
{
    return (struct holder){ .process = (byte)(p + 1), .slot = (byte)(s + 1) };
}

static bool is_dead(const struct process *x)
{
    return x->life == CRASHED || x->life == REPLACED;
}

static struct task *task_of(struct world *w, int p, int s)
{
    return &w->processes[p].tasks[s];
}

static void idle(struct world *w, int p, int s)
{
    *task_of(w, p, s) = (struct task){ 0 };
}

/* ------------------------------------------------------- life and death */

/* A statement that the server has, and a request on its way, survive their sender. */
static void crash(struct world *n, int p)
{
    struct process *x = &n->processes[p];
    x->life = x->life == ALIVE ? CRASHED : REPLACED;
    for (int s = 0; s < SLOTS; s++) {
        if (x->tasks[s].state != ASKING && x->tasks[s].state != ON_THE_WIRE)
            idle(n, p, s);
    }
    n->left.faults--;
}

/* declare_dead waits for the worker's row, which a claim on its way holds. */
static bool may_bury(const struct world *w, int p)
{
    const struct process *x = &w->processes[p];
    for (int s = 0; s < SLOTS; s++) {
        if (x->tasks[s].state == ASKING && !wrong(NO_WORKER_LOCK))
            return false;
    }
    return !x->buried && (is_dead(x) || w->left.faults > 0);
}

static void life_moves(struct search *s, const struct world *w, int p)
{
    const struct process *x = &w->processes[p];
    struct world n = *w;
    if (!is_dead(x) && w->left.faults) {
        crash(&n, p);
        explore_next(s, &n, MAY, p, "dies");
    }
    if (x->life == CRASHED || (x->life == ALIVE && x->buried)) {
        n = *w;
        n.processes[p].life = x->life == CRASHED ? REPLACED : TOLD;
        world_start(&n, x->kind);
        explore_next(s, &n, WILL, p,
                     x->life == CRASHED ? "is started again" : "learns that it was declared dead");
    }
    if (may_bury(w, p)) {
        n = *w;
        if (!is_dead(x))
            n.left.faults--;
        bury(&n, p);
        explore_next(s, &n, is_dead(x) ? WILL : MAY, p,
                     is_dead(x) ? "is declared dead" : "is declared dead though it lives");
    }
}

/* ---------------------------------------------------------------- claims */

static void read_prompt(struct world *w, struct task *t)
{
    for (int i = 0; i < CALLS; i++)
        t->read[i] = w->calls[t->run][i][w->runs[t->run].plan_epoch - 1].status;
}

/* A process with a free slot asks for a plan or a call. */
static void ask(struct search *s, const struct world *w, int p, int slot, int run, int index)
{
    const struct run *r = &w->runs[run];
    struct world n = *w;
    struct task *t = task_of(&n, p, slot);
    *t = (struct task){ .state = ASKING, .run = (byte)run, .index = (byte)index };
    if (index == CALLS && r->step == 2 && wrong(SPECULATIVE_READ))
        read_prompt(&n, t);
    if (index == CALLS)
        explore_next(s, &n, MAY, p, "is rung for the plan of run %d", run);
    else
        explore_next(s, &n, MAY, p, "is rung for call %d of run %d", index, run);
    bool takeable = index == CALLS ? !r->open_calls && !r->claim_by : is_takeable(w, run, index);
    if (r->due && takeable) {
        claim_due(&n, run);
        explore_next(s, &n, WILL, p, "finds run %d due, and asks", run);
    }
}

static void ask_moves(struct search *s, const struct world *w, int p, int slot)
{
    const struct process *x = &w->processes[p];
    for (int run = 0; run < RUNS; run++) {
        const struct run *r = &w->runs[run];
        bool hands = r->open_calls > 0;
        if (!is_live(r) || hands != (x->kind == EXECUTOR))
            continue;
        if (r->due) {
            struct world n = *w;
            claim_due(&n, run);
            explore_next(s, &n, MAY, p, "looks at run %d, and takes nothing", run);
        }
        if (!hands)
            ask(s, w, p, slot, run, CALLS);
        for (int i = 0; i < CALLS && hands; i++) {
            const struct call *c = &w->calls[run][i][r->epoch - 1];
            if (is_call(run, i) && (c->status == NO_ROW || c->open))
                ask(s, w, p, slot, run, i);
        }
    }
}

/* The claim has the locks.  A dead process's statement takes effect all the same. */
static void claim_moves(struct search *s, const struct world *w, int p, int slot)
{
    struct world n = *w;
    struct task *t = task_of(&n, p, slot);
    const struct run *r = &n.runs[t->run];
    bool probe = false;
    enum answer answer = t->index == CALLS
                             ? claim_plans(&n, holder_of(p, slot), t->run)
                             : claim_actions(&n, holder_of(p, slot), t->run, t->index, &probe);
    bool dead = is_dead(&w->processes[p]);
    if (answer == YOURS && !dead) {
        struct call *c = t->index == CALLS ? NULL : call_now(&n, t->run, t->index);
        t->state = HELD;
        t->epoch = r->epoch;
        t->step = r->step;
        t->version = c ? c->version : r->version;
        t->probe = probe;
        if (!c && r->step == 2 && !wrong(SPECULATIVE_READ))
            read_prompt(&n, t);
    } else {
        idle(&n, p, slot);
    }
    explore_next(s, &n, WILL, p, "has its claim answered: %s%s", answer == YOURS ? "yours" : "no",
                 dead ? ", but is dead" : "");
    if (answer == YOURS && !dead && w->left.losses) {
        *task_of(&n, p, slot) = w->processes[p].tasks[slot];
        task_of(&n, p, slot)->state = LOST;
        n.left.losses--;
        explore_next(s, &n, MAY, p, "has its claim, and the answer is lost");
    }
    if (dead) {
        n = *w;
        idle(&n, p, slot);
        explore_next(s, &n, MAY, p, "is dead, and its claim is rolled back");
    }
}

static void lost_moves(struct search *s, const struct world *w, int p, int slot)
{
    struct world n = *w;
    if (w->processes[p].buried)
        idle(&n, p, slot);
    else
        task_of(&n, p, slot)->state = ASKING;
    explore_next(s, &n, WILL, p, "asks again, with the same token");
}

/* ------------------------------------------------------------------ work */

static void end_task(struct search *s, const struct world *w, int p, int slot, enum outcome outcome,
                     bool again, enum reliable reliable, const char *text)
{
    struct world n = *w;
    struct task *t = task_of(&n, p, slot);
    t->state = COMMITTING;
    t->outcome = (byte)outcome;
    t->again = again;
    explore_next(s, &n, reliable, p, "sees that call %d %s%s", t->index, text,
                 again ? "; it may be tried again" : "");
}

static void probe_moves(struct search *s, const struct world *w, int p, int slot)
{
    const struct task *t = &w->processes[p].tasks[slot];
    bool ran = false;
    for (int e = 0; e < EPOCHS; e++)
        ran = ran || w->ran[t->run][t->index][e];
    end_task(s, w, p, slot, ran ? HAPPENED : DID_NOT_HAPPEN, false, WILL,
             ran ? "is read back: it happened" : "is read back: it did not happen");
    if (w->left.doubts) {
        struct world n = *w;
        n.left.doubts--;
        end_task(s, &n, p, slot, UNSURE, false, MAY, "is read back: cannot say");
        end_task(s, &n, p, slot, PROBE_FAILED, true, MAY, "cannot be read back now");
        end_task(s, &n, p, slot, PROBE_FAILED, false, MAY, "cannot be read back");
    }
}

static void child_moves(struct search *s, const struct world *w, int p, int slot)
{
    struct world n = *w;
    struct task *t = task_of(&n, p, slot);
    enum answer answer = t->state == TELLING ? suspend_parent(&n, holder_of(p, slot), t)
                                             : start_child(&n, holder_of(p, slot), t);
    struct world lost = n;
    if (answer == OK && wrong(CHILD_APART) && t->state != TELLING)
        t->state = TELLING;
    else
        idle(&n, p, slot);
    explore_next(s, &n, WILL, p, "starts the sub-agent: %s", answer == OK ? "done" : "no");
    if (answer == OK && w->left.losses) {
        lost.left.losses--;
        task_of(&lost, p, slot)->state = COMMITTED;
        explore_next(s, &lost, MAY, p, "starts the sub-agent, and the answer is lost");
    }
}

/* Between the claim of a call and its first byte. */
static void held_moves(struct search *s, const struct world *w, int p, int slot)
{
    const struct task *t = &w->processes[p].tasks[slot];
    const struct process *x = &w->processes[p];
    struct world n = *w;
    if (t->probe) {
        probe_moves(s, w, p, slot);
        return;
    }
    if (setting->plan[t->run][t->index].effect == SUB_AGENT) {
        child_moves(s, w, p, slot);
        return;
    }
    task_of(&n, p, slot)->state = ON_THE_WIRE;
    explore_next(s, &n, WILL, p, "sends call %d of run %d", t->index, t->run);
    if (w->left.refusals) {
        n = *w;
        n.left.refusals--;
        end_task(s, &n, p, slot, NOT_REACHED, true, MAY, "cannot be sent");
        end_task(s, &n, p, slot, NOT_REACHED, false, MAY, "cannot be sent");
    }
    bool told = x->life == TOLD || !is_live(&w->runs[t->run]);
    if (told || w->left.returns) {
        n = *w;
        n.left.returns = (byte)(n.left.returns - !told);
        end_task(s, &n, p, slot, HANDED_BACK, true, told ? WILL : MAY, "is handed back");
    }
}

/* The tool runs, or it does not; and whoever waits for its answer may give up. */
static void wire_moves(struct search *s, const struct world *w, int p, int slot)
{
    const struct task *t = &w->processes[p].tasks[slot];
    struct world ran = *w;
    byte *ledger = &ran.ran[t->run][t->index][t->epoch - 1];
    *ledger = (byte)(*ledger < 2 ? *ledger + 1 : 2);
    if (is_dead(&w->processes[p])) {
        struct world lost = *w;
        idle(&ran, p, slot);
        idle(&lost, p, slot);
        explore_next(s, &ran, WILL, p, "is dead, and the tool runs its call %d", t->index);
        explore_next(s, &lost, WILL, p, "is dead, and its request is lost");
        return;
    }
    end_task(s, &ran, p, slot, ANSWERED, false, WILL, "runs and is answered");
    if (!w->left.cuts)
        return;
    int most = is_once(t->run, t->index) ? 0 : 1;
    for (int again = 0; again <= most; again++) {
        struct world n = ran;
        n.left.cuts--;
        end_task(s, &n, p, slot, CUT, again, MAY, "runs, and the answer is lost");
        n = *w;
        n.left.cuts--;
        end_task(s, &n, p, slot, CUT, again, MAY, "is lost on the way");
    }
}

/* --------------------------------------------------------------- commits */

static void commit_moves(struct search *s, const struct world *w, int p, int slot)
{
    struct world n = *w;
    struct task *t = task_of(&n, p, slot);
    if (wrong(SNAPSHOT_COUNT) && !t->seen && w->runs[t->run].open_calls) {
        t->seen = w->runs[t->run].open_calls;
        explore_next(s, &n, WILL, p, "counts the open calls");
        return;
    }
    struct task before = *t;
    enum answer answer = commit_actions(&n, holder_of(p, slot), &before);
    struct world lost = n;
    idle(&n, p, slot);
    explore_next(s, &n, WILL, p, "commits call %d of run %d: %s", before.index, before.run,
                 answer == OK       ? "ok"
                 : answer == STORED ? "stored"
                                    : "stale or done");
    if (w->left.losses && before.state == COMMITTING && (answer == OK || answer == STORED)) {
        lost.left.losses--;
        task_of(&lost, p, slot)->state = COMMITTED;
        explore_next(s, &lost, MAY, p, "commits call %d, and the answer is lost", before.index);
    }
}

static void plan_moves(struct search *s, const struct world *w, int p, int slot)
{
    const struct task *t = &w->processes[p].tasks[slot];
    int most = w->left.returns && t->state == HELD ? 1 : 0;
    for (int returns = 0; returns <= most; returns++) {
        struct world n = *w;
        struct task done = *t;
        done.outcome = returns ? HANDED_BACK : PLANNED;
        n.left.returns = (byte)(n.left.returns - returns);
        enum answer answer = commit_plans(&n, holder_of(p, slot), &done);
        struct world lost = n;
        idle(&n, p, slot);
        if (answer == OK && wrong(CHILD_END_APART) && t->run == 1)
            task_of(&n, p, slot)->state = TELLING;
        explore_next(s, &n, returns ? MAY : WILL, p, "%s the plan of run %d: %s",
                     returns ? "hands back" : "commits", t->run, answer == OK ? "ok" : "stale");
        if (answer == OK && !returns && w->left.losses) {
            lost.left.losses--;
            task_of(&lost, p, slot)->state = COMMITTED;
            explore_next(s, &lost, MAY, p, "commits the plan of run %d, and the answer is lost",
                         t->run);
        }
    }
}

static void tell_moves(struct search *s, const struct world *w, int p, int slot)
{
    struct world n = *w;
    idle(&n, p, slot);
    tell_parent(&n, false);
    explore_next(s, &n, WILL, p, "tells the parent");
}

static void task_moves(struct search *s, const struct world *w, int p, int slot)
{
    const struct task *t = &w->processes[p].tasks[slot];
    bool plans = w->processes[p].kind == PLANNER;
    bool starts = !plans && setting->plan[t->run][t->index % CALLS].effect == SUB_AGENT;
    switch ((enum task_state)t->state) {
    case IDLE: break;
    case ASKING: claim_moves(s, w, p, slot); break;
    case LOST: lost_moves(s, w, p, slot); break;
    case HELD: (plans ? plan_moves : held_moves)(s, w, p, slot); break;
    case ON_THE_WIRE: wire_moves(s, w, p, slot); break;
    case COMMITTING: commit_moves(s, w, p, slot); break;
    case COMMITTED:
        (plans ? plan_moves : starts ? child_moves : commit_moves)(s, w, p, slot);
        break;
    case TELLING: (plans ? tell_moves : child_moves)(s, w, p, slot); break;
    }
}

/* ---------------------------------------------------------------- people */

/* Somebody has looked, and goes to act. */
static void goes(struct search *s, const struct world *w, enum verb verb, int run, int index,
                 byte seen)
{
    static const char *const WORDS[] = { "", "cancel", "allow", "refuse", "give up on" };
    struct world n = *w;
    int free = n.people[0].verb == NOTHING ? 0 : 1;
    if (n.people[free].verb != NOTHING)
        return;
    n.people[free] = (struct person){ (byte)verb, (byte)run, (byte)index, seen };
    if (verb == CANCEL)
        n.left.cancels--;
    if (verb == APPROVE || verb == DENY)
        n.left.words--;
    explore_next(s, &n, verb == EXPIRE ? WILL : MAY, SOMEBODY, "goes to %s call %d of run %d",
                 WORDS[verb], index, run);
}

static bool is_expiring(const struct world *w, int run, int index)
{
    for (int i = 0; i < PEOPLE; i++) {
        const struct person *p = &w->people[i];
        if (p->verb == EXPIRE && p->run == run && p->index == index)
            return true;
    }
    return false;
}

static void decide_moves(struct search *s, const struct world *w, int run, int index)
{
    bool ran = false;
    for (int r = 0; r < RUNS; r++) {
        for (int i = 0; i < CALLS; i++) {
            for (int e = 0; e < EPOCHS; e++)
                ran = ran || (w->ran[r][i][e] && is_twin(r, i, run, index));
        }
    }
    struct world n = *w;
    if (decide(&n, run, index, ran))
        explore_next(s, &n, MAY, SOMEBODY, "says that call %d of run %d %s", index, run,
                     ran ? "happened" : "did not happen");
}

static void waiting_moves(struct search *s, const struct world *w, int run, int index)
{
    const struct call *c = &w->calls[run][index][w->runs[run].epoch - 1];
    if (!c->open || (c->status != AWAITING_DECISION && c->status != AWAITING_APPROVAL))
        return;
    if (w->runs[run].due && !is_expiring(w, run, index))
        goes(s, w, EXPIRE, run, index, c->version);
    if (c->status == AWAITING_DECISION) {
        decide_moves(s, w, run, index);
    } else if (w->left.words) {
        goes(s, w, APPROVE, run, index, c->version);
        goes(s, w, DENY, run, index, c->version);
    }
}

static void people_moves(struct search *s, const struct world *w)
{
    for (int i = 0; i < PEOPLE; i++) {
        struct world n = *w;
        if (w->people[i].verb == NOTHING)
            continue;
        person_acts(&n, &w->people[i]);
        n.people[i] = (struct person){ 0 };
        explore_next(s, &n, WILL, SOMEBODY, "does so");
    }
    for (int run = 0; run < RUNS; run++) {
        const struct run *r = &w->runs[run];
        if (is_live(r) && w->left.cancels)
            goes(s, w, CANCEL, run, 0, 0);
        for (int i = 0; i < CALLS && is_acting(r); i++)
            waiting_moves(s, w, run, i);
        for (int step = 1; step <= r->step && w->left.retries && run == 0 && !is_live(r); step++) {
            struct world n = *w;
            n.left.retries--;
            if (retry(&n, run, step))
                explore_next(s, &n, MAY, SOMEBODY, "retries from step %d", step);
        }
    }
}

void moves(struct search *s, const struct world *w)
{
    for (int p = 0; p < PROCESSES; p++) {
        const struct process *x = &w->processes[p];
        if (x->kind == NOBODY)
            continue;
        life_moves(s, w, p);
        bool asks = x->life == ALIVE && !x->buried;
        for (int slot = 0; slot < setting->slots; slot++) {
            if (x->tasks[slot].state == IDLE && asks) {
                ask_moves(s, w, p, slot);
                asks = false; /* one free slot is like another */
            }
            task_moves(s, w, p, slot);
        }
    }
    people_moves(s, w);
}
