#include "planner/model_openai_output.h"

#include "common/buf.h"
#include "common/json.h"
#include "planner/reply.h"

#include <string.h>

static bool has_word(const json_t *item, const char *key, const char *word)
{
    return strcmp(json_str_or(item, key, ""), word) == 0;
}

/* Whatever else made it incomplete: a piece of an answer is none. */
static enum reply_end end_of(const char *reason)
{
    if (!*reason)
        return REPLY_END_UNKNOWN;
    if (strcmp(reason, "completed") == 0)
        return REPLY_END_STOP;
    return strcmp(reason, "content_filter") == 0 ? REPLY_END_FILTER : REPLY_END_LENGTH;
}

/* ---- items -------------------------------------------------------------------- */

/* The text in the members `key` of all parts. */
static void gather(const json_t *parts, const char *key, const char *between, struct buf *out)
{
    if (json_is_string(parts))
        buf_add(out, json_string_value(parts), json_string_length(parts));
    for (size_t i = 0; i < json_array_size(parts); i++) {
        size_t n;
        const char *text = json_strn(json_array_get(parts, i), key, &n);
        if (!text || n == 0)
            continue;
        if (out->len > 0)
            buf_puts(out, between);
        buf_add(out, text, n);
    }
}

bool openai_item_says(const json_t *item, enum reply_item_type *type, struct buf *text)
{
    const json_t *content = json_object_get(item, "content");
    if (has_word(item, "type", "message")) {
        *type = REPLY_TEXT;
        gather(content, "text", "", text);
        gather(json_is_array(content) ? content : NULL, "refusal", "", text);
    } else if (has_word(item, "type", "reasoning")) {
        *type = REPLY_REASONING;
        gather(json_object_get(item, "summary"), "text", "\n\n", text);
        if (text->len == 0)
            gather(content, "text", "\n\n", text);
    }
    return text->len > 0;
}

static bool add_said(struct model_reply *reply, const json_t *item)
{
    enum reply_item_type type = REPLY_TEXT;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    bool fits =
        !openai_item_says(item, &type, &text) || reply_add_said(reply, type, text.data, text.len);
    buf_release(&text);
    return fits;
}

/* Completes the call in the output, so that its result finds it, and adds it. */
static bool add_call(struct model_reply *reply, json_t *item, const char *prefix)
{
    const char *id = reply_own_id(json_object_get(item, "call_id"), prefix, reply);
    if (!id)
        return false;
    (void)json_object_set_new(item, "call_id", json_string(id));
    return reply_add_call(reply, id, json_object_get(item, "name"),
                          json_object_get(item, "arguments"));
}

static bool read_items(const json_t *output, const char *prefix, struct model_reply *reply)
{
    bool fits = reply_begin(reply, json_array_size(output) + 1);
    for (size_t i = 0; fits && i < json_array_size(output); i++) {
        json_t *item = json_array_get(output, i);
        fits = has_word(item, "type", "function_call") ? add_call(reply, item, prefix)
                                                       : add_said(reply, item);
    }
    if (fits && reply->item_count == 0) /* saying nothing is an answer, too */
        fits = reply_add_said(reply, REPLY_TEXT, "", 0);
    return fits;
}

/* ---- the output ----------------------------------------------------------------- */

static bool is_readable(const json_t *output)
{
    size_t calls = 0;
    for (size_t i = 0; i < json_array_size(output); i++) {
        const json_t *item = json_array_get(output, i);
        if (!json_is_object(item))
            return false;
        calls += has_word(item, "type", "function_call");
    }
    return calls <= MODEL_CALLS_MAX;
}

/* Does the output itself say that a call in it was cut? */
static bool holds_cut_call(const json_t *output)
{
    for (size_t i = 0; i < json_array_size(output); i++) {
        const json_t *item = json_array_get(output, i);
        if (has_word(item, "type", "function_call") && has_word(item, "status", "incomplete"))
            return true;
    }
    return false;
}

static void drop_last_thoughts(json_t *output)
{
    for (size_t n = json_array_size(output);
         n > 0 && has_word(json_array_get(output, n - 1), "type", "reasoning"); n--)
        (void)json_array_remove(output, n - 1);
}

void openai_output(json_t *output, const char *end_reason, const char *call_prefix,
                   struct model_reply *reply)
{
    if (!is_readable(output)) {
        (void)model_reply_fail(reply, RETRY, "bad_answer",
                               "the model's answer has output items that cannot be read");
        return;
    }
    bool fits = read_items(output, call_prefix, reply);
    if (strcmp(end_reason, "completed") == 0 && holds_cut_call(output))
        end_reason = "incomplete";
    drop_last_thoughts(output);
    reply_close(reply, output, end_of(end_reason), end_reason, fits);
}
