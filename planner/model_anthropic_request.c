#include "planner/model_anthropic_request.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"
#include "planner/json_text.h"
#include "planner/model_anthropic.h"
#include "planner/model_anthropic_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CACHE_MARK ",\"cache_control\":{\"type\":\"ephemeral\"}"
#define USER_BEGINS "{\"role\":\"user\",\"content\":["
#define FOREIGN_ENDS "],\"role\":\"assistant\"}"

enum { ID_BYTES = 48, NAME_BYTES = 65 };

size_t anthropic_headers(const char *secret, struct arena *arena,
                         struct http_header out[MODEL_HEADERS_MAX])
{
    size_t n = 0;
    out[n++] = (struct http_header){ "Accept", "text/event-stream, application/json" };
    out[n++] = (struct http_header){ "anthropic-version", "2023-06-01" };
    char *key = secret ? arena_strdup(arena, secret) : NULL;
    if (key)
        out[n++] = (struct http_header){ "x-api-key", key };
    return n;
}

/* ---- what stays the same ----------------------------------------------------------- */

static bool add_text(struct buf *body, const char *text)
{
    return buf_add_json_string(body, text, strlen(text));
}

static bool add_json(struct buf *body, const json_t *value)
{
    AUTO_FREE char *text = json_text(value);
    return buf_puts(body, text);
}

static bool add_member(struct buf *body, const char *key, const json_t *value)
{
    buf_putc(body, ',');
    add_text(body, key);
    buf_putc(body, ':');
    return add_json(body, value);
}

/* What begin() or close() write by themselves. */
static bool is_ours(const char *key)
{
    static const char *const ours[] = { "model",       "messages", "tools", "system",
                                        "tool_choice", "thinking", NULL };
    return text_is_one_of(key, ours);
}

static bool is_given(const json_t *options, const char *key)
{
    const json_t *value = json_object_get(options, key);
    return value && !json_is_null(value);
}

/* Without a limit of its own: no more than what is kept free for the answer (context.h). */
static int64_t output_limit(const struct model_def *model)
{
    if (model->max_output_tokens > 0)
        return model->max_output_tokens;
    int64_t limit = ANTHROPIC_MAX_TOKENS +
                    json_int_or(json_obj(model->options, "thinking"), "budget_tokens", 0);
    int64_t kept_free = model->context_window / 8;
    return kept_free > 0 && kept_free < limit ? kept_free : limit;
}

static void add_options(struct buf *body, const struct model_def *model)
{
    json_t *options = model->options;
    if (!is_given(options, "max_tokens"))
        buf_printf(body, ",\"max_tokens\":%" PRId64, output_limit(model));
    if (!json_object_get(options, "stream"))
        buf_puts(body, ",\"stream\":true");
    const char *key;
    json_t *value;
    json_object_foreach(options, key, value) {
        if (!is_ours(key) && !json_is_null(value))
            add_member(body, key, value);
    }
}

static void add_tool(struct buf *body, const struct tool_def *tool)
{
    buf_puts(body, "{\"name\":");
    add_text(body, tool->name);
    buf_puts(body, ",\"description\":");
    add_text(body, tool->description);
    buf_puts(body, ",\"input_schema\":");
    add_json(body, tool->parameters);
}

bool anthropic_begin(struct buf *body, const struct prompt_frame *frame)
{
    buf_puts(body, "{\"model\":");
    add_text(body, frame->model->model);
    add_options(body, frame->model);
    const char *between = ",\"tools\":[";
    for (size_t i = 0; i < frame->tool_count; i++, between = "},") {
        buf_puts(body, between);
        add_tool(body, frame->tools[i]);
    }
    if (frame->tool_count > 0)
        buf_puts(body, CACHE_MARK "}]");
    if (!anthropic_is_blank(frame->instructions, strlen(frame->instructions))) {
        buf_puts(body, ",\"system\":[{\"type\":\"text\",\"text\":");
        add_text(body, frame->instructions);
        buf_puts(body, CACHE_MARK "}]");
    }
    return buf_puts(body, ",\"messages\":[");
}

/* ---- what the user's side says -------------------------------------------------------- */

static bool ends_with(const struct buf *body, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len >= n && memcmp(body->data + len - n, end, n) == 0;
}

/* Where the model's last turn ends: at the end of the text, or in front of the user's
 * open message, whose beginning cannot stand inside a string (there a quote is escaped). */
static size_t last_turn_end(const struct buf *body)
{
    static const char begins[] = "," USER_BEGINS;
    if (!ends_with(body, body->len, "\""))
        return body->len;
    for (size_t at = body->len; at >= sizeof begins - 1; at--)
        if (ends_with(body, at, begins))
            return at - (sizeof begins - 1);
    return 0;
}

static bool is_foreign(const struct buf *body)
{
    return ends_with(body, last_turn_end(body), FOREIGN_ENDS);
}

/* The next block of the user's message, which begins with it if need be: what comes one
 * after the other is one message.                                             */
static void begin_block(struct buf *body)
{
    if (ends_with(body, body->len, "\""))
        buf_puts(body, "},");
    else
        buf_puts(body, ends_with(body, body->len, "[") ? USER_BEGINS : "," USER_BEGINS);
}

bool anthropic_add_user(struct buf *body, const char *text, size_t n)
{
    begin_block(body);
    buf_puts(body, "{\"type\":\"text\",\"text\":");
    return anthropic_is_blank(text, n) ? add_text(body, ANTHROPIC_NO_TEXT)
                                       : buf_add_json_string(body, text, n);
}

/* FNV-1a: the same id for the call and for its result, whoever writes them. */
static void foreign_id(char out[ID_BYTES], int step, const char *call_id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *c = call_id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    (void)snprintf(out, ID_BYTES, "pawl_%d_%016" PRIx64, step, hash);
}

/* The member is_error stands in front, so that the text's end is a string's. */
bool anthropic_add_results(struct buf *body, const struct prompt_result *results, size_t count)
{
    bool foreign = is_foreign(body);
    for (size_t i = 0; i < count; i++) {
        const struct prompt_result *r = &results[i];
        char id[ID_BYTES];
        if (foreign)
            foreign_id(id, r->step, r->call_id);
        begin_block(body);
        buf_puts(body, r->is_error ? "{\"type\":\"tool_result\",\"is_error\":true,\"tool_use_id\":"
                                   : "{\"type\":\"tool_result\",\"tool_use_id\":");
        add_text(body, foreign ? id : r->call_id);
        bool blank = anthropic_is_blank(r->text, r->text_n);
        if (blank && !r->is_error)
            continue;
        buf_puts(body, ",\"content\":");
        if (blank)
            add_text(body, ANTHROPIC_NO_TEXT); /* the API wants words with an error */
        else
            buf_add_json_string(body, r->text, r->text_n);
    }
    return !body->full;
}

/* ---- what the model said ---------------------------------------------------------------- */

static void begin_turn(struct buf *body)
{
    if (ends_with(body, body->len, "\""))
        buf_puts(body, "}]}");
    if (!ends_with(body, body->len, "["))
        buf_putc(body, ',');
}

static void add_call(struct buf *body, int step, const struct reply_item *item)
{
    char id[ID_BYTES], name[NAME_BYTES];
    foreign_id(id, step, item->call_id);
    anthropic_name(name, sizeof name, item->tool);
    json_t *input = anthropic_input(item->arguments, item->arguments_n);
    buf_puts(body, "{\"type\":\"tool_use\",\"id\":");
    add_text(body, id);
    buf_puts(body, ",\"name\":");
    add_text(body, name);
    buf_puts(body, ",\"input\":");
    add_json(body, input);
    buf_putc(body, '}');
    json_decref(input);
}

static bool is_said(const struct reply_item *item)
{
    return item->type == REPLY_CALL ||
           (item->type == REPLY_TEXT && !anthropic_is_blank(item->content, strlen(item->content)));
}

/* Said in another dialect: the same words in this one. */
static void add_foreign(struct buf *body, const struct prompt_turn *turn)
{
    const char *before = "{\"content\":[";
    for (size_t i = 0; i < turn->item_count; i++) {
        const struct reply_item *item = &turn->items[i];
        if (!is_said(item))
            continue;
        if (*before == '{')
            begin_turn(body);
        buf_puts(body, before);
        before = ",";
        if (item->type == REPLY_CALL) {
            add_call(body, turn->step, item);
            continue;
        }
        buf_puts(body, "{\"type\":\"text\",\"text\":");
        add_text(body, item->content);
        buf_putc(body, '}');
    }
    if (*before == ',')
        buf_puts(body, FOREIGN_ENDS);
}

bool anthropic_is_open(const char *raw, size_t n)
{
    size_t head = strlen(ANTHROPIC_PAUSED_HEAD);
    return n > head + strlen(ANTHROPIC_PAUSED_TAIL) &&
           memcmp(raw, ANTHROPIC_PAUSED_HEAD, head) == 0;
}

static void add_own(struct buf *body, const char *content, size_t n)
{
    if (n <= strlen("[]")) /* a message without blocks is refused */
        return;
    begin_turn(body);
    buf_puts(body, "{\"role\":\"assistant\",\"content\":");
    buf_add(body, content, n);
    buf_putc(body, '}');
}

bool anthropic_add_turn(struct buf *body, const struct prompt_turn *turn)
{
    size_t head = strlen(ANTHROPIC_PAUSED_HEAD), tail = strlen(ANTHROPIC_PAUSED_TAIL);
    if (!turn->raw)
        add_foreign(body, turn);
    else if (anthropic_is_open(turn->raw, turn->raw_n))
        add_own(body, turn->raw + head, turn->raw_n - head - tail);
    else
        add_own(body, turn->raw, turn->raw_n);
    return !body->full;
}

/* ---- the end ---------------------------------------------------------------------------- */

static bool holds(const struct buf *body, const char *text)
{
    return memmem(body->data, body->len, text, strlen(text)) != NULL;
}

bool anthropic_close(struct buf *body, const struct prompt_frame *frame, bool answer_only)
{
    const json_t *options = frame->model->options;
    const json_t *thinking = json_object_get(options, "thinking");
    if (body->full || body->len == 0)
        return false;
    bool foreign = is_foreign(body);
    bool orphans = frame->tool_count == 0 && holds(body, "\"type\":\"tool_use\"");
    buf_puts(body, ends_with(body, body->len, "\"") ? CACHE_MARK "}]}]" : "]");
    if (orphans)
        buf_puts(body, ",\"tools\":[{\"name\":\"none\",\"description\":\"There are no tools any "
                       "more.\",\"input_schema\":{\"type\":\"object\"}}]");
    if (orphans || (frame->tool_count > 0 && answer_only))
        buf_puts(body, ",\"tool_choice\":{\"type\":\"none\"}");
    else if (frame->tool_count > 0 && is_given(options, "tool_choice"))
        add_member(body, "tool_choice", json_object_get(options, "tool_choice"));
    bool refused = foreign && strcmp(json_str_or(thinking, "type", ""), "enabled") == 0;
    if (is_given(options, "thinking") && !refused)
        add_member(body, "thinking", thinking);
    return buf_putc(body, '}');
}
