/*
 * test_model_openai_chat.c -- the dialect read and written without a socket.
 *
 * Every stream is read three times: whole, byte by byte, and cut in two at every
 * place; the three replies must be the same.
 */
#include "tests/unit/cm.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/model_openai_chat.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT(json) "data: " json "\n\n"
#define DELTA(json) EVENT("{\"choices\":[{\"index\":0,\"delta\":" json "}]}")
#define END(reason) \
    EVENT("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]}")
#define DONE "data: [DONE]\n\n"
#define CALL(index, id, name, arguments)                            \
    DELTA("{\"tool_calls\":[{\"index\":" #index ",\"id\":\"" id     \
          "\",\"type\":\"function\",\"function\":{\"name\":\"" name \
          "\",\"arguments\":\"" arguments "\"}}]}")
#define MORE(index, arguments)                                                              \
    DELTA("{\"tool_calls\":[{\"index\":" #index ",\"function\":{\"arguments\":\"" arguments \
          "\"}}]}")

static const char *const sse = "text/event-stream; charset=utf-8";
static const char *const json = "application/json";

struct piece {
    const char *bytes;
    size_t n;
};

static struct model_reply *read_pieces(const char *type, const struct piece *pieces, size_t count,
                                       bool whole, size_t limit)
{
    const struct reader_options options = { limit, "pawl_7", "sk-very-secret" };
    struct reader *r = openai_chat.reader_new(&options, type);
    for (size_t i = 0; i < count; i++)
        if (openai_chat.reader_feed(r, pieces[i].bytes, pieces[i].n) != OK)
            break;
    struct model_reply *reply = model_reply_new((size_t)16 << 20);
    openai_chat.reader_finish(r, whole, reply);
    openai_chat.reader_free(r);
    return reply;
}

static void assert_same(const struct model_reply *a, const struct model_reply *b)
{
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->item_count, b->item_count);
    assert_int_equal(a->call_count, b->call_count);
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->usage.tokens_in, b->usage.tokens_in);
    assert_int_equal(a->usage.tokens_out, b->usage.tokens_out);
    if (a->outcome == OK)
        assert_string_equal(a->raw, b->raw);
    else
        assert_string_equal(a->error.text, b->error.text);
}

enum { LIMIT = 64 * 1024 };

/* The reply to these bytes, whatever their cuts. */
static struct model_reply *read_answer(const char *type, const char *text, bool whole)
{
    size_t n = strlen(text);
    struct piece all = { text, n };
    struct model_reply *reply = read_pieces(type, &all, 1, whole, LIMIT);
    struct piece *bytes = xcalloc(n + 1, sizeof *bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (struct piece){ text + i, 1 };
    struct model_reply *other = read_pieces(type, bytes, n, whole, LIMIT);
    assert_same(reply, other);
    model_reply_free(other);
    free(bytes);
    for (size_t cut = 1; cut < n; cut++) {
        struct piece two[] = { { text, cut }, { text + cut, n - cut } };
        other = read_pieces(type, two, 2, whole, LIMIT);
        assert_same(reply, other);
        model_reply_free(other);
    }
    return reply;
}

static struct model_reply *read_stream(const char *text)
{
    return read_answer(sse, text, true);
}

static void assert_call(const struct model_reply *r, size_t at, const char *id, const char *tool,
                        const char *arguments)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, REPLY_CALL);
    assert_string_equal(r->items[at].call_id, id);
    assert_string_equal(r->items[at].tool, tool);
    assert_string_equal(r->items[at].arguments, arguments);
    assert_int_equal(r->items[at].arguments_n, strlen(arguments));
}

static void assert_text(const struct model_reply *r, size_t at, const char *text)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, REPLY_TEXT);
    assert_string_equal(r->items[at].content, text);
}

/* ---- good answers ---------------------------------------------------------------- */

static void reads_text(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(
        ": a comment\n\n" DELTA("{\"role\":\"assistant\",\"content\":\"\"}")
            DELTA("{\"content\":\"Gr\xc3\xbc\xc3\x9f\"}") DELTA("{\"content\":\" Gott\"}")
                END("stop")
                    EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,"
                          "\"prompt_tokens_details\":{\"cached_tokens\":8}}}") DONE);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_STOP);
    assert_int_equal(r->item_count, 1);
    assert_text(r, 0, "Gr\xc3\xbc\xc3\x9f Gott");
    assert_string_equal(r->raw, "{\"role\":\"assistant\",\"content\":\"Gr\xc3\xbc\xc3\x9f Gott\"}");
    assert_int_equal(r->usage.tokens_in, 12);
    assert_int_equal(r->usage.tokens_out, 3);
    assert_int_equal(r->usage.tokens_cached, 8);
    model_reply_free(r);
}

static void reads_interleaved_calls_with_gaps(void **state)
{
    (void)state;
    struct model_reply *r =
        read_stream(DELTA("{\"role\":\"assistant\",\"content\":null}")
                        CALL(4, "c4", "late", "{\\\"a\\\"") CALL(1, "c1", "early", "") MORE(4, ":1")
                            MORE(1, "{") MORE(4, "}") MORE(1, "}") END("tool_calls") DONE);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->call_count, 2);
    assert_call(r, 0, "c1", "early", "{}");
    assert_call(r, 1, "c4", "late", "{\"a\":1}");
    assert_string_equal(r->raw,
                        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\","
                        "\"type\":\"function\",\"function\":{\"name\":\"early\",\"arguments\":"
                        "\"{}\"}},{\"id\":\"c4\",\"type\":\"function\",\"function\":{\"name\":"
                        "\"late\",\"arguments\":\"{\\\"a\\\":1}\"}}]}");
    model_reply_free(r);
}

static void reads_all_calls_in_one_chunk(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(EVENT(
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\",\"tool_calls\":["
        "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"x\",\"arguments\":\"{}\"}},"
        "{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"y\",\"arguments\":{\"k\":[1,2]}}}]},"
        "\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":5,"
        "\"completion_tokens\":6}}") DONE);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 2);
    assert_call(r, 0, "a", "x", "{}");
    assert_call(r, 1, "b", "y", "{\"k\":[1,2]}");
    assert_int_equal(r->usage.tokens_out, 6);
    model_reply_free(r);
}

/* Seen with several servers: every call has index 0, or none; ids tell them apart. */
static void tells_calls_apart_without_a_good_index(void **state)
{
    (void)state;
    struct model_reply *r =
        read_stream(CALL(0, "a", "x", "{}") CALL(0, "b", "y", "{}") END("tool_calls") DONE);
    assert_int_equal(r->call_count, 2);
    assert_call(r, 0, "a", "x", "{}");
    assert_call(r, 1, "b", "y", "{}");
    model_reply_free(r);

    r = read_stream(DELTA("{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"x\","
                          "\"arguments\":\"{\"}}]}")
                        DELTA("{\"tool_calls\":[{\"function\":{\"arguments\":\"}\"}}]}")
                            DELTA("{\"tool_calls\":[{\"id\":\"b\",\"function\":{\"name\":\"y\"}}]}")
                                END("tool_calls") DONE);
    assert_int_equal(r->call_count, 2);
    assert_call(r, 0, "a", "x", "{}");
    assert_call(r, 1, "b", "y", "");
    model_reply_free(r);
}

static void repeated_names_are_set_once(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(DELTA("{\"role\":\"assistant\",\"content\":\"a\"}")
                                            DELTA("{\"role\":\"assistant\",\"content\":\"b\"}")
                                                CALL(0, "c", "tool", "{") CALL(0, "c", "tool", "}")
                                                    END("tool_calls") DONE);
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0, "ab");
    assert_call(r, 1, "c", "tool", "{}");
    assert_non_null(strstr(r->raw, "\"role\":\"assistant\""));
    model_reply_free(r);
}

static void calls_without_id_or_with_a_doubled_one_get_their_own(void **state)
{
    (void)state;
    struct model_reply *r =
        read_answer(json,
                    "{\"choices\":[{\"message\":{\"tool_calls\":["
                    "{\"function\":{\"name\":\"a\",\"arguments\":\"{}\"}},"
                    "{\"id\":\"same\",\"function\":{\"name\":\"b\",\"arguments\":\"{}\"}},"
                    "{\"id\":\"same\",\"function\":{\"name\":\"c\",\"arguments\":\"{}\"}},"
                    "{\"id\":\"\",\"function\":{\"name\":\"d\",\"arguments\":\"{}\"}}]},"
                    "\"finish_reason\":\"tool_calls\"}]}",
                    true);
    assert_int_equal(r->outcome, OK);
    assert_call(r, 0, "pawl_7_0", "a", "{}");
    assert_call(r, 1, "same", "b", "{}");
    assert_call(r, 2, "pawl_7_2", "c", "{}");
    assert_call(r, 3, "pawl_7_3", "d", "{}");
    assert_non_null(strstr(r->raw, "\"id\":\"pawl_7_3\""));
    assert_non_null(strstr(r->raw, "\"type\":\"function\""));
    assert_non_null(strstr(r->raw, "\"role\":\"assistant\""));
    model_reply_free(r);
}

static void keeps_fields_that_nobody_knows(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(
        DELTA("{\"role\":\"assistant\",\"reasoning_content\":\"let me \"}")
            DELTA("{\"reasoning_content\":\"think\",\"reasoning_details\":[{\"index\":0,\"type\":"
                  "\"reasoning.text\",\"text\":\"le\",\"format\":\"v1\"}]}")
                DELTA("{\"reasoning_details\":[{\"index\":0,\"type\":\"reasoning.text\",\"text\":"
                      "\"t\",\"format\":\"v1\",\"signature\":\"c2ln\"}]}")
                    DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\","
                          "\"extra_content\":{\"google\":{\"thought_signature\":\"CsQB\"}},"
                          "\"function\":{\"name\":\"x\",\"arguments\":\"{}\"}}]}") END("tool_calls")
                        DONE);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 2);
    assert_int_equal(r->items[0].type, REPLY_REASONING);
    assert_string_equal(r->items[0].content, "let me think");
    assert_non_null(
        strstr(r->raw, "\"extra_content\":{\"google\":{\"thought_signature\":\"CsQB\"}}"));
    assert_non_null(strstr(r->raw,
                           "\"reasoning_details\":[{\"index\":0,\"type\":\"reasoning.text\","
                           "\"text\":\"let\",\"format\":\"v1\",\"signature\":\"c2ln\"}]"));
    model_reply_free(r);
}

static void ignores_chunks_that_nobody_knows(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(
        EVENT("{\"object\":\"something.new\",\"x\":[1,2]}") EVENT("[1]") EVENT("null")
            EVENT("{\"choices\":null}")
                EVENT("{\"choices\":[{\"index\":1,\"delta\":{\"content\":"
                      "\"of another choice\"}}]}") "event: ping\ndata: {}\n\n" DELTA("{\"content\":"
                                                                                     "\"hi\"}")
                    END("stop") EVENT("{\"timings\":{}}") DONE "data: after the end\n\n");
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0, "hi");
    model_reply_free(r);
}

static void reads_a_refusal_and_an_empty_answer(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(DELTA("{\"content\":null,\"refusal\":\"I ca\"}")
                                            DELTA("{\"refusal\":\"nnot.\"}") END("stop") DONE);
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0, "I cannot.");
    model_reply_free(r);

    static const char *const empty[] = { DELTA("{\"content\":null}") END("stop") DONE,
                                         DELTA("{\"content\":\"\"}") END("stop") DONE,
                                         DELTA("{}") END("stop") DONE,
                                         DELTA("{\"role\":\"assistant\"}") DONE };
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        r = read_stream(empty[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->item_count, 1);
        assert_text(r, 0, "");
        model_reply_free(r);
    }
}

static void reads_one_object_when_a_stream_was_asked(void **state)
{
    (void)state;
    static const char answer[] =
        " {\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
        "[{\"type\":\"text\",\"text\":\"two \"},{\"type\":\"text\",\"text\":\"parts\"}],"
        "\"annotations\":[]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,"
        "\"completion_tokens\":2}}\n";
    const char *const types[] = { json, "", "text/plain" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct model_reply *r = read_answer(types[i], answer, true);
        assert_int_equal(r->outcome, OK);
        assert_text(r, 0, "two parts");
        assert_non_null(strstr(r->raw, "\"annotations\":[]"));
        assert_int_equal(r->usage.tokens_in, 1);
        model_reply_free(r);
    }
    struct model_reply *r = read_answer("", DELTA("{\"content\":\"x\"}") END("stop"), true);
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0, "x");
    model_reply_free(r);
}

static void finds_usage_wherever_it_stands(void **state)
{
    (void)state;
#define USAGE "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}"
    static const char *const streams[] = {
        DELTA("{\"content\":\"x\"}") END("stop") EVENT("{\"choices\":[]," USAGE "}") DONE,
        DELTA("{\"content\":\"x\"}") END("stop") EVENT("{\"choices\":[{\"delta\":{}}]," USAGE "}")
            DONE,
        DELTA("{\"content\":\"x\"}")
            EVENT("{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"," USAGE "}]}") DONE,
        DELTA("{\"content\":\"x\"}") END("stop") EVENT("{\"choices\":[],\"x_groq\":{" USAGE "}}")
            DONE,
        EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}")
            DELTA("{\"content\":\"x\"}") END("stop") EVENT("{\"usage\":null}") EVENT("{" USAGE "}")
                DONE,
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct model_reply *r = read_stream(streams[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->usage.tokens_in, 7);
        assert_int_equal(r->usage.tokens_out, 9);
        model_reply_free(r);
    }
    struct model_reply *r = read_stream(DELTA("{\"content\":\"x\"}") END("stop") DONE);
    assert_int_equal(r->usage.tokens_in, MODEL_NO_TOKENS);
    model_reply_free(r);
}

/* ---- cut answers -------------------------------------------------------------------- */

static void a_stream_without_its_end_is_cut(void **state)
{
    (void)state;
    static const char *const cut[] = { "", ": just a comment\n\n", DELTA("{\"content\":\"hal\"}"),
                                       CALL(0, "a", "x", "{}") "data: [DO" };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        for (int whole = 0; whole < 2; whole++) {
            struct model_reply *r = read_answer(sse, cut[i], whole);
            assert_int_equal(r->outcome, RETRY);
            assert_string_equal(r->code, "answer_cut");
            model_reply_free(r);
        }
    }
    struct model_reply *r =
        read_answer(json, "{\"choices\":[{\"message\":{\"content\":\"x\"", false);
    assert_int_equal(r->outcome, RETRY);
    model_reply_free(r);
}

static void a_finish_reason_is_an_end_without_done(void **state)
{
    (void)state;
    struct model_reply *r = read_answer(sse, DELTA("{\"content\":\"x\"}") END("stop"), false);
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0, "x");
    model_reply_free(r);
}

static void says_why_the_model_stopped(void **state)
{
    (void)state;
    struct model_reply *r =
        read_stream(CALL(0, "a", "x", "{\\n \\\"city\\\": \\\"Paris") END("length") DONE);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_LENGTH);
    assert_call(r, 0, "a", "x", "{\n \"city\": \"Paris");
    model_reply_free(r);

    r = read_stream(CALL(0, "a", "x", "{}") END("content_filter") DONE);
    assert_int_equal(r->end, REPLY_END_FILTER);
    model_reply_free(r);

    r = read_stream(CALL(0, "a", "x", "{}") DONE);
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_UNKNOWN);
    model_reply_free(r);

    r = read_stream(CALL(0, "a", "x", "{}") END("something_else") DONE);
    assert_int_equal(r->end, REPLY_END_UNKNOWN);
    assert_string_equal(r->end_reason, "something_else");
    model_reply_free(r);
}

/* ---- errors --------------------------------------------------------------------------- */

static void assert_stream_fails(const char *text, enum outcome outcome, const char *code)
{
    struct model_reply *r = read_stream(text);
    assert_int_equal(r->outcome, outcome);
    assert_string_equal(r->code, code);
    assert_true(strlen(r->error.text) > 0);
    model_reply_free(r);
}

static void errors_come_inside_a_stream(void **state)
{
    (void)state;
    assert_stream_fails(DELTA("{\"content\":\"x\"}") EVENT("{\"error\":{\"message\":\"overloaded\","
                                                           "\"type\":\"overloaded_error\"}}"),
                        RETRY, "provider_error");
    assert_stream_fails(EVENT("{\"error\":{\"code\":502,\"message\":\"bad gateway\"},\"choices\":"
                              "[{\"delta\":{},\"finish_reason\":\"error\"}]}"),
                        RETRY, "provider_error");
    assert_stream_fails(EVENT("{\"error\":{\"code\":\"401\",\"message\":\"no\"}}"), REFUSED,
                        "unauthorized");
    assert_stream_fails(EVENT("{\"error\":{\"code\":\"context_length_exceeded\",\"type\":"
                              "\"invalid_request_error\",\"message\":\"too long\"}}"),
                        REFUSED, "request_refused");
    assert_stream_fails(EVENT("{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"pay\"}}"),
                        REFUSED, "quota_spent");
    assert_stream_fails("event: error\n" EVENT("{\"error\":\"just words\"}"), RETRY,
                        "provider_error");
    assert_stream_fails(DELTA("{\"content\":\"x\"}") END("error") DONE, RETRY, "provider_error");
}

static void garbage_is_classed(void **state)
{
    (void)state;
    assert_stream_fails(EVENT("{\"choices\":["), RETRY, "bad_answer");
    assert_stream_fails(EVENT("not json"), RETRY, "bad_answer");
    assert_stream_fails(EVENT("{\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}"), RETRY,
                        "bad_answer");
    assert_stream_fails(EVENT("{}") DONE, RETRY, "bad_answer");
    assert_stream_fails(DELTA("{\"tool_calls\":[1,2]}") END("tool_calls") DONE, RETRY,
                        "bad_answer");
    assert_stream_fails(DELTA("{\"function_call\":{\"name\":\"x\"}}") END("function_call") DONE,
                        RETRY, "bad_answer");
    static const char *const objects[] = {
        "<html>", "{}", "{\"choices\":[]}", "{\"choices\":[{\"message\":3}]}", "[]", ""
    };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        struct model_reply *r = read_answer(json, objects[i], true);
        assert_int_equal(r->outcome, RETRY);
        assert_string_equal(r->code, "bad_answer");
        model_reply_free(r);
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_puts(&text, "data: {\"choices\":[{\"delta\":{\"x\":");
    for (int i = 0; i < 5000; i++)
        buf_putc(&text, '[');
    buf_puts(&text, "\n\n");
    struct piece all = { text.data, text.len };
    struct model_reply *r = read_pieces(sse, &all, 1, true, LIMIT);
    assert_int_equal(r->outcome, RETRY);
    assert_string_equal(r->code, "bad_answer");
    model_reply_free(r);
    buf_release(&text);
}

/* A gigabyte of it would end just as early. */
static void a_large_answer_is_bounded(void **state)
{
    (void)state;
    static const char *const streams[] = {
        DELTA("{\"content\":\"0123456789012345678901234567890123456789\"}"),
        DELTA("{\"unknown\":[{},{},{},{},{},{},{},{}]}"),
        DELTA(
            "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"01234567890123456\"}}]}"),
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const struct reader_options options = { LIMIT, "p", NULL };
        struct reader *r = openai_chat.reader_new(&options, sse);
        size_t fed = 0;
        while (fed < 100000 && openai_chat.reader_feed(r, streams[i], strlen(streams[i])) == OK)
            fed++;
        assert_true(fed < 100000);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        openai_chat.reader_finish(r, false, reply);
        assert_int_equal(reply->outcome, RETRY);
        assert_string_equal(reply->code, "answer_too_large");
        model_reply_free(reply);
        openai_chat.reader_free(r);
    }
    static const char *const endless[] = { "{\"x\":\"", "data: ", ":" };
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) { /* no line ever ends */
        const struct reader_options options = { LIMIT, "p", NULL };
        struct reader *r = openai_chat.reader_new(&options, i == 0 ? json : sse);
        size_t fed = 0;
        enum outcome outcome = openai_chat.reader_feed(r, endless[i], strlen(endless[i]));
        while (fed++ < 100000 && outcome == OK)
            outcome = openai_chat.reader_feed(r, "0123456789", 10);
        struct model_reply *reply = model_reply_new((size_t)1 << 20);
        openai_chat.reader_finish(r, false, reply);
        assert_int_equal(reply->outcome, RETRY);
        model_reply_free(reply);
        openai_chat.reader_free(r);
    }
}

static void nul_in_text_can_be_stored(void **state)
{
    (void)state;
    struct model_reply *r = read_stream(DELTA("{\"content\":\"a\\u0000b\"}") CALL(
        0, "a", "x", "{\\\"k\\\":\\\"\\u0000\\\"}") END("tool_calls") DONE);
    assert_int_equal(r->outcome, OK);
    assert_text(r, 0,
                "a\xef\xbf\xbd"
                "b");
    assert_true(r->items[1].altered);
    assert_non_null(strstr(r->raw, "a\\u0000b"));
    model_reply_free(r);
}

struct status_case {
    long status;
    const char *body;
    enum outcome outcome;
    const char *code;
};

static void statuses_are_classed(void **state)
{
    (void)state;
    static const struct status_case cases[] = {
        { 400, "{\"error\":{\"message\":\"bad\"}}", REFUSED, "bad_request" },
        { 401, "{\"error\":{\"message\":\"key\"}}", REFUSED, "unauthorized" },
        { 402, "", REFUSED, "payment_required" },
        { 403, "no", REFUSED, "forbidden" },
        { 404, "<html>", REFUSED, "not_found" },
        { 408, "", RETRY, "timeout" },
        { 409, "", RETRY, "request_refused" },
        { 413, "", REFUSED, "prompt_too_large" },
        { 422, "{\"error\":\"words\"}", REFUSED, "bad_request" },
        { 429, "{\"error\":{\"message\":\"slow down\",\"type\":\"requests\"}}", RETRY,
          "rate_limited" },
        { 429, "{\"error\":{\"message\":\"pay\",\"code\":\"insufficient_quota\"}}", REFUSED,
          "quota_spent" },
        { 429, "{\"error\":{\"message\":\"pay\",\"type\":\"insufficient_quota\"}}", REFUSED,
          "quota_spent" },
        { 429,
          "{\"error\":{\"message\":\"x\",\"details\":{\"error_code\":"
          "\"enforced_spend_limit_reached\"}}}",
          REFUSED, "quota_spent" },
        { 500, "{\"error\":{\"message\":\"oops\"}}", RETRY, "provider_error" },
        { 503, "", RETRY, "overloaded" },
        { 529, "{\"error\":{\"type\":\"overloaded_error\"}}", RETRY, "overloaded" },
        { 302, "", REFUSED, "bad_answer" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_reply *r = model_reply_new(1024);
        openai_chat.read_error(cases[i].status, cases[i].body, strlen(cases[i].body), NULL, r);
        assert_int_equal(r->outcome, cases[i].outcome);
        assert_string_equal(r->code, cases[i].code);
        model_reply_free(r);
    }
}

static void the_key_never_stands_in_an_error(void **state)
{
    (void)state;
    static const char key[] = "sk-very-secret";
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"Incorrect API key provided: sk-very-secret. See "
        "sk-very-secret\"}}",
        "{\"error\":\"sk-very-secret\"}",
        "plain words about sk-very-secret",
        "",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct model_reply *r = model_reply_new(1024);
        openai_chat.read_error(401, bodies[i], strlen(bodies[i]), key, r);
        assert_null(strstr(r->error.text, "very"));
        model_reply_free(r);
    }
    /* Also where the text is cut in the middle of it. */
    for (int pad = 0; pad < 260; pad++) {
        char body[400];
        int n = snprintf(body, sizeof body, "%*s%s", pad, "", key);
        struct model_reply *r = model_reply_new(1024);
        openai_chat.read_error(500, body, (size_t)n, key, r);
        assert_null(strstr(r->error.text, "sk-"));
        model_reply_free(r);
    }
    struct model_reply *r = read_stream(EVENT("{\"error\":{\"message\":\"sk-very-secret\"}}"));
    assert_null(strstr(r->error.text, "very"));
    model_reply_free(r);
}

/* ---- the request ----------------------------------------------------------------------- */

static json_t *written(const char *options, size_t tool_count)
{
    struct model_def model = { .model = "gpt \"x\"", .options = json_loads(options, 0, NULL) };
    struct tool_def tool = { .name = "look",
                             .description = "Looks.",
                             .parameters = json_loads("{\"type\":\"object\"}", 0, NULL) };
    const struct tool_def *tools[] = { &tool, &tool };
    const struct prompt_frame frame = { &model, "Be\nbrief.", tools, tool_count };
    struct buf body;
    buf_init(&body, (size_t)1 << 20);
    assert_true(openai_chat.begin(&body, &frame));
    assert_true(openai_chat.add_user(&body, "Hi \"you\"", 8));
    assert_true(openai_chat.add_assistant(&body, "{\"role\":\"assistant\"}", 20));
    const struct prompt_result results[] = { { "c1", "look", "seen", 4, false },
                                             { "c2", NULL, "", 0, true } };
    assert_true(openai_chat.add_results(&body, results, 2));
    assert_true(openai_chat.close(&body));
    json_t *value = json_loadb(body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    buf_release(&body);
    json_decref(model.options);
    json_decref(tool.parameters);
    return value;
}

static void writes_a_request(void **state)
{
    (void)state;
    json_t *value = written("{\"temperature\":0.2,\"model\":\"no\",\"messages\":3}", 2);
    AUTO_FREE char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(3));
    assert_string_equal(
        text,
        "{\"model\":\"gpt \\\"x\\\"\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"temperature\":0.2,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\","
        "\"description\":\"Looks.\",\"parameters\":{\"type\":\"object\"}}},{\"type\":\"function\","
        "\"function\":{\"name\":\"look\",\"description\":\"Looks.\",\"parameters\":{\"type\":"
        "\"object\"}}}],\"messages\":[{\"role\":\"system\",\"content\":\"Be\\nbrief.\"},"
        "{\"role\":\"user\",\"content\":\"Hi \\\"you\\\"\"},{\"role\":\"assistant\"},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"seen\"},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":\"\"}]}");
    json_decref(value);
}

static void options_replace_what_is_not_ours(void **state)
{
    (void)state;
    json_t *value = written("{\"stream_options\":null}", 0);
    assert_null(json_object_get(value, "stream_options"));
    assert_true(json_is_true(json_object_get(value, "stream")));
    assert_null(json_object_get(value, "tools"));
    json_decref(value);
    value = written("{\"stream\":false}", 0);
    assert_true(json_is_false(json_object_get(value, "stream")));
    assert_null(json_object_get(value, "stream_options"));
    json_decref(value);
    value = written("{\"stream\":null}", 0);
    assert_null(json_object_get(value, "stream"));
    assert_null(json_object_get(value, "stream_options"));
    json_decref(value);
}

static void the_key_goes_into_a_header(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1024);
    struct http_header headers[MODEL_HEADERS_MAX];
    assert_int_equal(openai_chat.headers("k", &arena, headers), 2);
    assert_string_equal(headers[1].name, "Authorization");
    assert_string_equal(headers[1].value, "Bearer k");
    assert_int_equal(openai_chat.headers(NULL, &arena, headers), 1);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_text),
        cmocka_unit_test(reads_interleaved_calls_with_gaps),
        cmocka_unit_test(reads_all_calls_in_one_chunk),
        cmocka_unit_test(tells_calls_apart_without_a_good_index),
        cmocka_unit_test(repeated_names_are_set_once),
        cmocka_unit_test(calls_without_id_or_with_a_doubled_one_get_their_own),
        cmocka_unit_test(keeps_fields_that_nobody_knows),
        cmocka_unit_test(ignores_chunks_that_nobody_knows),
        cmocka_unit_test(reads_a_refusal_and_an_empty_answer),
        cmocka_unit_test(reads_one_object_when_a_stream_was_asked),
        cmocka_unit_test(finds_usage_wherever_it_stands),
        cmocka_unit_test(a_stream_without_its_end_is_cut),
        cmocka_unit_test(a_finish_reason_is_an_end_without_done),
        cmocka_unit_test(says_why_the_model_stopped),
        cmocka_unit_test(errors_come_inside_a_stream),
        cmocka_unit_test(garbage_is_classed),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(a_large_answer_is_bounded),
        cmocka_unit_test(nul_in_text_can_be_stored),
        cmocka_unit_test(statuses_are_classed),
        cmocka_unit_test(the_key_never_stands_in_an_error),
        cmocka_unit_test(writes_a_request),
        cmocka_unit_test(options_replace_what_is_not_ours),
        cmocka_unit_test(the_key_goes_into_a_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
