#include "common/memory.h"
#include "common/store_core.h"

#include <stdlib.h>
#include <string.h>

enum {
    CLAIM_BATCH = 128,
    READ_SLICE = 32, /* histories per statement: their sizes are not known before */
};

static const char *const item_types[] = {
    [STORE_TEXT] = "text",
    [STORE_REASONING] = "reasoning",
    [STORE_FUNCTION_CALL] = "function_call",
    [STORE_ERROR] = "error",
};

const char *store_item_type_name(enum store_item_type type)
{
    return item_types[type];
}

/* ---- claim --------------------------------------------------------------------- */

store_ticket store_claim_plan(struct store *s, const struct store_claim_plan *request,
                              store_claim_plan_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_CLAIM_PLANS, arg);
    op->ask.claim_plan = *request;
    op->done.claim_plan = done;
    op->solo = request->alone;
    return store_op_queue(s, op);
}

static void claim_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.claim_plan.token);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.claim_plan.run);
    pg_add_bool(&b->params, b->ops[0]->ask.claim_plan.alone);
}

enum {
    ITEM,
    ANSWER,
    STEP,
    EPOCH,
    VERSION,
    CHANGE,
    REVISION,
    FAILURES,
    LEFT,
    TENANT,
    META,
    MODEL_AT
};

static struct store_plan_claim claim_of(const struct store_op *op, const struct pg_result *rows,
                                        int row)
{
    const struct store_claim_plan *ask = &op->ask.claim_plan;
    struct store_plan_claim claim = {
        .answer = STORE_YOURS,
        .step = pg_int4(rows, row, STEP),
        .epoch = pg_int4(rows, row, EPOCH),
        .version = pg_int4(rows, row, VERSION),
        .change = pg_int8(rows, row, CHANGE),
        .revision = pg_int8(rows, row, REVISION),
        .failures = pg_int4(rows, row, FAILURES),
        .left_ms = pg_int8(rows, row, LEFT),
        .tenant = pg_text(rows, row, TENANT),
        .meta = pg_text(rows, row, META),
        .model_at = pg_int4(rows, row, MODEL_AT),
    };
    if (ask->known_epoch == claim.epoch && ask->known_step < claim.step)
        claim.known_step = ask->known_step;
    return claim;
}

/* Answers what is not ours; what is ours waits for its history. */
static enum store_next claim_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct store_op *op = store_op_of(b, rows, row);
        struct store_plan_claim claim = { .answer = STORE_NO };
        struct error err;
        bool known = store_claim_answer_of(s, pg_text(rows, row, ANSWER), &claim.answer, &err);
        if (known && claim.answer == STORE_YOURS && !op->cancelled) {
            size_t at = (size_t)pg_int4(rows, row, ITEM);
            b->row_of[at] = row;
            b->left[b->left_count++] = (int)at;
            continue;
        }
        op->answered = true;
        if (known && claim.answer == STORE_YOURS)
            store_return_plan(s, &op->ask.claim_plan, pg_int4(rows, row, STEP),
                              pg_int4(rows, row, EPOCH), pg_int4(rows, row, VERSION));
        else if (!op->cancelled)
            op->done.claim_plan(op->arg, known ? OK : REFUSED, known ? &claim : NULL,
                                known ? NULL : &err);
    }
    return b->left_count > 0 ? STORE_GO_ON : STORE_FINISHED;
}

/* With the history that could not be read, so that the claim can be committed. */
static void claim_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    const struct store_batch *b = s->lanes[LANE_CLAIM_PLANS].batch;
    for (size_t i = 0; b->first_rows && i < b->left_count; i++) {
        size_t at = (size_t)b->left[i];
        if (b->ops[at] != op)
            continue;
        struct store_plan_claim claim = claim_of(op, b->first_rows, b->row_of[at]);
        op->done.claim_plan(op->arg, REFUSED, &claim, err);
        return;
    }
    op->done.claim_plan(op->arg, REFUSED, NULL, err);
}

/* ---- the history of what was claimed ---------------------------------------------- */

/* What a claim said about the view holds only with the history that it knew. */
static void put_view(struct pg_params *params, const struct store_claim_plan *ask, int known_step,
                     int value)
{
    if (ask->has_view && known_step == ask->known_step)
        pg_put_int4(params, value);
    else
        pg_put_null(params);
}

enum { VIEW_PARTS = 3 };

static int view_part(const struct store_view *view, int part)
{
    return part == 0 ? view->left_out : part == 1 ? view->emptied : view->result_bytes;
}

static void put_views(struct pg_params *params, const struct store_batch *b)
{
    for (int part = 0; part < VIEW_PARTS; part++) {
        pg_array_begin(params, PG_INT4);
        for (size_t i = 0; i < b->slice; i++) {
            int at = b->left[b->left_at + i];
            const struct store_claim_plan *ask = &b->ops[at]->ask.claim_plan;
            put_view(params, ask, claim_of(b->ops[at], b->first_rows, b->row_of[at]).known_step,
                     view_part(&ask->view, part));
        }
        pg_array_end(params);
    }
}

static void steps_encode(struct store *s, struct store_batch *b)
{
    (void)s;
    b->slice = b->left_count - b->left_at < READ_SLICE ? b->left_count - b->left_at : READ_SLICE;
    pg_array_begin(&b->params, PG_UUID);
    for (size_t i = 0; i < b->slice; i++)
        pg_put_uuid(&b->params, &b->ops[b->left[b->left_at + i]]->ask.claim_plan.run);
    pg_array_end(&b->params);
    pg_array_begin(&b->params, PG_INT4);
    for (size_t i = 0; i < b->slice; i++) {
        int at = b->left[b->left_at + i];
        pg_put_int4(&b->params, claim_of(b->ops[at], b->first_rows, b->row_of[at]).known_step);
    }
    pg_array_end(&b->params);
    put_views(&b->params, b);
}

static struct store_row row_of(const struct pg_result *rows, int row)
{
    enum {
        KIND = 1,
        ROW_STEP,
        INDEX,
        TYPE,
        CONTENT,
        CALL_ID,
        TOOL,
        ARGUMENTS,
        REFUSED_WHY,
        RAW,
        STATUS,
        CODE,
        DIALECT,
        HIDDEN,
    };
    const char *kind = pg_text(rows, row, KIND);
    int type = store_name_index(item_types, sizeof item_types / sizeof *item_types,
                                pg_text(rows, row, TYPE));
    return (struct store_row){
        .kind = kind[0] == 'c'   ? STORE_ROW_CONTEXT
                : kind[1] == 'n' ? STORE_ROW_INPUT
                : kind[0] == 'i' ? STORE_ROW_ITEM
                : kind[0] == 's' ? STORE_ROW_SAID
                                 : STORE_ROW_RESULT,
        .step = pg_int4(rows, row, ROW_STEP),
        .index = pg_int4(rows, row, INDEX),
        .type = type < 0 ? STORE_TEXT : (enum store_item_type)type,
        .content = pg_text(rows, row, CONTENT),
        .content_n = pg_length(rows, row, CONTENT),
        .call_id = pg_text(rows, row, CALL_ID),
        .tool = pg_text(rows, row, TOOL),
        .arguments = pg_text(rows, row, ARGUMENTS),
        .refused = pg_text(rows, row, REFUSED_WHY),
        .raw = pg_text(rows, row, RAW),
        .raw_n = pg_length(rows, row, RAW),
        .dialect = pg_text(rows, row, DIALECT),
        .status = pg_text(rows, row, STATUS),
        .error_code = pg_text(rows, row, CODE),
        .hidden = pg_int8(rows, row, HIDDEN),
    };
}

static struct store_row *rows_of(const struct pg_result *rows)
{
    int count = pg_row_count(rows);
    struct store_row *list = xcalloc((size_t)count + 1, sizeof *list);
    for (int row = 0; row < count; row++)
        list[row] = row_of(rows, row);
    return list;
}

static void answer_claim(struct store *s, struct store_op *op, const struct store_plan_claim *claim)
{
    op->answered = true;
    if (op->cancelled)
        store_return_plan(s, &op->ask.claim_plan, claim->step, claim->epoch, claim->version);
    else
        op->done.claim_plan(op->arg, OK, claim, NULL);
}

/* The rows of one item stand together, in the order of the items. */
static enum store_next steps_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    int count = pg_row_count(rows), from = 0;
    struct store_row *list = rows_of(rows);
    for (size_t i = 0; i < b->slice; i++) {
        int at = b->left[b->left_at + i];
        struct store_op *op = b->ops[at];
        struct store_plan_claim claim = claim_of(op, b->first_rows, b->row_of[at]);
        int to = from;
        while (to < count && pg_int4(rows, to, 0) == (int)i)
            to++;
        claim.rows = list + from;
        claim.row_count = (size_t)(to - from);
        from = to;
        answer_claim(s, op, &claim);
    }
    free(list);
    b->left_at += b->slice;
    return b->left_at < b->left_count ? STORE_GO_ON : STORE_FINISHED;
}

/* ---- both at once ------------------------------------------------------------------ */

/* Reads for every run, whoever will get it, after what its asker knows. */
static void steps_encode_ahead(struct store_batch *b)
{
    pg_array_begin(&b->second_params, PG_UUID);
    for (size_t i = 0; i < b->count; i++)
        pg_put_uuid(&b->second_params, &b->ops[i]->ask.claim_plan.run);
    pg_array_end(&b->second_params);
    pg_array_begin(&b->second_params, PG_INT4);
    for (size_t i = 0; i < b->count; i++)
        pg_put_int4(&b->second_params, b->ops[i]->ask.claim_plan.known_step);
    pg_array_end(&b->second_params);
    for (int part = 0; part < VIEW_PARTS; part++) {
        pg_array_begin(&b->second_params, PG_INT4);
        for (size_t i = 0; i < b->count; i++) {
            const struct store_claim_plan *ask = &b->ops[i]->ask.claim_plan;
            put_view(&b->second_params, ask, ask->known_step, view_part(&ask->view, part));
        }
        pg_array_end(&b->second_params);
    }
}

/* A claim whose asker knew less than it thought (another epoch) is left: it is asked
 * for again with its token, and is still ours then.                          */
static void claim_decode_pair(struct store *s, struct store_batch *b, struct pg_result *first,
                              struct pg_result *second)
{
    int count = pg_row_count(second), begin[STORE_BATCH_MAX + 1] = { 0 };
    struct store_row *list = rows_of(second);
    for (int row = 0; row < count; row++) /* how many rows each item has, one place on */
        begin[pg_int4(second, row, 0) + 1]++;
    for (size_t i = 0; i < b->count; i++)
        begin[i + 1] += begin[i];
    (void)claim_decode(s, b, first);
    for (size_t i = 0; i < b->left_count; i++) {
        int at = b->left[i];
        struct store_op *op = b->ops[at];
        struct store_plan_claim claim = claim_of(op, first, b->row_of[at]);
        if (claim.known_step != op->ask.claim_plan.known_step)
            continue;
        claim.rows = list + begin[at];
        claim.row_count = (size_t)(begin[at + 1] - begin[at]);
        answer_claim(s, op, &claim);
    }
    free(list);
}

const struct store_lane_def store_lane_claim_plans = {
    .statement = { "claim_plans", "SELECT item, answer, step, epoch, version, change, revision, "
                                  "failures, left_ms, "
                                  "tenant, meta, model_at FROM pawl.claim_plans($1, $2, $3, $4)" },
    .batch_max = CLAIM_BATCH,
    .for_worker = true,
    .claims = true,
    .encode = claim_encode,
    .decode = claim_decode,
    .refuse = claim_refuse,
    .second = { "read_steps",
                "SELECT item, kind, step, index, type, content, call_id, tool, arguments, refused, "
                "raw, status, error_code, dialect, hidden "
                "FROM pawl.read_steps($1, $2, $3, $4, $5)" },
    .encode_second = steps_encode,
    .decode_second = steps_decode,
    .pair_max = READ_SLICE,
    .encode_ahead = steps_encode_ahead,
    .decode_pair = claim_decode_pair,
};

void store_return_plan(struct store *s, const struct store_claim_plan *ask, int step, int epoch,
                       int version)
{
    struct store_commit_plan back = {
        .token = ask->token,
        .run = ask->run,
        .step = step,
        .epoch = epoch,
        .version = version,
        .outcome = STORE_PLAN_HANDED_BACK,
    };
    (void)store_commit_plan(s, &back, NULL, NULL);
}

/* ---- commit ----------------------------------------------------------------------- */

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

store_ticket store_commit_plan(struct store *s, const struct store_commit_plan *request,
                               store_commit_plan_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_COMMIT_PLANS, arg);
    op->ask.commit_plan = *request;
    op->done.commit_plan = done;
    for (size_t i = 0; i < request->item_count; i++) {
        const struct store_item *item = &request->items[i];
        op->size_bytes += 200 + text_bytes(item->content) + text_bytes(item->raw) +
                          text_bytes(item->arguments) + text_bytes(item->refused);
    }
    return store_op_queue(s, op);
}

static const char *const plan_outcomes[] = {
    [STORE_PLAN_CALLS] = "calls", [STORE_PLAN_FINAL] = "final",
    [STORE_PLAN_LAST] = "last",   [STORE_PLAN_RETRY] = "retry",
    [STORE_PLAN_FAIL] = "fail",   [STORE_PLAN_HANDED_BACK] = "handed_back",
};

/* One array over the items of all plans. */
#define ITEM_ARRAY(b, pg_type, put, value)                                         \
    do {                                                                           \
        pg_array_begin(&(b)->params, (pg_type));                                   \
        for (size_t plan = 0; plan < (b)->count; plan++) {                         \
            const struct store_commit_plan *c_ = &(b)->ops[plan]->ask.commit_plan; \
            for (size_t index = 0; index < c_->item_count; index++) {              \
                const struct store_item *item = &c_->items[index];                 \
                (void)item;                                                        \
                put(&(b)->params, (value));                                        \
            }                                                                      \
        }                                                                          \
        pg_array_end(&(b)->params);                                                \
    } while (0)

static void put_digest(struct pg_params *p, const struct digest *digest)
{
    pg_put_bytea(p, digest ? digest->b : NULL, sizeof digest->b);
}

static void put_revision(struct pg_params *p, int64_t revision)
{
    if (revision == 0)
        pg_put_null(p);
    else
        pg_put_int8(p, revision);
}

static void items_encode(struct store_batch *b)
{
    ITEM_ARRAY(b, PG_INT4, pg_put_int4, (int32_t)plan);
    ITEM_ARRAY(b, PG_INT4, pg_put_int4, (int32_t)index);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item_types[item->type]);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item->content);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item->raw);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item->call_id);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item->tool);
    ITEM_ARRAY(b, PG_INT8, put_revision, item->revision);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item->arguments);
    ITEM_ARRAY(b, PG_BYTEA, put_digest, item->digest);
    ITEM_ARRAY(b, PG_TEXT, pg_put_text, item->refused);
}

static void commit_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.commit_plan.token);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.commit_plan.run);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_plan.step);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_plan.epoch);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_plan.version);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, plan_outcomes[op->ask.commit_plan.outcome]);
    STORE_ARRAY(b, PG_INT8, pg_put_int8, op->ask.commit_plan.retry_ms);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_plan.code);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_plan.error);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_plan.model);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_plan.tokens_in);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_plan.tokens_out);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_plan.tokens_cached);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_plan.cost_micros);
    STORE_ARRAY(b, PG_INT4, store_put_known_4, op->ask.commit_plan.duration_ms);
    items_encode(b);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_plan.dialect);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_plan.tokens_reasoning);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_plan.tokens_written);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_plan.model_at);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_plan.failures);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_plan.context);
}

static enum store_next commit_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    enum { NTH, WORD, STATUS, OPEN_CALLS, NEXT_STEP, EVENT };
    (void)s;
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct store_op *op = store_op_take(b, rows, row);
        if (!op || !op->done.commit_plan)
            continue;
        const char *word = pg_text(rows, row, WORD);
        struct store_plan_commit commit = {
            .repeated = strcmp(word, "done") == 0,
            .status = pg_text(rows, row, STATUS),
            .open_calls = pg_int4(rows, row, OPEN_CALLS),
            .next_step = pg_int4(rows, row, NEXT_STEP),
            .event_id = pg_int8(rows, row, EVENT),
        };
        struct error err;
        enum outcome outcome = store_commit_outcome(word, &err);
        op->done.commit_plan(op->arg, outcome, outcome == OK ? &commit : NULL,
                             outcome == OK ? NULL : &err);
    }
    return STORE_FINISHED;
}

static void commit_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    if (op->done.commit_plan)
        op->done.commit_plan(op->arg, REFUSED, NULL, err);
}

const struct store_lane_def store_lane_commit_plans = {
    .statement = { "commit_plans",
                   "SELECT item, answer, status, open_calls, next_step, event_id "
                   "FROM pawl.commit_plans($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
                   "$14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, "
                   "$29, $30, $31, $32, $33)" },
    .batch_max = STORE_BATCH_MAX,
    .for_worker = true,
    .encode = commit_encode,
    .decode = commit_decode,
    .refuse = commit_refuse,
};
