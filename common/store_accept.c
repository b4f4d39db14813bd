#include "common/store_core.h"

#include <string.h>

/* Idle planners look for a new run after so long, if its doorbell was lost; the
 * same as `ring_grace_ms` of pawl.settings begins with.                      */
enum { RING_GRACE_MS = 2000 };

static const char *const accept_answers[] = {
    [STORE_ACCEPTED] = "accepted",           [STORE_QUEUED] = "queued",
    [STORE_DUPLICATE] = "duplicate",         [STORE_CONFLICT] = "conflict",
    [STORE_UNKNOWN_AGENT] = "unknown_agent", [STORE_TOO_OLD] = "too_old",
    [STORE_PAST_DEADLINE] = "past_deadline", [STORE_BAD_REQUEST] = "bad",
};

/* ---- accept ---------------------------------------------------------------- */

store_ticket store_accept(struct store *s, const struct store_accept *request,
                          store_accept_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_ACCEPT, arg);
    op->ask.accept = *request;
    op->done.accept = done;
    op->size_bytes = request->input ? strlen(request->input) : 0;
    return store_op_queue(s, op);
}

static void put_time(struct pg_params *p, int64_t wall_ms)
{
    if (wall_ms == 0)
        pg_put_null(p);
    else
        pg_put_time(p, wall_ms);
}

static void put_limit(struct pg_params *p, int64_t limit)
{
    store_put_known_8(p, limit > 0 ? limit : STORE_NOT_KNOWN);
}

static void put_digest(struct pg_params *p, const struct digest *digest)
{
    pg_put_bytea(p, digest->b, sizeof digest->b);
}

static void accept_encode(struct store *s, struct store_batch *b)
{
    struct pg_params *p = &b->params;
    pg_add_int8(p, s->worker);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.source);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.id);
    STORE_ARRAY(b, PG_BYTEA, put_digest, &op->ask.accept.digest);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.agent);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.tenant);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.class);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.input);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.accept.meta);
    STORE_ARRAY(b, PG_TIME, put_time, op->ask.accept.deadline_ms);
    STORE_ARRAY(b, PG_TIME, put_time, op->ask.accept.record_time_ms);
    pg_add_text(p, s->program);
    pg_add_int8(p, RING_GRACE_MS);
    STORE_ARRAY(b, PG_INT8, put_limit, op->ask.accept.timeout_ms);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.accept.priority);
    STORE_ARRAY(b, PG_INT8, put_limit, op->ask.accept.budget_tokens);
    STORE_ARRAY(b, PG_INT8, put_limit, op->ask.accept.budget_micros);
}

static enum store_next accept_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    enum { ITEM, ANSWER, RUN, EVENT, DETAIL };
    (void)s;
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct store_op *op = store_op_take(b, rows, row);
        struct error err;
        if (!op)
            continue;
        int answer =
            store_name_index(accept_answers, sizeof accept_answers / sizeof *accept_answers,
                             pg_text(rows, row, ANSWER));
        if (answer < 0) {
            (void)fail(&err, REFUSED, "accept answered '%s', which this version does not know",
                       pg_text(rows, row, ANSWER));
            op->done.accept(op->arg, REFUSED, NULL, &err);
            continue;
        }
        struct store_accepted accepted = {
            .answer = (enum store_accept_answer)answer,
            .run = pg_uuid(rows, row, RUN),
            .event_id = pg_int8(rows, row, EVENT),
            .detail = pg_text(rows, row, DETAIL),
        };
        op->done.accept(op->arg, OK, &accepted, NULL);
    }
    return STORE_FINISHED;
}

static void accept_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.accept(op->arg, REFUSED, NULL, err);
}

const struct store_lane_def store_lane_accept = {
    .statement = { "accept", "SELECT item, answer, run_id, event_id, detail "
                             "FROM pawl.accept($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, "
                             "$13, $14, $15, $16, $17)" },
    .batch_max = STORE_BATCH_MAX,
    .for_worker = true,
    .encode = accept_encode,
    .decode = accept_decode,
    .refuse = accept_refuse,
};

/* ---- records that kill --------------------------------------------------------- */

static store_ticket ask_record(struct store *s, struct store_op *op, const char *topic,
                               int partition, int64_t offset)
{
    op->ask.record.topic = topic;
    op->ask.record.partition = partition;
    op->ask.record.offset = offset;
    return store_op_queue(s, op);
}

store_ticket store_open_record(struct store *s, const char *topic, int partition, int64_t offset,
                               store_count_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_OPEN_RECORD, arg);
    op->done.count = done;
    return ask_record(s, op, topic, partition, offset);
}

store_ticket store_close_record(struct store *s, const char *topic, int partition, int64_t offset,
                                store_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_CLOSE_RECORD, arg);
    op->done.plain = done;
    return ask_record(s, op, topic, partition, offset);
}

store_ticket store_planner_died_lately(struct store *s, store_count_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_PLANNER_DIED, arg);
    op->done.count = done;
    return store_op_queue(s, op);
}

static void record_encode(struct store *s, struct store_batch *b)
{
    const struct store_op *op = b->ops[0];
    (void)s;
    pg_add_text(&b->params, op->ask.record.topic);
    pg_add_int4(&b->params, op->ask.record.partition);
    pg_add_int8(&b->params, op->ask.record.offset);
}

static void died_encode(struct store *s, struct store_batch *b)
{
    pg_add_text(&b->params, s->class);
}

static enum store_next count_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    struct store_op *op = store_op_only(b);
    (void)s;
    if (op)
        op->done.count(op->arg, OK, pg_int4(rows, 0, 0), NULL);
    return STORE_FINISHED;
}

static void count_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.count(op->arg, REFUSED, 0, err);
}

const struct store_lane_def store_lane_open_record = {
    .statement = { "open_record", "SELECT pawl.open_record($1, $2, $3)" },
    .batch_max = 1,
    .encode = record_encode,
    .decode = count_decode,
    .refuse = count_refuse,
};

const struct store_lane_def store_lane_close_record = {
    .statement = { "close_record", "SELECT pawl.close_record($1, $2, $3) IS NULL" },
    .batch_max = 1,
    .encode = record_encode,
    .decode = store_plain_decode,
    .refuse = store_plain_refuse,
};

const struct store_lane_def store_lane_planner_died = {
    .statement = { "planner_died_lately", "SELECT pawl.planner_died_lately($1)::int" },
    .batch_max = 1,
    .encode = died_encode,
    .decode = count_decode,
    .refuse = count_refuse,
};
