/*
 * anthropic_answers.h -- answers in the dialect "Anthropic messages", as events.
 */
#ifndef PAWL_TESTS_UNIT_ANTHROPIC_ANSWERS_H
#define PAWL_TESTS_UNIT_ANTHROPIC_ANSWERS_H

#include "planner/model_anthropic.h"
#include "tests/unit/cut_answers.h"

#include <string.h>

#define SSE_TYPE "text/event-stream; charset=utf-8"
#define JSON_TYPE "application/json"

#define TOLD(type, rest) "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"
#define BEGIN                                                                             \
    TOLD("message_start", ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":" \
                          "\"assistant\",\"content\":[],\"stop_reason\":null,\"usage\":{" \
                          "\"input_tokens\":12,\"cache_creation_input_tokens\":5,"        \
                          "\"cache_read_input_tokens\":30,\"output_tokens\":1}}")
#define START(index, block) \
    TOLD("content_block_start", ",\"index\":" #index ",\"content_block\":{" block "}")
#define PIECE(index, type, rest) \
    TOLD("content_block_delta", ",\"index\":" #index ",\"delta\":{\"type\":\"" type "\"," rest "}")
#define STOP(index) TOLD("content_block_stop", ",\"index\":" #index)
#define TEXT(index) START(index, "\"type\":\"text\",\"text\":\"\"")
#define SAY(index, words) PIECE(index, "text_delta", "\"text\":\"" words "\"")
#define CALL(index, id, name) \
    START(index, "\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"" name "\",\"input\":{}")
#define ARG(index, words) PIECE(index, "input_json_delta", "\"partial_json\":\"" words "\"")
#define THOUGHT(index) START(index, "\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"")
#define THINK(index, words) PIECE(index, "thinking_delta", "\"thinking\":\"" words "\"")
#define SIGN(index, words) PIECE(index, "signature_delta", "\"signature\":\"" words "\"")
#define REASON(reason)                                                                          \
    TOLD("message_delta", ",\"delta\":{\"stop_reason\":\"" reason "\",\"stop_sequence\":null}," \
                          "\"usage\":{\"output_tokens\":40}")
#define END(reason) REASON(reason) TOLD("message_stop", "")
#define PING TOLD("ping", "")

/* The replies to these bytes, whatever their cuts. */
static inline struct model_reply *anthropic_stream(const char *text)
{
    return cut_read_all(&anthropic, SSE_TYPE, text, strlen(text), true);
}

static inline struct model_reply *anthropic_object(const char *text)
{
    return cut_read_all(&anthropic, JSON_TYPE, text, strlen(text), true);
}

#endif
