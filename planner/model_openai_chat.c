#include "planner/model_openai_chat.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/sse.h"
#include "common/text.h"
#include "planner/delta.h"
#include "planner/json_text.h"
#include "planner/model_openai_message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Beyond what the answer itself may be: the fields around it, and escapes. */
enum { EVENT_ROOM_BYTES = 64 * 1024, ANSWER_DEPTH_MAX = 64, REASON_BYTES = 48 };

/* ---- the request ------------------------------------------------------------- */

static size_t chat_headers(const char *secret, struct arena *arena,
                           struct http_header out[MODEL_HEADERS_MAX])
{
    size_t n = 0;
    out[n++] = (struct http_header){ "Accept", "text/event-stream, application/json" };
    char *bearer = secret ? arena_printf(arena, "Bearer %s", secret) : NULL;
    if (bearer)
        out[n++] = (struct http_header){ "Authorization", bearer };
    return n;
}

static bool add_json(struct buf *body, const json_t *value)
{
    AUTO_FREE char *text = json_text(value);
    return buf_puts(body, text);
}

static bool add_member(struct buf *body, const char *key, const json_t *value)
{
    buf_putc(body, ',');
    buf_add_json_string(body, key, strlen(key));
    buf_putc(body, ':');
    return add_json(body, value);
}

static bool is_ours(const char *key)
{
    return strcmp(key, "model") == 0 || strcmp(key, "messages") == 0 || strcmp(key, "tools") == 0;
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
            add_member(body, key, value);
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
        add_json(body, tool->parameters);
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

static bool chat_add_assistant(struct buf *body, const char *raw, size_t n)
{
    buf_putc(body, ',');
    return buf_add(body, raw, n);
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

static bool chat_close(struct buf *body)
{
    return buf_puts(body, "]}");
}

/* ---- the answer ---------------------------------------------------------------- */

enum reader_form { FORM_UNKNOWN, FORM_STREAM, FORM_WHOLE };

struct reader {
    struct reader_options options;
    enum reader_form form;
    struct sse sse;
    struct delta delta; /* FORM_STREAM: the message so far */
    struct buf body;    /* FORM_WHOLE */
    bool has_choice;
    bool done; /* [DONE] came */
    char end_reason[REASON_BYTES];
    struct model_usage usage;
    /* The first failure stands. */
    enum outcome outcome;
    const char *code;
    struct error error;
};

static enum outcome reader_fail(struct reader *r, enum outcome outcome, const char *code)
{
    r->outcome = outcome;
    r->code = code;
    return outcome;
}

/* Shows how it began; a parser's own words could quote the secret in pieces. */
static enum outcome bad_answer(struct reader *r, const char *what, const char *bytes, size_t n)
{
    char words[120];
    (void)fail(&r->error, RETRY, "%s: %s", what,
               model_words(words, sizeof words, bytes, n, r->options.secret));
    return reader_fail(r, RETRY, "bad_answer");
}

static void read_choice(struct reader *r, const json_t *choice)
{
    r->has_choice = true;
    const char *reason = json_str(choice, "finish_reason");
    if (reason && *reason)
        text_bounded(r->end_reason, sizeof r->end_reason, reason, strlen(reason));
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

static bool says_error(const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    return json_is_object(error) || json_is_string(error);
}

static enum outcome read_failure(struct reader *r, const json_t *answer)
{
    struct model_reply *reply = model_reply_new(0);
    openai_error(0, answer, r->options.secret, reply);
    r->error = reply->error;
    enum outcome outcome = reader_fail(r, reply->outcome, reply->code);
    model_reply_free(reply);
    return outcome;
}

static enum outcome read_chunk(struct reader *r, const json_t *chunk)
{
    if (says_error(chunk))
        return read_failure(r, chunk);
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
    if (piece && delta_merge(&r->delta, piece, &r->error) != OK)
        return reader_fail(r, RETRY, "answer_too_large");
    return OK;
}

static enum outcome on_event(void *arg, const struct sse_event *ev, struct error *err)
{
    struct reader *r = arg;
    if (r->done)
        return OK;
    if (strcmp(ev->data, "[DONE]") == 0) {
        r->done = true;
        return OK;
    }
    const struct json_limits limits = { SIZE_MAX, ANSWER_DEPTH_MAX };
    json_t *chunk;
    if (json_read(ev->data, ev->data_bytes, &limits, &chunk, err) != OK)
        return bad_answer(r, "the model's stream holds what is not JSON", ev->data, ev->data_bytes);
    enum outcome outcome = read_chunk(r, chunk);
    json_decref(chunk);
    return outcome;
}

static struct reader *chat_reader_new(const struct reader_options *options,
                                      const char *content_type)
{
    struct reader *r = xcalloc(1, sizeof *r);
    r->options = *options;
    r->outcome = OK;
    r->usage = (struct model_usage){ MODEL_NO_TOKENS, MODEL_NO_TOKENS, MODEL_NO_TOKENS };
    size_t event_bytes = options->output_limit_bytes + EVENT_ROOM_BYTES;
    sse_init(&r->sse, event_bytes, on_event, r);
    delta_init(&r->delta, options->output_limit_bytes + EVENT_ROOM_BYTES);
    buf_init(&r->body, event_bytes);
    if (strncasecmp(content_type, "text/event-stream", 17) == 0)
        r->form = FORM_STREAM;
    else if (strncasecmp(content_type, "application/json", 16) == 0)
        r->form = FORM_WHOLE;
    return r;
}

static void chat_reader_free(struct reader *r)
{
    if (!r)
        return;
    sse_release(&r->sse);
    delta_release(&r->delta);
    buf_release(&r->body);
    free(r);
}

/* Servers that say neither: one JSON object begins with a brace, a stream never.
 * Returns how many bytes of space stand in front of it.                      */
static size_t find_form(struct reader *r, const char *bytes, size_t n)
{
    size_t space = 0;
    while (space < n && bytes[space] && strchr(" \t\r\n", bytes[space]))
        space++;
    if (space < n)
        r->form = bytes[space] == '{' ? FORM_WHOLE : FORM_STREAM;
    return space;
}

static enum outcome chat_reader_feed(struct reader *r, const char *bytes, size_t n)
{
    if (r->outcome != OK || r->done)
        return r->outcome;
    if (r->form == FORM_UNKNOWN) {
        size_t space = find_form(r, bytes, n);
        bytes += space;
        n -= space;
    }
    if (r->form == FORM_WHOLE) {
        if (buf_add(&r->body, bytes, n))
            return OK;
        (void)fail(&r->error, RETRY, "the model's answer is larger than max_output_bytes (%zu)",
                   r->options.output_limit_bytes);
        return reader_fail(r, RETRY, "answer_too_large");
    }
    struct error err;
    if (sse_feed(&r->sse, bytes, n, &err) != OK && r->outcome == OK) {
        r->error = err; /* one event beyond every limit */
        return reader_fail(r, RETRY, "answer_too_large");
    }
    return r->outcome;
}

static bool chat_reader_complete(const struct reader *r)
{
    return r->done;
}

/* The message of an answer that came as one object, or NULL. */
static json_t *whole_message(struct reader *r)
{
    const struct json_limits limits = { SIZE_MAX, ANSWER_DEPTH_MAX };
    json_t *answer, *message = NULL;
    if (json_read(r->body.data, r->body.len, &limits, &answer, NULL) != OK) {
        (void)bad_answer(r, "the model's answer is not JSON", r->body.data, r->body.len);
        return NULL;
    }
    if (says_error(answer)) {
        (void)read_failure(r, answer);
    } else {
        openai_usage(json_obj(answer, "usage"), &r->usage);
        const json_t *choice = first_choice(answer);
        message = json_incref(json_obj(choice, "message"));
        if (message)
            read_choice(r, choice);
    }
    json_decref(answer);
    return message;
}

static json_t *streamed_message(struct reader *r)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    json_t *message = NULL;
    if (delta_write(&r->delta, &text))
        message = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    buf_release(&text);
    return message;
}

static void chat_reader_finish(struct reader *r, bool whole, struct model_reply *reply)
{
    json_t *message = NULL;
    if (r->outcome == OK && r->form == FORM_WHOLE && whole)
        message = whole_message(r);
    else if (r->outcome == OK && r->has_choice && (r->done || *r->end_reason))
        message = streamed_message(r);

    reply->usage = r->usage;
    if (r->outcome != OK)
        (void)model_reply_fail(reply, r->outcome, r->code, "%s", r->error.text);
    else if (message)
        openai_message(message, r->end_reason, r->options.call_prefix, reply);
    else if (r->done || (whole && r->form != FORM_STREAM))
        (void)model_reply_fail(reply, RETRY, "bad_answer",
                               "the model's answer holds no message (choices[0])");
    else
        (void)model_reply_fail(reply, RETRY, "answer_cut",
                               "the model's answer was cut off before its end");
    json_decref(message);
}

static void chat_read_error(long status, const char *body, size_t n, const char *secret,
                            struct model_reply *reply)
{
    const struct json_limits limits = { SIZE_MAX, ANSWER_DEPTH_MAX };
    json_t *answer;
    if (json_read(body, n, &limits, &answer, NULL) == OK && says_error(answer)) {
        openai_error(status, answer, secret, reply);
    } else {
        char words[160];
        (void)model_reply_fail(reply, model_status_outcome(status), model_status_code(status),
                               "HTTP %ld: %s", status,
                               model_words(words, sizeof words, body, n, secret));
    }
    json_decref(answer);
}

const struct dialect openai_chat = {
    .name = "openai_chat",
    .path = "/chat/completions",
    .headers = chat_headers,
    .begin = chat_begin,
    .add_user = chat_add_user,
    .add_assistant = chat_add_assistant,
    .add_results = chat_add_results,
    .close = chat_close,
    .reader_new = chat_reader_new,
    .reader_feed = chat_reader_feed,
    .reader_complete = chat_reader_complete,
    .reader_finish = chat_reader_finish,
    .reader_free = chat_reader_free,
    .read_error = chat_read_error,
};
