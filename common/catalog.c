#include "common/catalog.h"

#include "common/catalog_table.h"
#include "common/digest.h"
#include "common/json.h"
#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { DEFINITION_BYTES_MAX = 8 << 20 };

_Static_assert((int)CATALOG_HEX == (int)DIGEST_TEXT_SIZE, "a digest as text");

const char *catalog_kind_name(enum catalog_kind kind)
{
    switch (kind) {
    case CATALOG_MODEL: return "model";
    case CATALOG_TOOL: return "tool";
    case CATALOG_AGENT: return "agent";
    case CATALOG_KINDS: break;
    }
    return "?";
}

const char *tool_method_name(enum tool_method method)
{
    switch (method) {
    case TOOL_POST: return "POST";
    case TOOL_PUT: return "PUT";
    case TOOL_PATCH: return "PATCH";
    case TOOL_DELETE: return "DELETE";
    case TOOL_GET: return "GET";
    }
    return "?";
}

/* --- a set of definitions ------------------------------------------------------------- */

static void compute_digest(const json_t *body, char digest[CATALOG_HEX])
{
    struct digest sha;
    json_digest(body, &sha);
    digest_hex(&sha, digest);
}

struct catalog_entry *catalog_add(struct catalog *catalog, enum catalog_kind kind, const char *name,
                                  json_t *body)
{
    const char *kept = arena_strdup(&catalog->arena, name);
    if (!kept) {
        json_decref(body);
        return NULL;
    }
    if (catalog->count == catalog->room) {
        catalog->room = catalog->room ? catalog->room * 2 : 16;
        catalog->entries = xreallocarray(catalog->entries, catalog->room, sizeof *catalog->entries);
    }
    struct catalog_entry *entry = &catalog->entries[catalog->count++];
    *entry = (struct catalog_entry){ .kind = kind, .name = kept, .body = body };
    compute_digest(body, entry->digest);
    return entry;
}

void catalog_release(struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->count; i++)
        json_decref(catalog->entries[i].body);
    free(catalog->entries);
    arena_free(&catalog->arena);
    *catalog = (struct catalog){ 0 };
}

const struct catalog_entry *catalog_find(const struct catalog *catalog, enum catalog_kind kind,
                                         const char *name)
{
    for (size_t i = 0; i < catalog->count; i++)
        if (catalog->entries[i].kind == kind && strcmp(catalog->entries[i].name, name) == 0)
            return &catalog->entries[i];
    return NULL;
}

/* Does the catalog have what is pinned, under another digest?  Then that one. */
static const char *newer(const struct catalog *catalog, enum catalog_kind kind, const char *name,
                         const char *digest)
{
    const struct catalog_entry *entry = name ? catalog_find(catalog, kind, name) : NULL;
    return entry && digest && strcmp(entry->digest, digest) != 0 ? entry->digest : NULL;
}

static int set_model_pin(const struct catalog *catalog, json_t *model)
{
    const char *digest =
        newer(catalog, CATALOG_MODEL, json_str(model, "name"), json_str(model, "digest"));
    if (digest)
        (void)json_object_set_new(model, "digest", json_string(digest));
    return digest != NULL;
}

/* Sets the new pins in a body of our own; how many there were. */
static int set_pins(const struct catalog *catalog, json_t *body)
{
    json_t *fallbacks = json_arr(body, "fallback_models"), *tools = json_obj(body, "tools"), *pin;
    const char *name;
    size_t i;
    int changed = set_model_pin(catalog, json_obj(body, "model")), failed = 0;
    json_array_foreach(fallbacks, i, pin)
        changed += set_model_pin(catalog, pin);
    json_object_foreach(tools, name, pin) {
        const char *digest = newer(catalog, CATALOG_TOOL, name, json_string_value(pin));
        if (digest) {
            failed |= json_string_set(pin, digest);
            changed++;
        }
    }
    assert(!failed);
    return changed;
}

enum outcome catalog_repin(struct catalog *catalog, const json_t *agent_body, bool *added,
                           struct error *err)
{
    const char *name = json_str(agent_body, "name");
    *added = false;
    if (!name || strcmp(json_str_or(agent_body, "kind", ""), "agent") != 0)
        return fail(err, REFUSED, "the published body is not that of an agent");
    if (catalog_find(catalog, CATALOG_AGENT, name))
        return OK; /* the files say what it is now */
    json_t *body = json_deep_copy(agent_body);
    assert(body);
    if (set_pins(catalog, body) == 0) {
        json_decref(body);
        return OK;
    }
    if (!catalog_add(catalog, CATALOG_AGENT, json_str(body, "name"), body))
        return fail(err, REFUSED,
                    "the definitions do not fit in memory; publish them in several goes");
    *added = true;
    return OK;
}

/* --- bodies as structs ------------------------------------------------------------------- */

/* What all three parsers begin with: kind, name and digest. */
static enum outcome parse_head(enum catalog_kind kind, const json_t *body, const char *digest,
                               struct arena *arena, const char **name, char hex[CATALOG_HEX],
                               struct error *err)
{
    struct digest checked;
    const char *noun = catalog_kind_name(kind);
    const char *text = json_str(body, "name");
    if (!text || strcmp(json_str_or(body, "kind", ""), noun) != 0)
        return fail(err, REFUSED, "the published body is not that of %s %s",
                    kind == CATALOG_AGENT ? "an" : "a", noun);
    if (catalog_check_name(kind, text))
        return fail(err, REFUSED, "the published body of %s %s has the name '%.64s', which is none",
                    kind == CATALOG_AGENT ? "an" : "a", noun, text);
    *name = arena_strdup(arena, text);
    if (!*name)
        return fail(err, REFUSED, "%s '%.64s' does not fit in memory", noun, text);
    if (!digest) {
        compute_digest(body, hex);
        return OK;
    }
    enum outcome outcome = digest_parse(digest, &checked, err);
    if (outcome == OK)
        digest_hex(&checked, hex);
    return outcome;
}

/* The fields of the body, with the name of the definition in front of what is wrong. */
static enum outcome parse_fields(const struct field_table *table, enum catalog_kind kind,
                                 const json_t *body, struct arena *arena, void *into,
                                 struct error *err)
{
    struct error what = { "" };
    enum outcome outcome = field_read_json(table, body, arena, into, &what);
    if (outcome == OK)
        return OK;
    return fail(err, outcome, "%s '%s': %s", catalog_kind_name(kind), json_str(body, "name"),
                what.text);
}

static enum outcome parse_model(const json_t *body, const char *digest, struct model_def *def,
                                struct error *err)
{
    enum outcome outcome =
        parse_head(CATALOG_MODEL, body, digest, &def->arena, &def->name, def->digest, err);
    if (outcome == OK)
        outcome = parse_fields(&catalog_model_table, CATALOG_MODEL, body, &def->arena, def, err);
    if (outcome == OK && !json_is_object(def->options))
        return fail(err, REFUSED, "model '%s': 'options' is not an object", def->name);
    return outcome;
}

enum outcome catalog_parse_model(const json_t *body, const char *digest, struct model_def **out,
                                 struct error *err)
{
    struct model_def *def = xcalloc(1, sizeof *def);
    arena_init(&def->arena, DEFINITION_BYTES_MAX);
    enum outcome outcome = parse_model(body, digest, def, err);
    if (outcome != OK) {
        model_def_free(def);
        def = NULL;
    }
    *out = def;
    return outcome;
}

static enum outcome parse_tool(const json_t *body, const char *digest, struct tool_def *def,
                               struct error *err)
{
    enum outcome outcome =
        parse_head(CATALOG_TOOL, body, digest, &def->arena, &def->name, def->digest, err);
    if (outcome == OK)
        outcome = parse_fields(&catalog_tool_table, CATALOG_TOOL, body, &def->arena, def, err);
    if (outcome != OK)
        return outcome;
    if (!json_is_object(def->parameters))
        return fail(err, REFUSED, "tool '%s': 'parameters' is not an object", def->name);
    if (def->on_unknown == TOOL_PROBE && !def->probe_url)
        return fail(err, REFUSED, "tool '%s': 'probe' is missing; publish the tool again",
                    def->name);
    struct json_schema_fault fault;
    if (json_schema_compile(def->parameters, false, &def->schema, &fault) == OK)
        return OK;
    def->schema_why = arena_printf(&def->arena, "parameters%s %s", fault.pointer, fault.text);
    return def->schema_why ? OK : fail(err, REFUSED, "tool '%s' does not fit in memory", def->name);
}

enum outcome catalog_parse_tool(const json_t *body, const char *digest, struct tool_def **out,
                                struct error *err)
{
    struct tool_def *def = xcalloc(1, sizeof *def);
    arena_init(&def->arena, DEFINITION_BYTES_MAX);
    enum outcome outcome = parse_tool(body, digest, def, err);
    if (outcome != OK) {
        tool_def_free(def);
        def = NULL;
    }
    *out = def;
    return outcome;
}

static enum outcome parse_pin(const struct agent_def *def, const char *name, const char *digest,
                              struct arena *arena, struct agent_pin *pin, struct error *err)
{
    struct digest checked;
    if (!name || !digest || digest_parse(digest, &checked, NULL) != OK)
        return fail(err, REFUSED,
                    "agent '%s': a pin is not a name with a digest; publish the "
                    "agent again",
                    def->name);
    digest_hex(&checked, pin->digest);
    pin->name = arena_strdup(arena, name);
    return pin->name ? OK : fail(err, REFUSED, "agent '%s' does not fit in memory", def->name);
}

static enum outcome parse_models(const json_t *body, struct agent_def *def, struct error *err)
{
    const json_t *fallbacks = json_arr(body, "fallback_models");
    size_t count = 1 + json_array_size(fallbacks);
    if (count > CATALOG_MODELS_MAX)
        return fail(err, REFUSED, "agent '%s' has %zu models; at most %d are allowed", def->name,
                    count, CATALOG_MODELS_MAX);
    def->models = arena_alloc_array(&def->arena, count, sizeof *def->models);
    if (!def->models)
        return fail(err, REFUSED, "agent '%s' does not fit in memory", def->name);
    for (size_t i = 0; i < count; i++) {
        const json_t *model = i == 0 ? json_obj(body, "model") : json_array_get(fallbacks, i - 1);
        enum outcome outcome = parse_pin(def, json_str(model, "name"), json_str(model, "digest"),
                                         &def->arena, &def->models[i], err);
        if (outcome != OK)
            return outcome;
        def->model_count++;
    }
    return OK;
}

static enum outcome parse_pins(const json_t *body, struct agent_def *def, struct error *err)
{
    json_t *tools = json_obj(body, "tools"), *pin;
    const char *name;
    size_t room = json_object_size(tools);
    enum outcome outcome = parse_models(body, def, err);
    if (outcome != OK || room == 0)
        return outcome;
    def->tools = arena_alloc_array(&def->arena, room, sizeof *def->tools);
    if (!def->tools)
        return fail(err, REFUSED, "agent '%s' does not fit in memory", def->name);
    json_object_foreach(tools, name, pin) {
        outcome = parse_pin(def, name, json_string_value(pin), &def->arena,
                            &def->tools[def->tool_count], err);
        if (outcome != OK)
            return outcome;
        def->tool_count++;
    }
    return OK;
}

static enum outcome parse_agent(const json_t *body, const char *digest, struct agent_def *def,
                                struct error *err)
{
    enum outcome outcome =
        parse_head(CATALOG_AGENT, body, digest, &def->arena, &def->name, def->digest, err);
    if (outcome == OK)
        outcome =
            parse_fields(&catalog_agent_body_table, CATALOG_AGENT, body, &def->arena, def, err);
    if (outcome == OK && !def->description)
        def->description = "";
    return outcome == OK ? parse_pins(body, def, err) : outcome;
}

enum outcome catalog_parse_agent(const json_t *body, const char *digest, struct agent_def **out,
                                 struct error *err)
{
    struct agent_def *def = xcalloc(1, sizeof *def);
    arena_init(&def->arena, DEFINITION_BYTES_MAX);
    enum outcome outcome = parse_agent(body, digest, def, err);
    if (outcome != OK) {
        agent_def_free(def);
        def = NULL;
    }
    *out = def;
    return outcome;
}

void model_def_free(struct model_def *def)
{
    if (def)
        arena_free(&def->arena);
    free(def);
}

void tool_def_free(struct tool_def *def)
{
    if (def) {
        json_schema_free(def->schema);
        arena_free(&def->arena);
    }
    free(def);
}

void agent_def_free(struct agent_def *def)
{
    if (def)
        arena_free(&def->arena);
    free(def);
}

/* --- the manual ------------------------------------------------------------------------------ */

void catalog_print_manual(FILE *out)
{
    fputs("### models\n\n", out);
    field_print(&catalog_model_table, out);
    fputs("\n### tools\n\n", out);
    field_print(&catalog_tool_table, out);
    fputs("\n### agents\n\n", out);
    field_print(&catalog_agent_table, out);
}
