/*
 * fuzz_model_responses.c -- any bytes in the dialect "OpenAI responses", in any cut,
 * give the same reply in bounded memory; what is accepted can be sent back: the request
 * is JSON, and has the output's items.
 */
#include "common/json.h"
#include "planner/model_openai_responses.h"
#include "tests/fuzz/model_answers.h"

/* Its result finds the call by this id, and no other one. */
static void check_call(const struct model_reply *r, size_t at, const json_t *raw, size_t *from)
{
    const struct reply_item *item = &r->items[at];
    check_text(item->call_id);
    check_text(item->tool);
    check_text(item->arguments);
    must(*item->call_id);
    for (size_t k = 0; k < at; k++)
        must(r->items[k].type != REPLY_CALL || strcmp(r->items[k].call_id, item->call_id) != 0);
    for (; *from < json_array_size(raw); ++*from) {
        const json_t *output = json_array_get(raw, *from);
        if (strcmp(json_str_or(output, "type", ""), "function_call") == 0)
            break;
    }
    const char *id = json_str(json_array_get(raw, (*from)++), "call_id");
    must(id && strcmp(id, item->call_id) == 0);
}

/* The same items in a request, after a question and before an answer. */
static void check_request(const struct model_reply *r, const json_t *raw)
{
    struct model_def model = { .model = "m", .options = json_object() };
    const struct prompt_frame frame = { .model = &model, .instructions = "i" };
    const struct prompt_turn turn = { .raw = r->raw, .raw_n = r->raw_n };
    const struct json_limits limits = { (size_t)2 * REPLY_LIMIT, 100 };
    struct buf body;
    json_t *request;
    buf_init(&body, (size_t)2 * REPLY_LIMIT);
    must(openai_responses.begin(&body, &frame) && openai_responses.add_user(&body, "q", 1) &&
         openai_responses.add_turn(&body, &turn) && openai_responses.add_user(&body, "a", 1) &&
         openai_responses.close(&body, &frame, false));
    must(json_read(body.data, body.len, &limits, &request, NULL) == OK);
    json_t *input = json_arr(request, "input");
    must(json_array_size(input) == json_array_size(raw) + 2);
    for (size_t i = 0; i < json_array_size(raw); i++)
        must(json_equal(json_array_get(input, i + 1), json_array_get(raw, i)));
    json_decref(request);
    json_decref(model.options);
    buf_release(&body);
}

static void check(const struct model_reply *r)
{
    if (check_failure(r))
        return;
    const struct json_limits limits = { REPLY_LIMIT, 100 };
    json_t *raw;
    must(json_read(r->raw, r->raw_n, &limits, &raw, NULL) == OK && json_is_array(raw));
    size_t calls = 0, from = 0;
    for (size_t i = 0; i < r->item_count; i++) {
        if (r->items[i].type == REPLY_CALL) {
            check_call(r, i, raw, &from);
            calls++;
        } else {
            check_text(r->items[i].content);
        }
    }
    must(r->item_count > 0 && calls == r->call_count);
    check_request(r, raw);
    json_decref(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_answer(&openai_responses, data, size, check);
    return 0;
}
