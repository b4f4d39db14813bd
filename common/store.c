#include "common/store.h"

#include "common/log.h"
#include "common/memory.h"
#include "common/store_core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations --------------------------------------------------------------- */

static uint32_t slot_take(struct store *s)
{
    if (s->free_slot == UINT32_MAX) {
        uint32_t more = s->slot_count ? s->slot_count * 2 : 64;
        s->slots = xreallocarray(s->slots, more, sizeof *s->slots);
        for (uint32_t i = s->slot_count; i < more; i++)
            s->slots[i] = (struct store_slot){ .next_free = i + 1 < more ? i + 1 : UINT32_MAX };
        s->free_slot = s->slot_count;
        s->slot_count = more;
    }
    uint32_t at = s->free_slot;
    s->free_slot = s->slots[at].next_free;
    return at;
}

struct store_op *store_op_new(struct store *s, enum store_lane_id lane, void *arg)
{
    struct store_op *op = xcalloc(1, sizeof *op);
    uint32_t at = slot_take(s);
    struct store_slot *slot = &s->slots[at];
    slot->op = op;
    slot->generation++;
    op->ticket = ((store_ticket)slot->generation << 32 | at) + 1;
    op->lane = (uint8_t)lane;
    op->arg = arg;
    s->operations++;
    metric_add(s->lanes[lane].operations, 1);
    return op;
}

void store_op_free(struct store *s, struct store_op *op)
{
    uint32_t at = (uint32_t)(op->ticket - 1);
    s->slots[at].op = NULL;
    s->slots[at].next_free = s->free_slot;
    s->free_slot = at;
    s->operations--;
    metric_add(s->lanes[op->lane].operations, -1);
    free(op);
}

void store_pump_soon(struct store *s)
{
    loop_defer(s->loop, &s->pump, store_pump, s);
}

store_ticket store_op_queue(struct store *s, struct store_op *op)
{
    struct store_lane *lane = &s->lanes[op->lane];
    if (!lane->waiting.first || op->linger_until_ms < lane->linger_until_ms)
        lane->linger_until_ms = op->linger_until_ms;
    store_push_back(&lane->waiting, op);
    store_pump_soon(s);
    return op->ticket;
}

void store_cancel_op(struct store *s, store_ticket ticket)
{
    uint32_t at = (uint32_t)(ticket - 1);
    if (ticket == 0 || at >= s->slot_count || !s->slots[at].op || s->slots[at].op->ticket != ticket)
        return;
    struct store_op *op = s->slots[at].op;
    struct store_lane *lane = &s->lanes[op->lane];
    op->cancelled = true;
    bool in_batch = false;
    for (size_t i = 0; lane->busy && i < lane->batch->count; i++)
        in_batch = in_batch || lane->batch->ops[i] == op;
    if (in_batch || (op->sent && lane->def->claims))
        return; /* its answer is still to come */
    store_take_out(op->sent ? &lane->again : &lane->waiting, op);
    store_op_free(s, op);
}

struct store_op *store_op_of(struct store_batch *b, const struct pg_result *rows, int row)
{
    int item = pg_int4(rows, row, 0);
    assert(item >= 0 && (size_t)item < b->count);
    return b->ops[item];
}

struct store_op *store_op_take(struct store_batch *b, const struct pg_result *rows, int row)
{
    struct store_op *op = store_op_of(b, rows, row);
    if (op->answered)
        return NULL;
    op->answered = true;
    return op->cancelled ? NULL : op;
}

struct store_op *store_op_only(struct store_batch *b)
{
    struct store_op *op = b->ops[0];
    op->answered = true;
    return op->cancelled ? NULL : op;
}

enum store_next store_plain_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    (void)s;
    (void)rows;
    for (size_t i = 0; i < b->count; i++) {
        struct store_op *op = b->ops[i];
        op->answered = true;
        if (!op->cancelled && op->done.plain)
            op->done.plain(op->arg, OK, NULL);
    }
    return STORE_FINISHED;
}

void store_plain_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    if (op->done.plain)
        op->done.plain(op->arg, REFUSED, err);
}

/* ---- words of the protocol ------------------------------------------------- */

int store_name_index(const char *const *names, size_t count, const char *text)
{
    for (size_t i = 0; text && i < count; i++)
        if (strcmp(names[i], text) == 0)
            return (int)i;
    return -1;
}

static const char *const claim_answers[] = {
    [STORE_YOURS] = "yours", [STORE_BUSY] = "busy", [STORE_DONE] = "done",
    [STORE_LATER] = "later", [STORE_NO] = "no",     [STORE_DEAD] = "dead",
};

const char *store_claim_answer_name(enum store_claim_answer answer)
{
    return claim_answers[answer];
}

bool store_claim_answer_of(struct store *s, const char *text, enum store_claim_answer *answer,
                           struct error *err)
{
    int at = store_name_index(claim_answers, sizeof claim_answers / sizeof *claim_answers, text);
    if (at < 0) {
        (void)fail(err, REFUSED, "a claim was answered '%s', which this version does not know",
                   text ? text : "");
        return false;
    }
    *answer = (enum store_claim_answer)at;
    if (*answer == STORE_DEAD)
        s->dead = true;
    return true;
}

enum outcome store_commit_outcome(const char *word, struct error *err)
{
    if (strcmp(word, "ok") == 0 || strcmp(word, "done") == 0 || strcmp(word, "stored") == 0)
        return OK;
    if (strcmp(word, "stale") == 0)
        return fail(err, STALE, "the claim is gone and its place is taken");
    if (strcmp(word, "bad") == 0)
        return fail(err, REFUSED, "Postgres finds this commit malformed");
    return fail(err, REFUSED, "a commit was answered '%s', which this version does not know", word);
}

void store_put_known_4(struct pg_params *p, int value)
{
    if (value < 0)
        pg_put_null(p);
    else
        pg_put_int4(p, value);
}

void store_put_known_8(struct pg_params *p, int64_t value)
{
    if (value < 0)
        pg_put_null(p);
    else
        pg_put_int8(p, value);
}

/* ---- connections ----------------------------------------------------------------- */

static void tell_link(struct store *s, enum outcome outcome, const char *text)
{
    if (s->told && s->told_outcome == outcome && strcmp(s->told_text.text, text) == 0)
        return;
    s->told = true;
    s->told_outcome = fail(&s->told_text, outcome, "%s", text);
    log_event(outcome == OK ? LOG_INFO : LOG_WARN,
              outcome == OK ? "postgres is there" : "postgres cannot be used", LOG_STR("why", text),
              LOG_END);
    if (s->calls.on_link)
        s->calls.on_link(s->calls.arg, outcome, text);
}

static int count_up(const struct store *s)
{
    int up = 0;
    for (int i = 0; i < s->link_count; i++)
        up += s->links[i].conn && pg_async_is_up(s->links[i].conn);
    return up;
}

static void on_up(void *arg)
{
    struct store_link *link = arg;
    struct store *s = link->store;

    tell_link(s, OK, "connected");
    store_pump_soon(s);
}

static void on_settled(void *arg)
{
    const struct store_link *link = arg;
    store_pump_soon(link->store);
}

static void on_down(void *arg, enum outcome outcome, const struct error *err)
{
    struct store_link *link = arg;
    struct store *s = link->store;
    if (count_up(s) == 0)
        tell_link(s, outcome, err->text);
}

/* ---- life -------------------------------------------------------------------------- */

enum outcome store_init(struct store **out, struct loop *loop, const struct store_options *options,
                        const struct store_calls *calls, struct error *err)
{
    struct store *s = xcalloc(1, sizeof *s);
    struct pg_async_options connect = {
        .pg = { .dsn = options->dsn, .statement_timeout_ms = options->statement_timeout_ms },
        .program = options->program,
    };
    struct pg_async_calls link_calls = { .on_up = on_up,
                                         .on_down = on_down,
                                         .on_settled = on_settled };
    char application[64];
    enum outcome outcome = OK;

    *out = NULL;
    (void)snprintf(application, sizeof application, "pawl-%s", options->program);
    connect.pg.application = application;
    s->loop = loop;
    s->calls = *calls;
    s->program = xstrdup(options->program);
    s->class = xstrdup(options->class ? options->class : "");
    s->free_slot = UINT32_MAX;
    store_lanes_init(s);
    loop_timer_init(loop, &s->timer, store_pump, s);
    int count = options->connections < 1 ? 1 : options->connections;
    count = count > STORE_LINKS_MAX ? STORE_LINKS_MAX : count;
    for (int i = 0; outcome == OK && i < count; i++) {
        s->links[i].store = s;
        link_calls.arg = &s->links[i];
        outcome = pg_async_init(&s->links[i].conn, loop, &connect, &link_calls, err);
        s->link_count += outcome == OK;
    }
    if (outcome != OK) {
        store_free(s);
        return outcome;
    }
    *out = s;
    return OK;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->link_count; i++)
        pg_async_free(s->links[i].conn);
    s->link_count = 0;
    store_lanes_release(s);
    loop_defer_cancel(&s->pump);
    loop_timer_close(&s->timer);
    free(s->slots);
    free(s->cannot);
    free(s->program);
    free(s->class);
    free(s);
}

void store_set_worker(struct store *s, int64_t incarnation)
{
    s->worker = incarnation;
    store_pump_soon(s);
}

void store_set_cannot(struct store *s, const int64_t *revisions, size_t count)
{
    free(s->cannot);
    s->cannot = xcalloc(count + 1, sizeof *s->cannot);
    if (count > 0)
        memcpy(s->cannot, revisions, count * sizeof *revisions);
    s->cannot_count = count;
}

bool store_is_up(const struct store *s)
{
    return count_up(s) > 0;
}

size_t store_waiting(const struct store *s)
{
    return s->operations;
}
