/*
 * field.h -- tables that say what a mapping may hold, read into structs.
 *
 *                     +--> field_read       YAML  --> struct   strict, FILE:LINE
 *     struct field[] -+--> field_read_json  JSON  --> struct   tolerant
 *                     +--> field_to_json    struct --> JSON    all defaults filled in
 *                     +--> field_print      the table as documentation
 *
 * One row describes one key: its type, default, bounds and a line of help.
 * Everything that must agree about a key reads that row, so that the reader,
 * `pawl config check|show`, the published bodies and the documentation cannot
 * drift apart.
 *
 * In JSON the unit stands in the name: `timeout` becomes `timeout_ms`, a money
 * value `input` becomes `input_micros`; sizes are bytes under their own name.
 *
 * Memory:  strings and arrays go to the arena given; json_t values are handed
 *          to it with arena_defer.
 * Limits:  those of the YAML file or JSON text; the arena's ceiling (REFUSED).
 * Threads: tables are constant; the rest belongs to its caller.
 * Errors:  REFUSED.  YAML: "FILE:LINE: what is wrong; what would be right",
 *          an unknown key with the nearest known one.  JSON: the path of the
 *          key in place of the line.
 */
#ifndef PAWL_COMMON_FIELD_H
#define PAWL_COMMON_FIELD_H

#include "common/arena.h"
#include "common/outcome.h"
#include "common/yaml.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum field_type {
    FIELD_STRING,   /* const char *: NULL when absent; min and max bound its bytes */
    FIELD_BOOL,     /* bool */
    FIELD_INT,      /* int, within min and max; 0 when absent */
    FIELD_DURATION, /* int64_t milliseconds: "500ms" "30s" "10m" "1h" "7d" */
    FIELD_SIZE,     /* size_t bytes: 1000 "64KiB" "1MiB" */
    FIELD_ENUM,     /* int, or an enum: the index in words */
    FIELD_MONEY,    /* int64_t millionths: 2.5 is 2500000; -1 when absent */
    FIELD_STRINGS,  /* struct field_strings: a list of strings without repetition */
    FIELD_SECRET,   /* const char *: NAME of {secret: NAME}, never the secret itself */
    FIELD_PAIRS,    /* struct field_pairs: name: text, or name: {secret: NAME, prefix: TEXT} */
    FIELD_JSON,     /* json_t *: any value, kept as it is; NULL when absent */
    FIELD_TABLE,    /* a struct at offset, described by .table; left at its defaults when absent */
    FIELD_MAP,      /* const struct yaml_node *: names to mappings described by .table */
};

struct field_strings {
    const char **items;
    size_t count;
};

/* text, or secret with an optional prefix: one of text and secret is NULL. */
struct field_pair {
    const char *name;
    const char *text;
    const char *secret;
    const char *prefix; /* "" when there is none */
};

struct field_pairs {
    struct field_pair *items;
    size_t count;
};

struct field_table;

struct field {
    const char *name;
    enum field_type type;
    bool required;
    bool secret;           /* never shown: `pawl config show` prints *** */
    size_t offset;         /* in the struct; for a row of a nested table, in the nested struct */
    const char *otherwise; /* the default as it would be written, or NULL: absent */
    int64_t min;
    int64_t max;                     /* 0 with min 0: the type's own bounds */
    const char *const *words;        /* FIELD_ENUM: NULL-terminated */
    const struct field_table *table; /* FIELD_TABLE, FIELD_MAP */
    /* An extra check of a string: NULL when fine, or what would be right
     * ("write http://host:port/path").                                      */
    const char *(*check)(const char *text);
    const char *help;    /* one sentence, for the documentation */
    const char *example; /* as it would be written; may be NULL */
};

struct field_table {
    const char *what; /* "tool", "model", "the process file": for messages */
    const struct field *fields;
    size_t count;
};

#define FIELD_TABLE_OF(what_, rows)                    \
    {                                                  \
        (what_), (rows), sizeof(rows) / sizeof *(rows) \
    }

/* Every field of *into set to its default; required ones are left zero. */
MUST_CHECK enum outcome field_defaults(const struct field_table *table, struct arena *arena,
                                       void *into, struct error *err);

/* Defaults first, then what the mapping says.  Unknown keys, wrong types,
 * values out of bounds and missing required keys are refused.  A key with
 * nothing behind it (null) is refused too: leave the key out.               */
MUST_CHECK enum outcome field_read(const struct field_table *table, const struct yaml_node *mapping,
                                   struct arena *arena, void *into, struct error *err);

/* The same from a body written by field_to_json, perhaps by another version of
 * pawl: unknown keys are skipped, missing ones get their default.           */
MUST_CHECK enum outcome field_read_json(const struct field_table *table, const json_t *object,
                                        struct arena *arena, void *into, struct error *err);

/* A new object with every field, absent ones left out. FIELD_MAP is skipped. */
json_t *field_to_json(const struct field_table *table, const void *from);

/* One scalar field from text, as from the environment or a flag.  `where`
 * stands in messages for FILE:LINE.                                         */
MUST_CHECK enum outcome field_set(const struct field *field, const char *text, const char *where,
                                  struct arena *arena, void *into, struct error *err);

/* Can field_set set it?  (Not lists, pairs, JSON, tables.) */
bool field_is_scalar(const struct field *field);

/* The value as it would be written, "" when absent; secrets are not hidden. */
const char *field_show(const struct field *field, const void *from, char *out, size_t out_size);

/* Calls `visit` for every row, nested tables in depth, with the path of names
 * ("kafka.topics.plan") and the struct that the row's offset is within.
 * FIELD_TABLE rows themselves are not visited.                              */
typedef void field_visit(void *self, const char *path, const struct field *field, void *within);
void field_walk(const struct field_table *table, void *into, field_visit *visit, void *self);

/* The table as a Markdown table: key, type, default, meaning. */
void field_print(const struct field_table *table, FILE *out);

/* Whether `name` may name a secret; what would be right stands in field_secret_right. */
bool field_is_secret_name(const char *name);
extern const char field_secret_right[];

/* The word of `words` nearest to `text`, or NULL when none is near enough to be
 * meant.  `words` holds `count` entries.                                    */
const char *field_nearest(const char *text, const char *const *words, size_t count);

#endif
