#include "executor/request.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "executor/probe.h"
#include "executor/result.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { HEADER_BYTES_MAX = 64 * 1024 + 256, URL_BYTES_MAX = 64 * 1024, ARGUMENTS_DEPTH_MAX = 64 };

struct builder {
    struct request *out;
    struct arena *arena;
    const struct config *config;
    const struct tool_call *call;
    struct http_header *headers;
    struct error *err;
};

/* ---- headers ---------------------------------------------------------------- */

static bool has_header(const struct builder *b, const char *name)
{
    for (size_t i = 0; i < b->out->http.header_count; i++)
        if (strcasecmp(b->headers[i].name, name) == 0)
            return true;
    return false;
}

static enum outcome add_header(struct builder *b, const char *name, const char *value)
{
    struct http_request *http = &b->out->http;
    struct http_header header = { name, value };
    if (!value || http->header_count == REQUEST_HEADERS_MAX)
        return fail(b->err, REFUSED, "the headers of tool '%s' are too many or too long",
                    b->call->def->name);
    struct error why;
    if (http_check_header(&header, &why) != OK)
        return fail(b->err, REFUSED, "header '%s' of tool '%s' cannot be sent: %s", name,
                    b->call->def->name, why.text);
    b->headers[http->header_count++] = header;
    return OK;
}

/* What others sent us is passed on only when it can stand in a header. */
static enum outcome add_if_sound(struct builder *b, const char *name, const char *value)
{
    struct http_header header = { name, value };
    struct error why;
    if (!value || !*value || http_check_header(&header, &why) != OK)
        return OK;
    return add_header(b, name, value);
}

static enum outcome add_key(struct builder *b)
{
    const struct tool_def *def = b->call->def;
    if (def->key_mode == TOOL_KEY_NONE || b->call->errand != STORE_WORK_CALL)
        return OK;
    char key[UUID_TEXT_SIZE];
    uuid_format(&b->call->key, key);
    const char *quote = def->key_mode == TOOL_KEY_QUOTED ? "\"" : "";
    return add_header(b, def->key_header, arena_printf(b->arena, "%s%s%s", quote, key, quote));
}

static enum outcome add_our_headers(struct builder *b)
{
    char run[UUID_TEXT_SIZE];
    uuid_format(&b->call->run_id, run);
    enum outcome outcome = add_key(b);
    if (outcome == OK)
        outcome = add_header(b, "X-Pawl-Run-Id", arena_strdup(b->arena, run));
    if (outcome == OK)
        outcome = add_header(b, "X-Pawl-Step", arena_printf(b->arena, "%d", b->call->step));
    if (outcome == OK)
        outcome = add_header(b, "X-Pawl-Call", arena_printf(b->arena, "%d", b->call->index));
    if (outcome == OK)
        outcome = add_if_sound(b, "traceparent", b->call->traceparent);
    if (outcome == OK && b->call->traceparent)
        outcome = add_if_sound(b, "tracestate", b->call->tracestate);
    return outcome;
}

static enum outcome add_pair(struct builder *b, const struct field_pair *pair)
{
    if (has_header(b, pair->name))
        return OK; /* ours, or written twice */
    if (!pair->secret)
        return add_header(b, pair->name, pair->text);

    const char *secret = NULL;
    enum outcome outcome = config_secret_get(b->config, pair->secret, &secret, b->err);
    if (outcome != OK)
        return outcome;
    outcome = scrub_add(&b->out->scrub, b->arena, secret, b->err);
    if (outcome != OK)
        return outcome;
    struct buf value;
    buf_init(&value, HEADER_BYTES_MAX);
    outcome = config_expand(b->config, pair, &value, b->err);
    if (outcome == OK)
        outcome = add_header(b, pair->name, arena_memdup(b->arena, value.data, value.len));
    buf_release(&value);
    return outcome;
}

static enum outcome add_headers(struct builder *b, const struct field_pairs *pairs)
{
    enum outcome outcome = add_our_headers(b);
    for (size_t i = 0; outcome == OK && i < pairs->count; i++)
        outcome = add_pair(b, &pairs->items[i]);
    if (outcome == OK && b->out->http.body && !has_header(b, "Content-Type"))
        outcome = add_header(b, "Content-Type", "application/json");
    return outcome;
}

/* ---- the URL ---------------------------------------------------------------- */

/* All but the unreserved characters of RFC 3986 section 2.3. */
static bool add_encoded(struct buf *out, const char *text, size_t n)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < n; i++) {
        bool fine = text[i] != '\0' && strchr(plain, text[i]);
        if (!(fine ? buf_putc(out, text[i]) : buf_printf(out, "%%%02X", (unsigned char)text[i])))
            return false;
    }
    return true;
}

static bool add_parameter(struct buf *out, const char *name, const json_t *value)
{
    if (json_is_null(value))
        return true;
    char separator = '?';
    if (strchr(out->data, '?'))
        separator = out->data[out->len - 1] == '?' || out->data[out->len - 1] == '&' ? '\0' : '&';
    if (separator && !buf_putc(out, separator))
        return false;
    if (!add_encoded(out, name, strlen(name)) || !buf_putc(out, '='))
        return false;
    if (json_is_string(value))
        return add_encoded(out, json_string_value(value), json_string_length(value));
    AUTO_FREE char *text = json_canonical(value);
    return add_encoded(out, text, strlen(text));
}

/* The arguments as query parameters.  NULL when they are no object or too long:
 * the planner has checked them, so the call is then sent to nobody.          */
static const char *url_with_arguments(const struct builder *b)
{
    const struct tool_call *call = b->call;
    struct json_limits limits = { .bytes = call->arguments_bytes, .depth = ARGUMENTS_DEPTH_MAX };
    json_t *arguments = NULL;
    if (json_read(call->arguments, call->arguments_bytes, &limits, &arguments, NULL) != OK)
        return NULL;
    struct buf url;
    buf_init(&url, URL_BYTES_MAX);
    const char *name;
    json_t *value;
    bool fine = json_is_object(arguments) && buf_puts(&url, call->def->url);
    json_object_foreach(arguments, name, value) {
        fine = fine && add_parameter(&url, name, value);
    }
    const char *made = fine ? arena_memdup(b->arena, url.data, url.len) : NULL;
    buf_release(&url);
    json_decref(arguments);
    return made;
}

/* ---- the whole --------------------------------------------------------------- */

static int64_t connect_timeout(const struct tool_call *call)
{
    /* Name, connection and TLS must stand before send_by, so that the first byte
     * cannot leave later.                                                     */
    int64_t left_ms = call->send_by_ms - clock_mono_ms();
    if (call->errand == STORE_WORK_PROBE || call->def->connect_timeout_ms < left_ms)
        return call->def->connect_timeout_ms;
    return left_ms > 1 ? left_ms : 1;
}

static void set_probe(struct builder *b)
{
    const struct tool_def *def = b->call->def;
    struct http_request *http = &b->out->http;
    http->method = "GET";
    http->url = probe_url(def, &b->call->key, b->arena);
    http->timeout_ms = def->probe_timeout_ms;
    http->redirects = HTTP_REDIRECTS_MAX;
}

static void set_call(struct builder *b)
{
    const struct tool_def *def = b->call->def;
    struct http_request *http = &b->out->http;
    bool once = !tool_is_repeatable(def);
    bool get = def->method == TOOL_GET;
    http->method = tool_method_name(def->method);
    http->url = get ? url_with_arguments(b) : def->url;
    http->body = get ? NULL : b->call->arguments;
    http->body_bytes = get ? 0 : b->call->arguments_bytes;
    http->timeout_ms = def->timeout_ms;
    http->single_send = once;
    http->redirects = get && !once ? HTTP_REDIRECTS_MAX : 0;
}

enum outcome request_build(struct request *out, struct arena *arena, const struct config *config,
                           const struct tool_call *call, struct error *err)
{
    *out = (struct request){ .http = { .connect_timeout_ms = connect_timeout(call) } };
    struct builder b = { .out = out, .arena = arena, .config = config, .call = call, .err = err };
    b.headers = arena_alloc_array(arena, REQUEST_HEADERS_MAX, sizeof *b.headers);
    if (!b.headers)
        return fail(err, REFUSED, "no memory for the request of tool '%s'", call->def->name);

    bool probe = call->errand == STORE_WORK_PROBE;
    if (probe)
        set_probe(&b);
    else
        set_call(&b);
    out->http.headers = b.headers;
    enum outcome outcome = add_headers(&b, probe ? &call->def->probe_headers : &call->def->headers);
    out->http.body_limit_bytes = result_read_bytes(call->def->max_result_bytes, &out->scrub);
    if (outcome == OK && !out->http.url)
        out->http.url = ""; /* the client answers that it cannot be sent, and nothing is */
    return outcome;
}

enum outcome request_check(const struct config *config, const struct tool_def *def,
                           struct error *err)
{
    const struct field_pairs *lists[] = { &def->headers, &def->probe_headers };
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (size_t i = 0; i < lists[l]->count; i++) {
            const char *value = NULL;
            const char *secret = lists[l]->items[i].secret;
            if (secret && config_secret_get(config, secret, &value, err) != OK)
                return REFUSED;
        }
    }
    return OK;
}
