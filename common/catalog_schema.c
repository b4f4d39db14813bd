#include "common/catalog_table.h"
#include "common/text.h"

#include <string.h>

enum { SHOWN_SIZE = 64, KEYWORDS_MAX = 64, PROPERTIES_MAX = 256 };

/* What may stand behind a keyword. */
enum shape {
    ANY,
    TEXT,
    REFERENCE, /* text that begins with '#': nothing is fetched */
    TRUTH,
    NUMBER,
    COUNT,      /* a whole number from 0 */
    TYPE,       /* a word of `types`, or a list of them */
    CHOICES,    /* a list that is not empty */
    TEXTS,      /* a list of texts without repetition */
    TEXTS_MAP,  /* names to such lists */
    SCHEMA,     /* a mapping, true or false */
    SCHEMAS,    /* a list of them, not empty */
    SCHEMA_MAP, /* names to them */
    ITEMS,      /* SCHEMA or SCHEMAS */
};

static const struct {
    const char *name;
    enum shape shape;
} keywords[] = {
    /* JSON Schema 2020-12, core and validation, and what earlier drafts had */
    { "$schema", TEXT },
    { "$id", TEXT },
    { "$anchor", TEXT },
    { "$comment", TEXT },
    { "$ref", REFERENCE },
    { "$defs", SCHEMA_MAP },
    { "definitions", SCHEMA_MAP },
    { "type", TYPE },
    { "enum", CHOICES },
    { "const", ANY },
    { "properties", SCHEMA_MAP },
    { "patternProperties", SCHEMA_MAP },
    { "additionalProperties", SCHEMA },
    { "unevaluatedProperties", SCHEMA },
    { "propertyNames", SCHEMA },
    { "required", TEXTS },
    { "dependentRequired", TEXTS_MAP },
    { "dependentSchemas", SCHEMA_MAP },
    { "minProperties", COUNT },
    { "maxProperties", COUNT },
    { "items", ITEMS },
    { "prefixItems", SCHEMAS },
    { "additionalItems", SCHEMA },
    { "unevaluatedItems", SCHEMA },
    { "contains", SCHEMA },
    { "minContains", COUNT },
    { "maxContains", COUNT },
    { "minItems", COUNT },
    { "maxItems", COUNT },
    { "uniqueItems", TRUTH },
    { "minimum", NUMBER },
    { "maximum", NUMBER },
    { "exclusiveMinimum", NUMBER },
    { "exclusiveMaximum", NUMBER },
    { "multipleOf", NUMBER },
    { "minLength", COUNT },
    { "maxLength", COUNT },
    { "pattern", TEXT },
    { "format", TEXT },
    { "contentEncoding", TEXT },
    { "contentMediaType", TEXT },
    { "allOf", SCHEMAS },
    { "anyOf", SCHEMAS },
    { "oneOf", SCHEMAS },
    { "not", SCHEMA },
    { "if", SCHEMA },
    { "then", SCHEMA },
    { "else", SCHEMA },
    { "title", TEXT },
    { "description", TEXT },
    { "default", ANY },
    { "examples", CHOICES },
    { "readOnly", TRUTH },
    { "writeOnly", TRUTH },
    { "deprecated", TRUTH },
    /* OpenAPI 3.0, found in many schemas made from one */
    { "nullable", TRUTH },
    { "example", ANY },
};
static const size_t keyword_count = sizeof keywords / sizeof *keywords;
_Static_assert(sizeof keywords / sizeof *keywords <= KEYWORDS_MAX, "refuse_keyword has room");

static const char *const types[] = { "object",  "array",   "string", "number",
                                     "integer", "boolean", "null" };
static const size_t type_count = sizeof types / sizeof *types;

static enum outcome check_schema(const struct yaml_node *node, struct error *err);

static enum outcome refuse(const char *keyword, const struct yaml_node *node, const char *right,
                           struct error *err)
{
    char shown[SHOWN_SIZE];
    return yaml_fail(err, node, "schema keyword '%s' is %s; write %s", keyword,
                     yaml_describe(node, shown, sizeof shown), right);
}

/* --- plain values ---------------------------------------------------------------------- */

/* The value as JSON knows it; JSON_NULL also for what JSON does not have. */
static json_type type_of(const struct yaml_node *node, double *number)
{
    json_t *value = NULL;
    if (yaml_to_json(node, &value, NULL) != OK)
        return JSON_NULL;
    json_type type = json_typeof(value);
    *number = json_number_value(value);
    json_decref(value);
    return type;
}

static bool is_text(const struct yaml_node *node)
{
    double number;
    return node->kind == YAML_SCALAR && type_of(node, &number) == JSON_STRING;
}

/* NULL when the value has the shape, or what would be right; in both of these. */
static const char *right_number(const char *keyword, enum shape shape, json_type type,
                                double number)
{
    if (shape == COUNT)
        return type == JSON_INTEGER && number >= 0 ? NULL : "a whole number from 0";
    if (type != JSON_INTEGER && type != JSON_REAL)
        return "a number";
    return number > 0 || strcmp(keyword, "multipleOf") != 0 ? NULL : "a number above 0";
}

static const char *right_value(const char *keyword, enum shape shape, const struct yaml_node *node)
{
    double number = 0;
    json_type type = node->kind == YAML_SCALAR ? type_of(node, &number) : JSON_OBJECT;
    if (shape == TEXT)
        return type == JSON_STRING ? NULL : "text, in quotes";
    if (shape == REFERENCE && type == JSON_STRING && *node->text == '#')
        return NULL;
    if (shape == REFERENCE)
        return "a place here, like '#/$defs/name'";
    if (shape == TRUTH)
        return type == JSON_TRUE || type == JSON_FALSE ? NULL : "true or false";
    return right_number(keyword, shape, type, number);
}

static enum outcome check_value(const char *keyword, enum shape shape, const struct yaml_node *node,
                                struct error *err)
{
    const char *right = right_value(keyword, shape, node);
    return right ? refuse(keyword, node, right, err) : OK;
}

static enum outcome check_type_word(const struct yaml_node *node, struct error *err)
{
    for (size_t i = 0; node->kind == YAML_SCALAR && i < type_count; i++)
        if (strcmp(node->text, types[i]) == 0)
            return OK;
    return refuse("type", node, "object, array, string, number, integer, boolean or null", err);
}

/* --- lists and mappings ------------------------------------------------------------------- */

static enum outcome check_type(const struct yaml_node *node, struct error *err)
{
    if (node->kind != YAML_SEQUENCE)
        return check_type_word(node, err);
    enum outcome outcome = node->count ? OK : refuse("type", node, "at least one type", err);
    for (size_t i = 0; i < node->count && outcome == OK; i++)
        outcome = check_type_word(node->items[i], err);
    return outcome;
}

static enum outcome check_texts(const char *keyword, const struct yaml_node *node,
                                struct error *err)
{
    if (node->kind != YAML_SEQUENCE || node->count > PROPERTIES_MAX)
        return refuse(keyword, node, "a list of property names, at most 256", err);
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        if (!is_text(item))
            return refuse(keyword, item, "the name of a property", err);
        for (size_t j = 0; j < i; j++)
            if (strcmp(node->items[j]->text, item->text) == 0)
                return yaml_fail(err, item, "schema keyword '%s' names '%.64s' twice; remove one",
                                 keyword, item->text);
    }
    return OK;
}

/* Depth: that of the tree, which yaml_limits bounds. */
/* NOLINTBEGIN(misc-no-recursion) */
static enum outcome check_schemas(const char *keyword, const struct yaml_node *node,
                                  struct error *err)
{
    if (node->kind != YAML_SEQUENCE || node->count == 0)
        return refuse(keyword, node, "a list of schemas", err);
    enum outcome outcome = OK;
    for (size_t i = 0; i < node->count && outcome == OK; i++)
        outcome = check_schema(node->items[i], err);
    return outcome;
}

static enum outcome check_map(const char *keyword, enum shape shape, const struct yaml_node *node,
                              struct error *err)
{
    if (node->kind != YAML_MAPPING || node->count > PROPERTIES_MAX)
        return refuse(keyword, node, "a mapping of at most 256 names", err);
    enum outcome outcome = OK;
    for (size_t i = 0; i < node->count && outcome == OK; i++)
        outcome = shape == TEXTS_MAP ? check_texts(keyword, node->items[i], err)
                                     : check_schema(node->items[i], err);
    return outcome;
}

static enum outcome check_keyword(const char *keyword, enum shape shape,
                                  const struct yaml_node *node, struct error *err)
{
    switch (shape) {
    case ANY: return OK;
    case TEXT:
    case REFERENCE:
    case TRUTH:
    case NUMBER:
    case COUNT: return check_value(keyword, shape, node, err);
    case TYPE: return check_type(node, err);
    case CHOICES:
        if (node->kind == YAML_SEQUENCE && node->count > 0)
            return OK;
        return refuse(keyword, node, "a list of values", err);
    case TEXTS: return check_texts(keyword, node, err);
    case TEXTS_MAP:
    case SCHEMA_MAP: return check_map(keyword, shape, node, err);
    case SCHEMA: return check_schema(node, err);
    case SCHEMAS: return check_schemas(keyword, node, err);
    case ITEMS:
        return node->kind == YAML_SEQUENCE ? check_schemas(keyword, node, err)
                                           : check_schema(node, err);
    }
    return OK;
}

/* NOLINTEND(misc-no-recursion) */

/* --- one schema ------------------------------------------------------------------------------ */

static enum outcome refuse_keyword(const struct yaml_node *key, struct error *err)
{
    const char *names[KEYWORDS_MAX];
    char shown[SHOWN_SIZE];
    for (size_t i = 0; i < keyword_count; i++)
        names[i] = keywords[i].name;
    const char *near = field_nearest(key->text, names, keyword_count);
    text_bounded(shown, sizeof shown, key->text, key->length);
    if (near)
        return yaml_fail(err, key, "'%s' is not a keyword of JSON Schema; did you mean '%s'?",
                         shown, near);
    return yaml_fail(err, key,
                     "'%s' is not a keyword of JSON Schema; properties belong under "
                     "'properties', and names of your own begin with x-",
                     shown);
}

/* A required property that is not described is a slip of the pen, unless another
 * part of the schema describes it.                                          */
static enum outcome check_required(const struct yaml_node *node, struct error *err)
{
    static const char *const others[] = { "$ref", "allOf", "anyOf", "oneOf", "patternProperties" };
    const char *names[PROPERTIES_MAX];
    const struct yaml_node *required = yaml_get(node, "required");
    const struct yaml_node *properties = yaml_get(node, "properties");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (yaml_get(node, others[i]))
            return OK;
    if (!required || !properties)
        return OK;
    for (size_t i = 0; i < properties->count; i++) /* at most PROPERTIES_MAX: check_map */
        names[i] = properties->keys[i]->text;
    for (size_t i = 0; i < required->count; i++) {
        const struct yaml_node *item = required->items[i];
        if (yaml_get(properties, item->text))
            continue;
        const char *near = field_nearest(item->text, names, properties->count);
        if (near)
            return yaml_fail(err, item,
                             "'%.64s' is required but not under 'properties'; did you "
                             "mean '%.64s'?",
                             item->text, near);
        return yaml_fail(err, item,
                         "'%.64s' is required but not under 'properties'; describe it "
                         "there",
                         item->text);
    }
    return OK;
}

/* NOLINTNEXTLINE(misc-no-recursion): see above */
static enum outcome check_schema(const struct yaml_node *node, struct error *err)
{
    char shown[SHOWN_SIZE];
    double number;
    json_type type = node->kind == YAML_SCALAR ? type_of(node, &number) : JSON_NULL;
    if (type == JSON_TRUE || type == JSON_FALSE)
        return OK;
    if (node->kind != YAML_MAPPING)
        return yaml_fail(err, node, "a schema is %s; write a mapping, like {type: string}",
                         yaml_describe(node, shown, sizeof shown));
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *key = node->keys[i];
        size_t k = 0;
        while (k < keyword_count && strcmp(keywords[k].name, key->text) != 0)
            k++;
        enum outcome outcome = OK;
        if (k < keyword_count)
            outcome = check_keyword(key->text, keywords[k].shape, node->items[i], err);
        else if (strncmp(key->text, "x-", 2) != 0)
            outcome = refuse_keyword(key, err);
        if (outcome != OK)
            return outcome;
    }
    return check_required(node, err);
}

enum outcome catalog_check_schema(const struct yaml_node *schema, struct error *err)
{
    const struct yaml_node *type = yaml_get(schema, "type");
    if (schema->kind != YAML_MAPPING || !type || type->kind != YAML_SCALAR ||
        strcmp(type->text, "object") != 0)
        return yaml_fail(err, type ? type : schema,
                         "'parameters' does not describe an object; write {type: object, "
                         "properties: {...}}");
    return check_schema(schema, err);
}
