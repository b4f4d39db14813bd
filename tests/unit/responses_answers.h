/*
 * responses_answers.h -- answers in the dialect "OpenAI responses", as events.
 */
#ifndef PAWL_TESTS_UNIT_RESPONSES_ANSWERS_H
#define PAWL_TESTS_UNIT_RESPONSES_ANSWERS_H

#include "planner/model_openai_responses.h"
#include "tests/unit/cut_answers.h"

#define SSE_TYPE "text/event-stream; charset=utf-8"
#define JSON_TYPE "application/json"

/* An event, with what stands behind its type in its data. */
#define TOLD(type, rest) \
    "event: response." type "\ndata: {\"type\":\"response." type "\"" rest "}\n\n"
#define CREATED \
    TOLD("created", ",\"response\":{\"object\":\"response\",\"status\":\"in_progress\"}")
#define ADDED(index, item) \
    TOLD("output_item.added", ",\"output_index\":" #index ",\"item\":{" item "}")
#define ENDED(index, item) \
    TOLD("output_item.done", ",\"output_index\":" #index ",\"item\":{" item "}")
#define PIECE(type, index, at, text)                                                     \
    TOLD(type ".delta", ",\"output_index\":" #index ",\"item_id\":\"i" #index "\",\"" at \
                        "\":0,\"delta\":\"" text "\"")
#define SAY(index, text) PIECE("output_text", index, "content_index", text)
#define ARG(index, text) PIECE("function_call_arguments", index, "x", text)
#define THINK(index, text) PIECE("reasoning_summary_text", index, "summary_index", text)

#define MESSAGE(id, text)                                                                     \
    "\"type\":\"message\",\"id\":\"" id "\",\"role\":\"assistant\",\"status\":\"completed\"," \
    "\"content\":[{\"type\":\"output_text\",\"text\":\"" text "\",\"annotations\":[]}]"
#define CALL(id, call_id, name, arguments)                                                      \
    "\"type\":\"function_call\",\"id\":\"" id "\",\"call_id\":\"" call_id "\",\"name\":\"" name \
    "\",\"arguments\":\"" arguments "\",\"status\":\"completed\""

#define USAGE                                                                  \
    "\"usage\":{\"input_tokens\":12,\"output_tokens\":9,\"total_tokens\":21,"  \
    "\"input_tokens_details\":{\"cached_tokens\":8,\"cache_write_tokens\":2}," \
    "\"output_tokens_details\":{\"reasoning_tokens\":5}}"
#define RESPONSE(status, output) \
    "\"object\":\"response\",\"status\":\"" status "\",\"output\":[" output "]," USAGE
#define COMPLETED(output) TOLD("completed", ",\"response\":{" RESPONSE("completed", output) "}")

struct model_reply *responses_stream(const char *text); /* to its end, whatever its cuts */
struct model_reply *responses_object(const char *text);

void assert_said(const struct model_reply *r, size_t at, enum reply_item_type type,
                 const char *text);
void assert_called(const struct model_reply *r, size_t at, const char *id, const char *tool,
                   const char *arguments);
void assert_failed(struct model_reply *r, enum outcome outcome, const char *code); /* and frees */

#endif
