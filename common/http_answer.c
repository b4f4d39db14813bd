#include "common/http_call.h"

#include "common/clock.h"
#include "common/text.h"

#include <string.h>
#include <strings.h>

/* ---- the head ------------------------------------------------------------- */

const char *http_call_header(struct http_call *call, const char *name)
{
    struct curl_header *header;
    if (!call->easy ||
        curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    /* libcurl leaves the line end in an empty value. */
    return header->value[strspn(header->value, " \t\r\n")] ? header->value : "";
}

/* Not -1 but nothing: that is a second before 1970, and no date of a server. */
static bool read_date(const char *text, int64_t *at_s)
{
    *at_s = text ? curl_getdate(text, NULL) : -1;
    return *at_s != -1;
}

int64_t http_retry_after_ms(const char *text, const char *date, int64_t now_wall_ms)
{
    const int64_t max_s = HTTP_RETRY_AFTER_MAX_MS / 1000;
    int64_t wait_s = 0, now_s, at_s;
    if (!text || !*text)
        return -1;
    if (text[strspn(text, "0123456789")] == '\0') {
        for (; *text && wait_s < max_s; text++)
            wait_s = wait_s * 10 + (*text - '0');
    } else {
        if (!read_date(text, &at_s))
            return -1;
        if (!read_date(date, &now_s)) /* the sender's time of day, by which it has counted */
            now_s = now_wall_ms / 1000;
        wait_s = at_s - now_s; /* a date of a milliard years is no more than 2^55 s */
    }
    return wait_s < 0 ? 0 : wait_s < max_s ? wait_s * 1000 : HTTP_RETRY_AFTER_MAX_MS;
}

int64_t http_call_retry_after_ms(struct http_call *call)
{
    return http_retry_after_ms(http_call_header(call, "Retry-After"),
                               http_call_header(call, "Date"), clock_wall_ms());
}

/* ---- the answer arrives -------------------------------------------------- */

static bool stop(struct http_call *call, enum http_end verdict)
{
    call->verdict = verdict;
    return false;
}

void http_on_call_time(void *arg)
{
    struct http_call *call = arg;
    if (call->hopeless) {
        http_call_end(call, HTTP_NOT_SENT);
        return;
    }
    int64_t limit_ms = call->heard ? call->silence_timeout_ms : call->first_byte_timeout_ms;
    int64_t since_ms = call->heard ? call->heard_ms : call->sent_ms;
    int64_t left_ms = since_ms + limit_ms - loop_now_ms(call->http->loop);
    if (limit_ms == 0)
        return;
    if (left_ms > 0 || !call->looked) {
        /* Before we call it silent, look into the socket once more: the loop may
         * have been busy while the bytes came.                              */
        call->looked = left_ms <= 0;
        loop_timer_start(&call->timer, left_ms > 0 ? left_ms : 1);
        return;
    }
    (void)fail(&call->error, RETRY,
               call->heard ? "the answer of %s fell silent for %lld ms"
                           : "no answer from %s within %lld ms",
               call->where, (long long)limit_ms);
    http_call_end(call, HTTP_TIMED_OUT);
}

/* Bytes came. The timer is not moved for each of them: it looks at heard_ms
 * when it fires.                                                            */
static void hear(struct http_call *call)
{
    call->heard_ms = loop_now_ms(call->http->loop);
    call->looked = false;
    if (call->heard)
        return;
    call->heard = true;
    loop_timer_stop(&call->timer);
    if (call->silence_timeout_ms > 0)
        loop_timer_start(&call->timer, call->silence_timeout_ms);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's signature */
size_t http_on_header(char *bytes, size_t one, size_t n, void *arg)
{
    (void)bytes;
    (void)one; /* always 1 */
    struct http_call *call = arg;
    hear(call);
    if (n > call->header_limit_bytes - call->header_bytes) {
        (void)fail(&call->error, REFUSED, "the head of the answer of %s is larger than %zu bytes",
                   call->where, call->header_limit_bytes);
        (void)stop(call, HTTP_TOO_LARGE);
        return CURL_WRITEFUNC_ERROR;
    }
    call->header_bytes += n;
    return n;
}

const char *http_head_get(const struct http_head *head, const char *name)
{
    return http_call_header(head->call, name);
}

/* Comes before the first byte of the body, or at the end if there is none: then
 * it is certain that no interim answer (1xx) and no redirect follows.       */
static bool tell_head(struct http_call *call)
{
    struct http_head head = { .call = call };
    call->told = true;
    if (!call->events.on_head)
        return true;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &head.status);
    if (call->events.on_head(call->arg, &head))
        return true;
    (void)fail(&call->error, REFUSED, "the answer of %s was not wanted", call->where);
    return stop(call, HTTP_STOPPED);
}

/* Nobody asked for compression; to unpack what comes all the same would be to
 * trust the peer with our memory and time.  libcurl unpacks in transfer unasked. */
static bool is_coded(struct http_call *call)
{
    const char *content = http_call_header(call, "Content-Encoding");
    const char *transfer = http_call_header(call, "Transfer-Encoding");
    return (content && strcasecmp(content, "identity") != 0) ||
           (transfer && strcasecmp(transfer, "chunked") != 0 &&
            strcasecmp(transfer, "identity") != 0);
}

/* Does the answer say one thing about its length?  With several lengths, or one that
 * is no number, two readers disagree on where it ends, so that what we read may not be
 * what was sent (RFC 9112, 6.3).  Chunks stand above any length.            */
static bool has_one_length(struct http_call *call)
{
    enum { DIGITS_MAX = 18 };
    struct curl_header *header;
    char first[DIGITS_MAX + 1] = "";
    size_t count = 1;
    if (http_call_header(call, "Transfer-Encoding"))
        return true;
    for (size_t i = 0; i < count; i++) {
        if (curl_easy_header(call->easy, "Content-Length", i, CURLH_HEADER, -1, &header) !=
            CURLHE_OK)
            return true; /* none */
        size_t n = strspn(header->value, "0123456789");
        if (n == 0 || n > DIGITS_MAX || header->value[n] != '\0')
            return false;
        if (i == 0)
            memcpy(first, header->value, n);
        else if (strcmp(first, header->value) != 0)
            return false;
        count = header->amount;
    }
    return true;
}

/* The head is there, and a body or the end follows; may the head be believed? */
static bool judge_head(struct http_call *call, bool has_body)
{
    if (has_body && is_coded(call))
        (void)fail(&call->error, REFUSED, "%s compressed its answer though nobody asked for it",
                   call->where);
    else if (!has_one_length(call))
        (void)fail(&call->error, REFUSED, "%s does not say clearly how long its answer is",
                   call->where);
    else
        return tell_head(call);
    return stop(call, HTTP_CUT);
}

static bool take_body(struct http_call *call, const char *bytes, size_t n)
{
    if (!call->told && !judge_head(call, true))
        return false;
    if (call->cancelled)
        return false;
    size_t room = call->body_limit_bytes - call->body_bytes;
    size_t fits = n < room ? n : room;
    call->body_bytes += fits;
    if (fits > 0 && call->events.on_body) {
        if (!call->events.on_body(call->arg, bytes, fits)) {
            (void)fail(&call->error, REFUSED, "the answer of %s was not wanted", call->where);
            return stop(call, HTTP_STOPPED);
        }
    } else if (!buf_add(&call->body, bytes, fits)) {
        fits = 0; /* no memory counts as too large: the others go on */
    }
    if (fits == n)
        return true;
    (void)fail(&call->error, REFUSED, "the answer of %s is larger than %zu bytes", call->where,
               call->body_limit_bytes);
    return stop(call, HTTP_TOO_LARGE);
}

size_t http_on_body(char *bytes, size_t one, size_t n, void *arg)
{
    (void)one;
    struct http_call *call = arg;
    if (call->cancelled)
        return CURL_WRITEFUNC_ERROR;
    hear(call);
    return take_body(call, bytes, n) && !call->cancelled ? n : CURL_WRITEFUNC_ERROR;
}

/* ---- why a call failed --------------------------------------------------- */

static bool is_tls_trouble(CURLcode code)
{
    return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
           code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM ||
           code == CURLE_SSL_CIPHER || code == CURLE_SSL_ISSUER_ERROR;
}

static void say_not_sent(struct http_call *call, CURLcode code)
{
    long os_error = 0;
    char detail[100];
    struct error *err = &call->error;
    int64_t limit =
        call->connect_timeout_ms < call->timeout_ms ? call->connect_timeout_ms : call->timeout_ms;
    (void)curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_error);
    if (call->forbidden)
        (void)fail(err, REFUSED,
                   "%s has an address in a network that tools may not reach (outbound.networks)",
                   call->where);
    else if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY)
        (void)fail(err, RETRY, "cannot resolve the name in %s%s", call->where,
                   code == CURLE_COULDNT_RESOLVE_PROXY ? " (of its proxy)" : "; check the address");
    else if (code == CURLE_COULDNT_CONNECT)
        (void)fail(err, RETRY, "cannot connect to %s: %s", call->where,
                   os_error ? strerror((int)os_error) : curl_easy_strerror(code));
    else if (code == CURLE_OPERATION_TIMEDOUT)
        (void)fail(err, RETRY, "no connection to %s within %lld ms", call->where, (long long)limit);
    else if (is_tls_trouble(code))
        (void)fail(err, RETRY, "TLS with %s failed: %s", call->where,
                   text_bounded(detail, sizeof detail, call->curl_text, strlen(call->curl_text)));
    else
        (void)fail(err, RETRY, "cannot connect to %s: %s", call->where, curl_easy_strerror(code));
}

static bool is_redirect(struct http_call *call)
{
    long status = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    return status >= 300 && status <= 399;
}

static enum http_end say_cut(struct http_call *call, CURLcode code)
{
    struct error *err = &call->error;
    if (code == CURLE_OPERATION_TIMEDOUT) {
        (void)fail(err, RETRY, "%s from %s within %lld ms",
                   call->heard ? "no whole answer" : "no answer", call->where,
                   (long long)call->timeout_ms);
        return HTTP_TIMED_OUT;
    }
    if (code == CURLE_OUT_OF_MEMORY && call->body_bytes == 0) {
        /* So libcurl says that one line of the head is longer than it takes (100 KiB):
         * the callback that counts sees whole lines only.                   */
        (void)fail(err, REFUSED, "a line of the head of the answer of %s is too long", call->where);
        return HTTP_TOO_LARGE;
    }
    if (call->forbidden)
        (void)fail(err, REFUSED,
                   "%s redirects to an address in a network that tools may not reach "
                   "(outbound.networks)",
                   call->where);
    else if (code == CURLE_GOT_NOTHING)
        (void)fail(err, RETRY, "%s closed the connection without an answer", call->where);
    else if (code == CURLE_PARTIAL_FILE)
        (void)fail(err, RETRY, "%s closed the connection in the middle of its answer", call->where);
    else if (code == CURLE_UNSUPPORTED_PROTOCOL && is_redirect(call))
        (void)fail(err, RETRY, "%s redirects to what is not HTTP", call->where);
    else if (code == CURLE_UNSUPPORTED_PROTOCOL)
        (void)fail(err, RETRY, "%s did not answer in HTTP", call->where);
    else if (code == CURLE_TOO_MANY_REDIRECTS)
        (void)fail(err, RETRY, "%s redirects more than %d times", call->where, call->redirects);
    else
        (void)fail(err, RETRY, "the connection to %s was cut: %s", call->where,
                   curl_easy_strerror(code));
    return HTTP_CUT;
}

/* libcurl is done with the call. */
void http_call_ended_with(struct http_call *call, CURLcode code)
{
    call->ending = true; /* on_head may cancel the call: then it ends here, and in silence */
    if (code == CURLE_OK && call->verdict == HTTP_ENDS && !call->told)
        (void)judge_head(call, false); /* an answer without a body; may set the verdict */
    if (call->cancelled) {
        http_call_drop(call);
        return;
    }
    if (call->soiled) {
        http_call_again(call);
        return;
    }
    enum http_end end = HTTP_ANSWERED;
    call->forbidden = call->forbidden && code == CURLE_COULDNT_CONNECT; /* no other address did */
    if (call->verdict != HTTP_ENDS) {
        end = call->verdict;
    } else if (code != CURLE_OK && call->sends == 0) {
        end = HTTP_NOT_SENT;
        call->hopeless =
            code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || call->forbidden;
        say_not_sent(call, code);
    } else if (code != CURLE_OK) {
        end = say_cut(call, code);
    }
    http_call_end(call, end);
}
