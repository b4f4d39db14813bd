#include "common/http_call.h"

#include "common/memory.h"
#include "common/outbound.h"
#include "common/text.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    RECEIVE_BYTES = 8192, /* per call in flight; larger pieces save little */
    SEND_BYTES = 16384,   /* the least that libcurl takes */
    URL_BYTES_MAX = 8192,
    HEADERS_MAX = 64,
    KEEPALIVE_IDLE_S = 60, /* a model may think for minutes behind a NAT */
    KEEPALIVE_EVERY_S = 30,
    IDLE_MAX_S = 4, /* common servers close what was idle for five seconds */
};

/* ---- what a request may say ---------------------------------------------- */

static bool is_token(const char *s)
{
    /* RFC 9110, 5.6.2. */
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    return *s && s[strspn(s, allowed)] == '\0';
}

enum outcome http_check_header(const struct http_header *header, struct error *err)
{
    static const char *const ours[] = { "Accept-Encoding", "Connection", "Content-Length",
                                        "Expect",          "Keep-Alive", "TE",
                                        "Trailer",         "Upgrade",    "Transfer-Encoding" };
    char shown[64];
    (void)text_bounded(shown, sizeof shown, header->name, strlen(header->name));
    if (!is_token(header->name))
        return fail(err, REFUSED, "'%s' is not the name of a header; use letters, digits and '-'",
                    shown);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcasecmp(header->name, ours[i]) == 0)
            return fail(err, REFUSED, "header %s is made by the client itself; remove it", shown);
    if (strncasecmp(header->name, "Proxy-", 6) == 0)
        return fail(err, REFUSED, "header %s is for proxies; remove it", shown);
    for (const unsigned char *c = (const unsigned char *)header->value; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7f)
            return fail(err, REFUSED, "the value of header %s holds a control character", shown);
    return OK;
}

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    return curl_url_get(url, part, &text, flags) == CURLUE_OK ? text : NULL;
}

static bool url_has(CURLU *url, CURLUPart part)
{
    char *text = url_part(url, part, 0);
    curl_free(text);
    return text != NULL;
}

/* Takes the URL apart. The texts never show it: its query may hold a secret. */
static enum outcome parse_url(const char *text, CURLU **out, struct error *err)
{
    CURLU *url = curl_url();
    assert(url);
    *out = url;
    if (strlen(text) > URL_BYTES_MAX)
        return fail(err, REFUSED, "the URL is longer than %d bytes", URL_BYTES_MAX);
    CURLUcode rc = curl_url_set(url, CURLUPART_URL, text, 0);
    if (rc != CURLUE_OK)
        return fail(err, REFUSED, "not a URL (%s); give it as http://host:port/path",
                    curl_url_strerror(rc));
    if (strncmp(text + strcspn(text, ":"), ":///", 4) == 0) /* libcurl would skip the slash */
        return fail(err, REFUSED, "not a URL (no host); give it as http://host:port/path");
    char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    bool http = scheme && (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
    curl_free(scheme);
    if (!http)
        return fail(err, REFUSED, "the URL must begin with http:// or https://");
    if (url_has(url, CURLUPART_USER) || url_has(url, CURLUPART_PASSWORD))
        return fail(err, REFUSED, "the URL holds a user or password; send them in a header");
    return OK;
}

enum outcome http_check_url(const char *url, struct error *err)
{
    CURLU *parsed;
    enum outcome outcome = parse_url(url, &parsed, err);
    curl_url_cleanup(parsed);
    return outcome;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    size_t n = strlen(host);
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0);
}

/* ---- the request goes out ------------------------------------------------ */

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *x = url_part(a, part, CURLU_DEFAULT_PORT), *y = url_part(b, part, CURLU_DEFAULT_PORT);
    bool same = x && y && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return same;
}

/* Whether a redirect stays where the caller wanted its headers to go. */
static bool still_at_origin(struct http_call *call)
{
    char *now = NULL;
    CURLU *url = curl_url();
    assert(url);
    bool same = curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &now) == CURLE_OK && now &&
                curl_url_set(url, CURLUPART_URL, now, 0) == CURLUE_OK &&
                same_part(url, call->origin, CURLUPART_SCHEME) &&
                same_part(url, call->origin, CURLUPART_HOST) &&
                same_part(url, call->origin, CURLUPART_PORT);
    curl_url_cleanup(url);
    return same;
}

/* libcurl has a connection and is about to send the request over it. From here
 * on nobody can be sure that the peer has not seen it.                      */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's signature */
static int on_curl_request(void *arg, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
    (void)own_ip;
    struct http_call *call = arg;
    if (call->cancelled)
        return CURL_PREREQFUNC_ABORT;
    if (http_socket_is_soiled(call->http, peer_ip, peer_port, own_port)) {
        call->soiled = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (call->sends > 0 && call->no_resend) {
        (void)fail(&call->error, REFUSED, "%s closed the connection without an answer%s",
                   call->where, call->single_send ? "; the call is not sent again" : "");
        call->verdict = HTTP_CUT;
        return CURL_PREREQFUNC_ABORT;
    }
    if (call->sends > 0 && call->origin && !still_at_origin(call)) {
        (void)fail(&call->error, REFUSED, "%s redirects to another host; use that address",
                   call->where);
        call->verdict = HTTP_CUT;
        return CURL_PREREQFUNC_ABORT;
    }
    call->sends++;
    call->sent_ms = loop_now_ms(call->http->loop);
    if (call->sends == 1 && call->first_byte_timeout_ms > 0)
        loop_timer_start(&call->timer, call->first_byte_timeout_ms);
    return CURL_PREREQFUNC_OK;
}

static void set_callbacks(struct http_call *call)
{
    SET(call->easy, CURLOPT_PRIVATE, call);
    SET(call->easy, CURLOPT_ERRORBUFFER, call->curl_text);
    SET(call->easy, CURLOPT_PREREQFUNCTION, on_curl_request);
    SET(call->easy, CURLOPT_PREREQDATA, call);
    SET(call->easy, CURLOPT_OPENSOCKETFUNCTION, http_socket_open);
    SET(call->easy, CURLOPT_OPENSOCKETDATA, call);
    SET(call->easy, CURLOPT_CLOSESOCKETFUNCTION, http_socket_close);
    SET(call->easy, CURLOPT_CLOSESOCKETDATA, call->http);
    SET(call->easy, CURLOPT_HEADERFUNCTION, http_on_header);
    SET(call->easy, CURLOPT_HEADERDATA, call);
    SET(call->easy, CURLOPT_WRITEFUNCTION, http_on_body);
    SET(call->easy, CURLOPT_WRITEDATA, call);
}

static void set_transport(struct http_call *call)
{
    CURL *easy = call->easy;
    const struct http *http = call->http;
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(easy, CURLOPT_USERAGENT, http->user_agent);
    SET(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    SET(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BYTES);
    SET(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    SET(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S);
    SET(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_EVERY_S);
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->connect_timeout_ms);
    SET(easy, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    /* Without this libcurl waits for its resolver thread when a call ends before
     * its name is resolved, and the loop stands still (asyn-thread.c).      */
    SET(easy, CURLOPT_QUICK_EXIT, 1L);
    if (http->ca_file)
        SET(easy, CURLOPT_CAINFO, http->ca_file);
    if (call->single_send) {
        SET(easy, CURLOPT_FRESH_CONNECT, 1L); /* a kept-alive one may be dead */
        SET(easy, CURLOPT_FORBID_REUSE, 1L);  /* and nobody would use this one again */
    }
    if (call->no_resend)
        SET(easy, CURLOPT_MAXAGE_CONN, (long)IDLE_MAX_S);
    if (call->redirects > 0) {
        SET(easy, CURLOPT_FOLLOWLOCATION, 1L);
        SET(easy, CURLOPT_MAXREDIRS, (long)call->redirects);
        SET(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    }
}

static bool has_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return true;
    return false;
}

static void set_method(struct http_call *call, const struct http_request *request)
{
    CURL *easy = call->easy;
    const char *method = request->method;
    bool get = strcmp(method, "GET") == 0, head = strcmp(method, "HEAD") == 0;
    if (head) {
        SET(easy, CURLOPT_NOBODY, 1L);
    } else if (!request->body && (get || strcmp(method, "DELETE") == 0)) {
        SET(easy, CURLOPT_HTTPGET, 1L);
    } else {
        SET(easy, CURLOPT_POST, 1L);
        SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_bytes);
        SET(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
    }
    if (!get && !head && strcmp(method, "POST") != 0)
        SET(easy, CURLOPT_CUSTOMREQUEST, method);
    else if (get && request->body)
        SET(easy, CURLOPT_CUSTOMREQUEST, method);
}

static void add_header(struct http_call *call, const char *line)
{
    struct curl_slist *list = curl_slist_append(call->headers, line);
    assert(list);
    call->headers = list;
}

static enum outcome set_headers(struct http_call *call, const struct http_request *request,
                                struct error *err)
{
    if (request->header_count > HEADERS_MAX)
        return fail(err, REFUSED, "more than %d headers", HEADERS_MAX);
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *h = &request->headers[i];
        enum outcome outcome = http_check_header(h, err);
        if (outcome != OK)
            return outcome;
        struct buf line;
        buf_init(&line, SIZE_MAX - 1);
        /* libcurl's way to say "name with an empty value" is a semicolon. */
        bool added = h->value[strspn(h->value, " \t")]
                         ? buf_printf(&line, "%s: %s", h->name, h->value)
                         : buf_printf(&line, "%s;", h->name);
        assert(added);
        add_header(call, line.data);
        buf_release(&line);
    }
    add_header(call, "Accept-Encoding: identity");
    add_header(call, "Expect:"); /* a 417 would make libcurl send twice */
    if (!has_header(request, "Content-Type"))
        add_header(call, "Content-Type:"); /* else it says that the body is a form */
    SET(call->easy, CURLOPT_HTTPHEADER, call->headers);
    return OK;
}

/* Whether the request may go there at all; what the name resolves to is seen later. */
static enum outcome check_target(struct http_call *call, CURLU *url, const char *host,
                                 const char *port, struct error *err)
{
    if (!call->outbound)
        return OK;
    char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    char bare[256];
    size_t n = strlen(host);
    bool bracketed = n > 2 && *host == '[' && host[n - 1] == ']';
    (void)snprintf(bare, sizeof bare, "%.*s", (int)(bracketed ? n - 2 : n), host + bracketed);
    struct error why;
    enum outcome outcome = outbound_check_target(call->outbound, scheme ? scheme : "", bare,
                                                 (int)strtol(port, NULL, 10), &why);
    curl_free(scheme);
    if (outcome == OK)
        return OK;
    call->forbidden = true;
    return fail(err, REFUSED, "%s: %s", call->where, why.text);
}

static enum outcome set_url(struct http_call *call, const struct http_request *request,
                            struct error *err)
{
    CURLU *url;
    enum outcome outcome = parse_url(request->url, &url, err);
    if (outcome == OK) {
        char *host = url_part(url, CURLUPART_HOST, 0);
        char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
        assert(host && port);
        char shown[100];
        (void)snprintf(call->where, sizeof call->where, "%s:%s",
                       text_bounded(shown, sizeof shown, host, strlen(host)), port);
        outcome = check_target(call, url, host, port, err);
        if (is_loopback(host) || (call->outbound && !outbound_may_use_proxy(call->outbound)))
            SET(call->easy, CURLOPT_PROXY, "");
        SET(call->easy, CURLOPT_URL, request->url);
        curl_free(host);
        curl_free(port);
    }
    if (outcome == OK && call->redirects > 0)
        call->origin = url;
    else
        curl_url_cleanup(url);
    return outcome;
}

static enum outcome check_method(const struct http_request *request, struct error *err)
{
    const char *method = request->method;
    if (!is_token(method) || strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
        return fail(err, REFUSED, "not a method that can be sent; use GET, POST, PUT, PATCH, ...");
    return OK;
}

enum outcome http_call_prepare(struct http_call *call, const struct http_request *request,
                               struct error *err)
{
    bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    call->single_send = request->single_send;
    call->outbound = request->outbound;
    call->no_resend = request->no_resend || request->single_send;
    if (reads && !request->body && !call->no_resend && request->redirects > 0)
        call->redirects =
            request->redirects < HTTP_REDIRECTS_MAX ? request->redirects : HTTP_REDIRECTS_MAX;
    enum outcome outcome = check_method(request, err);
    if (outcome != OK)
        return outcome;
    call->easy = curl_easy_init();
    assert(call->easy);
    outcome = set_url(call, request, err);
    if (outcome == OK)
        outcome = set_headers(call, request, err);
    if (outcome != OK)
        return outcome;
    set_callbacks(call);
    set_transport(call);
    set_method(call, request);
    return OK;
}
