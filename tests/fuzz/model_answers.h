/*
 * model_answers.h -- what the fuzzers of the dialects share: an answer is read at once
 * and in pieces, and both must give the same reply.
 *
 * The first byte of an input chooses the content type and the size of the pieces; the
 * rest is the answer.
 */
#ifndef PAWL_TESTS_FUZZ_MODEL_ANSWERS_H
#define PAWL_TESTS_FUZZ_MODEL_ANSWERS_H

#include "common/text.h"
#include "planner/reader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 8 * 1024, REPLY_LIMIT = 256 * 1024, ECHO_BYTES = 512 };
#define FUZZ_SECRET "sk-secret"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_text(const char *text)
{
    must(text && text_is_utf8(text, strlen(text)));
}

/* A failure has a code and words, and never the key. */
static bool check_failure(const struct model_reply *r)
{
    if (r->outcome == OK)
        return false;
    must(r->code && *r->error.text && !strstr(r->error.text, FUZZ_SECRET));
    return true;
}

static void hear(void *arg, enum reply_item_type type, int index, const char *bytes, size_t n)
{
    (void)arg;
    must(type == REPLY_TEXT || type == REPLY_REASONING);
    must(index >= 0 && n > 0 && !memchr(bytes, 0, n) && text_is_utf8(bytes, n));
}

static struct model_reply *read_answer(const struct dialect *dialect, const char *type,
                                       const char *bytes, size_t n, size_t piece)
{
    const struct reader_options options = { LIMIT, "pawl_1", FUZZ_SECRET, { hear, NULL } };
    struct reader *r = reader_new(dialect, &options, type);
    reader_expect_echo(r, ECHO_BYTES);
    enum outcome outcome = OK;
    for (size_t at = 0; at < n && outcome == OK; at += piece)
        outcome = reader_feed(r, bytes + at, piece < n - at ? piece : n - at);
    struct model_reply *reply = model_reply_new(REPLY_LIMIT);
    reader_finish(r, true, reply);
    reader_free(r);
    return reply;
}

/* One input; `check` looks at the reply. */
static void fuzz_answer(const struct dialect *dialect, const uint8_t *data, size_t size,
                        void (*check)(const struct model_reply *r))
{
    static const char *const types[] = { "text/event-stream", "application/json", "" };
    if (size < 1)
        return;
    const char *type = types[data[0] % 3], *bytes = (const char *)data + 1;
    size_t n = size - 1;
    struct model_reply *whole = read_answer(dialect, type, bytes, n, n ? n : 1);
    struct model_reply *cut = read_answer(dialect, type, bytes, n, 1 + data[0] / 3 % 32);
    check(whole);
    must(whole->outcome == cut->outcome && whole->item_count == cut->item_count &&
         whole->end == cut->end && whole->usage.tokens_in == cut->usage.tokens_in);
    must(whole->outcome != OK ||
         (whole->raw_n == cut->raw_n && memcmp(whole->raw, cut->raw, cut->raw_n) == 0));
    model_reply_free(whole);
    model_reply_free(cut);
}

#endif
