/*
 * http.h -- the HTTP client, and the only door to libcurl.
 *
 *     http_start --> name, connect, TLS --> request sent --> head --> body --> on_done
 *                    |                      |
 *                    | nothing sent yet     | from here `maybe_sent` is true
 *
 * Calls run side by side on the loop; a waiting call costs one socket and some
 * 16 KiB.  Every call that was started ends in exactly one on_done, or in
 * http_cancel().
 *
 * What `maybe_sent` means.  Somebody has to decide whether a call that failed
 * may be sent again.  libcurl asks us (CURLOPT_PREREQFUNCTION) each time when
 * name, connection and TLS stand and the first byte of the request comes next.
 * If it never asked, no byte of the request can have left: unresolved name,
 * refused connection, failed handshake, connect timeout.  If it did ask,
 * `maybe_sent` is true, whatever happened afterwards, even if perhaps no byte
 * was written: on this side of the line nobody can know, and we never guess.
 *
 * `single_send` is for calls that must not reach the peer twice.  libcurl sends a
 * request again by itself when a kept-alive connection turns out to be dead, and
 * the peer may have executed it before it closed.  Such a call gets a connection
 * of its own (so there is no dead one to meet), follows no redirect, and a second
 * send is stopped by the callback above: the call ends as HTTP_CUT.
 * `no_resend` is for calls that may be sent again, but by us, who count them: it uses
 * kept-alive connections, and one that turns out to be dead ends the call as HTTP_CUT.
 * That this is rare, it uses none that was idle for longer than 4 s.
 *
 * A kept-alive connection is looked into before it is used again: if the peer has sent
 * what nobody asked for, or has closed it, the call takes a new one, and nothing has
 * been sent.  Else the answer to nobody would be read as the answer to this call.
 *
 * HTTP/1.1 only: with HTTP/2 one broken connection would cut the calls of many
 * runs at once.  No compression is asked for; an answer that is compressed all
 * the same is refused (HTTP_CUT), and so is one that tells several lengths of
 * itself.  Proxies come from the environment as with curl, but never for loopback
 * addresses, and for requests with `outbound` only as it says.  No .netrc, no cookies.
 *
 * Limits:  all of struct http_request's, with defaults; a bound on everything.
 * Threads: the loop's thread.  Names are resolved in threads of libcurl, which
 *          are abandoned, not waited for, when their call ends first.
 * Errors:  http_start() itself cannot fail: a request that can never be sent (bad
 *          URL, bad header) is answered by on_done in a later turn, as
 *          HTTP_NOT_SENT with `hopeless` set.  A body that ends with the connection
 *          (no length, no chunks) is taken for whole: HTTP cannot tell.
 */
#ifndef PAWL_COMMON_HTTP_H
#define PAWL_COMMON_HTTP_H

#include "common/loop.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Defaults for the fields of struct http_request that are 0. */
#define HTTP_CONNECT_TIMEOUT_MS 5000
#define HTTP_TIMEOUT_MS 60000
#define HTTP_BODY_LIMIT_BYTES ((size_t)1 << 20)
#define HTTP_HEADER_LIMIT_BYTES ((size_t)64 << 10)
enum { HTTP_REDIRECTS_MAX = 5 };
#define HTTP_RETRY_AFTER_MAX_MS INT64_C(86400000) /* later is cut to one day */

struct outbound;  /* outbound.h */
struct http;      /* the client: connections kept alive, names resolved */
struct http_call; /* one call in flight */

struct http_options {
    size_t connections;     /* kept open at most; 0: 256 */
    const char *user_agent; /* NULL: "pawl" */
    const char *ca_file;    /* certificates to trust, PEM; NULL: the system's */
};

MUST_CHECK enum outcome http_init(struct http **out, struct loop *loop,
                                  const struct http_options *options, struct error *err);

/* Cancels what still runs, without on_done.  Not from inside a callback. */
void http_release(struct http *http);

struct http_header {
    const char *name, *value;
};

/* Everything is copied by http_start() but the body. */
struct http_request {
    const char *method;                /* "GET", "POST", ... */
    const char *url;                   /* http or https */
    const struct http_header *headers; /* see http_check_header for what is allowed */
    size_t header_count;
    const char *body; /* borrowed until on_done or http_cancel; NULL: none */
    size_t body_bytes;

    int64_t connect_timeout_ms; /* name, connection and TLS together */
    int64_t timeout_ms;         /* the whole call: also ends a body that drips for ever */
    /* From the connection to the first byte of the answer; 0: only the above. */
    int64_t first_byte_timeout_ms;
    /* Between two pieces of the answer; 0: only the above. */
    int64_t silence_timeout_ms;
    size_t body_limit_bytes;   /* of the answer, streamed or not */
    size_t header_limit_bytes; /* of the answer, all heads of it together */

    /* GET and HEAD only, on the same host only (headers may hold secrets), not
     * with no_resend; 0: a redirect is an answer like any other.           */
    int redirects;
    bool single_send;
    bool no_resend; /* single_send has it, too */

    const struct outbound *outbound; /* where it may go; NULL: anywhere */
};

/* The head of an answer, valid inside on_head only; its values are those of the
 * first header of that name.                                                 */
struct http_head {
    long status;
    struct http_call *call;
};

/* The value of a header, by name in any case; NULL when it did not come. */
const char *http_head_get(const struct http_head *head, const char *name);

enum http_end {
    HTTP_ANSWERED, /* a whole answer came, whatever its status */
    HTTP_NOT_SENT, /* certainly no byte of the request left: exactly when !maybe_sent */
    HTTP_CUT,      /* sent perhaps, but no whole or no well-formed answer came */
    HTTP_TIMED_OUT,
    HTTP_TOO_LARGE, /* head or body beyond the limit; `body` holds what fits */
    HTTP_STOPPED,   /* on_head or on_body said stop */
    HTTP_CANCELLED, /* counted in the metrics only: on_done is not called */
    HTTP_ENDS
};

const char *http_end_name(enum http_end end); /* "answered", "not_sent", ... */

struct http_result {
    enum http_end end;
    bool maybe_sent; /* false only when it is certain; see above */
    bool hopeless;   /* the request itself is wrong: no repetition helps */
    bool forbidden;  /* it, or its redirect, may not go there */
    long status;     /* 0 when no head came; may stand beside any end */

    /* Collected when on_body is NULL: never NULL then, NUL-terminated, borrowed
     * until on_done returns.  With on_body: NULL.                            */
    const char *body;
    size_t body_bytes; /* received, streamed or collected */

    int64_t retry_after_ms;   /* -1: none */
    const char *content_type; /* "" when none; borrowed like body */
    int64_t took_ms;

    /* For people: what failed, with host and port but never a path, a query, a
     * header or a byte of a body.  "" when the call was answered.            */
    struct error error;
};

/* All callbacks may start and cancel calls, this one included.  NULLs allowed but
 * for on_done.  on_head comes once, before the first byte of the body (or at the
 * end when there is none): never for an interim answer (1xx) or for a redirect that
 * is followed.                                                               */
struct http_events {
    bool (*on_head)(void *arg, const struct http_head *head);         /* false: stop */
    bool (*on_body)(void *arg, const char *bytes, size_t byte_count); /* false: stop */
    void (*on_done)(void *arg, const struct http_result *result);
};

/* Never NULL, and never calls back before it returned. */
struct http_call *http_start(struct http *http, const struct http_request *request,
                             const struct http_events *events, void *arg);

/* Ends the call; no callback comes any more.  Answers whether a byte of the
 * request may have been sent.  After on_done the call is gone: do not.       */
bool http_cancel(struct http_call *call);

size_t http_in_flight(const struct http *http);

/* What http_start() would refuse.  Names are tokens, values are free of control
 * characters; headers that frame the message (Content-Length, Transfer-Encoding,
 * Connection, ...) are made by the client alone.                             */
MUST_CHECK enum outcome http_check_header(const struct http_header *header, struct error *err);
MUST_CHECK enum outcome http_check_url(const char *url, struct error *err);

#endif
