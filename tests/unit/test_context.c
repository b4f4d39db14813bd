/*
 * test_context.c -- what is left out of a prompt that outgrows its model: runs are
 * played through with a provider that counts by a rule of its own and refuses what
 * is over its window.
 */
#include "tests/unit/cm.h"

#include "planner/context.h"

#include "planner/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 600, HEAD = 1500, TAIL = 100, NAMED = 240, WINDOW = 32768 };

static struct model_def model = { .name = "m", .context_window = WINDOW };

/* One run: what its steps take, and the history that a planner makes of it. */
struct run {
    size_t plan[STEPS_MAX + 1], result[STEPS_MAX + 1];
    double rate[STEPS_MAX + 1]; /* bytes a token of what each step says */
    int steps;                  /* that are planned and have their results */
    size_t head;
    struct context context;
    struct history *h;
    int moves;
};

static struct run new_run(void)
{
    static const struct uuid id = { { 1 } };
    struct run r = { .head = HEAD, .h = history_new(&id) };
    context_begin(&r.context, &model);
    return r;
}

static size_t bounded(const struct run *r, size_t n)
{
    size_t limit = (size_t)r->context.view.result_bytes;
    return n > limit && limit > 0 ? limit + 60 : n;
}

/* As prompt_extend() does with what read_steps() gives. */
static void read_anew(struct run *r)
{
    struct history *h = r->h;
    history_forget(h);
    h->head_len = r->head;
    h->text.len = r->head;
    for (int step = r->context.view.left_out + 1; step <= r->steps; step++) {
        struct history_step *s = history_step(h, step);
        s->plan_bytes = r->plan[step];
        s->result_bytes = bounded(r, r->result[step]);
        s->emptied_bytes = s->result_bytes < NAMED ? s->result_bytes : NAMED;
        if (step <= r->context.view.emptied)
            s->result_bytes = s->emptied_bytes;
        h->text.len += s->plan_bytes + s->result_bytes;
    }
    h->open_len = h->text.len;
    h->text.len += TAIL;
}

static void assert_view_grows(const struct run *r, const struct store_view *before)
{
    const struct store_view *now = &r->context.view;
    assert_true(now->left_out >= before->left_out && now->emptied >= before->emptied);
    assert_true(now->left_out <= now->emptied);
    assert_true(now->emptied < r->steps); /* the newest is always there */
    assert_true(now->result_bytes <= before->result_bytes);
}

/* Until it fits, or cannot. */
static enum context_answer fit(struct run *r)
{
    bool moved = false;
    for (int tries = 0; tries < 40; tries++) {
        const struct store_view before = r->context.view;
        read_anew(r);
        enum context_answer answer = context_fit(&r->context, &model, r->h);
        if (answer != CONTEXT_MOVED) {
            r->moves += moved;
            return answer;
        }
        assert_view_grows(r, &before);
        moved = true;
    }
    fail_msg("the view moves for ever");
    return CONTEXT_FULL;
}

static void end_run(struct run *r)
{
    r->h->text.len = 0;
    history_free(r->h);
}

static int64_t counted(const struct run *r, double bytes_per_token)
{
    return (int64_t)((double)r->h->text.len / bytes_per_token);
}

/* ---- steady growth ------------------------------------------------------------ */

static void play_steadily(double bytes_per_token, size_t result, size_t plan, int steps)
{
    struct run r = new_run();
    int last_move = 0;
    int64_t most = 0;
    for (r.steps = 0; r.steps < steps; r.steps++) {
        int before = r.moves;
        r.plan[r.steps] = plan;
        r.result[r.steps] = result;
        assert_int_equal(fit(&r), CONTEXT_FITS);
        if (r.moves > before && last_move > 0)
            assert_in_range(r.steps - last_move, 10, STEPS_MAX);
        if (r.moves > before)
            last_move = r.steps;
        int64_t tokens = counted(&r, bytes_per_token);
        assert_in_range(tokens, 1, WINDOW);
        most = tokens > most ? tokens : most;
        context_count(&r.context, r.h->text.len, tokens);
    }
    assert_in_range(r.moves, 1, steps / 10);
    assert_in_range(most, WINDOW / 2, WINDOW);
    end_run(&r);
}

/* As long as a step adds no more than 4 % of the budget. */
static void a_steady_run_moves_once_in_ten_steps(void **state)
{
    (void)state;
    play_steadily(4, 4000, 200, 300);
    play_steadily(2.5, 2500, 200, 300);
    play_steadily(3, 3000, 200, 300);
    play_steadily(2, 1900, 150, 300);
    play_steadily(4, 150, 900, 600);  /* short results: nothing but whole steps can go */
    play_steadily(4, 300, 3000, 300); /* what takes the room are the plans */
}

/* ---- anything ------------------------------------------------------------------- */

static size_t random_size(unsigned short dice[3])
{
    switch (nrand48(dice) % 8) {
    case 0: return (size_t)(nrand48(dice) % 100000); /* larger than the window may be */
    case 1:
    case 2: return (size_t)(nrand48(dice) % 200);
    default: return (size_t)(nrand48(dice) % 6000);
    }
}

/* As a tokeniser would: each step by its own density. */
static int64_t counted_by_step(const struct run *r)
{
    double tokens = (double)(HEAD + TAIL) / 4;
    for (size_t i = 0; i < r->h->step_count; i++) {
        const struct history_step *s = &r->h->steps[i];
        tokens += (double)(s->plan_bytes + s->result_bytes) / r->rate[s->step];
    }
    return (int64_t)tokens;
}

/* Sizes and density change as they like.  Where no new text is denser than two bytes
 * a token, no prompt is ever refused; elsewhere each refusal is got over.      */
static void play_at_random(unsigned seed, double densest)
{
    unsigned short dice[3] = { (unsigned short)seed, (unsigned short)(seed >> 16), 7 };
    struct run r = new_run();
    int refusals = 0;
    for (r.steps = 0; r.steps < 300; r.steps++) {
        r.plan[r.steps] = 100 + (size_t)(nrand48(dice) % 500);
        r.result[r.steps] = random_size(dice);
        r.rate[r.steps] = densest + erand48(dice) * 3;
        if (fit(&r) != CONTEXT_FITS)
            fail_msg("seed %u step %d: full", seed, r.steps);
        for (int tries = 0; counted_by_step(&r) > WINDOW; tries++) {
            refusals++;
            assert_true(tries < 4);
            context_refuse(&r.context, &model, r.h->text.len);
            assert_true(context_move(&r.context, &model, r.h));
            assert_int_equal(fit(&r), CONTEXT_FITS);
        }
        context_count(&r.context, r.h->text.len, counted_by_step(&r));
    }
    if (densest >= 2 && refusals > 0)
        fail_msg("seed %u: %d refusals", seed, refusals);
    end_run(&r);
}

static void no_run_stops_for_its_length(void **state)
{
    (void)state;
    const char *one = getenv("PAWL_CONTEXT_SEED");
    unsigned first = one ? (unsigned)strtoul(one, NULL, 10) : 1, last = one ? first : 300;
    for (unsigned seed = first; seed <= last; seed++) {
        play_at_random(seed, 2);
        play_at_random(seed, 1);
    }
}

/* Whoever takes over decides the same, from what is stored. */
static void the_stored_text_is_all_that_a_decision_needs(void **state)
{
    (void)state;
    struct run r = new_run();
    struct arena arena;
    arena_init(&arena, 10000);
    for (r.steps = 0; r.steps < 100; r.steps++) {
        r.plan[r.steps] = 200;
        r.result[r.steps] = 4000;
        const char *text = context_write(&r.context, &arena);
        struct run other = r;
        context_read(&other.context, text, strlen(text));
        assert_memory_equal(&other.context, &r.context, sizeof r.context);
        assert_int_equal(fit(&r), CONTEXT_FITS);
        assert_int_equal(fit(&other), CONTEXT_FITS);
        assert_memory_equal(&other.context, &r.context, sizeof r.context);
        context_count(&r.context, r.h->text.len, counted(&r, 4));
        arena_free(&arena);
    }
    assert_true(r.moves > 0);
    end_run(&r);
}

/* ---- corners ----------------------------------------------------------------------- */

static void without_a_window_all_is_shown(void **state)
{
    (void)state;
    static const struct model_def endless = { .name = "m" };
    struct run r = new_run();
    r.steps = 3;
    r.result[3] = (size_t)30 << 20;
    r.context = (struct context){ 0 };
    context_begin(&r.context, &endless);
    assert_int_equal(r.context.view.result_bytes, 0);
    read_anew(&r);
    assert_int_equal(context_budget(&endless), 0);
    assert_int_equal(context_fit(&r.context, &endless, r.h), CONTEXT_FITS);
    end_run(&r);
}

static void the_budget_leaves_room_for_the_answer(void **state)
{
    (void)state;
    struct model_def m = { .context_window = 100000 };
    assert_int_equal(context_budget(&m), 100000 - 12500 - 5000);
    m.max_output_tokens = 40000;
    assert_int_equal(context_budget(&m), 100000 - 40000 - 5000);
    m.max_output_tokens = 99999;
    assert_int_equal(context_budget(&m), 25000);
}

/* The newest result alone, in text so dense that not even its bound is enough. */
static void of_the_newest_results_less_is_shown(void **state)
{
    (void)state;
    struct run r = new_run();
    r.steps = 1;
    r.plan[1] = 100;
    r.result[1] = 200000;
    context_count(&r.context, 1000, 1000);
    assert_int_equal(fit(&r), CONTEXT_FITS);
    assert_true(r.h->text.len <= (size_t)context_budget(&model));
    assert_in_range(r.context.view.result_bytes, CONTEXT_RESULT_BYTES_MIN,
                    context_budget(&model) - 1);
    assert_int_equal(r.context.view.left_out, 0);
    end_run(&r);
}

/* Instructions, tools and input alone: an estimate fails nobody, a count does. */
static void what_always_stays_may_be_too_much(void **state)
{
    (void)state;
    struct run r = new_run();
    r.head = 200000;
    assert_int_equal(fit(&r), CONTEXT_FITS); /* 66,000 tokens, says a guess */
    context_count(&r.context, r.head, 20000);
    r.steps = 1;
    r.plan[1] = r.result[1] = 100;
    assert_int_equal(fit(&r), CONTEXT_FITS);
    context_count(&r.context, 100000, 20000);
    assert_int_equal(fit(&r), CONTEXT_FULL);
    context_refuse(&r.context, &model, r.h->text.len);
    assert_false(context_move(&r.context, &model, r.h));
    end_run(&r);
}

/* Half of what the head leaves is freed, however large the head is. */
static void a_large_head_does_not_make_it_move_at_each_step(void **state)
{
    (void)state;
    struct run r = new_run();
    r.head = 80000; /* 20,000 of 27,000 tokens */
    for (r.steps = 0; r.steps < 200; r.steps++) {
        r.plan[r.steps] = 200;
        r.result[r.steps] = 800;
        assert_int_equal(fit(&r), CONTEXT_FITS);
        context_count(&r.context, r.h->text.len, counted(&r, 4));
    }
    assert_in_range(r.moves, 5, 20);
    end_run(&r);
}

static void a_refusal_makes_the_budget_stricter(void **state)
{
    (void)state;
    struct context c = { 0 };
    context_refuse(&c, &model, 60000); /* never counted: 20,000 by the guess */
    assert_int_equal(c.budget, 15000);
    context_count(&c, 30000, 15000);
    assert_int_equal(c.budget, 0); /* it was the guess that was wrong */
    context_refuse(&c, &model, 40000);
    assert_int_equal(c.budget, 15000); /* counted: it is the window */
    context_count(&c, 20000, 10000);
    assert_int_equal(c.budget, 15000);
    context_refuse(&c, &model, 2);
    context_refuse(&c, &model, 2);
    assert_int_equal(c.budget, 1);
}

static void estimates_follow_what_is_counted(void **state)
{
    (void)state;
    struct context c = { 0 };
    assert_int_equal(context_estimate(&c, 3000), 1000);
    context_count(&c, 10000, 2500);
    assert_int_equal(context_estimate(&c, 10000), 2500);
    assert_int_equal(context_estimate(&c, 5000), 1250);
    assert_int_equal(context_estimate(&c, 11000), 3000); /* the new thousand: two bytes each */
    context_count(&c, 10000, 8000);
    assert_int_equal(context_estimate(&c, 11000), 8800);
}

static void counts_that_cannot_be_are_not_believed(void **state)
{
    (void)state;
    struct context c = { 0 };
    context_count(&c, 1000, 2001);
    context_count(&c, 1000, 0);
    context_count(&c, 1000, MODEL_NO_TOKENS);
    context_count(&c, (size_t)1 << 40, 1000);
    assert_int_equal(c.prompt_tokens, 0);
    context_count(&c, 1000, 2000);
    assert_int_equal(c.prompt_tokens, 2000);
}

static void what_was_stored_may_be_anything(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "null",
        "[1]",
        "{\"left_out\":\"x\"}",
        "{\"left_out\":-3,\"prompt_tokens\":1e99}",
        "{\"left_out\":99999999999,\"prompt_tokens\":5}",
        "{\"left_out\":3",
    };
    static const struct context nothing;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct context c;
        memset(&c, 0xff, sizeof c);
        context_read(&c, texts[i], strlen(texts[i]));
        assert_int_equal(c.view.left_out, 0);
        assert_int_equal(c.prompt_tokens, nothing.prompt_tokens);
    }
    struct context c = { .budget = 1 };
    context_read(&c, NULL, 0);
    assert_int_equal(c.budget, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_run_moves_once_in_ten_steps),
        cmocka_unit_test(no_run_stops_for_its_length),
        cmocka_unit_test(the_stored_text_is_all_that_a_decision_needs),
        cmocka_unit_test(without_a_window_all_is_shown),
        cmocka_unit_test(the_budget_leaves_room_for_the_answer),
        cmocka_unit_test(of_the_newest_results_less_is_shown),
        cmocka_unit_test(what_always_stays_may_be_too_much),
        cmocka_unit_test(a_large_head_does_not_make_it_move_at_each_step),
        cmocka_unit_test(a_refusal_makes_the_budget_stricter),
        cmocka_unit_test(estimates_follow_what_is_counted),
        cmocka_unit_test(counts_that_cannot_be_are_not_believed),
        cmocka_unit_test(what_was_stored_may_be_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
