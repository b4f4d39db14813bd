#include "common/store_core.h"

store_ticket store_take_quota(struct store *s, const struct store_quota *request,
                              store_quota_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_TAKE_QUOTA, arg);
    op->ask.quota = *request;
    op->done.quota = done;
    return store_op_queue(s, op);
}

static void put_run(struct pg_params *p, const struct uuid *run)
{
    if (uuid_is_nil(run))
        pg_put_null(p);
    else
        pg_put_uuid(p, run);
}

static void quota_encode(struct store *s, struct store_batch *b)
{
    (void)s;
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.quota.base_url);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.quota.secret);
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.quota.requests_per_minute);
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.quota.tokens_per_minute);
    STORE_ARRAY(b, PG_UUID, put_run, &op->ask.quota.run);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.quota.tenant);
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.quota.tokens);
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.quota.settle);
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.quota.pause_ms);
}

static enum store_next quota_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    enum { ITEM, WAIT };
    (void)s;
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct store_op *op = store_op_take(b, rows, row);
        if (op && op->done.quota)
            op->done.quota(op->arg, OK, pg_int8(rows, row, WAIT), NULL);
    }
    return STORE_FINISHED;
}

static void quota_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    if (op->done.quota)
        op->done.quota(op->arg, REFUSED, 0, err);
}

const struct store_lane_def store_lane_take_quota = {
    .statement = { "take_quota", "SELECT item, wait_ms FROM pawl.take_quota($1, $2, $3, $4, $5, "
                                 "$6, $7, $8, $9)" },
    .batch_max = 64,
    .for_worker = true,
    .encode = quota_encode,
    .decode = quota_decode,
    .refuse = quota_refuse,
};
