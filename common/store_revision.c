#include "common/memory.h"
#include "common/store_core.h"

#include <stdlib.h>

/* Bodies are up to some hundred KiB, so each question is a statement of its own:
 * they come once per revision and process.                                  */

static store_ticket ask(struct store *s, struct store_op *op, store_revisions_done *done)
{
    op->done.revisions = done;
    return store_op_queue(s, op);
}

store_ticket store_read_revisions(struct store *s, const int64_t *seqs, size_t count,
                                  store_revisions_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_READ_REVISIONS, arg);
    op->ask.revisions.seqs = seqs;
    op->ask.revisions.count = count;
    return ask(s, op, done);
}

store_ticket store_read_current(struct store *s, store_revisions_done *done, void *arg)
{
    return ask(s, store_op_new(s, LANE_READ_CURRENT, arg), done);
}

store_ticket store_find_revisions(struct store *s, const struct store_revision_name *names,
                                  size_t count, store_revisions_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_FIND_REVISIONS, arg);
    op->ask.revisions.names = names;
    op->ask.revisions.count = count;
    return ask(s, op, done);
}

static void read_encode(struct store *s, struct store_batch *b)
{
    const struct store_op *op = b->ops[0];
    (void)s;
    pg_array_begin(&b->params, PG_INT8);
    for (size_t i = 0; i < op->ask.revisions.count; i++)
        pg_put_int8(&b->params, op->ask.revisions.seqs[i]);
    pg_array_end(&b->params);
}

static void current_encode(struct store *s, struct store_batch *b)
{
    (void)s;
    pg_add_null_array(&b->params, PG_INT8);
}

static void find_encode(struct store *s, struct store_batch *b)
{
    const struct store_op *op = b->ops[0];
    const struct store_revision_name *names = op->ask.revisions.names;
    size_t count = op->ask.revisions.count;
    (void)s;
    pg_array_begin(&b->params, PG_TEXT);
    for (size_t i = 0; i < count; i++)
        pg_put_text(&b->params, names[i].kind);
    pg_array_end(&b->params);
    pg_array_begin(&b->params, PG_TEXT);
    for (size_t i = 0; i < count; i++)
        pg_put_text(&b->params, names[i].name);
    pg_array_end(&b->params);
    pg_array_begin(&b->params, PG_TEXT);
    for (size_t i = 0; i < count; i++)
        pg_put_text(&b->params, names[i].digest);
    pg_array_end(&b->params);
}

static enum store_next revisions_decode(struct store *s, struct store_batch *b,
                                        struct pg_result *rows)
{
    enum { SEQ, KIND, NAME, DIGEST, BODY, CURRENT };
    struct store_op *op = store_op_only(b);
    int count = pg_row_count(rows);
    (void)s;
    if (!op)
        return STORE_FINISHED;
    struct store_revision *list = xcalloc((size_t)count + 1, sizeof *list);
    for (int row = 0; row < count; row++)
        list[row] = (struct store_revision){
            .seq = pg_int8(rows, row, SEQ),
            .kind = pg_text(rows, row, KIND),
            .name = pg_text(rows, row, NAME),
            .digest = pg_text(rows, row, DIGEST),
            .body = pg_text(rows, row, BODY),
            .body_n = pg_length(rows, row, BODY),
            .current = pg_bool(rows, row, CURRENT),
        };
    op->done.revisions(op->arg, OK, list, (size_t)count, NULL);
    free(list);
    return STORE_FINISHED;
}

static void revisions_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.revisions(op->arg, REFUSED, NULL, 0, err);
}

#define COLUMNS "SELECT seq, kind, name, digest, body, is_current "

const struct store_lane_def store_lane_read_revisions = {
    .statement = { "read_revisions", COLUMNS "FROM pawl.read_revisions($1)" },
    .batch_max = 1,
    .encode = read_encode,
    .decode = revisions_decode,
    .refuse = revisions_refuse,
};

const struct store_lane_def store_lane_read_current = {
    .statement = { "read_current", COLUMNS "FROM pawl.read_revisions($1)" },
    .batch_max = 1,
    .encode = current_encode,
    .decode = revisions_decode,
    .refuse = revisions_refuse,
};

const struct store_lane_def store_lane_find_revisions = {
    .statement = { "find_revisions", COLUMNS "FROM pawl.find_revisions($1, $2, $3)" },
    .batch_max = 1,
    .encode = find_encode,
    .decode = revisions_decode,
    .refuse = revisions_refuse,
};
