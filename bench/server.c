/*
 * server.c -- the model and the tool of the benchmark, as cheap as can be.
 *
 *     bench-server PORT
 *
 *     POST /v1/chat/completions   a scripted model: the answer depends only on
 *                                 the number of tool messages in the request.
 *                                 "model": "scripted;s=8;k=2;b=1024" has 8
 *                                 steps, 2 calls a step, contents of 1024 bytes.
 *                                 Answers at once, or with ";d=1000;e=5000" after 1 to 5 s;
 *                                 streamed when asked.
 *     POST /tool                  answers with 1 KB, at once or after /tool?d=...&e=...
 *     GET  /stats                 {"model": calls, "tool": calls, "keys": different keys,
 *                                  "dup": calls with a key seen before,
 *                                  "model_again": model calls for a step of a conversation that
 *                                  was asked for before, "model_cut", "tool_cut": calls whose
 *                                  caller had hung up when their answer was due}
 *     POST /reset
 *
 * Nothing is de-duplicated: it counts.  Loopback only.
 */
#include "bench/waiting.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 16 << 20, ANSWER_MAX = 1 << 20, KEYS = 1 << 22 };

struct script {
    int steps, calls, bytes;
    int wait_ms, wait_max_ms;
};

struct body {
    char *data;
    size_t len, cap;
    bool counted; /* it was read to its end, and has waited since */
    atomic_bool gone;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long model_calls, tool_calls, keys, doubled, model_again, model_cut, tool_cut;
static unsigned long *seen; /* open addressing: hashes of the keys */

static unsigned long hash(unsigned long h, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211UL;
    return h;
}

/* Whether it was seen before; from now on it was. */
static bool note(unsigned long h)
{
    h |= 1;
    size_t at = h % KEYS;
    while (seen[at] && seen[at] != h)
        at = (at + 1) % KEYS;
    bool before = seen[at] == h;
    seen[at] = h;
    return before;
}

static void count_key(const char *key)
{
    if (note(hash(1469598103934665603UL, key, strlen(key))))
        doubled++;
    else
        keys++;
}

static int number_after(const char *text, const char *name, int otherwise)
{
    const char *at = text ? strstr(text, name) : NULL;
    return at ? (int)strtol(at + strlen(name), NULL, 10) : otherwise;
}

static struct script read_script(const char *body)
{
    const char *at = strstr(body, "scripted;");
    char text[128] = "";
    if (at)
        snprintf(text, sizeof text, "%.100s", at);
    text[strcspn(text, "\"")] = 0;
    return (struct script){ number_after(text, "s=", 8), number_after(text, "k=", 2),
                            number_after(text, "b=", 1024), number_after(text, "d=", 0),
                            number_after(text, "e=", 0) };
}

static int patience_ms(int least_ms, int most_ms)
{
    return most_ms > least_ms ? least_ms + (int)(random() % (most_ms - least_ms)) : least_ms;
}

static int count_results(const char *body)
{
    int n = 0;
    for (const char *p = body; (p = strstr(p, "\"role\"")) != NULL; p += 6) {
        const char *v = p + 6;
        v += strspn(v, " :");
        n += strncmp(v, "\"tool\"", 6) == 0;
    }
    return n;
}

/* A step is known by what the user said and by how many results there are. */
static void count_step(const char *body)
{
    const char *said = strstr(body, "\"user\"");
    int results = count_results(body);
    unsigned long h = hash(7809847782465536322UL, (const char *)&results, sizeof results);
    if (said)
        model_again += note(hash(h, said, strcspn(said, "}")));
}

struct text {
    char *at, *end;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    t->at += vsnprintf(t->at, (size_t)(t->end - t->at), format, ap);
    va_end(ap);
}

static void put_filler(struct text *t, int bytes)
{
    memset(t->at, 'x', (size_t)bytes);
    t->at += bytes;
    *t->at = 0;
}

static void put_calls(struct text *t, const struct script *s, int step)
{
    put(t, "\"tool_calls\":[");
    for (int k = 0; k < s->calls; k++) {
        put(t,
            "%s{\"id\":\"call_%d_%d\",\"type\":\"function\",\"function\":{\"name\":\"work\","
            "\"arguments\":\"{\\\"step\\\":%d,\\\"call\\\":%d,\\\"data\\\":\\\"",
            k ? "," : "", step, k, step, k);
        put_filler(t, s->bytes);
        put(t, "\\\"}\"}}");
    }
    put(t, "]");
}

static void put_stream_calls(struct text *t, const struct script *s, int step)
{
    for (int k = 0; k < s->calls; k++) {
        put(t,
            "data: "
            "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"tool_"
            "calls\":[{\"index\":%d,"
            "\"id\":\"call_%d_%d\",\"type\":\"function\",\"function\":{\"name\":\"work\","
            "\"arguments\":\"{\\\"step\\\":%d,"
            "\\\"call\\\":%d,\\\"data\\\":\\\"",
            k, step, k, step, k);
        put_filler(t, s->bytes);
        put(t, "\\\"}\"}}]}}]}\n\n");
    }
}

static void put_answer(struct text *t, const struct script *s, int step, bool stream)
{
    bool last = step >= s->steps;
    const char *reason = last ? "stop" : "tool_calls";
    if (!stream) {
        put(t,
            "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"finish_reason\":\"%s\","
            "\"message\":{\"role\":\"assistant\",",
            reason);
        put(t, last ? "\"content\":\"" : "\"content\":null,");
        if (last) {
            put_filler(t, s->bytes);
            put(t, "\"");
        } else {
            put_calls(t, s, step);
        }
        put(t,
            "}}],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":10,\"total_tokens\":110}}");
        return;
    }
    if (last) {
        put(t, "data: "
               "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{"
               "\"role\":\"assistant\",\"content\":\"");
        put_filler(t, s->bytes);
        put(t, "\"}}]}\n\n");
    } else {
        put_stream_calls(t, s, step);
    }
    put(t,
        "data: "
        "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_"
        "reason\":\"%s\"}]}\n\n",
        reason);
    put(t, "data: "
           "{\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":100,"
           "\"completion_tokens\":10,"
           "\"total_tokens\":110}}\n\ndata: [DONE]\n\n");
}

static enum MHD_Result answer(struct MHD_Connection *c, char *text, size_t n, const char *type)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(r, "Content-Type", type);
    enum MHD_Result done = MHD_queue_response(c, 200, r);
    MHD_destroy_response(r);
    return done;
}

static enum MHD_Result think(struct MHD_Connection *c, const char *body)
{
    struct script s = read_script(body);
    bool stream = strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true");
    size_t room = 4096 + (size_t)(s.calls + 1) * ((size_t)s.bytes + 512);
    struct text t = { malloc(room), NULL };
    char *start = t.at;
    t.end = t.at + room;
    put_answer(&t, &s, (s.calls ? count_results(body) / s.calls : 0) + 1, stream);
    return answer(c, start, (size_t)(t.at - start),
                  stream ? "text/event-stream" : "application/json");
}

static enum MHD_Result work(struct MHD_Connection *c)
{
    struct text t = { malloc(2048), NULL };
    char *start = t.at;
    t.end = t.at + 2048;
    put(&t, "{\"result\":\"");
    put_filler(&t, 1024);
    put(&t, "\"}");
    return answer(c, start, (size_t)(t.at - start), "application/json");
}

static enum MHD_Result tell(struct MHD_Connection *c)
{
    enum { ROOM = 512 };
    char *text = malloc(ROOM);
    pthread_mutex_lock(&lock);
    int n = snprintf(text, ROOM,
                     "{\"model\":%ld,\"tool\":%ld,\"keys\":%ld,\"dup\":%ld,"
                     "\"model_again\":%ld,\"model_cut\":%ld,\"tool_cut\":%ld}\n",
                     model_calls, tool_calls, keys, doubled, model_again, model_cut, tool_cut);
    pthread_mutex_unlock(&lock);
    return answer(c, text, (size_t)n, "application/json");
}

static enum MHD_Result reset(struct MHD_Connection *c)
{
    pthread_mutex_lock(&lock);
    model_calls = tool_calls = keys = doubled = model_again = model_cut = tool_cut = 0;
    memset(seen, 0, KEYS * sizeof *seen);
    pthread_mutex_unlock(&lock);
    return tell(c);
}

static bool collect(struct body *b, const char *data, size_t n)
{
    if (b->len + n + 1 > BODY_MAX)
        return false;
    if (b->len + n + 1 > b->cap) {
        b->cap = (b->len + n + 1) * 2;
        b->data = realloc(b->data, b->cap);
    }
    memcpy(b->data + b->len, data, n);
    b->len += n;
    b->data[b->len] = 0;
    return true;
}

static void count_call(struct MHD_Connection *c, const struct body *b, bool model)
{
    const char *key = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Idempotency-Key");
    pthread_mutex_lock(&lock);
    model_calls += model;
    tool_calls += !model;
    if (model && b->data)
        count_step(b->data);
    if (!model && key)
        count_key(key);
    pthread_mutex_unlock(&lock);
}

static void count_cut(bool model)
{
    pthread_mutex_lock(&lock);
    model_cut += model;
    tool_cut += !model;
    pthread_mutex_unlock(&lock);
}

/* How long this call takes. */
static int wait_of(struct MHD_Connection *c, const struct body *b, bool model)
{
    if (model) {
        struct script s = read_script(b->data ? b->data : "");
        return patience_ms(s.wait_ms, s.wait_max_ms);
    }
    const char *least = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "d");
    const char *most = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "e");
    return patience_ms(least ? (int)strtol(least, NULL, 10) : 0,
                       most ? (int)strtol(most, NULL, 10) : 0);
}

static enum MHD_Result serve(void *arg, struct MHD_Connection *c, const char *url,
                             const char *method, const char *version, const char *data, size_t *n,
                             void **state)
{
    (void)arg, (void)version;
    struct body *b = *state;
    if (!b) {
        *state = calloc(1, sizeof *b);
        return *state ? MHD_YES : MHD_NO;
    }
    if (*n) {
        bool good = collect(b, data, *n);
        *n = 0;
        return good ? MHD_YES : MHD_NO;
    }
    if (strcmp(url, "/stats") == 0)
        return tell(c);
    if (strcmp(url, "/reset") == 0)
        return reset(c);
    bool model = strcmp(url, "/v1/chat/completions") == 0;
    if (strcmp(method, "POST") != 0 || (!model && strcmp(url, "/tool") != 0))
        return MHD_NO;
    if (!b->counted) {
        b->counted = true;
        count_call(c, b, model);
        int wait_ms = wait_of(c, b, model);
        if (wait_ms > 0) {
            waiting_add(c, wait_ms, &b->gone);
            return MHD_YES;
        }
    }
    if (atomic_load(&b->gone))
        count_cut(model);
    return model ? think(c, b->data ? b->data : "") : work(c);
}

static void finished(void *arg, struct MHD_Connection *c, void **state,
                     enum MHD_RequestTerminationCode why)
{
    (void)arg, (void)c, (void)why;
    struct body *b = *state;
    if (b)
        free(b->data);
    free(b);
    *state = NULL;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: bench-server PORT\n");
        return 64;
    }
    seen = calloc(KEYS, sizeof *seen);
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)strtol(argv[1], NULL, 10)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        serve, NULL, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_NOTIFY_COMPLETED, finished, NULL,
        MHD_OPTION_CONNECTION_LIMIT, 20000u, MHD_OPTION_END);
    if (!seen || !d) {
        fprintf(stderr, "bench-server: cannot listen on 127.0.0.1:%s\n", argv[1]);
        return 1;
    }
    waiting_start();
    int signal;
    sigwait(&stop, &signal);
    waiting_stop();
    MHD_stop_daemon(d);
    return 0;
}
