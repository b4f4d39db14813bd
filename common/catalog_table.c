#include "common/catalog_table.h"

#include "common/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

enum {
    NAME_BYTES_MAX = 63,
    TOOL_NAME_BYTES_MAX = 64,
    TOOLS_MAX = 128, /* what OpenAI takes in one request */
    INSTRUCTIONS_BYTES_MAX = 256 * 1024,
    DESCRIPTION_BYTES_MAX = 16 * 1024,
    URL_BYTES_MAX = 2048,
};
#define SECOND_MS INT64_C(1000)
#define DAY_MS (INT64_C(86400) * SECOND_MS)

/* --- checks: NULL, or what would be right --------------------------------------------------- */

static bool holds_only(const char *text, const char *set)
{
    return *text && text[strspn(text, set)] == '\0';
}

/* OpenAI's rule for function names: ^[a-zA-Z0-9_-]{1,64}$ */
const char *catalog_check_name(enum catalog_kind kind, const char *name)
{
    if (kind == CATALOG_TOOL) {
        if (strlen(name) <= TOOL_NAME_BYTES_MAX && holds_only(name, LETTERS DIGITS "_-"))
            return NULL;
        return "letters, digits, '_' and '-', at most 64";
    }
    if (strlen(name) <= NAME_BYTES_MAX && holds_only(name, LOWER DIGITS "._-") &&
        isalnum((unsigned char)*name))
        return NULL;
    return "lower case letters, digits, '.', '_' and '-', at most 63, beginning with a letter or "
           "digit";
}

/* The length of "host", "host:port", "[address]:port" at the beginning; 0: none is there. */
static size_t authority_length(const char *text)
{
    size_t host = *text == '[' ? strspn(text + 1, DIGITS "abcdefABCDEF:.") + 2
                               : strspn(text, LETTERS DIGITS "._-");
    if (host == 0 || (*text == '[' && text[host - 1] != ']'))
        return 0;
    if (text[host] != ':')
        return host;
    size_t port = strspn(text + host + 1, DIGITS);
    long number = port <= 5 ? strtol(text + host + 1, NULL, 10) : 0;
    return number >= 1 && number <= 65535 ? host + 1 + port : 0;
}

/* http(s)://host, then a path or query, in visible ASCII without '#', '<' and the like. */
static bool is_url(const char *text, const char **rest)
{
    size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                    : strncmp(text, "https://", 8) == 0 ? 8
                                                        : 0;
    if (!scheme)
        return false;
    size_t authority = authority_length(text + scheme);
    *rest = text + scheme + authority;
    if (!authority || (**rest && !strchr("/?", **rest)))
        return false;
    for (const char *c = *rest; *c; c++)
        if (*c <= ' ' || *c >= 127 || strchr("\"<>\\^`|#", *c))
            return false;
    return true;
}

static const char *check_base_url(const char *text)
{
    const char *rest = NULL;
    if (is_url(text, &rest) && !strpbrk(rest, "?{}"))
        return NULL;
    return "a URL such as https://api.openai.com/v1, without user name and '?'";
}

static const char *check_tool_url(const char *text)
{
    const char *rest = NULL;
    if (is_url(text, &rest) && !strpbrk(rest, "{}"))
        return NULL;
    return "a URL such as http://127.0.0.1:8082/invoices, without user name and {key}";
}

static const char *check_probe_url(const char *text)
{
    const char *rest = NULL;
    static const char right[] =
        "a URL with {key} in it, such as http://127.0.0.1:8082/by-key/{key}";
    if (!is_url(text, &rest))
        return right;
    size_t keys = 0;
    for (const char *brace = strpbrk(rest, "{}"); brace; brace = strpbrk(brace + 1, "{}")) {
        if (strncmp(brace, "{key}", 5) != 0)
            return right;
        brace += 4;
        keys++;
    }
    return keys ? NULL : right;
}

static const char *check_header_name(const char *text)
{
    return holds_only(text, LETTERS DIGITS "!#$%&'*+-.^_`|~")
               ? NULL
               : "the name of a header, such as Idempotency-Key";
}

static const char *check_provider_model(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ')
            return "the provider's name of a model, without spaces";
    return NULL;
}

/* --- models ---------------------------------------------------------------------------------- */

#define MODEL(member) .offset = offsetof(struct model_def, member)

static const char *const dialect_words[] = { "openai_chat", "openai_responses", "anthropic", NULL };
_Static_assert(MODEL_OPENAI_CHAT == 0 && MODEL_OPENAI_RESPONSES == 1 && MODEL_ANTHROPIC == 2,
               "dialect_words are in the order of enum model_dialect");

static const struct field model_rows[] = {
    { .name = "dialect",
      .type = FIELD_ENUM,
      MODEL(dialect),
      .otherwise = "openai_chat",
      .words = dialect_words,
      .help = "The protocol that the provider speaks: `POST <base_url>/chat/completions`, "
              "`POST <base_url>/responses` or `POST <base_url>/messages` (whose own `base_url` is "
              "https://api.anthropic.com/v1)." },
    { .name = "base_url",
      .type = FIELD_STRING,
      MODEL(base_url),
      .required = true,
      .min = 1,
      .max = URL_BYTES_MAX,
      .check = check_base_url,
      .help = "Where the provider is; the dialect's path is added.",
      .example = "https://api.openai.com/v1" },
    { .name = "model",
      .type = FIELD_STRING,
      MODEL(model),
      .required = true,
      .min = 1,
      .max = 256,
      .check = check_provider_model,
      .help = "The provider's name of the model.",
      .example = "gpt-4o-mini" },
    { .name = "api_key",
      .type = FIELD_SECRET,
      MODEL(api_key_secret),
      .help = "Sent as `Authorization: Bearer`, or as `x-api-key` to `anthropic`. The secret "
              "itself stands in the environment of the "
              "planner; see `secrets` in the process file.",
      .example = "{secret: OPENAI_API_KEY}" },
    { .name = "connect_timeout",
      .type = FIELD_DURATION,
      MODEL(connect_timeout_ms),
      .otherwise = "5s",
      .min = 1,
      .max = 600 * SECOND_MS,
      .help = "Until the connection stands." },
    { .name = "first_event_timeout",
      .type = FIELD_DURATION,
      MODEL(first_event_timeout_ms),
      .otherwise = "2m",
      .min = 1,
      .max = DAY_MS,
      .help = "From the request to the first event of the stream." },
    { .name = "silence_timeout",
      .type = FIELD_DURATION,
      MODEL(silence_timeout_ms),
      .otherwise = "60s",
      .min = 1,
      .max = DAY_MS,
      .help = "Between two events of the stream." },
    { .name = "timeout",
      .type = FIELD_DURATION,
      MODEL(timeout_ms),
      .otherwise = "10m",
      .min = 1,
      .max = DAY_MS,
      .help = "For one whole model call." },
    { .name = "attempts",
      .type = FIELD_INT,
      MODEL(attempts),
      .otherwise = "5",
      .min = 1,
      .max = 100,
      .help = "Model calls that are tried for one step before the run fails." },
    { .name = "max_output_bytes",
      .type = FIELD_SIZE,
      MODEL(max_output_bytes),
      .otherwise = "4MiB",
      .min = 1024,
      .max = 64 << 20,
      .help = "An answer that is larger is cut off, and the call counts as failed." },
    { .name = "context_window",
      .type = FIELD_INT,
      MODEL(context_window),
      .otherwise = "0",
      .min = 0,
      .max = 100000000,
      .help = "Tokens that the model can read and write in one call. With it, runs that outgrow it "
              "go on: old results and then old steps are left out of the prompt. 0: all is shown, "
              "until the provider refuses it.",
      .example = "128000" },
    { .name = "max_output_tokens",
      .type = FIELD_INT,
      MODEL(max_output_tokens),
      .otherwise = "0",
      .min = 0,
      .max = 100000000,
      .help = "Tokens of `context_window` that are kept free for the answer; 0: an eighth of it. "
              "`anthropic` is always told a limit, as `max_tokens`: this one, or 8192 beside "
              "`thinking.budget_tokens` (at most that eighth), if the options do not say it.",
      .example = "16384" },
    { .name = "options",
      .type = FIELD_JSON,
      MODEL(options),
      .otherwise = "{}",
      .help = "Merged into the request as they are.",
      .example = "{temperature: 0.2}" },
    { .name = "limits",
      .type = FIELD_TABLE,
      MODEL(limits),
      .table = &catalog_limits_table,
      .help = "What the provider allows this key (`base_url` and `api_key`), over the whole fleet; "
              "models "
              "with the same key should say the same." },
    { .name = "price",
      .type = FIELD_TABLE,
      MODEL(price),
      .table = &catalog_price_table,
      .help = "Money per million tokens, in whatever currency you count; absent: cost is not "
              "counted." },
};
const struct field_table catalog_model_table = FIELD_TABLE_OF("a model", model_rows);

/* --- tools ------------------------------------------------------------------------------------ */

#define TOOL(member) .offset = offsetof(struct tool_def, member)

static const char *const method_words[] = { "POST", "PUT", "PATCH", "DELETE", "GET", NULL };
_Static_assert(TOOL_POST == 0 && TOOL_GET == 4, "method_words are in the order of the enum");
static const char *const on_unknown_words[] = { "tell_model", "probe", "ask", NULL };
_Static_assert(TOOL_TELL_MODEL == 0 && TOOL_ASK == 2, "on_unknown_words likewise");
static const char *const key_mode_words[] = { "quoted", "bare", "none", NULL };
_Static_assert(TOOL_KEY_QUOTED == 0 && TOOL_KEY_NONE == 2, "key_mode_words likewise");

static const struct field http_rows[] = {
    { .name = "method",
      .type = FIELD_ENUM,
      TOOL(method),
      .otherwise = "POST",
      .words = method_words,
      .help = "The arguments are the body of the request; with GET they become query parameters." },
    { .name = "url",
      .type = FIELD_STRING,
      TOOL(url),
      .required = true,
      .min = 1,
      .max = URL_BYTES_MAX,
      .check = check_tool_url,
      .help = "What is called.",
      .example = "http://127.0.0.1:8082/invoices" },
    { .name = "headers",
      .type = FIELD_PAIRS,
      TOOL(headers),
      .help = "Added to the request.",
      .example = "{X-Api-Key: {secret: INVOICE_KEY}}" },
};
static const struct field_table http_table = FIELD_TABLE_OF("'http'", http_rows);

static const struct field probe_rows[] = {
    { .name = "url",
      .type = FIELD_STRING,
      TOOL(probe_url),
      .required = true,
      .min = 1,
      .max = URL_BYTES_MAX,
      .check = check_probe_url,
      .help = "Asked with GET; `{key}` becomes the idempotency key of the call.",
      .example = "http://127.0.0.1:8082/invoices/by-key/{key}" },
    { .name = "headers",
      .type = FIELD_PAIRS,
      TOOL(probe_headers),
      .help = "Added to that request." },
    { .name = "timeout",
      .type = FIELD_DURATION,
      TOOL(probe_timeout_ms),
      .otherwise = "10s",
      .min = 1,
      .max = 3600 * SECOND_MS,
      .help = "For one probe." },
};
static const struct field_table probe_table = FIELD_TABLE_OF("'probe'", probe_rows);

static const struct field tool_rows[] = {
    { .name = "description",
      .type = FIELD_STRING,
      TOOL(description),
      .required = true,
      .min = 1,
      .max = DESCRIPTION_BYTES_MAX,
      .help = "What it does, for the model.",
      .example = "Sends one invoice." },
    { .name = "parameters",
      .type = FIELD_JSON,
      TOOL(parameters),
      .otherwise = "{\"type\": \"object\", \"properties\": {}}",
      .help = "A JSON Schema for the arguments, shown to the model.",
      .example = "{type: object, properties: {customer: {type: string}}, required: [customer]}" },
    { .name = "http",
      .type = FIELD_TABLE,
      .required = true,
      .table = &http_table,
      .help = "The request that a call makes.",
      .example = "{url: \"http://127.0.0.1:8082/invoices\"}" },
    { .name = "read_only",
      .type = FIELD_BOOL,
      TOOL(read_only),
      .otherwise = "false",
      .help = "It changes nothing: it is called again freely." },
    { .name = "idempotent",
      .type = FIELD_BOOL,
      TOOL(idempotent),
      .otherwise = "false",
      .help = "A second call with the same key has no second effect: it is called again with it." },
    { .name = "on_unknown",
      .type = FIELD_ENUM,
      TOOL(on_unknown),
      .otherwise = "tell_model",
      .words = on_unknown_words,
      .help = "For a tool that is neither: what to do when nobody knows whether a call happened." },
    { .name = "probe",
      .type = FIELD_TABLE,
      .table = &probe_table,
      .help = "For `on_unknown: probe`: where to ask whether a call happened.",
      .example = "{url: \"http://127.0.0.1:8082/invoices/by-key/{key}\"}" },
    { .name = "ask_timeout",
      .type = FIELD_DURATION,
      TOOL(ask_timeout_ms),
      .otherwise = "7d",
      .min = SECOND_MS,
      .max = 365 * DAY_MS,
      .help = "How long a question to a person waits; then the model is told that the outcome is "
              "unknown." },
    { .name = "timeout",
      .type = FIELD_DURATION,
      TOOL(timeout_ms),
      .otherwise = "30s",
      .min = 1,
      .max = DAY_MS,
      .help = "For one whole call." },
    { .name = "connect_timeout",
      .type = FIELD_DURATION,
      TOOL(connect_timeout_ms),
      .otherwise = "5s",
      .min = 1,
      .max = 600 * SECOND_MS,
      .help = "Until the connection stands." },
    { .name = "attempts",
      .type = FIELD_INT,
      TOOL(attempts),
      .otherwise = "3",
      .min = 1,
      .max = 100,
      .help =
          "How often a call is tried: after errors before its effect, and, if it is repeatable, "
          "after any passing error." },
    { .name = "idempotency_key",
      .type = FIELD_ENUM,
      TOOL(key_mode),
      .otherwise = "quoted",
      .words = key_mode_words,
      .help = "How the key is sent: as a quoted string, bare, or not at all." },
    { .name = "key_header",
      .type = FIELD_STRING,
      TOOL(key_header),
      .otherwise = "Idempotency-Key",
      .min = 1,
      .max = 128,
      .check = check_header_name,
      .help = "The header that carries the key." },
    { .name = "max_result_bytes",
      .type = FIELD_SIZE,
      TOOL(max_result_bytes),
      .otherwise = "256KiB",
      .min = 256,
      .max = 16 << 20,
      .help = "A larger result is cut, and the model is told so." },
};
const struct field_table catalog_tool_table = FIELD_TABLE_OF("a tool", tool_rows);

/* --- agents ----------------------------------------------------------------------------------- */

#define AGENT(member) .offset = offsetof(struct agent_def, member)

static const struct field limit_rows[] = {
    { .name = "steps",
      .type = FIELD_INT,
      AGENT(limit_steps),
      .otherwise = "64",
      .min = 1,
      .max = 100000,
      .help = "Steps of one run: model calls whose answer counts." },
    { .name = "calls_per_step",
      .type = FIELD_INT,
      AGENT(limit_calls_per_step),
      .otherwise = "16",
      .min = 1,
      .max = 1000,
      .help = "Tool calls that one step may ask for; those over it get an error result." },
    { .name = "parallel_calls",
      .type = FIELD_INT,
      AGENT(limit_parallel_calls),
      .otherwise = "16",
      .min = 1,
      .max = 1000,
      .help = "Tool calls of one run at a time." },
    { .name = "time",
      .type = FIELD_DURATION,
      AGENT(limit_time_ms),
      .otherwise = "1h",
      .min = SECOND_MS,
      .max = 365 * DAY_MS,
      .help = "From the acceptance of a run to its end." },
    { .name = "arguments_bytes",
      .type = FIELD_SIZE,
      AGENT(limit_arguments_bytes),
      .otherwise = "64KiB",
      .min = 64,
      .max = 4 << 20,
      .help = "Arguments of one call; larger ones get an error result." },
    { .name = "tokens",
      .type = FIELD_INT,
      AGENT(limit_tokens),
      .min = 1,
      .max = INT32_MAX,
      .help = "Tokens, in and out, that a run and all its descendants may use; then they are "
              "suspended, and `pawl run resume` lets them go on. Absent: no limit.",
      .example = "500000" },
    { .name = "cost",
      .type = FIELD_MONEY,
      AGENT(limit_cost_micros),
      .min = 1,
      .max = TEXT_MONEY_MAX_MICROS,
      .help = "The same in money, by the prices of the models; one without a price costs nothing. "
              "Absent: no limit.",
      .example = "2.5" },
};
static const struct field_table limit_table = FIELD_TABLE_OF("'limits'", limit_rows);

#define FALLBACK_ROWS                                                                    \
    { .name = "after",                                                                   \
      .type = FIELD_INT,                                                                 \
      AGENT(fallback_after),                                                             \
      .otherwise = "2",                                                                  \
      .min = 1,                                                                          \
      .max = 100,                                                                        \
      .help = "Failed calls of a model in one step before the next model is asked." },   \
    {                                                                                    \
        .name = "on", .type = FIELD_STRINGS, AGENT(fallback_on), .min = 0, .max = 32,    \
        .help = "Codes of failures after which the next model is asked at once, as in "  \
                "`pawl_model_calls_total`; absent: those about the key and the account " \
                "(quota_spent, unauthorized, payment_required, forbidden, not_found).",  \
        .example = "[quota_spent, overloaded]"                                           \
    }

static const struct field fallback_rows[] = {
    { .name = "models",
      .type = FIELD_STRINGS,
      .offset = offsetof(struct agent_source, fallback_models),
      .min = 0,
      .max = CATALOG_MODELS_MAX - 1,
      .help = "The names of the models that are asked when `model` fails, in their order.",
      .example = "[other_provider]" },
    FALLBACK_ROWS,
};
static const struct field_table fallback_table = FIELD_TABLE_OF("'fallback'", fallback_rows);
static const struct field fallback_body_rows[] = { FALLBACK_ROWS };
static const struct field_table fallback_body_table =
    FIELD_TABLE_OF("'fallback'", fallback_body_rows);

/* These three stand in the file and in the body alike. */
#define DESCRIPTION_ROW                                                            \
    {                                                                              \
        .name = "description", .type = FIELD_STRING, AGENT(description), .min = 1, \
        .max = DESCRIPTION_BYTES_MAX, .help = "What it is for, for people.",       \
        .example = "Bills customers."                                              \
    }
#define INSTRUCTIONS_ROW                                                                     \
    {                                                                                        \
        .name = "instructions", .type = FIELD_STRING, AGENT(instructions), .required = true, \
        .min = 1, .max = INSTRUCTIONS_BYTES_MAX,                                             \
        .help = "What the model reads before the conversation.",                             \
        .example = "You are a careful bookkeeper."                                           \
    }
#define LIMITS_ROW                                                                                 \
    {                                                                                              \
        .name = "limits", .type = FIELD_TABLE, .table = &limit_table, .help = "Bounds on one run." \
    }

static const struct field agent_rows[] = {
    DESCRIPTION_ROW,
    INSTRUCTIONS_ROW,
    { .name = "model",
      .type = FIELD_STRING,
      .required = true,
      .offset = offsetof(struct agent_source, model),
      .help = "The name of a model, in these files or published.",
      .example = "demo" },
    { .name = "tools",
      .type = FIELD_STRINGS,
      .offset = offsetof(struct agent_source, tools),
      .min = 0,
      .max = TOOLS_MAX,
      .help = "The names of the tools that it may use, in these files or published.",
      .example = "[lookup_customer, send_invoice]" },
    { .name = "fallback",
      .type = FIELD_TABLE,
      .table = &fallback_table,
      .help =
          "What is done when the model fails. Each step begins with the first model again whose "
          "provider seems to work." },
    LIMITS_ROW,
};
const struct field_table catalog_agent_table = FIELD_TABLE_OF("an agent", agent_rows);

static const struct field agent_body_rows[] = {
    DESCRIPTION_ROW,
    INSTRUCTIONS_ROW,
    { .name = "fallback", .type = FIELD_TABLE, .table = &fallback_body_table },
    LIMITS_ROW,
};
const struct field_table catalog_agent_body_table = FIELD_TABLE_OF("an agent", agent_body_rows);

/* --- a file ------------------------------------------------------------------------------------
 */

#define SECTION(kind) .offset = offsetof(struct catalog_sections, section[kind])

static const struct field file_rows[] = {
    { .name = "models",
      .type = FIELD_MAP,
      SECTION(CATALOG_MODEL),
      .table = &catalog_model_table,
      .help = "Models by name." },
    { .name = "tools",
      .type = FIELD_MAP,
      SECTION(CATALOG_TOOL),
      .table = &catalog_tool_table,
      .help = "Tools by name." },
    { .name = "agents",
      .type = FIELD_MAP,
      SECTION(CATALOG_AGENT),
      .table = &catalog_agent_table,
      .help = "Agents by name." },
};
const struct field_table catalog_file_table = FIELD_TABLE_OF("a file of definitions", file_rows);
