#include "planner/model_openai_chat.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"
#include "planner/delta.h"
#include "planner/model_error.h"
#include "planner/model_openai_message.h"
#include "planner/model_openai_request.h"
#include "planner/reader.h"

#include <stdlib.h>
#include <string.h>

/* ---- the request ------------------------------------------------------------- */

static bool is_ours(const char *key)
{
    static const char *const ours[] = { "model", "messages", "tools", "tool_choice", NULL };
    return text_is_one_of(key, ours);
}

/* null takes away what we would have sent by ourselves. */
static bool is_left_out(const char *key, const json_t *value)
{
    return json_is_null(value) &&
           (strcmp(key, "stream") == 0 || strcmp(key, "stream_options") == 0);
}

static void add_options(struct buf *body, json_t *options)
{
    if (!json_object_get(options, "stream"))
        buf_puts(body, ",\"stream\":true");
    if (!json_object_get(options, "stream_options") &&
        (!json_object_get(options, "stream") || json_bool_or(options, "stream", false)))
        buf_puts(body, ",\"stream_options\":{\"include_usage\":true}");
    const char *key;
    json_t *value;
    json_object_foreach(options, key, value) {
        if (!is_ours(key) && !is_left_out(key, value))
            openai_add_member(body, key, value);
    }
}

static void add_tools(struct buf *body, const struct prompt_frame *frame)
{
    if (frame->tool_count == 0)
        return;
    buf_puts(body, ",\"tools\":[");
    for (size_t i = 0; i < frame->tool_count; i++) {
        const struct tool_def *tool = frame->tools[i];
        buf_puts(body, i > 0 ? ",{\"type\":\"function\",\"function\":{\"name\":"
                             : "{\"type\":\"function\",\"function\":{\"name\":");
        buf_add_json_string(body, tool->name, strlen(tool->name));
        buf_puts(body, ",\"description\":");
        buf_add_json_string(body, tool->description, strlen(tool->description));
        buf_puts(body, ",\"parameters\":");
        openai_add_json(body, tool->parameters);
        buf_puts(body, "}}");
    }
    buf_putc(body, ']');
}

/* The messages come last, so that the body grows at its end. */
static bool chat_begin(struct buf *body, const struct prompt_frame *frame)
{
    buf_puts(body, "{\"model\":");
    buf_add_json_string(body, frame->model->model, strlen(frame->model->model));
    add_options(body, frame->model->options);
    add_tools(body, frame);
    buf_puts(body, ",\"messages\":[{\"role\":\"system\",\"content\":");
    buf_add_json_string(body, frame->instructions, strlen(frame->instructions));
    return buf_putc(body, '}');
}

static bool chat_add_user(struct buf *body, const char *text, size_t n)
{
    buf_puts(body, ",{\"role\":\"user\",\"content\":");
    buf_add_json_string(body, text, n);
    return buf_putc(body, '}');
}

/* Said in another dialect: the same words in this one. */
static void add_said(struct buf *body, const struct prompt_turn *turn)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    prompt_turn_text(turn, &text);
    buf_puts(body, "{\"role\":\"assistant\",\"content\":");
    if (text.len > 0 || turn->call_count == 0)
        buf_add_json_string(body, text.data, text.len);
    else
        buf_puts(body, "null");
    buf_release(&text);
    const char *before = ",\"tool_calls\":[";
    for (size_t i = 0; i < turn->item_count; i++) {
        const struct reply_item *item = &turn->items[i];
        if (item->type != REPLY_CALL)
            continue;
        buf_puts(body, before);
        buf_puts(body, "{\"id\":");
        buf_add_json_string(body, item->call_id, strlen(item->call_id));
        buf_puts(body, ",\"type\":\"function\",\"function\":{\"name\":");
        buf_add_json_string(body, item->tool, strlen(item->tool));
        buf_puts(body, ",\"arguments\":");
        buf_add_json_string(body, item->arguments, item->arguments_n);
        buf_puts(body, "}}");
        before = ",";
    }
    buf_puts(body, turn->call_count > 0 ? "]}" : "}");
}

static bool chat_add_turn(struct buf *body, const struct prompt_turn *turn)
{
    buf_putc(body, ',');
    if (turn->raw)
        return buf_add(body, turn->raw, turn->raw_n);
    add_said(body, turn);
    return !body->full;
}

static bool chat_add_results(struct buf *body, const struct prompt_result *results, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct prompt_result *r = &results[i];
        buf_puts(body, ",{\"role\":\"tool\",\"tool_call_id\":");
        buf_add_json_string(body, r->call_id, strlen(r->call_id));
        buf_puts(body, ",\"content\":");
        buf_add_json_string(body, r->text, r->text_n);
        buf_putc(body, '}');
    }
    return !body->full;
}

/* ---- the answer ---------------------------------------------------------------- */

struct chat_parts {
    struct delta delta;
    bool has_reasoning;
};

static void *chat_parts_new(size_t limit_bytes)
{
    struct chat_parts *parts = xcalloc(1, sizeof *parts);
    delta_init(&parts->delta, limit_bytes);
    return parts;
}

static void chat_parts_free(void *arg)
{
    struct chat_parts *parts = arg;
    delta_release(&parts->delta);
    free(parts);
}

static void read_choice(struct reader *r, const json_t *choice)
{
    r->has_message = true;
    reader_end(r, json_str(choice, "finish_reason"));
    openai_usage(json_obj(choice, "usage"), &r->usage);
}

/* The first choice: ours, since only one was asked for. */
static const json_t *first_choice(const json_t *answer)
{
    const json_t *choices = json_arr(answer, "choices");
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *choice = json_array_get(choices, i);
        if (json_is_object(choice) && json_int_or(choice, "index", 0) == 0)
            return choice;
    }
    return NULL;
}

/* Text stands in `content` as a string or as a list of parts, or in `refusal`. */
static void tell_text(struct reader *r, const json_t *text, int index)
{
    if (json_is_string(text))
        reader_tell(r, REPLY_TEXT, index, json_string_value(text), json_string_length(text));
    for (size_t i = 0; i < json_array_size(text); i++) {
        size_t n;
        const char *part = json_strn(json_array_get(text, i), "text", &n);
        if (part)
            reader_tell(r, REPLY_TEXT, index, part, n);
    }
}

/* What there was to think comes first, in the stream as in the reply. */
static void tell(struct reader *r, const json_t *piece)
{
    size_t n;
    struct chat_parts *parts = r->parts;
    if (!r->options.listener.hear)
        return;
    const char *reasoning = openai_reasoning(piece, &n);
    if (reasoning && n > 0) {
        parts->has_reasoning = true;
        reader_tell(r, REPLY_REASONING, 0, reasoning, n);
    }
    int index = parts->has_reasoning ? 1 : 0;
    tell_text(r, json_object_get(piece, "content"), index);
    tell_text(r, json_object_get(piece, "refusal"), index);
}

static enum outcome chat_read_event(struct reader *r, const json_t *chunk)
{
    if (model_says_error(chunk))
        return reader_fail_with(r, chunk);
    openai_usage(json_obj(chunk, "usage"), &r->usage);
    openai_usage(json_obj(json_obj(chunk, "x_groq"), "usage"), &r->usage);
    const json_t *choice = first_choice(chunk);
    if (!choice)
        return OK;
    const json_t *piece = json_obj(choice, "delta");
    if (!piece)
        piece =
            json_obj(choice, "message"); /* a whole one, from servers that only seem to stream */
    read_choice(r, choice);
    if (!piece)
        return OK;
    struct chat_parts *parts = r->parts;
    if (delta_merge(&parts->delta, piece, &r->error) != OK)
        return reader_fail(r, RETRY, "answer_too_large");
    tell(r, piece);
    return OK;
}

static json_t *chat_whole_message(struct reader *r, json_t *answer)
{
    openai_usage(json_obj(answer, "usage"), &r->usage);
    const json_t *choice = first_choice(answer);
    json_t *message = json_incref(json_obj(choice, "message"));
    if (message)
        read_choice(r, choice);
    return message;
}

static json_t *chat_streamed_message(struct reader *r)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    json_t *message = NULL;
    const struct chat_parts *parts = r->parts;
    if (delta_write(&parts->delta, &text))
        message = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    buf_release(&text);
    return message;
}

const struct dialect openai_chat = {
    .name = "openai_chat",
    .path = "/chat/completions",
    .headers = openai_headers,
    .begin = chat_begin,
    .add_user = chat_add_user,
    .add_turn = chat_add_turn,
    .add_results = chat_add_results,
    .close = openai_close,
    .parts_new = chat_parts_new,
    .parts_free = chat_parts_free,
    .read_event = chat_read_event,
    .whole_message = chat_whole_message,
    .streamed_message = chat_streamed_message,
    .read_message = openai_message,
};
