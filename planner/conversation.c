#include "planner/conversation.h"

#include <string.h>

/* Room for one element more in an array of the arena: what it outgrows stays there
 * until the task ends, which doubling keeps below the size of the array.     */
static void *grown(struct arena *arena, void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return array;
    size_t more = *room ? 2 * *room : 8;
    void *bigger = arena_alloc_array(arena, more, size);
    if (!bigger)
        return NULL;
    if (count > 0)
        memcpy(bigger, array, count * size);
    *room = more;
    return bigger;
}

static struct conversation_step *step_of(struct conversation *c, int step)
{
    if (c->step_count > 0 && c->steps[c->step_count - 1].step == step)
        return &c->steps[c->step_count - 1];
    struct conversation_step *steps =
        grown(c->arena, c->steps, c->step_count, &c->step_room, sizeof *steps);
    if (!steps)
        return NULL;
    c->steps = steps;
    struct conversation_step *s = &c->steps[c->step_count++];
    *s = (struct conversation_step){ .step = step };
    return s;
}

static struct conversation_call *call_of(struct conversation *c, struct conversation_step *s,
                                         int index)
{
    for (size_t i = 0; i < s->call_count; i++)
        if (s->calls[i].index == index)
            return &s->calls[i];
    struct conversation_call *calls =
        grown(c->arena, s->calls, s->call_count, &s->call_room, sizeof *calls);
    if (!calls)
        return NULL;
    s->calls = calls;
    struct conversation_call *call = &s->calls[s->call_count++];
    *call = (struct conversation_call){ .index = index };
    return call;
}

/* A copy in the arena; NULL stays NULL.  False when there is no room. */
static bool keep(struct conversation *c, const char **out, const char *text)
{
    *out = text ? arena_strdup(c->arena, text) : NULL;
    return *out || !text;
}

static bool keep_n(struct conversation *c, const char **out, size_t *out_n, const char *text,
                   size_t n)
{
    *out = text ? arena_memdup(c->arena, text, n) : NULL;
    *out_n = text ? n : 0;
    return *out || !text;
}

/* Calls whose arguments were too large to be kept are said without them. */
static bool keep_said(struct conversation *c, struct conversation_step *s,
                      const struct store_row *row)
{
    struct reply_item *said = grown(c->arena, s->said, s->said_count, &s->said_room, sizeof *said);
    if (!said)
        return false;
    s->said = said;
    struct reply_item *item = &s->said[s->said_count++];
    *item =
        (struct reply_item){ .type = row->type == STORE_FUNCTION_CALL ? REPLY_CALL : REPLY_TEXT };
    if (item->type == REPLY_TEXT)
        return keep(c, &item->content, row->content ? row->content : "");
    return keep(c, &item->call_id, row->call_id ? row->call_id : "") &&
           keep(c, &item->tool, row->tool ? row->tool : "") &&
           keep_n(c, &item->arguments, &item->arguments_n, row->arguments ? row->arguments : "{}",
                  row->arguments ? strlen(row->arguments) : 2);
}

static bool read_item(struct conversation *c, const struct store_row *row)
{
    struct conversation_step *s = step_of(c, row->step);
    if (!s)
        return false;
    if (row->raw && (!keep_n(c, &s->raw, &s->raw_n, row->raw, row->raw_n) ||
                     !keep(c, &s->dialect, row->dialect)))
        return false;
    if (row->type != STORE_REASONING && !keep_said(c, s, row))
        return false;
    if (row->type != STORE_FUNCTION_CALL)
        return true;
    struct conversation_call *call = call_of(c, s, row->index);
    return call && keep(c, &call->call_id, row->call_id) && keep(c, &call->tool, row->tool) &&
           keep(c, &call->refused, row->refused);
}

static bool read_result(struct conversation *c, const struct store_row *row)
{
    struct conversation_step *s = step_of(c, row->step);
    struct conversation_call *call = s ? call_of(c, s, row->index) : NULL;
    if (call)
        call->hidden = row->hidden;
    return call && (call->call_id || keep(c, &call->call_id, row->call_id)) &&
           (call->refused || keep(c, &call->refused, row->refused)) &&
           keep(c, &call->status, row->status) && keep(c, &call->error_code, row->error_code) &&
           keep_n(c, &call->text, &call->text_n, row->content, row->content_n);
}

static bool read_message(struct conversation *c, const struct store_row *row)
{
    struct conversation_step *s = step_of(c, row->step);
    struct conversation_message *messages =
        s ? grown(c->arena, s->messages, s->message_count, &s->message_room, sizeof *messages)
          : NULL;
    if (!messages)
        return false;
    s->messages = messages;
    struct conversation_message *message = &s->messages[s->message_count++];
    return keep_n(c, &message->text, &message->text_n, row->content, row->content_n);
}

enum outcome conversation_read(struct conversation *c, struct arena *arena,
                               const struct store_row *rows, size_t count, struct error *err)
{
    *c = (struct conversation){ .arena = arena };
    for (size_t i = 0; i < count; i++) {
        bool fits = true;
        switch (rows[i].kind) {
        case STORE_ROW_CONTEXT:
            fits = keep_n(c, &c->context, &c->context_n, rows[i].content, rows[i].content_n);
            break;
        case STORE_ROW_INPUT:
            fits = keep_n(c, &c->input, &c->input_n, rows[i].content, rows[i].content_n);
            break;
        case STORE_ROW_ITEM: fits = read_item(c, &rows[i]); break;
        case STORE_ROW_SAID: fits = read_message(c, &rows[i]); break;
        case STORE_ROW_RESULT: fits = read_result(c, &rows[i]); break;
        }
        if (!fits)
            return fail(err, REFUSED, "the conversation is larger than %zu bytes",
                        arena->limit_bytes);
    }
    return OK;
}
