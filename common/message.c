#include "common/message.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    DOORBELL_BYTES_MAX = 4096,
    DOORBELL_DEPTH_MAX = 8,
    EVENT_HEADERS = 10,
    EVENT_ERROR_BYTES_MAX = 4096
};

const struct record_header *record_header(const struct record_view *rec, const char *name)
{
    /* Kafka allows a name more than once; what was added last counts, as with
     * the Java client's lastHeader().                                        */
    for (size_t i = rec->n_headers; i-- > 0;)
        if (strcasecmp(rec->headers[i].name, name) == 0)
            return &rec->headers[i];
    return NULL;
}

/* ---- doorbells ----------------------------------------------------------- */

bool doorbell_write(struct buf *out, const struct doorbell *d)
{
    char run[UUID_TEXT_SIZE];
    uuid_format(&d->run, run);
    if (d->index == DOORBELL_PLAN)
        return buf_printf(out, "{\"v\":%d,\"run\":\"%s\",\"step\":%d}", DOORBELL_VERSION, run,
                          d->step);
    return buf_printf(out, "{\"v\":%d,\"run\":\"%s\",\"step\":%d,\"index\":%d}", DOORBELL_VERSION,
                      run, d->step, d->index);
}

/* A member that must be a whole number within int, from `min` up. */
static enum outcome read_number(const json_t *object, const char *name, int min, int *out,
                                struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!value)
        return fail(err, REFUSED, "doorbell: field '%s' is missing", name);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < min || number > INT32_MAX)
        return fail(err, REFUSED, "doorbell: field '%s' must be a whole number from %d up", name,
                    min);
    *out = (int)number;
    return OK;
}

static enum outcome doorbell_from_json(const json_t *object, struct doorbell *d, struct error *err)
{
    int version = 0;
    if (!json_is_object(object))
        return fail(err, REFUSED, "doorbell: a JSON object is expected");
    enum outcome outcome = read_number(object, "v", 0, &version, err);
    if (outcome != OK)
        return outcome;
    if (version != DOORBELL_VERSION)
        return fail(err, REFUSED,
                    "doorbell: field 'v' is %d and this program reads version %d; the sender and "
                    "this program are of releases too far apart",
                    version, DOORBELL_VERSION);
    const char *run = json_str(object, "run");
    if (!run)
        return fail(err, REFUSED, "doorbell: field 'run' must be a string");
    if (uuid_parse(run, &d->run, NULL) != OK)
        return fail(err, REFUSED, "doorbell: field 'run' must be a UUID");
    if ((outcome = read_number(object, "step", 0, &d->step, err)) != OK)
        return outcome;
    d->index = DOORBELL_PLAN;
    return json_object_get(object, "index") ? read_number(object, "index", 0, &d->index, err) : OK;
}

enum outcome doorbell_read(const char *bytes, size_t n, struct doorbell *d, struct error *err)
{
    static const struct json_limits limits = { DOORBELL_BYTES_MAX, DOORBELL_DEPTH_MAX };
    if (!bytes)
        return fail(err, REFUSED, "doorbell: null value");
    json_t *object;
    enum outcome outcome = json_read(bytes, n, &limits, &object, err);
    if (outcome != OK)
        return outcome;
    *d = (struct doorbell){ 0 };
    outcome = doorbell_from_json(object, d, err);
    json_decref(object);
    return outcome;
}

size_t doorbell_key(const struct doorbell *d, char key[DOORBELL_KEY_SIZE])
{
    char run[UUID_TEXT_SIZE];
    uuid_format(&d->run, run);
    int n = d->index == DOORBELL_PLAN ? snprintf(key, DOORBELL_KEY_SIZE, "%s", run)
                                      : snprintf(key, DOORBELL_KEY_SIZE, "%s/%d/%d", run, d->step,
                                                 d->index / DOORBELL_NEIGHBOURS);
    assert(n > 0 && n < DOORBELL_KEY_SIZE);
    return (size_t)n;
}

/* ---- live tokens ------------------------------------------------------------ */

static void tokens_begin(struct buf *out, const struct tokens_place *place, const char *kind)
{
    char run[UUID_TEXT_SIZE];
    uuid_format(&place->run, run);
    buf_printf(out,
               "{\"v\":%d,\"run\":\"%s\",\"epoch\":%d,\"step\":%d,\"version\":%d,"
               "\"kind\":\"%s\"",
               TOKENS_VERSION, run, place->epoch, place->step, place->version, kind);
}

bool tokens_write(struct buf *out, const struct tokens_place *place, const char *kind, int index,
                  int64_t offset, const char *text, size_t n)
{
    tokens_begin(out, place, kind);
    buf_printf(out, ",\"index\":%d,\"offset\":%" PRId64 ",\"text\":", index, offset);
    buf_add_json_string(out, text, n);
    return buf_putc(out, '}');
}

bool tokens_write_end(struct buf *out, const struct tokens_place *place, bool committed,
                      int64_t bytes)
{
    tokens_begin(out, place, "end");
    return buf_printf(out, ",\"outcome\":\"%s\",\"bytes\":%" PRId64 "}",
                      committed ? "committed" : "dropped", bytes);
}

/* ---- run events ---------------------------------------------------------- */

static const char *const event_names[RUN_EVENT_KINDS] = {
    [RUN_EVENT_ACCEPTED] = "accepted",   [RUN_EVENT_WAITING] = "waiting",
    [RUN_EVENT_SUCCEEDED] = "succeeded", [RUN_EVENT_FAILED] = "failed",
    [RUN_EVENT_CANCELLED] = "cancelled",
};

const char *run_event_name(enum run_event_kind kind)
{
    return kind < RUN_EVENT_KINDS ? event_names[kind] : "?";
}

/* {"<key>": <value>} added to object; nothing for NULL. */
static void put(json_t *object, const char *key, const char *value)
{
    if (value)
        (void)json_object_set_new(object, key, json_string(value));
}

static json_t *put_object(json_t *object, const char *key)
{
    json_t *inner = json_object();
    (void)json_object_set_new(object, key, inner);
    return inner;
}

/* A broker refuses records over about 1 MB for good, and JSON may need six
 * bytes for one: a longer answer is cut here, and stays whole in Postgres.  */
static void put_answer(json_t *data, const char *answer)
{
    size_t n = strlen(answer);
    size_t keep = 0;
    uint32_t code_point;
    if (n <= EVENT_ANSWER_BYTES_MAX) {
        put(data, "answer", answer);
        return;
    }
    for (size_t step; (step = text_utf8_next(answer + keep, n - keep, &code_point)) > 0 &&
                      keep + step <= EVENT_ANSWER_BYTES_MAX;)
        keep += step;
    (void)json_object_set_new(data, "answer", json_stringn(answer, keep));
    (void)json_object_set_new(data, "answer_bytes", json_integer((json_int_t)n));
}

static void put_error(json_t *data, const char *code, const char *text)
{
    char shown[EVENT_ERROR_BYTES_MAX];
    json_t *error = put_object(data, "error");
    put(error, "code", code);
    if (text)
        put(error, "text", text_bounded(shown, sizeof shown, text, strlen(text)));
}

static json_t *event_data(const struct run_event_view *ev, const char *run)
{
    json_t *data = json_object();
    put(data, "run", run);
    put(data, "agent", ev->agent);
    put(data, "revision", ev->revision);
    put(data, "tenant", ev->tenant);
    put(data, "class", ev->class);
    put(data, "status", ev->status ? ev->status : run_event_name(ev->kind));
    (void)json_object_set_new(data, "epoch", json_integer(ev->epoch));
    (void)json_object_set_new(data, "step", json_integer(ev->step));
    if (ev->answer)
        put_answer(data, ev->answer);
    if (ev->error_code || ev->error_text)
        put_error(data, ev->error_code, ev->error_text);
    if (ev->request_source || ev->request_id) {
        json_t *request = put_object(data, "request");
        put(request, "source", ev->request_source);
        put(request, "id", ev->request_id);
    }
    return data;
}

struct header_list {
    struct record_header *items;
    size_t count;
    bool full; /* the arena was */
};

static void add_header(struct header_list *list, const char *name, const char *value)
{
    if (!value) {
        list->full = true;
        return;
    }
    assert(list->count < EVENT_HEADERS);
    list->items[list->count++] = (struct record_header){ name, value, strlen(value) };
}

static void event_headers(const struct run_event_view *ev, const char *run, struct arena *arena,
                          struct header_list *list)
{
    const char *name = run_event_name(ev->kind);
    char time[CLOCK_ISO_SIZE];
    clock_format_iso(ev->time_ms, time);
    add_header(list, "ce_specversion", "1.0");
    add_header(list, "ce_id",
               arena_printf(arena, "%s/%d/%s/%" PRId64, run, ev->epoch, name, ev->seq));
    add_header(list, "ce_source", "pawl");
    add_header(list, "ce_type", arena_printf(arena, "dev.pawl.run.%s.v1", name));
    add_header(list, "ce_subject", run);
    add_header(list, "ce_time", arena_strdup(arena, time));
    add_header(list, "content-type", "application/json");
    if (ev->traceparent)
        add_header(list, "traceparent", arena_strdup(arena, ev->traceparent));
    if (ev->tracestate)
        add_header(list, "tracestate", arena_strdup(arena, ev->tracestate));
}

enum outcome event_write(const struct run_event_view *ev, struct arena *arena,
                         struct record_draft *out, struct error *err)
{
    char text[UUID_TEXT_SIZE];
    uuid_format(&ev->run, text);
    const char *run = arena_strdup(arena, text);
    struct header_list list = { arena_alloc_array(arena, EVENT_HEADERS, sizeof *list.items), 0,
                                false };
    if (!run || !list.items)
        return fail(err, REFUSED, "no room for the event of a run");
    event_headers(ev, run, arena, &list);

    json_t *data = event_data(ev, run);
    char *value = json_dumps(data, JSON_COMPACT);
    json_decref(data);
    /* jansson refuses what is not UTF-8, and all our texts were checked. */
    assert(value);
    const char *kept = arena_strdup(arena, value);
    size_t value_n = strlen(value);
    free(value);
    if (!kept || list.full)
        return fail(err, REFUSED, "no room for the event of a run");
    *out = (struct record_draft){
        .key = run,
        .key_n = strlen(run),
        .value = kept,
        .value_n = value_n,
        .headers = list.items,
        .n_headers = list.count,
    };
    return OK;
}
