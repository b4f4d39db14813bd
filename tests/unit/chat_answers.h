/*
 * chat_answers.h -- answers of an OpenAI-compatible model, and how a test reads
 * them: whole, byte by byte, and cut in two at every place; the replies must be the
 * same.
 */
#ifndef PAWL_TESTS_UNIT_CHAT_ANSWERS_H
#define PAWL_TESTS_UNIT_CHAT_ANSWERS_H

#include "planner/model_error.h"
#include "planner/model_openai_chat.h"
#include "planner/reader.h"

#define EVENT(json) "data: " json "\n\n"
#define DELTA(json) EVENT("{\"choices\":[{\"index\":0,\"delta\":" json "}]}")
#define END(reason) \
    EVENT("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]}")
#define DONE "data: [DONE]\n\n"
#define CALL(index, id, name, arguments)                            \
    DELTA("{\"tool_calls\":[{\"index\":" #index ",\"id\":\"" id     \
          "\",\"type\":\"function\",\"function\":{\"name\":\"" name \
          "\",\"arguments\":\"" arguments "\"}}]}")
#define MORE(index, arguments)                                                              \
    DELTA("{\"tool_calls\":[{\"index\":" #index ",\"function\":{\"arguments\":\"" arguments \
          "\"}}]}")

#define SSE_TYPE "text/event-stream; charset=utf-8"
#define JSON_TYPE "application/json"

/* The reply to these bytes, whatever their cuts. */
struct model_reply *read_answer(const char *type, const char *text, bool whole);
struct model_reply *read_stream(const char *text); /* as SSE_TYPE, to its end */

void assert_call(const struct model_reply *r, size_t at, const char *id, const char *tool,
                 const char *arguments);
void assert_text(const struct model_reply *r, size_t at, const char *text);

#endif
