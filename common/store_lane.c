#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/store_core.h"
#include "common/uuid.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 5000,
    TELL_AGAIN_MS = 10 * 1000,   /* the same trouble is logged this often */
    PARAMS_KEEP_BYTES = 1 << 20, /* a larger buffer is given back after use */
};

static const struct store_lane_def *const defs[LANES] = {
    [LANE_ACCEPT] = &store_lane_accept,
    [LANE_CLAIM_PLANS] = &store_lane_claim_plans,
    [LANE_COMMIT_PLANS] = &store_lane_commit_plans,
    [LANE_CLAIM_ACTIONS] = &store_lane_claim_actions,
    [LANE_COMMIT_ACTIONS] = &store_lane_commit_actions,
    [LANE_CLAIM_DUE] = &store_lane_claim_due,
    [LANE_ADMIT] = &store_lane_admit,
    [LANE_TAKE_QUOTA] = &store_lane_take_quota,
    [LANE_READ_ANNOUNCEMENTS] = &store_lane_read_announcements,
    [LANE_TAKE_ANNOUNCEMENTS] = &store_lane_take_announcements,
    [LANE_ANNOUNCE] = &store_lane_announce,
    [LANE_LEAVE] = &store_lane_leave,
    [LANE_HAND_BACK] = &store_lane_hand_back,
    [LANE_OPEN_RECORD] = &store_lane_open_record,
    [LANE_CLOSE_RECORD] = &store_lane_close_record,
    [LANE_PLANNER_DIED] = &store_lane_planner_died,
    [LANE_READ_REVISIONS] = &store_lane_read_revisions,
    [LANE_READ_CURRENT] = &store_lane_read_current,
    [LANE_FIND_REVISIONS] = &store_lane_find_revisions,
};

static struct metric items_metric = {
    .kind = METRIC_COUNTER,
    .name = "pawl_store_items_total",
    .help = "Operations that were answered, by function of the protocol.",
    .labels = { "lane" },
};
static struct metric statements_metric = {
    .kind = METRIC_COUNTER,
    .name = "pawl_store_statements_total",
    .help = "Statements sent to Postgres, by function and by what became of them.",
    .labels = { "lane", "end" },
};
static struct metric batch_metric = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_store_batch_items",
    .help = "How many operations travelled in one statement.",
    .labels = { "lane" },
    .bounds = (const double[]){ 1, 2, 4, 8, 16, 32, 64, 128, 256 },
    .bounds_count = 9,
};
static struct metric seconds_metric = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_store_statement_seconds",
    .help = "How long a statement took, from the first byte sent to its answer.",
    .labels = { "lane" },
};
static struct metric operations_metric = {
    .kind = METRIC_GAUGE,
    .name = "pawl_store_operations",
    .help = "Operations that are not answered yet.",
    .labels = { "lane" },
};

/* ---- queues ----------------------------------------------------------------- */

void store_push_back(struct store_queue *q, struct store_op *op)
{
    op->prev = q->last;
    op->next = NULL;
    *(q->last ? &q->last->next : &q->first) = op;
    q->last = op;
}

static void push_front(struct store_queue *q, struct store_op *op)
{
    op->prev = NULL;
    op->next = q->first;
    *(q->first ? &q->first->prev : &q->last) = op;
    q->first = op;
}

void store_take_out(struct store_queue *q, struct store_op *op)
{
    *(op->prev ? &op->prev->next : &q->first) = op->next;
    *(op->next ? &op->next->prev : &q->last) = op->prev;
    op->prev = op->next = NULL;
}

/* ---- what becomes of a batch ---------------------------------------------------- */

static void tell_failure(struct store_lane *lane, const char *what, size_t items,
                         const char *sqlstate, const struct error *err)
{
    int64_t now_ms = clock_mono_ms();
    if (lane->told_at_ms != 0 && now_ms - lane->told_at_ms < TELL_AGAIN_MS)
        return;
    lane->told_at_ms = now_ms;
    log_event(LOG_WARN, "a statement failed", LOG_STR("lane", lane->def->statement.name),
              LOG_STR("reaction", what), LOG_INT("items", items), LOG_STR("sqlstate", sqlstate),
              LOG_WHY(err), LOG_END);
}

/* The batch is over: everything answered goes, and nothing else is in it. */
static void batch_close(struct store *s, struct store_lane *lane)
{
    struct store_batch *b = lane->batch;
    for (size_t i = 0; i < b->count; i++)
        store_op_free(s, b->ops[i]);
    b->count = 0;
    pg_result_free(b->first_rows);
    b->first_rows = NULL;
    if (b->params.bytes.cap > PARAMS_KEEP_BYTES)
        pg_params_release(&b->params);
    else
        pg_params_reset(&b->params);
    pg_params_reset(&b->second_params);
    lane->busy = false;
    store_pump_soon(s);
    if (s->dead && !s->dead_told) {
        s->dead_told = true;
        if (s->calls.on_dead)
            s->calls.on_dead(s->calls.arg);
    }
}

/* Who gave up waiting is not asked for again, but for claims: whether they came
 * through must be known.                                                     */
static bool still_wanted(const struct store_lane *lane, const struct store_op *op)
{
    return !op->answered && (!op->cancelled || lane->def->claims);
}

/* Puts ops[from..to) back as one group. */
static void put_back(struct store *s, struct store_lane *lane, size_t from, size_t to)
{
    struct store_batch *b = lane->batch;
    s->last_group++;
    for (size_t i = to; i-- > from;) {
        struct store_op *op = b->ops[i];
        if (!still_wanted(lane, op))
            continue;
        op->group = s->last_group;
        push_front(&lane->again, op);
        b->ops[i] = NULL;
    }
}

/* Keeps in the batch only what is to be freed with it. */
static void keep_rest(struct store_batch *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->count; i++)
        if (b->ops[i])
            b->ops[kept++] = b->ops[i];
    b->count = kept;
}

static void refuse(struct store *s, struct store_lane *lane, const struct error *err)
{
    struct store_batch *b = lane->batch;
    for (size_t i = 0; i < b->count; i++) {
        struct store_op *op = b->ops[i];
        if (op->answered)
            continue;
        op->answered = true;
        if (!op->cancelled)
            lane->def->refuse(s, op, err);
    }
}

/* Nothing is wrong with the items: the same again, a little later. */
static void send_again(struct store *s, struct store_lane *lane)
{
    struct uuid chance = uuid_v4();
    lane->pause_ms = lane->pause_ms ? lane->pause_ms * 2 : PAUSE_MIN_MS;
    if (lane->pause_ms > PAUSE_MAX_MS)
        lane->pause_ms = PAUSE_MAX_MS;
    lane->not_before_ms = clock_mono_ms() + lane->pause_ms / 2 + lane->pause_ms * chance.b[0] / 512;
    put_back(s, lane, 0, lane->batch->count);
    keep_rest(lane->batch);
}

static size_t wanted_count(const struct store_lane *lane)
{
    size_t n = 0;
    for (size_t i = 0; i < lane->batch->count; i++)
        n += still_wanted(lane, lane->batch->ops[i]);
    return n;
}

/* PostgreSQL documentation, appendix A: some item made the statement fail. With
 * another class (42: no such function, no right) no item is at fault, and a
 * person can mend it while everything waits.                                */
static bool is_fault_of_data(enum outcome outcome, const char *sqlstate)
{
    static const char *const classes[] = { "21", "22", "23", "44", "54", "P0" };
    if (outcome == REFUSED && !sqlstate[0])
        return true; /* too large to be sent */
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return true;
    return false;
}

static void batch_failed(struct store *s, struct store_lane *lane, enum outcome outcome,
                         const char *sqlstate, const struct error *err)
{
    struct store_batch *b = lane->batch;
    size_t wanted = wanted_count(lane);
    metric_add(lane->failed, 1);
    if (!is_fault_of_data(outcome, sqlstate)) {
        tell_failure(lane, "send again", wanted, sqlstate, err);
        send_again(s, lane);
    } else if (wanted <= 1) {
        tell_failure(lane, "refuse", wanted, sqlstate, err);
        refuse(s, lane, err);
    } else {
        /* Halves, until the one item that cannot be stored is alone. */
        tell_failure(lane, "split", wanted, sqlstate, err);
        size_t seen = 0, middle = 0;
        while (seen < (wanted + 1) / 2)
            seen += still_wanted(lane, b->ops[middle++]);
        put_back(s, lane, middle, b->count);
        put_back(s, lane, 0, middle);
        keep_rest(b);
    }
    batch_close(s, lane);
}

static void on_answer(void *arg, enum outcome outcome, struct pg_result *rows, const char *sqlstate,
                      const struct error *err);

/* The second statement of the same batch, on the same connection. */
static enum outcome send_second(struct store *s, struct store_link *link, struct store_lane *lane,
                                struct error *err)
{
    struct store_batch *b = lane->batch;
    pg_params_reset(&b->params);
    lane->def->encode_second(s, b);
    link->lane = lane;
    return pg_async_send(link->conn, &lane->def->second, &b->params, on_answer, link, err);
}

static void on_answer(void *arg, enum outcome outcome, struct pg_result *rows, const char *sqlstate,
                      const struct error *err)
{
    struct store_link *link = arg;
    struct store *s = link->store;
    struct store_lane *lane = link->lane;
    struct store_batch *b = lane->batch;
    struct error why;
    link->lane = NULL;
    if (outcome != OK) {
        batch_failed(s, lane, outcome, sqlstate, err);
        return;
    }
    metric_observe(lane->seconds, (double)(clock_mono_ms() - b->sent_at_ms) / 1000.0);
    metric_add(lane->answered, 1);
    lane->pause_ms = 0;
    bool second = b->first_rows != NULL;
    enum store_next next =
        second ? lane->def->decode_second(s, b, rows) : lane->def->decode(s, b, rows);
    if (next == STORE_GO_ON && !second)
        b->first_rows = rows;
    else
        pg_result_free(rows);
    if (next == STORE_GO_ON) {
        assert(pg_async_is_idle(link->conn)); /* only the pump sends, in a turn of its own */
        if (send_second(s, link, lane, &why) != OK) {
            link->lane = NULL;
            batch_failed(s, lane, REFUSED, "", &why);
        }
        return;
    }
    (void)fail(&why, REFUSED, "%s answered nothing for this item", lane->def->statement.name);
    refuse(s, lane, &why);
    metric_add(lane->items, (double)b->count);
    batch_close(s, lane);
}

/* ---- both statements at once ------------------------------------------------------ */

/* What has no answer yet is asked for again, one statement after the other: there
 * it shows which of the two is at fault.                                     */
static void unpair(struct store *s, struct store_lane *lane)
{
    struct store_batch *b = lane->batch;
    for (size_t i = 0; i < b->count; i++)
        b->ops[i]->unpaired = true;
    put_back(s, lane, 0, b->count);
    keep_rest(b);
}

static void on_pair(void *arg, enum outcome outcome, struct pg_result *first,
                    struct pg_result *second, const char *sqlstate, const struct error *err)
{
    struct store_link *link = arg;
    struct store *s = link->store;
    struct store_lane *lane = link->lane;
    struct store_batch *b = lane->batch;
    link->lane = NULL;
    if (outcome != OK && !is_fault_of_data(outcome, sqlstate)) {
        batch_failed(s, lane, outcome, sqlstate, err);
        return;
    }
    if (outcome == OK) {
        metric_observe(lane->seconds, (double)(clock_mono_ms() - b->sent_at_ms) / 1000.0);
        metric_add(lane->answered, 1);
        lane->pause_ms = 0;
        lane->def->decode_pair(s, b, first, second);
        metric_add(lane->items, (double)b->count);
    }
    unpair(s, lane);
    pg_result_free(first);
    pg_result_free(second);
    batch_close(s, lane);
}

static bool can_pair(const struct store_link *link, const struct store_lane *lane)
{
    const struct store_lane_def *def = lane->def;
    const struct store_batch *b = lane->batch;
    return def->encode_ahead && b->count <= def->pair_max && !b->ops[0]->unpaired &&
           pg_async_can_pair(link->conn, &def->statement, &def->second);
}

static void send_pair(struct store_link *link, struct store_lane *lane)
{
    const struct store_lane_def *def = lane->def;
    struct store_batch *b = lane->batch;
    const struct pg_async_pair pair = {
        .statement = { &def->statement, &def->second },
        .params = { &b->params, &b->second_params },
    };
    def->encode_ahead(b);
    pg_async_send_pair(link->conn, &pair, on_pair, link);
}

/* ---- sending ------------------------------------------------------------------- */

static void gather(struct store_lane *lane)
{
    struct store_batch *b = lane->batch;
    struct store_queue *from = lane->again.first ? &lane->again : &lane->waiting;
    lane->linger_until_ms = 0; /* what this batch leaves behind has waited enough */
    uint32_t group = from->first->group;
    size_t bytes = 0;
    b->count = 0;
    while (from->first && b->count < lane->def->batch_max) {
        struct store_op *op = from->first;
        bool fits = bytes + op->size_bytes <= STORE_BATCH_BYTES && !op->solo;
        if (op->group != group || (b->count > 0 && !fits))
            break;
        store_take_out(from, op);
        bytes += op->size_bytes;
        op->sent = true;
        b->ops[b->count++] = op;
        if (op->solo)
            break;
    }
}

static void send_batch(struct store *s, struct store_link *link, struct store_lane *lane)
{
    struct store_batch *b = lane->batch;
    struct error err;
    gather(lane);
    lane->busy = true;
    link->lane = lane;
    b->left_count = b->left_at = 0;
    lane->def->encode(s, b);
    metric_observe(lane->batch_items, (double)b->count);
    b->sent_at_ms = clock_mono_ms();
    if (can_pair(link, lane)) {
        send_pair(link, lane);
        return;
    }
    if (pg_async_send(link->conn, &lane->def->statement, &b->params, on_answer, link, &err) != OK) {
        link->lane = NULL;
        batch_failed(s, lane, REFUSED, "", &err);
    }
}

/* From when on the lane may send. */
static int64_t lane_ready_ms(const struct store_lane *lane)
{
    bool lingers = !lane->again.first && lane->linger_until_ms > lane->not_before_ms;
    return lingers ? lane->linger_until_ms : lane->not_before_ms;
}

/* The next lane in turn that may send now; *wake_ms: when to look again. */
static struct store_lane *next_lane(struct store *s, int64_t now_ms, int64_t *wake_ms)
{
    for (int i = 0; i < LANES; i++) {
        int at = (s->turn + i) % LANES;
        struct store_lane *lane = &s->lanes[at];
        if (lane->busy || (!lane->again.first && !lane->waiting.first))
            continue;
        if (lane->def->for_worker && s->worker == 0)
            continue;
        int64_t ready_ms = lane_ready_ms(lane);
        if (ready_ms > now_ms) {
            if (*wake_ms < 0 || ready_ms < *wake_ms)
                *wake_ms = ready_ms;
            continue;
        }
        s->turn = (at + 1) % LANES;
        return lane;
    }
    return NULL;
}

void store_pump(void *arg)
{
    struct store *s = arg;
    int64_t now_ms = clock_mono_ms(), wake_ms = -1;
    for (int i = 0; i < s->link_count; i++) {
        struct store_link *link = &s->links[i];
        if (!pg_async_is_idle(link->conn) || link->lane)
            continue;
        struct store_lane *lane = next_lane(s, now_ms, &wake_ms);
        if (!lane)
            break;
        send_batch(s, link, lane);
    }
    if (wake_ms >= 0)
        loop_timer_start(&s->timer, wake_ms - now_ms);
}

/* ---- life ---- */

void store_lanes_init(struct store *s)
{
    metrics_register(&items_metric);
    metrics_register(&statements_metric);
    metrics_register(&batch_metric);
    metrics_register(&seconds_metric);
    metrics_register(&operations_metric);
    for (int i = 0; i < LANES; i++) {
        struct store_lane *lane = &s->lanes[i];
        const char *name = defs[i]->statement.name;
        lane->def = defs[i];
        lane->batch = xcalloc(1, sizeof *lane->batch);
        pg_params_init(&lane->batch->params, STORE_ITEM_BYTES_MAX);
        pg_params_init(&lane->batch->second_params, STORE_ITEM_BYTES_MAX);
        lane->items = metric_with(&items_metric, name);
        lane->answered = metric_with(&statements_metric, name, "answered");
        lane->failed = metric_with(&statements_metric, name, "failed");
        lane->batch_items = metric_with(&batch_metric, name);
        lane->seconds = metric_with(&seconds_metric, name);
        lane->operations = metric_with(&operations_metric, name);
    }
}

static void queue_free(struct store *s, struct store_queue *q)
{
    while (q->first) {
        struct store_op *op = q->first;
        store_take_out(q, op);
        store_op_free(s, op);
    }
}

void store_lanes_release(struct store *s)
{
    s->dead_told = true; /* nobody listens any more */
    for (int i = 0; i < LANES; i++) {
        struct store_lane *lane = &s->lanes[i];
        batch_close(s, lane);
        queue_free(s, &lane->again);
        queue_free(s, &lane->waiting);
        pg_params_release(&lane->batch->params);
        pg_params_release(&lane->batch->second_params);
        free(lane->batch);
    }
}
