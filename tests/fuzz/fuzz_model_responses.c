/*
 * fuzz_model_responses.c -- any bytes in the dialect "OpenAI responses", in any cut,
 * give the same reply in bounded memory; what is accepted can be sent back: the request
 * is JSON, and has the output's items.
 *
 * The first byte chooses the content type and the size of the pieces; the rest is
 * the answer.
 */
#include "common/json.h"
#include "common/text.h"
#include "planner/model_openai_responses.h"
#include "planner/reader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 8 * 1024, REPLY_LIMIT = 256 * 1024, ECHO_BYTES = 512 };

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void hear(void *arg, enum reply_item_type type, int index, const char *bytes, size_t n)
{
    (void)arg;
    must(type == REPLY_TEXT || type == REPLY_REASONING);
    must(index >= 0 && n > 0 && !memchr(bytes, 0, n) && text_is_utf8(bytes, n));
}

static struct model_reply *read_answer(const char *type, const char *bytes, size_t n, size_t piece)
{
    const struct reader_options options = { LIMIT, "pawl_1", "sk-secret", { hear, NULL } };
    struct reader *r = reader_new(&openai_responses, &options, type);
    reader_expect_echo(r, ECHO_BYTES);
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
    must(text && text_is_utf8(text, strlen(text)));
}

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
    if (r->outcome != OK) {
        must(r->code && *r->error.text && !strstr(r->error.text, "sk-secret"));
        return;
    }
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
    static const char *const types[] = { "text/event-stream", "application/json", "" };
    if (size < 1)
        return 0;
    const char *type = types[data[0] % 3], *bytes = (const char *)data + 1;
    size_t n = size - 1;
    struct model_reply *whole = read_answer(type, bytes, n, n ? n : 1);
    struct model_reply *cut = read_answer(type, bytes, n, 1 + data[0] / 3 % 32);
    check(whole);
    must(whole->outcome == cut->outcome && whole->item_count == cut->item_count &&
         whole->end == cut->end && whole->usage.tokens_in == cut->usage.tokens_in);
    must(whole->outcome != OK ||
         (whole->raw_n == cut->raw_n && memcmp(whole->raw, cut->raw, cut->raw_n) == 0));
    model_reply_free(whole);
    model_reply_free(cut);
    return 0;
}
