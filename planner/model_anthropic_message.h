/*
 * model_anthropic_message.h -- what stands in an answer of the dialect "Anthropic
 * messages": blocks, usage.
 *
 * These work on JSON that was read already, streamed or whole, and are pure.
 */
#ifndef PAWL_PLANNER_MODEL_ANTHROPIC_MESSAGE_H
#define PAWL_PLANNER_MODEL_ANTHROPIC_MESSAGE_H

#include "planner/model.h"

#include <jansson.h>

/* Does the API take this text?  It refuses blocks of nothing but white space. */
bool anthropic_is_blank(const char *text, size_t n);

/* Is it of the letters that names and ids of calls may have?  Not when it is empty. */
bool anthropic_is_name(const char *text);

/* `text` with a '_' for every byte that no name may have. */
void anthropic_name(char *out, size_t out_size, const char *text);

/* The text as an object; anything else is an empty one. */
json_t *anthropic_input(const char *text, size_t n);

/* The reply's raw when the model paused: the content between these. */
#define ANTHROPIC_PAUSED_HEAD "{\"content\":"
#define ANTHROPIC_PAUSED_TAIL ",\"paused\":true}"

/* Reads the items of a message's content, an array, into the reply.  The content gets
 * what it needs to be sent back.  A block's input may be the text of one, as it was
 * streamed.                                                                  */
void anthropic_message(json_t *content, const char *end_reason, const char *call_prefix,
                       struct model_reply *reply);

/* The provider counts input in three parts, which only grow. */
struct anthropic_usage {
    int64_t input, created, read; /* MODEL_NO_TOKENS: not said yet */
};
#define ANTHROPIC_USAGE_UNKNOWN \
    ((struct anthropic_usage){ MODEL_NO_TOKENS, MODEL_NO_TOKENS, MODEL_NO_TOKENS })

/* Takes over what this usage object knows; NULL says nothing. */
void anthropic_count(const json_t *usage, struct anthropic_usage *parts, struct model_usage *out);

#endif
