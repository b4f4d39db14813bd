/*
 * delta.h -- puts a provider's message together from the pieces of a stream.
 *
 *     {"role":"assistant","content":"He"}  {"content":"llo"}  {"tool_calls":[{"index":0,...}]}
 *               |                                |                      |
 *               +--------------------------------+----------------------+--> one JSON object
 *
 * The message goes back to the provider as it was, so nothing of it may be lost,
 * also not what this version has never heard of (signatures of thoughts, for
 * example).  So the pieces are merged by shape, not by name:
 *
 *     text    is appended; but what names a thing (role, id, type, name, format)
 *             is set once, since some servers repeat it with every piece
 *     object  member by member
 *     array   objects with the same integer `index` are one element, as long as
 *             they do not carry different ids; anything else is a new element
 *     null    says nothing
 *     other   the last one stands
 *
 * Members of `tool_calls` may come without an index (then an id begins a new one
 * and a piece without id continues the last), interleaved and with gaps.  Written
 * out, they are in the order of their index, and without it.
 *
 * Limits:  `limit_bytes` bounds the memory: all text, plus a share for every node.
 *          DELTA_MEMBERS_MAX per object or array.  DELTA_LOOKS_MAX bounds the time: a
 *          member is looked for among its siblings, and pieces that only name what
 *          is there already cost no memory.  The depth is bounded by who
 *          reads the pieces (json_read).
 * Threads: one owner.
 * Errors:  REFUSED past a limit; the message is then of no use.
 */
#ifndef PAWL_PLANNER_DELTA_H
#define PAWL_PLANNER_DELTA_H

#include "common/buf.h"
#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { DELTA_MEMBERS_MAX = 1024, DELTA_NODE_COST_BYTES = 128, DELTA_LOOKS_MAX = 100000000 };

struct delta_node;

struct delta {
    struct delta_node *root; /* an object */
    size_t used_bytes;
    size_t limit_bytes;
    size_t looks; /* at members, in search of one */
};

void delta_init(struct delta *d, size_t limit_bytes);
void delta_release(struct delta *d);

/* Merges a piece; one that is not an object says nothing. */
MUST_CHECK enum outcome delta_merge(struct delta *d, const json_t *piece, struct error *err);

/* Appends the whole as JSON text; false when `out` is full. */
bool delta_write(const struct delta *d, struct buf *out);

#endif
