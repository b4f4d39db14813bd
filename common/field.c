#include "common/field.h"

#include "common/field_scalar.h"
#include "common/text.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { SHOWN_SIZE = 48, KEYS_SHOWN_SIZE = 120, KEYS_MAX = 64 };

static void decref(void *value)
{
    json_decref(value);
}

/* Hands the value to the arena and its address to the field. */
static bool keep_json(const struct field *field, json_t *value, struct arena *arena, void *within)
{
    if (!value || !arena_defer(arena, decref, value))
        return false;
    field_put_pointer(field, within, value);
    return true;
}

/* --- defaults ---------------------------------------------------------------------- */

/* Depth: that of the tables, which are our own. */
/* NOLINTBEGIN(misc-no-recursion) */
static enum outcome set_default(const struct field *field, struct arena *arena, void *into,
                                struct error *err)
{
    char right[FIELD_RIGHT_SIZE];
    if (field->type == FIELD_TABLE)
        return field_defaults(field->table, arena, field_at(field, into), err);
    if (field->type == FIELD_JSON && field->otherwise) {
        json_t *value = json_loads(field->otherwise, JSON_DECODE_ANY, NULL);
        return keep_json(field, value, arena, into)
                   ? OK
                   : fail(err, REFUSED, "no room for the default of '%s'", field->name);
    }
    if (field->otherwise) {
        const char *wrong = field_scalar_set(field, field->otherwise, arena, into, right);
        return wrong ? fail(err, REFUSED, "the default of '%s' cannot be set; write %s",
                            field->name, wrong)
                     : OK;
    }
    if (field->type == FIELD_DURATION || field->type == FIELD_MONEY) {
        int64_t absent = -1;
        memcpy(field_at(field, into), &absent, sizeof absent);
    }
    return OK;
}

enum outcome field_defaults(const struct field_table *table, struct arena *arena, void *into,
                            struct error *err)
{
    enum outcome outcome = OK;
    for (size_t i = 0; i < table->count && outcome == OK; i++)
        outcome = set_default(&table->fields[i], arena, into, err);
    return outcome;
}
/* NOLINTEND(misc-no-recursion) */

/* --- what is wrong ------------------------------------------------------------------ */

/* The value as a message may show it: no secret, no password in a URL. */
static const char *describe(const struct field *field, const struct yaml_node *node, char *out,
                            size_t out_size)
{
    if (node->kind == YAML_SCALAR && node->length) {
        if (field->secret || field->type == FIELD_SECRET)
            return "unusable";
        const char *scheme = strstr(node->text, "://");
        if (scheme && strchr(scheme, '@'))
            return "a URL with a user name in it";
    }
    return yaml_describe(node, out, out_size);
}

static enum outcome refuse_value(const struct field *field, const struct yaml_node *node,
                                 const char *right, struct error *err)
{
    char shown[SHOWN_SIZE];
    const char *what = describe(field, node, shown, sizeof shown);
    if (yaml_is_null(node))
        return yaml_fail(err, node, "'%s' has no value; write %s, or leave the key out",
                         field->name, right);
    if (field->type == FIELD_STRING && node->kind == YAML_SCALAR && strcmp(right, "text") == 0)
        return yaml_fail(err, node, "'%s' is %s; to make it text, put it in quotes", field->name,
                         what);
    return yaml_fail(err, node, "'%s' is %s; write %s", field->name, what, right);
}

static const struct field *find_field(const struct field_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->fields[i].name, name) == 0)
            return &table->fields[i];
    return NULL;
}

static enum outcome refuse_key(const struct field_table *table, const struct yaml_node *key,
                               struct error *err)
{
    const char *names[KEYS_MAX];
    char shown[SHOWN_SIZE], list[KEYS_SHOWN_SIZE] = "";
    assert(table->count <= KEYS_MAX);
    for (size_t i = 0; i < table->count; i++)
        names[i] = table->fields[i].name;
    text_bounded(shown, sizeof shown, key->text, key->length);
    const char *near = field_nearest(key->text, names, table->count);
    if (near)
        return yaml_fail(err, key, "'%s' is not a key of %s; did you mean '%s'?", shown,
                         table->what, near);
    size_t at = 0;
    for (size_t i = 0; i < table->count; i++) {
        size_t room = sizeof list - at;
        int n = snprintf(list + at, room, "%s%s", i ? ", " : "", names[i]);
        if (n < 0 || (size_t)n + sizeof ", ..." > room) {
            (void)snprintf(list + at, room, ", ...");
            break;
        }
        at += (size_t)n;
    }
    return yaml_fail(err, key, "'%s' is not a key of %s; its keys are %s", shown, table->what,
                     list);
}

/* --- reading YAML --------------------------------------------------------------------- */

/* Text that is not something else by its looks: 12, true and null need quotes. */
static bool is_text(const struct yaml_node *node)
{
    char first[SHOWN_SIZE];
    if (node->kind != YAML_SCALAR || text_has_nul(node->text, node->length))
        return false;
    return !node->plain || strncmp(yaml_describe(node, first, sizeof first), "the text", 8) == 0;
}

static enum outcome read_scalar(const struct field *field, const struct yaml_node *node,
                                struct arena *arena, void *into, struct error *err)
{
    char right[FIELD_RIGHT_SIZE];
    const char *wrong = NULL;
    bool fits =
        node->kind == YAML_SCALAR && !text_has_nul(node->text, node->length) && !yaml_is_null(node);
    if (field->type == FIELD_STRING)
        fits = is_text(node);
    if (field->type == FIELD_BOOL || field->type == FIELD_INT || field->type == FIELD_MONEY)
        fits = fits && node->plain; /* in quotes it is text */
    if (fits)
        wrong = field_scalar_set(field, node->text, arena, into, right);
    else
        wrong = field_scalar_right(field, right);
    return wrong ? refuse_value(field, node, wrong, err) : OK;
}

static enum outcome read_strings(const struct field *field, const struct yaml_node *node,
                                 struct arena *arena, void *into, struct error *err)
{
    char right[FIELD_RIGHT_SIZE], shown[SHOWN_SIZE];
    if (node->kind != YAML_SEQUENCE)
        return refuse_value(field, node, field_scalar_right(field, right), err);
    if ((int64_t)node->count > field_max(field))
        return yaml_fail(err, node, "'%s' has %zu items; write at most %" PRId64, field->name,
                         node->count, field_max(field));
    struct field_strings list = { .count = node->count };
    list.items = arena_alloc_array(arena, node->count ? node->count : 1, sizeof *list.items);
    for (size_t i = 0; list.items && i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        if (!is_text(item) || item->length == 0)
            return yaml_fail(err, item,
                             "'%s' holds %s; write text, in quotes if it looks like "
                             "something else",
                             field->name, yaml_describe(item, shown, sizeof shown));
        for (size_t j = 0; j < i; j++)
            if (strcmp(list.items[j], item->text) == 0)
                return yaml_fail(err, item, "'%s' names '%s' twice; remove one", field->name,
                                 text_bounded(shown, sizeof shown, item->text, item->length));
        list.items[i] = arena_strdup(arena, item->text);
        if (!list.items[i])
            list.items = NULL;
    }
    if (!list.items)
        return yaml_fail(err, node, "'%s' is too large; shorten it", field->name);
    memcpy(field_at(field, into), &list, sizeof list);
    return OK;
}

/* {secret: NAME}, and with prefix_out also {secret: NAME, prefix: TEXT}. The
 * messages show no value: people write the secret itself where its name belongs. */
static enum outcome read_secret(const char *name, const struct yaml_node *node, const char **secret,
                                const char **prefix_out, struct error *err)
{
    const char *form =
        prefix_out ? "{secret: NAME} or {secret: NAME, prefix: TEXT}" : "{secret: NAME}";
    const struct yaml_node *value = yaml_get(node, "secret");
    const struct yaml_node *prefix = yaml_get(node, "prefix");
    if (node->kind != YAML_MAPPING || !value)
        return yaml_fail(err, node,
                         "'%s' is not {secret: NAME}; write %s, and NAME under "
                         "'secrets' of the process file",
                         name, form);
    for (size_t i = 0; i < node->count; i++)
        if (node->items[i] != value && (!prefix_out || node->items[i] != prefix))
            return yaml_fail(err, node->keys[i], "'%s' has more keys than it may; write %s", name,
                             form);
    if (!is_text(value) || !field_is_secret_name(value->text))
        return yaml_fail(err, value, "'secret' of '%s' is not a name; write %s", name,
                         field_secret_right);
    if (prefix && (!is_text(prefix) || prefix->length == 0))
        return yaml_fail(err, prefix,
                         "'prefix' of '%s' is not text; write text in quotes, like "
                         "\"Bearer \"",
                         name);
    *secret = value->text;
    if (prefix_out)
        *prefix_out = prefix ? prefix->text : "";
    return OK;
}

static enum outcome read_secret_field(const struct field *field, const struct yaml_node *node,
                                      struct arena *arena, void *into, struct error *err)
{
    const char *name = NULL;
    enum outcome outcome = read_secret(field->name, node, &name, NULL, err);
    if (outcome != OK)
        return outcome;
    name = arena_strdup(arena, name);
    if (!name)
        return yaml_fail(err, node, "'%s' is too large; shorten it", field->name);
    field_put_pointer(field, into, name);
    return OK;
}

static enum outcome read_pair(const struct yaml_node *key, const struct yaml_node *value,
                              struct arena *arena, struct field_pair *pair, struct error *err)
{
    char shown[SHOWN_SIZE];
    const char *text = NULL, *secret = NULL, *prefix = "";
    text_bounded(shown, sizeof shown, key->text, key->length);
    if (text_has_nul(key->text, key->length))
        return yaml_fail(err, key, "'%s' holds a NUL character; leave it out", shown);
    if (value->kind == YAML_SCALAR && !yaml_is_null(value)) {
        if (text_has_nul(value->text, value->length))
            return yaml_fail(err, value, "'%s' holds a NUL character; leave it out", shown);
        text = value->text;
    } else if (value->kind == YAML_MAPPING) {
        enum outcome outcome = read_secret(shown, value, &secret, &prefix, err);
        if (outcome != OK)
            return outcome;
    } else {
        return yaml_fail(err, value, "'%s' has no text; write text or {secret: NAME}", shown);
    }
    *pair = (struct field_pair){
        .name = arena_strdup(arena, key->text),
        .text = text ? arena_strdup(arena, text) : NULL,
        .secret = secret ? arena_strdup(arena, secret) : NULL,
        .prefix = arena_strdup(arena, prefix),
    };
    if (!pair->name || !pair->prefix || !(text ? pair->text : pair->secret))
        return yaml_fail(err, key, "'%s' is too large; shorten it", shown);
    return OK;
}

static enum outcome read_pairs(const struct field *field, const struct yaml_node *node,
                               struct arena *arena, void *into, struct error *err)
{
    char right[FIELD_RIGHT_SIZE];
    if (node->kind != YAML_MAPPING)
        return refuse_value(field, node, field_scalar_right(field, right), err);
    struct field_pairs pairs = { .count = node->count };
    pairs.items = arena_alloc_array(arena, node->count ? node->count : 1, sizeof *pairs.items);
    if (!pairs.items)
        return yaml_fail(err, node, "'%s' is too large; shorten it", field->name);
    for (size_t i = 0; i < node->count; i++) {
        enum outcome outcome =
            read_pair(node->keys[i], node->items[i], arena, &pairs.items[i], err);
        if (outcome != OK)
            return outcome;
    }
    memcpy(field_at(field, into), &pairs, sizeof pairs);
    return OK;
}

static enum outcome read_json_field(const struct field *field, const struct yaml_node *node,
                                    struct arena *arena, void *into, struct error *err)
{
    json_t *value = NULL;
    enum outcome outcome = yaml_to_json(node, &value, err);
    if (outcome != OK)
        return outcome;
    return keep_json(field, value, arena, into)
               ? OK
               : yaml_fail(err, node, "'%s' is too large; shorten it", field->name);
}

static enum outcome read_map(const struct field *field, const struct yaml_node *node, void *into,
                             struct error *err)
{
    if (node->kind != YAML_MAPPING)
        return refuse_value(field, node, "names, each with a mapping behind it", err);
    field_put_pointer(field, into, node);
    return OK;
}

/* FIELD_TABLE: the defaults of the nested struct have been set already. */
/* NOLINTBEGIN(misc-no-recursion) */
static enum outcome read_keys(const struct field_table *table, const struct yaml_node *mapping,
                              struct arena *arena, void *into, struct error *err);

static enum outcome read_field(const struct field *field, const struct yaml_node *node,
                               struct arena *arena, void *into, struct error *err)
{
    char right[FIELD_RIGHT_SIZE];
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_BOOL:
    case FIELD_INT:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_ENUM:
    case FIELD_MONEY: return read_scalar(field, node, arena, into, err);
    case FIELD_STRINGS: return read_strings(field, node, arena, into, err);
    case FIELD_SECRET: return read_secret_field(field, node, arena, into, err);
    case FIELD_PAIRS: return read_pairs(field, node, arena, into, err);
    case FIELD_JSON: return read_json_field(field, node, arena, into, err);
    case FIELD_MAP: return read_map(field, node, into, err);
    case FIELD_TABLE: break;
    }
    if (node->kind != YAML_MAPPING)
        return refuse_value(field, node, field_scalar_right(field, right), err);
    return read_keys(field->table, node, arena, field_at(field, into), err);
}

static enum outcome check_required(const struct field_table *table, const struct yaml_node *mapping,
                                   struct error *err)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->required && !yaml_get(mapping, field->name))
            return yaml_fail(err, mapping, "'%s' is missing in %s; add `%s: %s`", field->name,
                             table->what, field->name, field->example ? field->example : "...");
    }
    return OK;
}

static enum outcome read_keys(const struct field_table *table, const struct yaml_node *mapping,
                              struct arena *arena, void *into, struct error *err)
{
    for (size_t i = 0; i < mapping->count; i++) {
        const struct yaml_node *key = mapping->keys[i];
        const struct field *field =
            text_has_nul(key->text, key->length) ? NULL : find_field(table, key->text);
        enum outcome outcome = field ? read_field(field, mapping->items[i], arena, into, err)
                                     : refuse_key(table, key, err);
        if (outcome != OK)
            return outcome;
    }
    return check_required(table, mapping, err);
}
/* NOLINTEND(misc-no-recursion) */

enum outcome field_read(const struct field_table *table, const struct yaml_node *mapping,
                        struct arena *arena, void *into, struct error *err)
{
    char shown[SHOWN_SIZE];
    enum outcome outcome = field_defaults(table, arena, into, err);
    if (outcome != OK)
        return outcome;
    if (mapping->kind != YAML_MAPPING)
        return yaml_fail(err, mapping, "%s is %s; write a mapping, like `%s: ...`", table->what,
                         yaml_describe(mapping, shown, sizeof shown),
                         table->count ? table->fields[0].name : "name");
    return read_keys(table, mapping, arena, into, err);
}

/* --- from the environment and from flags ------------------------------------------------- */

bool field_is_scalar(const struct field *field)
{
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_BOOL:
    case FIELD_INT:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_ENUM:
    case FIELD_MONEY: return true;
    case FIELD_STRINGS:
    case FIELD_SECRET:
    case FIELD_PAIRS:
    case FIELD_JSON:
    case FIELD_TABLE:
    case FIELD_MAP: return false;
    }
    return false;
}

enum outcome field_set(const struct field *field, const char *text, const char *where,
                       struct arena *arena, void *into, struct error *err)
{
    char right[FIELD_RIGHT_SIZE], shown[SHOWN_SIZE];
    assert(field_is_scalar(field));
    if (!text_is_utf8(text, strlen(text)))
        return fail(err, REFUSED, "%s is not UTF-8; write %s", where,
                    field_scalar_right(field, right));
    const char *wrong = field_scalar_set(field, text, arena, into, right);
    if (!wrong)
        return OK;
    const char *scheme = strstr(text, "://");
    if (field->secret || (scheme && strchr(scheme, '@')))
        return fail(err, REFUSED, "%s cannot be used; write %s", where, wrong);
    return fail(err, REFUSED, "%s is '%s'; write %s", where,
                text_bounded(shown, sizeof shown, text, strlen(text)), wrong);
}
