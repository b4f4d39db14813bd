#include "planner/context.h"

#include "common/json.h"

#include <assert.h>
#include <string.h>

enum {
    BYTES_PER_TOKEN = 3,     /* before anything was counted */
    NEW_BYTES_PER_TOKEN = 2, /* of what has come since */
    JSON_BYTES_MAX = 4096,
    TEMPLATE_TOKENS = 1000, /* what a provider may add of its own */
};

/* ---- stored ------------------------------------------------------------------- */

static int64_t number(const json_t *object, const char *key)
{
    int64_t value = json_int_or(object, key, 0);
    return value > 0 && value <= INT32_MAX ? value : 0;
}

void context_read(struct context *c, const char *json, size_t n)
{
    const struct json_limits limits = { JSON_BYTES_MAX, 4 };
    json_t *stored = NULL;
    *c = (struct context){ .budget = 0 };
    if (!json || json_read(json, n, &limits, &stored, NULL) != OK)
        return;
    c->view.left_out = (int)number(stored, "left_out");
    c->view.emptied = (int)number(stored, "emptied");
    c->view.result_bytes = (int)number(stored, "result_bytes");
    c->budget = number(stored, "budget");
    c->prompt_bytes = number(stored, "prompt_bytes");
    c->prompt_tokens = c->prompt_bytes ? number(stored, "prompt_tokens") : 0;
    json_decref(stored);
}

const char *context_write(const struct context *c, struct arena *arena)
{
    return arena_printf(arena,
                        "{\"left_out\":%d,\"emptied\":%d,\"result_bytes\":%d,\"budget\":%lld,"
                        "\"prompt_bytes\":%lld,\"prompt_tokens\":%lld}",
                        c->view.left_out, c->view.emptied, c->view.result_bytes,
                        (long long)c->budget, (long long)c->prompt_bytes,
                        (long long)c->prompt_tokens);
}

/* ---- tokens -------------------------------------------------------------------- */

/* The answer needs room in the same window; a twentieth is for errors of ours. */
int64_t context_budget(const struct model_def *model)
{
    int64_t window = model->context_window;
    int64_t answer = model->max_output_tokens ? model->max_output_tokens : window / 8;
    int64_t budget = window - answer - window / 20;
    return budget > window / 4 ? budget : window / 4;
}

static int64_t budget_of(const struct context *c, const struct model_def *model)
{
    int64_t budget = context_budget(model);
    return c->budget > 0 && c->budget < budget ? c->budget : budget;
}

/* Results of one step may be a byte for each token of the budget: a third of it, or
 * a half of it when they are dense.                                          */
void context_begin(struct context *c, const struct model_def *model)
{
    int64_t budget = context_budget(model);
    if (budget > 0 && c->view.result_bytes == 0)
        c->view.result_bytes =
            (int)(budget < CONTEXT_RESULT_BYTES_MIN ? CONTEXT_RESULT_BYTES_MIN : budget);
}

/* As all bytes of the last prompt were. */
static int64_t tokens_alike(const struct context *c, int64_t bytes)
{
    return c->prompt_tokens ? bytes * c->prompt_tokens / c->prompt_bytes : bytes / BYTES_PER_TOKEN;
}

static int64_t bytes_alike(const struct context *c, int64_t tokens)
{
    return c->prompt_tokens ? tokens * c->prompt_bytes / c->prompt_tokens
                            : tokens * BYTES_PER_TOKEN;
}

int64_t context_estimate(const struct context *c, size_t bytes)
{
    int64_t all = (int64_t)bytes, more = all - c->prompt_bytes;
    if (!c->prompt_tokens || more <= 0)
        return tokens_alike(c, all);
    int64_t alike = tokens_alike(c, more), dense = more / NEW_BYTES_PER_TOKEN;
    return c->prompt_tokens + (alike > dense ? alike : dense);
}

/* A count that no tokeniser can give is not believed: it would leave out all. */
void context_count(struct context *c, size_t bytes, int64_t tokens)
{
    if (tokens <= 0 || bytes > INT32_MAX || tokens > (int64_t)bytes + TEMPLATE_TOKENS)
        return;
    if (!c->prompt_tokens)
        c->budget = 0; /* what was refused before was only guessed at */
    c->prompt_bytes = (int64_t)bytes;
    c->prompt_tokens = tokens;
}

void context_refuse(struct context *c, const struct model_def *model, size_t bytes)
{
    int64_t budget = budget_of(c, model), guess = context_estimate(c, bytes);
    int64_t less = (guess < budget ? guess : budget) * 3 / 4;
    c->budget = less > 1 ? less : 1;
}

/* ---- what is left out ------------------------------------------------------------ */

struct choice {
    const struct history_step *steps;
    size_t count;
    size_t out, emptied; /* how many of the first ones */
    int64_t bytes;       /* of the prompt */
};

/* As it is shown now; `emptied` counts from the same end as `out`. */
static int64_t shown(const struct choice *c, size_t at)
{
    const struct history_step *s = &c->steps[at];
    return (int64_t)(s->plan_bytes + (at < c->emptied ? s->emptied_bytes : s->result_bytes));
}

static void empty_up_to(struct choice *c, size_t end, int64_t target)
{
    for (; c->bytes > target && c->emptied < end; c->emptied++)
        c->bytes -=
            (int64_t)(c->steps[c->emptied].result_bytes - c->steps[c->emptied].emptied_bytes);
}

static void leave_out_up_to(struct choice *c, size_t end, int64_t target)
{
    for (; c->bytes > target && c->out < end; c->out++)
        c->bytes -= shown(c, c->out);
}

/* How many of the oldest are not among the newest that take `room` together; the
 * newest is among them whatever it takes.                                   */
static size_t old_ones(const struct choice *c, int64_t room)
{
    size_t old = c->count - 1;
    int64_t taken = shown(c, old);
    while (old > 0 && taken + shown(c, old - 1) <= room)
        taken += shown(c, --old);
    return old;
}

static bool shrink_results(struct context *c, const struct history_step *newest)
{
    int64_t now = c->view.result_bytes;
    if (now > (int64_t)newest->result_bytes)
        now = (int64_t)newest->result_bytes;
    if (now <= CONTEXT_RESULT_BYTES_MIN)
        return false;
    c->view.result_bytes =
        (int)(now / 2 > CONTEXT_RESULT_BYTES_MIN ? now / 2 : CONTEXT_RESULT_BYTES_MIN);
    return true;
}

bool context_move(struct context *c, const struct model_def *model, const struct history *h)
{
    struct choice choice = { .steps = h->steps, .count = h->step_count };
    if (choice.count == 0)
        return false;
    choice.bytes = (int64_t)h->text.len;
    while (choice.emptied < choice.count && h->steps[choice.emptied].step <= c->view.emptied)
        choice.emptied++;
    const size_t emptied_before = choice.emptied;

    int64_t head = (int64_t)(h->head_len + (h->text.len - h->open_len));
    int64_t room = bytes_alike(c, budget_of(c, model)) - head;
    int64_t target = head + (room > 0 ? room / 2 : 0);
    size_t old = old_ones(&choice, room / 4);
    empty_up_to(&choice, old, target);
    leave_out_up_to(&choice, old, target);
    assert(choice.out <= choice.emptied); /* what is left out was emptied before */

    if (choice.out == 0 && choice.emptied == emptied_before)
        return shrink_results(c, &h->steps[choice.count - 1]);
    if (choice.out > 0)
        c->view.left_out = h->steps[choice.out - 1].step;
    if (choice.emptied > 0)
        c->view.emptied = h->steps[choice.emptied - 1].step;
    return true;
}

/* An estimate alone fails no run: as long as the window is not passed for certain,
 * the provider is asked.                                                    */
enum context_answer context_fit(struct context *c, const struct model_def *model,
                                const struct history *h)
{
    if (context_budget(model) == 0 || context_estimate(c, h->text.len) <= budget_of(c, model))
        return CONTEXT_FITS;
    if (context_move(c, model, h))
        return CONTEXT_MOVED;
    bool certain = c->prompt_tokens > 0 &&
                   tokens_alike(c, (int64_t)h->text.len) > (int64_t)model->context_window;
    return certain ? CONTEXT_FULL : CONTEXT_FITS;
}
