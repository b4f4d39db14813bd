/*
 * json_schema_compile.h -- the compiler's own words; the inner part of json_schema.
 *
 *     json_schema_compile.c    a schema becomes a node; references; circles
 *     json_schema_keyword.c    the table of keywords, and how each is taken into a node
 */
#ifndef PAWL_COMMON_JSON_SCHEMA_COMPILE_H
#define PAWL_COMMON_JSON_SCHEMA_COMPILE_H

#include "common/json_schema_core.h"

/* Where the compiler stands in the source. */
struct spot {
    const struct spot *above; /* NULL at the root */
    const char *token;        /* NULL in a list: */
    size_t index;
};

/* A $ref to be followed once all schemas are known. */
struct link {
    struct link *next;
    struct node *from;
    const char *target;
    const char *pointer; /* where it stands */
};

struct compiler {
    struct json_schema *schema;
    struct json_schema_fault *fault;
    const json_t *source;
    struct node **nodes; /* of objects: `true` and `false` are the same json_t everywhere */
    size_t count, room;
    struct link *links;
    size_t pattern_bytes;
    int depth;
    bool by_hand;
};

/* ---- refusing ------------------------------------------------------------------------------ */

PRINTF(3, 4)
enum outcome compile_refuse(const struct compiler *c, const struct spot *spot, const char *fmt,
                            ...);

/* "is the number 5; write `right`" */
enum outcome compile_refuse_value(const struct compiler *c, const struct spot *spot,
                                  const json_t *value, const char *right);

enum outcome compile_no_room(const struct compiler *c, const struct spot *spot);

/* Where `spot` is, as a JSON pointer of the arena's; NULL: no room. */
const char *compile_pointer(const struct compiler *c, const struct spot *spot);

/* ---- taking --------------------------------------------------------------------------------- */

MUST_CHECK enum outcome compile_node(struct compiler *c, const struct spot *spot,
                                     const json_t *source, const struct node **into);

/* One keyword, or the refusal of an unknown one. */
MUST_CHECK enum outcome compile_keyword(struct compiler *c, const struct spot *spot,
                                        const json_t *value, struct node *node);

/* ---- the table ------------------------------------------------------------------------------- */

/* What stands behind a keyword, for the steps of a reference. */
enum keyword_holds { HOLDS_NO_SCHEMA, HOLDS_SCHEMA, HOLDS_LIST, HOLDS_MAP };
enum keyword_holds keyword_holds(const char *keyword, const json_t *value);

/* The name of these members that is nearest to `name`, or NULL. */
const char *keyword_nearest_member(const char *name, const json_t *members);

#endif
