#include "executor/verdict.h"

#include "executor/result.h"

#include <stdarg.h>
#include <string.h>

enum { BACKOFF_FIRST_MS = 500, BACKOFF_MAX_MS = 60000 };

void verdict_init(struct verdict *v)
{
    memset(v, 0, sizeof *v);
    buf_init(&v->text, 0);
}

void verdict_release(struct verdict *v)
{
    buf_release(&v->text);
}

int64_t verdict_backoff_ms(int attempt, unsigned jitter)
{
    int64_t wait_ms = BACKOFF_FIRST_MS;
    for (int i = 1; i < attempt && wait_ms < BACKOFF_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > BACKOFF_MAX_MS)
        wait_ms = BACKOFF_MAX_MS;
    return wait_ms + wait_ms * (int64_t)(jitter % 1000) / 5000;
}

int64_t verdict_wait_ms(const struct verdict_case *c)
{
    int64_t wait_ms = verdict_backoff_ms(c->attempt, c->jitter);
    return c->result->retry_after_ms > wait_ms ? c->result->retry_after_ms : wait_ms;
}

bool verdict_is_passing(long status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

bool verdict_is_answered(const struct http_result *r)
{
    return r->end == HTTP_ANSWERED ||
           (r->end == HTTP_TOO_LARGE && r->status > 0 && r->body_bytes > 0);
}

struct tool_answer *verdict_begin(struct verdict *v, const struct verdict_case *c)
{
    v->code[0] = '\0';
    v->error.text[0] = '\0';
    buf_reset(&v->text);
    v->answer = (struct tool_answer){
        .retry_ms = TOOL_NO_RETRY,
        .maybe_sent = c->result->maybe_sent,
        .took_ms = c->result->took_ms,
    };
    return &v->answer;
}

void verdict_error(struct verdict *v, enum store_call_outcome outcome, const char *code,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(v->error.text, sizeof v->error.text, format, args);
    va_end(args);
    (void)snprintf(v->code, sizeof v->code, "%s", code);
    v->answer.outcome = outcome;
    v->answer.code = v->code;
    v->answer.error = v->error.text;
}

void verdict_body(struct verdict *v, const struct verdict_case *c, size_t max_bytes, bool titled)
{
    const struct http_result *r = c->result;
    struct result_source source = {
        .bytes = r->body,
        .count = r->body_bytes,
        .more = r->end == HTTP_TOO_LARGE,
        .total_bytes = c->announced_bytes,
        .max_bytes = max_bytes,
        .title = titled ? v->error.text : NULL,
        .scrub = c->scrub,
    };
    v->answer.result = result_text(&source, &v->text, &v->answer.result_bytes);
}

static void judge_status(struct verdict *v, const struct verdict_case *c)
{
    const struct tool_def *def = c->def;
    long status = c->result->status;
    char code[VERDICT_CODE_SIZE];
    (void)snprintf(code, sizeof code, "http_%ld", status);

    if (status == 409 && !tool_is_repeatable(def) && def->key_mode != TOOL_KEY_NONE) {
        verdict_error(v, STORE_CALL_UNKNOWN, code,
                      "the tool answered 409: a request with this idempotency key is running");
        return;
    }
    verdict_error(v, STORE_CALL_FAILED, code, "the tool answered with HTTP status %ld", status);
    if (tool_is_repeatable(def) && (verdict_is_passing(status) || status == 409))
        v->answer.retry_ms = verdict_wait_ms(c);
    if (c->result->body_bytes > 0) {
        size_t most = VERDICT_ERROR_BODY_BYTES;
        verdict_body(v, c, def->max_result_bytes < most ? def->max_result_bytes : most, true);
    }
}

static void judge_not_sent(struct verdict *v, const struct verdict_case *c)
{
    bool hopeless = c->result->hopeless;
    const char *code = c->result->forbidden ? "forbidden_address"
                       : hopeless           ? "bad_request"
                                            : "not_reached";
    verdict_error(v, STORE_CALL_FAILED_BEFORE_EFFECT, code, "the tool was not reached: %s",
                  c->result->error.text);
    if (!hopeless)
        v->answer.retry_ms = verdict_wait_ms(c);
}

static void judge_cut(struct verdict *v, const struct verdict_case *c)
{
    const char *code = c->result->forbidden               ? "forbidden_address"
                       : c->result->end == HTTP_TIMED_OUT ? "timeout"
                                                          : "cut";
    if (c->def->read_only)
        verdict_error(v, STORE_CALL_FAILED, code, "the tool gave no whole answer: %s",
                      c->result->error.text);
    else
        verdict_error(v, STORE_CALL_UNKNOWN, code,
                      "the tool may have run, but gave no whole answer: %s", c->result->error.text);
    if (tool_is_repeatable(c->def) && !c->result->forbidden)
        v->answer.retry_ms = verdict_wait_ms(c);
}

void verdict_of_call(struct verdict *v, const struct verdict_case *c)
{
    const struct http_result *r = c->result;
    struct tool_answer *answer = verdict_begin(v, c);
    if (!r->maybe_sent) {
        judge_not_sent(v, c);
    } else if (!verdict_is_answered(r)) {
        judge_cut(v, c);
    } else if (r->status >= 200 && r->status <= 299) {
        answer->outcome = STORE_CALL_SUCCEEDED;
        verdict_body(v, c, c->def->max_result_bytes, false);
    } else {
        judge_status(v, c);
    }
}
