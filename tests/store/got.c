#include "tests/store/got.h"

int got_links_up, got_dead;

static void on_link(void *arg, enum outcome outcome, const char *text)
{
    (void)arg;
    (void)text;
    got_links_up += outcome == OK;
}

static void on_dead(void *arg)
{
    (void)arg;
    got_dead++;
}

struct store *got_store(struct world *w, const char *program, int64_t incarnation)
{
    struct error err;
    struct store *s;
    struct store_options options = {
        .dsn = strcmp(program, "planner") == 0 ? w->planner_dsn : w->executor_dsn,
        .program = program,
        .class = "default",
        .connections = 2,
    };
    struct store_calls calls = { .on_link = on_link, .on_dead = on_dead };
    assert_ok(store_init(&s, &w->loop, &options, &calls, &err), &err);
    store_set_worker(s, incarnation);
    return s;
}

void got_wait(struct world *w, struct got *g, int answers)
{
    UNTIL(w, g->answers >= answers, 10000);
    assert_int_equal(g->answers, answers);
}

/* ---- callbacks --------------------------------------------------------------- */

static void note(struct got *g, enum outcome outcome, const struct error *err)
{
    g->answers++;
    g->outcome = outcome;
    if (err)
        g->error = *err;
}

void got_accept(void *arg, enum outcome outcome, const struct store_accepted *a,
                const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    if (a) {
        g->accepted = *a;
        (void)snprintf(g->text, sizeof g->text, "%s", a->detail ? a->detail : "");
    }
}

void got_plan(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
              const struct error *err)
{
    static const char *const kinds[] = {
        [STORE_ROW_CONTEXT] = "context", [STORE_ROW_INPUT] = "input",   [STORE_ROW_ITEM] = "item",
        [STORE_ROW_SAID] = "said",       [STORE_ROW_RESULT] = "result",
    };
    struct got *g = arg;
    size_t n = 0;
    note(g, outcome, err);
    if (!claim)
        return;
    g->plan = *claim;
    g->rows[0] = '\0';
    for (size_t i = 0; i < claim->row_count && n < sizeof g->rows; i++) {
        const struct store_row *r = &claim->rows[i];
        n += (size_t)snprintf(g->rows + n, sizeof g->rows - n, "%s%s%d.%d=%.*s", i ? " " : "",
                              kinds[r->kind], r->step, r->index, (int)r->content_n,
                              r->content ? r->content : "");
    }
}

void got_plan_commit(void *arg, enum outcome outcome, const struct store_plan_commit *commit,
                     const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    if (commit) {
        g->plan_commit = *commit;
        (void)snprintf(g->text, sizeof g->text, "%s", commit->status);
    }
}

void got_action(void *arg, enum outcome outcome, const struct store_action_claim *claim,
                const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    if (claim) {
        g->action = *claim;
        (void)snprintf(g->text, sizeof g->text, "%s", claim->tool ? claim->tool : "");
    }
}

void got_action_commit(void *arg, enum outcome outcome, const struct store_action_commit *commit,
                       const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    if (commit) {
        g->action_commit = *commit;
        (void)snprintf(g->text, sizeof g->text, "%s", commit->status);
    }
}

void got_plain(void *arg, enum outcome outcome, const struct error *err)
{
    note(arg, outcome, err);
}

void got_count(void *arg, enum outcome outcome, int count, const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    g->count = count;
}

void got_announcement(void *arg, enum outcome outcome, const struct store_announcement *a,
                      const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    g->id = a ? a->id : 0;
    if (a)
        (void)snprintf(g->text, sizeof g->text, "%s %s %s", a->type, a->agent, a->class);
}

void got_ids(void *arg, enum outcome outcome, const int64_t *ids, size_t count,
             const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    g->count = (int)count;
    g->id = count > 0 ? ids[0] : 0;
}

void got_revisions(void *arg, enum outcome outcome, const struct store_revision *r, size_t count,
                   const struct error *err)
{
    struct got *g = arg;
    note(g, outcome, err);
    g->count = (int)count;
    if (count > 0) {
        g->id = r[0].seq;
        (void)snprintf(g->text, sizeof g->text, "%s %s %s %d", r[0].kind, r[0].name, r[0].body,
                       r[0].current);
    }
}

/* ---- requests ------------------------------------------------------------------ */

struct store_accept got_request_of(const char *id, const char *agent, const char *input)
{
    struct store_accept a = { .source = "tests",
                              .id = id,
                              .agent = agent,
                              .tenant = "tenant",
                              .class = "default",
                              .input = input };
    digest_of(input, strlen(input), &a.digest);
    return a;
}

struct store_claim_plan got_plan_of(const struct uuid *run)
{
    return (struct store_claim_plan){ .token = uuid_v4(), .run = *run };
}

struct store_commit_plan got_commit_of(const struct store_claim_plan *c, const struct got *g,
                                       enum store_plan_outcome outcome)
{
    return (struct store_commit_plan){
        .token = c->token,
        .run = c->run,
        .step = g->plan.step,
        .epoch = g->plan.epoch,
        .version = g->plan.version,
        .outcome = outcome,
        .tokens_in = 10,
        .tokens_out = STORE_NOT_KNOWN,
        .tokens_cached = 0,
        .cost_micros = 7,
        .duration_ms = 3,
    };
}

struct store_claim_action got_call_of(const struct uuid *run, int index)
{
    return (
        struct store_claim_action){ .token = uuid_v4(), .run = *run, .step = 1, .index = index };
}

struct store_commit_action got_result_of(const struct store_claim_action *c, const struct got *g,
                                         enum store_call_outcome outcome)
{
    return (struct store_commit_action){
        .token = c->token,
        .run = c->run,
        .step = c->step,
        .index = c->index,
        .version = g->action.version,
        .outcome = outcome,
        .retry_ms = STORE_NOT_KNOWN,
        .duration_ms = 12,
    };
}
