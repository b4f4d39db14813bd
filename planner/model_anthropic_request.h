/*
 * model_anthropic_request.h -- what is sent in the dialect "Anthropic messages"; the
 * functions of struct dialect.  How the text grows stands in model_anthropic.h.
 */
#ifndef PAWL_PLANNER_MODEL_ANTHROPIC_REQUEST_H
#define PAWL_PLANNER_MODEL_ANTHROPIC_REQUEST_H

#include "planner/model.h"

size_t anthropic_headers(const char *secret, struct arena *arena,
                         struct http_header out[MODEL_HEADERS_MAX]);
bool anthropic_begin(struct buf *body, const struct prompt_frame *frame);
bool anthropic_add_user(struct buf *body, const char *text, size_t n);
bool anthropic_add_turn(struct buf *body, const struct prompt_turn *turn);
bool anthropic_add_results(struct buf *body, const struct prompt_result *results, size_t count);
bool anthropic_is_open(const char *raw, size_t n);
bool anthropic_close(struct buf *body, const struct prompt_frame *frame, bool answer_only);

#endif
