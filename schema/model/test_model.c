/*
 * test_model.c -- small worlds, each explored to its end.
 *
 *      test_model                 all worlds hold, all mistakes are found
 *      test_model WORLD [MISTAKE] one of them, e.g. "cancel CANCEL_BLIND"
 *
 * A world is small, so that all orders of its events can be tried: a few
 * processes, one or two calls, a budget for what may go wrong.  With
 * PAWL_TEST_LONG=1 the worlds are larger, and take some minutes.
 */
#include "schema/model/explore.h"
#include "schema/model/mistake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two planners would only double what one does: a restarted one is the second. */
static const struct setting SETTINGS[] = {
    { .name = "step: two parallel calls, time-outs, refused connections, lost answers",
      .plan = { { { IDEMPOTENT, 1, false }, { ONCE_TELL, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .refusals = 1, .losses = 1 } },
    { .name = "deaths: two parallel calls, two processes may fall",
      .plan = { { { IDEMPOTENT, 1, false }, { ONCE_TELL, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 2 } },
    { .name = "probe: a call that can be read back",
      .plan = { { { ONCE_PROBE, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 2, .cuts = 1, .doubts = 1 } },
    { .name = "ask: a person is asked",
      .plan = { { { ONCE_ASK, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .refusals = 1, .losses = 1, .returns = 1 } },
    { .name = "slots: one process claims the same call twice",
      .plan = { { { ONCE_TELL, 1, false } } },
      .planners = 1,
      .executors = 1,
      .slots = 2,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .losses = 1 } },
    { .name = "narrow: two calls, one at a time",
      .plan = { { { IDEMPOTENT, 1, false }, { ONCE_PROBE, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 1,
      .budget = { .faults = 1, .cuts = 1 } },
    { .name = "twins: the same call twice in one step",
      .plan = { { { ONCE_TELL, 1, false }, { ONCE_ASK, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1 } },
    { .name = "cancel: at any moment",
      .plan = { { { IDEMPOTENT, 1, false }, { ONCE_TELL, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .refusals = 1, .cancels = 1 } },
    { .name = "retry: of what was cancelled or has ended",
      .plan = { { { ONCE_TELL, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .losses = 1, .cancels = 2, .retries = 1 } },
    { .name = "epochs: two retries of a call that may be repeated",
      .plan = { { { IDEMPOTENT, 1, false } } },
      .planners = 1,
      .executors = 1,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .cancels = 2, .retries = 2 } },
    { .name = "child: a sub-agent that answers at once",
      .plan = { { { SUB_AGENT, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .losses = 1, .cancels = 2 } },
    { .name = "tree: a sub-agent with a call of its own, which its parent makes too",
      .plan = { { { SUB_AGENT, 1, false }, { ONCE_TELL, 2, false } }, { { ONCE_TELL, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cancels = 1 } },
    { .name = "approval: allowed, refused, expired, cancelled",
      .plan = { { { ONCE_TELL, 1, true } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .losses = 1, .cancels = 1, .words = 2 } },
    { .name = "allowed again: a call that needs an approval in each epoch",
      .plan = { { { ONCE_TELL, 1, true } } },
      .planners = 1,
      .executors = 1,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cancels = 1, .retries = 1, .words = 2 } },
};

/* Worlds for a patient day. */
static const struct setting LONG_SETTINGS[] = {
    { .name = "step, two faults",
      .plan = { { { IDEMPOTENT, 1, false }, { ONCE_TELL, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 2, .cuts = 1, .refusals = 1 } },
    { .name = "probe, two faults",
      .plan = { { { ONCE_PROBE, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 2, .cuts = 1, .refusals = 1, .losses = 1, .doubts = 1 } },
    { .name = "retry, two faults",
      .plan = { { { ONCE_ASK, 1, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 2, .cancels = 1, .retries = 1 } },
    { .name = "tree, two faults",
      .plan = { { { SUB_AGENT, 1, false } }, { { ONCE_TELL, 2, false } } },
      .planners = 1,
      .executors = 2,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 2, .cancels = 2 } },
    { .name = "approval, retried",
      .plan = { { { ONCE_ASK, 1, true } } },
      .planners = 1,
      .executors = 1,
      .slots = 1,
      .parallel = 2,
      .budget = { .faults = 1, .cuts = 1, .cancels = 1, .retries = 1, .words = 3 } },
};

enum {
    COUNT = sizeof SETTINGS / sizeof *SETTINGS,
    LONG_COUNT = sizeof LONG_SETTINGS / sizeof *LONG_SETTINGS
};

/* In which world each mistake shows, and which promise it breaks there. */
struct seed {
    enum mistake mistake;
    const char *name, *world, *breaks;
};

static const struct seed SEEDS[] = {
#define SEED(NAME, WORLD, BREAKS)  \
    {                              \
        NAME, #NAME, WORLD, BREAKS \
    }
    SEED(LITERAL_CLAIM, "deaths", "ran twice (P4)"),
    SEED(NO_WORKER_LOCK, "deaths", "move this run on (P1)"),
    SEED(CLEAR_DUE, "step", "not due (P1)"),
    SEED(BURY_NO_DUE, "step", "not due (P1)"),
    SEED(NO_FENCE, "step", "(P3)"),
    SEED(SNAPSHOT_COUNT, "step", "counters"),
    SEED(LATE_DECREMENT, "step", "without a result"),
    SEED(LATE_ANY, "step", "was overwritten"),
    SEED(SPECULATIVE_READ, "step", "was overwritten"),
    SEED(NO_SEND_FENCE, "probe", "ran twice (P4)"),
    SEED(OWN_CLAIM_WINS, "slots", "(P3)"),
    SEED(NO_PLACE_DUE, "narrow", "not due (P1)"),
    SEED(NO_TWINS, "twins", "twin"),
    SEED(CANCEL_BLIND, "cancel", "ended twice (P1)"),
    SEED(CANCEL_FORGETS, "cancel", "as one that did not"),
    SEED(CANCEL_FORGETS_CUT, "cancel", "as one that did not"),
    SEED(CANCEL_DROPS_LATE, "cancel", "refused (P2)"),
    SEED(CANCEL_KEEPS_CLAIM, "cancel", "after its end (P1)"),
    SEED(RETRY_SAME_EPOCH, "retry", "(P3)"),
    SEED(RETRY_FORGETS, "epochs", "success of it (P2)"),
    SEED(RETRY_RESENDS, "retry", "ran twice (P4)"),
    SEED(RETRY_AT_ONCE, "epochs", "refused (P2)"),
    SEED(DECIDE_EARLY, "retry", "ran twice (P4)"),
    SEED(CHILD_APART, "child", "no call waits"),
    SEED(CHILD_AGAIN, "child", "two children"),
    SEED(CHILD_OF_THE_DEAD, "child", "no call waits"),
    SEED(CHILD_END_APART, "child", "that has ended"),
    SEED(CHILD_END_SILENT, "child", "that has ended"),
    SEED(CHILD_LIVES_ON, "child", "lives on"),
    SEED(CHILD_END_BLIND, "tree", "after its end (P1)"),
    SEED(APPROVE_BLIND, "approval", "opened again (P2)"),
    SEED(DENY_BLIND, "approval", "closed as refused"),
    SEED(EXPIRY_BLIND, "approval", "closed as refused"),
    SEED(UNASKED, "approval", "nobody allowed"),
    SEED(APPROVE_TWICE, "approval", "(P3)"),
    SEED(DECIDE_ALLOWS, "allowed", "nobody allowed"),
#undef SEED
};

enum { SEED_COUNT = sizeof SEEDS / sizeof *SEEDS };

static const struct setting *find_setting(const char *world)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (!strncmp(SETTINGS[i].name, world, strlen(world)))
            return &SETTINGS[i];
    }
    return NULL;
}

static struct finding explored(const struct setting *world, enum mistake which)
{
    setting = world;
    mistake = which;
    struct finding f = explore();
    (void)printf("# %s: %zu states, %zu moves\n", mistake_meaning(which), f.states, f.moves);
    return f;
}

static void holds(void **state)
{
    struct finding f = explored(*state, NO_MISTAKE);
    assert_null(f.broken);
    assert_true(f.states > 1000);
}

static void is_found(void **state)
{
    const struct seed *seed = *state;
    const struct setting *world = find_setting(seed->world);
    assert_non_null(world);
    struct finding f = explored(world, seed->mistake);
    assert_non_null(f.broken);
    if (!strstr(f.broken, seed->breaks)) {
        print_error("found, but by another promise: %s\n", f.broken);
        assert_true(false);
    }
}

static void every_mistake_is_tried(void **state)
{
    (void)state;
    assert_int_equal(SEED_COUNT, MISTAKE_COUNT - 1);
    for (size_t i = 0; i < SEED_COUNT; i++)
        assert_int_equal(SEEDS[i].mistake, i + 1);
}

/* One world, as asked for on the command line. */
static int explore_one(const char *world, const char *name)
{
    enum mistake which = NO_MISTAKE;
    const struct setting *found = find_setting(world);
    for (size_t i = 0; i < SEED_COUNT; i++) {
        if (name && !strcmp(SEEDS[i].name, name))
            which = SEEDS[i].mistake;
    }
    if (!found || (name && which == NO_MISTAKE)) {
        (void)fprintf(stderr, "test_model: no such world, or no such mistake\n");
        return 64;
    }
    struct finding f = explored(found, which);
    (void)printf("%s\n", f.broken ? f.broken : "holds");
    return f.broken != NULL;
}

static const struct CMUnitTest *tests_of_all(bool patient, size_t *count)
{
    static struct CMUnitTest tests[COUNT + LONG_COUNT + SEED_COUNT + 1];
    size_t n = 0;
    for (size_t i = 0; i < COUNT; i++)
        tests[n++] = (struct CMUnitTest){ SETTINGS[i].name, holds, NULL, NULL,
                                          (void *)(uintptr_t)&SETTINGS[i] };
    for (size_t i = 0; i < LONG_COUNT && patient; i++)
        tests[n++] = (struct CMUnitTest){ LONG_SETTINGS[i].name, holds, NULL, NULL,
                                          (void *)(uintptr_t)&LONG_SETTINGS[i] };
    for (size_t i = 0; i < SEED_COUNT; i++)
        tests[n++] = (struct CMUnitTest){ SEEDS[i].name, is_found, NULL, NULL,
                                          (void *)(uintptr_t)&SEEDS[i] };
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(every_mistake_is_tried);
    *count = n;
    return tests;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    const char *patient = getenv("PAWL_TEST_LONG");
    if (argc > 1)
        return explore_one(argv[1], argc > 2 ? argv[2] : NULL);
    const struct CMUnitTest *tests = tests_of_all(patient && *patient == '1', &count);
    return _cmocka_run_group_tests("model", tests, count, NULL, NULL);
}
