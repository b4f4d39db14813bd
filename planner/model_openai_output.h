/*
 * model_openai_output.h -- what stands in the output of the dialect "OpenAI
 * responses": text and refusals of messages, thoughts, calls.
 *
 * Works on JSON that was read already, streamed or whole, and is pure.
 */
#ifndef PAWL_PLANNER_MODEL_OPENAI_OUTPUT_H
#define PAWL_PLANNER_MODEL_OPENAI_OUTPUT_H

#include "common/buf.h"
#include "planner/model.h"

#include <jansson.h>

/* Appends what a message or a thought says; false: it is neither, or says nothing. */
bool openai_item_says(const json_t *item, enum reply_item_type *type, struct buf *text);

/* Reads an array of output items into the reply.  Calls get what they need to be
 * sent back.  `end_reason`: "completed", why it is incomplete, or "".        */
void openai_output(json_t *output, const char *end_reason, const char *call_prefix,
                   struct model_reply *reply);

#endif
