/*
 * model_openai_chat.h -- the dialect "OpenAI chat completions", which many servers
 * speak: POST <base_url>/chat/completions, streamed.
 *
 * How an answer is read follows its content type, not our wish: Server-Sent Events
 * or one JSON object.  What is tolerated, because servers do it: content null, ""
 * or missing; tool calls interleaved, with gaps in their index, without index, all
 * with index 0, all in one chunk, without id; usage on a chunk of its own, on the
 * last chunk, inside the choice or not at all; no [DONE]; fields and chunks that
 * nobody has heard of.  An error object may come after HTTP 200, inside the stream.
 *
 * A stream that ends without [DONE] and without a finish_reason was cut: RETRY.
 *
 * `options` of the model are merged into the body.  They may replace `stream` and
 * `stream_options` (null leaves them out, for servers that refuse them), but not
 * `model`, `messages` and `tools`.
 */
#ifndef PAWL_PLANNER_MODEL_OPENAI_CHAT_H
#define PAWL_PLANNER_MODEL_OPENAI_CHAT_H

#include "planner/model.h"

extern const struct dialect openai_chat;

#endif
