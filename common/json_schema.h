/*
 * json_schema.h -- JSON Schema: compiled once, then values are checked against it.
 *
 *     json_t (schema) --json_schema_compile--> struct json_schema
 *     json_t (value)  --json_schema_check----> OK, or one sentence that says what is wrong
 *
 * The meaning is that of draft 2020-12, for the keywords that the tables of published
 * tools use (docs/configuration.md lists them; json_schema_print makes that list).
 * Keywords that would need more are refused when a schema is compiled, never passed
 * over: unevaluatedItems and unevaluatedProperties, $anchor, $dynamicRef, an $id below
 * the root, references out of the schema.  What earlier drafts spelled otherwise and
 * cannot be mistaken is taken as it was meant: `definitions`, a list behind `items`
 * with `additionalItems`, and OpenAPI's `nullable`.  `format` and content* say
 * something to the reader of a schema; no value fails by them.
 *
 * The sentence is made for a language model that has to correct itself: the place as
 * a JSON pointer, what is there, what is wanted.  Where several forms are allowed it
 * speaks of the one that the value comes closest to.
 *
 * Limits:  of a schema JSON_SCHEMA_NODES_MAX schemas, JSON_SCHEMA_DEPTH_MAX within each
 *          other, 1 MiB of compiled patterns.  References may go round only through
 *          a member or an item, so that a value's depth bounds the recursion.
 *          A check spends work, which the caller has a store of: 20 to 100 ns a unit,
 *          and up to 250 ns in the worst of regular expressions.
 * Threads: one owner; a check writes to its schema's patterns.
 * Errors:  REFUSED.
 */
#ifndef PAWL_COMMON_JSON_SCHEMA_H
#define PAWL_COMMON_JSON_SCHEMA_H

#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    JSON_SCHEMA_NODES_MAX = 10000,
    JSON_SCHEMA_DEPTH_MAX = 64,
    JSON_SCHEMA_WORK = 5000000, /* for one check or for a few: less than a second at worst */
    JSON_SCHEMA_WHY_SIZE = 500, /* the longest sentence, with its NUL */
};

struct json_schema;

/* Why a schema is refused. */
struct json_schema_fault {
    char pointer[200]; /* a JSON pointer into the schema; "" is all of it */
    bool at_key;       /* not the value there is wrong, but that the key is there */
    char text[160];    /* "is the number 5; write text" */
};

/* The schema keeps `source` (a reference), which must not be changed while it lives.
 * `by_hand`: somebody has just written it, so a required property that is described
 * nowhere is refused as a slip of the pen.  *out is NULL on failure.         */
MUST_CHECK enum outcome json_schema_compile(json_t *source, bool by_hand, struct json_schema **out,
                                            struct json_schema_fault *fault);
void json_schema_free(struct json_schema *s); /* NULL is fine */

/* Does the value fit?  `whole` is what the value itself is called in the sentence
 * ("the argument object").  *work becomes less; when it does not suffice the answer
 * is REFUSED, whatever the schema says.                                      */
MUST_CHECK enum outcome json_schema_check(const struct json_schema *s, const json_t *value,
                                          const char *whole, int64_t *work,
                                          char why[JSON_SCHEMA_WHY_SIZE]);

/* The keywords as a Markdown table. */
void json_schema_print(FILE *out);

#endif
