#include "tests/unit/plan_world.h"

#include "tests/unit/cm.h"

#include "common/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model_def world_model = {
    .name = "demo",
    .model = "m",
    .attempts = 3,
    .price = { 2500000, 250000, 3750000, 10000000 },
};
static struct tool_def look = { .name = "look", .description = "" };
static struct registry_tool tools[] = { { 7, &look } };
struct agent_def world_agent = {
    .name = "a",
    .instructions = "Be brief.",
    .model_count = 1,
    .tool_count = 1,
    .fallback_after = 2,
    .limit_steps = 64,
    .limit_calls_per_step = 8,
    .limit_parallel_calls = 2,
    .limit_arguments_bytes = 1000,
};
struct model_def world_other_model = {
    .name = "other",
    .model = "o",
    .attempts = 2,
    .price = { -1, -1, -1, -1 },
};
static const struct registry_model models[] = { { 5, &world_model }, { 6, &world_other_model } };
static struct registry_agent agent = {
    .seq = 1, .def = &world_agent, .models = models, .tools = tools
};
static const struct error trouble = { "something went wrong" };

static bool alive(struct world *w)
{
    return w->fuel > 0 && --w->fuel >= 0;
}

static struct plan_event *answer(struct world *w, int what, unsigned ticket)
{
    assert_true(w->count < WORLD_QUEUE_MAX);
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

/* What pawl.read_steps shows: see there. */
static struct store_view view_of(struct world *w, const struct store_claim_plan *request,
                                 int *known)
{
    struct context stored;
    context_read(&stored, w->context, strlen(w->context));
    const struct store_view given = request->has_view ? request->view : (struct store_view){ 0 };
    bool same = memcmp(&given, &stored.view, sizeof given) == 0;
    struct store_view view = *known == 0 && request->has_view ? given : stored.view;
    *known = same ? *known : 0;
    return view;
}

static void add_rows(struct world *w, const struct store_claim_plan *request, int known)
{
    const char *result = w->result ? w->result : "seen";
    const struct store_view view = view_of(w, request, &known);
    claim.rows = rows;
    claim.row_count = 0;
    if (*w->context)
        rows[claim.row_count++] = (struct store_row){ .kind = STORE_ROW_CONTEXT,
                                                      .content = w->context,
                                                      .content_n = strlen(w->context) };
    if (known == 0)
        rows[claim.row_count++] =
            (struct store_row){ .kind = STORE_ROW_INPUT, .content = "\"go\"", .content_n = 4 };
    w->read_anew += known == 0;
    for (int s = view.left_out + 1; s < w->step; s++) {
        bool hidden = s <= view.emptied && strlen(result) > CONTEXT_SHORT_BYTES;
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
                                                          .content = hidden ? NULL : result,
                                                          .content_n = hidden ? 0 : strlen(result),
                                                          .hidden = hidden ? 1000 : 0 };
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
    claim.tenant = "ann";
    claim.model_at = w->model_at;
    claim.failures = w->failures;
    claim.left_ms = 60000;
    claim.known_step = request->known_epoch == 1 ? request->known_step : 0;
    add_rows(w, request, claim.known_step);
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

static int last_step(const struct world *w)
{
    return w->last_step ? w->last_step : WORLD_STEPS;
}

static struct model_reply *make_reply(struct world *w, size_t prompt_bytes)
{
    struct model_reply *r = model_reply_new(100000);
    r->took_ms = 12;
    if (w->fail_model > 0) {
        w->fail_model--;
        r->retry_after_ms = w->retry_after_ms;
        (void)model_reply_fail(r, w->model_says, w->model_code ? w->model_code : "overloaded",
                               "no capacity");
        return r;
    }
    if (w->window > 0 && prompt_bytes / 4 > (size_t)w->window) {
        w->too_long++;
        (void)model_reply_fail(r, REFUSED, "prompt_too_large", "HTTP 400: too long");
        return r;
    }
    bool last = w->step == last_step(w);
    r->items = arena_alloc_array(&r->arena, 4, sizeof *r->items);
    r->raw = arena_printf(&r->arena, "{\"role\":\"assistant\",\"content\":\"step %d\"}", w->step);
    r->raw_n = strlen(r->raw);
    r->end = w->end;
    r->end_reason = "";
    r->usage = (struct model_usage){ .tokens_in = w->window ? (int64_t)prompt_bytes / 4 : 1000,
                                     .tokens_out = 100,
                                     .tokens_cached = 400,
                                     .tokens_written = 0,
                                     .tokens_reasoning = MODEL_NO_TOKENS };
    r->item_count = last ? 1 : 4;
    r->call_count = last ? 0 : 4;
    for (size_t i = 0; i < 4; i++)
        r->items[i] = (struct reply_item){ .type = REPLY_CALL,
                                           .call_id = "c",
                                           .arguments_n = 2,
                                           .tool = w->all_refused || i == 1 ? "nothing" : "look",
                                           .arguments = "{}" };
    if (w->empty_turns > 0) {
        w->empty_turns--;
        r->item_count = 1;
        r->call_count = 0;
        r->raw = "{\"role\":\"assistant\",\"content\":\"\"}";
        r->raw_n = strlen(r->raw);
        r->items[0] = (struct reply_item){ .type = REPLY_TEXT, .content = " \n" };
    } else if (last)
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
    size_t asked = strlen(w->asked);
    if (asked + 1 < sizeof w->asked)
        w->asked[asked] = request->model->name[0];
    assert_true((size_t)w->model_calls < sizeof w->prompts / sizeof *w->prompts);
    digest_of(request->body, request->body_n, &w->prompts[w->model_calls]);
    w->model_calls++;
    w->model_calls_after_commit += w->steps_planned[w->step] > 0;
    answer(w, 2, ticket)->reply = make_reply(w, request->body_n);
}

static struct store_plan_commit committed;

static void advance(struct world *w, const struct store_commit_plan *request)
{
    int calls = 0;
    for (size_t i = 0; i < request->item_count; i++)
        calls += request->items[i].type == STORE_FUNCTION_CALL && !request->items[i].refused;
    w->claimed = false;
    w->cost_known_to_none = !request->model;
    if (request->context)
        (void)snprintf(w->context, sizeof w->context, "%s", request->context);
    if (request->outcome == STORE_PLAN_HANDED_BACK) {
        w->version--;
        return;
    }
    if (request->outcome == STORE_PLAN_RETRY) {
        w->failures = request->failures;
        w->model_at = request->model_at;
        return;
    }
    w->failures = w->model_at = 0;
    w->steps_planned[w->step]++;
    bool said = request->outcome == STORE_PLAN_FINAL && w->said > 0; /* it goes on */
    w->said -= said;
    if (request->outcome == STORE_PLAN_CALLS || said) {
        committed.open_calls = calls;
        committed.next_step = calls == 0 ? w->step + 1 : 0;
        w->step++; /* the hands are quick here */
        w->version = 0;
        return;
    }
    w->ended = true;
    w->status = request->outcome == STORE_PLAN_FINAL || request->outcome == STORE_PLAN_LAST
                    ? "succeeded"
                    : "failed";
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

static void port_quota(void *self, struct plan *p, unsigned ticket,
                       const struct store_quota *request)
{
    struct world *w = self;
    if (!alive(w))
        return;
    assert_true(uuid_eq(&request->run, &p->run));
    assert_string_equal(request->tenant, "ann");
    w->quotas++;
    w->quota_tokens = request->tokens;
    struct plan_event *ev = answer(w, 5, ticket);
    ev->wait_ms = w->quota_wait_ms;
    ev->outcome = w->quota_says;
}

static void port_settle(void *self, const struct store_quota *request)
{
    struct world *w = self;
    assert_true(uuid_is_nil(&request->run));
    w->settled = request->settle;
    w->pause_ms = request->pause_ms;
    w->settles++;
}

static int64_t port_blocked_ms(void *self, const struct model_def *model)
{
    return ((struct world *)self)->blocked_ms[model == &world_other_model];
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
    assert_contains(why->text, look.schema ? "no secret" : look.schema_why);
    ((struct world *)self)->cannot++;
}

static void port_ended(void *self, struct plan *p)
{
    (void)p;
    ((struct world *)self)->ends++;
}

const struct uuid world_run = { { 4, 2 } };

struct plan_ports ports_of(struct world *w)
{
    return (struct plan_ports){ .self = w,
                                .claim = port_claim,
                                .load = port_load,
                                .think = port_think,
                                .commit = port_commit,
                                .later = port_later,
                                .forget = port_forget,
                                .blocked_ms = port_blocked_ms,
                                .quota = port_quota,
                                .settle = port_settle,
                                .ring = port_ring,
                                .announce = port_announce,
                                .retry_in = port_retry_in,
                                .secret = port_secret,
                                .dice = port_dice,
                                .cannot = port_cannot,
                                .ended = port_ended };
}

struct world new_world(void)
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

void end_world(struct world *w)
{
    history_cache_release(&w->cache);
}

void answer_all(struct world *w, struct plan *p)
{
    while (w->next < w->count)
        plan_resume(p, &w->queue[w->next++].ev);
    w->count = w->next = 0;
}

enum plan_state deliver(struct world *w, int fuel)
{
    const struct plan_ports ports = ports_of(w);
    struct plan p;
    w->fuel = fuel;
    w->count = w->next = 0;
    plan_start(&p, &ports, &w->cache, &world_run, false);
    answer_all(w, &p);
    enum plan_state end = p.state;
    plan_release(&p);
    if (w->claimed && end != PLAN_DONE)
        w->claimed = false; /* declared dead */
    w->fuel = FOREVER;
    return end;
}

void bring_to(struct world *w, struct plan *p, const struct plan_ports *ports,
              enum plan_state wanted)
{
    plan_start(p, ports, &w->cache, &world_run, false);
    while (p->state != wanted) {
        assert_true(w->next < w->count);
        plan_resume(p, &w->queue[w->next++].ev);
    }
}

int world_set_up(void **state)
{
    (void)state;
    world_model.options = json_object();
    struct json_schema_fault fault;
    look.parameters = json_object();
    assert_int_equal(json_schema_compile(look.parameters, true, &look.schema, &fault), OK);
    return 0;
}

void world_swap_schema(void)
{
    static struct json_schema *hidden;
    struct json_schema *now = look.schema;
    look.schema = hidden;
    look.schema_why = hidden ? NULL : "parameters: 'tomorrow' is not a keyword";
    hidden = now;
}

int world_tear_down(void **state)
{
    (void)state;
    json_decref(world_model.options);
    json_schema_free(look.schema);
    json_decref(look.parameters);
    return 0;
}
