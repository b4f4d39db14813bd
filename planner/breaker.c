#include "planner/breaker.h"

#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

struct breaker {
    char *base_url;
    char *key;       /* name of the secret, "" when there is none */
    int failures;    /* in a row */
    int64_t open_ms; /* how long it is open; 0: closed */
    int64_t until_ms;
    bool trying; /* a call was let through, and is not back */
    struct metric_series *is_open;
};

static struct metric breaker_open = {
    .kind = METRIC_GAUGE,
    .name = "pawl_model_breaker_open",
    .help =
        "1 while a provider that does not answer is left alone, by base URL and name of the key.",
    .labels = { "provider", "key" },
};
static struct metric breaker_opened_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_model_breaker_opened_total",
    .help = "How often a provider was left alone because it did not answer.",
    .labels = { "provider", "key" },
};

void breakers_init(struct breakers *b)
{
    *b = (struct breakers){ .list = xcalloc(BREAKERS_MAX, sizeof *b->list) };
    metrics_register(&breaker_open);
    metrics_register(&breaker_opened_total);
}

void breakers_release(struct breakers *b)
{
    for (size_t i = 0; i < b->count; i++) {
        free(b->list[i].base_url);
        free(b->list[i].key);
    }
    free(b->list);
    *b = (struct breakers){ 0 };
}

static const char *key_of(const struct model_def *model)
{
    return model->api_key_secret ? model->api_key_secret : "";
}

static struct breaker *find(const struct breakers *b, const struct model_def *model)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->list[i].base_url, model->base_url) == 0 &&
            strcmp(b->list[i].key, key_of(model)) == 0)
            return &b->list[i];
    return NULL;
}

/* NULL when there are too many. */
static struct breaker *find_or_add(struct breakers *b, const struct model_def *model)
{
    struct breaker *found = find(b, model);
    if (found || b->count == BREAKERS_MAX)
        return found;
    found = &b->list[b->count++];
    *found = (struct breaker){
        .base_url = xstrdup(model->base_url),
        .key = xstrdup(key_of(model)),
        .is_open = metric_with(&breaker_open, model->base_url, key_of(model)),
    };
    return found;
}

int64_t breaker_wait_ms(struct breakers *b, const struct model_def *model, int64_t now_ms)
{
    struct breaker *it = find(b, model);
    if (!it || it->open_ms == 0)
        return 0;
    if (it->until_ms > now_ms)
        return it->until_ms - now_ms;
    it->trying = true;
    it->until_ms = now_ms + it->open_ms; /* should it never be heard of again, another tries */
    return 0;
}

static bool is_providers_fault(const struct model_reply *reply)
{
    static const char *const faults[] = { "unreachable",    "timeout",    "connection_lost",
                                          "provider_error", "overloaded", "answer_cut",
                                          "bad_answer",     NULL };
    return reply->outcome == RETRY && text_is_one_of(reply->code, faults);
}

static void leave_alone(struct breaker *it, int64_t now_ms)
{
    bool was_open = it->open_ms > 0;
    it->open_ms = was_open ? 2 * it->open_ms : BREAKER_FIRST_MS;
    if (it->open_ms > BREAKER_MAX_MS)
        it->open_ms = BREAKER_MAX_MS;
    it->until_ms = now_ms + it->open_ms;
    it->trying = false;
    metric_set(it->is_open, 1);
    metric_add(metric_with(&breaker_opened_total, it->base_url, it->key), 1);
    if (!was_open)
        log_event(LOG_WARN, "provider left alone", LOG_STR("provider", it->base_url),
                  LOG_STR("key", it->key), LOG_INT("failures", it->failures), LOG_END);
}

void breaker_note(struct breakers *b, const struct model_def *model,
                  const struct model_reply *reply, int64_t now_ms)
{
    bool fault = is_providers_fault(reply);
    struct breaker *it = fault ? find_or_add(b, model) : find(b, model);
    if (!it)
        return;
    if (!fault) {
        if (it->open_ms > 0)
            log_event(LOG_INFO, "provider answers again", LOG_STR("provider", it->base_url),
                      LOG_STR("key", it->key), LOG_END);
        it->failures = 0;
        it->open_ms = 0;
        it->trying = false;
        metric_set(it->is_open, 0);
        return;
    }
    it->failures++;
    /* Calls that began before it opened tell nothing new. */
    if (it->open_ms == 0 ? it->failures >= BREAKER_FAILURES : it->trying)
        leave_alone(it, now_ms);
}
