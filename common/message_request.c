/*
 * message_request.c -- judging a record of the requests topic.
 *
 *     content-type application/cloudevents+json  --> structured  \
 *     any of ce_specversion, ce_id, ce_source,   --> binary       > envelope --> body --> digest
 *       ce_type                                                  /
 *     else                                       --> bare JSON  /
 *
 * The rule that tells the forms apart is the CloudEvents Kafka binding 1.0.2,
 * section 3; bare JSON is ours, for people with kcat.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/message.h"
#include "common/text.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

enum { REQUEST_BYTES_DEFAULT = 1 << 20, REQUEST_DEPTH_DEFAULT = 64 };

/* Longest accepted texts, in bytes.  They become keys and columns. */
enum {
    SOURCE_BYTES_MAX = 1024,
    ID_BYTES_MAX = 512,
    SUBJECT_BYTES_MAX = 1024,
    NAME_BYTES_MAX = 128, /* agent, tenant, class */
    TIME_BYTES_MAX = 64,
    CONTENT_TYPE_BYTES_MAX = 256,
    TRACEPARENT_BYTES_MAX = 256,
    TRACESTATE_BYTES_MAX = 512, /* W3C Trace Context, section 3.3.1.5 */
};

/* What one reading needs at every place. */
struct reading {
    const struct record_view *rec;
    struct request_limits limits;
    struct arena *arena;
    struct run_request *out;
    struct error *err;
};

static const char *const fault_codes[REQUEST_FAULTS] = {
    [REQUEST_FINE] = "fine",
    [REQUEST_NULL_VALUE] = "null_value",
    [REQUEST_TOO_LARGE] = "too_large",
    [REQUEST_NOT_UTF8] = "not_utf8",
    [REQUEST_BAD_JSON] = "bad_json",
    [REQUEST_TOO_DEEP] = "too_deep",
    [REQUEST_MISSING_FIELD] = "missing_field",
    [REQUEST_WRONG_TYPE] = "wrong_type",
    [REQUEST_BAD_VALUE] = "bad_value",
    [REQUEST_BAD_TYPE] = "bad_type",
};

const char *request_fault_code(enum request_fault fault)
{
    return fault < REQUEST_FAULTS ? fault_codes[fault] : "?";
}

PRINTF(3, 4)
static enum outcome refuse(struct reading *r, enum request_fault fault, const char *format, ...)
{
    r->out->fault = fault;
    if (r->err) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(r->err->text, sizeof r->err->text, format, args);
        va_end(args);
    }
    return REFUSED;
}

static enum outcome refuse_memory(struct reading *r)
{
    return refuse(r, REQUEST_TOO_LARGE, "the request needs more memory than one request may have");
}

static void release_json(void *value)
{
    json_decref(value);
}

/* ---- texts --------------------------------------------------------------- */

/* What must hold for every text that is stored: real UTF-8, no NUL (which
 * Postgres cannot keep), not empty, not too long.                           */
static enum outcome keep_text(struct reading *r, const char *field, const char *text, size_t n,
                              size_t bytes_max, const char **out)
{
    if (n == 0)
        return refuse(r, REQUEST_BAD_VALUE, "field '%s' is empty", field);
    if (n > bytes_max)
        return refuse(r, REQUEST_TOO_LARGE, "field '%s' has %zu bytes; at most %zu are allowed",
                      field, n, bytes_max);
    if (!text_is_utf8(text, n))
        return refuse(r, REQUEST_NOT_UTF8, "field '%s' is not UTF-8", field);
    if (text_has_nul(text, n))
        return refuse(r, REQUEST_BAD_VALUE, "field '%s' holds a NUL character", field);
    *out = arena_memdup(r->arena, text, n);
    return *out ? OK : refuse_memory(r);
}

/* A string member of a JSON object.  *out stays NULL when it is not there, or
 * null, and need not be.                                                    */
static enum outcome keep_member(struct reading *r, const json_t *object, const char *field,
                                bool needed, size_t bytes_max, const char **out)
{
    const json_t *value = json_object_get(object, field);
    if (!value || json_is_null(value))
        return needed ? refuse(r, REQUEST_MISSING_FIELD, "field '%s' is missing", field) : OK;
    if (!json_is_string(value))
        return refuse(r, REQUEST_WRONG_TYPE, "field '%s' must be a string", field);
    return keep_text(r, field, json_string_value(value), json_string_length(value), bytes_max, out);
}

static enum outcome keep_header(struct reading *r, const char *name, bool needed, size_t bytes_max,
                                const char **out)
{
    const struct record_header *header = record_header(r->rec, name);
    if (!header || !header->value)
        return needed ? refuse(r, REQUEST_MISSING_FIELD, "header '%s' is missing", name) : OK;
    return keep_text(r, name, header->value, header->value_n, bytes_max, out);
}

/* ---- trace context --------------------------------------------------------
 * A trace that cannot be followed is no reason to refuse work: what is not
 * well-formed is left out, as W3C Trace Context says (section 3.2.2.4).     */

static bool traceparent_is_fine(const char *s, size_t n)
{
    /* 2 digits of version, 32 of trace, 16 of parent, 2 of flags */
    static const char shape[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    size_t shape_n = sizeof shape - 1;
    if (n < shape_n || n > TRACEPARENT_BYTES_MAX || (n > shape_n && s[shape_n] != '-'))
        return false;
    for (size_t i = 0; i < shape_n; i++)
        if (shape[i] == '-' ? s[i] != '-' : !strchr("0123456789abcdef", s[i]) || !s[i])
            return false;
    return memcmp(s, "ff", 2) != 0;
}

static bool tracestate_is_fine(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    return n > 0 && n <= TRACESTATE_BYTES_MAX;
}

static const char *keep_trace(struct reading *r, const char *name, const json_t *event,
                              bool (*is_fine)(const char *, size_t))
{
    char ce_name[32];
    (void)snprintf(ce_name, sizeof ce_name, "ce_%s", name);
    const struct record_header *header = record_header(r->rec, name);
    if (!header || !header->value)
        header = record_header(r->rec, ce_name);
    if (header && header->value)
        return is_fine(header->value, header->value_n)
                   ? arena_memdup(r->arena, header->value, header->value_n)
                   : NULL;
    size_t n = 0;
    const char *member = json_strn(event, name, &n);
    return member && is_fine(member, n) ? arena_memdup(r->arena, member, n) : NULL;
}

/* ---- JSON ---------------------------------------------------------------- */

/* The deepest nesting of arrays and objects, without parsing. */
static int json_depth(const char *text, size_t n)
{
    int depth = 0, deepest = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            deepest = ++depth > deepest ? depth : deepest;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return deepest;
}

/* Reads JSON into the arena's care. */
static enum outcome parse(struct reading *r, const char *what, const char *text, size_t n,
                          json_t **out)
{
    struct json_limits limits = { r->limits.bytes, r->limits.depth };
    struct error why;
    if (!text_is_utf8(text, n))
        return refuse(r, REQUEST_NOT_UTF8, "%s is not UTF-8", what);
    if (json_depth(text, n) > limits.depth)
        return refuse(r, REQUEST_TOO_DEEP, "%s is nested deeper than %d levels", what,
                      limits.depth);
    if (json_read(text, n, &limits, out, &why) != OK)
        return refuse(r, REQUEST_BAD_JSON, "%s is not good JSON: %s", what, why.text);
    return arena_defer(r->arena, release_json, *out) ? OK : refuse_memory(r);
}

/* "application/json", "text/json", "application/vnd.x+json; charset=utf-8" */
static bool is_json_type(const char *type)
{
    size_t n = strcspn(type, "; \t");
    const char *slash = memchr(type, '/', n);
    if (!slash)
        return false;
    size_t tail = n - (size_t)(slash + 1 - type);
    return (tail == 4 && strncasecmp(slash + 1, "json", 4) == 0) ||
           (tail > 5 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

/* ---- base64 (RFC 4648, section 4), for data_base64 ------------------------ */

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* Decodes into `out`, which has room for n / 4 * 3 bytes. */
static bool base64_decode(const char *s, size_t n, char *out, size_t *out_n)
{
    size_t padding = n > 0 && s[n - 1] == '=' ? (n > 1 && s[n - 2] == '=' ? 2 : 1) : 0;
    uint32_t bits = 0;
    *out_n = 0;
    if (n % 4 != 0)
        return false;
    for (size_t i = 0; i < n - padding; i++) {
        int digit = base64_digit(s[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0) /* 2, 3 and 4 digits complete the 1st, 2nd and 3rd byte */
            out[(*out_n)++] = (char)(bits >> (6 - 2 * (i % 4)) & 0xff);
    }
    return true;
}

static enum outcome parse_base64(struct reading *r, const json_t *coded, json_t **body)
{
    if (!json_is_string(coded))
        return refuse(r, REQUEST_WRONG_TYPE, "field 'data_base64' must be a string");
    size_t n = json_string_length(coded);
    char *text = arena_alloc(r->arena, n / 4 * 3 + 1);
    size_t text_n;
    if (!text)
        return refuse_memory(r);
    if (!base64_decode(json_string_value(coded), n, text, &text_n))
        return refuse(r, REQUEST_BAD_VALUE, "field 'data_base64' is not base64");
    return parse(r, "field 'data_base64'", text, text_n, body);
}

/* ---- the body: what is asked for ------------------------------------------ */

static enum outcome read_deadline(struct reading *r, const json_t *body, json_t *asked)
{
    const char *deadline = NULL, *timeout = NULL;
    struct error why;
    int64_t ms;
    enum outcome outcome = keep_member(r, body, "deadline", false, TIME_BYTES_MAX, &deadline);
    if (outcome == OK)
        outcome = keep_member(r, body, "timeout", false, TIME_BYTES_MAX, &timeout);
    if (outcome != OK)
        return outcome;
    if (deadline && timeout)
        return refuse(r, REQUEST_BAD_VALUE, "fields 'deadline' and 'timeout': give one of them");
    if (deadline) {
        if (clock_parse_iso(deadline, &ms, &why) != OK)
            return refuse(r, REQUEST_BAD_VALUE, "field 'deadline': %s", why.text);
        r->out->deadline_wall_ms = ms == 0 ? -1 : ms; /* 0 stands for none */
        (void)json_object_set_new(asked, "deadline", json_integer(ms));
    }
    if (timeout) {
        if (text_parse_duration(timeout, &ms, &why) != OK)
            return refuse(r, REQUEST_BAD_VALUE, "field 'timeout': %s", why.text);
        if (ms <= 0)
            return refuse(r, REQUEST_BAD_VALUE, "field 'timeout' must be longer than nothing");
        r->out->timeout_ms = ms;
        (void)json_object_set_new(asked, "timeout", json_integer(ms));
    }
    return OK;
}

static enum outcome read_priority(struct reading *r, const json_t *body, json_t *asked)
{
    const json_t *value = json_object_get(body, "priority");
    if (!value || json_is_null(value))
        return OK;
    if (!json_is_integer(value))
        return refuse(r, REQUEST_WRONG_TYPE, "field 'priority' must be a whole number");
    json_int_t priority = json_integer_value(value);
    if (priority < REQUEST_PRIORITY_MIN || priority > REQUEST_PRIORITY_MAX)
        return refuse(r, REQUEST_BAD_VALUE, "field 'priority' must be from %d to %d",
                      REQUEST_PRIORITY_MIN, REQUEST_PRIORITY_MAX);
    r->out->priority = (int)priority;
    (void)json_object_set_new(asked, "priority", json_integer(priority));
    return OK;
}

static bool is_amount(double value, double most)
{
    return value >= 0.5 && value <= most;
}

/* {"tokens": 100000, "cost": 2.5}: each of them may be left out. */
static enum outcome read_budget(struct reading *r, const json_t *body, json_t *asked)
{
    const json_t *budget = json_object_get(body, "budget");
    if (!budget || json_is_null(budget))
        return OK;
    if (!json_is_object(budget))
        return refuse(r, REQUEST_WRONG_TYPE,
                      "field 'budget' must be an object with 'tokens', 'cost' or both");
    const json_t *tokens = json_object_get(budget, "tokens"),
                 *cost = json_object_get(budget, "cost");
    if (tokens && !json_is_integer(tokens))
        return refuse(r, REQUEST_WRONG_TYPE, "field 'budget.tokens' must be a whole number");
    if (cost && !json_is_number(cost))
        return refuse(r, REQUEST_WRONG_TYPE, "field 'budget.cost' must be a number such as 2.5");
    double micros = cost ? json_number_value(cost) * 1e6 : 1;
    int64_t count = tokens ? json_integer_value(tokens) : 1;
    if (!is_amount((double)count, (double)BUDGET_TOKENS_MAX))
        return refuse(r, REQUEST_BAD_VALUE, "field 'budget.tokens' must be from 1 to %" PRId64,
                      BUDGET_TOKENS_MAX);
    if (!is_amount(micros, (double)TEXT_MONEY_MAX_MICROS))
        return refuse(r, REQUEST_BAD_VALUE,
                      "field 'budget.cost' must be from 0.000001 to 1000000000");
    r->out->budget_tokens = tokens ? count : 0;
    r->out->budget_micros = cost ? llround(micros) : 0;
    (void)json_object_set_new(asked, "budget",
                              json_pack("{s:I, s:I}", "tokens", (json_int_t)r->out->budget_tokens,
                                        "micros", (json_int_t)r->out->budget_micros));
    return OK;
}

static enum outcome check_served(struct reading *r, const char *field, const char *asked,
                                 const char *served)
{
    if (!asked || !served || strcmp(asked, served) == 0)
        return OK;
    return refuse(r, REQUEST_BAD_VALUE, "field '%s' is '%.80s', but this topic serves '%.80s'",
                  field, asked, served);
}

static void put_asked(json_t *asked, const char *key, const char *text)
{
    if (text)
        (void)json_object_set_new(asked, key, json_string(text));
}

static enum outcome read_body(struct reading *r, json_t *body)
{
    struct run_request *out = r->out;
    if (!json_is_object(body))
        return refuse(r, REQUEST_WRONG_TYPE,
                      "the data must be a JSON object with the fields 'agent' and 'input'");
    enum outcome outcome = keep_member(r, body, "agent", true, NAME_BYTES_MAX, &out->agent);
    if (outcome == OK)
        outcome = keep_member(r, body, "tenant", false, NAME_BYTES_MAX, &out->asked_tenant);
    if (outcome == OK)
        outcome = keep_member(r, body, "class", false, NAME_BYTES_MAX, &out->class);
    if (outcome == OK)
        outcome = check_served(r, "tenant", out->asked_tenant, r->limits.tenant);
    if (outcome == OK)
        outcome = check_served(r, "class", out->class, r->limits.class);
    if (outcome != OK)
        return outcome;
    out->input = json_object_get(body, "input");
    if (!out->input || json_is_null(out->input))
        return refuse(r, REQUEST_MISSING_FIELD, "field 'input' is missing");

    json_t *asked = json_object();
    outcome = read_deadline(r, body, asked);
    if (outcome == OK)
        outcome = read_priority(r, body, asked);
    if (outcome == OK)
        outcome = read_budget(r, body, asked);
    put_asked(asked, "agent", out->agent);
    put_asked(asked, "tenant", out->asked_tenant);
    put_asked(asked, "class", out->class);
    (void)json_object_set(asked, "input", out->input);
    json_digest(asked, &out->digest);
    json_decref(asked);
    return outcome;
}

/* ---- the envelope --------------------------------------------------------- */

static enum outcome check_type(struct reading *r, const char *version)
{
    assert(version);
    if (strcmp(version, "1.0") != 0)
        return refuse(r, REQUEST_BAD_TYPE, "'specversion' is '%.20s'; only CloudEvents 1.0 is read",
                      version);
    if (strcmp(r->out->type, REQUEST_TYPE) != 0)
        return refuse(r, REQUEST_BAD_TYPE, "'type' is '%.80s'; on this topic only %s is read",
                      r->out->type, REQUEST_TYPE);
    if (r->out->content_type && !is_json_type(r->out->content_type))
        return refuse(r, REQUEST_BAD_TYPE, "the data is '%.80s'; only application/json is read",
                      r->out->content_type);
    return OK;
}

static enum outcome read_binary(struct reading *r, json_t **body)
{
    struct run_request *out = r->out;
    const char *version = NULL;
    enum outcome outcome = keep_header(r, "ce_specversion", true, TIME_BYTES_MAX, &version);
    if (outcome == OK)
        outcome = keep_header(r, "ce_type", true, SOURCE_BYTES_MAX, &out->type);
    if (outcome == OK)
        outcome = keep_header(r, "content-type", false, CONTENT_TYPE_BYTES_MAX, &out->content_type);
    if (outcome == OK)
        outcome = check_type(r, version);
    if (outcome == OK)
        outcome = keep_header(r, "ce_id", true, ID_BYTES_MAX, &out->id);
    if (outcome == OK)
        outcome = keep_header(r, "ce_source", true, SOURCE_BYTES_MAX, &out->source);
    if (outcome == OK)
        outcome = keep_header(r, "ce_subject", false, SUBJECT_BYTES_MAX, &out->subject);
    return outcome != OK ? outcome : parse(r, "the value", r->rec->value, r->rec->value_n, body);
}

static enum outcome read_structured(struct reading *r, json_t **event, json_t **body)
{
    struct run_request *out = r->out;
    const char *version = NULL;
    enum outcome outcome = parse(r, "the value", r->rec->value, r->rec->value_n, event);
    if (outcome != OK)
        return outcome;
    if (!json_is_object(*event))
        return refuse(r, REQUEST_WRONG_TYPE, "a CloudEvent must be a JSON object");
    outcome = keep_member(r, *event, "specversion", true, TIME_BYTES_MAX, &version);
    if (outcome == OK)
        outcome = keep_member(r, *event, "type", true, SOURCE_BYTES_MAX, &out->type);
    if (outcome == OK)
        outcome = keep_member(r, *event, "datacontenttype", false, CONTENT_TYPE_BYTES_MAX,
                              &out->content_type);
    if (outcome == OK)
        outcome = check_type(r, version);
    if (outcome == OK)
        outcome = keep_member(r, *event, "id", true, ID_BYTES_MAX, &out->id);
    if (outcome == OK)
        outcome = keep_member(r, *event, "source", true, SOURCE_BYTES_MAX, &out->source);
    if (outcome == OK)
        outcome = keep_member(r, *event, "subject", false, SUBJECT_BYTES_MAX, &out->subject);
    if (outcome != OK)
        return outcome;
    const json_t *coded = json_object_get(*event, "data_base64");
    *body = json_object_get(*event, "data");
    if (*body)
        return OK;
    return coded ? parse_base64(r, coded, body)
                 : refuse(r, REQUEST_MISSING_FIELD, "field 'data' is missing");
}

static enum outcome read_bare(struct reading *r, json_t **body)
{
    const struct record_view *rec = r->rec;
    struct run_request *out = r->out;
    out->type = REQUEST_TYPE;
    out->content_type = "application/json";
    enum outcome outcome = parse(r, "the value", rec->value, rec->value_n, body);
    if (outcome == OK && json_is_object(*body))
        outcome = keep_member(r, *body, "id", false, ID_BYTES_MAX, &out->id);
    if (outcome != OK)
        return outcome;
    out->source = arena_printf(r->arena, "kafka:%s", rec->topic);
    /* Without an id of its own the record's place is the id.  Its time stands
     * in it too: a topic that was deleted and made again counts from 0 again,
     * and its records are new requests.                                     */
    if (!out->id)
        out->id = arena_printf(r->arena, "%s/%d/%" PRId64 "@%" PRId64, rec->topic, rec->partition,
                               rec->offset, rec->timestamp_ms);
    return out->source && out->id ? OK : refuse_memory(r);
}

static bool is_structured(const struct record_view *rec, const char **format)
{
    static const char prefix[] = "application/cloudevents";
    const struct record_header *type = record_header(rec, "content-type");
    size_t n = sizeof prefix - 1;
    if (!type || !type->value || type->value_n < n || strncasecmp(type->value, prefix, n) != 0)
        return false;
    bool json = type->value_n >= n + 5 && strncasecmp(type->value + n, "+json", 5) == 0 &&
                (type->value_n == n + 5 || strchr("; \t", type->value[n + 5]));
    *format = json ? "json" : "other";
    return true;
}

static bool is_binary(const struct record_view *rec)
{
    return record_header(rec, "ce_specversion") || record_header(rec, "ce_id") ||
           record_header(rec, "ce_source") || record_header(rec, "ce_type");
}

static enum outcome read_envelope(struct reading *r, json_t **event, json_t **body)
{
    const char *format;
    if (is_structured(r->rec, &format)) {
        if (strcmp(format, "json") != 0)
            return refuse(r, REQUEST_BAD_TYPE,
                          "header 'content-type': structured CloudEvents are read as "
                          "application/cloudevents+json only, one event a record");
        return read_structured(r, event, body);
    }
    return is_binary(r->rec) ? read_binary(r, body) : read_bare(r, body);
}

enum outcome request_read(const struct record_view *rec, const struct request_limits *limits,
                          struct arena *arena, struct run_request *out, struct error *err)
{
    struct reading r = { rec, *limits, arena, out, err };
    json_t *event = NULL, *body = NULL;
    *out = (struct run_request){ 0 };
    if (r.limits.bytes == 0)
        r.limits.bytes = REQUEST_BYTES_DEFAULT;
    if (r.limits.depth == 0)
        r.limits.depth = REQUEST_DEPTH_DEFAULT;

    if (!rec->value)
        return refuse(&r, REQUEST_NULL_VALUE,
                      "the value is null; send a JSON object with 'agent' and 'input'");
    if (rec->value_n > r.limits.bytes)
        return refuse(&r, REQUEST_TOO_LARGE, "the value has %zu bytes; at most %zu are allowed",
                      rec->value_n, r.limits.bytes);
    enum outcome outcome = read_envelope(&r, &event, &body);
    if (outcome != OK)
        return outcome;
    out->traceparent = keep_trace(&r, "traceparent", event, traceparent_is_fine);
    if (out->traceparent)
        out->tracestate = keep_trace(&r, "tracestate", event, tracestate_is_fine);
    return read_body(&r, body);
}
