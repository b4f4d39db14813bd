/*
 * fuzz_model_stream.c -- any bytes from a model, in any cut, give the same reply in
 * bounded memory; what is accepted can be sent back and stored.
 */
#include "common/json.h"
#include "planner/model_error.h"
#include "planner/model_openai_chat.h"
#include "tests/fuzz/model_answers.h"

/* Its result finds the call by this id, and no other one. */
static void check_call(const struct model_reply *r, size_t at, const json_t *call)
{
    const struct reply_item *item = &r->items[at];
    check_text(item->call_id);
    check_text(item->tool);
    check_text(item->arguments);
    if (!*item->call_id || strcmp(json_str_or(call, "id", ""), item->call_id) != 0)
        abort();
    for (size_t k = 0; k < at; k++)
        if (r->items[k].type == REPLY_CALL && strcmp(r->items[k].call_id, item->call_id) == 0)
            abort();
}

static void check_items(const struct model_reply *r, const json_t *raw)
{
    const json_t *made = json_arr(raw, "tool_calls");
    size_t calls = 0;
    for (size_t i = 0; i < r->item_count; i++) {
        if (r->items[i].type == REPLY_CALL)
            check_call(r, i, json_array_get(made, calls++));
        else
            check_text(r->items[i].content);
    }
    if (r->item_count == 0 || calls != r->call_count || calls != json_array_size(made))
        abort();
}

static void check(const struct model_reply *r)
{
    if (check_failure(r))
        return;
    const struct json_limits limits = { REPLY_LIMIT, 100 };
    json_t *raw;
    if (json_read(r->raw, r->raw_n, &limits, &raw, NULL) != OK)
        abort();
    if (!json_is_object(raw) || !json_str(raw, "role"))
        abort();
    check_items(r, raw);
    json_decref(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_answer(&openai_chat, data, size, check);
    if (size > 0) {
        struct model_reply *error = model_reply_new(REPLY_LIMIT);
        model_read_error(400 + data[0] % 130, (const char *)data + 1, size - 1, FUZZ_SECRET, error);
        check(error);
        model_reply_free(error);
    }
    return 0;
}
