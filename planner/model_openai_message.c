#include "planner/model_openai_message.h"

#include "common/buf.h"
#include "common/json.h"
#include "common/memory.h"
#include "planner/json_text.h"

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
    take(&out->tokens_cached, json_obj(usage, "prompt_tokens_details"), "cached_tokens");
    take(&out->tokens_cached, json_obj(usage, "input_tokens_details"), "cached_tokens");
}

/* ---- errors -------------------------------------------------------------------- */

static bool is_one_of(const char *word, const char *const *words)
{
    for (; word && *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* Money that is spent: nothing passes by waiting. */
static const char *const quota_words[] = { "insufficient_quota", "billing_hard_limit_reached",
                                           "billing_not_active", "enforced_spend_limit_reached",
                                           NULL };
static const char *const final_words[] = {
    "invalid_request_error",   "authentication_error", "invalid_api_key",
    "permission_error",        "not_found_error",      "model_not_found",
    "context_length_exceeded", "content_filter",       NULL
};

/* Inside an answer there is no status; some servers give it as `code`. */
static long status_of(const json_t *error)
{
    const json_t *code = json_object_get(error, "code");
    long status = 0;
    if (json_is_integer(code))
        status = (long)json_integer_value(code);
    else if (json_is_string(code) && json_string_length(code) == 3)
        status = strtol(json_string_value(code), NULL, 10);
    return status >= 400 && status <= 599 ? status : 0;
}

void openai_error(long status, const json_t *answer, const char *secret, struct model_reply *reply)
{
    const json_t *error = json_object_get(answer, "error");
    const char *type = json_str(error, "type"), *code = json_str(error, "code");
    const char *detail = json_str(json_obj(error, "details"), "error_code");
    const char *text =
        json_is_string(error) ? json_string_value(error) : json_str(error, "message");
    if (!text)
        text = code ? code : type ? type : "no reason given";
    char words[160];
    model_words(words, sizeof words, text, strlen(text), secret);

    if (is_one_of(code, quota_words) || is_one_of(type, quota_words) ||
        is_one_of(detail, quota_words)) {
        (void)model_reply_fail(reply, REFUSED, "quota_spent", "the provider's quota is spent: %s",
                               words);
        return;
    }
    long known = status ? status : status_of(error);
    if (known) {
        (void)model_reply_fail(reply, model_status_outcome(known), model_status_code(known),
                               "HTTP %ld: %s", known, words);
        return;
    }
    bool final = is_one_of(code, final_words) || is_one_of(type, final_words);
    (void)model_reply_fail(reply, final ? REFUSED : RETRY,
                           final ? "request_refused" : "provider_error",
                           "the provider ended its answer with an error: %s", words);
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

static bool id_is_taken(const json_t *calls, size_t before, const char *id)
{
    for (size_t i = 0; i < before; i++)
        if (strcmp(json_str_or(json_array_get(calls, i), "id", ""), id) == 0)
            return true;
    return false;
}

/* Every call has an id of its own, so that its result finds it. */
static void complete_call(const json_t *calls, size_t at, const char *prefix)
{
    json_t *call = json_array_get(calls, at);
    const char *id = json_str(call, "id");
    if (!id || !*id || strlen(id) != json_string_length(json_object_get(call, "id")) ||
        id_is_taken(calls, at, id)) {
        char made[96];
        (void)snprintf(made, sizeof made, "%.64s_%zu", prefix, at);
        for (size_t n = 0; id_is_taken(calls, json_array_size(calls), made); n++)
            (void)snprintf(made, sizeof made, "%.64s_%zu_%zu", prefix, at, n);
        (void)json_object_set_new(call, "id", json_string(made));
    }
    if (!json_str(call, "type"))
        (void)json_object_set_new(call, "type", json_string("function"));
}

static bool add_item(struct model_reply *reply, struct reply_item item)
{
    reply->items[reply->item_count++] = item;
    reply->call_count += item.type == REPLY_CALL;
    return item.type == REPLY_CALL ? item.call_id && item.tool && item.arguments
                                   : item.content != NULL;
}

static bool add_call(struct model_reply *reply, const json_t *call)
{
    struct arena *arena = &reply->arena;
    const json_t *function = json_obj(call, "function");
    const json_t *given = json_object_get(function, "arguments");
    AUTO_FREE char *dumped = json_is_object(given) ? json_text(given) : NULL;
    const char *arguments = "";
    size_t n = 0;
    if (dumped || json_is_string(given)) {
        arguments = dumped ? dumped : json_string_value(given);
        n = dumped ? strlen(dumped) : json_string_length(given);
    }
    size_t name_n;
    const char *name = json_strn(function, "name", &name_n);
    struct reply_item item = {
        .type = REPLY_CALL,
        .call_id = arena_strdup(arena, json_str(call, "id")),
        .tool = model_text(arena, name ? name : "", name ? name_n : 0),
        .arguments = model_text(arena, arguments, n),
        .altered = memchr(arguments, 0, n) != NULL,
    };
    item.arguments_n = item.arguments ? strlen(item.arguments) : 0;
    return add_item(reply, item);
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

static const char *reasoning_of(const json_t *message, size_t *n)
{
    const char *text = json_strn(message, "reasoning_content", n);
    return text && *n > 0 ? text : json_strn(message, "reasoning", n);
}

static bool read_items(const json_t *message, const json_t *calls, struct model_reply *reply)
{
    size_t n, count = json_array_size(calls);
    reply->items = arena_alloc_array(&reply->arena, count + 2, sizeof *reply->items);
    if (!reply->items)
        return false;
    bool fits = true;
    const char *reasoning = reasoning_of(message, &n);
    if (reasoning && n > 0)
        fits = add_item(reply,
                        (struct reply_item){ .type = REPLY_REASONING,
                                             .content = model_text(&reply->arena, reasoning, n) });
    struct buf text;
    buf_init(&text, SIZE_MAX);
    gather_text(message, &text);
    if (text.len > 0 || count == 0) /* saying nothing is an answer, too */
        fits = add_item(reply, (struct reply_item){ .type = REPLY_TEXT,
                                                    .content = model_text(&reply->arena, text.data,
                                                                          text.len) }) &&
               fits;
    buf_release(&text);
    for (size_t i = 0; i < count; i++)
        fits = add_call(reply, json_array_get(calls, i)) && fits;
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
    for (size_t i = 0; i < json_array_size(calls); i++)
        complete_call(calls, i, call_prefix);

    AUTO_FREE char *raw = json_text(message);
    reply->raw_n = strlen(raw);
    reply->raw = arena_memdup(&reply->arena, raw, reply->raw_n);
    reply->end = end_of(end_reason);
    reply->end_reason = arena_strdup(&reply->arena, end_reason);
    reply->outcome = OK;
    if (!reply->raw || !reply->end_reason || !read_items(message, calls, reply))
        (void)model_reply_fail(reply, RETRY, "answer_too_large", "no room for the model's answer");
}
