#include "common/catalog.h"
#include "common/catalog_table.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 64 << 20, DEFINITIONS_MAX = 10000, SHOWN_SIZE = 72 };

/* One definition as it stands in a file. */
struct source {
    enum catalog_kind kind;
    const struct yaml_node *name;
    const struct yaml_node *node;
    size_t order; /* of reading: of two with one name the later is the wrong one */
};

struct reader {
    struct catalog *catalog;
    struct yaml_file *files;
    size_t file_count;
    struct source *sources;
    size_t count, room;
    catalog_resolve *resolve;
    void *self;
    struct error *err;
};

/* --- collecting --------------------------------------------------------------------- */

static enum outcome add_source(struct reader *r, enum catalog_kind kind,
                               const struct yaml_node *name, const struct yaml_node *node)
{
    char shown[SHOWN_SIZE];
    const char *right = text_has_nul(name->text, name->length)
                            ? "a name without NUL characters"
                            : catalog_check_name(kind, name->text);
    if (right)
        return yaml_fail(r->err, name, "'%s' cannot name %s %s; write %s",
                         text_bounded(shown, sizeof shown, name->text, name->length),
                         kind == CATALOG_AGENT ? "an" : "a", catalog_kind_name(kind), right);
    if (r->count == DEFINITIONS_MAX)
        return yaml_fail(r->err, name, "more than %d definitions; publish them in several goes",
                         DEFINITIONS_MAX);
    if (r->count == r->room) {
        r->room = r->room ? r->room * 2 : 16;
        r->sources = xreallocarray(r->sources, r->room, sizeof *r->sources);
    }
    r->sources[r->count] = (struct source){ kind, name, node, r->count };
    r->count++;
    return OK;
}

static enum outcome collect_document(struct reader *r, const struct yaml_node *document)
{
    struct catalog_sections sections = { 0 };
    if (yaml_is_null(document))
        return OK;
    enum outcome outcome =
        field_read(&catalog_file_table, document, &r->catalog->arena, &sections, r->err);
    for (unsigned k = 0; k < CATALOG_KINDS && outcome == OK; k++) {
        const struct yaml_node *section = sections.section[k];
        for (size_t i = 0; section && i < section->count && outcome == OK; i++)
            outcome = add_source(r, (enum catalog_kind)k, section->keys[i], section->items[i]);
    }
    return outcome;
}

static int by_kind_and_name(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    int order = strcmp(x->name->text, y->name->text);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static enum outcome collect(struct reader *r)
{
    enum outcome outcome = OK;
    for (size_t f = 0; f < r->file_count; f++)
        for (size_t d = 0; d < r->files[f].count && outcome == OK; d++)
            outcome = collect_document(r, r->files[f].documents[d]);
    if (outcome != OK || r->count == 0)
        return outcome;
    qsort(r->sources, r->count, sizeof *r->sources, by_kind_and_name);
    for (size_t i = 1; i < r->count; i++) {
        const struct source *a = &r->sources[i - 1], *b = &r->sources[i];
        if (a->kind == b->kind && strcmp(a->name->text, b->name->text) == 0)
            return yaml_fail(r->err, b->name,
                             "%s '%s' stands here again, first in %s:%d; remove "
                             "one",
                             catalog_kind_name(a->kind), b->name->text, a->name->file,
                             a->name->line);
    }
    return OK;
}

/* --- bodies ----------------------------------------------------------------------------- */

/* {"kind": ..., "name": ...} with the members of `rest`, which is taken over. */
static json_t *make_body(enum catalog_kind kind, const char *name, json_t *rest)
{
    json_t *body = json_pack("{s:s, s:s}", "kind", catalog_kind_name(kind), "name", name);
    assert(body);
    int failed = json_object_update(body, rest);
    assert(!failed);
    json_decref(rest);
    return body;
}

static enum outcome read_model(struct reader *r, const struct source *source, json_t **body)
{
    struct model_def def = { 0 };
    enum outcome outcome =
        field_read(&catalog_model_table, source->node, &r->catalog->arena, &def, r->err);
    if (outcome == OK)
        outcome = catalog_check_model(&def, source->node, r->err);
    if (outcome != OK)
        return outcome;
    json_t *rest = field_to_json(&catalog_model_table, &def);
    if (def.price.input_micros < 0)
        (void)json_object_del(rest, "price");
    if (def.limits.requests_per_minute == 0 && def.limits.tokens_per_minute == 0)
        (void)json_object_del(rest, "limits");
    if (def.context_window == 0)
        (void)json_object_del(rest, "context_window");
    if (def.max_output_tokens == 0)
        (void)json_object_del(rest, "max_output_tokens");
    *body = make_body(CATALOG_MODEL, source->name->text, rest);
    return OK;
}

static enum outcome read_tool(struct reader *r, const struct source *source, json_t **body)
{
    struct tool_def def = { 0 };
    enum outcome outcome =
        field_read(&catalog_tool_table, source->node, &r->catalog->arena, &def, r->err);
    if (outcome == OK)
        outcome = catalog_check_tool(&def, source->node, r->err);
    if (outcome != OK)
        return outcome;
    json_t *rest = field_to_json(&catalog_tool_table, &def);
    if (!def.probe_url)
        (void)json_object_del(rest, "probe");
    *body = make_body(CATALOG_TOOL, source->name->text, rest);
    return OK;
}

/* --- pins ------------------------------------------------------------------------------- */

static enum outcome refuse_name(struct reader *r, const struct source *agent,
                                const struct yaml_node *node, enum catalog_kind kind)
{
    const char **names = xcalloc(r->count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->sources[i].kind == kind)
            names[count++] = r->sources[i].name->text;
    const char *near = field_nearest(node->text, names, count);
    const char *noun = catalog_kind_name(kind);
    char shown[SHOWN_SIZE];
    text_bounded(shown, sizeof shown, node->text, node->length);
    if (near)
        (void)yaml_fail(r->err, node,
                        "agent '%s' names %s '%s', which is neither in these files "
                        "nor published; did you mean '%s'?",
                        agent->name->text, noun, shown, near);
    else
        (void)yaml_fail(r->err, node,
                        "agent '%s' names %s '%s', which is neither in these files "
                        "nor published; define it under '%ss'",
                        agent->name->text, noun, shown, noun);
    free(names);
    return REFUSED;
}

/* The digest of what an agent names: in the files, or published. */
static enum outcome pin(struct reader *r, const struct source *agent, const struct yaml_node *node,
                        enum catalog_kind kind, char digest[CATALOG_HEX])
{
    const struct catalog_entry *entry = catalog_find(r->catalog, kind, node->text);
    if (entry) {
        memcpy(digest, entry->digest, CATALOG_HEX);
        return OK;
    }
    if (!r->resolve || catalog_check_name(kind, node->text))
        return refuse_name(r, agent, node, kind);
    enum outcome outcome = r->resolve(r->self, kind, node->text, digest, r->err);
    return outcome == REFUSED ? refuse_name(r, agent, node, kind) : outcome;
}

/* A pin as it stands in a body: *out is a new reference. */
static enum outcome pin_model(struct reader *r, const struct source *source,
                              const struct yaml_node *model, json_t **out)
{
    char digest[CATALOG_HEX] = "";
    enum outcome outcome = pin(r, source, model, CATALOG_MODEL, digest);
    *out = outcome == OK ? json_pack("{s:s, s:s}", "name", model->text, "digest", digest) : NULL;
    return outcome;
}

/* The models that are asked when the first one fails. */
static enum outcome add_fallbacks(struct reader *r, const struct source *source, json_t *rest)
{
    const struct yaml_node *fallback = yaml_get(source->node, "fallback");
    const struct yaml_node *list = fallback ? yaml_get(fallback, "models") : NULL;
    json_t *models = json_array(), *one;
    enum outcome outcome = OK;
    for (size_t i = 0; list && i < list->count && outcome == OK; i++) {
        outcome = pin_model(r, source, list->items[i], &one);
        if (outcome == OK)
            (void)json_array_append_new(models, one);
    }
    if (json_array_size(models) > 0)
        (void)json_object_set(rest, "fallback_models", models);
    else
        (void)json_object_del(rest, "fallback"); /* it says nothing */
    json_decref(models);
    return outcome;
}

static enum outcome add_pins(struct reader *r, const struct source *source, json_t *rest)
{
    char digest[CATALOG_HEX] = "";
    const struct yaml_node *list = yaml_get(source->node, "tools");
    json_t *tools = json_object(), *model;
    enum outcome outcome = pin_model(r, source, yaml_get(source->node, "model"), &model);
    int failed = json_object_set_new(rest, "tools", tools);
    if (outcome == OK)
        failed |= json_object_set_new(rest, "model", model);
    if (outcome == OK)
        outcome = add_fallbacks(r, source, rest);
    for (size_t i = 0; list && i < list->count && outcome == OK; i++) {
        outcome = pin(r, source, list->items[i], CATALOG_TOOL, digest);
        if (outcome == OK)
            failed |= json_object_set_new(tools, list->items[i]->text, json_string(digest));
    }
    assert(!failed);
    return outcome;
}

static enum outcome read_agent(struct reader *r, const struct source *source, json_t **body)
{
    struct agent_source agent = { 0 };
    enum outcome outcome =
        field_read(&catalog_agent_table, source->node, &r->catalog->arena, &agent, r->err);
    if (outcome == OK)
        outcome = catalog_check_agent(&agent, source->node, r->err);
    if (outcome != OK)
        return outcome;
    json_t *rest = field_to_json(&catalog_agent_body_table, &agent.def);
    outcome = add_pins(r, source, rest);
    if (outcome == OK)
        *body = make_body(CATALOG_AGENT, source->name->text, rest);
    else
        json_decref(rest);
    return outcome;
}

/* --- entries ------------------------------------------------------------------------------ */

static enum outcome read_source(struct reader *r, const struct source *source)
{
    json_t *body = NULL;
    enum outcome outcome = source->kind == CATALOG_MODEL  ? read_model(r, source, &body)
                           : source->kind == CATALOG_TOOL ? read_tool(r, source, &body)
                                                          : read_agent(r, source, &body);
    if (outcome != OK)
        return outcome;
    struct catalog_entry *entry = catalog_add(r->catalog, source->kind, source->name->text, body);
    if (!entry)
        return yaml_fail(r->err, source->name,
                         "the definitions do not fit in memory; publish them "
                         "in several goes");
    entry->file = arena_strdup(&r->catalog->arena, source->name->file);
    entry->line = source->name->line;
    return OK;
}

static enum outcome read_all(struct reader *r)
{
    enum outcome outcome = collect(r);
    /* In the order of kinds: an agent finds the digests of what it names. */
    for (size_t i = 0; i < r->count && outcome == OK; i++)
        outcome = read_source(r, &r->sources[i]);
    for (size_t f = 0; f < r->file_count; f++)
        yaml_release(&r->files[f]);
    free(r->files);
    free(r->sources);
    if (outcome != OK)
        catalog_release(r->catalog);
    return outcome;
}

static void start(struct reader *r, struct catalog *catalog, size_t files)
{
    *catalog = (struct catalog){ 0 };
    arena_init(&catalog->arena, ARENA_BYTES);
    r->catalog = catalog;
    r->files = xcalloc(files ? files : 1, sizeof *r->files);
}

enum outcome catalog_read(struct catalog *catalog, const char *const *paths, size_t count,
                          catalog_resolve *resolve, void *self, struct error *err)
{
    struct reader r = { .resolve = resolve, .self = self, .err = err };
    enum outcome outcome = OK;
    start(&r, catalog, count);
    for (size_t i = 0; i < count && outcome == OK; i++) {
        outcome = yaml_read_path(&r.files[i], paths[i], NULL, err);
        r.file_count += outcome == OK;
    }
    if (outcome == OK)
        return read_all(&r);
    for (size_t f = 0; f < r.file_count; f++)
        yaml_release(&r.files[f]);
    free(r.files);
    catalog_release(catalog);
    return outcome;
}

enum outcome catalog_read_text(struct catalog *catalog, const char *name, const char *text,
                               size_t length, catalog_resolve *resolve, void *self,
                               struct error *err)
{
    struct reader r = { .resolve = resolve, .self = self, .err = err };
    start(&r, catalog, 1);
    enum outcome outcome = yaml_read_text(&r.files[0], name, text, length, NULL, err);
    if (outcome == OK) {
        r.file_count = 1;
        return read_all(&r);
    }
    free(r.files);
    catalog_release(catalog);
    return outcome;
}
