#include "planner/arrival.h"

#include "common/fault.h"
#include "common/log.h"
#include "planner/json_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRY_AGAIN_MS = 250,
    TRY_AGAIN_MAX_MS = 30000,
    ARENA_ROOM_BYTES = 64 * 1024,
    ARENA_SHARE = 4, /* of the record's size: its copy, and the strings read from it */
};

struct arrival_step {
    const char *name;
    void (*enter)(struct arrival *a);
    enum arrival_state (*answer)(struct arrival *a, const struct arrival_event *ev);
    unsigned next;
};

#define TO(state) (1u << (state))

static void arrival_go(struct arrival *a, enum arrival_state to);

static enum arrival_state after_all(const struct arrival *a)
{
    return a->noted ? ARRIVAL_CLOSE : ARRIVAL_DONE;
}

/* `code` is static; the text is a->error's. */
static enum arrival_state bury(struct arrival *a, const char *code)
{
    a->why = (struct dead_letter){
        .topic = a->settings->dlq,
        .code = code,
        .text = a->error.text,
        .group = a->settings->group,
        .attempts = a->why.attempts ? a->why.attempts : 1,
    };
    a->ports->told(a->ports->self, code);
    log_event(LOG_WARN, "request refused", LOG_STR("topic", a->record.topic),
              LOG_INT("partition", a->record.partition), LOG_INT("offset", a->record.offset),
              LOG_STR("code", code), LOG_WHY(&a->error), LOG_END);
    return ARRIVAL_BURY;
}

/* ---- open -------------------------------------------------------------------------- */

static void open_enter(struct arrival *a)
{
    a->ports->open(a->ports->self, a, a->ticket);
}

static enum arrival_state open_answer(struct arrival *a, const struct arrival_event *ev)
{
    if (ev->outcome != OK)
        return ARRIVAL_OPEN;
    a->noted = true;
    FAULT_POINT(PLANNER_AFTER_OPEN);
    a->why.attempts = ev->count;
    if (ev->count <= a->settings->deaths_max)
        return ARRIVAL_READ;
    (void)fail(&a->error, REFUSED,
               "%d planners died with this record in their hands; it was not read again",
               ev->count - 1);
    return bury(a, "killed_workers");
}

/* ---- read -------------------------------------------------------------------------- */

static void put(json_t *object, const char *key, const char *value)
{
    if (value)
        (void)json_object_set_new(object, key, json_string(value));
}

/* What travels with the run and is no part of its input, as JSON; NULL: nothing. */
static const char *write_meta(struct arrival *a)
{
    json_t *meta = json_object();
    put(meta, "subject", a->request.subject);
    put(meta, "traceparent", a->request.traceparent);
    put(meta, "tracestate", a->request.tracestate);
    const char *kept = NULL;
    if (json_object_size(meta) > 0) {
        char *text = json_text(meta);
        kept = arena_strdup(&a->arena, text);
        free(text);
    }
    json_decref(meta);
    return kept;
}

static void read_enter(struct arrival *a)
{
    FAULT_POINT(PLANNER_AFTER_CONSUME);
    enum outcome outcome =
        request_read(&a->record, &a->settings->limits, &a->arena, &a->request, &a->error);
    if (outcome != OK) {
        arrival_go(a, bury(a, request_fault_code(a->request.fault)));
        return;
    }
    a->input = json_text(a->request.input);
    a->accept = (struct store_accept){
        .source = a->request.source,
        .id = a->request.id,
        .digest = a->request.digest,
        .agent = a->request.agent,
        .tenant = a->settings->tenant,
        .class = a->settings->class,
        .input = a->input,
        .meta = write_meta(a),
        .deadline_ms = a->request.deadline_wall_ms,
        .timeout_ms = a->request.timeout_ms,
        .priority = a->request.priority,
        .budget_tokens = a->request.budget_tokens,
        .budget_micros = a->request.budget_micros,
        .record_time_ms = a->record.timestamp_ms > 0 ? a->record.timestamp_ms : 0,
    };
    arrival_go(a, ARRIVAL_ACCEPT);
}

/* ---- accept ------------------------------------------------------------------------ */

static void accept_enter(struct arrival *a)
{
    a->ports->accept(a->ports->self, a, a->ticket, &a->accept);
}

static const char *refusal_code(enum store_accept_answer answer)
{
    switch (answer) {
    case STORE_CONFLICT: return "conflict";
    case STORE_UNKNOWN_AGENT: return "unknown_agent";
    case STORE_TOO_OLD: return "too_old";
    case STORE_PAST_DEADLINE: return "past_deadline";
    case STORE_ACCEPTED:
    case STORE_QUEUED:
    case STORE_DUPLICATE:
    case STORE_BAD_REQUEST: break;
    }
    return "bad_request";
}

static enum arrival_state accept_answer(struct arrival *a, const struct arrival_event *ev)
{
    if (ev->outcome == RETRY)
        return ARRIVAL_ACCEPT;
    if (ev->outcome != OK) {
        a->error = *ev->err;
        return bury(a, "bad_request");
    }
    const struct store_accepted *answer = ev->accepted;
    if (answer->answer == STORE_DUPLICATE) {
        a->ports->told(a->ports->self, "duplicate");
        return after_all(a);
    }
    bool queued = answer->answer == STORE_QUEUED;
    if (answer->answer != STORE_ACCEPTED && !queued) {
        (void)fail(&a->error, REFUSED, "%s", answer->detail ? answer->detail : "refused");
        return bury(a, refusal_code(answer->answer));
    }
    FAULT_POINT(PLANNER_AFTER_ACCEPT);
    a->ports->told(a->ports->self, queued ? "queued" : "accepted");
    if (!queued) { /* who gives it a place will ring */
        const struct doorbell bell = { answer->run, 1, DOORBELL_PLAN };
        a->ports->ring(a->ports->self, &bell);
    }
    if (answer->event_id)
        a->ports->announce(a->ports->self, answer->event_id);
    return after_all(a);
}

/* ---- bury, close, done -------------------------------------------------------------- */

static void bury_enter(struct arrival *a)
{
    a->ports->bury(a->ports->self, a, a->ticket, &a->why);
}

/* Nothing may be lost: only a dead letter that the broker has lets the record go. */
static enum arrival_state bury_answer(struct arrival *a, const struct arrival_event *ev)
{
    if (ev->outcome != OK)
        return ARRIVAL_BURY;
    FAULT_POINT(PLANNER_AFTER_DEAD_LETTER);
    return after_all(a);
}

static void close_enter(struct arrival *a)
{
    a->ports->close(a->ports->self, a, a->ticket);
}

static enum arrival_state close_answer(struct arrival *a, const struct arrival_event *ev)
{
    (void)a;
    if (ev->outcome == RETRY)
        return ARRIVAL_CLOSE;
    FAULT_POINT(PLANNER_AFTER_CLOSE);
    return ARRIVAL_DONE;
}

static void done_enter(struct arrival *a)
{
    a->ports->ended(a->ports->self, a);
}

/* clang-format off */
static const struct arrival_step steps[ARRIVAL_STATES] = {
    [ARRIVAL_OPEN]   = { "open",   open_enter,   open_answer,   TO(ARRIVAL_OPEN) | TO(ARRIVAL_READ) | TO(ARRIVAL_BURY) | TO(ARRIVAL_DONE) },
    [ARRIVAL_READ]   = { "read",   read_enter,   NULL,          TO(ARRIVAL_ACCEPT) | TO(ARRIVAL_BURY) },
    [ARRIVAL_ACCEPT] = { "accept", accept_enter, accept_answer, TO(ARRIVAL_ACCEPT) | TO(ARRIVAL_BURY) | TO(ARRIVAL_CLOSE) | TO(ARRIVAL_DONE) },
    [ARRIVAL_BURY]   = { "bury",   bury_enter,   bury_answer,   TO(ARRIVAL_BURY) | TO(ARRIVAL_CLOSE) | TO(ARRIVAL_DONE) },
    [ARRIVAL_CLOSE]  = { "close",  close_enter,  close_answer,  TO(ARRIVAL_CLOSE) | TO(ARRIVAL_DONE) },
    [ARRIVAL_DONE]   = { "done",   done_enter,   NULL,          0 },
};
/* clang-format on */

const char *arrival_state_name(unsigned state)
{
    return state < ARRIVAL_STATES ? steps[state].name : "?";
}

/* The only place where `state` changes.  Nothing may touch `a` after it. */
static void arrival_go(struct arrival *a, enum arrival_state to)
{
    assert(steps[a->state].next & TO(to));
    bool again = a->state == to;
    a->state = to;
    a->ticket++;
    a->paused = again;
    a->taken = to == ARRIVAL_DONE && !a->dropped;
    if (again) {
        int64_t wait_ms = TRY_AGAIN_MS;
        for (int i = 0; i < a->tries && wait_ms < TRY_AGAIN_MAX_MS; i++)
            wait_ms *= 2;
        a->tries++;
        a->ports->later(a->ports->self, a, a->ticket,
                        wait_ms < TRY_AGAIN_MAX_MS ? wait_ms : TRY_AGAIN_MAX_MS);
        return;
    }
    a->tries = 0;
    steps[to].enter(a);
}

/* ---- life ------------------------------------------------------------------------------ */

static void copy_record(struct arrival *a, const struct record_view *rec)
{
    struct record_header *headers = arena_alloc_array(&a->arena, rec->n_headers, sizeof *headers);
    a->record = *rec;
    a->record.topic = arena_strdup(&a->arena, rec->topic);
    a->record.key = rec->key ? arena_memdup(&a->arena, rec->key, rec->key_n) : NULL;
    a->record.value = rec->value ? arena_memdup(&a->arena, rec->value, rec->value_n) : NULL;
    a->record.headers = headers;
    for (size_t i = 0; headers && i < rec->n_headers; i++) {
        const struct record_header *from = &rec->headers[i];
        headers[i].name = arena_strdup(&a->arena, from->name);
        headers[i].value = from->value ? arena_memdup(&a->arena, from->value, from->value_n) : NULL;
        headers[i].value_n = from->value_n;
    }
}

static size_t size_of(const struct record_view *rec)
{
    size_t n = strlen(rec->topic) + rec->key_n + rec->value_n;
    for (size_t i = 0; i < rec->n_headers; i++)
        n += sizeof(struct record_header) + strlen(rec->headers[i].name) + rec->headers[i].value_n +
             4 * sizeof(max_align_t);
    return n;
}

void arrival_init(struct arrival *a, const struct arrival_ports *ports,
                  const struct arrival_settings *settings, const struct record_view *rec,
                  struct consumer_slot slot)
{
    *a = (struct arrival){
        .ports = ports, .settings = settings, .slot = slot, .ticket = 1, .size_bytes = size_of(rec)
    };
    arena_init(&a->arena, ARENA_SHARE * a->size_bytes + ARENA_ROOM_BYTES);
    copy_record(a, rec);
}

void arrival_start(struct arrival *a, bool suspect)
{
    a->state = suspect ? ARRIVAL_OPEN : ARRIVAL_READ;
    steps[a->state].enter(a);
}

void arrival_resume(struct arrival *a, const struct arrival_event *ev)
{
    if (ev->ticket != a->ticket || !steps[a->state].answer)
        return; /* late answer of an operation we gave up on */
    if (a->paused) {
        a->paused = false;
        a->ticket++;
        steps[a->state].enter(a);
        return;
    }
    arrival_go(a, steps[a->state].answer(a, ev));
}

void arrival_drop(struct arrival *a)
{
    if (a->state == ARRIVAL_DONE)
        return;
    a->ports->forget(a->ports->self, a);
    a->dropped = true;
    arrival_go(a, ARRIVAL_DONE);
}

void arrival_release(struct arrival *a)
{
    free(a->input);
    arena_free(&a->arena);
    *a = (struct arrival){ .state = ARRIVAL_DONE };
}
