#include "common/registry.h"

#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    BODY_BYTES_MAX = 8 * 1024 * 1024,
    BODY_DEPTH_MAX = 256,
    AHEAD_MAX = 256,            /* agents read ahead at a refresh */
    TOUCH_EVERY_MS = 60 * 1000, /* pins are marked as used no more often */
};

/* A revision that was read.  Sorted by seq in registry.entries. */
struct entry {
    int64_t seq;
    enum catalog_kind kind;
    int64_t used_ms;
    struct model_def *model; /* one of these two, */
    struct tool_def *tool;
    struct agent_def *def; /* or an agent with what it pins: */
    struct registry_agent agent;
    struct registry_model *models;
    struct registry_tool *tools;
    struct entry **pins; /* the models, then the tools */
};

/* Somebody who waits: in a load, or in `ready` when the answer is known. */
struct waiter {
    struct waiter *next;
    registry_ticket ticket;
    int64_t seq;
    enum catalog_kind kind;
    registry_agent_done *agent_done;
    registry_tool_done *tool_done;
    void *arg;
    enum outcome outcome;
    struct error error;
};

/* A revision on its way here:  read --> (agents) find --> finished */
struct load {
    struct load *next;
    struct registry *registry;
    int64_t seq;
    store_ticket ticket;
    struct waiter *waiters;
    struct agent_def *def; /* an agent whose pins are being looked for */
    struct store_revision_name *names;
};

struct registry {
    struct loop *loop;
    struct store *store;
    struct registry_calls calls;
    struct entry **entries;
    size_t count, room;
    struct load *loads;
    struct waiter *ready;
    struct loop_task task;
    registry_ticket last_ticket;
    store_ticket refresh;
    bool refresh_again;
};

/* ---- entries -------------------------------------------------------------- */

static void entry_free(struct entry *e)
{
    model_def_free(e->model);
    tool_def_free(e->tool);
    agent_def_free(e->def);
    free(e->models);
    free(e->tools);
    free(e->pins);
    free(e);
}

/* Where `seq` stands, or would stand. */
static size_t place_of(const struct registry *r, int64_t seq)
{
    size_t from = 0, to = r->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (r->entries[middle]->seq < seq)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static size_t pin_count(const struct agent_def *def)
{
    return def->model_count + def->tool_count;
}

/* Pins are used whenever their agent is, so an entry that was not used for long is
 * in no agent that was.                                                      */
static void touch(const struct registry *r, struct entry *e)
{
    int64_t now_ms = loop_now_ms(r->loop);
    if (e->def && now_ms - e->used_ms >= TOUCH_EVERY_MS)
        for (size_t i = 0; i < pin_count(e->def); i++)
            e->pins[i]->used_ms = now_ms;
    if (now_ms - e->used_ms >= TOUCH_EVERY_MS)
        e->used_ms = now_ms;
}

static struct entry *find(struct registry *r, int64_t seq)
{
    size_t at = place_of(r, seq);
    if (at == r->count || r->entries[at]->seq != seq)
        return NULL;
    touch(r, r->entries[at]);
    return r->entries[at];
}

static struct entry *find_kind(struct registry *r, int64_t seq, enum catalog_kind kind)
{
    struct entry *e = find(r, seq);
    return e && e->kind == kind ? e : NULL;
}

static void forget_unused(struct registry *r)
{
    int64_t keep_ms = (int64_t)REGISTRY_KEEP_MS + TOUCH_EVERY_MS + TOUCH_EVERY_MS;
    int64_t limit_ms = loop_now_ms(r->loop) - keep_ms;
    size_t kept = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (r->entries[i]->used_ms < limit_ms)
            entry_free(r->entries[i]);
        else
            r->entries[kept++] = r->entries[i];
    }
    r->count = kept;
}

static void insert(struct registry *r, struct entry *e)
{
    if (r->count >= REGISTRY_ENTRIES)
        forget_unused(r);
    if (r->count == r->room) {
        r->room = r->room ? r->room * 2 : 64;
        r->entries = xreallocarray(r->entries, r->room, sizeof *r->entries);
    }
    size_t at = place_of(r, e->seq);
    memmove(r->entries + at + 1, r->entries + at, (r->count - at) * sizeof *r->entries);
    r->entries[at] = e;
    r->count++;
    e->used_ms = loop_now_ms(r->loop);
    if (e->tool && r->calls.on_tool)
        r->calls.on_tool(r->calls.arg, e->seq, e->tool);
    if (e->model && r->calls.on_model)
        r->calls.on_model(r->calls.arg, e->seq, e->model);
}

/* ---- parsing ---------------------------------------------------------------- */

static enum outcome read_body(const struct store_revision *rev, json_t **body, struct error *err)
{
    struct json_limits limits = { .bytes = BODY_BYTES_MAX, .depth = BODY_DEPTH_MAX };
    struct error why;
    enum outcome outcome = json_read(rev->body, rev->body_n, &limits, body, &why);
    if (outcome != OK)
        return fail(err, REFUSED, "%s '%s' (revision %lld): %s", rev->kind, rev->name,
                    (long long)rev->seq, why.text);
    return OK;
}

/* A model or tool, unless it is here already. */
static enum outcome take_part(struct registry *r, const struct store_revision *rev,
                              struct error *err)
{
    bool is_model = strcmp(rev->kind, "model") == 0;
    json_t *body;
    if (find(r, rev->seq))
        return OK;
    enum outcome outcome = read_body(rev, &body, err);
    if (outcome != OK)
        return outcome;
    struct entry *e = xcalloc(1, sizeof *e);
    e->seq = rev->seq;
    e->kind = is_model ? CATALOG_MODEL : CATALOG_TOOL;
    outcome = is_model ? catalog_parse_model(body, rev->digest, &e->model, err)
                       : catalog_parse_tool(body, rev->digest, &e->tool, err);
    json_decref(body);
    if (outcome == OK)
        insert(r, e);
    else
        entry_free(e);
    return outcome;
}

/* The model or tool that an agent pins. */
static struct entry *pinned(const struct registry *r, enum catalog_kind kind,
                            const struct agent_pin *pin)
{
    for (size_t i = 0; i < r->count; i++) {
        struct entry *e = r->entries[i];
        const char *name = e->model ? e->model->name : e->tool ? e->tool->name : "";
        const char *digest = e->model ? e->model->digest : e->tool ? e->tool->digest : "";
        if (e->kind == kind && strcmp(digest, pin->digest) == 0 && strcmp(name, pin->name) == 0)
            return e;
    }
    return NULL;
}

static const struct agent_pin *pin_at(const struct agent_def *def, size_t i,
                                      enum catalog_kind *kind)
{
    *kind = i < def->model_count ? CATALOG_MODEL : CATALOG_TOOL;
    return i < def->model_count ? &def->models[i] : &def->tools[i - def->model_count];
}

/* NULL when a pin is missing.  Takes over `def` when it answers an entry. */
static struct entry *assemble(const struct registry *r, int64_t seq, struct agent_def *def)
{
    struct entry *e = xcalloc(1, sizeof *e);
    e->seq = seq;
    e->kind = CATALOG_AGENT;
    e->pins = xcalloc(pin_count(def), sizeof *e->pins);
    e->models = xcalloc(def->model_count, sizeof *e->models);
    e->tools = xcalloc(def->tool_count + 1, sizeof *e->tools);
    bool whole = true;
    for (size_t i = 0; i < pin_count(def) && whole; i++) {
        enum catalog_kind kind;
        const struct agent_pin *pin = pin_at(def, i, &kind);
        const struct entry *part = e->pins[i] = pinned(r, kind, pin);
        whole = part != NULL;
        if (whole && kind == CATALOG_MODEL)
            e->models[i] = (struct registry_model){ .seq = part->seq, .def = part->model };
        else if (whole)
            e->tools[i - def->model_count] =
                (struct registry_tool){ .seq = part->seq, .def = part->tool };
    }
    if (!whole) {
        entry_free(e);
        return NULL;
    }
    e->def = def;
    e->agent = (struct registry_agent){
        .seq = seq,
        .def = def,
        .models = e->models,
        .tools = e->tools,
    };
    for (size_t i = 0; i < pin_count(def); i++)
        e->pins[i]->used_ms = loop_now_ms(r->loop);
    return e;
}

/* ---- waiters ------------------------------------------------------------------ */

static void answer(struct registry *r, struct waiter *w)
{
    const struct entry *e = w->outcome == OK ? find_kind(r, w->seq, w->kind) : NULL;
    if (w->outcome == OK && !e)
        w->outcome = fail(&w->error, REFUSED, "revision %lld is not %s %s", (long long)w->seq,
                          w->kind == CATALOG_AGENT ? "an" : "a", catalog_kind_name(w->kind));
    const struct error *err = e ? NULL : &w->error;
    if (w->kind == CATALOG_AGENT)
        w->agent_done(w->arg, w->outcome, e ? &e->agent : NULL, err);
    else
        w->tool_done(w->arg, w->outcome, e ? e->tool : NULL, err);
}

static void answer_ready(void *arg)
{
    struct registry *r = arg;
    while (r->ready) {
        struct waiter *w = r->ready;
        r->ready = w->next;
        answer(r, w);
        free(w);
    }
}

static void make_ready(struct registry *r, struct waiter *w, enum outcome outcome,
                       const struct error *err)
{
    struct waiter **end = &r->ready;
    while (*end)
        end = &(*end)->next;
    *end = w;
    w->next = NULL;
    w->outcome = outcome;
    if (err)
        w->error = *err;
    loop_defer(r->loop, &r->task, answer_ready, r);
}

/* ---- loads ----------------------------------------------------------------------- */

static void load_free(struct load *load)
{
    for (struct waiter *w = load->waiters, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    agent_def_free(load->def);
    free(load->names);
    free(load);
}

static void load_end(struct load *load, enum outcome outcome, const struct error *err)
{
    struct registry *r = load->registry;
    struct load **at = &r->loads;
    while (*at != load)
        at = &(*at)->next;
    *at = load->next;
    if (outcome != OK)
        log_event(LOG_WARN, "a revision cannot be used", LOG_INT("revision", load->seq),
                  LOG_WHY(err), LOG_END);
    while (load->waiters) {
        struct waiter *w = load->waiters;
        load->waiters = w->next;
        make_ready(r, w, outcome, outcome == OK ? NULL : err);
    }
    load_free(load);
}

static void on_found(void *arg, enum outcome outcome, const struct store_revision *list,
                     size_t count, const struct error *err)
{
    struct load *load = arg;
    struct registry *r = load->registry;
    struct error why;
    if (outcome != OK) {
        load_end(load, outcome, err);
        return;
    }
    for (size_t i = 0; i < count && outcome == OK; i++)
        outcome = take_part(r, &list[i], &why);
    struct entry *e = outcome == OK ? assemble(r, load->seq, load->def) : NULL;
    if (outcome == OK && !e)
        outcome = fail(&why, REFUSED,
                       "agent '%s' (revision %lld) pins a model or tool that is not "
                       "in the database",
                       load->def->name, (long long)load->seq);
    if (e) {
        load->def = NULL;
        insert(r, e);
    }
    load_end(load, outcome, &why);
}

/* What is not here yet is looked for by kind, name and digest. */
static void find_pins(struct load *load)
{
    struct registry *r = load->registry;
    const struct agent_def *def = load->def;
    size_t n = 0;
    load->names = xcalloc(pin_count(def), sizeof *load->names);
    for (size_t i = 0; i < pin_count(def); i++) {
        enum catalog_kind kind;
        const struct agent_pin *pin = pin_at(def, i, &kind);
        if (!pinned(r, kind, pin))
            load->names[n++] =
                (struct store_revision_name){ catalog_kind_name(kind), pin->name, pin->digest };
    }
    if (n > 0)
        load->ticket = store_find_revisions(r->store, load->names, n, on_found, load);
    else
        on_found(load, OK, NULL, 0, NULL);
}

static void on_read(void *arg, enum outcome outcome, const struct store_revision *list,
                    size_t count, const struct error *err)
{
    struct load *load = arg;
    struct error why;
    json_t *body;
    if (outcome == OK && count == 0) {
        outcome = fail(&why, REFUSED, "there is no revision %lld", (long long)load->seq);
        err = &why;
    }
    if (outcome != OK) {
        load_end(load, outcome, err);
        return;
    }
    if (strcmp(list[0].kind, "agent") != 0) {
        outcome = take_part(load->registry, &list[0], &why);
        load_end(load, outcome, &why);
        return;
    }
    outcome = read_body(&list[0], &body, &why);
    if (outcome == OK) {
        outcome = catalog_parse_agent(body, list[0].digest, &load->def, &why);
        json_decref(body);
    }
    if (outcome == OK)
        find_pins(load);
    else
        load_end(load, outcome, &why);
}

static struct load *load_of(struct registry *r, int64_t seq)
{
    for (struct load *load = r->loads; load; load = load->next)
        if (load->seq == seq)
            return load;
    struct load *load = xcalloc(1, sizeof *load);
    load->registry = r;
    load->seq = seq;
    load->next = r->loads;
    r->loads = load;
    load->ticket = store_read_revisions(r->store, &load->seq, 1, on_read, load);
    return load;
}

/* ---- asking ------------------------------------------------------------------------ */

static registry_ticket ask(struct registry *r, struct waiter *w)
{
    w->ticket = ++r->last_ticket;
    if (find(r, w->seq)) {
        make_ready(r, w, OK, NULL);
    } else {
        struct load *load = load_of(r, w->seq);
        w->next = load->waiters;
        load->waiters = w;
    }
    return w->ticket;
}

registry_ticket registry_agent(struct registry *r, int64_t seq, registry_agent_done *done,
                               void *arg)
{
    struct waiter *w = xcalloc(1, sizeof *w);
    *w = (struct waiter){ .seq = seq, .kind = CATALOG_AGENT, .agent_done = done, .arg = arg };
    return ask(r, w);
}

registry_ticket registry_tool(struct registry *r, int64_t seq, registry_tool_done *done, void *arg)
{
    struct waiter *w = xcalloc(1, sizeof *w);
    *w = (struct waiter){ .seq = seq, .kind = CATALOG_TOOL, .tool_done = done, .arg = arg };
    return ask(r, w);
}

const struct registry_agent *registry_agent_now(struct registry *r, int64_t seq)
{
    const struct entry *e = find_kind(r, seq, CATALOG_AGENT);
    return e ? &e->agent : NULL;
}

const struct tool_def *registry_tool_now(struct registry *r, int64_t seq)
{
    const struct entry *e = find_kind(r, seq, CATALOG_TOOL);
    return e ? e->tool : NULL;
}

static bool drop(struct waiter **list, registry_ticket ticket)
{
    for (; *list; list = &(*list)->next) {
        struct waiter *w = *list;
        if (w->ticket != ticket)
            continue;
        *list = w->next;
        free(w);
        return true;
    }
    return false;
}

/* A load without waiters goes on: the next one may want it. */
void registry_cancel(struct registry *r, registry_ticket ticket)
{
    if (ticket == 0 || drop(&r->ready, ticket))
        return;
    for (struct load *load = r->loads; load; load = load->next)
        if (drop(&load->waiters, ticket))
            return;
}

/* ---- reading ahead --------------------------------------------------------------------- */

static void on_current(void *arg, enum outcome outcome, const struct store_revision *list,
                       size_t count, const struct error *err)
{
    struct registry *r = arg;
    struct error why;
    int ahead = 0;
    r->refresh = 0;
    if (outcome != OK)
        log_event(LOG_WARN, "the catalogue cannot be read", LOG_WHY(err), LOG_END);
    for (size_t i = 0; i < count; i++) {
        const struct store_revision *rev = &list[i];
        bool is_agent = strcmp(rev->kind, "agent") == 0;
        if (!is_agent && take_part(r, rev, &why) != OK)
            log_event(LOG_WARN, "a revision cannot be used", LOG_INT("revision", rev->seq),
                      LOG_WHY(&why), LOG_END);
    }
    for (size_t i = 0; i < count && ahead < AHEAD_MAX; i++)
        if (strcmp(list[i].kind, "agent") == 0 && !find(r, list[i].seq)) {
            (void)load_of(r, list[i].seq);
            ahead++;
        }
    if (r->refresh_again)
        registry_refresh(r);
}

void registry_refresh(struct registry *r)
{
    r->refresh_again = r->refresh != 0;
    if (r->refresh == 0)
        r->refresh = store_read_current(r->store, on_current, r);
}

int64_t registry_longest_model_ms(const struct registry *r)
{
    int64_t longest_ms = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->entries[i]->model && r->entries[i]->model->timeout_ms > longest_ms)
            longest_ms = r->entries[i]->model->timeout_ms;
    return longest_ms;
}

int64_t registry_longest_tool_ms(const struct registry *r)
{
    int64_t longest_ms = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->entries[i]->tool && r->entries[i]->tool->timeout_ms > longest_ms)
            longest_ms = r->entries[i]->tool->timeout_ms;
    return longest_ms;
}

/* ---- life ----------------------------------------------------------------------------- */

void registry_init(struct registry **out, struct loop *loop, struct store *store,
                   const struct registry_calls *calls)
{
    struct registry *r = xcalloc(1, sizeof *r);
    r->loop = loop;
    r->store = store;
    r->calls = *calls;
    *out = r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    store_cancel_op(r->store, r->refresh);
    while (r->loads) {
        struct load *load = r->loads;
        r->loads = load->next;
        store_cancel_op(r->store, load->ticket);
        load_free(load);
    }
    while (r->ready) {
        struct waiter *w = r->ready;
        r->ready = w->next;
        free(w);
    }
    loop_defer_cancel(&r->task);
    for (size_t i = 0; i < r->count; i++)
        entry_free(r->entries[i]);
    free(r->entries);
    free(r);
}
