/*
 * fuzz_model_anthropic.c -- any bytes in the dialect "Anthropic messages", in any cut,
 * give the same reply in bounded memory; what is accepted can be sent back: the request
 * is JSON, has the content's blocks and what the API wants, and only grows.
 */
#include "common/json.h"
#include "planner/model_anthropic.h"
#include "planner/model_anthropic_message.h"
#include "tests/fuzz/model_answers.h"

enum { BODY_LIMIT = 1024 * 1024 };

static json_t *read_json(const char *text, size_t n)
{
    const struct json_limits limits = { SIZE_MAX, 100 };
    json_t *value;
    must(json_read(text, n, &limits, &value, NULL) == OK);
    return value;
}

static bool is_type(const json_t *block, const char *type)
{
    return strcmp(json_str_or(block, "type", ""), type) == 0;
}

/* The next block of this type, whose item is looked at. */
static const json_t *next_block(const json_t *content, const char *type, size_t *from)
{
    while (*from < json_array_size(content)) {
        const json_t *block = json_array_get(content, (*from)++);
        if (is_type(block, type))
            return block;
    }
    return NULL;
}

/* Its result finds the call by this id, and no other one. */
static void check_call(const struct model_reply *r, size_t at, const json_t *block)
{
    const struct reply_item *item = &r->items[at];
    check_text(item->tool);
    check_text(item->arguments);
    must(anthropic_is_name(item->call_id));
    must(strcmp(json_str_or(block, "id", ""), item->call_id) == 0);
    must(anthropic_is_name(json_str_or(block, "name", "")));
    must(json_is_object(json_object_get(block, "input")));
    for (size_t k = 0; k < at; k++)
        must(r->items[k].type != REPLY_CALL || strcmp(r->items[k].call_id, item->call_id) != 0);
}

static void check_items(const struct model_reply *r, const json_t *content)
{
    size_t calls = 0, from = 0;
    for (size_t i = 0; i < r->item_count; i++) {
        if (r->items[i].type == REPLY_CALL) {
            check_call(r, i, next_block(content, "tool_use", &from));
            calls++;
        } else {
            check_text(r->items[i].content);
        }
    }
    must(r->item_count > 0 && calls == r->call_count && !next_block(content, "tool_use", &from));
    for (size_t i = 0; i < json_array_size(content); i++) {
        size_t n;
        const json_t *block = json_array_get(content, i);
        const char *text = json_strn(block, "text", &n);
        must(!is_type(block, "text") || (text && !anthropic_is_blank(text, n)));
    }
}

/* A request with the turn in it, sent back as it came or said in other words, and with a
 * result for each of its calls.                                               */
static void check_request(const struct model_reply *r, const json_t *content, bool ours)
{
    struct model_def model = { .model = "m", .options = json_object() };
    const struct prompt_frame frame = { .model = &model, .instructions = "i" };
    struct prompt_turn turn = {
        .items = r->items, .item_count = r->item_count, .call_count = r->call_count, .step = 3
    };
    struct buf body;
    buf_init(&body, BODY_LIMIT);
    if (ours) {
        turn.raw = r->raw;
        turn.raw_n = r->raw_n;
    }
    must(anthropic.begin(&body, &frame) && anthropic.add_user(&body, "q", 1) &&
         anthropic.add_turn(&body, &turn));
    for (size_t i = 0; i < r->item_count; i++) {
        const struct prompt_result result = {
            .call_id = r->items[i].call_id, .text = "x", .text_n = 1, .step = 3
        };
        must(r->items[i].type != REPLY_CALL || anthropic.add_results(&body, &result, 1));
    }
    must(anthropic.close(&body, &frame, false));
    json_t *request = read_json(body.data, body.len);
    const json_t *messages = json_arr(request, "messages");
    const json_t *said = json_arr(json_array_get(messages, 1), "content");
    const json_t *results = json_arr(json_array_get(messages, 2), "content");
    must(json_array_size(results) == r->call_count);
    if (ours && json_array_size(content) > 0)
        must(json_equal(said, content));
    size_t from = 0;
    for (size_t i = 0; i < r->call_count; i++)
        must(strcmp(json_str(json_array_get(results, i), "tool_use_id"),
                    json_str(next_block(said, "tool_use", &from), "id")) == 0);
    json_decref(request);
    json_decref(model.options);
    buf_release(&body);
}

static void check(const struct model_reply *r)
{
    if (check_failure(r))
        return;
    json_t *raw = read_json(r->raw, r->raw_n);
    must((r->end == REPLY_END_PAUSE) == anthropic.is_open(r->raw, r->raw_n));
    const json_t *content = r->end == REPLY_END_PAUSE ? json_arr(raw, "content") : raw;
    must(json_is_array(content));
    check_items(r, content);
    check_request(r, content, true);
    check_request(r, content, false);
    json_decref(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_answer(&anthropic, data, size, check);
    return 0;
}
