/*
 * http_call.h -- the inside of the HTTP client: one call, seen by the four files
 * that make it. Nobody else includes this.
 *
 *     http.c          the client: libcurl on the loop, start, cancel, end
 *     http_request.c  from struct http_request to libcurl's options; what a request
 *                     may say; the line after which it may have been sent
 *     http_answer.c   head and body as they arrive, timeouts, what went wrong
 *     http_socket.c   the sockets, and whether one may be used again
 *
 * libcurl must not be called from its own callbacks. While it runs, `inside` is
 * above 0, and calls that are started or cancelled are parked until it returns.
 */
#ifndef PAWL_COMMON_HTTP_CALL_H
#define PAWL_COMMON_HTTP_CALL_H

#include "common/buf.h"
#include "common/http.h"

#include <assert.h>
#include <curl/curl.h>

struct http_socket {
    int fd;
    int own_port; /* 0: not known yet */
    bool used;    /* a request was sent over it */
};

struct http {
    struct loop *loop;
    CURLM *multi;
    /* libcurl's descriptors have an epoll of their own, and the loop watches that: a
     * connection falls asleep and wakes with every call, and libuv would take six
     * system calls for it where two do.                                     */
    int epoll_fd;
    struct loop_watch watch;
    struct loop_timer timer; /* the one that libcurl asks for */
    struct loop_task now;    /* the same with a delay of 0 */
    struct http_call *calls; /* all that are neither done nor cancelled, and the parked */
    struct http_call *parked;
    size_t in_flight;
    int inside; /* > 0 while libcurl runs: it must not be called from its callbacks */
    char *user_agent, *ca_file;
    struct http_socket *sockets; /* all that libcurl has open, in use or kept alive */
    size_t socket_count, socket_room;
};

struct http_call {
    struct http *http;
    struct http_call *prev, *next, *next_parked;
    struct http_events events;
    void *arg;
    CURL *easy;
    struct curl_slist *headers;
    char curl_text[CURL_ERROR_SIZE];

    /* What was asked for. */
    int64_t connect_timeout_ms, timeout_ms, first_byte_timeout_ms, silence_timeout_ms;
    size_t body_limit_bytes, header_limit_bytes;
    bool single_send, no_resend;
    const struct outbound *outbound;
    int redirects;
    char where[128]; /* host:port, for error texts */
    CURLU *origin;   /* kept when redirects are followed */

    /* What happened. */
    int64_t started_ms, sent_ms, heard_ms;
    int sends;      /* how often libcurl was about to send the request */
    bool soiled;    /* the connection was not clean, nothing was sent: once more, on a new one */
    bool heard;     /* a byte of the answer came */
    bool looked;    /* the timer has expired once since the last byte */
    bool told;      /* on_head was called */
    bool hopeless;  /* the request itself is wrong; `error` says why */
    bool forbidden; /* the host, or an address of it, is none to go to */
    bool in_multi;  /* libcurl has it */
    bool parked;    /* in http->parked */
    bool ending;    /* its last callbacks run: only its owner may free it now */
    bool ended;     /* on_done was called */
    bool cancelled;
    enum http_end verdict; /* why we stopped it ourselves; HTTP_ENDS: we did not */
    struct error error;
    size_t header_bytes, body_bytes;
    struct buf body;
    struct loop_timer timer; /* first byte and silence; or the answer of a refused call */
};

/* All options are known to the libcurl we build with, and their values are ours,
 * so that only want of memory can make this fail.                           */
#define SET(easy, option, value)                                    \
    do {                                                            \
        CURLcode rc_ = curl_easy_setopt((easy), (option), (value)); \
        assert(rc_ == CURLE_OK);                                    \
    } while (0)

#define SET_MULTI(multi, option, value)                                \
    do {                                                               \
        CURLMcode rc_ = curl_multi_setopt((multi), (option), (value)); \
        assert(rc_ == CURLM_OK);                                       \
    } while (0)

/* ---- http.c -------------------------------------------------------------- */

/* Takes the call out, tells on_done and frees it. Not while libcurl runs. */
void http_call_end(struct http_call *call, enum http_end end);
void http_call_again(struct http_call *call); /* from the beginning, on a new connection */
void http_call_drop(struct http_call *call);  /* the same without a word: it was cancelled */

/* ---- http_request.c ------------------------------------------------------ */

MUST_CHECK enum outcome http_call_prepare(struct http_call *call,
                                          const struct http_request *request, struct error *err);

/* ---- http_socket.c ------------------------------------------------------- */

/* Called by libcurl; `arg` is the call, and of the second one the client. */
curl_socket_t http_socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
int http_socket_close(void *arg, curl_socket_t fd);

/* Is this a connection that has been used before, and holds bytes that nobody asked
 * for, or has ended?                                                         */
bool http_socket_is_soiled(struct http *http, const char *peer_ip, int peer_port, int own_port);

/* ---- http_answer.c: called by libcurl and the loop, `arg` is the call ------ */

size_t http_on_header(char *bytes, size_t one, size_t n, void *arg);
size_t http_on_body(char *bytes, size_t one, size_t n, void *arg);
void http_on_call_time(void *arg);
void http_call_ended_with(struct http_call *call, CURLcode code);
const char *http_call_header(struct http_call *call, const char *name); /* NULL: none */
int64_t http_call_retry_after_ms(struct http_call *call);

/* What a Retry-After says, seconds or a date (RFC 9110, 10.2.3); a date is counted from the
 * answer's own, if it has one.  Both may be NULL.  -1: it says nothing.      */
int64_t http_retry_after_ms(const char *text, const char *date, int64_t now_wall_ms);

#endif
