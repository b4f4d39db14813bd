#include "planner/reply.h"

#include "common/memory.h"
#include "planner/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool reply_begin(struct model_reply *reply, size_t item_room)
{
    reply->items = arena_alloc_array(&reply->arena, item_room, sizeof *reply->items);
    return reply->items != NULL;
}

bool reply_add_said(struct model_reply *reply, enum reply_item_type type, const char *text,
                    size_t n)
{
    struct reply_item item = { .type = type, .content = model_text(&reply->arena, text, n) };
    reply->items[reply->item_count++] = item;
    return item.content != NULL;
}

static bool id_is_taken(const struct model_reply *reply, const char *id)
{
    for (size_t i = 0; i < reply->item_count; i++)
        if (reply->items[i].type == REPLY_CALL && strcmp(reply->items[i].call_id, id) == 0)
            return true;
    return false;
}

const char *reply_own_id(const json_t *given, const char *prefix, struct model_reply *reply)
{
    const char *id = json_string_value(given);
    if (id && *id && strlen(id) == json_string_length(given) && !id_is_taken(reply, id))
        return arena_strdup(&reply->arena, id);
    char made[96];
    (void)snprintf(made, sizeof made, "%.64s_%zu", prefix, reply->call_count);
    for (size_t n = 0; id_is_taken(reply, made); n++)
        (void)snprintf(made, sizeof made, "%.64s_%zu_%zu", prefix, reply->call_count, n);
    return arena_strdup(&reply->arena, made);
}

bool reply_add_call(struct model_reply *reply, const char *call_id, const json_t *name,
                    const json_t *arguments)
{
    struct arena *arena = &reply->arena;
    AUTO_FREE char *dumped = json_is_object(arguments) ? json_text(arguments) : NULL;
    const char *text = dumped                      ? dumped
                       : json_is_string(arguments) ? json_string_value(arguments)
                                                   : "";
    size_t n = dumped ? strlen(dumped) : json_string_length(arguments);
    const char *tool = json_is_string(name) ? json_string_value(name) : "";
    struct reply_item item = {
        .type = REPLY_CALL,
        .call_id = call_id,
        .tool = model_text(arena, tool, json_string_length(name)),
        .arguments = model_text(arena, text, n),
        .altered = memchr(text, 0, n) != NULL,
    };
    if (!call_id || !item.tool || !item.arguments)
        return false;
    item.arguments_n = strlen(item.arguments);
    reply->items[reply->item_count++] = item;
    reply->call_count++;
    return true;
}

void reply_close(struct model_reply *reply, const json_t *message, enum reply_end end,
                 const char *end_reason, bool fits)
{
    AUTO_FREE char *raw = json_text(message);
    reply->raw_n = strlen(raw);
    reply->raw = arena_memdup(&reply->arena, raw, reply->raw_n);
    reply->end = end;
    reply->end_reason = arena_strdup(&reply->arena, end_reason);
    reply->outcome = OK;
    if (!reply->raw || !reply->end_reason || !fits)
        (void)model_reply_fail(reply, RETRY, "answer_too_large", "no room for the model's answer");
}
