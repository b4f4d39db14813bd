#include "common/json_schema_compile.h"

#include "common/field.h"
#include "common/memory.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

enum { PATTERN_BYTES_IN_ALL = 1 << 20, SHOWN_SIZE = 64, NEAREST_OF_MAX = 1000 };

struct keyword;

/* Takes the value of a keyword into the node; `row` says where. */
typedef enum outcome take_keyword(struct compiler *c, const struct spot *spot, const json_t *value,
                                  struct node *node, const struct keyword *row);

struct keyword {
    const char *name;
    take_keyword *take;
    size_t offset; /* in struct node */
    const char *help;
    const char *group; /* of the documentation; stands at the first of each */
    enum keyword_holds holds;
};

static void *into(struct node *node, const struct keyword *row)
{
    return (char *)node + row->offset;
}

/* ---- what says something and checks nothing ---------------------------------------------------
 */

static enum outcome take_anything(struct compiler *c, const struct spot *spot, const json_t *value,
                                  struct node *node, const struct keyword *row)
{
    (void)c, (void)spot, (void)value, (void)node, (void)row;
    return OK;
}

static enum outcome take_text(struct compiler *c, const struct spot *spot, const json_t *value,
                              struct node *node, const struct keyword *row)
{
    (void)node, (void)row;
    return json_is_string(value) ? OK : compile_refuse_value(c, spot, value, "text, in quotes");
}

static enum outcome take_truth(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    if (!json_is_boolean(value))
        return compile_refuse_value(c, spot, value, "true or false");
    if (row->offset > 0)
        *(bool *)into(node, row) = json_is_true(value);
    return OK;
}

static enum outcome take_list(struct compiler *c, const struct spot *spot, const json_t *value,
                              struct node *node, const struct keyword *row)
{
    (void)node, (void)row;
    return json_is_array(value) ? OK : compile_refuse_value(c, spot, value, "a list of values");
}

static enum outcome take_draft(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    static const char *const drafts[] = { "draft-04/schema", "draft-06/schema", "draft-07/schema",
                                          "draft/2019-09/schema", "draft/2020-12/schema" };
    static const char host[] = "://json-schema.org/";
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    const char *rest = text + strspn(text, "https");
    (void)node, (void)row;
    for (size_t i = 0; i < sizeof drafts / sizeof *drafts; i++) {
        size_t n = strlen(drafts[i]);
        if (strncmp(rest, host, sizeof host - 1) == 0 &&
            strncmp(rest + sizeof host - 1, drafts[i], n) == 0 &&
            (strcmp(rest + sizeof host - 1 + n, "") == 0 ||
             strcmp(rest + sizeof host - 1 + n, "#") == 0))
            return OK;
    }
    return compile_refuse_value(c, spot, value, "https://json-schema.org/draft/2020-12/schema");
}

static enum outcome take_id(struct compiler *c, const struct spot *spot, const json_t *value,
                            struct node *node, const struct keyword *row)
{
    if (spot->above->above)
        return compile_refuse(c, spot,
                              "stands below the root, where it would turn references "
                              "elsewhere; remove it");
    return take_text(c, spot, value, node, row);
}

/* ---- plain values -------------------------------------------------------------------------------
 */

static enum outcome take_type(struct compiler *c, const struct spot *spot, const json_t *value,
                              struct node *node)
{
    const char *name = json_string_value(value);
    for (int i = 0; name && i < TYPE_COUNT; i++)
        if (strcmp(name, json_schema_types[i]) == 0) {
            node->types |= 1u << i;
            return OK;
        }
    return compile_refuse_value(c, spot, value,
                                "object, array, string, number, integer, boolean or null");
}

static enum outcome take_types(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    size_t n = json_array_size(value);
    (void)row;
    if (!json_is_array(value))
        return take_type(c, spot, value, node);
    enum outcome outcome = n ? OK : compile_refuse_value(c, spot, value, "at least one type");
    for (size_t i = 0; i < n && outcome == OK; i++) {
        const struct spot item = { spot, NULL, i };
        outcome = take_type(c, &item, json_array_get(value, i), node);
    }
    return outcome;
}

/* OpenAPI 3.0: beside a type, it adds null to it. */
static enum outcome take_nullable(struct compiler *c, const struct spot *spot, const json_t *value,
                                  struct node *node, const struct keyword *row)
{
    if (json_is_true(value) && json_object_get(node->source, "type"))
        node->types |= TYPE_NULL;
    return take_truth(c, spot, value, node, row);
}

static enum outcome take_choices(struct compiler *c, const struct spot *spot, const json_t *value,
                                 struct node *node, const struct keyword *row)
{
    (void)row;
    if (json_array_size(value) == 0)
        return compile_refuse_value(c, spot, value, "a list of values that is not empty");
    node->choices = value;
    return OK;
}

static enum outcome take_value(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    (void)c, (void)spot;
    *(const json_t **)into(node, row) = value;
    return OK;
}

static enum outcome take_number(struct compiler *c, const struct spot *spot, const json_t *value,
                                struct node *node, const struct keyword *row)
{
    if (!json_is_number(value))
        return compile_refuse_value(c, spot, value, "a number");
    return take_value(c, spot, value, node, row);
}

static enum outcome take_divisor(struct compiler *c, const struct spot *spot, const json_t *value,
                                 struct node *node, const struct keyword *row)
{
    if (!json_is_number(value) || json_number_value(value) <= 0)
        return compile_refuse_value(c, spot, value, "a number above 0");
    return take_value(c, spot, value, node, row);
}

static enum outcome take_count(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    double number = json_number_value(value);
    if (!(value_types(value) & TYPE_INTEGER) || number < 0 || number > 9e15)
        return compile_refuse_value(c, spot, value, "a whole number from 0");
    *(int64_t *)into(node, row) = (int64_t)number;
    return OK;
}

/* Names without repetition. */
static enum outcome take_names(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    if (!json_is_array(value))
        return compile_refuse_value(c, spot, value, "a list of property names");
    json_auto_t *seen = json_object();
    for (size_t i = 0; i < json_array_size(value); i++) {
        const struct spot item = { spot, NULL, i };
        const json_t *name = json_array_get(value, i);
        if (!json_is_string(name) ||
            text_has_nul(json_string_value(name), json_string_length(name)))
            return compile_refuse_value(c, &item, name, "the name of a property");
        if (json_object_get(seen, json_string_value(name)))
            return compile_refuse(c, &item, "names '%.64s' twice; remove one",
                                  json_string_value(name));
        if (json_object_set_new(seen, json_string_value(name), json_true()) != 0)
            return compile_no_room(c, &item);
    }
    return take_value(c, spot, value, node, row);
}

static void free_pattern(void *thing)
{
    pattern_free(thing);
}

static enum outcome make_pattern(struct compiler *c, const struct spot *spot, const char *text,
                                 size_t n, const struct pattern **out)
{
    struct pattern *pattern;
    struct error why;
    if (pattern_compile(text, n, &pattern, &why) != OK) {
        (void)compile_refuse(c, spot, "has a regular expression that is not supported: %s",
                             why.text);
        return REFUSED;
    }
    c->pattern_bytes += pattern_size(pattern);
    if (!arena_defer(&c->schema->arena, free_pattern, pattern))
        return compile_no_room(c, spot);
    if (c->pattern_bytes > PATTERN_BYTES_IN_ALL)
        return compile_refuse(c, spot, "makes the patterns larger than %d KiB in all",
                              PATTERN_BYTES_IN_ALL / 1024);
    *out = pattern;
    return OK;
}

static enum outcome take_pattern(struct compiler *c, const struct spot *spot, const json_t *value,
                                 struct node *node, const struct keyword *row)
{
    enum outcome outcome = take_text(c, spot, value, node, row);
    node->pattern_text = json_string_value(value);
    return outcome == OK ? make_pattern(c, spot, node->pattern_text, json_string_length(value),
                                        &node->pattern)
                         : outcome;
}

static enum outcome take_reference(struct compiler *c, const struct spot *spot, const json_t *value,
                                   struct node *node, const struct keyword *row)
{
    const char *target = json_is_string(value) ? json_string_value(value) : "";
    (void)row;
    if (target[0] != '#' || (target[1] && target[1] != '/'))
        return compile_refuse_value(c, spot, value, "a place in this schema, like '#/$defs/name'");
    struct link *link = arena_alloc(&c->schema->arena, sizeof *link);
    const char *pointer = compile_pointer(c, spot);
    if (!link || !pointer)
        return compile_no_room(c, spot);
    *link = (struct link){ c->links, node, target, pointer };
    c->links = link;
    return OK;
}

/* ---- schemas within schemas
 * ----------------------------------------------------------------------- */

/* Depth: JSON_SCHEMA_DEPTH_MAX, by compile_node. */
/* NOLINTBEGIN(misc-no-recursion) */
static enum outcome take_schema(struct compiler *c, const struct spot *spot, const json_t *value,
                                struct node *node, const struct keyword *row)
{
    const struct node *unused;
    return compile_node(c, spot, value, row->offset > 0 ? into(node, row) : &unused);
}

static enum outcome take_schemas(struct compiler *c, const struct spot *spot, const json_t *value,
                                 struct node *node, const struct keyword *row)
{
    struct node_list *list = into(node, row);
    size_t n = json_array_size(value);
    enum outcome outcome = OK;
    if (n == 0)
        return compile_refuse_value(c, spot, value, "a list of schemas");
    list->items = arena_alloc_array(&c->schema->arena, n, sizeof *list->items);
    if (!list->items)
        return compile_no_room(c, spot);
    list->count = n;
    for (size_t i = 0; i < n && outcome == OK; i++) {
        const struct spot item = { spot, NULL, i };
        outcome = compile_node(c, &item, json_array_get(value, i), &list->items[i]);
    }
    return outcome;
}

enum named { NAMED, BY_PATTERN, WITH_NAMES };

static enum outcome take_map(struct compiler *c, const struct spot *spot, const json_t *value,
                             enum named kind, struct named_list *list)
{
    static const struct keyword names_row = { .offset = offsetof(struct node, required) };
    const char *name;
    const json_t *member;
    enum outcome outcome = OK;
    if (!json_is_object(value))
        return compile_refuse_value(c, spot, value, "an object of names");
    size_t n = json_object_size(value);
    list->items = arena_alloc_array(&c->schema->arena, n, sizeof *list->items);
    if (!list->items)
        return compile_no_room(c, spot);
    json_object_foreach((json_t *)(uintptr_t)value, name, member) {
        struct named_node *item = &list->items[list->count++];
        const struct spot below = { spot, name, 0 };
        struct node names = { 0 };
        item->name = name;
        if (kind == BY_PATTERN)
            outcome = make_pattern(c, &below, name, strlen(name), &item->pattern);
        if (outcome == OK && kind == WITH_NAMES)
            outcome = take_names(c, &below, member, &names, &names_row);
        else if (outcome == OK)
            outcome = compile_node(c, &below, member, &item->node);
        item->names = names.required;
        if (outcome != OK)
            return outcome;
    }
    return OK;
}

static enum outcome take_named(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    struct named_list unused;
    return take_map(c, spot, value, NAMED,
                    row->offset > 0 ? into(node, row)
                                    : (unused = (struct named_list){ 0 }, &unused));
}

static enum outcome take_by_pattern(struct compiler *c, const struct spot *spot,
                                    const json_t *value, struct node *node,
                                    const struct keyword *row)
{
    return take_map(c, spot, value, BY_PATTERN, into(node, row));
}

static enum outcome take_needs(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    return take_map(c, spot, value, WITH_NAMES, into(node, row));
}

static enum outcome take_properties(struct compiler *c, const struct spot *spot,
                                    const json_t *value, struct node *node,
                                    const struct keyword *row)
{
    node->described = value;
    return take_map(c, spot, value, NAMED, into(node, row));
}

/* In draft 2020-12 one schema, for what prefixItems leaves.  Before, also a list for the
 * first items, with the rest under additionalItems.                          */
static enum outcome take_items(struct compiler *c, const struct spot *spot, const json_t *value,
                               struct node *node, const struct keyword *row)
{
    static const struct keyword first_row = { .offset = offsetof(struct node, first_items) };
    if (!json_is_array(value))
        return take_schema(c, spot, value, node, row);
    if (json_object_get(node->source, "prefixItems"))
        return compile_refuse_value(c, spot, value, "one schema, since 'prefixItems' is there");
    return json_array_size(value) ? take_schemas(c, spot, value, node, &first_row) : OK;
}

static enum outcome take_additional_items(struct compiler *c, const struct spot *spot,
                                          const json_t *value, struct node *node,
                                          const struct keyword *row)
{
    static const struct keyword unused_row = { 0 };
    bool used = json_is_array(json_object_get(node->source, "items"));
    return take_schema(c, spot, value, node, used ? row : &unused_row);
}
/* NOLINTEND(misc-no-recursion) */

/* ---- the table
 * -------------------------------------------------------------------------------------- */

#define NODE(member) .offset = offsetof(struct node, member)
_Static_assert(offsetof(struct node, source) == 0, "so that 0 is no place for a keyword");

static const struct keyword keywords[] = {
    { "type", take_types,
      .help =
          "`object`, `array`, `string`, `number`, `integer`, `boolean`, `null`, or a list of them. "
          "`1.0` is an integer.",
      .group = "Any value" },
    { "enum", take_choices, .help = "A list of the values that are allowed." },
    { "const", take_value, NODE(constant), .help = "The only value that is allowed." },
    { "nullable", take_nullable, .help = "From OpenAPI 3.0: adds `null` to `type`." },

    { "properties", take_properties, NODE(properties), .help = "Members by name.",
      .group = "Objects", .holds = HOLDS_MAP },
    { "required", take_names, NODE(required), .help = "Names of members that must be there." },
    { "additionalProperties", take_schema, NODE(other_properties),
      .help = "All other members; `false`: there are none.", .holds = HOLDS_SCHEMA },
    { "patternProperties", take_by_pattern, NODE(pattern_properties),
      .help = "Members by a regular expression for their names.", .holds = HOLDS_MAP },
    { "propertyNames", take_schema, NODE(names), .help = "The names themselves.",
      .holds = HOLDS_SCHEMA },
    { "minProperties", take_count, NODE(least[COUNT_PROPERTIES]),
      .help = "How many members at least." },
    { "maxProperties", take_count, NODE(most[COUNT_PROPERTIES]), .help = "How many at most." },
    { "dependentRequired", take_needs, NODE(needs),
      .help = "Names that must be there when another one is." },
    { "dependentSchemas", take_named, NODE(needs_form),
      .help = "A schema for the object when it has a member.", .holds = HOLDS_MAP },

    { "items", take_items, NODE(other_items),
      .help = "The items, or those behind `prefixItems`. A list of schemas, as before draft "
              "2020-12, is taken for `prefixItems`.",
      .group = "Arrays", .holds = HOLDS_SCHEMA },
    { "prefixItems", take_schemas, NODE(first_items), .help = "The first items, one schema each.",
      .holds = HOLDS_LIST },
    { "additionalItems", take_additional_items, NODE(other_items),
      .help = "With a list under `items`: the items behind it.", .holds = HOLDS_SCHEMA },
    { "minItems", take_count, NODE(least[COUNT_ITEMS]), .help = "How many items at least." },
    { "maxItems", take_count, NODE(most[COUNT_ITEMS]), .help = "How many at most." },
    { "uniqueItems", take_truth, NODE(unique), .help = "`true`: no two are equal." },
    { "contains", take_schema, NODE(contains), .help = "At least one item is so.",
      .holds = HOLDS_SCHEMA },
    { "minContains", take_count, NODE(least[COUNT_CONTAINS]),
      .help = "How many are so at least, instead of one." },
    { "maxContains", take_count, NODE(most[COUNT_CONTAINS]), .help = "How many are so at most." },

    { "minLength", take_count, NODE(least[COUNT_LENGTH]), .help = "In Unicode code points.",
      .group = "Text" },
    { "maxLength", take_count, NODE(most[COUNT_LENGTH]), .help = "Likewise." },
    { "pattern", take_pattern, NODE(pattern),
      .help = "A regular expression that is found in the text; see below." },

    { "minimum", take_number, NODE(minimum), .help = "At least.", .group = "Numbers" },
    { "maximum", take_number, NODE(maximum), .help = "At most." },
    { "exclusiveMinimum", take_number, NODE(above), .help = "More than." },
    { "exclusiveMaximum", take_number, NODE(below), .help = "Less than." },
    { "multipleOf", take_divisor, NODE(multiple_of),
      .help = "Computed in decimals: 0.3 is a multiple of 0.1." },

    { "allOf", take_schemas, NODE(all), .help = "All of these.", .group = "Combinations",
      .holds = HOLDS_LIST },
    { "anyOf", take_schemas, NODE(any), .help = "At least one of these.", .holds = HOLDS_LIST },
    { "oneOf", take_schemas, NODE(one), .help = "Exactly one of these.", .holds = HOLDS_LIST },
    { "not", take_schema, NODE(not ), .help = "Not this.", .holds = HOLDS_SCHEMA },
    { "if", take_schema, NODE(condition), .help = "When this is so, `then`, otherwise `else`.",
      .holds = HOLDS_SCHEMA },
    { "then", take_schema, NODE(then), .help = "See `if`.", .holds = HOLDS_SCHEMA },
    { "else", take_schema, NODE(otherwise), .help = "See `if`.", .holds = HOLDS_SCHEMA },
    { "$ref", take_reference,
      .help =
          "A schema in this schema, `#/$defs/name` or any other, also around in a circle that goes "
          "through a member or an item. What stands beside it counts too." },
    { "$defs", take_named, .help = "Schemas to refer to.", .holds = HOLDS_MAP },
    { "definitions", take_named, .help = "The older name of it.", .holds = HOLDS_MAP },

    { "title", take_text, .help = "A name.", .group = "Said, not checked" },
    { "description", take_text, .help = "For the model." },
    { "default", take_anything, .help = "What the tool does without it; pawl fills nothing in." },
    { "examples", take_list, .help = "Values." },
    { "example", take_anything, .help = "From OpenAPI." },
    { "format", take_text,
      .help = "`date-time`, `email`, ... The draft leaves it to the reader; write a `pattern` to "
              "have it "
              "checked." },
    { "contentEncoding", take_text, .help = "How a text is encoded." },
    { "contentMediaType", take_text, .help = "What is in it." },
    { "contentSchema", take_schema, .help = "And what that looks like.", .holds = HOLDS_SCHEMA },
    { "deprecated", take_truth, .help = "Better not used." },
    { "readOnly", take_truth, .help = "Not for the caller." },
    { "writeOnly", take_truth, .help = "Not in answers." },
    { "discriminator", take_anything, .help = "From OpenAPI, beside `oneOf`." },
    { "externalDocs", take_anything, .help = "From OpenAPI." },
    { "xml", take_anything, .help = "From OpenAPI." },
    { "$comment", take_text, .help = "For whoever reads the schema." },
    { "$schema", take_draft,
      .help = "Draft 4, 6, 7, 2019-09 or 2020-12; read as 2020-12 in any case." },
    { "$id", take_id, .help = "At the root alone." },
};
static const size_t keyword_count = sizeof keywords / sizeof *keywords;

/* Keywords that are known and not supported, and what to do instead. */
static const struct {
    const char *name, *instead;
} others[] = {
    { "unevaluatedProperties", "write 'additionalProperties' where the properties are listed" },
    { "unevaluatedItems", "write 'items' where 'prefixItems' is" },
    { "dependencies", "write 'dependentRequired' or 'dependentSchemas'" },
    { "$anchor", "put the schema under '$defs' and refer to '#/$defs/name'" },
    { "$dynamicAnchor", "put the schema under '$defs' and refer to '#/$defs/name'" },
    { "$dynamicRef", "write '$ref'" },
    { "$recursiveRef", "write '$ref'" },
    { "$recursiveAnchor", "remove it" },
    { "$vocabulary", "remove it" },
    { "id", "remove it, or write '$id' at the root; a property belongs under 'properties'" },
};

static const struct keyword *find(const char *name)
{
    for (size_t i = 0; i < keyword_count; i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

static const char *instead_of(const char *name)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].name, name) == 0)
            return others[i].instead;
    return NULL;
}

static enum outcome refuse_unknown(const struct compiler *c, const struct spot *spot)
{
    char shown[SHOWN_SIZE];
    const char *names[sizeof keywords / sizeof *keywords];
    const char *name = spot->token, *instead = instead_of(name);
    for (size_t i = 0; i < keyword_count; i++)
        names[i] = keywords[i].name;
    const char *near = field_nearest(name, names, keyword_count);
    text_bounded(shown, sizeof shown, name, strlen(name));
    if (instead)
        (void)compile_refuse(c, spot, "'%s' is not supported; %s", shown, instead);
    else if (near)
        (void)compile_refuse(c, spot, "'%s' is not a keyword of JSON Schema; did you mean '%s'?",
                             shown, near);
    else
        (void)compile_refuse(c, spot,
                             "'%s' is not a keyword of JSON Schema; properties belong under "
                             "'properties', and names of your own begin with x-",
                             shown);
    c->fault->at_key = true;
    return REFUSED;
}

/* NOLINTNEXTLINE(misc-no-recursion): see above */
enum outcome compile_keyword(struct compiler *c, const struct spot *spot, const json_t *value,
                             struct node *node)
{
    const struct keyword *row = find(spot->token);
    if (row)
        return row->take(c, spot, value, node, row);
    return strncmp(spot->token, "x-", 2) == 0 ? OK : refuse_unknown(c, spot);
}

enum keyword_holds keyword_holds(const char *keyword, const json_t *value)
{
    const struct keyword *row = find(keyword);
    if (!row || !value)
        return HOLDS_NO_SCHEMA;
    return row->holds == HOLDS_SCHEMA && json_is_array(value) ? HOLDS_LIST : row->holds;
}

const char *keyword_nearest_member(const char *name, const json_t *members)
{
    const char *names[NEAREST_OF_MAX], *key;
    const json_t *member;
    size_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)members, key, member)
        if (n < NEAREST_OF_MAX)
            names[n++] = key;
    return field_nearest(name, names, n);
}

void json_schema_print(FILE *out)
{
    for (size_t i = 0; i < keyword_count; i++) {
        if (keywords[i].group)
            (void)fprintf(out, "%s| %s | |\n|---|---|\n", i > 0 ? "\n" : "", keywords[i].group);
        (void)fprintf(out, "| `%s` | %s |\n", keywords[i].name, keywords[i].help);
    }
}
