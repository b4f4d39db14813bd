#include "planner/live.h"

#include "common/buf.h"
#include "common/memory.h"
#include "common/metrics.h"

#include <stdlib.h>

enum { VALUE_BYTES_MAX = 6 * LIVE_PIECE_BYTES + 512 /* JSON needs six bytes for one at most */ };

/* An item of the reply, as far as it was heard. */
struct live_item {
    enum reply_item_type type;
    int index;
    int64_t bytes; /* that were handed on, or dropped */
};

struct live_attempt {
    const struct live_sink *sink;
    struct tokens_place place;
    struct live_item *items;
    size_t count, room;
    size_t at;       /* the item that `said` belongs to */
    struct buf said; /* and was not sent yet */
    struct buf value;
    int64_t bytes; /* of all items */
    struct loop_timer timer;
};

static struct metric pieces_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_live_pieces_total",
    .help = "Pieces of live tokens, by what became of them (sent, dropped).",
    .labels = { "fate" },
};

/* ---- sending --------------------------------------------------------------------- */

static void send_value(struct live_attempt *a)
{
    bool sent = a->sink->send(a->sink->arg, &a->place.run, a->value.data, a->value.len);
    metric_add(metric_with(&pieces_total, sent ? "sent" : "dropped"), 1);
    buf_reset(&a->value);
}

/* How many bytes at the end are the beginning of a character that is not all there. */
static size_t unfinished(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t whole = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return whole > back ? back : 0;
    }
    return 0;
}

/* Sends what was gathered; a character that has only begun waits for its rest. */
static void flush(struct live_attempt *a, bool all)
{
    size_t n = a->said.len - (all ? 0 : unfinished(a->said.data, a->said.len));
    if (n == 0)
        return;
    struct live_item *item = &a->items[a->at];
    tokens_write(&a->value, &a->place, item->type == REPLY_REASONING ? "reasoning" : "text",
                 item->index, item->bytes, a->said.data, n);
    item->bytes += (int64_t)n;
    buf_drop_front(&a->said, n);
    send_value(a);
}

static void on_timer(void *arg)
{
    flush(arg, false);
}

/* ---- hearing --------------------------------------------------------------------- */

/* Makes `at` the item; false: there are too many. */
static bool turn_to(struct live_attempt *a, enum reply_item_type type, int index)
{
    size_t at = a->count;
    while (at > 0 && (a->items[at - 1].index != index || a->items[at - 1].type != type))
        at--;
    if (at == 0 && a->count == LIVE_ITEMS_MAX)
        return false;
    if (at == 0 && a->count == a->room) {
        a->room = a->room > 0 ? 2 * a->room : 2;
        a->items = xreallocarray(a->items, a->room, sizeof *a->items);
    }
    if (at == 0) {
        a->items[a->count++] = (struct live_item){ .type = type, .index = index };
        at = a->count;
    }
    if (at - 1 != a->at)
        flush(a, true);
    a->at = at - 1;
    return true;
}

static void hear(void *arg, enum reply_item_type type, int index, const char *bytes, size_t n)
{
    struct live_attempt *a = arg;
    if (!turn_to(a, type, index))
        return;
    a->bytes += (int64_t)n;
    while (n > 0) {
        size_t room = LIVE_PIECE_BYTES - a->said.len;
        size_t take = n < room ? n : room;
        buf_add(&a->said, bytes, take);
        bytes += take;
        n -= take;
        if (take == room)
            flush(a, false);
    }
    if (a->said.len > 0 && !loop_timer_active(&a->timer))
        loop_timer_start(&a->timer, LIVE_GATHER_MS);
}

struct reader_listener live_listener(struct live_attempt *a)
{
    return (struct reader_listener){ hear, a };
}

/* ---- beginning and end ------------------------------------------------------------- */

struct live_attempt *live_begin(const struct live_sink *sink, const struct tokens_place *place)
{
    struct live_attempt *a = xcalloc(1, sizeof *a);
    a->sink = sink;
    a->place = *place;
    buf_init(&a->said, LIVE_PIECE_BYTES);
    buf_init(&a->value, VALUE_BYTES_MAX);
    loop_timer_init(sink->loop, &a->timer, on_timer, a);
    metrics_register(&pieces_total);
    return a;
}

void live_end(struct live_attempt *a, bool committed)
{
    if (!a)
        return;
    flush(a, true);
    tokens_write_end(&a->value, &a->place, committed, a->bytes);
    send_value(a);
    loop_timer_close(&a->timer);
    buf_release(&a->said);
    buf_release(&a->value);
    free(a->items);
    free(a);
}
