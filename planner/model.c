#include "planner/model.h"

#include "common/memory.h"
#include "common/text.h"
#include "planner/model_anthropic.h"
#include "planner/model_openai_chat.h"
#include "planner/model_openai_responses.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { BACKOFF_FIRST_MS = 500, BACKOFF_MAX_MS = 20000, WORDS_READ_BYTES = 4096 };

const struct dialect *dialect_of(enum model_dialect dialect)
{
    switch (dialect) {
    case MODEL_OPENAI_CHAT: return &openai_chat;
    case MODEL_OPENAI_RESPONSES: return &openai_responses;
    case MODEL_ANTHROPIC: return &anthropic;
    }
    return NULL;
}

struct model_reply *model_reply_new(size_t limit_bytes)
{
    struct model_reply *r = xcalloc(1, sizeof *r);
    arena_init(&r->arena, limit_bytes);
    r->retry_after_ms = -1;
    r->usage = MODEL_USAGE_UNKNOWN;
    return r;
}

void model_reply_free(struct model_reply *r)
{
    if (!r)
        return;
    arena_free(&r->arena);
    free(r);
}

enum outcome model_reply_fail(struct model_reply *r, enum outcome outcome, const char *code,
                              const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(r->error.text, sizeof r->error.text, format, args);
    va_end(args);
    r->outcome = outcome;
    r->code = code;
    return outcome;
}

enum outcome model_status_outcome(long status)
{
    return status == 408 || status == 409 || status == 425 || status == 429 || status >= 500
               ? RETRY
               : REFUSED;
}

const char *model_status_code(long status)
{
    switch (status) {
    case 400:
    case 422: return "bad_request";
    case 401: return "unauthorized";
    case 402: return "payment_required";
    case 403: return "forbidden";
    case 404: return "not_found";
    case 408: return "timeout";
    case 413: return "prompt_too_large";
    case 429: return "rate_limited";
    case 503:
    case 529: return "overloaded";
    default: break;
    }
    return status >= 500 ? "provider_error" : status >= 400 ? "request_refused" : "bad_answer";
}

const char *model_words(char *out, size_t out_size, const char *text, size_t n, const char *secret)
{
    static const char mask[] = "***";
    char shown[WORDS_READ_BYTES];
    size_t secret_n = secret ? strlen(secret) : 0, at = 0;
    for (size_t from = 0; from < n && at + sizeof mask < sizeof shown;) {
        if (secret_n > 0 && n - from >= secret_n && memcmp(text + from, secret, secret_n) == 0) {
            memcpy(shown + at, mask, sizeof mask - 1);
            at += sizeof mask - 1;
            from += secret_n;
        } else {
            shown[at++] = text[from++];
        }
    }
    return text_bounded(out, out_size, shown, at);
}

void prompt_turn_text(const struct prompt_turn *turn, struct buf *out)
{
    for (size_t i = 0; i < turn->item_count; i++)
        if (turn->items[i].type == REPLY_TEXT && turn->items[i].content)
            buf_puts(out, turn->items[i].content);
}

char *model_text(struct arena *arena, const char *bytes, size_t n)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t nuls = 0;
    for (const char *p = bytes, *end = bytes + n; n > 0 && (p = memchr(p, 0, (size_t)(end - p)));
         p++)
        nuls++;
    if (nuls == 0)
        return arena_memdup(arena, bytes ? bytes : "", n);
    char *out = arena_alloc(arena, n + nuls * (sizeof replacement - 2) + 1);
    if (!out)
        return NULL;
    char *to = out;
    for (size_t i = 0; i < n; i++) {
        if (bytes[i]) {
            *to++ = bytes[i];
        } else {
            memcpy(to, replacement, sizeof replacement - 1);
            to += sizeof replacement - 1;
        }
    }
    return out;
}

int64_t model_backoff_ms(int failures, double dice)
{
    assert(dice >= 0 && dice < 1);
    int64_t wait = BACKOFF_FIRST_MS;
    for (int i = 1; i < failures && wait < BACKOFF_MAX_MS; i++)
        wait *= 2;
    if (wait > BACKOFF_MAX_MS)
        wait = BACKOFF_MAX_MS;
    return wait - (int64_t)((double)wait * 0.25 * dice);
}

/* At most what is left, which is what remains of the whole afterwards. */
static double part_of(int64_t *left, int64_t tokens, int64_t price, int64_t otherwise)
{
    int64_t part = tokens < 0 ? 0 : tokens < *left ? tokens : *left;
    *left -= part;
    return (double)part * (double)(price >= 0 ? price : otherwise);
}

int64_t model_cost_micros(const struct model_price *price, const struct model_usage *usage)
{
    if (price->input_micros < 0 || price->output_micros < 0 || usage->tokens_in < 0 ||
        usage->tokens_out < 0)
        return -1;
    int64_t input = usage->tokens_in;
    double cost =
        part_of(&input, usage->tokens_cached, price->cached_input_micros, price->input_micros) +
        part_of(&input, usage->tokens_written, price->cache_write_micros, price->input_micros);
    cost += (double)input * (double)price->input_micros +
            (double)usage->tokens_out * (double)price->output_micros;
    cost /= 1e6;
    return cost < (double)MODEL_COST_MAX_MICROS ? (int64_t)llround(cost) : MODEL_COST_MAX_MICROS;
}
