/*
 * fuzz_request.c -- any record is a request or is refused with a code and a sentence.
 *
 * The input is the record: headers as NAME 0x1f VALUE 0x1e, as many as there
 * are, then the value; an empty value stands for null.  What is taken must be
 * fit to be stored, and be the same request when it is read again.
 */
#include "common/message.h"
#include "common/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADERS_MAX = 16, NAME_MAX_BYTES = 64, ARENA_BYTES = 1 << 20, VALUE_BYTES = 1 << 16 };

struct headers {
    char names[HEADERS_MAX][NAME_MAX_BYTES];
    struct record_header items[HEADERS_MAX];
    size_t count;
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Takes one header off the front; false when there is none. */
static bool take_header(struct headers *headers, const char **at, size_t *left)
{
    const char *end = memchr(*at, 0x1e, *left);
    const char *middle = end ? memchr(*at, 0x1f, (size_t)(end - *at)) : NULL;
    size_t name_n = middle ? (size_t)(middle - *at) : 0;
    if (!middle || name_n >= NAME_MAX_BYTES || headers->count == HEADERS_MAX)
        return false;
    char *name = headers->names[headers->count];
    memcpy(name, *at, name_n);
    name[name_n] = '\0';
    headers->items[headers->count++] =
        (struct record_header){ name, middle + 1, (size_t)(end - middle - 1) };
    *left -= (size_t)(end + 1 - *at);
    *at = end + 1;
    return true;
}

static void require_text(const char *text, bool needed)
{
    require(text || !needed);
    if (text)
        require(*text && text_is_utf8(text, strlen(text)));
}

static void require_fit(const struct run_request *request)
{
    require_text(request->source, true);
    require_text(request->id, true);
    require_text(request->agent, true);
    require_text(request->asked_tenant, false);
    require_text(request->class, false);
    require_text(request->subject, false);
    require_text(request->content_type, false);
    require(strcmp(request->type, REQUEST_TYPE) == 0);
    require(request->input && !json_is_null(request->input));
    require(request->timeout_ms >= 0 &&
            (request->timeout_ms == 0 || request->deadline_wall_ms == 0));
    require(request->fault == REQUEST_FINE);
    if (request->traceparent)
        require(strlen(request->traceparent) >= 55);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct headers headers = { .count = 0 };
    const char *at = (const char *)data;
    while (take_header(&headers, &at, &size))
        continue;
    struct record_view rec = { .topic = "pawl.run-requests",
                               .timestamp_ms = 1764000000000,
                               .value = size > 0 ? at : NULL,
                               .value_n = size,
                               .headers = headers.items,
                               .n_headers = headers.count };
    struct request_limits limits = { .bytes = VALUE_BYTES, .depth = 32 };
    struct run_request first, second;
    struct error err = { "" };
    struct arena a, b;
    arena_init(&a, ARENA_BYTES);
    arena_init(&b, ARENA_BYTES);
    enum outcome outcome = request_read(&rec, &limits, &a, &first, &err);
    require(outcome == request_read(&rec, &limits, &b, &second, NULL));
    if (outcome == OK) {
        require_fit(&first);
        require(digest_eq(&first.digest, &second.digest) && strcmp(first.id, second.id) == 0);
    } else {
        require(outcome == REFUSED && *err.text && first.fault != REQUEST_FINE &&
                first.fault == second.fault);
    }
    arena_free(&a);
    arena_free(&b);
    return 0;
}
