#include "planner/reader.h"

#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"
#include "planner/model_error.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum outcome reader_fail(struct reader *r, enum outcome outcome, const char *code)
{
    r->outcome = outcome;
    r->code = code;
    return outcome;
}

enum outcome reader_fail_with(struct reader *r, const json_t *answer)
{
    struct model_reply *reply = model_reply_new(0);
    model_error(0, answer, r->options.secret, reply);
    r->error = reply->error;
    enum outcome outcome = reader_fail(r, reply->outcome, reply->code);
    model_reply_free(reply);
    return outcome;
}

void reader_end(struct reader *r, const char *reason)
{
    if (reason && *reason)
        text_bounded(r->end_reason, sizeof r->end_reason, reason, strlen(reason));
}

void reader_tell(struct reader *r, enum reply_item_type type, int index, const char *bytes,
                 size_t n)
{
    const struct reader_listener *to = &r->options.listener;
    while (to->hear && n > 0) {
        const char *nul = memchr(bytes, '\0', n);
        size_t before = nul ? (size_t)(nul - bytes) : n;
        if (before > 0)
            to->hear(to->arg, type, index, bytes, before);
        if (!nul)
            return;
        to->hear(to->arg, type, index, "\xef\xbf\xbd", 3); /* as model_text() */
        bytes += before + 1;
        n -= before + 1;
    }
}

/* Shows how it began; a parser's own words could quote the secret in pieces. */
static enum outcome bad_answer(struct reader *r, const char *what, const char *bytes, size_t n)
{
    char words[120];
    (void)fail(&r->error, RETRY, "%s: %s", what,
               model_words(words, sizeof words, bytes, n, r->options.secret));
    return reader_fail(r, RETRY, "bad_answer");
}

static enum outcome on_event(void *arg, const struct sse_event *ev, struct error *err)
{
    struct reader *r = arg;
    if (r->done)
        return OK;
    if (strcmp(ev->data, "[DONE]") == 0) {
        r->done = true;
        return OK;
    }
    const struct json_limits limits = { SIZE_MAX, READER_DEPTH_MAX };
    json_t *data;
    if (json_read(ev->data, ev->data_bytes, &limits, &data, err) != OK)
        return bad_answer(r, "the model's stream holds what is not JSON", ev->data, ev->data_bytes);
    enum outcome outcome = r->dialect->read_event(r, data);
    json_decref(data);
    return outcome;
}

struct reader *reader_new(const struct dialect *dialect, const struct reader_options *options,
                          const char *content_type)
{
    struct reader *r = xcalloc(1, sizeof *r);
    r->dialect = dialect;
    r->options = *options;
    r->outcome = OK;
    r->usage = MODEL_USAGE_UNKNOWN;
    size_t event_bytes = options->output_limit_bytes + READER_EVENT_ROOM_BYTES;
    sse_init(&r->sse, event_bytes, on_event, r);
    buf_init(&r->body, event_bytes);
    r->parts = dialect->parts_new(event_bytes);
    if (strncasecmp(content_type, "text/event-stream", 17) == 0)
        r->form = READER_FORM_STREAM;
    else if (strncasecmp(content_type, "application/json", 16) == 0)
        r->form = READER_FORM_WHOLE;
    return r;
}

void reader_expect_echo(struct reader *r, size_t request_bytes)
{
    if (!r->dialect->echoes)
        return;
    size_t event_bytes = r->body.limit_bytes + READER_ECHO_FACTOR * request_bytes;
    sse_release(&r->sse);
    sse_init(&r->sse, event_bytes, on_event, r);
    buf_init(&r->body, event_bytes);
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    sse_release(&r->sse);
    buf_release(&r->body);
    r->dialect->parts_free(r->parts);
    free(r);
}

/* Servers that say neither: one JSON object begins with a brace, a stream never.
 * Returns how many bytes of space stand in front of it.                      */
static size_t find_form(struct reader *r, const char *bytes, size_t n)
{
    size_t space = 0;
    while (space < n && bytes[space] && strchr(" \t\r\n", bytes[space]))
        space++;
    if (space < n)
        r->form = bytes[space] == '{' ? READER_FORM_WHOLE : READER_FORM_STREAM;
    return space;
}

enum outcome reader_feed(struct reader *r, const char *bytes, size_t n)
{
    if (r->outcome != OK || r->done)
        return r->outcome;
    if (r->form == READER_FORM_UNKNOWN) {
        size_t space = find_form(r, bytes, n);
        bytes += space;
        n -= space;
    }
    if (r->form == READER_FORM_WHOLE) {
        if (buf_add(&r->body, bytes, n))
            return OK;
        (void)fail(&r->error, RETRY, "the model's answer is larger than max_output_bytes (%zu)",
                   r->options.output_limit_bytes);
        return reader_fail(r, RETRY, "answer_too_large");
    }
    struct error err;
    if (sse_feed(&r->sse, bytes, n, &err) != OK && r->outcome == OK) {
        r->error = err; /* one event beyond every limit */
        return reader_fail(r, RETRY, "answer_too_large");
    }
    return r->outcome;
}

bool reader_complete(const struct reader *r)
{
    return r->done;
}

/* The message of an answer that came as one object, or NULL. */
static json_t *whole_message(struct reader *r)
{
    const struct json_limits limits = { SIZE_MAX, READER_DEPTH_MAX };
    json_t *answer, *message = NULL;
    if (json_read(r->body.data, r->body.len, &limits, &answer, NULL) != OK) {
        (void)bad_answer(r, "the model's answer is not JSON", r->body.data, r->body.len);
        return NULL;
    }
    if (model_says_error(answer))
        (void)reader_fail_with(r, answer);
    else
        message = r->dialect->whole_message(r, answer);
    json_decref(answer);
    return message;
}

/* An answer that came as one object was not told while it came. */
static void tell_all(struct reader *r, const struct model_reply *reply)
{
    if (r->form != READER_FORM_WHOLE || reply->outcome != OK)
        return;
    for (size_t i = 0; i < reply->item_count; i++)
        if (reply->items[i].type != REPLY_CALL)
            reader_tell(r, reply->items[i].type, (int)i, reply->items[i].content,
                        strlen(reply->items[i].content));
}

void reader_finish(struct reader *r, bool whole, struct model_reply *reply)
{
    json_t *message = NULL;
    if (r->outcome == OK && r->form == READER_FORM_WHOLE && whole)
        message = whole_message(r);
    else if (r->outcome == OK && r->has_message && (r->done || *r->end_reason))
        message = r->dialect->streamed_message(r);

    reply->usage = r->usage;
    if (r->outcome != OK)
        (void)model_reply_fail(reply, r->outcome, r->code, "%s", r->error.text);
    else if (message)
        r->dialect->read_message(message, r->end_reason, r->options.call_prefix, reply);
    else if (r->done || (whole && r->form != READER_FORM_STREAM))
        (void)model_reply_fail(reply, RETRY, "bad_answer", "the model's answer holds no message");
    else
        (void)model_reply_fail(reply, RETRY, "answer_cut",
                               "the model's answer was cut off before its end");
    json_decref(message);
    tell_all(r, reply);
}
