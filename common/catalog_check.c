#include "common/catalog_table.h"
#include "common/text.h"

#include <string.h>
#include <strings.h>

enum { SHOWN_SIZE = 64, PARAMETERS_BYTES_MAX = 64 * 1024, OPTIONS_BYTES_MAX = 64 * 1024 };

/* The node of a key, or of the mapping when the key is not there: for its line. */
static const struct yaml_node *at(const struct yaml_node *mapping, const char *key)
{
    const struct yaml_node *node = yaml_get(mapping, key);
    return node ? node : mapping;
}

static const struct yaml_node *key_at(const struct yaml_node *mapping, const char *key)
{
    const struct yaml_node *node = yaml_get_key(mapping, key);
    return node ? node : mapping;
}

/* A part that must not be larger than the whole: refused when both were written,
 * cut down when it is only a default.                                       */
static enum outcome check_within(const struct yaml_node *node, const char *part, int64_t *part_ms,
                                 const char *whole, int64_t whole_ms, struct error *err)
{
    char part_shown[TEXT_NUMBER_SIZE], whole_shown[TEXT_NUMBER_SIZE];
    if (*part_ms <= whole_ms)
        return OK;
    if (!yaml_get(node, part)) {
        *part_ms = whole_ms;
        return OK;
    }
    text_format_duration(*part_ms, part_shown);
    text_format_duration(whole_ms, whole_shown);
    return yaml_fail(err, yaml_get(node, part),
                     "'%s' is %s, longer than '%s' with %s; make it shorter, or '%s' longer", part,
                     part_shown, whole, whole_shown, whole);
}

static enum outcome check_json_size(const json_t *value, const struct yaml_node *node,
                                    const char *name, size_t max, struct error *err)
{
    size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT);
    if (size <= max)
        return OK;
    return yaml_fail(err, node, "'%s' has %zu bytes as JSON; keep it within %zu", name, size, max);
}

/* --- headers ------------------------------------------------------------------------ */

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

/* What pawl or the HTTP library sets itself. */
static bool is_own_header(const char *name, const char *key_header)
{
    static const char *const own[] = {
        "Content-Type", "Content-Length", "Transfer-Encoding", "Connection",
        "Host",         "Expect",         "Upgrade",           "TE",
        "traceparent",  "tracestate"
    };
    return is_one_of(name, own, sizeof own / sizeof *own) || strncasecmp(name, "X-Pawl-", 7) == 0 ||
           (key_header && strcasecmp(name, key_header) == 0);
}

/* Headers that hold credentials by their meaning. Their text would be stored in
 * the database for everybody to read.                                       */
static bool is_credential(const char *name)
{
    static const char *const credentials[] = { "Authorization", "Proxy-Authorization",
                                               "Cookie",        "X-Api-Key",
                                               "Api-Key",       "X-Auth-Token" };
    return is_one_of(name, credentials, sizeof credentials / sizeof *credentials);
}

static bool is_header_name(const char *name)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                              "!#$%&'*+-.^_`|~"; /* RFC 9110, 5.6.2: token */
    return *name && name[strspn(name, set)] == '\0';
}

/* RFC 9110, 5.5, without the obsolete bytes above 127: visible ASCII, blank, tab. */
static bool is_header_value(const char *value)
{
    for (const char *c = value; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 127 || (*c & 0x80))
            return false;
    return true;
}

static enum outcome check_header(const struct field_pair *header, const struct yaml_node *key,
                                 const struct yaml_node *value, const char *key_header,
                                 struct error *err)
{
    char shown[SHOWN_SIZE];
    text_bounded(shown, sizeof shown, header->name, strlen(header->name));
    if (!is_header_name(header->name))
        return yaml_fail(err, key, "'%s' cannot name a header; write one such as X-Api-Key", shown);
    if (is_own_header(header->name, key_header))
        return yaml_fail(err, key, "header '%s' is set by pawl; remove it", shown);
    if (header->text && is_credential(header->name))
        return yaml_fail(err, value,
                         "header '%s' would be stored for everybody to read; write "
                         "{secret: NAME}, or {secret: NAME, prefix: \"Bearer \"}",
                         shown);
    if (!is_header_value(header->text ? header->text : header->prefix))
        return yaml_fail(err, value,
                         "header '%s' has a value that no header can have; write "
                         "visible ASCII on one line",
                         shown);
    return OK;
}

enum outcome catalog_check_headers(const struct field_pairs *headers, const struct yaml_node *node,
                                   const char *key_header, struct error *err)
{
    enum { HEADERS_MAX = 64 };
    if (headers->count > HEADERS_MAX)
        return yaml_fail(err, node, "%zu headers; write at most %d", headers->count, HEADERS_MAX);
    for (size_t i = 0; i < headers->count; i++) {
        const struct yaml_node *key = node->keys[i];
        enum outcome outcome =
            check_header(&headers->items[i], key, node->items[i], key_header, err);
        if (outcome != OK)
            return outcome;
        for (size_t j = 0; j < i; j++)
            if (strcasecmp(headers->items[i].name, headers->items[j].name) == 0)
                return yaml_fail(err, key,
                                 "header '%s' stands here again, first on line %d; "
                                 "remove one",
                                 headers->items[i].name, node->keys[j]->line);
    }
    return OK;
}

/* --- models --------------------------------------------------------------------------- */

static enum outcome check_options(const struct model_def *def, const struct yaml_node *node,
                                  struct error *err)
{
    const json_t *options = def->options;
    static const char *const own[] = { "model", "messages",  "stream",        "stream_options",
                                       "tools", "functions", "function_call", "n" };
    char shown[SHOWN_SIZE];
    const struct yaml_node *options_node = at(node, "options");
    if (!json_is_object(options))
        return yaml_fail(err, options_node,
                         "'options' is %s; write a mapping, like {temperature: "
                         "0.2}",
                         yaml_describe(options_node, shown, sizeof shown));
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (json_object_get(options, own[i]))
            return yaml_fail(err, key_at(options_node, own[i]),
                             "option '%s' is set by pawl; remove it", own[i]);
    if (def->dialect == MODEL_ANTHROPIC && json_object_get(options, "system"))
        return yaml_fail(err, key_at(options_node, "system"),
                         "option 'system' is set by pawl; write 'instructions' in the agent");
    return check_json_size(options, options_node, "options", OPTIONS_BYTES_MAX, err);
}

/* Adapters add paths with a slash in front. The text is the arena's, and ours alone so far. */
static void drop_last_slashes(const char *url)
{
    char *end = (char *)(uintptr_t)url + strlen(url);
    while (end > url && end[-1] == '/')
        *--end = '\0';
}

enum outcome catalog_check_model(struct model_def *def, const struct yaml_node *node,
                                 struct error *err)
{
    drop_last_slashes(def->base_url);
    if (def->price.input_micros >= 0 && def->price.cached_input_micros < 0)
        def->price.cached_input_micros = def->price.input_micros;
    const struct {
        const char *name;
        int64_t *ms;
    } parts[] = {
        { "connect_timeout", &def->connect_timeout_ms },
        { "first_event_timeout", &def->first_event_timeout_ms },
        { "silence_timeout", &def->silence_timeout_ms },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        enum outcome outcome =
            check_within(node, parts[i].name, parts[i].ms, "timeout", def->timeout_ms, err);
        if (outcome != OK)
            return outcome;
    }
    if (def->context_window > 0 && def->max_output_tokens >= def->context_window)
        return yaml_fail(err, at(node, "max_output_tokens"),
                         "'max_output_tokens' is not less than 'context_window', which has to hold "
                         "the prompt, too; write the limits of the model as its provider gives "
                         "them");
    return check_options(def, node, err);
}

/* --- tools ------------------------------------------------------------------------------ */

static enum outcome check_repeatable(const struct tool_def *def, const struct yaml_node *node,
                                     struct error *err)
{
    static const char *const useless[] = { "on_unknown", "probe", "ask_timeout" };
    const char *why = def->read_only ? "read_only" : "idempotent";
    if (!tool_is_repeatable(def))
        return OK;
    for (size_t i = 0; i < sizeof useless / sizeof *useless; i++)
        if (yaml_get(node, useless[i]))
            return yaml_fail(err, yaml_get_key(node, useless[i]),
                             "'%s' has no use with '%s: true', since the tool is simply called "
                             "again; remove one of the two",
                             useless[i], why);
    return OK;
}

static enum outcome check_probe(const struct tool_def *def, const struct yaml_node *node,
                                struct error *err)
{
    bool probed = def->on_unknown == TOOL_PROBE;
    if (probed && !def->probe_url)
        return yaml_fail(err, at(node, "on_unknown"),
                         "'on_unknown: probe' needs to know where to ask; add `probe: {url: "
                         "\"http://host/path/{key}\"}`");
    if (!probed && def->probe_url)
        return yaml_fail(err, key_at(node, "probe"),
                         "'probe' is asked only with 'on_unknown: probe'; add that, or remove "
                         "'probe'");
    if (probed && def->key_mode == TOOL_KEY_NONE)
        return yaml_fail(err, at(node, "idempotency_key"),
                         "'probe' asks by a key that 'idempotency_key: none' never sends; write "
                         "quoted or bare");
    if (!probed)
        return OK;
    const struct yaml_node *headers = yaml_get(yaml_get(node, "probe"), "headers");
    return headers ? catalog_check_headers(&def->probe_headers, headers, NULL, err) : OK;
}

static enum outcome check_key(const struct tool_def *def, const struct yaml_node *node,
                              struct error *err)
{
    if (def->key_mode == TOOL_KEY_NONE && yaml_get(node, "key_header"))
        return yaml_fail(err, yaml_get_key(node, "key_header"),
                         "'key_header' has no use with 'idempotency_key: none'; remove one of the "
                         "two");
    if (is_own_header(def->key_header, NULL) || is_credential(def->key_header))
        return yaml_fail(err, at(node, "key_header"),
                         "'key_header' is '%.40s', which has another meaning; write a header such "
                         "as Idempotency-Key",
                         def->key_header);
    return OK;
}

static enum outcome check_parameters(const struct tool_def *def, const struct yaml_node *node,
                                     struct error *err)
{
    const struct yaml_node *schema = yaml_get(node, "parameters");
    if (!schema)
        return OK;
    enum outcome outcome =
        check_json_size(def->parameters, schema, "parameters", PARAMETERS_BYTES_MAX, err);
    return outcome == OK ? catalog_check_schema(def->parameters, schema, err) : outcome;
}

/* RFC 9110, 9.2: GET is safe, so others may send it again without asking. */
static enum outcome check_method(const struct tool_def *def, const struct yaml_node *node,
                                 struct error *err)
{
    if (def->method != TOOL_GET || tool_is_repeatable(def))
        return OK;
    return yaml_fail(err, at(yaml_get(node, "http"), "method"),
                     "'method: GET' may be repeated by any proxy on the way; add `read_only: true` "
                     "to the tool, or write POST");
}

enum outcome catalog_check_tool(struct tool_def *def, const struct yaml_node *node,
                                struct error *err)
{
    const struct yaml_node *headers = yaml_get(yaml_get(node, "http"), "headers");
    enum outcome outcome = check_repeatable(def, node, err);
    if (outcome == OK)
        outcome = check_method(def, node, err);
    if (outcome == OK)
        outcome = check_key(def, node, err);
    if (outcome == OK)
        outcome = check_probe(def, node, err);
    if (outcome == OK && headers)
        outcome = catalog_check_headers(
            &def->headers, headers, def->key_mode == TOOL_KEY_NONE ? NULL : def->key_header, err);
    if (outcome == OK)
        outcome = check_within(node, "connect_timeout", &def->connect_timeout_ms, "timeout",
                               def->timeout_ms, err);
    if (outcome == OK)
        outcome = check_parameters(def, node, err);
    return outcome;
}

/* --- agents ------------------------------------------------------------------------------- */

static enum outcome check_fallback(const struct agent_source *source, const struct yaml_node *node,
                                   struct error *err)
{
    const struct yaml_node *fallback = yaml_get(node, "fallback");
    const struct yaml_node *list = fallback ? yaml_get(fallback, "models") : NULL;
    if (fallback && source->fallback_models.count == 0)
        return yaml_fail(err, fallback,
                         "'fallback' names no models; add `models: [NAME]`, or remove it");
    for (size_t i = 0; list && i < list->count; i++)
        if (strcmp(list->items[i]->text, source->model) == 0)
            return yaml_fail(err, list->items[i],
                             "'fallback' names '%.63s', which is the agent's own model; remove it",
                             source->model);
    return OK;
}

enum outcome catalog_check_agent(struct agent_source *source, const struct yaml_node *node,
                                 struct error *err)
{
    enum outcome outcome = check_fallback(source, node, err);
    if (outcome != OK)
        return outcome;
    struct agent_def *def = &source->def;
    const struct yaml_node *limits = yaml_get(node, "limits");
    if (def->limit_parallel_calls <= def->limit_calls_per_step)
        return OK;
    if (yaml_get(limits, "parallel_calls"))
        return yaml_fail(err, yaml_get(limits, "parallel_calls"),
                         "'parallel_calls' is %d, but one step has at most %d calls "
                         "('calls_per_step'); write a number up to that",
                         def->limit_parallel_calls, def->limit_calls_per_step);
    def->limit_parallel_calls = def->limit_calls_per_step;
    return OK;
}
