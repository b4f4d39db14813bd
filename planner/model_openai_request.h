/*
 * model_openai_request.h -- what the requests of the two OpenAI dialects share.
 *
 * Limits:  the buffer's, and the arena's.
 * Threads: pure.
 * Errors:  those of buf.h: false when the buffer is full.
 */
#ifndef PAWL_PLANNER_MODEL_OPENAI_REQUEST_H
#define PAWL_PLANNER_MODEL_OPENAI_REQUEST_H

#include "planner/model.h"

#include <jansson.h>

/* Headers, by model.h: the key as `Authorization: Bearer`. */
size_t openai_headers(const char *secret, struct arena *arena,
                      struct http_header out[MODEL_HEADERS_MAX]);

/* The value as JSON. */
bool openai_add_json(struct buf *body, const json_t *value);

/* ,"key":value */
bool openai_add_member(struct buf *body, const char *key, const json_t *value);

/* ,"key":"text" */
bool openai_add_text(struct buf *body, const char *key, const char *text, size_t n);

/* The end of a body behind its messages: tool_choice. */
bool openai_close(struct buf *body, const struct prompt_frame *frame, bool answer_only);

#endif
