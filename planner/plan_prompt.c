#include "planner/plan_prompt.h"

#include "common/log.h"
#include "planner/prompt.h"

#include <string.h>

static enum outcome make_prompt(struct plan *p, bool answer_only, struct error *err)
{
    const struct agent_def *def = p->agent->def;
    const struct tool_def **tools =
        arena_alloc_array(&p->scratch, def->tool_count + 1, sizeof *tools);
    if (!tools)
        return fail(err, REFUSED, "no room for the tools of this agent");
    for (size_t i = 0; i < def->tool_count; i++)
        tools[i] = p->agent->tools[i].def;
    char run[UUID_TEXT_SIZE];
    uuid_format(&p->run, run);
    const struct prompt_frame frame = { .model = p->model->def,
                                        .instructions = def->instructions,
                                        .tools = tools,
                                        .tool_count = def->tool_count,
                                        .cache_key = run };
    context_begin(&p->context, p->model->def);
    enum outcome outcome = prompt_extend(p->dialect, &frame, answer_only, &p->conversation,
                                         &p->context.view, &p->scratch, p->history, err);
    p->history->model = p->model->seq;
    arena_free(&p->scratch);
    return outcome;
}

/* All that can be left out is left out. */
static void say_full(struct plan *p, const char *what)
{
    (void)fail(&p->why, REFUSED,
               "%s, and only instructions, tools, input and the newest step are left in it: "
               "shorten these, or use a model with a larger context_window",
               what);
}

/* What was shown too much is not sent. */
static void log_move(const struct plan *p)
{
    log_event(
        LOG_INFO, "prompt over its budget: less of the run is shown", LOG_UUID("run_id", &p->run),
        LOG_INT("step", p->step), LOG_INT("prompt_bytes", (int64_t)p->history->text.len),
        LOG_INT("left_out", p->context.view.left_out), LOG_INT("emptied", p->context.view.emptied),
        LOG_INT("result_bytes", p->context.view.result_bytes), LOG_END);
}

enum plan_prompt plan_prompt_make(struct plan *p, bool answer_only)
{
    if (make_prompt(p, answer_only, &p->why) != OK)
        return PLAN_PROMPT_REFUSED;
    switch (context_fit(&p->context, p->model->def, p->history)) {
    case CONTEXT_FITS:
        p->estimate = context_estimate(&p->context, p->history->text.len);
        return PLAN_PROMPT_READY;
    case CONTEXT_MOVED:
        log_move(p);
        p->view_moved = true;
        history_forget(p->history);
        return PLAN_PROMPT_READ_AGAIN;
    case CONTEXT_FULL: break;
    }
    say_full(p, "the prompt is larger than the context_window of the model");
    return PLAN_PROMPT_REFUSED;
}

/* Only runs that have a budget, or had one, carry it. */
static void keep_context(struct plan *p)
{
    if (p->model->def->context_window > 0 || p->context.view.result_bytes > 0)
        p->plan.context = context_write(&p->context, &p->arena);
}

void plan_prompt_count(struct plan *p)
{
    context_count(&p->context, p->history->text.len, p->reply->usage.tokens_in);
    keep_context(p);
}

/* Not every provider has a word for it: a bare 400 means a prompt that is too long if
 * the prompt was about to be too long, and is asked about once more then.     */
static bool is_too_long(const struct plan *p)
{
    const struct model_reply *reply = p->reply;
    int64_t window = p->model->def->context_window;
    if (reply->outcome != REFUSED)
        return false;
    return strcmp(reply->code, "prompt_too_large") == 0 ||
           (strcmp(reply->code, "bad_request") == 0 && window > 0 && p->estimate > window / 4 * 3);
}

/* The provider counts otherwise than we do, or the model was published with another
 * window than it has: with a stricter budget the run goes on.                */
bool plan_prompt_shorten(struct plan *p)
{
    if (!is_too_long(p) || p->model->def->context_window == 0)
        return false;
    context_refuse(&p->context, p->model->def, p->history->text.len);
    if (!context_move(&p->context, p->model->def, p->history))
        return false;
    log_move(p);
    p->view_moved = true;
    keep_context(p);
    return true;
}

bool plan_prompt_hopeless(struct plan *p)
{
    if (!is_too_long(p))
        return false;
    const char *words = p->reply->error.text;
    if (p->model->def->context_window == 0) {
        (void)fail(&p->why, REFUSED,
                   "%s; give the model its context_window: then what is old is left out in time",
                   words);
        return true;
    }
    char what[sizeof p->why.text];
    (void)snprintf(what, sizeof what, "the model refused its prompt (%.90s)", words);
    say_full(p, what);
    return true;
}
