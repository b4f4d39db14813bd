#include "common/clock.h"
#include "common/store_core.h"

#include <string.h>

/* ---- claim ----------------------------------------------------------------------- */

store_ticket store_claim_action(struct store *s, const struct store_claim_action *request,
                                store_claim_action_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_CLAIM_ACTIONS, arg);
    op->ask.claim_action = *request;
    op->done.claim_action = done;
    op->solo = request->alone;
    return store_op_queue(s, op);
}

static void claim_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.claim_action.token);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.claim_action.run);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.claim_action.step);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.claim_action.index);
    pg_add_bool(&b->params, b->ops[0]->ask.claim_action.alone);
    pg_array_begin(&b->params, PG_INT8);
    for (size_t i = 0; i < s->cannot_count; i++)
        pg_put_int8(&b->params, s->cannot[i]);
    pg_array_end(&b->params);
}

/* send_by counts from before the statement left us, so that it is never later
 * here than in Postgres, whatever the clocks say.                            */
static struct store_action_claim claim_of(const struct store_batch *b, const struct pg_result *rows,
                                          int row, enum store_claim_answer answer)
{
    enum {
        KIND = 2,
        EPOCH,
        VERSION,
        KEY,
        TOOL,
        REVISION,
        ARGUMENTS,
        TIMEOUT,
        SEND_BY,
        ATTEMPT,
        AGENT,
        TENANT,
        LEFT,
        META,
        CALL_ID,
        RING_PLAN,
    };
    const char *kind = pg_text(rows, row, KIND);
    return (struct store_action_claim){
        .answer = answer,
        .ring_plan = pg_int4(rows, row, RING_PLAN),
        .work = kind && strcmp(kind, "probe") == 0 ? STORE_WORK_PROBE : STORE_WORK_CALL,
        .epoch = pg_int4(rows, row, EPOCH),
        .version = pg_int4(rows, row, VERSION),
        .key = pg_uuid(rows, row, KEY),
        .tool = pg_text(rows, row, TOOL),
        .revision = pg_int8(rows, row, REVISION),
        .arguments = pg_text(rows, row, ARGUMENTS),
        .timeout_ms = pg_int4(rows, row, TIMEOUT),
        .send_by_ms = b->sent_at_ms + pg_int4(rows, row, SEND_BY),
        .attempt = pg_int4(rows, row, ATTEMPT),
        .agent = pg_text(rows, row, AGENT),
        .tenant = pg_text(rows, row, TENANT),
        .left_ms = pg_int8(rows, row, LEFT),
        .meta = pg_text(rows, row, META),
        .call_id = pg_text(rows, row, CALL_ID),
    };
}

static enum store_next claim_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct store_op *op = store_op_of(b, rows, row);
        enum store_claim_answer answer = STORE_NO;
        struct error err;
        bool known = store_claim_answer_of(s, pg_text(rows, row, 1), &answer, &err);
        struct store_action_claim claim = claim_of(b, rows, row, answer);
        op->answered = true;
        if (!op->cancelled)
            op->done.claim_action(op->arg, known ? OK : REFUSED, known ? &claim : NULL,
                                  known ? NULL : &err);
        else if (known && answer == STORE_YOURS)
            store_return_action(s, &op->ask.claim_action, claim.version, claim.work);
    }
    return STORE_FINISHED;
}

static void claim_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    op->done.claim_action(op->arg, REFUSED, NULL, err);
}

const struct store_lane_def store_lane_claim_actions = {
    .statement = { "claim_actions",
                   "SELECT item, answer, kind, epoch, version, key, tool, revision, arguments, "
                   "timeout_ms, send_by_ms, attempt, agent, tenant, left_ms, meta, call_id, "
                   "ring_plan FROM pawl.claim_actions($1, $2, $3, $4, $5, $6, $7)" },
    .batch_max = STORE_BATCH_MAX,
    .for_worker = true,
    .claims = true,
    .encode = claim_encode,
    .decode = claim_decode,
    .refuse = claim_refuse,
};

/* A probe that was not made is one that failed. */
void store_return_action(struct store *s, const struct store_claim_action *ask, int version,
                         enum store_work work)
{
    struct store_commit_action back = {
        .token = ask->token,
        .run = ask->run,
        .step = ask->step,
        .index = ask->index,
        .version = version,
        .outcome = work == STORE_WORK_PROBE ? STORE_PROBE_FAILED : STORE_CALL_HANDED_BACK,
        .duration_ms = STORE_NOT_KNOWN,
    };
    (void)store_commit_action(s, &back, NULL, NULL);
}

/* ---- commit ------------------------------------------------------------------------ */

static const char *const call_outcomes[] = {
    [STORE_CALL_SUCCEEDED] = "succeeded",
    [STORE_CALL_FAILED] = "failed",
    [STORE_CALL_FAILED_BEFORE_EFFECT] = "failed_before_effect",
    [STORE_CALL_UNKNOWN] = "unknown",
    [STORE_CALL_HANDED_BACK] = "handed_back",
    [STORE_PROBE_HAPPENED] = "happened",
    [STORE_PROBE_DID_NOT_HAPPEN] = "did_not_happen",
    [STORE_PROBE_UNSURE] = "unsure",
    [STORE_PROBE_FAILED] = "probe_failed",
};

const char *store_call_outcome_name(enum store_call_outcome outcome)
{
    return call_outcomes[outcome];
}

store_ticket store_commit_action(struct store *s, const struct store_commit_action *request,
                                 store_commit_action_done *done, void *arg)
{
    struct store_op *op = store_op_new(s, LANE_COMMIT_ACTIONS, arg);
    op->ask.commit_action = *request;
    op->done.commit_action = done;
    op->size_bytes = request->result ? strlen(request->result) : 0;
    op->linger_until_ms = request->linger_ms > 0 ? clock_mono_ms() + request->linger_ms : 0;
    return store_op_queue(s, op);
}

static void commit_encode(struct store *s, struct store_batch *b)
{
    pg_add_int8(&b->params, s->worker);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.commit_action.token);
    STORE_ARRAY(b, PG_UUID, pg_put_uuid, &op->ask.commit_action.run);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_action.step);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_action.index);
    STORE_ARRAY(b, PG_INT4, pg_put_int4, op->ask.commit_action.version);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, call_outcomes[op->ask.commit_action.outcome]);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_action.result);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_action.code);
    STORE_ARRAY(b, PG_TEXT, pg_put_text, op->ask.commit_action.error);
    STORE_ARRAY(b, PG_INT8, store_put_known_8, op->ask.commit_action.retry_ms);
    STORE_ARRAY(b, PG_INT4, store_put_known_4, op->ask.commit_action.duration_ms);
}

static enum store_next commit_decode(struct store *s, struct store_batch *b, struct pg_result *rows)
{
    enum { ITEM, WORD, STATUS, RETRY_MS, RING_PLAN, RING_INDEX };
    (void)s;
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct store_op *op = store_op_take(b, rows, row);
        if (!op || !op->done.commit_action)
            continue;
        const char *word = pg_text(rows, row, WORD);
        struct store_action_commit commit = {
            .repeated = strcmp(word, "done") == 0,
            .stored_only = strcmp(word, "stored") == 0,
            .status = pg_text(rows, row, STATUS),
            .retry_ms = pg_int8(rows, row, RETRY_MS),
            .ring_plan = pg_int4(rows, row, RING_PLAN),
            .ring_index = pg_int4(rows, row, RING_INDEX),
        };
        struct error err;
        enum outcome outcome = store_commit_outcome(word, &err);
        op->done.commit_action(op->arg, outcome, outcome == OK ? &commit : NULL,
                               outcome == OK ? NULL : &err);
    }
    return STORE_FINISHED;
}

static void commit_refuse(struct store *s, struct store_op *op, const struct error *err)
{
    (void)s;
    if (op->done.commit_action)
        op->done.commit_action(op->arg, REFUSED, NULL, err);
}

const struct store_lane_def store_lane_commit_actions = {
    .statement = { "commit_actions",
                   "SELECT item, answer, status, retry_ms, ring_plan, ring_index "
                   "FROM pawl.commit_actions($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)" },
    .batch_max = STORE_BATCH_MAX,
    .for_worker = true,
    .encode = commit_encode,
    .decode = commit_decode,
    .refuse = commit_refuse,
};
