#include "common/sse.h"

#include <assert.h>
#include <string.h>

enum { MARK_BYTES = 3 };
static const char byte_order_mark[MARK_BYTES] = { '\xef', '\xbb', '\xbf' };

/* A reconnection time beyond this is no better than this: one day. */
#define RETRY_MAX_MS INT64_C(86400000)

void sse_init(struct sse *s, size_t limit_bytes, sse_fn fn, void *arg)
{
    assert(limit_bytes > 0 && limit_bytes < SIZE_MAX / 2);
    *s = (struct sse){ .fn = fn, .arg = arg, .limit_bytes = limit_bytes, .retry_ms = -1 };
    buf_init(&s->line, limit_bytes);
    buf_init(&s->data, limit_bytes + 1); /* the last LF is taken off again */
    buf_init(&s->type, limit_bytes);
    buf_init(&s->last_id, limit_bytes);
}

void sse_release(struct sse *s)
{
    buf_release(&s->line);
    buf_release(&s->data);
    buf_release(&s->type);
    buf_release(&s->last_id);
}

bool sse_at_boundary(const struct sse *s)
{
    bool half_mark = !s->past_mark && s->mark_seen > 0;
    return !half_mark && s->line.len == 0 && s->data.len == 0 && s->type.len == 0;
}

/* The empty line: what was gathered becomes an event, if it has data. */
static enum outcome dispatch(struct sse *s, struct error *err)
{
    enum outcome outcome = OK;
    if (s->data.len > 0) {
        s->data.data[--s->data.len] = '\0';
        struct sse_event event = {
            .type = s->type.len > 0 ? s->type.data : "message",
            .data = s->data.data,
            .data_bytes = s->data.len,
            .last_id = s->last_id.data,
        };
        outcome = s->fn(s->arg, &event, err);
    }
    buf_reset(&s->data);
    buf_reset(&s->type);
    return outcome;
}

static bool replace(struct buf *b, const char *value, size_t n)
{
    buf_reset(b);
    return buf_add(b, value, n);
}

static void set_retry(struct sse *s, const char *value, size_t n)
{
    int64_t ms = 0;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (value[i] < '0' || value[i] > '9')
            return;
        if (ms < RETRY_MAX_MS)
            ms = ms * 10 + (value[i] - '0');
    }
    s->retry_ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static bool is(const char *name, size_t n, const char *expected)
{
    return n == strlen(expected) && memcmp(name, expected, n) == 0;
}

/* False when there is no memory for it. */
static bool take_field(struct sse *s, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    size_t name_bytes = colon ? (size_t)(colon - line) : n;
    const char *value = colon ? colon + 1 : line + n;
    size_t value_bytes = n - (size_t)(value - line);
    if (value_bytes > 0 && *value == ' ') {
        value++;
        value_bytes--;
    }
    if (is(line, name_bytes, "data"))
        return buf_add(&s->data, value, value_bytes) && buf_putc(&s->data, '\n');
    if (is(line, name_bytes, "event"))
        return replace(&s->type, value, value_bytes);
    if (is(line, name_bytes, "id"))
        return memchr(value, '\0', value_bytes) || replace(&s->last_id, value, value_bytes);
    if (is(line, name_bytes, "retry"))
        set_retry(s, value, value_bytes);
    return true; /* a comment has an empty name, and so is ignored like any unknown field */
}

static enum outcome too_large(const struct sse *s, struct error *err)
{
    return fail(err, REFUSED, "an event of the stream is larger than %zu bytes", s->limit_bytes);
}

static bool fits(const struct sse *s, size_t more)
{
    size_t held = s->data.len + s->type.len + s->line.len;
    return held <= s->limit_bytes && more <= s->limit_bytes - held;
}

static enum outcome take_line(struct sse *s, const char *line, size_t n, struct error *err)
{
    if (n == 0)
        return dispatch(s, err);
    return take_field(s, line, n) ? OK : too_large(s, err);
}

/* A line has ended; `tail` is the part of it that is not in s->line yet. */
static enum outcome end_line(struct sse *s, const char *tail, size_t n, struct error *err)
{
    if (!fits(s, n))
        return too_large(s, err);
    if (s->line.len == 0)
        return take_line(s, tail, n, err);
    if (!buf_add(&s->line, tail, n))
        return too_large(s, err);
    enum outcome outcome = take_line(s, s->line.data, s->line.len, err);
    buf_reset(&s->line);
    return outcome;
}

static enum outcome feed_lines(struct sse *s, const char *bytes, size_t n, struct error *err)
{
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        bool second_half = c == '\n' && s->skip_lf;
        s->skip_lf = c == '\r';
        if (second_half) {
            begin = i + 1;
            continue;
        }
        if (c != '\n' && c != '\r')
            continue;
        enum outcome outcome = end_line(s, bytes + begin, i - begin, err);
        if (outcome != OK)
            return outcome;
        begin = i + 1;
    }
    if (begin == n)
        return OK;
    if (!fits(s, n - begin) || !buf_add(&s->line, bytes + begin, n - begin))
        return too_large(s, err);
    return OK;
}

/* Skips a byte order mark at the very start. When the bytes turn out to be
 * something else, those held back go on to the lines.                       */
static enum outcome feed_start(struct sse *s, const char **bytes, size_t *n, struct error *err)
{
    while (*n > 0 && s->mark_seen < MARK_BYTES && **bytes == byte_order_mark[s->mark_seen]) {
        s->mark_seen++;
        (*bytes)++;
        (*n)--;
    }
    if (s->mark_seen >= MARK_BYTES) {
        s->past_mark = true;
        return OK;
    }
    if (*n == 0)
        return OK;
    s->past_mark = true;
    return feed_lines(s, byte_order_mark, s->mark_seen, err);
}

enum outcome sse_feed(struct sse *s, const char *bytes, size_t n, struct error *err)
{
    if (s->ended != OK)
        return fail(err, s->ended, "the stream has already been ended");
    enum outcome outcome = s->past_mark ? OK : feed_start(s, &bytes, &n, err);
    if (outcome == OK && n > 0)
        outcome = feed_lines(s, bytes, n, err);
    s->ended = outcome;
    return outcome;
}
