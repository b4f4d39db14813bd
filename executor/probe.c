#include "executor/probe.h"

#include "common/json.h"
#include "executor/result.h"

#include <stdlib.h>
#include <string.h>

enum { PROBE_DEPTH_MAX = 64 };

#define KEY_MARK "{key}"

const char *probe_url(const struct tool_def *def, const struct uuid *key, struct arena *arena)
{
    char text[UUID_TEXT_SIZE]; /* digits and dashes: nothing to percent-encode */
    uuid_format(key, text);

    size_t marks = 0;
    for (const char *at = def->probe_url; (at = strstr(at, KEY_MARK)); at += sizeof KEY_MARK - 1)
        marks++;
    char *url = arena_alloc(arena, strlen(def->probe_url) + marks * UUID_TEXT_SIZE + 1);
    if (!url)
        return NULL;
    char *out = url;
    const char *from = def->probe_url;
    for (const char *at; (at = strstr(from, KEY_MARK)); from = at + sizeof KEY_MARK - 1) {
        memcpy(out, from, (size_t)(at - from));
        out += at - from;
        memcpy(out, text, UUID_TEXT_SIZE - 1);
        out += UUID_TEXT_SIZE - 1;
    }
    memcpy(out, from, strlen(from) + 1);
    return url;
}

static bool begins_as_object(const struct http_result *r)
{
    for (size_t at = 0; at < r->body_bytes; at++) {
        if (r->body[at] == '{')
            return true;
        if (r->body[at] == '\0' || !strchr(" \t\r\n", r->body[at]))
            return false;
    }
    return false;
}

static void say_happened(struct verdict *v, const struct verdict_case *c)
{
    v->answer.outcome = STORE_PROBE_HAPPENED;
    verdict_body(v, c, c->def->max_result_bytes, false);
}

/* The member `result` of the probe's object as text: a string as it is, another
 * value as JSON.  Without it the model reads that it happened, and no more.  */
static void say_happened_with(struct verdict *v, const struct verdict_case *c, const json_t *value)
{
    char *made = NULL;
    struct result_source source = {
        .total_bytes = -1,
        .max_bytes = c->def->max_result_bytes,
        .scrub = c->scrub,
    };
    if (json_is_string(value)) {
        source.bytes = json_string_value(value);
        source.count = json_string_length(value);
    } else {
        made = value ? json_canonical(value) : NULL;
        source.bytes = made ? made : "{\"happened\":true}";
        source.count = strlen(source.bytes);
    }
    size_t length = 0;
    const char *text = result_text(&source, &v->text, &length);
    if (text == source.bytes) { /* it ends with the JSON value, before the answer is read */
        v->text.limit_bytes = length;
        (void)buf_add(&v->text, text, length);
    }
    free(made);
    v->answer.outcome = STORE_PROBE_HAPPENED;
    v->answer.result = v->text.data;
    v->answer.result_bytes = v->text.len;
}

static void judge_object(struct verdict *v, const struct verdict_case *c)
{
    const struct http_result *r = c->result;
    struct json_limits limits = { .bytes = r->body_bytes, .depth = PROBE_DEPTH_MAX };
    json_t *object = NULL;
    struct error why;
    if (r->end != HTTP_ANSWERED ||
        json_read(r->body, r->body_bytes, &limits, &object, &why) != OK) {
        verdict_error(v, STORE_PROBE_UNSURE, "probe_unreadable",
                      "the probe answered with a JSON object that cannot be read");
        return;
    }
    const json_t *happened = json_object_get(object, "happened");
    if (json_is_true(happened))
        say_happened_with(v, c, json_object_get(object, "result"));
    else if (json_is_false(happened))
        verdict_error(v, STORE_PROBE_DID_NOT_HAPPEN, "did_not_happen",
                      "the probe says that the call did not happen");
    else if (happened)
        verdict_error(v, STORE_PROBE_UNSURE, "probe_unsure",
                      "the probe cannot say whether the call happened");
    else
        say_happened(v, c);
    json_decref(object);
}

void probe_verdict(struct verdict *v, const struct verdict_case *c)
{
    const struct http_result *r = c->result;
    struct tool_answer *answer = verdict_begin(v, c);
    if (!r->maybe_sent || !verdict_is_answered(r)) {
        verdict_error(v, STORE_PROBE_FAILED, "probe_failed", "the probe gave no answer: %s",
                      r->error.text);
        answer->retry_ms = verdict_wait_ms(c);
    } else if (verdict_is_passing(r->status)) {
        verdict_error(v, STORE_PROBE_FAILED, "probe_failed",
                      "the probe answered with HTTP status %ld", r->status);
        answer->retry_ms = verdict_wait_ms(c);
    } else if (r->status == 404) {
        verdict_error(v, STORE_PROBE_DID_NOT_HAPPEN, "did_not_happen",
                      "the probe does not know the call (404)");
    } else if (r->status != 200) {
        verdict_error(v, STORE_PROBE_UNSURE, "probe_unsure",
                      "the probe answered with HTTP status %ld", r->status);
    } else if (begins_as_object(r)) {
        judge_object(v, c);
    } else {
        say_happened(v, c);
    }
}
