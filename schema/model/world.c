#include "schema/model/world.h"

#include "schema/model/mistake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const struct setting *setting;
enum mistake mistake = NO_MISTAKE;

const char *mistake_meaning(enum mistake which)
{
    static const char *const MEANINGS[] = { "the rules are right",
#define X(NAME, MEANING) MEANING,
                                            MISTAKES(X)
#undef X
    };
    return MEANINGS[which];
}

void world_begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->runs[0] = (struct run){ .status = RUNNING, .epoch = 1, .step = 1, .due = true };
    w->runs[1].epoch = 1;
    w->left = setting->budget;
    for (int i = 0; i < setting->executors; i++)
        world_start(w, EXECUTOR);
    for (int i = 0; i < setting->planners; i++)
        world_start(w, PLANNER);
}

void world_start(struct world *w, byte kind)
{
    int p = 0;
    while (p < PROCESSES && w->processes[p].kind != NOBODY)
        p++;
    assert(p < PROCESSES);
    w->processes[p].kind = kind;
}

/* ------------------------------------------------------- the canonical form */

static bool has_task(const struct world *w, byte by)
{
    for (int s = 0; s < SLOTS; s++) {
        if (w->processes[by - 1].tasks[s].state != IDLE)
            return true;
    }
    return false;
}

/* Who made a call that is closed, and has nothing to say any more, is forgotten. */
static void forget_claimants(struct world *w, struct call *c)
{
    if (c->by && c->status != CALL_RUNNING && !c->cancellation && !has_task(w, c->by))
        c->by = c->slot = 0;
}

/* Bit by bit, which claims this process holds: so that two with the same tasks differ. */
static void note_held(struct world *w)
{
    for (int p = 0; p < PROCESSES; p++)
        w->processes[p].holds = 0;
    for (int run = 0; run < RUNS; run++) {
        byte bit = (byte)(run ? 8 : 1);
        if (w->runs[run].claim_by)
            w->processes[w->runs[run].claim_by - 1].holds |= bit;
        for (int i = 0; i < CALLS; i++) {
            bit = (byte)(bit << 1);
            for (int e = 0; e < EPOCHS; e++) {
                struct call *c = &w->calls[run][i][e];
                forget_claimants(w, c);
                if (c->by)
                    w->processes[c->by - 1].holds |= bit;
                if (c->probe_by)
                    w->processes[c->probe_by - 1].holds |= (byte)(bit << (run ? 0 : 5));
            }
        }
    }
}

/* A process of which nothing can be heard any more. */
static bool is_past(const struct world *w, int p)
{
    const struct process *x = &w->processes[p];
    return x->buried && (x->life == TOLD || x->life == REPLACED) && !x->holds &&
           !has_task(w, (byte)(p + 1));
}

static int compare(const void *a, const void *b)
{
    return memcmp(b, a, sizeof(struct process)); /* the greatest first, so that NOBODY is last */
}

struct tagged {
    struct process process;
    byte was;
};

void world_canonical(struct world *w, byte was[PROCESSES])
{
    struct tagged sorted[PROCESSES];
    byte now[PROCESSES + 1] = { 0 };
    note_held(w);
    for (int p = 0; p < PROCESSES; p++) {
        if (is_past(w, p))
            memset(&w->processes[p], 0, sizeof w->processes[p]);
        sorted[p] = (struct tagged){ w->processes[p], (byte)p };
    }
    qsort(sorted, PROCESSES, sizeof *sorted, compare);
    for (int p = 0; p < PROCESSES; p++) {
        w->processes[p] = sorted[p].process;
        now[sorted[p].was + 1] = (byte)(p + 1);
        was[p] = sorted[p].was;
    }
    for (int run = 0; run < RUNS; run++) {
        w->runs[run].claim_by = now[w->runs[run].claim_by];
        for (int i = 0; i < CALLS; i++) {
            for (int e = 0; e < EPOCHS; e++) {
                w->calls[run][i][e].by = now[w->calls[run][i][e].by];
                w->calls[run][i][e].probe_by = now[w->calls[run][i][e].probe_by];
            }
        }
    }
    if (memcmp(&w->people[0], &w->people[1], sizeof w->people[0]) < 0) {
        struct person other = w->people[0];
        w->people[0] = w->people[1];
        w->people[1] = other;
    }
}
