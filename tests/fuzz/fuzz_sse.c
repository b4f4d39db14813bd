/*
 * fuzz_sse.c -- any bytes, in any cut, give the same events in bounded memory.
 *
 * The first byte chooses the size of the pieces; the rest is the stream. It is fed
 * whole and in pieces, and what the two parsers saw is compared.
 */
#include "common/sse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 256 };

struct witness {
    struct buf seen;
    size_t events;
};

static enum outcome note(void *arg, const struct sse_event *ev, struct error *err)
{
    (void)err;
    struct witness *w = arg;
    if (ev->data_bytes > LIMIT || ev->data[ev->data_bytes] != '\0')
        abort();
    w->events++;
    buf_printf(&w->seen, "%s|%zu|", ev->type, ev->data_bytes);
    buf_add(&w->seen, ev->data, ev->data_bytes);
    buf_printf(&w->seen, "|%s;", ev->last_id);
    return w->events == 1000 ? STALE : OK;
}

static enum outcome read_all(struct sse *s, struct witness *w, const char *bytes, size_t n,
                             size_t piece)
{
    struct error err;
    enum outcome outcome = OK;
    buf_init(&w->seen, SIZE_MAX / 2);
    w->events = 0;
    sse_init(s, LIMIT, note, w);
    for (size_t at = 0; at < n && outcome == OK; at += piece) {
        size_t now = piece < n - at ? piece : n - at;
        outcome = sse_feed(s, bytes + at, now, &err);
        if (s->line.cap > LIMIT + 1 || s->data.cap > LIMIT + 2)
            abort();
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sse whole, cut;
    struct witness of_whole, of_cut;
    if (size < 1)
        return 0;
    const char *bytes = (const char *)data + 1;
    size_t n = size - 1;
    enum outcome a = read_all(&whole, &of_whole, bytes, n, n ? n : 1);
    enum outcome b = read_all(&cut, &of_cut, bytes, n, 1 + data[0] % 32);
    if (a != b || of_whole.events != of_cut.events || of_whole.seen.len != of_cut.seen.len ||
        memcmp(of_whole.seen.data, of_cut.seen.data, of_cut.seen.len) != 0 ||
        (a == OK &&
         (whole.retry_ms != cut.retry_ms || sse_at_boundary(&whole) != sse_at_boundary(&cut))))
        abort();
    sse_release(&whole);
    sse_release(&cut);
    buf_release(&of_whole.seen);
    buf_release(&of_cut.seen);
    return 0;
}
