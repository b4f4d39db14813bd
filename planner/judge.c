#include "planner/judge.h"

#include "common/buf.h"
#include "common/json.h"
#include "common/json_schema.h"
#include "common/text.h"

#include <assert.h>
#include <string.h>

enum { ARGUMENTS_DEPTH_MAX = 64, TOOL_NAMES_BYTES = 1000 };

/* One reply. */
struct judge {
    const struct model_reply *reply;
    const struct registry_agent *agent;
    bool last_step;
    struct arena *arena;
    int64_t work; /* left for all of its calls: they share a bound on time */
};

static const struct registry_tool *tool_named(const struct registry_agent *agent, const char *name)
{
    for (size_t i = 0; i < agent->def->tool_count; i++)
        if (strcmp(agent->tools[i].def->name, name) == 0)
            return &agent->tools[i];
    return NULL;
}

static const char *refuse_tool(const struct registry_agent *agent, const char *name,
                               struct arena *arena)
{
    char shown[80];
    struct buf names;
    buf_init(&names, TOOL_NAMES_BYTES);
    for (size_t i = 0; i < agent->def->tool_count; i++)
        buf_printf(&names, "%s%s", i > 0 ? ", " : "", agent->tools[i].def->name);
    const char *text =
        arena_printf(arena, "there is no tool '%s' that you may use; your tools: %s%s",
                     text_bounded(shown, sizeof shown, name, strlen(name)),
                     names.len > 0 ? names.data : "none", names.full ? ", ..." : "");
    buf_release(&names);
    return text;
}

static const char *refuse_end(const struct model_reply *reply, struct arena *arena)
{
    if (reply->end == REPLY_END_LENGTH)
        return "your answer was cut at the limit of output tokens before this call was complete; "
               "ask for it again, with shorter arguments";
    if (reply->end == REPLY_END_FILTER)
        return "your answer was cut by the provider's content filter before this call was complete";
    return arena_printf(arena,
                        "your answer ended with the reason '%.40s', which does not say that this "
                        "call is complete; ask for it again",
                        reply->end_reason);
}

/* Do they fit the schema that the model was shown?  False: the arena is full. */
static bool judge_value(struct judge *j, const struct tool_def *tool, const json_t *value,
                        struct store_item *item)
{
    char why[JSON_SCHEMA_WHY_SIZE];
    assert(tool->schema); /* plan.c asks no model without it */
    if (json_schema_check(tool->schema, value, "the argument object", &j->work, why) == OK)
        return true;
    item->refused = arena_printf(j->arena, "the arguments do not fit the tool's schema: %s", why);
    return item->refused != NULL;
}

/* Sets what is stored of the arguments, their digest, or why the call is refused.
 * `tool` NULL: nobody will make this call, so they need not fit.             */
static bool judge_arguments(struct judge *j, const struct reply_item *call,
                            const struct tool_def *tool, struct store_item *item)
{
    struct arena *arena = j->arena;
    size_t n = call->arguments_n, limit = j->agent->def->limit_arguments_bytes;
    if (n > limit) {
        item->arguments = NULL; /* they stand in `raw`, if somebody wants to read them */
        item->refused =
            arena_printf(arena, "the arguments have %zu bytes; at most %zu are allowed", n, limit);
        return item->refused != NULL;
    }
    const char *text = call->arguments;
    if (strspn(text, " \t\r\n") == n) {
        item->arguments = text = "{}";
        n = 2;
    }
    const struct json_limits limits = { n, ARGUMENTS_DEPTH_MAX };
    struct error why;
    json_t *value = NULL;
    enum outcome read = json_read(text, n, &limits, &value, &why);
    if (read != OK || call->altered || !json_is_object(value)) {
        item->refused = arena_printf(arena, "the arguments are not a JSON object: %s",
                                     read != OK ? why.text : "send an object, as in the schema");
        json_decref(value);
        return item->refused != NULL;
    }
    struct digest *digest = arena_alloc(arena, sizeof *digest);
    if (digest)
        json_digest(value, digest);
    item->digest = digest;
    bool fits = !tool || judge_value(j, tool, value, item);
    json_decref(value);
    return digest && fits;
}

static bool judge_call(struct judge *j, const struct reply_item *call, size_t nth,
                       struct store_item *item)
{
    struct arena *arena = j->arena;
    *item = (struct store_item){ .type = STORE_FUNCTION_CALL,
                                 .call_id = call->call_id,
                                 .tool = call->tool,
                                 .arguments = call->arguments };
    const struct registry_tool *tool = tool_named(j->agent, call->tool);
    item->revision = tool ? tool->seq : 0;
    int limit = j->agent->def->limit_calls_per_step;
    bool beyond = nth >= (size_t)limit, cut = j->reply->end != REPLY_END_STOP;
    bool checked = tool && !j->last_step && !beyond && !cut;
    if (!judge_arguments(j, call, checked ? tool->def : NULL, item))
        return false;
    /* What is said to the model is the first of these that holds. */
    if (j->last_step) {
        item->refused = "the run has no step left in which you could read the result";
        return true;
    }
    if (beyond) {
        item->refused = arena_printf(arena,
                                     "at most %d calls are made in one step, and this was number "
                                     "%zu; ask for it again in the next step",
                                     limit, nth + 1);
        return item->refused != NULL;
    }
    if (cut)
        item->refused = refuse_end(j->reply, arena);
    else if (!tool)
        item->refused = refuse_tool(j->agent, call->tool, arena);
    else
        return true;
    return item->refused != NULL;
}

enum outcome judge_items(const struct model_reply *reply, const struct registry_agent *agent,
                         bool last_step, struct arena *arena, struct store_item **items,
                         struct error *err)
{
    struct store_item *out = arena_alloc_array(arena, reply->item_count, sizeof *out);
    struct judge j = { reply, agent, last_step, arena, JSON_SCHEMA_WORK };
    bool fits = out != NULL;
    size_t calls = 0;
    for (size_t i = 0; fits && i < reply->item_count; i++) {
        const struct reply_item *item = &reply->items[i];
        if (item->type == REPLY_CALL)
            fits = judge_call(&j, item, calls++, &out[i]);
        else
            out[i] = (struct store_item){
                .type = item->type == REPLY_TEXT ? STORE_TEXT : STORE_REASONING,
                .content = item->content,
            };
    }
    if (!fits)
        return fail(err, REFUSED, "no room for the plan of a step");
    out[0].raw = reply->raw;
    *items = out;
    return OK;
}

bool judge_can(const struct registry_agent *agent, struct error *why)
{
    for (size_t i = 0; i < agent->def->tool_count; i++) {
        const struct tool_def *tool = agent->tools[i].def;
        if (tool->schema)
            continue;
        (void)fail(why, REFUSED, "this version cannot read the schema of tool '%s': %s", tool->name,
                   tool->schema_why);
        return false;
    }
    return true;
}

enum store_plan_outcome judge_outcome(const struct model_reply *reply, const char **code,
                                      struct error *why)
{
    if (reply->call_count > 0 || reply->end == REPLY_END_PAUSE)
        return STORE_PLAN_CALLS;
    if (reply->end == REPLY_END_LENGTH) {
        *code = "answer_cut";
        (void)fail(why, REFUSED,
                   "the model's answer was cut at its limit of output tokens; raise the limit in "
                   "the options of the model, then retry the run");
        return STORE_PLAN_FAIL;
    }
    if (reply->end == REPLY_END_FILTER) {
        *code = "content_filtered";
        (void)fail(why, REFUSED, "the provider's content filter cut the model's answer");
        return STORE_PLAN_FAIL;
    }
    return STORE_PLAN_FINAL;
}
