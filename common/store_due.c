#include "common/memory.h"
#include "common/store_core.h"

#include <assert.h>
#include <stdlib.h>

/* ---- what is due ------------------------------------------------------------- */

store_ticket store_claim_due(struct store *s, int limit, store_claim_due_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_CLAIM_DUE, arg);
    op->ask.limit = limit < STORE_BATCH_MAX ? limit : STORE_BATCH_MAX;
    op->done.claim_due = done;
    return store_op_queue(s, op);
}

static void due_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
    pg_add_text(&b->params, s->program);
    pg_add_text(&b->params, s->class);
    pg_add_int4(&b->params, b->ops[0]->ask.limit);
}

static enum store_next due_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    enum { WHAT, RUN, STEP, INDEX, ALONE };
    static const char *const whats[] = {
        [STORE_DUE_PLAN] = "plan", [STORE_DUE_ACT] = "act", [STORE_DUE_MOVED] = "moved"
    };
    struct store_op *op = store_op_only(b);
    int count = pg_row_count(rows);
    (void)s;
    if (!op)
        return STORE_FINISHED;
    struct store_due *due = xcalloc((size_t)count + 1, sizeof *due);
    for (int row = 0; row < count; row++) {
        int what = store_name_index(whats, sizeof whats / sizeof *whats, pg_text(rows, row, WHAT));
        due[row] = (struct store_due){
            .what = what < 0 ? STORE_DUE_MOVED : (enum store_due_what)what,
            .run = pg_uuid(rows, row, RUN),
            .step = pg_int4(rows, row, STEP),
            .index = pg_int4(rows, row, INDEX),
            .alone = pg_bool(rows, row, ALONE),
        };
    }
    op->done.claim_due(op->arg, OK, due, (size_t)count, NULL);
    free(due);
    return STORE_FINISHED;
}

static void due_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.claim_due(op->arg, REFUSED, NULL, 0, err);
}

const struct store_lane_def store_lane_claim_due = {
    .statement = { "claim_due", "SELECT what, run_id, step, index, alone "
                                "FROM pawl.claim_due($1, $2, $3, $4)" },
    .batch_max = 1,
    .for_worker = true,
    .encode = due_encode,
    .decode = due_decode,
    .refuse = due_refuse,
};

/* ---- places for queued runs ----------------------------------------------------- */

store_ticket store_admit(struct store *s, int limit, store_admit_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_ADMIT, arg);
    op->ask.limit = limit < STORE_BATCH_MAX ? limit : STORE_BATCH_MAX;
    op->done.admit = done;
    return store_op_queue(s, op);
}

static void admit_encode(struct store *s, struct store_batch *b)
{
    pg_add_text(&b->params, s->class);
    pg_add_int4(&b->params, b->ops[0]->ask.limit);
}

/* The last row is about the class, the others are runs. */
static enum store_next admit_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    enum { RUN, STEP, QUEUED, RUNNING, OLDEST };
    struct store_op *op = store_op_only(b);
    int count = pg_row_count(rows) - 1;
    (void)s;
    if (!op)
        return STORE_FINISHED;
    assert(count >= 0 && count <= STORE_BATCH_MAX);
    struct uuid runs[STORE_BATCH_MAX];
    int steps[STORE_BATCH_MAX];
    for (int row = 0; row < count; row++) {
        runs[row] = pg_uuid(rows, row, RUN);
        steps[row] = pg_int4(rows, row, STEP);
    }
    const struct store_admitted admitted = {
        .runs = runs,
        .steps = steps,
        .count = (size_t)count,
        .load = { .queued = pg_int8(rows, count, QUEUED),
                  .running = pg_int8(rows, count, RUNNING),
                  .oldest_ms = pg_int8(rows, count, OLDEST) },
    };
    op->done.admit(op->arg, OK, &admitted, NULL);
    return STORE_FINISHED;
}

static void admit_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.admit(op->arg, REFUSED, NULL, err);
}

const struct store_lane_def store_lane_admit = {
    .statement = { "admit", "SELECT run_id, step, queued, running, oldest_ms "
                            "FROM pawl.admit($1, $2)" },
    .batch_max = 1,
    .for_worker = true,
    .encode = admit_encode,
    .decode = admit_decode,
    .refuse = admit_refuse,
};

/* ---- our own end ---------------------------------------------------------------- */

static store_ticket ask_plain(struct store *s, enum store_lane_id lane, store_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, lane, arg);
    op->done.plain = done;
    return store_op_queue(s, op);
}

store_ticket store_leave(struct store *s, store_done *done, void *arg)
{
    return ask_plain(s, LANE_LEAVE, done, arg);
}

store_ticket store_hand_back(struct store *s, store_done *done, void *arg)
{
    return ask_plain(s, LANE_HAND_BACK, done, arg);
}

static void worker_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
}

const struct store_lane_def store_lane_leave = {
    .statement = { "leave", "SELECT pawl.leave($1) IS NULL" },
    .batch_max = 1,
    .for_worker = true,
    .encode = worker_encode,
    .decode = store_plain_decode,
    .refuse = store_plain_refuse,
};

const struct store_lane_def store_lane_hand_back = {
    .statement = { "hand_back", "SELECT pawl.hand_back($1) IS NULL" },
    .batch_max = 1,
    .for_worker = true,
    .encode = worker_encode,
    .decode = store_plain_decode,
    .refuse = store_plain_refuse,
};
