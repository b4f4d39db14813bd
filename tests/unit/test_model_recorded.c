/*
 * test_model_recorded.c -- streams that a model server sent (recorded/record.py says
 * how they were made), cut at every byte: the same reply, or a clean error.
 */
#include "tests/unit/cm.h"

#include "common/memory.h"
#include "planner/model_anthropic.h"
#include "planner/model_openai_chat.h"
#include "planner/model_openai_responses.h"
#include "tests/unit/cut_answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SSE "text/event-stream"

static const struct dialect *const dialects[] = { &openai_chat, &openai_responses, &anthropic };
enum { DIALECTS = sizeof dialects / sizeof *dialects };

static const struct recording {
    const char *name;
    const char *type;
    enum outcome outcome;
    enum reply_end end;
    struct reply_item items[4];
    size_t count;
    bool text_only; /* arguments that are no JSON: only where they are text */
} recordings[] = {
    { .name = "parallel.sse",
      .type = SSE,
      .end = REPLY_END_STOP,
      .count = 4,
      .items = { { .type = REPLY_REASONING,
                   .content = "Two cities, so two calls. The user wants degrees Celsius." },
                 { .type = REPLY_TEXT, .content = "I look it up for both." },
                 { .type = REPLY_CALL,
                   .call_id = "call_paris",
                   .tool = "weather",
                   .arguments = "{\"city\":\"Paris\",\"unit\":\"C\"}" },
                 { .type = REPLY_CALL,
                   .call_id = "call_ulm",
                   .tool = "weather",
                   .arguments = "{\"city\":\"Ulm \\\"an der Donau\\\"\",\"unit\":\"\xc2\xb0"
                                "C\"}" } } },
    { .name = "again.sse",
      .type = SSE,
      .end = REPLY_END_STOP,
      .count = 2,
      .items = { { .type = REPLY_REASONING, .content = "Ulm said nothing of rain; one more call." },
                 { .type = REPLY_CALL,
                   .call_id = "call_rain",
                   .tool = "rain",
                   .arguments = "{}" } } },
    { .name = "text.sse",
      .type = SSE,
      .end = REPLY_END_STOP,
      .count = 2,
      .items = { { .type = REPLY_REASONING, .content = "Both are known now.\n\nAnswer shortly." },
                 { .type = REPLY_TEXT,
                   .content = "Paris: 21 \xc2\xb0"
                              "C. Ulm: 17 \xc2\xb0"
                              "C \xe2\x80\x94 gr\xc3\xbc\xc3\x9f Gott! "
                              "\xf0\x9f\x8c\xa6\xef\xb8\x8f\n\nTake an umbrella." } } },
    { .name = "broken.sse",
      .type = SSE,
      .text_only = true,
      .end = REPLY_END_STOP,
      .count = 1,
      .items = { { .type = REPLY_CALL,
                   .call_id = "call_broken",
                   .tool = "weather",
                   .arguments = "{\"city\": \"Par" } } },
    { .name = "length.sse",
      .type = SSE,
      .end = REPLY_END_LENGTH,
      .count = 1,
      .items = { { .type = REPLY_TEXT, .content = "This sentence has no e" } } },
    { .name = "cut.sse", .type = SSE, .outcome = RETRY },
};
enum { RECORDINGS = sizeof recordings / sizeof *recordings };

static bool has(const struct dialect *dialect, size_t i)
{
    return dialect != &anthropic || !recordings[i].text_only;
}

static char *recorded(const struct dialect *dialect, const char *name, size_t *n)
{
    char path[512];
    const char *root = getenv("PAWL_SOURCE_DIR");
    (void)snprintf(path, sizeof path, "%s/tests/unit/recorded/%s/%s", root ? root : ".",
                   dialect->name, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be read", path);
    enum { MOST = 64 * 1024 };
    char *bytes = xcalloc(MOST, 1);
    *n = fread(bytes, 1, MOST, file);
    (void)fclose(file);
    assert_in_range(*n, 1, MOST - 1);
    return bytes;
}

static void assert_item(const struct reply_item *item, const struct reply_item *expected)
{
    assert_int_equal(item->type, expected->type);
    if (item->type != REPLY_CALL) {
        assert_string_equal(item->content, expected->content);
        return;
    }
    assert_string_equal(item->call_id, expected->call_id);
    assert_string_equal(item->tool, expected->tool);
    assert_string_equal(item->arguments, expected->arguments);
}

static void assert_as_expected(const struct model_reply *r, const struct recording *expected)
{
    assert_int_equal(r->outcome, expected->outcome);
    if (r->outcome != OK) {
        assert_string_equal(r->code, "answer_cut");
        return;
    }
    assert_int_equal(r->end, expected->end);
    assert_int_equal(r->item_count, expected->count);
    for (size_t i = 0; i < expected->count; i++)
        assert_item(&r->items[i], &expected->items[i]);
}

/* The same agent in every dialect: what is stored differs in the opaque part alone. */
static void every_dialect_reads_the_same(void **state)
{
    (void)state;
    for (size_t d = 0; d < DIALECTS; d++) {
        for (size_t i = 0; i < RECORDINGS; i++) {
            if (!has(dialects[d], i))
                continue;
            size_t n;
            char *bytes = recorded(dialects[d], recordings[i].name, &n);
            struct model_reply *r = cut_read_all(dialects[d], recordings[i].type, bytes, n, true);
            assert_as_expected(r, &recordings[i]);
            model_reply_free(r);
            free(bytes);
        }
    }
}

/* Without its end it is never another answer: neither a shorter text, nor half a call. */
static void a_recorded_stream_may_end_anywhere(void **state)
{
    (void)state;
    for (size_t d = 0; d < DIALECTS; d++) {
        for (size_t i = 0; i < RECORDINGS; i++) {
            if (!has(dialects[d], i))
                continue;
            size_t n, whole = 0;
            char *bytes = recorded(dialects[d], recordings[i].name, &n);
            for (size_t cut = 0; cut < n; cut++) {
                struct model_reply *r =
                    cut_read(dialects[d], recordings[i].type, bytes, cut, cut, cut, cut % 2);
                if (r->outcome == OK) {
                    assert_as_expected(r, &recordings[i]);
                    whole++;
                } else {
                    assert_int_equal(r->outcome, RETRY);
                    assert_string_equal(r->code, "answer_cut");
                    assert_int_equal(whole, 0); /* more bytes never make less of it */
                }
                model_reply_free(r);
            }
            free(bytes);
        }
    }
}

static void one_object_says_what_the_stream_says(void **state)
{
    (void)state;
    for (size_t d = 0; d < DIALECTS; d++) {
        size_t n;
        char *bytes = recorded(dialects[d], "parallel.json", &n);
        struct model_reply *r = cut_read_all(dialects[d], "application/json", bytes, n, true);
        assert_as_expected(r, &recordings[0]);
        assert_int_equal(r->usage.tokens_in, 120);
        assert_int_equal(r->usage.tokens_out, 44);
        for (size_t cut = 0; cut < n; cut++) {
            struct model_reply *part =
                cut_read(dialects[d], "application/json", bytes, cut, cut, cut, cut % 2);
            assert_int_equal(part->outcome, RETRY);
            model_reply_free(part);
        }
        model_reply_free(r);
        free(bytes);
    }
}

static void sealed_thoughts_go_back_as_they_came(void **state)
{
    (void)state;
    size_t n;
    char *bytes = recorded(&anthropic, "sealed.sse", &n);
    struct model_reply *r = cut_read_all(&anthropic, SSE, bytes, n, true);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 2);
    assert_string_equal(
        r->raw, "[{\"type\":\"redacted_thinking\",\"data\":\"EmwKAhgBEgy3va3pzix/LafPsn4a\"},"
                "{\"type\":\"redacted_thinking\",\"data\":\"EmwKAhgBEgxMb3JlbSBpcHN1bSBk\"},"
                "{\"type\":\"thinking\",\"thinking\":\"Some of it nobody may read.\",\"signature\":"
                "\"EqQBCkYIBxgCKkCq0123456789abcdefABCDEF+/==\"},{\"type\":\"tool_use\",\"id\":"
                "\"toolu_01A09q90qw90lq917835lq9\",\"name\":\"weather\",\"input\":{\"city\":"
                "\"Z\xc3\xbcri\"}}]");
    for (size_t cut = 0; cut < n; cut++) {
        struct model_reply *part = cut_read(&anthropic, SSE, bytes, cut, cut, cut, cut % 2);
        if (part->outcome == OK)
            assert_string_equal(part->raw, r->raw);
        else
            assert_string_equal(part->code, "answer_cut");
        model_reply_free(part);
    }
    model_reply_free(r);
    free(bytes);
}

static void usage_is_read_from_the_recordings(void **state)
{
    (void)state;
    for (size_t d = 0; d < DIALECTS; d++) {
        size_t n;
        char *bytes = recorded(dialects[d], "parallel.sse", &n);
        struct model_reply *r = cut_read(dialects[d], SSE, bytes, n, n, n, true);
        assert_int_equal(r->usage.tokens_in, 120);
        assert_int_equal(r->usage.tokens_out, 44);
        model_reply_free(r);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dialect_reads_the_same),
        cmocka_unit_test(a_recorded_stream_may_end_anywhere),
        cmocka_unit_test(one_object_says_what_the_stream_says),
        cmocka_unit_test(sealed_thoughts_go_back_as_they_came),
        cmocka_unit_test(usage_is_read_from_the_recordings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
