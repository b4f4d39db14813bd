/*
 * test_plan.c -- drives the machine of one step with a scripted world: no sockets,
 * no Postgres.
 *
 * The crash test stops the script after every possible number of operations,
 * throws the task away (declares its process dead), and delivers the doorbell
 * again: whatever the point of death, the run goes on, and a plan that was
 * committed is never asked of the model again.
 */
#include "tests/unit/cm.h"

#include "planner/plan.h"

#include "common/memory.h"
#include "planner/model_openai_chat.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_MAX = 64, STEPS = 3, FOREVER = 1000 };

/* Stands for Postgres, the registry, the model and Kafka. */
struct world {
    /* The run. */
    int step, version, failures, steps_planned[16];
    bool claimed, ended;
    struct uuid token;
    const char *status, *code;
    char error[300];

    /* What is in flight, and how many operations are left until "kill -9". */
    struct {
        struct plan_event ev;
        int what; /* 0 claim, 1 load, 2 think, 3 commit, 4 later */
    } queue[QUEUE_MAX];
    int count, next, fuel;

    /* What happened. */
    int model_calls, model_calls_after_commit, commits, act_rings, plan_rings, announced, waits;
    int retries, cannot, forgotten, ends;
    int64_t retry_in_ms;
    char last_body[4096];

    /* The script. */
    int retry_claim, retry_load, retry_commit; /* answers RETRY so often first */
    int fail_model;                            /* the model fails so often first */
    enum outcome model_says;                   /* how it fails */
    int64_t retry_after_ms;
    enum outcome commit_says;
    int refuse_commits;
    enum store_claim_answer claim_says;
    bool no_secret, no_agent, all_refused;
    enum reply_end end;
    struct history_cache cache;
};

static struct model_def model = {
    .name = "demo",
    .model = "m",
    .attempts = 3,
    .price = { 2500000, 250000, 10000000 },
};
static struct tool_def look = { .name = "look", .description = "" };
static struct registry_tool tools[] = { { 7, &look } };
static struct agent_def agent_def = {
    .name = "a",
    .instructions = "Be brief.",
    .tool_count = 1,
    .limit_steps = 64,
    .limit_calls_per_step = 8,
    .limit_parallel_calls = 2,
    .limit_arguments_bytes = 1000,
};
static struct registry_agent agent = {
    .seq = 1, .def = &agent_def, .model = &model, .tools = tools
};
static const struct error trouble = { "something went wrong" };

static bool alive(struct world *w)
{
    return w->fuel > 0 && --w->fuel >= 0;
}

static struct plan_event *answer(struct world *w, int what, unsigned ticket)
{
    assert_true(w->count < QUEUE_MAX);
    w->queue[w->count].what = what;
    w->queue[w->count].ev = (struct plan_event){ .ticket = ticket, .outcome = OK, .err = &trouble };
    return &w->queue[w->count++].ev;
}

static bool says_retry(int *left, struct plan_event *ev)
{
    if (*left <= 0)
        return false;
    --*left;
    ev->outcome = RETRY;
    return true;
}

/* ---- the ports ---------------------------------------------------------------------- */

static struct store_plan_claim claim;
static struct store_row rows[64];
static char raws[16][64];

static void add_rows(struct world *w, int known)
{
    claim.rows = rows;
    claim.row_count = 0;
    if (known == 0)
        rows[claim.row_count++] =
            (struct store_row){ .kind = STORE_ROW_INPUT, .content = "\"go\"", .content_n = 4 };
    for (int s = 1; s < w->step; s++) {
        (void)snprintf(raws[s], sizeof raws[s], "{\"role\":\"assistant\",\"content\":\"step %d\"}",
                       s);
        if (s > known)
            rows[claim.row_count++] = (struct store_row){ .kind = STORE_ROW_ITEM,
                                                          .step = s,
                                                          .index = 0,
                                                          .type = STORE_FUNCTION_CALL,
                                                          .call_id = "c",
                                                          .tool = "look",
                                                          .raw = raws[s],
                                                          .raw_n = strlen(raws[s]) };
        if (s >= known)
            rows[claim.row_count++] = (struct store_row){ .kind = STORE_ROW_RESULT,
                                                          .step = s,
                                                          .index = 0,
                                                          .call_id = "c",
                                                          .status = "succeeded",
                                                          .content = "seen",
                                                          .content_n = 4 };
    }
}

static void port_claim(void *self, struct plan *p, unsigned ticket,
                       const struct store_claim_plan *request)
{
    struct world *w = self;
    (void)p;
    if (!alive(w))
        return;
    struct plan_event *ev = answer(w, 0, ticket);
    if (says_retry(&w->retry_claim, ev))
        return;
    claim = (struct store_plan_claim){ .answer = w->claim_says };
    ev->claim = &claim;
    if (w->ended)
        claim.answer = STORE_DONE;
    else if (w->claimed && !uuid_eq(&w->token, &request->token))
        claim.answer = STORE_BUSY;
    if (claim.answer != STORE_YOURS)
        return;
    if (!w->claimed)
        w->version++;
    w->claimed = true;
    w->token = request->token;
    claim.step = w->step;
    claim.epoch = 1;
    claim.version = w->version;
    claim.revision = 1;
    claim.failures = w->failures;
    claim.left_ms = 60000;
    claim.known_step = request->known_epoch == 1 ? request->known_step : 0;
    add_rows(w, claim.known_step);
}

static void port_load(void *self, struct plan *p, unsigned ticket, int64_t revision)
{
    struct world *w = self;
    (void)p;
    assert_int_equal(revision, 1);
    if (!alive(w))
        return;
    struct plan_event *ev = answer(w, 1, ticket);
    if (says_retry(&w->retry_load, ev))
        return;
    ev->agent = &agent;
    if (w->no_agent)
        ev->outcome = REFUSED;
}

static struct model_reply *make_reply(struct world *w)
{
    struct model_reply *r = model_reply_new(100000);
    r->took_ms = 12;
    if (w->fail_model > 0) {
        w->fail_model--;
        r->retry_after_ms = w->retry_after_ms;
        (void)model_reply_fail(r, w->model_says, "overloaded", "no capacity");
        return r;
    }
    bool last = w->step == STEPS;
    r->items = arena_alloc_array(&r->arena, 4, sizeof *r->items);
    r->raw = arena_printf(&r->arena, "{\"role\":\"assistant\",\"content\":\"step %d\"}", w->step);
    r->raw_n = strlen(r->raw);
    r->end = w->end;
    r->end_reason = "";
    r->usage = (struct model_usage){ 1000, 100, 400 };
    r->item_count = last ? 1 : 4;
    r->call_count = last ? 0 : 4;
    for (size_t i = 0; i < 4; i++)
        r->items[i] = (struct reply_item){ .type = REPLY_CALL,
                                           .call_id = "c",
                                           .arguments_n = 2,
                                           .tool = w->all_refused || i == 1 ? "nothing" : "look",
                                           .arguments = "{}" };
    if (last)
        r->items[0] = (struct reply_item){ .type = REPLY_TEXT, .content = "done" };
    return r;
}

static void port_think(void *self, struct plan *p, unsigned ticket,
                       const struct model_call_request *request)
{
    struct world *w = self;
    (void)p;
    (void)snprintf(w->last_body, sizeof w->last_body, "%s", request->body);
    assert_int_equal(strlen(request->body), request->body_n);
    if (!alive(w))
        return;
    w->model_calls++;
    w->model_calls_after_commit += w->steps_planned[w->step] > 0;
    answer(w, 2, ticket)->reply = make_reply(w);
}

static struct store_plan_commit committed;

static void advance(struct world *w, const struct store_commit_plan *request)
{
    int calls = 0;
    for (size_t i = 0; i < request->item_count; i++)
        calls += request->items[i].type == STORE_FUNCTION_CALL && !request->items[i].refused;
    w->claimed = false;
    if (request->outcome == STORE_PLAN_HANDED_BACK) {
        w->version--;
        return;
    }
    if (request->outcome == STORE_PLAN_RETRY) {
        w->failures++;
        return;
    }
    w->failures = 0;
    w->steps_planned[w->step]++;
    if (request->outcome == STORE_PLAN_CALLS) {
        committed.open_calls = calls;
        committed.next_step = calls == 0 ? w->step + 1 : 0;
        w->step++; /* the hands are quick here */
        w->version = 0;
        return;
    }
    w->ended = true;
    w->status = request->outcome == STORE_PLAN_FINAL ? "succeeded" : "failed";
    w->code = request->code;
    (void)snprintf(w->error, sizeof w->error, "%s", request->error ? request->error : "");
    committed.event_id = 99;
}

static void port_commit(void *self, struct plan *p, unsigned ticket,
                        const struct store_commit_plan *request)
{
    struct world *w = self;
    (void)p;
    if (!alive(w))
        return;
    struct plan_event *ev = answer(w, 3, ticket);
    if (says_retry(&w->retry_commit, ev))
        return;
    ev->commit = &committed;
    committed = (struct store_plan_commit){ .status = "running" };
    if (w->refuse_commits > 0) {
        w->refuse_commits--;
        ev->outcome = REFUSED;
    } else if (w->commit_says != OK || !w->claimed || !uuid_eq(&request->token, &w->token)) {
        ev->outcome = STALE;
    } else {
        assert_int_equal(request->version, w->version);
        w->commits++;
        advance(w, request);
    }
}

static void port_later(void *self, struct plan *p, unsigned ticket, int64_t delay_ms)
{
    struct world *w = self;
    (void)p;
    assert_true(delay_ms > 0);
    w->waits++;
    answer(w, 4, ticket);
}

static void port_forget(void *self, struct plan *p)
{
    (void)p;
    ((struct world *)self)->forgotten++;
}

static void port_ring(void *self, const struct doorbell *d)
{
    struct world *w = self;
    if (w->fuel <= 0)
        return;
    if (d->index == DOORBELL_PLAN)
        w->plan_rings++;
    else
        w->act_rings++;
}

static void port_announce(void *self, int64_t event_id)
{
    struct world *w = self;
    assert_int_equal(event_id, 99);
    w->announced += w->fuel > 0;
}

static void port_retry_in(void *self, const struct uuid *run, int64_t delay_ms)
{
    struct world *w = self;
    (void)run;
    w->retries++;
    w->retry_in_ms = delay_ms;
}

static enum outcome port_secret(void *self, const char *name, const char **value, struct error *err)
{
    struct world *w = self;
    *value = "key";
    (void)fail(err, REFUSED, "no secret %s", name);
    return w->no_secret ? REFUSED : OK;
}

static double port_dice(void *self)
{
    (void)self;
    return 0;
}

static void port_cannot(void *self, const struct plan *p, const struct error *why)
{
    (void)p;
    assert_non_null(strstr(why->text, "no secret"));
    ((struct world *)self)->cannot++;
}

static void port_ended(void *self, struct plan *p)
{
    (void)p;
    ((struct world *)self)->ends++;
}

static const struct uuid run = { { 4, 2 } };

static struct plan_ports ports_of(struct world *w)
{
    return (struct plan_ports){ .self = w,
                                .claim = port_claim,
                                .load = port_load,
                                .think = port_think,
                                .commit = port_commit,
                                .later = port_later,
                                .forget = port_forget,
                                .ring = port_ring,
                                .announce = port_announce,
                                .retry_in = port_retry_in,
                                .secret = port_secret,
                                .dice = port_dice,
                                .cannot = port_cannot,
                                .ended = port_ended };
}

static struct world new_world(void)
{
    struct world w = { .step = 1,
                       .fuel = FOREVER,
                       .claim_says = STORE_YOURS,
                       .end = REPLY_END_STOP,
                       .model_says = RETRY,
                       .retry_after_ms = -1 };
    history_cache_init(&w.cache, (size_t)1 << 20);
    return w;
}

static void end_world(struct world *w)
{
    history_cache_release(&w->cache);
}

/* Answers what is in flight, one after the other, until nothing is. */
static void answer_all(struct world *w, struct plan *p)
{
    while (w->next < w->count)
        plan_resume(p, &w->queue[w->next++].ev);
    w->count = w->next = 0;
}

/* One doorbell with so much fuel; what is left is thrown away as by a death, and
 * its claim with it.                                                         */
static enum plan_state deliver(struct world *w, int fuel)
{
    const struct plan_ports ports = ports_of(w);
    struct plan p;
    w->fuel = fuel;
    w->count = w->next = 0;
    plan_start(&p, &ports, &w->cache, &run, false);
    answer_all(w, &p);
    enum plan_state end = p.state;
    plan_release(&p);
    if (w->claimed && end != PLAN_DONE)
        w->claimed = false; /* declared dead */
    w->fuel = FOREVER;
    return end;
}

/* ---- tests ------------------------------------------------------------------------------ */

static void a_run_of_three_steps(void **state)
{
    (void)state;
    struct world w = new_world();
    for (int s = 1; s <= STEPS; s++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_true(w.ended);
    assert_string_equal(w.status, "succeeded");
    assert_int_equal(w.model_calls, STEPS);
    assert_int_equal(w.announced, 1);
    assert_int_equal(w.act_rings, 4); /* two places in each of two steps */
    assert_int_equal(w.cache.hits, 2);
    assert_int_equal(w.cache.count, 0); /* what has ended needs no history */
    /* The third prompt grew from the cache and holds all there was, once. */
    const char *second = strstr(w.last_body, "step 2");
    assert_non_null(second);
    assert_null(strstr(second + 1, "step 2"));
    assert_non_null(strstr(w.last_body, "step 1"));
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE); /* a late doorbell */
    assert_int_equal(w.model_calls, STEPS);
    end_world(&w);
}

static void survives_death_at_every_operation(void **state)
{
    (void)state;
    for (int fuel = 1; fuel <= 6; fuel++) {
        for (int dies_at = 1; dies_at <= STEPS; dies_at++) {
            struct world w = new_world();
            for (int s = 1; s <= STEPS; s++) {
                int before = w.step;
                if (s == dies_at)
                    (void)deliver(&w, fuel);
                if (!w.ended && w.step == before) /* it falls due: again */
                    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
            }
            assert_true(w.ended);
            assert_string_equal(w.status, "succeeded");
            assert_int_equal(w.model_calls_after_commit, 0);
            for (int s = 1; s <= STEPS; s++)
                assert_int_equal(w.steps_planned[s], 1);
            assert_true(w.model_calls <= STEPS + 1);
            end_world(&w);
        }
    }
}

/* Death with an empty cache each time: all is read anew. */
static void needs_no_history(void **state)
{
    (void)state;
    struct world w = new_world();
    for (int s = 1; s <= STEPS; s++) {
        (void)deliver(&w, FOREVER);
        history_cache_release(&w.cache);
        history_cache_init(&w.cache, (size_t)1 << 20);
    }
    assert_true(w.ended);
    assert_non_null(strstr(w.last_body, "step 1"));
    assert_non_null(strstr(w.last_body, "step 2"));
    end_world(&w);
}

static void late_answers_are_ignored(void **state)
{
    (void)state;
    struct world w = new_world();
    const struct plan_ports ports = ports_of(&w);
    struct plan p;
    plan_start(&p, &ports, &w.cache, &run, false);
    struct plan_event late = { .ticket = p.ticket + 9, .outcome = OK };
    plan_resume(&p, &late);
    assert_int_equal(p.state, PLAN_CLAIM);
    late.ticket = p.ticket - 1;
    late.reply = model_reply_new(10); /* is freed */
    plan_resume(&p, &late);
    assert_int_equal(p.state, PLAN_CLAIM);
    answer_all(&w, &p);
    assert_int_equal(p.state, PLAN_DONE);
    late.reply = NULL;
    late.ticket = p.ticket;
    plan_resume(&p, &late);
    assert_int_equal(w.ends, 1);
    plan_release(&p);
    end_world(&w);
}

static void retries_are_tried_again(void **state)
{
    (void)state;
    struct world w = new_world();
    w.retry_claim = 3;
    w.retry_load = 2;
    w.retry_commit = 4;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.waits, 9);
    assert_int_equal(w.commits, 1);
    assert_int_equal(w.model_calls, 1);
    end_world(&w);
}

static void what_is_not_ours_is_left(void **state)
{
    (void)state;
    const enum store_claim_answer answers[] = { STORE_BUSY, STORE_DONE, STORE_LATER, STORE_NO,
                                                STORE_DEAD };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct world w = new_world();
        w.claim_says = answers[i];
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
        assert_int_equal(w.model_calls + w.commits, 0);
        assert_int_equal(w.ends, 1);
        end_world(&w);
    }
}

static void a_failed_model_is_asked_again_by_and_by(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 2;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.failures, 1);
    assert_int_equal(w.retries, 1);
    assert_int_equal(w.retry_in_ms, 500);
    w.retry_after_ms = 7000;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.retry_in_ms, 7000);
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.step, 2);
    assert_int_equal(w.model_calls, 3);
    end_world(&w);
}

static void a_wait_ends_at_the_deadline(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 1;
    w.retry_after_ms = 3600000;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.retry_in_ms, 60000 - 12);
    end_world(&w);
}

static void after_its_attempts_the_run_fails(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 99;
    for (int i = 0; i < 3; i++)
        assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_true(w.ended);
    assert_string_equal(w.code, "model_failed");
    assert_string_equal(w.error, "the model failed 3 times; last: no capacity");
    assert_int_equal(w.model_calls, 3);
    assert_int_equal(w.announced, 1);
    end_world(&w);
}

static void a_final_error_is_final(void **state)
{
    (void)state;
    struct world w = new_world();
    w.fail_model = 1;
    w.model_says = REFUSED;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_true(w.ended);
    assert_string_equal(w.code, "model_refused");
    assert_string_equal(w.error, "overloaded: no capacity");
    end_world(&w);
}

static void ends_by_rule(void **state)
{
    (void)state;
    struct world w = new_world();
    agent_def.limit_steps = 0;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    agent_def.limit_steps = 64;
    assert_string_equal(w.code, "step_limit");
    assert_int_equal(w.model_calls, 0);
    end_world(&w);

    w = new_world();
    w.no_agent = true;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "bad_revision");
    end_world(&w);

    w = new_world();
    w.step = STEPS;
    w.end = REPLY_END_LENGTH;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "answer_cut");
    end_world(&w);
}

static void a_missing_secret_gives_the_claim_back(void **state)
{
    (void)state;
    struct world w = new_world();
    w.no_secret = true;
    model.api_key_secret = "KEY";
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.claimed);
    assert_false(w.ended);
    assert_int_equal(w.cannot, 1);
    assert_int_equal(w.model_calls, 0);
    w.no_secret = false;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    model.api_key_secret = NULL;
    assert_int_equal(w.step, 2);
    end_world(&w);
}

static void when_every_call_is_refused_the_model_is_asked_at_once(void **state)
{
    (void)state;
    struct world w = new_world();
    w.all_refused = true;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.act_rings, 0);
    assert_int_equal(w.plan_rings, 1);
    end_world(&w);
}

static void a_stale_commit_is_dropped(void **state)
{
    (void)state;
    struct world w = new_world();
    w.commit_says = STALE;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.act_rings + w.plan_rings + w.announced, 0);
    assert_int_equal(w.cache.count, 0);
    end_world(&w);
}

static void rows_that_cannot_be_stored_fail_the_run(void **state)
{
    (void)state;
    struct world w = new_world();
    w.refuse_commits = 1;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_string_equal(w.code, "plan_refused");
    end_world(&w);

    w = new_world();
    w.refuse_commits = 2; /* not even that */
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_false(w.claimed);
    end_world(&w);

    w = new_world();
    w.refuse_commits = 99;
    assert_int_equal(deliver(&w, FOREVER), PLAN_DONE);
    assert_int_equal(w.ends, 1);
    end_world(&w);
}

/* Starts a plan and stops it in the state. */
static void bring_to(struct world *w, struct plan *p, const struct plan_ports *ports,
                     enum plan_state wanted)
{
    plan_start(p, ports, &w->cache, &run, false);
    while (p->state != wanted) {
        assert_true(w->next < w->count);
        plan_resume(p, &w->queue[w->next++].ev);
    }
}

static void a_cancelled_run_is_given_back(void **state)
{
    (void)state;
    const enum plan_state places[] = { PLAN_CLAIM, PLAN_LOAD, PLAN_THINK };
    for (size_t i = 0; i < 3; i++) {
        struct world w = new_world();
        const struct plan_ports ports = ports_of(&w);
        struct plan p;
        bring_to(&w, &p, &ports, places[i]);
        plan_cancel(&p);
        answer_all(&w, &p); /* the answer of the forgotten operation comes late, too */
        assert_int_equal(p.state, PLAN_DONE);
        assert_false(w.claimed);
        assert_int_equal(w.steps_planned[1], 0);
        assert_int_equal(w.forgotten, places[i] == PLAN_CLAIM ? 0 : 1);
        plan_release(&p);
        end_world(&w);
    }
}

static void draining_gives_back_what_has_not_begun(void **state)
{
    (void)state;
    const enum plan_state places[] = { PLAN_CLAIM, PLAN_LOAD, PLAN_THINK };
    for (size_t i = 0; i < 3; i++) {
        struct world w = new_world();
        const struct plan_ports ports = ports_of(&w);
        struct plan p;
        bring_to(&w, &p, &ports, places[i]);
        plan_drain(&p);
        answer_all(&w, &p);
        assert_int_equal(p.state, PLAN_DONE);
        assert_int_equal(w.steps_planned[1], places[i] == PLAN_THINK ? 1 : 0);
        plan_release(&p);
        end_world(&w);
    }
}

static void dropping_says_nothing(void **state)
{
    (void)state;
    const enum plan_state places[] = { PLAN_CLAIM, PLAN_LOAD, PLAN_THINK, PLAN_COMMIT };
    for (size_t i = 0; i < 4; i++) {
        struct world w = new_world();
        const struct plan_ports ports = ports_of(&w);
        struct plan p;
        bring_to(&w, &p, &ports, places[i]);
        plan_drop(&p);
        assert_int_equal(p.state, PLAN_DONE);
        assert_int_equal(w.ends, 1);
        answer_all(&w, &p);
        plan_release(&p);
        end_world(&w);
    }
}

static void draws_itself(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    plan_print_graph(out);
    (void)fclose(out);
    assert_non_null(strstr(text, "claim --> load"));
    assert_null(strstr(text, "commit --> think"));
    free(text);
}

static void backs_off(void **state)
{
    (void)state;
    assert_int_equal(model_backoff_ms(1, 0), 500);
    assert_int_equal(model_backoff_ms(2, 0), 1000);
    assert_int_equal(model_backoff_ms(3, 0.999), 2000 - 499);
    assert_int_equal(model_backoff_ms(1000000, 0), 20000);
    const struct model_price price = { 2500000, 250000, 10000000 }, none = { -1, -1, -1 };
    const struct model_usage usage = { 1000, 100, 400 }, unknown = { -1, -1, -1 };
    assert_int_equal(model_cost_micros(&price, &usage), 1500 + 100 + 1000);
    assert_int_equal(model_cost_micros(&none, &usage), -1);
    assert_int_equal(model_cost_micros(&price, &unknown), -1);
}

int main(void)
{
    model.options = json_object();
    look.parameters = json_object();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_three_steps),
        cmocka_unit_test(survives_death_at_every_operation),
        cmocka_unit_test(needs_no_history),
        cmocka_unit_test(late_answers_are_ignored),
        cmocka_unit_test(retries_are_tried_again),
        cmocka_unit_test(what_is_not_ours_is_left),
        cmocka_unit_test(a_failed_model_is_asked_again_by_and_by),
        cmocka_unit_test(a_wait_ends_at_the_deadline),
        cmocka_unit_test(after_its_attempts_the_run_fails),
        cmocka_unit_test(a_final_error_is_final),
        cmocka_unit_test(ends_by_rule),
        cmocka_unit_test(a_missing_secret_gives_the_claim_back),
        cmocka_unit_test(when_every_call_is_refused_the_model_is_asked_at_once),
        cmocka_unit_test(a_stale_commit_is_dropped),
        cmocka_unit_test(rows_that_cannot_be_stored_fail_the_run),
        cmocka_unit_test(a_cancelled_run_is_given_back),
        cmocka_unit_test(draining_gives_back_what_has_not_begun),
        cmocka_unit_test(dropping_says_nothing),
        cmocka_unit_test(draws_itself),
        cmocka_unit_test(backs_off),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(model.options);
    json_decref(look.parameters);
    return failed;
}
