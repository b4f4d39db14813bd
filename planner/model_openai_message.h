/*
 * model_openai_message.h -- what stands in an answer of the dialect "OpenAI chat
 * completions": the assistant's message, usage.
 *
 * These work on JSON that was read already, streamed or whole, and are pure.
 */
#ifndef PAWL_PLANNER_MODEL_OPENAI_MESSAGE_H
#define PAWL_PLANNER_MODEL_OPENAI_MESSAGE_H

#include "planner/model.h"

#include <jansson.h>

/* Reads the items of a message into the reply.  The message gets what it needs to
 * be sent back and servers left out: role, ids of calls (also where two are the
 * same), types of calls.  `end_reason` is the provider's word, or "".        */
void openai_message(json_t *message, const char *end_reason, const char *call_prefix,
                    struct model_reply *reply);

/* The reasoning of a message, or of a piece of one: under which of its names it stands
 * depends on the server.  NULL: none.                                        */
const char *openai_reasoning(const json_t *message, size_t *n);

/* Takes over what this usage object knows; NULL says nothing. */
void openai_usage(const json_t *usage, struct model_usage *out);

#endif
