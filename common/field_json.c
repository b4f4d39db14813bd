#include "common/field.h"
#include "common/field_scalar.h"
#include "common/json.h"
#include "common/text.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { NAME_SIZE = 96, SHOWN_SIZE = 48 };

/* The name in JSON, where a number carries its unit. */
static const char *json_name(const struct field *field, char out[NAME_SIZE])
{
    const char *unit = field->type == FIELD_DURATION ? "_ms"
                       : field->type == FIELD_MONEY  ? "_micros"
                                                     : "";
    int n = snprintf(out, NAME_SIZE, "%s%s", field->name, unit);
    assert(n > 0 && n < NAME_SIZE); /* our own tables */
    return out;
}

/* --- struct to JSON ----------------------------------------------------------------- */

/* jansson answers NULL for no memory, and here that ends the process, as xmalloc does. */
static json_t *must(json_t *value)
{
    assert(value);
    return value;
}

static json_t *strings_to_json(const struct field_strings *list)
{
    json_t *array = must(json_array());
    for (size_t i = 0; i < list->count; i++) {
        int failed = json_array_append_new(array, must(json_string(list->items[i])));
        assert(!failed);
    }
    return array;
}

static json_t *secret_to_json(const char *name, const char *prefix)
{
    json_t *object = must(json_pack("{s:s}", "secret", name));
    if (*prefix) {
        int failed = json_object_set_new(object, "prefix", must(json_string(prefix)));
        assert(!failed);
    }
    return object;
}

static json_t *pairs_to_json(const struct field_pairs *pairs)
{
    json_t *object = must(json_object());
    for (size_t i = 0; i < pairs->count; i++) {
        const struct field_pair *pair = &pairs->items[i];
        json_t *value =
            pair->text ? must(json_string(pair->text)) : secret_to_json(pair->secret, pair->prefix);
        int failed = json_object_set_new(object, pair->name, value);
        assert(!failed);
    }
    return object;
}

static json_t *json_at(const struct field *field, const void *from)
{
    const json_t *value = field_pointer(field, from);
    return value ? must(json_deep_copy(value)) : NULL;
}

/* Depth, here and below: that of the tables, which are our own. */
/* NOLINTBEGIN(misc-no-recursion) */

/* NULL: absent. */
static json_t *value_to_json(const struct field *field, const void *from)
{
    const char *text;
    bool truth;
    switch (field->type) {
    case FIELD_STRING:
        text = field_pointer(field, from);
        return text ? must(json_string(text)) : NULL;
    case FIELD_BOOL:
        memcpy(&truth, field_at_const(field, from), sizeof truth);
        return json_boolean(truth);
    case FIELD_INT:
        if (!field->required && !field->otherwise && field_scalar_number(field, from) == 0)
            return NULL;
        return must(json_integer(field_scalar_number(field, from)));
    case FIELD_SIZE: return must(json_integer(field_scalar_number(field, from)));
    case FIELD_DURATION:
    case FIELD_MONEY:
        if (field_scalar_number(field, from) < 0)
            return NULL;
        return must(json_integer(field_scalar_number(field, from)));
    case FIELD_ENUM: return must(json_string(field->words[field_scalar_number(field, from)]));
    case FIELD_STRINGS: return strings_to_json(field_at_const(field, from));
    case FIELD_SECRET:
        text = field_pointer(field, from);
        return text ? secret_to_json(text, "") : NULL;
    case FIELD_PAIRS: return pairs_to_json(field_at_const(field, from));
    case FIELD_JSON: return json_at(field, from);
    case FIELD_TABLE: return field_to_json(field->table, field_at_const(field, from));
    case FIELD_MAP: return NULL;
    }
    return NULL;
}

json_t *field_to_json(const struct field_table *table, const void *from)
{
    json_t *object = must(json_object());
    for (size_t i = 0; i < table->count; i++) {
        char name[NAME_SIZE];
        json_t *value = value_to_json(&table->fields[i], from);
        if (!value)
            continue;
        int failed = json_object_set_new(object, json_name(&table->fields[i], name), value);
        assert(!failed);
    }
    return object;
}

/* NOLINTEND(misc-no-recursion) */

/* --- JSON to struct ------------------------------------------------------------------- */

static enum outcome refuse(const struct field_table *table, const struct field *field,
                           const char *right, struct error *err)
{
    char name[NAME_SIZE];
    return fail(err, REFUSED,
                "'%s' of %s is not %s; publish the definition again with this version of pawl, or "
                "upgrade pawl",
                json_name(field, name), table->what, right);
}

static bool json_text_fits(const json_t *value)
{
    return json_is_string(value) &&
           !text_has_nul(json_string_value(value), json_string_length(value));
}

static enum outcome no_room(const struct field *field, struct error *err)
{
    return fail(err, REFUSED, "'%s' is larger than this version of pawl can take", field->name);
}

static enum outcome read_strings(const struct field_table *table, const struct field *field,
                                 const json_t *value, struct arena *arena, void *into,
                                 struct error *err)
{
    char right[FIELD_RIGHT_SIZE];
    struct field_strings list = { .count = json_array_size(value) };
    if (!json_is_array(value))
        return refuse(table, field, field_scalar_right(field, right), err);
    list.items = arena_alloc_array(arena, list.count ? list.count : 1, sizeof *list.items);
    for (size_t i = 0; list.items && i < list.count; i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_text_fits(item))
            return refuse(table, field, field_scalar_right(field, right), err);
        list.items[i] = arena_strdup(arena, json_string_value(item));
        if (!list.items[i])
            return no_room(field, err);
    }
    if (!list.items)
        return no_room(field, err);
    memcpy(field_at(field, into), &list, sizeof list);
    return OK;
}

static enum outcome read_secret(const struct field_table *table, const struct field *field,
                                const json_t *value, struct arena *arena, void *into,
                                struct error *err)
{
    const char *name = json_str(value, "secret");
    if (!name || !field_is_secret_name(name))
        return refuse(table, field, "{\"secret\": NAME}", err);
    name = arena_strdup(arena, name);
    if (!name)
        return no_room(field, err);
    field_put_pointer(field, into, name);
    return OK;
}

static bool read_pair(const char *name, const json_t *value, struct arena *arena,
                      struct field_pair *pair)
{
    const char *text = json_text_fits(value) ? json_string_value(value) : NULL;
    const char *secret = json_str(value, "secret");
    if (!text && (!secret || !field_is_secret_name(secret)))
        return false;
    *pair = (struct field_pair){
        .name = arena_strdup(arena, name),
        .text = text ? arena_strdup(arena, text) : NULL,
        .secret = text ? NULL : arena_strdup(arena, secret),
        .prefix = arena_strdup(arena, json_str_or(value, "prefix", "")),
    };
    return pair->name && pair->prefix && (text ? pair->text : pair->secret);
}

static enum outcome read_pairs(const struct field_table *table, const struct field *field,
                               json_t *value, struct arena *arena, void *into, struct error *err)
{
    struct field_pairs pairs = { 0 };
    size_t room = json_object_size(value);
    if (!json_is_object(value))
        return refuse(table, field, "an object", err);
    pairs.items = arena_alloc_array(arena, room ? room : 1, sizeof *pairs.items);
    if (!pairs.items)
        return no_room(field, err);
    const char *name;
    json_t *member;
    json_object_foreach(value, name, member) {
        if (!read_pair(name, member, arena, &pairs.items[pairs.count++]))
            return refuse(table, field, "names with text or {\"secret\": NAME}", err);
    }
    memcpy(field_at(field, into), &pairs, sizeof pairs);
    return OK;
}

static void decref(void *value)
{
    json_decref(value);
}

static enum outcome read_any(const struct field *field, json_t *value, struct arena *arena,
                             void *into, struct error *err)
{
    json_t *copy = json_deep_copy(value); /* the body may go before the definition */
    if (!copy || !arena_defer(arena, decref, copy))
        return no_room(field, err);
    field_put_pointer(field, into, copy);
    return OK;
}

static enum outcome read_scalar(const struct field_table *table, const struct field *field,
                                const json_t *value, struct arena *arena, void *into,
                                struct error *err)
{
    char right[FIELD_RIGHT_SIZE];
    const char *wrong = NULL;
    bool truth = json_is_true(value);
    if (field->type == FIELD_BOOL && json_is_boolean(value))
        memcpy(field_at(field, into), &truth, sizeof truth);
    else if (field->type == FIELD_STRING || field->type == FIELD_ENUM)
        wrong = json_text_fits(value)
                    ? field_scalar_set(field, json_string_value(value), arena, into, right)
                    : field_scalar_right(field, right);
    else if (field->type != FIELD_BOOL && json_is_integer(value))
        wrong = field_scalar_set_number(field, json_integer_value(value), into, right);
    else
        wrong = field_scalar_right(field, right);
    return wrong ? refuse(table, field, wrong, err) : OK;
}

/* NOLINTBEGIN(misc-no-recursion) */
static enum outcome read_keys(const struct field_table *table, const json_t *object,
                              struct arena *arena, void *into, struct error *err);

static enum outcome read_field(const struct field_table *table, const struct field *field,
                               json_t *value, struct arena *arena, void *into, struct error *err)
{
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_BOOL:
    case FIELD_INT:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_ENUM:
    case FIELD_MONEY: return read_scalar(table, field, value, arena, into, err);
    case FIELD_STRINGS: return read_strings(table, field, value, arena, into, err);
    case FIELD_SECRET: return read_secret(table, field, value, arena, into, err);
    case FIELD_PAIRS: return read_pairs(table, field, value, arena, into, err);
    case FIELD_JSON: return read_any(field, value, arena, into, err);
    case FIELD_MAP: return OK;
    case FIELD_TABLE: break;
    }
    if (!json_is_object(value))
        return refuse(table, field, "an object", err);
    return read_keys(field->table, value, arena, field_at(field, into), err);
}

static enum outcome read_keys(const struct field_table *table, const json_t *object,
                              struct arena *arena, void *into, struct error *err)
{
    for (size_t i = 0; i < table->count; i++) {
        char name[NAME_SIZE];
        const struct field *field = &table->fields[i];
        json_t *value = json_object_get(object, json_name(field, name));
        enum outcome outcome = OK;
        if (value)
            outcome = read_field(table, field, value, arena, into, err);
        else if (field->required)
            outcome = refuse(table, field, "there", err);
        if (outcome != OK)
            return outcome;
    }
    return OK;
}

/* NOLINTEND(misc-no-recursion) */

enum outcome field_read_json(const struct field_table *table, const json_t *object,
                             struct arena *arena, void *into, struct error *err)
{
    enum outcome outcome = field_defaults(table, arena, into, err);
    if (outcome != OK)
        return outcome;
    if (!json_is_object(object))
        return fail(err, REFUSED, "the body of %s is not a JSON object", table->what);
    return read_keys(table, object, arena, into, err);
}
