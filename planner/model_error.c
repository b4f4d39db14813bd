#include "planner/model_error.h"

#include "common/json.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

/* Money that is spent: nothing passes by waiting. */
static const char *const quota_words[] = { "insufficient_quota",
                                           "billing_hard_limit_reached",
                                           "billing_not_active",
                                           "enforced_spend_limit_reached",
                                           "contract_spend_limit_reached",
                                           "linked_organization_spend_limit_reached",
                                           NULL };
/* The prompt is too long: the words of OpenAI, of llama.cpp's server and of Anthropic. */
static const char *const length_words[] = { "context_length_exceeded", "exceed_context_size_error",
                                            "request_too_large", NULL };
static const char *const final_words[] = {
    "invalid_request_error", "authentication_error", "invalid_api_key",
    "permission_error",      "not_found_error",      "model_not_found",
    "content_filter",        "invalid_prompt",       NULL
};

/* Types that say what a status would have said. */
static const struct error_type {
    const char *type;
    enum outcome outcome;
    const char *code;
} error_types[] = {
    { "overloaded_error", RETRY, "overloaded" },
    { "rate_limit_error", RETRY, "rate_limited" },
    { "timeout_error", RETRY, "timeout" },
    { "billing_error", REFUSED, "payment_required" },
};

static const struct error_type *error_type_of(const char *type)
{
    for (size_t i = 0; type && i < sizeof error_types / sizeof *error_types; i++)
        if (strcmp(type, error_types[i].type) == 0)
            return &error_types[i];
    return NULL;
}

/* Inside an answer there is no status; some servers give it as `code`. */
static long status_of(const json_t *error)
{
    const json_t *code = json_object_get(error, "code");
    long status = 0;
    if (json_is_integer(code))
        status = (long)json_integer_value(code);
    else if (json_is_string(code) && json_string_length(code) == 3)
        status = strtol(json_string_value(code), NULL, 10);
    return status >= 400 && status <= 599 ? status : 0;
}

/* The object with the words: beside `type: error` some servers leave it out. */
static const json_t *error_of(const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    return json_is_object(error) || json_is_string(error) ? error : answer;
}

bool model_says_error(const json_t *answer)
{
    return error_of(answer) != answer || strcmp(json_str_or(answer, "type", ""), "error") == 0;
}

static void fail_without_status(struct model_reply *reply, const char *code, const char *type,
                                const char *words)
{
    bool final = text_is_one_of(code, final_words) || text_is_one_of(type, final_words);
    const struct error_type *known = error_type_of(type);
    enum outcome outcome = known ? known->outcome : final ? REFUSED : RETRY;
    const char *word = known ? known->code : final ? "request_refused" : "provider_error";
    (void)model_reply_fail(reply, outcome, word, "the provider ended its answer with an error: %s",
                           words);
}

void model_error(long status, const json_t *answer, const char *secret, struct model_reply *reply)
{
    const json_t *error = error_of(answer);
    const char *type = json_str(error, "type"), *code = json_str(error, "code");
    const char *detail = json_str(json_obj(error, "details"), "error_code");
    const char *text =
        json_is_string(error) ? json_string_value(error) : json_str(error, "message");
    if (!text)
        text = code ? code : type ? type : "no reason given";
    char words[160];
    model_words(words, sizeof words, text, strlen(text), secret);

    long known = status ? status : status_of(error);
    if (text_is_one_of(code, quota_words) || text_is_one_of(type, quota_words) ||
        text_is_one_of(detail, quota_words))
        (void)model_reply_fail(reply, REFUSED, "quota_spent", "the provider's quota is spent: %s",
                               words);
    else if (text_is_one_of(code, length_words) || text_is_one_of(type, length_words))
        (void)model_reply_fail(reply, REFUSED, "prompt_too_large", "the prompt is too long: %s",
                               words);
    else if (known)
        (void)model_reply_fail(reply, model_status_outcome(known), model_status_code(known),
                               "HTTP %ld: %s", known, words);
    else
        fail_without_status(reply, code, type, words);
}

void model_read_error(long status, const char *body, size_t n, const char *secret,
                      struct model_reply *reply)
{
    const struct json_limits limits = { SIZE_MAX, JSON_DEPTH_MAX };
    json_t *answer;
    if (json_read(body, n, &limits, &answer, NULL) == OK && model_says_error(answer)) {
        model_error(status, answer, secret, reply);
    } else {
        char words[160];
        (void)model_reply_fail(reply, model_status_outcome(status), model_status_code(status),
                               "HTTP %ld: %s", status,
                               model_words(words, sizeof words, body, n, secret));
    }
    json_decref(answer);
}
