/*
 * fuzz_tool_result.c -- any answer of a tool or of a probe becomes an outcome whose
 * texts can be stored: UTF-8 without NUL, bounded, without the secret that was sent.
 *
 * The first four bytes choose how the HTTP call ended, its status, the kind of the
 * tool and the bound; the rest is the body.
 */
#include "common/arena.h"
#include "common/buf.h"
#include "common/text.h"
#include "executor/probe.h"
#include "executor/result.h"
#include "executor/verdict.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SECRET "hunter2!"

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void check(const struct tool_answer *a, size_t max_bytes)
{
    demand(!a->code == !a->error);
    demand(!a->error || text_is_utf8(a->error, strlen(a->error)));
    if (!a->result)
        return;
    demand(strlen(a->result) == a->result_bytes);
    demand(a->result_bytes <= max_bytes + RESULT_NOTES_BYTES);
    demand(text_is_utf8(a->result, a->result_bytes));
    demand(!memmem(a->result, a->result_bytes, SECRET, sizeof SECRET - 1));
}

/* The text as it is defined: character by character. */
static void copy_slowly(const struct result_source *source, struct buf *out)
{
    for (size_t at = 0; at < source->count;) {
        uint32_t code_point = 0;
        const char *piece = source->bytes + at;
        size_t size, step = scrub_match(source->scrub, piece, source->count - at);
        if (step > 0) {
            piece = SCRUB_MARK;
            size = sizeof SCRUB_MARK - 1;
        } else {
            size = step = text_utf8_next(piece, source->count - at, &code_point);
            if (step == 0 || code_point == 0) {
                piece = "\xef\xbf\xbd";
                size = 3;
                step = 1;
            }
        }
        if (out->len + size > source->max_bytes)
            return;
        demand(buf_add(out, piece, size));
        at += step;
    }
}

static void compare_with_slow_copy(const char *body, size_t size, size_t max_bytes,
                                   const struct scrub *scrub)
{
    struct result_source source = {
        .bytes = body, .count = size, .total_bytes = -1, .max_bytes = max_bytes, .scrub = scrub
    };
    struct buf work, slow;
    size_t length;
    buf_init(&work, 0);
    buf_init(&slow, SIZE_MAX / 2);
    copy_slowly(&source, &slow);
    const char *text = result_text(&source, &work, &length);
    demand(length >= slow.len && memcmp(text, slow.data, slow.len) == 0);
    demand(length == slow.len || strstr(text + slow.len, "[")); /* only notes may follow */
    buf_release(&work);
    buf_release(&slow);
}

// NOLINTNEXTLINE(readability-non-const-parameter): the result has it as its own
static struct http_result result_of(const uint8_t *head, char *body, size_t size)
{
    static const long statuses[] = { 0, 200, 204, 302, 404, 409, 422, 429, 500 };
    struct http_result r = {
        .end = (enum http_end)(head[0] % HTTP_CANCELLED),
        .status = statuses[head[1] % (sizeof statuses / sizeof *statuses)],
        .body = body,
        .body_bytes = size,
        .retry_after_ms = head[1] % 3 - 1,
        .content_type = "",
        .hopeless = head[0] & 0x80,
    };
    r.maybe_sent = r.end != HTTP_NOT_SENT;
    if (r.end != HTTP_ANSWERED)
        (void)snprintf(r.error.text, sizeof r.error.text, "host: why");
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    struct arena arena;
    struct scrub scrub = { 0 };
    arena_init(&arena, 64 * 1024);
    if (scrub_add(&scrub, &arena, SECRET, NULL) != OK)
        abort();

    char *body = calloc(1, size - 4 + 1); /* exact, so that ASan sees one byte too far */
    demand(body); // cppcheck-suppress uninitdata ; calloc has set it to zero
    memcpy(body, data + 4, size - 4);

    struct tool_def def = {
        .name = "tool",
        .read_only = data[2] & 1,
        .idempotent = data[2] & 2,
        .key_mode = TOOL_KEY_QUOTED,
        .max_result_bytes = data[3],
    };
    struct http_result r = result_of(data, body, size - 4);
    struct verdict_case c = { .def = &def,
                              .result = &r,
                              .scrub = &scrub,
                              .attempt = data[2],
                              .announced_bytes = (int64_t)data[3] * 7 - 1 };
    struct verdict v;
    verdict_init(&v);
    verdict_of_call(&v, &c);
    check(&v.answer, def.max_result_bytes);
    demand(r.maybe_sent == (v.answer.outcome != STORE_CALL_FAILED_BEFORE_EFFECT));
    probe_verdict(&v, &c);
    check(&v.answer, def.max_result_bytes);
    demand(v.answer.outcome >= STORE_PROBE_HAPPENED);

    compare_with_slow_copy(body, size - 4, def.max_result_bytes, &scrub);

    verdict_release(&v);
    free(body);
    arena_free(&arena);
    return 0;
}
