#include "planner/model_openai_message.h"

#include "common/buf.h"
#include "common/json.h"
#include "planner/reply.h"

#include <stdlib.h>
#include <string.h>

/* ---- usage --------------------------------------------------------------------- */

static void take(int64_t *out, const json_t *object, const char *key)
{
    int64_t n = json_int_or(object, key, -1);
    if (n >= 0 && n <= MODEL_TOKENS_MAX) /* what nobody can have counted is not believed */
        *out = n;
}

void openai_usage(const json_t *usage, struct model_usage *out)
{
    take(&out->tokens_in, usage, "prompt_tokens");
    take(&out->tokens_in, usage, "input_tokens");
    take(&out->tokens_out, usage, "completion_tokens");
    take(&out->tokens_out, usage, "output_tokens");
    take(&out->tokens_cached, usage, "prompt_cache_hit_tokens");
    const json_t *in = json_obj(usage, "prompt_tokens_details");
    if (!in)
        in = json_obj(usage, "input_tokens_details");
    const json_t *out_details = json_obj(usage, "completion_tokens_details");
    take(&out->tokens_cached, in, "cached_tokens");
    take(&out->tokens_written, in, "cache_write_tokens");
    take(&out->tokens_reasoning,
         out_details ? out_details : json_obj(usage, "output_tokens_details"), "reasoning_tokens");
}

/* ---- the message ----------------------------------------------------------------- */

static enum reply_end end_of(const char *reason)
{
    static const struct {
        const char *word;
        enum reply_end end;
    } ends[] = {
        { "tool_calls", REPLY_END_STOP },    { "stop", REPLY_END_STOP },
        { "function_call", REPLY_END_STOP }, { "length", REPLY_END_LENGTH },
        { "max_tokens", REPLY_END_LENGTH },  { "content_filter", REPLY_END_FILTER },
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(reason, ends[i].word) == 0)
            return ends[i].end;
    return REPLY_END_UNKNOWN;
}

/* Completes the call in the message, so that it can be sent back, and adds it. */
static bool add_call(struct model_reply *reply, json_t *call, const char *prefix)
{
    const char *id = reply_own_id(json_object_get(call, "id"), prefix, reply);
    if (!id)
        return false;
    (void)json_object_set_new(call, "id", json_string(id));
    if (!json_str(call, "type"))
        (void)json_object_set_new(call, "type", json_string("function"));
    const json_t *function = json_obj(call, "function");
    return reply_add_call(reply, id, json_object_get(function, "name"),
                          json_object_get(function, "arguments"));
}

/* Text stands in `content` as a string or as a list of parts; a refusal stands
 * beside it and is an answer too.                                            */
static void gather_text(const json_t *message, struct buf *out)
{
    static const char *const keys[] = { "content", "refusal" };
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *value = json_object_get(message, keys[k]);
        if (json_is_string(value))
            buf_add(out, json_string_value(value), json_string_length(value));
        for (size_t i = 0; i < json_array_size(value); i++) {
            size_t n;
            const char *text = json_strn(json_array_get(value, i), "text", &n);
            if (text)
                buf_add(out, text, n);
        }
    }
}

const char *openai_reasoning(const json_t *message, size_t *n)
{
    const char *text = json_strn(message, "reasoning_content", n);
    return text && *n > 0 ? text : json_strn(message, "reasoning", n);
}

static bool read_items(const json_t *message, json_t *calls, const char *prefix,
                       struct model_reply *reply)
{
    size_t n, count = json_array_size(calls);
    if (!reply_begin(reply, count + 2))
        return false;
    bool fits = true;
    const char *reasoning = openai_reasoning(message, &n);
    if (reasoning && n > 0)
        fits = reply_add_said(reply, REPLY_REASONING, reasoning, n);
    struct buf text;
    buf_init(&text, SIZE_MAX);
    gather_text(message, &text);
    if (text.len > 0 || count == 0) /* saying nothing is an answer, too */
        fits = reply_add_said(reply, REPLY_TEXT, text.data, text.len) && fits;
    buf_release(&text);
    for (size_t i = 0; fits && i < count; i++)
        fits = add_call(reply, json_array_get(calls, i), prefix);
    return fits;
}

static bool calls_are_objects(const json_t *calls)
{
    for (size_t i = 0; i < json_array_size(calls); i++)
        if (!json_is_object(json_array_get(calls, i)))
            return false;
    return json_array_size(calls) <= MODEL_CALLS_MAX;
}

void openai_message(json_t *message, const char *end_reason, const char *call_prefix,
                    struct model_reply *reply)
{
    json_t *calls = json_arr(message, "tool_calls");
    if (strcmp(end_reason, "error") == 0) {
        (void)model_reply_fail(reply, RETRY, "provider_error",
                               "the provider ended its answer with an error");
        return;
    }
    if (!calls_are_objects(calls) || (json_obj(message, "function_call") && !calls)) {
        (void)model_reply_fail(reply, RETRY, "bad_answer",
                               "the model's answer has tool calls that cannot be read");
        return;
    }
    if (!json_str(message, "role"))
        (void)json_object_set_new(message, "role", json_string("assistant"));
    bool fits = read_items(message, calls, call_prefix, reply);
    reply_close(reply, message, end_of(end_reason), end_reason, fits);
}
