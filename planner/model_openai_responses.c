#include "planner/model_openai_responses.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"
#include "planner/model_error.h"
#include "planner/model_openai_items.h"
#include "planner/model_openai_message.h"
#include "planner/model_openai_output.h"
#include "planner/model_openai_request.h"
#include "planner/reader.h"

#include <stdlib.h>
#include <string.h>

/* ---- the request ------------------------------------------------------------- */

static bool is_ours(const char *key)
{
    static const char *const ours[] = { "model", "input",       "instructions",
                                        "tools", "tool_choice", NULL };
    return text_is_one_of(key, ours);
}

/* What is sent unless the options say otherwise; null takes it away. */
static const struct {
    const char *key, *json;
} defaults[] = {
    { "stream", "true" },
    { "store", "false" },
    { "include", "[\"reasoning.encrypted_content\"]" },
    { "prompt_cache_key", NULL }, /* the run's */
};

static bool is_left_out(const char *key, const json_t *value)
{
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (strcmp(key, defaults[i].key) == 0)
            return json_is_null(value);
    return false;
}

static void add_options(struct buf *body, const struct prompt_frame *frame)
{
    json_t *options = frame->model->options;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        const char *json = defaults[i].json;
        if (json_object_get(options, defaults[i].key))
            continue;
        if (json)
            buf_printf(body, ",\"%s\":%s", defaults[i].key, json);
        else if (frame->cache_key)
            openai_add_text(body, defaults[i].key, frame->cache_key, strlen(frame->cache_key));
    }
    const char *key;
    json_t *value;
    json_object_foreach(options, key, value) {
        if (!is_ours(key) && !is_left_out(key, value))
            openai_add_member(body, key, value);
    }
}

/* Left to itself the API would make every parameter required (`strict`). */
static void add_tools(struct buf *body, const struct prompt_frame *frame)
{
    if (frame->tool_count == 0)
        return;
    buf_puts(body, ",\"tools\":[");
    for (size_t i = 0; i < frame->tool_count; i++) {
        const struct tool_def *tool = frame->tools[i];
        buf_puts(body, i > 0 ? ",{\"type\":\"function\"" : "{\"type\":\"function\"");
        openai_add_text(body, "name", tool->name, strlen(tool->name));
        openai_add_text(body, "description", tool->description, strlen(tool->description));
        openai_add_member(body, "parameters", tool->parameters);
        buf_puts(body, ",\"strict\":false}");
    }
    buf_putc(body, ']');
}

/* The input comes last, so that the body grows at its end. */
static bool responses_begin(struct buf *body, const struct prompt_frame *frame)
{
    buf_puts(body, "{\"model\":");
    buf_add_json_string(body, frame->model->model, strlen(frame->model->model));
    add_options(body, frame);
    add_tools(body, frame);
    openai_add_text(body, "instructions", frame->instructions, strlen(frame->instructions));
    return buf_puts(body, ",\"input\":[");
}

/* An item never ends with the bracket that begins the list of them. */
static void next_item(struct buf *body)
{
    if (body->len > 0 && body->data[body->len - 1] != '[')
        buf_putc(body, ',');
}

static bool responses_add_user(struct buf *body, const char *text, size_t n)
{
    next_item(body);
    buf_puts(body, "{\"role\":\"user\"");
    openai_add_text(body, "content", text, n);
    return buf_putc(body, '}');
}

/* Said in another dialect: the same words in this one. */
static bool add_said(struct buf *body, const struct prompt_turn *turn)
{
    for (size_t i = 0; i < turn->item_count; i++) {
        const struct reply_item *item = &turn->items[i];
        if (item->type == REPLY_CALL) {
            next_item(body);
            buf_puts(body, "{\"type\":\"function_call\"");
            openai_add_text(body, "call_id", item->call_id, strlen(item->call_id));
            openai_add_text(body, "name", item->tool, strlen(item->tool));
            openai_add_text(body, "arguments", item->arguments, item->arguments_n);
            buf_putc(body, '}');
        } else if (item->type == REPLY_TEXT && item->content && *item->content) {
            next_item(body);
            buf_puts(body, "{\"type\":\"message\",\"role\":\"assistant\",\"content\":["
                           "{\"type\":\"output_text\"");
            openai_add_text(body, "text", item->content, strlen(item->content));
            buf_puts(body, ",\"annotations\":[]}]}");
        }
    }
    return !body->full;
}

/* The items of an array, without its brackets. */
static bool responses_add_turn(struct buf *body, const struct prompt_turn *turn)
{
    if (!turn->raw)
        return add_said(body, turn);
    static const char space[] = " \t\r\n";
    const char *from = turn->raw, *to = turn->raw + turn->raw_n;
    for (; from < to && (*from == '[' || strchr(space, *from)); from++)
        if (*from == '[')
            break;
    while (to > from && strchr(space, to[-1]))
        to--;
    if (to - from < 2 || *from != '[' || to[-1] != ']')
        return add_said(body, turn);
    from++;
    to--;
    while (from < to && strchr(space, *from))
        from++;
    if (from == to)
        return !body->full;
    next_item(body);
    return buf_add(body, from, (size_t)(to - from));
}

static bool responses_add_results(struct buf *body, const struct prompt_result *results,
                                  size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct prompt_result *r = &results[i];
        next_item(body);
        buf_puts(body, "{\"type\":\"function_call_output\"");
        openai_add_text(body, "call_id", r->call_id, strlen(r->call_id));
        openai_add_text(body, "output", r->text, r->text_n);
        buf_putc(body, '}');
    }
    return !body->full;
}

/* ---- the answer ---------------------------------------------------------------- */

static void *responses_parts_new(size_t limit_bytes)
{
    struct items *s = xcalloc(1, sizeof *s);
    items_init(s, limit_bytes);
    return s;
}

static void responses_parts_free(void *parts)
{
    struct items *s = parts;
    items_release(s);
    free(s);
}

/* What events tell. */
enum told {
    TOLD_BEGIN, /* an item, at its beginning */
    TOLD_END,   /* an item, at its end */
    TOLD_PIECE, /* a piece of a part of an item */
    TOLD_WHOLE, /* all of that part */
    TOLD_PART,  /* the same, as an object */
    TOLD_LAST,  /* the response, at its end */
};

static const struct told_event {
    const char *type;
    enum told told;
    enum item_part part;
    const char *member; /* with the text, or the object */
} told_events[] = {
    { "response.output_text.delta", TOLD_PIECE, ITEM_TEXT, "delta" },
    { "response.function_call_arguments.delta", TOLD_PIECE, ITEM_ARGUMENTS, "delta" },
    { "response.reasoning_summary_text.delta", TOLD_PIECE, ITEM_SUMMARY, "delta" },
    { "response.reasoning_text.delta", TOLD_PIECE, ITEM_THOUGHT, "delta" },
    { "response.refusal.delta", TOLD_PIECE, ITEM_REFUSAL, "delta" },
    { "response.output_text.done", TOLD_WHOLE, ITEM_TEXT, "text" },
    { "response.function_call_arguments.done", TOLD_WHOLE, ITEM_ARGUMENTS, "arguments" },
    { "response.reasoning_summary_text.done", TOLD_WHOLE, ITEM_SUMMARY, "text" },
    { "response.reasoning_text.done", TOLD_WHOLE, ITEM_THOUGHT, "text" },
    { "response.refusal.done", TOLD_WHOLE, ITEM_REFUSAL, "refusal" },
    { "response.content_part.done", TOLD_PART, ITEM_TEXT, "part" },
    { "response.reasoning_summary_part.done", TOLD_PART, ITEM_SUMMARY, "part" },
    { "response.output_item.added", TOLD_BEGIN, ITEM_TEXT, NULL },
    { "response.output_item.done", TOLD_END, ITEM_TEXT, NULL },
    { "response.completed", TOLD_LAST, ITEM_TEXT, "completed" },
    { "response.incomplete", TOLD_LAST, ITEM_TEXT, "incomplete" },
    { "response.failed", TOLD_LAST, ITEM_TEXT, "failed" },
    { "response.cancelled", TOLD_LAST, ITEM_TEXT, "cancelled" },
};

static const struct told_event *told_by(const json_t *event)
{
    const char *type = json_str_or(event, "type", "");
    for (size_t i = 0; i < sizeof told_events / sizeof *told_events; i++)
        if (strcmp(type, told_events[i].type) == 0)
            return &told_events[i];
    return NULL;
}

static enum outcome add_part(struct items *s, const json_t *event, struct error *err)
{
    static const struct {
        const char *type;
        enum item_part part;
        const char *member;
    } parts[] = {
        { "output_text", ITEM_TEXT, "text" },
        { "refusal", ITEM_REFUSAL, "refusal" },
        { "summary_text", ITEM_SUMMARY, "text" },
        { "reasoning_text", ITEM_THOUGHT, "text" },
    };
    const json_t *part = json_obj(event, "part");
    const char *type = json_str_or(part, "type", "");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(type, parts[i].type) == 0)
            return items_add(s, event, parts[i].part, json_object_get(part, parts[i].member), true,
                             err);
    return OK;
}

/* Tells who listens what an item says that was not told in pieces. */
static bool tell_item(struct reader *r, const json_t *item, int index)
{
    enum reply_item_type type;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    bool says = openai_item_says(item, &type, &text);
    if (says)
        reader_tell(r, type, index, text.data, text.len);
    buf_release(&text);
    return says;
}

static void tell_news(struct reader *r, const json_t *event, enum told told)
{
    struct items *s = r->parts;
    const struct items_news *news = &s->news;
    if (told == TOLD_END && news->untold) {
        if (tell_item(r, json_obj(event, "item"), news->index))
            items_told(s);
        return;
    }
    if (told == TOLD_BEGIN || told == TOLD_END || news->n == 0)
        return;
    enum reply_item_type type = news->reasoning ? REPLY_REASONING : REPLY_TEXT;
    if (news->apart)
        reader_tell(r, type, news->index, "\n\n", 2);
    reader_tell(r, type, news->index, news->bytes, news->n);
    items_told(s);
}

/* From servers that only seem to stream. */
static void tell_output(struct reader *r, const json_t *output)
{
    const struct items *s = r->parts;
    int index = 0;
    for (size_t i = 0; s->count == 0 && i < json_array_size(output); i++) {
        const json_t *item = json_array_get(output, i);
        bool is_call = strcmp(json_str_or(item, "type", ""), "function_call") == 0;
        index += tell_item(r, item, index) || is_call;
    }
}

/* The response says how it ended, with all of its output. */
static enum outcome read_last(struct reader *r, const json_t *response, const char *status)
{
    openai_usage(json_obj(response, "usage"), &r->usage);
    if (strcmp(status, "failed") == 0 || model_says_error(response))
        return reader_fail_with(r, response);
    bool incomplete = strcmp(status, "incomplete") == 0;
    if (*status && !incomplete && strcmp(status, "completed") != 0) {
        char words[48];
        (void)fail(&r->error, RETRY, "the provider ended its answer with the status '%s'",
                   model_words(words, sizeof words, status, strlen(status), r->options.secret));
        return reader_fail(r, RETRY, "bad_answer");
    }
    json_t *output = json_arr(response, "output");
    if (output) {
        r->has_message = true;
        if (items_whole(r->parts, output, &r->error) != OK)
            return reader_fail(r, RETRY, "answer_too_large");
    }
    if (incomplete)
        status = json_str_or(json_obj(response, "incomplete_details"), "reason", status);
    reader_end(r, status);
    r->done = true;
    return OK;
}

/* Some servers end with response.completed whatever the status is. */
static enum outcome read_end(struct reader *r, const json_t *event, const char *status)
{
    static const char *const ends[] = { "completed", "incomplete", "failed", "cancelled" };
    const json_t *response = json_obj(event, "response");
    const char *said = json_str_or(response, "status", "");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(said, ends[i]) == 0)
            status = ends[i];
    enum outcome outcome = read_last(r, response ? response : event, status);
    if (outcome == OK)
        tell_output(r, json_arr(response, "output"));
    return outcome;
}

static enum outcome responses_read_event(struct reader *r, const json_t *event)
{
    if (model_says_error(event))
        return reader_fail_with(r, event);
    const struct told_event *e = told_by(event);
    if (!e)
        return OK;
    if (e->told == TOLD_LAST)
        return read_end(r, event, e->member);
    struct items *s = r->parts;
    enum outcome outcome = OK;
    s->news = (struct items_news){ 0 };
    switch (e->told) {
    case TOLD_BEGIN: outcome = items_begin(s, event, &r->error); break;
    case TOLD_END: outcome = items_end(s, event, &r->error); break;
    case TOLD_PART: outcome = add_part(s, event, &r->error); break;
    case TOLD_PIECE:
    case TOLD_WHOLE:
        outcome = items_add(s, event, e->part, json_object_get(event, e->member),
                            e->told == TOLD_WHOLE, &r->error);
        break;
    case TOLD_LAST: break;
    }
    r->has_message = r->has_message || s->count > 0;
    if (outcome != OK)
        return reader_fail(r, RETRY, "answer_too_large");
    tell_news(r, event, e->told);
    return OK;
}

static json_t *responses_streamed_message(struct reader *r)
{
    return items_array(r->parts);
}

static json_t *responses_whole_message(struct reader *r, json_t *answer)
{
    if (!json_arr(answer, "output") && !json_str(answer, "status"))
        return NULL;
    return read_last(r, answer, json_str_or(answer, "status", "")) == OK ? items_array(r->parts)
                                                                         : NULL;
}

const struct dialect openai_responses = {
    .name = "openai_responses",
    .path = "/responses",
    .echoes = true,
    .headers = openai_headers,
    .begin = responses_begin,
    .add_user = responses_add_user,
    .add_turn = responses_add_turn,
    .add_results = responses_add_results,
    .close = openai_close,
    .parts_new = responses_parts_new,
    .parts_free = responses_parts_free,
    .read_event = responses_read_event,
    .whole_message = responses_whole_message,
    .streamed_message = responses_streamed_message,
    .read_message = openai_output,
};
