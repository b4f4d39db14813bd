#include "planner/model_openai_request.h"

#include "common/memory.h"
#include "planner/json_text.h"

#include <stdlib.h>
#include <string.h>

size_t openai_headers(const char *secret, struct arena *arena,
                      struct http_header out[MODEL_HEADERS_MAX])
{
    size_t n = 0;
    out[n++] = (struct http_header){ "Accept", "text/event-stream, application/json" };
    char *bearer = secret ? arena_printf(arena, "Bearer %s", secret) : NULL;
    if (bearer)
        out[n++] = (struct http_header){ "Authorization", bearer };
    return n;
}

bool openai_add_json(struct buf *body, const json_t *value)
{
    AUTO_FREE char *text = json_text(value);
    return buf_puts(body, text);
}

static void add_key(struct buf *body, const char *key)
{
    buf_putc(body, ',');
    buf_add_json_string(body, key, strlen(key));
    buf_putc(body, ':');
}

bool openai_add_member(struct buf *body, const char *key, const json_t *value)
{
    add_key(body, key);
    return openai_add_json(body, value);
}

bool openai_add_text(struct buf *body, const char *key, const char *text, size_t n)
{
    add_key(body, key);
    return buf_add_json_string(body, text, n);
}

bool openai_close(struct buf *body, const struct prompt_frame *frame, bool answer_only)
{
    buf_putc(body, ']');
    const json_t *choice = json_object_get(frame->model->options, "tool_choice");
    if (frame->tool_count > 0 && answer_only)
        buf_puts(body, ",\"tool_choice\":\"none\"");
    else if (frame->tool_count > 0 && choice && !json_is_null(choice))
        openai_add_member(body, "tool_choice", choice);
    return buf_putc(body, '}');
}
