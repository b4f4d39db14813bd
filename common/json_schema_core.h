/*
 * json_schema_core.h -- the compiled form; the inner part of json_schema.h.
 *
 * Used by the files of json_schema alone.
 */
#ifndef PAWL_COMMON_JSON_SCHEMA_CORE_H
#define PAWL_COMMON_JSON_SCHEMA_CORE_H

#include "common/arena.h"
#include "common/json_schema.h"
#include "common/pattern.h"

/* Types as bits: a number that is whole has two of them. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_COUNT = 7,
};
extern const char *const json_schema_types[TYPE_COUNT]; /* in the order of their bits */

struct node;

struct node_list {
    const struct node **items;
    size_t count;
};

/* A name, or a pattern for names, and what is wanted of the member (or the whole). */
struct named_node {
    const char *name;
    const struct pattern *pattern; /* patternProperties */
    const struct node *node;
    const json_t *names; /* dependentRequired */
};

struct named_list {
    struct named_node *items;
    size_t count;
};

enum count_of { COUNT_LENGTH, COUNT_ITEMS, COUNT_PROPERTIES, COUNT_CONTAINS, COUNT_KINDS };

/* One schema.  json_t are borrowed from the source.  NULL, 0 and NO_BOUND: the keyword
 * is not there.                                                              */
enum { NO_BOUND = -1 };
struct node {
    const json_t *source;
    bool nothing;   /* the schema `false` */
    unsigned types; /* 0: any */
    const json_t *choices, *constant;
    const json_t *minimum, *maximum, *above, *below, *multiple_of;
    int64_t least[COUNT_KINDS], most[COUNT_KINDS];
    const struct pattern *pattern;
    const char *pattern_text;
    bool unique;
    struct node_list first_items;   /* prefixItems */
    const struct node *other_items; /* items */
    const struct node *contains;
    const json_t *required;
    const json_t *described; /* properties, as they stand in the source */
    struct named_list properties, pattern_properties, needs, needs_form;
    const struct node *other_properties; /* additionalProperties */
    const struct node *names;            /* propertyNames */
    const struct node *reference;
    struct node_list all, any, one;
    const struct node * not, *condition, *then, *otherwise;
    int height; /* how many schemas apply to one value because this one does; 0: not known yet */
};

struct json_schema {
    struct arena arena;
    const struct node *root;
};

/* ---- values ----------------------------------------------------------------------------- */

/* The type bits of a value: 1.0 is an integer (JSON Schema 2020-12, validation 6.1.1). */
unsigned value_types(const json_t *value);

/* Numbers by their value, whatever jansson holds them as: below 0, 0 or above 0. */
int value_compare(const json_t *a, const json_t *b);

/* Whether `value` is a whole multiple of `of` (above 0), both as the decimals that they
 * are written as: 0.3 is one of 0.1.                                         */
bool value_is_multiple(const json_t *value, const json_t *of);

/* Equal as JSON Schema means it: 1 and 1.0 are.  Takes from *work, which may go below
 * 0; then the answer means nothing.                                          */
bool value_equal(const json_t *a, const json_t *b, int64_t *work);

/* Two items that are equal, if there are any.  *work as above. */
bool value_find_twins(const json_t *array, size_t *first, size_t *second, int64_t *work);

/* In code points. */
size_t value_length(const json_t *string);

/* ---- words -------------------------------------------------------------------------------- */

enum { SHOWN_BYTES = 80 };

/* `the string "abc"`, `the number 3.5`, `an array of 3 items`, `true`: safe to print, cut
 * to the size.  Returns out.                                                 */
const char *value_describe(const json_t *value, char *out, size_t out_size);

/* `"abc"`, `3.5`, `{"a":1}`: as JSON, likewise. */
const char *value_show(const json_t *value, char *out, size_t out_size);

/* "a string or null", "an integer". */
const char *types_show(unsigned types, char *out, size_t out_size);

#endif
