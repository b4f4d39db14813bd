/*
 * producer_dlq.c -- dead letters: the record as it was, and why it is here.
 *
 *     send whole --> too large for the topic? --> send without the value --> done
 *
 * The broker sets its limit per topic and counts headers in, so a record that
 * was just small enough for its own topic can be too large for the other one.
 * Without its value it still says where the whole record lies.
 */
#include "common/log.h"
#include "common/memory.h"
#include "common/producer.h"
#include "common/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MARK "pawl_dlq_"

enum { MARKS = 8, MESSAGE_BYTES_MAX = 512, ARENA_OVERHEAD_BYTES = 16 * 1024 };

struct dead {
    struct producer *producer;
    producer_done *done;
    void *arg;
    const char *topic;
    size_t value_n;
    struct record_header *headers; /* with room for all marks */
    struct record_draft draft;     /* for the second sending: without the value */
    struct arena arena;
};

static void finish(struct dead *d, enum outcome outcome, const struct error *err)
{
    producer_done *done = d->done;
    void *arg = d->arg;
    struct error copy = err ? *err : (struct error){ "" };
    arena_free(&d->arena);
    free(d);
    done(arg, outcome, err ? &copy : NULL);
}

static void on_second(void *arg, enum outcome outcome, const struct error *err)
{
    finish(arg, outcome, err);
}

/* Sends again, without the value and with a header more that says so; there is
 * room for it in d->headers.                                            */
static enum outcome send_again(struct dead *d, struct error *err)
{
    char *size = arena_printf(&d->arena, "%zu", d->value_n);
    assert(size);
    d->headers[d->draft.n_headers++] =
        (struct record_header){ MARK "value_dropped", size, strlen(size) };
    log_event(LOG_WARN, "dead letter sent without its value", LOG_STR("topic", d->topic),
              LOG_INT("value_bytes", d->value_n), LOG_END);
    return producer_send(d->producer, d->topic, &d->draft, on_second, d, err);
}

static void on_first(void *arg, enum outcome outcome, const struct error *err)
{
    struct dead *d = arg;
    struct error why;
    if (outcome != REFUSED) {
        finish(d, outcome, err);
        return;
    }
    enum outcome again = send_again(d, &why);
    if (again != OK)
        finish(d, again, &why);
}

static size_t size_of(const struct record_view *rec)
{
    size_t bytes = rec->key_n;
    for (size_t i = 0; i < rec->n_headers; i++)
        bytes += strlen(rec->headers[i].name) + rec->headers[i].value_n + 64;
    return bytes;
}

static void add(struct dead *d, const char *name, const char *value, size_t n)
{
    struct record_header *header = &d->headers[d->draft.n_headers++];
    header->name = arena_strdup(&d->arena, name);
    header->value = value ? arena_memdup(&d->arena, value, n) : NULL;
    header->value_n = n;
    assert(header->name);
}

PRINTF(3, 4) static void add_mark(struct dead *d, const char *name, const char *format, ...)
{
    char text[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert(n >= 0);
    add(d, name, text, strlen(text));
}

/* The record's own headers, but for the marks of an earlier death: a record
 * that was replayed and died again says why it died last.                     */
static void add_headers(struct dead *d, const struct record_view *rec,
                        const struct dead_letter *why)
{
    char text[MESSAGE_BYTES_MAX];
    for (size_t i = 0; i < rec->n_headers; i++)
        if (strncmp(rec->headers[i].name, MARK, sizeof MARK - 1) != 0)
            add(d, rec->headers[i].name, rec->headers[i].value, rec->headers[i].value_n);
    add_mark(d, MARK "topic", "%s", rec->topic);
    add_mark(d, MARK "partition", "%d", rec->partition);
    add_mark(d, MARK "offset", "%" PRId64, rec->offset);
    add_mark(d, MARK "group", "%s", why->group);
    add_mark(d, MARK "timestamp", "%" PRId64, rec->timestamp_ms);
    add_mark(d, MARK "error_code", "%s", why->code);
    add_mark(d, MARK "error_message", "%s",
             text_bounded(text, sizeof text, why->text, strlen(why->text)));
    add_mark(d, MARK "attempts", "%d", why->attempts);
}

enum outcome dlq_send(struct producer *p, const struct record_view *rec,
                      const struct dead_letter *why, producer_done *done, void *arg,
                      struct error *err)
{
    struct dead *d = xcalloc(1, sizeof *d);
    *d = (struct dead){ .producer = p, .done = done, .arg = arg, .value_n = rec->value_n };
    arena_init(&d->arena, size_of(rec) + (rec->n_headers + MARKS + 1) * sizeof *rec->headers +
                              ARENA_OVERHEAD_BYTES);
    d->topic = why->topic ? arena_strdup(&d->arena, why->topic)
                          : arena_printf(&d->arena, "%s.dlq", rec->topic);
    d->draft.key = rec->key ? arena_memdup(&d->arena, rec->key, rec->key_n) : NULL;
    d->draft.key_n = rec->key_n;
    d->headers = arena_alloc_array(&d->arena, rec->n_headers + MARKS + 1, sizeof *d->headers);
    d->draft.headers = d->headers;
    assert(d->topic && d->headers);
    add_headers(d, rec, why);

    struct record_draft whole = d->draft;
    whole.value = rec->value;
    whole.value_n = rec->value_n;
    enum outcome outcome = producer_send(p, d->topic, &whole, on_first, d, err);
    if (outcome == REFUSED)
        outcome = send_again(d, err);
    if (outcome != OK) {
        arena_free(&d->arena);
        free(d);
    }
    return outcome;
}
