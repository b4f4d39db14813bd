#include "common/store_core.h"

/* An event says the whole answer of a run, up to 128 KiB. */
enum { READ_BATCH = 64 };

static void ids_encode(struct store *s, struct store_batch *b)
{
    (void)s;
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.event_id);
}

/* ---- read -------------------------------------------------------------------- */

store_ticket store_read_announcement(struct store *s, int64_t event_id,
                                     store_announcement_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_READ_ANNOUNCEMENTS, arg);
    op->ask.event_id = event_id;
    op->done.announcement = done;
    return store_op_queue(s, op);
}

enum {
    ID,
    RUN,
    TYPE,
    AT,
    EPOCH,
    STEP,
    AGENT,
    DIGEST,
    TENANT,
    CLASS,
    ROOT,
    PARENT,
    SOURCE,
    REQUEST,
    META,
    CODE,
    ERROR,
    ANSWER,
};

static struct store_announcement announcement_of(const struct pg_result *rows, int row)
{
    return (struct store_announcement){
        .id = pg_int8(rows, row, ID),
        .run = pg_uuid(rows, row, RUN),
        .type = pg_text(rows, row, TYPE),
        .at_ms = pg_int8(rows, row, AT),
        .epoch = pg_int4(rows, row, EPOCH),
        .step = pg_int4(rows, row, STEP),
        .agent = pg_text(rows, row, AGENT),
        .digest = pg_text(rows, row, DIGEST),
        .tenant = pg_text(rows, row, TENANT),
        .class = pg_text(rows, row, CLASS),
        .root = pg_uuid(rows, row, ROOT),
        .parent = pg_uuid(rows, row, PARENT),
        .source = pg_text(rows, row, SOURCE),
        .request_id = pg_text(rows, row, REQUEST),
        .meta = pg_text(rows, row, META),
        .error_code = pg_text(rows, row, CODE),
        .error = pg_text(rows, row, ERROR),
        .answer = pg_text(rows, row, ANSWER),
        .answer_n = pg_length(rows, row, ANSWER),
    };
}

/* The rows come in any order, and an announcement that was made has none. */
static enum store_next read_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    (void)s;
    for (size_t i = 0; i < b->count; i++) {
        struct store_op *op = b->ops[i];
        op->answered = true;
        int row = 0;
        while (row < pg_row_count(rows) && pg_int8(rows, row, ID) != op->ask.event_id)
            row++;
        if (op->cancelled)
            continue;
        if (row == pg_row_count(rows)) {
            op->done.announcement(op->arg, OK, NULL, NULL);
            continue;
        }
        struct store_announcement a = announcement_of(rows, row);
        op->done.announcement(op->arg, OK, &a, NULL);
    }
    return STORE_FINISHED;
}

static void read_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.announcement(op->arg, REFUSED, NULL, err);
}

const struct store_lane_def store_lane_read_announcements = {
    .statement = { "read_announcements",
                   "SELECT id, run_id, type, at_ms, epoch, step, agent, digest, tenant, class, "
                   "root_id, parent_id, source, request_id, meta, error_code, error, answer "
                   "FROM pawl.read_announcements($1)" },
    .batch_max = READ_BATCH,
    .encode = ids_encode,
    .decode = read_decode,
    .refuse = read_refuse,
};

/* ---- take --------------------------------------------------------------------- */

store_ticket store_take_announcements(struct store *s, int limit, store_ids_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_TAKE_ANNOUNCEMENTS, arg);
    op->ask.limit = limit < STORE_BATCH_MAX ? limit : STORE_BATCH_MAX;
    op->done.ids = done;
    return store_op_queue(s, op);
}

static void take_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
    pg_add_int4(&b->params, b->ops[0]->ask.limit);
}

static enum store_next take_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    int64_t ids[STORE_BATCH_MAX];
    size_t count = 0;
    (void)s;
    for (int row = 0; row < pg_row_count(rows) && count < STORE_BATCH_MAX; row++)
        ids[count++] = pg_int8(rows, row, 0);
    struct store_op *op = store_op_only(b);
    if (op)
        op->done.ids(op->arg, OK, ids, count, NULL);
    return STORE_FINISHED;
}

static void take_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.ids(op->arg, REFUSED, NULL, 0, err);
}

const struct store_lane_def store_lane_take_announcements = {
    .statement = { "take_announcements", "SELECT id FROM pawl.take_announcements($1, $2) AS id" },
    .batch_max = 1,
    .for_worker = true,
    .encode = take_encode,
    .decode = take_decode,
    .refuse = take_refuse,
};

/* ---- announce ------------------------------------------------------------------- */

store_ticket store_announce(struct store *s, int64_t event_id, store_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_ANNOUNCE, arg);
    op->ask.event_id = event_id;
    op->done.plain = done;
    return store_op_queue(s, op);
}

const struct store_lane_def store_lane_announce = {
    .statement = { "announce", "SELECT pawl.announce($1)" },
    .batch_max = STORE_BATCH_MAX,
    .encode = ids_encode,
    .decode = store_plain_decode,
    .refuse = store_plain_refuse,
};
