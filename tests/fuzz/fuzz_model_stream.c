/*
 * fuzz_model_stream.c -- any bytes from a model, in any cut, give the same reply in
 * bounded memory; what is accepted can be sent back and stored.
 *
 * The first byte chooses the content type and the size of the pieces; the rest is
 * the answer.
 */
#include "common/json.h"
#include "common/text.h"
#include "planner/model_error.h"
#include "planner/model_openai_chat.h"
#include "planner/reader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 8 * 1024, REPLY_LIMIT = 256 * 1024 };

static struct model_reply *read_answer(const char *type, const char *bytes, size_t n, size_t piece)
{
    const struct reader_options options = { LIMIT, "pawl_1", "sk-secret", { 0 } };
    struct reader *r = reader_new(&openai_chat, &options, type);
    enum outcome outcome = OK;
    for (size_t at = 0; at < n && outcome == OK; at += piece)
        outcome = reader_feed(r, bytes + at, piece < n - at ? piece : n - at);
    struct model_reply *reply = model_reply_new(REPLY_LIMIT);
    reader_finish(r, true, reply);
    reader_free(r);
    return reply;
}

static void check_text(const char *text)
{
    if (!text || !text_is_utf8(text, strlen(text)))
        abort();
}

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
    if (r->outcome != OK) {
        if (!r->code || !*r->error.text || strstr(r->error.text, "sk-secret"))
            abort();
        return;
    }
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
    static const char *const types[] = { "text/event-stream", "application/json", "" };
    if (size < 1)
        return 0;
    const char *type = types[data[0] % 3], *bytes = (const char *)data + 1;
    size_t n = size - 1;
    struct model_reply *whole = read_answer(type, bytes, n, n ? n : 1);
    struct model_reply *cut = read_answer(type, bytes, n, 1 + data[0] / 3 % 32);
    check(whole);
    if (whole->outcome != cut->outcome || whole->item_count != cut->item_count ||
        whole->end != cut->end || whole->usage.tokens_in != cut->usage.tokens_in)
        abort();
    if (whole->outcome == OK &&
        (whole->raw_n != cut->raw_n || memcmp(whole->raw, cut->raw, cut->raw_n) != 0))
        abort();
    model_reply_free(whole);
    model_reply_free(cut);
    struct model_reply *error = model_reply_new(REPLY_LIMIT);
    model_read_error(400 + data[0] % 130, bytes, n, "sk-secret", error);
    check(error);
    model_reply_free(error);
    return 0;
}
