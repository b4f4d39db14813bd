/*
 * test_plan_context.c -- a run that outgrows the window of its model, seen from the
 * machine of its steps.  The model counts four bytes as a token and refuses prompts
 * over its window.
 */
#include "tests/unit/cm.h"
#include "tests/unit/plan_world.h"

#include <string.h>

enum { STEPS = 14 };

/* 820 tokens for the prompt, of which a step takes 90. */
static const char result[] =
    "................................................................................"
    "................................................................................"
    "................................................................................";

static struct world long_world(void)
{
    struct world w = new_world();
    w.last_step = STEPS;
    w.window = 1000;
    w.result = result;
    world_model.context_window = 1000;
    return w;
}

static void end_long_world(struct world *w)
{
    world_model.context_window = 0;
    end_world(w);
}

/* Until the run has ended; answers how many doorbells that took. */
static int play(struct world *w, bool forgetful)
{
    int doorbells = 0;
    while (!w->ended) {
        assert_true(++doorbells < 40);
        assert_int_equal(deliver(w, FOREVER), PLAN_DONE);
        if (forgetful) {
            history_cache_release(&w->cache);
            history_cache_init(&w->cache, (size_t)1 << 20);
        }
    }
    return doorbells;
}

static void a_run_over_its_window_goes_on(void **state)
{
    (void)state;
    struct world w = long_world();
    assert_int_equal(play(&w, false), STEPS);
    assert_string_equal(w.status, "succeeded");
    assert_int_equal(w.model_calls, STEPS);
    assert_int_equal(w.too_long, 0);
    assert_in_range(w.read_anew, 2, 3); /* the beginning, and when the view moved */
    struct context c;
    context_read(&c, w.context, strlen(w.context));
    assert_in_range(c.view.left_out + c.view.emptied, 3, 2 * STEPS);
    assert_contains(w.last_body, "step 13");
    end_long_world(&w);
}

/* Each of them might have been another process. */
static void whoever_takes_over_sends_the_same_prompts(void **state)
{
    (void)state;
    struct world w = long_world(), cold = long_world();
    (void)play(&w, false);
    (void)play(&cold, true);
    assert_int_equal(cold.model_calls, STEPS);
    for (int i = 0; i < STEPS; i++)
        assert_memory_equal(&w.prompts[i], &cold.prompts[i], sizeof w.prompts[i]);
    assert_string_equal(w.context, cold.context);
    end_long_world(&w);
    end_world(&cold);
}

/* Another planner moved the view in between: our text is of no use any more. */
static void a_history_of_another_view_is_read_anew(void **state)
{
    (void)state;
    struct world w = long_world(), other = long_world();
    while (w.step < 4)
        (void)deliver(&w, FOREVER);
    (void)play(&other, true);
    struct history_cache ours = w.cache;
    while (w.step < STEPS - 1) {
        history_cache_init(&w.cache, (size_t)1 << 20);
        (void)deliver(&w, FOREVER);
        history_cache_release(&w.cache);
    }
    w.cache = ours;
    (void)deliver(&w, FOREVER);
    assert_memory_equal(&w.prompts[STEPS - 2], &other.prompts[STEPS - 2], sizeof *w.prompts);
    end_long_world(&w);
    end_world(&other);
}

static void survives_death_at_every_operation(void **state)
{
    (void)state;
    for (int fuel = 1; fuel <= 8; fuel++) {
        for (int dies_at = 5; dies_at <= STEPS; dies_at++) {
            struct world w = long_world();
            while (!w.ended) {
                if (w.step == dies_at && w.version == 0)
                    (void)deliver(&w, fuel);
                if (!w.ended)
                    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
            }
            assert_string_equal(w.status, "succeeded");
            assert_int_equal(w.too_long, 0);
            for (int s = 1; s <= STEPS; s++)
                assert_int_equal(w.steps_planned[s], 1);
            end_long_world(&w);
        }
    }
}

/* Published with a larger window than the model has. */
static void a_prompt_that_is_refused_is_made_shorter(void **state)
{
    (void)state;
    struct world w = long_world();
    w.window = 600;
    (void)play(&w, false);
    assert_string_equal(w.status, "succeeded");
    assert_in_range(w.too_long, 1, 3);
    assert_int_equal(w.retries, w.too_long);
    assert_int_equal(w.retry_in_ms, 0); /* waiting would not make it shorter */
    end_long_world(&w);
}

/* A provider without a word for it. */
static void a_bare_400_for_a_long_prompt_is_tried_shorter(void **state)
{
    (void)state;
    struct world w = long_world();
    while (w.step < 9)
        (void)deliver(&w, FOREVER);
    w.fail_model = 1;
    w.model_says = REFUSED;
    w.model_code = "bad_request";
    (void)play(&w, false);
    assert_string_equal(w.status, "succeeded");
    assert_int_equal(w.retries, 1);
    end_long_world(&w);

    w = long_world(); /* a short one is refused for another reason */
    w.fail_model = 1;
    w.model_says = REFUSED;
    w.model_code = "bad_request";
    (void)play(&w, false);
    assert_string_equal(w.status, "failed");
    assert_string_equal(w.code, "model_refused");
    end_long_world(&w);
}

static void what_cannot_be_shorter_ends_the_run(void **state)
{
    (void)state;
    struct world w = long_world();
    w.window = 20;
    (void)play(&w, false);
    assert_string_equal(w.status, "failed");
    assert_string_equal(w.code, "prompt_too_large");
    assert_contains(w.error, "a larger context_window");
    end_long_world(&w);
}

static void without_a_window_nothing_is_kept(void **state)
{
    (void)state;
    struct world w = new_world();
    w.last_step = STEPS;
    w.result = result;
    (void)play(&w, false);
    assert_string_equal(w.context, "");
    assert_int_equal(w.read_anew, 1);
    end_world(&w);

    w = new_world();
    w.window = 20;
    (void)play(&w, false);
    assert_string_equal(w.code, "prompt_too_large");
    assert_contains(w.error, "give the model its context_window");
    end_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_over_its_window_goes_on),
        cmocka_unit_test(whoever_takes_over_sends_the_same_prompts),
        cmocka_unit_test(a_history_of_another_view_is_read_anew),
        cmocka_unit_test(survives_death_at_every_operation),
        cmocka_unit_test(a_prompt_that_is_refused_is_made_shorter),
        cmocka_unit_test(a_bare_400_for_a_long_prompt_is_tried_shorter),
        cmocka_unit_test(what_cannot_be_shorter_ends_the_run),
        cmocka_unit_test(without_a_window_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
