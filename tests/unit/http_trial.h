/*
 * http_trial.h -- one HTTP call of a test, and what became of it.
 *
 *     struct trial t = { .url_path = "/x" };
 *     trial_run(&t, &(struct http_request){ .method = "GET" });
 *     assert_int_equal(t.end, HTTP_ANSWERED);
 *
 * The loop and the client are those of trial_open(). trial_wait() turns the loop
 * until the call has ended; the time limit only ends a test that has failed.
 */
#ifndef PAWL_TESTS_UNIT_HTTP_TRIAL_H
#define PAWL_TESTS_UNIT_HTTP_TRIAL_H

#include "common/http.h"
#include "common/loop.h"

enum { TRIAL_PATIENCE_MS = 30000, TRIAL_BODY_BYTES = 2048 };

struct trial {
    /* May be given before. */
    int port;         /* for the URL, when the request has none */
    const char *path; /* the same; NULL: "/" */
    bool stream;      /* take the body piece by piece */
    bool (*on_head)(struct trial *t, const struct http_head *head);
    bool (*on_body)(struct trial *t, const char *bytes, size_t n);
    void (*on_done)(struct trial *t);
    void *arg;

    /* What came. */
    struct http_call *call; /* NULL once it has ended */
    bool done;
    int heads, pieces;
    size_t streamed_bytes;
    struct http_result result; /* its pointers are gone; the texts are here: */
    char body[TRIAL_BODY_BYTES], content_type[64];
    int64_t ended_ms;
    char url[256];
};

extern struct loop trial_loop;
extern struct http *trial_http;

/* Setup and teardown of cmocka: a new loop and client. */
int trial_open(void **state);
int trial_close(void **state);

void trial_start(struct trial *t, const struct http_request *request);
void trial_wait(struct trial *t);
void trial_run(struct trial *t, const struct http_request *request);

/* Turns until the condition holds; fails the test when it never does. */
#define trial_until(condition)                                  \
    do {                                                        \
        int64_t give_up_ = clock_mono_ms() + TRIAL_PATIENCE_MS; \
        while (!(condition) && clock_mono_ms() < give_up_)      \
            loop_turn(&trial_loop, 20);                         \
        assert_true(condition);                                 \
    } while (0)

#endif
