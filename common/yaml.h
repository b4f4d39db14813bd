/*
 * yaml.h -- YAML text as a tree of nodes that know their line.
 *
 *     file or memory --> yaml_read --> struct yaml_file
 *                                        documents[] --> node --> node ...
 *
 * This is the only door to libyaml.  The tree keeps for each node where it
 * stands, so that whoever finds a mistake in a value, however late, can say
 * `FILE:LINE: what is wrong; what would be right`.
 *
 * What a scalar means follows the core schema of YAML 1.2 (its section 10.3):
 * null, true, false and numbers are such only when plain; `yes`, `no`, `on`
 * and `off` are strings.  Tags and merge keys (`<<`) are refused.  An anchor
 * may be used by aliases: the nodes are shared, not copied.
 *
 * Limits:  bytes, depth and nodes of a file (yaml_limits_default).  An alias
 *          counts with all the nodes that it stands for, so that a few lines
 *          cannot stand for a billion nodes.
 * Threads: a file belongs to one owner; once read it may be read by many.
 * Errors:  REFUSED with file and line for anything wrong in the text, and for
 *          a file that cannot be opened or read.
 */
#ifndef PAWL_COMMON_YAML_H
#define PAWL_COMMON_YAML_H

#include "common/arena.h"
#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum yaml_kind {
    YAML_SCALAR,
    YAML_SEQUENCE,
    YAML_MAPPING,
};

struct yaml_node {
    enum yaml_kind kind;
    bool plain;       /* a scalar without quotes, which may be a number or null */
    const char *file; /* as given to yaml_read, borrowed by nobody: lives with the tree */
    int line;         /* from 1 */
    int column;       /* from 1 */
    const char *text; /* scalars: the text, NUL-terminated; NULL for the others */
    size_t length;    /* of text; more than strlen(text) if it holds a NUL */
    size_t count;     /* items of a sequence, pairs of a mapping */
    const struct yaml_node **items; /* sequence: count items; mapping: count values */
    const struct yaml_node **keys;  /* mapping: count keys, all of them scalars */
    size_t nodes;                   /* in this tree, this one included, aliases counted in full */
    int height;                     /* 1 for a scalar and an empty collection */
};

struct yaml_file {
    const struct yaml_node **documents; /* empty documents are null scalars */
    size_t count;
    struct arena arena; /* owns all of the above */
};

struct yaml_limits {
    size_t bytes;
    int depth;
    size_t nodes;
};

extern const struct yaml_limits yaml_limits_default; /* 4 MiB, 64 levels, 100000 nodes */

/* Read all documents of a file ("-" is not special).  limits may be NULL for
 * the default.  On failure *file is empty and needs no release.             */
MUST_CHECK enum outcome yaml_read_path(struct yaml_file *file, const char *path,
                                       const struct yaml_limits *limits, struct error *err);

/* The same from memory; `name` stands for the file in messages. */
MUST_CHECK enum outcome yaml_read_text(struct yaml_file *file, const char *name, const char *text,
                                       size_t length, const struct yaml_limits *limits,
                                       struct error *err);

void yaml_release(struct yaml_file *file);

/* The value of a key, or NULL when the mapping has no such key (or node is not
 * a mapping).                                                               */
const struct yaml_node *yaml_get(const struct yaml_node *node, const char *key);

/* The key's own node, for messages about the key. */
const struct yaml_node *yaml_get_key(const struct yaml_node *node, const char *key);

/* A plain null, ~ or nothing at all. */
bool yaml_is_null(const struct yaml_node *node);

/* "a mapping", "a list", "the text 'abc'", "the number 12", "nothing": for messages. */
const char *yaml_describe(const struct yaml_node *node, char *out, size_t out_size);

/* fail(REFUSED) with "FILE:LINE: " in front.  Long file names lose their head. */
PRINTF(3, 4)
enum outcome yaml_fail(struct error *err, const struct yaml_node *node, const char *fmt, ...);

/* The node as JSON, plain scalars typed; *out is a new reference.  Refused are
 * integers that do not fit in 64 bits, infinities and not-a-numbers.        */
MUST_CHECK enum outcome yaml_to_json(const struct yaml_node *node, json_t **out, struct error *err);

#endif
