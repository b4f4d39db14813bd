/*
 * test_action_storm.c -- many calls at once, in a random order of everything.
 *
 * Several tasks (executor/action.c) of several processes have two calls between
 * them.  A seeded scheduler chooses what is next: a doorbell, also the tenth for the
 * same call; a statement takes effect, long after it was sent, or twice; its answer
 * arrives, or a second time, or when nobody waits for it; a request reaches the tool
 * or is cut; a cancel, a request to stop, a death, a declaration of death over the
 * living; time passes.  Then the storm is over, and both calls must come to an end.
 *
 * Judged by the ledger of the world: who was answered `yours`, what was sent, what
 * the tool did.  The seed is printed on failure; PAWL_STORM_SEED=n walks that world
 * alone.  PAWL_TEST_LONG=1: fifty times as many.
 */
#include "tests/unit/cm.h"

#include "tests/unit/action_storm.h"

#include "common/memory.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__ /* there is one thread: more worlds find nothing more */
enum { WORLDS_LONG = 4000 };
#else
enum { WORLDS_LONG = 200000 };
#endif
enum { EVENTS = 120, CALM_EVENTS = 20000, WORLDS = 4000 };

static char last_words[80];

/* An assertion in the code under test ends the program: say which world it was. */
static void say_seed(int signal_number)
{
    (void)!write(STDERR_FILENO, last_words, sizeof last_words);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

/* ---- the scheduler --------------------------------------------------------------------- */

static void deliver(struct storm *s, struct op *op)
{
    struct task *t = &s->tasks[op->task];
    op->wanted = !s->calm && storm_dice(s, 5) == 0; /* it comes once more */
    op->answered = op->wanted;
    if (!t->live || t->life != op->life)
        return;
    bool stranger = op->ticket != t->action.ticket;
    enum action_state before = t->action.state;
    int asked = t->asked;
    if (!stranger && op->kind == OP_CLAIM && op->claim.answer == STORE_YOURS)
        t->told_yours = true;
    if (!stranger && op->kind == OP_COMMIT && op->event.outcome == OK)
        t->commit_ok = true;
    action_resume(&t->action, &op->event);
    if (stranger)
        storm_hold(s, before == t->action.state && asked == t->asked,
                   "an answer of a former operation was heard");
    if (t->done) {
        action_release(&t->action);
        t->live = false;
    }
}

static void start(struct storm *s)
{
    int place = (int)storm_dice(s, PLACES), call = (int)storm_dice(s, CALLS);
    for (int i = 0; i < TASKS; i++) {
        struct task *t = &s->tasks[i];
        if (t->live)
            continue;
        struct doorbell bell = { .run = { { 1 } }, .step = 1, .index = call };
        *t = (struct task){ .live = true,
                            .life = t->life + 1,
                            .place = place,
                            .call = call,
                            .incarnation = s->incarnation[place] };
        action_start(&t->action, &s->ports, &bell, false);
        return;
    }
}

/* kill -9, and a new start: what is at the server or on the wire goes on. */
static void kill_place(struct storm *s, int place)
{
    int dead = s->incarnation[place];
    for (int i = 0; i < TASKS; i++) {
        struct task *t = &s->tasks[i];
        if (!t->live || t->incarnation != dead)
            continue;
        action_release(&t->action);
        t->live = false;
    }
    for (int i = 0; i < s->op_count; i++) { /* a library of the dead asks nothing again */
        if (s->ops[i].incarnation == dead && s->ops[i].kind == OP_LOAD)
            s->ops[i].waiting = s->ops[i].answered = false;
    }
    s->incarnation[place] = ++s->born;
    if (!s->buried[dead] && storm_dice(s, 2))
        storm_bury(s, dead); /* at once; or when somebody notices, see end() */
}

static void trouble(struct storm *s)
{
    struct task *t = &s->tasks[storm_dice(s, TASKS)];
    switch (storm_dice(s, 6)) {
    case 0: kill_place(s, (int)storm_dice(s, PLACES)); break;
    case 1: storm_bury(s, s->incarnation[storm_dice(s, PLACES)]); break;
    case 2:
        if (t->live)
            action_cancel(&t->action);
        break;
    case 3:
        if (t->live)
            action_stop(&t->action);
        break;
    case 4: s->now_ms += storm_dice(s, 2 * SEND_BY_MS); break;
    default: s->now_ms += storm_dice(s, 100); break;
    }
    if (t->live && t->done) {
        action_release(&t->action);
        t->live = false;
    }
}

/* Forgets what nobody waits for any more, so that the list stays short. */
static void tidy(struct storm *s)
{
    bool pending = false;
    for (int i = 0; i < s->op_count; i++)
        pending = pending || s->ops[i].waiting || s->ops[i].answered;
    bool idle = true;
    for (int i = 0; i < TASKS; i++)
        idle = idle && !s->tasks[i].live;
    if (!pending && idle)
        s->op_count = 0;
}

static void next_event(struct storm *s)
{
    unsigned what = storm_dice(s, 20);
    struct op *op = s->op_count ? &s->ops[storm_dice(s, (unsigned)s->op_count)] : NULL;
    if (what < 4 && s->op_count < OPS / 2)
        start(s);
    else if (what == 4 && !s->calm)
        trouble(s);
    else if (op && op->waiting)
        storm_take_effect(s, op);
    else if (op && op->answered)
        deliver(s, op);
    tidy(s);
}

/* The storm is over: the dead are noticed, and everything comes to its end. */
static void end(struct storm *s)
{
    s->calm = true;
    for (int p = 0; p < PLACES; p++) {
        if (s->buried[s->incarnation[p]])
            kill_place(s, p);
    }
    for (int i = 1; i <= s->born; i++) {
        bool lives = false;
        for (int p = 0; p < PLACES; p++)
            lives = lives || s->incarnation[p] == i;
        if (!lives && !s->buried[i])
            storm_bury(s, i);
    }
    int left = CALM_EVENTS;
    while (left-- > 0 && !(storm_is_final(&s->rows[0]) && storm_is_final(&s->rows[1]))) {
        s->now_ms += 20;
        next_event(s);
    }
    for (int i = 0; i < CALLS; i++) {
        const struct row *r = &s->rows[i];
        storm_hold(s, storm_is_final(r), "a call came to no end");
        storm_hold(s, r->state != SUCCEEDED || r->executions > 0, "a success was invented");
        storm_hold(s, r->state != FAILED || r->executions == 0, "it ran, and is stored as failed");
    }
}

static void walk(uint64_t seed)
{
    struct storm *s = xcalloc(1, sizeof *s);
    *s = (struct storm){ .seed = seed, .random = seed, .now_ms = 1000, .why = { "no" } };
    s->ports = storm_ports(s);
    (void)snprintf(last_words, sizeof last_words, "PAWL_STORM_SEED=%llu\n",
                   (unsigned long long)seed);
    for (int i = 0; i < CALLS; i++)
        s->rows[i].policy = (enum policy)storm_dice(s, POLICIES);
    for (int p = 0; p < PLACES; p++)
        s->incarnation[p] = ++s->born;
    for (int i = 0; i < EVENTS; i++)
        next_event(s);
    end(s);
    for (int i = 0; i < TASKS; i++) {
        if (s->tasks[i].live)
            action_release(&s->tasks[i].action);
    }
    free(s);
}

static void whatever_the_order_the_promises_hold(void **state)
{
    (void)state;
    const char *seed = getenv("PAWL_STORM_SEED");
    const char *patient = getenv("PAWL_TEST_LONG");
    (void)signal(SIGABRT, say_seed);
    (void)signal(SIGSEGV, say_seed);
    if (seed) {
        walk(strtoull(seed, NULL, 10));
        return;
    }
    int worlds = patient && *patient == '1' ? WORLDS_LONG : WORLDS;
    for (int i = 0; i < worlds; i++)
        walk((uint64_t)i + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_order_the_promises_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
