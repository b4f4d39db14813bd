#include "planner/model_anthropic_message.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/json_text.h"
#include "planner/reply.h"

#include <string.h>

enum { INPUT_DEPTH_MAX = 64, NAME_BYTES = 65 };

#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

/* ---- what the API takes ---------------------------------------------------------- */

bool anthropic_is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!text[i] || !strchr(" \t\r\n\v\f", text[i]))
            return false;
    return true;
}

bool anthropic_is_name(const char *text)
{
    return *text && text[strspn(text, NAME_LETTERS)] == '\0';
}

void anthropic_name(char *out, size_t out_size, const char *text)
{
    size_t n = 0;
    for (; text[n] && n + 1 < out_size; n++)
        out[n] = strchr(NAME_LETTERS, text[n]) ? text[n] : '_';
    if (n == 0)
        out[n++] = '_';
    out[n] = '\0';
}

json_t *anthropic_input(const char *text, size_t n)
{
    const struct json_limits limits = { SIZE_MAX, INPUT_DEPTH_MAX };
    json_t *value;
    if (json_read(text, n, &limits, &value, NULL) == OK && json_is_object(value))
        return value;
    json_decref(value);
    return json_object();
}

/* ---- usage ----------------------------------------------------------------------- */

static int64_t count_of(const json_t *usage, const char *key)
{
    int64_t n = json_int_or(usage, key, MODEL_NO_TOKENS);
    return n >= 0 && n <= MODEL_TOKENS_MAX ? n : MODEL_NO_TOKENS; /* nobody can have counted more */
}

static void grow(int64_t *part, const json_t *usage, const char *key)
{
    int64_t n = count_of(usage, key);
    if (n > *part)
        *part = n;
}

static int64_t known(int64_t part)
{
    return part > 0 ? part : 0;
}

void anthropic_count(const json_t *usage, struct anthropic_usage *parts, struct model_usage *out)
{
    grow(&parts->input, usage, "input_tokens");
    grow(&parts->created, usage, "cache_creation_input_tokens");
    grow(&parts->read, usage, "cache_read_input_tokens");
    grow(&out->tokens_out, usage, "output_tokens");
    grow(&out->tokens_reasoning, json_obj(usage, "output_tokens_details"), "thinking_tokens");
    out->tokens_written = parts->created;
    out->tokens_cached = parts->read;
    int64_t all = parts->input + known(parts->created) + known(parts->read);
    out->tokens_in = parts->input >= 0 && all <= MODEL_TOKENS_MAX ? all : MODEL_NO_TOKENS;
}

/* ---- the message ----------------------------------------------------------------- */

static enum reply_end end_of(const char *reason)
{
    static const struct {
        const char *word;
        enum reply_end end;
    } ends[] = {
        { "end_turn", REPLY_END_STOP },
        { "stop_sequence", REPLY_END_STOP },
        { "tool_use", REPLY_END_STOP },
        { "max_tokens", REPLY_END_LENGTH },
        { "model_context_window_exceeded", REPLY_END_LENGTH },
        { "refusal", REPLY_END_FILTER },
        { "pause_turn", REPLY_END_PAUSE },
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(reason, ends[i].word) == 0)
            return ends[i].end;
    return REPLY_END_UNKNOWN;
}

static bool is_type(const json_t *block, const char *type)
{
    return strcmp(json_str_or(block, "type", ""), type) == 0;
}

static bool is_silent(const json_t *block)
{
    size_t n;
    if (!is_type(block, "text"))
        return false;
    const char *text = json_strn(block, "text", &n);
    return !text || anthropic_is_blank(text, n);
}

/* The API wants no thought at the end of a turn. */
static void drop_last_thoughts(json_t *content)
{
    size_t n = json_array_size(content);
    while (n > 0 && (is_type(json_array_get(content, n - 1), "thinking") ||
                     is_type(json_array_get(content, n - 1), "redacted_thinking")))
        (void)json_array_remove(content, --n);
}

static bool are_blocks(const json_t *content)
{
    size_t i;
    const json_t *block;
    if (json_array_size(content) > MODEL_CALLS_MAX)
        return false;
    json_array_foreach(content, i, block) {
        if (!json_str(block, "type"))
            return false;
    }
    return true;
}

/* What the model gave as the arguments of a call, for reply_add_call. */
static json_t *arguments_of(const json_t *block)
{
    json_t *input = json_object_get(block, "input");
    if (!input || json_is_null(input) || json_is_object(input) || json_is_string(input))
        return json_incref(input);
    AUTO_FREE char *text = json_text(input);
    return json_string(text);
}

/* The input as the API wants it back. */
static void mend_input(json_t *block)
{
    json_t *input = json_object_get(block, "input");
    if (!json_is_object(input))
        (void)json_object_set_new(
            block, "input", anthropic_input(json_string_value(input), json_string_length(input)));
}

static bool add_call(struct model_reply *reply, json_t *block, const char *prefix)
{
    const json_t *given = json_object_get(block, "id");
    bool takes = json_is_string(given) && anthropic_is_name(json_string_value(given));
    const char *id = reply_own_id(takes ? given : NULL, prefix, reply);
    json_t *arguments = arguments_of(block);
    bool fits = id && reply_add_call(reply, id, json_object_get(block, "name"), arguments);
    json_decref(arguments);
    if (!fits)
        return false;
    char name[NAME_BYTES];
    anthropic_name(name, sizeof name, json_str_or(block, "name", ""));
    if (strcmp(name, json_str_or(block, "name", "")) != 0)
        (void)json_object_set_new(block, "name", json_string(name));
    (void)json_object_set_new(block, "id", json_string(id));
    mend_input(block);
    return true;
}

static bool add_block(struct model_reply *reply, json_t *block, const char *prefix)
{
    size_t n = 0;
    if (is_type(block, "tool_use"))
        return add_call(reply, block, prefix);
    if (json_is_string(json_object_get(block, "input")))
        mend_input(block); /* of a tool that runs at the provider */
    enum reply_item_type type = is_type(block, "text") ? REPLY_TEXT : REPLY_REASONING;
    const char *said = is_type(block, "text")       ? json_strn(block, "text", &n)
                       : is_type(block, "thinking") ? json_strn(block, "thinking", &n)
                                                    : NULL;
    return !said || n == 0 || reply_add_said(reply, type, said, n);
}

static bool says_something(const struct model_reply *reply)
{
    for (size_t i = 0; i < reply->item_count; i++)
        if (reply->items[i].type != REPLY_REASONING)
            return true;
    return false;
}

static bool read_items(json_t *content, const char *prefix, struct model_reply *reply)
{
    size_t i;
    json_t *block;
    if (!reply_begin(reply, json_array_size(content) + 1))
        return false;
    json_array_foreach(content, i, block) {
        if (!add_block(reply, block, prefix))
            return false;
    }
    /* saying nothing is an answer, too */
    return says_something(reply) || reply_add_said(reply, REPLY_TEXT, "", 0);
}

void anthropic_message(json_t *content, const char *end_reason, const char *call_prefix,
                       struct model_reply *reply)
{
    if (!are_blocks(content)) {
        (void)model_reply_fail(reply, RETRY, "bad_answer",
                               "the model's answer has content that cannot be read");
        return;
    }
    bool fits = read_items(content, call_prefix, reply);
    for (size_t i = json_array_size(content); i-- > 0;)
        if (is_silent(json_array_get(content, i)))
            (void)json_array_remove(content, i);
    enum reply_end end = end_of(end_reason);
    if (end != REPLY_END_PAUSE) {
        drop_last_thoughts(content);
        reply_close(reply, content, end, end_reason, fits);
        return;
    }
    json_t *paused = json_pack("{s:O,s:b}", "content", content, "paused", 1);
    reply_close(reply, paused, end, end_reason, fits);
    json_decref(paused);
}
