/*
 * reply.h -- puts a reply together, item by item; for dialects.
 *
 * What the provider wrote is copied into the reply's arena as text that Postgres
 * can keep.  Every call gets an id of its own, so that its result finds it: a
 * missing one, or one that another call of this reply has, is replaced.
 *
 * Errors:  false: the arena is full.
 * Threads: pure.
 */
#ifndef PAWL_PLANNER_REPLY_H
#define PAWL_PLANNER_REPLY_H

#include "planner/model.h"

#include <jansson.h>

/* Room for so many items. */
bool reply_begin(struct model_reply *reply, size_t item_room);

/* REPLY_TEXT or REPLY_REASONING. */
bool reply_add_said(struct model_reply *reply, enum reply_item_type type, const char *text,
                    size_t n);

/* The id that the next call of this reply has: `given`, or "<prefix>_<n>".  NULL
 * when the arena is full.                                                    */
const char *reply_own_id(const struct json_t *given, const char *prefix, struct model_reply *reply);

/* `call_id` is from reply_own_id; `arguments` a string with JSON in it, or an object. */
bool reply_add_call(struct model_reply *reply, const char *call_id, const json_t *name,
                    const json_t *arguments);

/* The end of a message that was read: keeps `message` as raw and why it ended; a
 * full arena (`fits` false, or now) makes the reply a failure.               */
void reply_close(struct model_reply *reply, const json_t *message, enum reply_end end,
                 const char *end_reason, bool fits);

#endif
