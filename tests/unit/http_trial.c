#include "tests/unit/http_trial.h"

#include "common/clock.h"
#include "tests/unit/cm.h"

struct loop trial_loop;
struct http *trial_http;

/* A check that fails in a callback jumps out of it, through libcurl and the loop.
 * They cannot be closed after that.                                         */
static int inside;

int trial_open(void **state)
{
    (void)state;
    struct error err;
    inside = 0;
    if (loop_init(&trial_loop, &err) != OK)
        return -1;
    return http_init(&trial_http, &trial_loop, NULL, &err) == OK ? 0 : -1;
}

int trial_close(void **state)
{
    (void)state;
    if (inside == 0) {
        http_release(trial_http);
        loop_release(&trial_loop);
    }
    return 0;
}

static bool on_head(void *arg, const struct http_head *head)
{
    struct trial *t = arg;
    inside++;
    assert_false(t->done);
    t->heads++;
    bool go_on = !t->on_head || t->on_head(t, head);
    inside--;
    return go_on;
}

static bool on_body(void *arg, const char *bytes, size_t n)
{
    struct trial *t = arg;
    inside++;
    assert_false(t->done);
    assert_int_equal(t->heads, 1);
    assert_true(n > 0);
    t->pieces++;
    t->streamed_bytes += n;
    bool go_on = !t->on_body || t->on_body(t, bytes, n);
    inside--;
    return go_on;
}

static void on_done(void *arg, const struct http_result *result)
{
    struct trial *t = arg;
    inside++;
    assert_false(t->done);
    t->done = true;
    t->call = NULL;
    t->result = *result;
    t->ended_ms = clock_mono_ms();
    (void)snprintf(t->content_type, sizeof t->content_type, "%s", result->content_type);
    if (result->body) {
        assert_int_equal(result->body[result->body_bytes], '\0');
        (void)snprintf(t->body, sizeof t->body, "%s", result->body);
    }
    assert_true(result->maybe_sent == (result->end != HTTP_NOT_SENT));
    assert_true((result->end == HTTP_ANSWERED) == (result->error.text[0] == '\0'));
    t->result.body = t->result.content_type = NULL;
    if (t->on_done)
        t->on_done(t);
    inside--;
}

void trial_start(struct trial *t, const struct http_request *request)
{
    struct http_request r = *request;
    struct http_events events = { .on_head = on_head, .on_done = on_done };
    if (t->stream)
        events.on_body = on_body;
    if (!r.url) {
        (void)snprintf(t->url, sizeof t->url, "http://127.0.0.1:%d%s", t->port,
                       t->path ? t->path : "/");
        r.url = t->url;
    }
    t->call = http_start(trial_http, &r, &events, t);
    assert_non_null(t->call);
    assert_false(t->done);
}

void trial_wait(struct trial *t)
{
    trial_until(t->done);
}

void trial_run(struct trial *t, const struct http_request *request)
{
    trial_start(t, request);
    trial_wait(t);
}
