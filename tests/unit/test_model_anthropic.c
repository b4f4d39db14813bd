/*
 * test_model_anthropic.c -- answers in the dialect "Anthropic messages", read without a
 * socket.
 */
#include "tests/unit/cm.h"

#include "common/buf.h"
#include "planner/reader.h"
#include "tests/unit/anthropic_answers.h"

#include <string.h>

static void assert_said(const struct model_reply *r, size_t at, enum reply_item_type type,
                        const char *text)
{
    assert_true(at < r->item_count);
    assert_int_equal(r->items[at].type, type);
    assert_string_equal(r->items[at].content, text);
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

/* ---- good answers ---------------------------------------------------------------- */

static void reads_text(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(": a comment\n\n" BEGIN PING TEXT(0) SAY(
        0, "Gr\xc3\xbc\xc3\x9f") PING SAY(0, " Gott") STOP(0) END("end_turn"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_STOP);
    assert_string_equal(r->end_reason, "end_turn");
    assert_int_equal(r->item_count, 1);
    assert_said(r, 0, REPLY_TEXT, "Gr\xc3\xbc\xc3\x9f Gott");
    assert_string_equal(r->raw, "[{\"type\":\"text\",\"text\":\"Gr\xc3\xbc\xc3\x9f Gott\"}]");
    assert_int_equal(r->usage.tokens_in, 47);
    assert_int_equal(r->usage.tokens_cached, 30);
    assert_int_equal(r->usage.tokens_written, 5);
    assert_int_equal(r->usage.tokens_out, 40);
    assert_int_equal(r->usage.tokens_reasoning, MODEL_NO_TOKENS);
    model_reply_free(r);
}

static void reads_interleaved_blocks_with_gaps(void **state)
{
    (void)state;
    cut_out_of_order = true;
    struct model_reply *r = anthropic_stream(
        BEGIN CALL(7, "toolu_b", "late") CALL(3, "toolu_a", "early") ARG(7, "{\\\"a\\\"") ARG(3, "")
            ARG(7, ":1") TEXT(1) ARG(3, "{") SAY(1, "Both.") ARG(7, "}") STOP(7) ARG(3, "}") STOP(3)
                STOP(1) END("tool_use"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_STOP);
    assert_int_equal(r->call_count, 2);
    assert_said(r, 0, REPLY_TEXT, "Both.");
    assert_call(r, 1, "toolu_a", "early", "{}");
    assert_call(r, 2, "toolu_b", "late", "{\"a\":1}");
    assert_string_equal(r->raw,
                        "[{\"type\":\"text\",\"text\":\"Both.\"},{\"type\":\"tool_use\",\"id\":"
                        "\"toolu_a\",\"name\":\"early\",\"input\":{}},{\"type\":\"tool_use\","
                        "\"id\":\"toolu_b\",\"name\":\"late\",\"input\":{\"a\":1}}]");
    model_reply_free(r);
    cut_out_of_order = false;
}

/* Also where the pieces come before the beginning of their block, or without it. */
static void reads_blocks_in_any_order(void **state)
{
    (void)state;
    cut_out_of_order = true;
    struct model_reply *r = anthropic_stream(BEGIN SAY(2, "Hel") TEXT(2) SAY(2, "lo") THINK(0, "hm")
                                                 SIGN(0, "c2ln") END("end_turn"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 2);
    assert_said(r, 0, REPLY_REASONING, "hm");
    assert_said(r, 1, REPLY_TEXT, "Hello");
    assert_contains(r->raw, "{\"thinking\":\"hm\",\"type\":\"thinking\",\"signature\":\"c2ln\"}");
    model_reply_free(r);

    r = anthropic_stream(BEGIN CALL(0, "a", "x") ARG(0, "{}") CALL(0, "b", "y")
                             ARG(0, "{\\\"k\\\":2}") END("tool_use"));
    assert_int_equal(r->call_count, 2); /* one index for all: each beginning is a block */
    assert_call(r, 0, "a", "x", "{}");
    assert_call(r, 1, "b", "y", "{\"k\":2}");
    model_reply_free(r);
    cut_out_of_order = false;
}

static void inputs_come_in_every_shape(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(
        BEGIN START(0, "\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"none\"") STOP(0)
            START(1, "\"type\":\"tool_use\",\"id\":\"b\",\"name\":\"whole\",\"input\":{\"k\":[1]}")
                STOP(1) START(2, "\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"both\",\"input\":"
                                 "{\"k\":0}") ARG(2, "{\\\"k\\\": 1.5}") CALL(3, "d", "cut")
                    ARG(3, "{\\\"city\\\": \\\"Par") CALL(4, "e", "list") ARG(4, "[1]")
                        END("tool_use"));
    assert_int_equal(r->outcome, OK);
    assert_call(r, 0, "a", "none", "");
    assert_call(r, 1, "b", "whole", "{\"k\":[1]}");
    assert_call(r, 2, "c", "both", "{\"k\": 1.5}");
    assert_call(r, 3, "d", "cut", "{\"city\": \"Par");
    assert_call(r, 4, "e", "list", "[1]");
    assert_contains(r->raw, "\"name\":\"none\",\"input\":{}}");
    assert_contains(r->raw, "\"name\":\"both\",\"input\":{\"k\":1.5}}");
    assert_contains(r->raw, "\"name\":\"cut\",\"input\":{}}");
    assert_contains(r->raw, "\"name\":\"list\",\"input\":{}}");
    model_reply_free(r);

    r = anthropic_object(
        "{\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"x\",\"input\":"
        "[1]},{\"type\":\"tool_use\",\"id\":\"b\",\"name\":\"y\",\"input\":\"{}\"}],"
        "\"stop_reason\":\"tool_use\"}");
    assert_call(r, 0, "a", "x", "[1]");
    assert_call(r, 1, "b", "y", "{}");
    model_reply_free(r);
}

/* The API refuses what it did not sign, so nothing of it may be lost or moved. */
static void keeps_the_content_as_it_came(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(
        BEGIN THOUGHT(0) THINK(0, "Let me \\u00e9") THINK(0, "\\n\\\"think\\\"") SIGN(0, "EqQ+/==")
            STOP(0) START(1, "\"type\":\"redacted_thinking\",\"data\":\"Emw+/==\"") STOP(1)
                START(2, "\"type\":\"server_tool_use\",\"id\":\"srvtoolu_1\",\"name\":"
                         "\"web_search\",\"input\":{}") ARG(2, "{\\\"query\\\":")
                    ARG(2, "\\\"x\\\"}") STOP(2)
                        START(3, "\"type\":\"web_search_tool_result\",\"tool_use_id\":"
                                 "\"srvtoolu_1\",\"content\":[{\"type\":\"web_search_result\","
                                 "\"index\":1,\"score\":0.1},{\"index\":1}]") STOP(3)
                            START(4, "\"type\":\"text\",\"text\":\"\",\"citations\":[]")
                                PIECE(4, "citations_delta",
                                      "\"citation\":{\"type\":\"char_location\","
                                      "\"document_index\":0}") SAY(4, "Found.")
                                    PIECE(4, "citations_delta", "\"citation\":{\"n\":2}") STOP(4)
                                        START(5, "\"type\":\"compaction\",\"content\":null")
                                            PIECE(5, "compaction_delta", "\"content\":\"short\"")
                                                STOP(5) CALL(6, "toolu_1", "look") ARG(6, "{}")
                                                    STOP(6) END("tool_use"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 3);
    assert_said(r, 0, REPLY_REASONING, "Let me \xc3\xa9\n\"think\"");
    assert_said(r, 1, REPLY_TEXT, "Found.");
    assert_call(r, 2, "toolu_1", "look", "{}");
    assert_string_equal(
        r->raw,
        "[{\"type\":\"thinking\",\"thinking\":\"Let me \xc3\xa9\\n\\\"think\\\"\",\"signature\":"
        "\"EqQ+/==\"},{\"type\":\"redacted_thinking\",\"data\":\"Emw+/==\"},{\"type\":"
        "\"server_tool_use\",\"id\":\"srvtoolu_1\",\"name\":\"web_search\",\"input\":{\"query\":"
        "\"x\"}},{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srvtoolu_1\",\"content\":"
        "[{\"type\":\"web_search_result\",\"index\":1,\"score\":0.1},{\"index\":1}]},{\"type\":"
        "\"text\",\"text\":\"Found.\",\"citations\":[{\"type\":\"char_location\","
        "\"document_index\":0},{\"n\":2}]},{\"type\":\"compaction\",\"content\":\"short\"},"
        "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look\",\"input\":{}}]");
    model_reply_free(r);
}

/* Blank text is sent by the API and refused by it. */
static void blank_text_is_left_out(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(BEGIN TEXT(0) STOP(0) TEXT(1) SAY(1, " \\n") STOP(1)
                                                 CALL(2, "a", "x") STOP(2) END("tool_use"));
    assert_int_equal(r->item_count, 2);
    assert_said(r, 0, REPLY_TEXT, " \n");
    assert_string_equal(r->raw,
                        "[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"x\",\"input\":{}}]");
    model_reply_free(r);

    static const char *const empty[] = { BEGIN END("end_turn"), BEGIN TEXT(0) END("end_turn"),
                                         TOLD("message_start", "") TOLD("message_stop", ""),
                                         BEGIN THOUGHT(0) END("end_turn") };
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        r = anthropic_stream(empty[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->item_count, 1);
        assert_said(r, 0, REPLY_TEXT, "");
        model_reply_free(r);
    }
}

static void calls_get_what_the_api_wants_back(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_object(
        "{\"content\":[{\"type\":\"tool_use\",\"name\":\"a\",\"input\":{}},"
        "{\"type\":\"tool_use\",\"id\":\"same\",\"name\":\"b\",\"input\":{}},"
        "{\"type\":\"tool_use\",\"id\":\"same\",\"name\":\"c\",\"input\":{}},"
        "{\"type\":\"tool_use\",\"id\":\"functions.d:0\",\"name\":\"d e\",\"input\":{}},"
        "{\"type\":\"tool_use\",\"id\":\"\",\"input\":{}}],\"stop_reason\":\"tool_use\"}");
    assert_int_equal(r->outcome, OK);
    assert_call(r, 0, "pawl_7_0", "a", "{}");
    assert_call(r, 1, "same", "b", "{}");
    assert_call(r, 2, "pawl_7_2", "c", "{}");
    assert_call(r, 3, "pawl_7_3", "d e", "{}");
    assert_call(r, 4, "pawl_7_4", "", "{}");
    assert_contains(r->raw, "\"id\":\"pawl_7_3\",\"name\":\"d_e\"");
    assert_contains(r->raw, "{\"type\":\"tool_use\",\"id\":\"pawl_7_4\",\"input\":{},\"name\":"
                            "\"_\"}");
    model_reply_free(r);
}

static void ignores_what_nobody_knows(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(
        BEGIN TOLD("something_new", ",\"x\":[1,2]") "data: [1]\n\ndata: null\n\ndata: {}\n\n" TOLD(
            "content_block_start", "") TOLD("content_block_delta", ",\"delta\":3") TEXT(0)
            SAY(0, "hi") END("end_turn") "data: after the end\n\n");
    assert_int_equal(r->outcome, OK);
    assert_said(r, 0, REPLY_TEXT, "hi");
    model_reply_free(r);
}

static void reads_one_object_when_a_stream_was_asked(void **state)
{
    (void)state;
    static const char answer[] =
        " {\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":"
        "\"thinking\",\"thinking\":\"hm\",\"signature\":\"Eq\"},{\"type\":\"text\",\"text\":"
        "\"two \"},{\"type\":\"text\",\"text\":\"parts\"}],\"stop_reason\":\"end_turn\","
        "\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"output_tokens_details\":"
        "{\"thinking_tokens\":1}}}\n";
    const char *const types[] = { JSON_TYPE, "", "text/plain" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct model_reply *r = cut_read_all(&anthropic, types[i], answer, sizeof answer - 1, true);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->end, REPLY_END_STOP);
        assert_said(r, 0, REPLY_REASONING, "hm");
        assert_said(r, 1, REPLY_TEXT, "two ");
        assert_said(r, 2, REPLY_TEXT, "parts");
        assert_contains(r->raw, "\"signature\":\"Eq\"");
        assert_int_equal(r->usage.tokens_in, 1);
        assert_int_equal(r->usage.tokens_reasoning, 1);
        model_reply_free(r);
    }
    struct model_reply *r =
        anthropic_object("{\"content\":\"plain\",\"stop_reason\":\"end_turn\"}");
    assert_said(r, 0, REPLY_TEXT, "plain");
    assert_string_equal(r->raw, "[{\"type\":\"text\",\"text\":\"plain\"}]");
    model_reply_free(r);
}

struct heard {
    struct buf said[4];
};

static void hear(void *arg, enum reply_item_type type, int index, const char *bytes, size_t n)
{
    struct heard *heard = arg;
    assert_in_range(index, 0, 3);
    assert_int_equal(type, index == 0 ? REPLY_REASONING : REPLY_TEXT);
    buf_add(&heard->said[index], bytes, n);
}

/* Who listened knows every word of the reply, and no other. */
static void tells_while_it_reads(void **state)
{
    (void)state;
    static const char stream[] = BEGIN THOUGHT(0) THINK(0, "h") THINK(0, "m") SIGN(0, "c2ln")
        STOP(0) START(1, "\"type\":\"redacted_thinking\",\"data\":\"Em\"") STOP(1) CALL(2, "a", "x")
            ARG(2, "{\\\"text\\\":1}") STOP(2) START(3, "\"type\":\"text\",\"text\":\"Gr\"")
                SAY(3, "\xc3\xbc") TEXT(4) SAY(4, "B") SAY(3, "\\u00df") SAY(4, "\\u0000")
                    END("tool_use");
    struct heard heard;
    for (size_t i = 0; i < 4; i++)
        buf_init(&heard.said[i], SIZE_MAX);
    const struct reader_options options = { .output_limit_bytes = CUT_LIMIT_BYTES,
                                            .call_prefix = "p",
                                            .listener = { hear, &heard } };
    struct reader *r = reader_new(&anthropic, &options, SSE_TYPE);
    assert_int_equal(reader_feed(r, stream, sizeof stream - 1), OK);
    struct model_reply *reply = model_reply_new((size_t)1 << 20);
    reader_finish(r, true, reply);
    assert_int_equal(reply->item_count, 4);
    for (size_t i = 0; i < 4; i++) {
        if (reply->items[i].type == REPLY_CALL)
            assert_int_equal(heard.said[i].len, 0);
        else
            assert_string_equal(heard.said[i].data, reply->items[i].content);
        buf_release(&heard.said[i]);
    }
    model_reply_free(reply);
    reader_free(r);
}

static void nul_in_text_can_be_stored(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(
        BEGIN TEXT(0) SAY(0, "a\\u0000b") CALL(1, "a", "x") ARG(1, "{\\\"k\\\":\\\"\\u0000\\\"}")
            CALL(2, "b", "x") ARG(2, "{\\\"k\\\":\\\"\\\\u0000\\\"}") END("tool_use"));
    assert_int_equal(r->outcome, OK);
    assert_said(r, 0, REPLY_TEXT,
                "a\xef\xbf\xbd"
                "b");
    assert_true(r->items[1].altered);
    assert_false(r->items[2].altered);
    assert_contains(r->raw, "a\\u0000b");
    assert_contains(r->raw, "\"input\":{}}");
    assert_contains(r->raw, "\"input\":{\"k\":\"\\u0000\"}}");
    model_reply_free(r);
}

/* ---- usage ----------------------------------------------------------------------- */

static void counts_what_the_provider_says(void **state)
{
    (void)state;
#define USAGE(members) TOLD("message_delta", ",\"delta\":{},\"usage\":{" members "}")
    static const struct {
        const char *text;
        int64_t in, cached, written, out;
    } cases[] = {
        { BEGIN END("end_turn"), 47, 30, 5, 40 },
        /* cumulative: the last one is the sum, and nothing falls */
        { BEGIN USAGE("\"output_tokens\":9") USAGE("\"input_tokens\":20,\"output_tokens\":50")
              END("end_turn"),
          55, 30, 5, 50 },
        { BEGIN USAGE("\"input_tokens\":0,\"cache_read_input_tokens\":null,\"output_tokens\":7")
              TOLD("message_stop", ""),
          47, 30, 5, 7 },
        { TOLD("message_start", ",\"message\":{\"usage\":{\"input_tokens\":3}}") TEXT(0) SAY(0, "x")
              TOLD("message_stop", ""),
          3, -1, -1, -1 },
        { TEXT(0) SAY(0, "x") TOLD("message_stop", ""), -1, -1, -1, -1 },
        /* nobody can have counted that */
        { TEXT(0) USAGE("\"input_tokens\":-3,\"output_tokens\":9223372036854775807")
              TOLD("message_stop", ""),
          -1, -1, -1, -1 },
        { TEXT(0) USAGE("\"input_tokens\":1000000000000,\"cache_read_input_tokens\":1")
              TOLD("message_stop", ""),
          -1, 1, -1, -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_reply *r = anthropic_stream(cases[i].text);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->usage.tokens_in, cases[i].in);
        assert_int_equal(r->usage.tokens_cached, cases[i].cached);
        assert_int_equal(r->usage.tokens_written, cases[i].written);
        assert_int_equal(r->usage.tokens_out, cases[i].out);
        model_reply_free(r);
    }
}

/* What was counted of a call that failed in its middle was paid for. */
static void a_failed_call_was_counted_too(void **state)
{
    (void)state;
    struct model_reply *r = anthropic_stream(BEGIN TEXT(0) SAY(0, "half"));
    assert_int_equal(r->outcome, RETRY);
    assert_int_equal(r->usage.tokens_in, 47);
    model_reply_free(r);
}

/* ---- ends ------------------------------------------------------------------------ */

static void says_why_the_model_stopped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum reply_end end;
    } cases[] = {
        { BEGIN CALL(0, "a", "x") END("tool_use"), REPLY_END_STOP },
        { BEGIN CALL(0, "a", "x") END("end_turn"), REPLY_END_STOP },
        { BEGIN CALL(0, "a", "x") END("stop_sequence"), REPLY_END_STOP },
        { BEGIN CALL(0, "a", "x") END("max_tokens"), REPLY_END_LENGTH },
        { BEGIN CALL(0, "a", "x") END("model_context_window_exceeded"), REPLY_END_LENGTH },
        { BEGIN CALL(0, "a", "x") END("refusal"), REPLY_END_FILTER },
        { BEGIN CALL(0, "a", "x") END("pause_turn"), REPLY_END_PAUSE },
        { BEGIN CALL(0, "a", "x") END("something_new"), REPLY_END_UNKNOWN },
        { BEGIN CALL(0, "a", "x") TOLD("message_stop", ""), REPLY_END_UNKNOWN },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_reply *r = anthropic_stream(cases[i].text);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->end, cases[i].end);
        assert_call(r, 0, "a", "x", "{}");
        model_reply_free(r);
    }
}

static void what_was_said_before_a_pause_is_kept_for_going_on(void **state)
{
    (void)state;
    struct model_reply *r =
        anthropic_stream(BEGIN START(0, "\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":"
                                        "\"search\",\"input\":{}") STOP(0) THOUGHT(1) THINK(1, "hm")
                             SIGN(1, "c2ln") END("pause_turn"));
    assert_int_equal(r->outcome, OK);
    assert_string_equal(r->raw,
                        "{\"content\":[{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":"
                        "\"search\",\"input\":{}},{\"type\":\"thinking\",\"thinking\":\"hm\","
                        "\"signature\":\"c2ln\"}],\"paused\":true}");
    assert_true(anthropic.is_open(r->raw, r->raw_n));
    model_reply_free(r);

    /* "The final block in an assistant message cannot be `thinking`." */
    r = anthropic_stream(BEGIN TEXT(0) SAY(0, "x") THOUGHT(1) THINK(1, "hm") SIGN(1, "c2ln") START(
        2, "\"type\":\"redacted_thinking\",\"data\":\"Em\"") END("max_tokens"));
    assert_said(r, 1, REPLY_REASONING, "hm");
    assert_string_equal(r->raw, "[{\"type\":\"text\",\"text\":\"x\"}]");
    assert_false(anthropic.is_open(r->raw, r->raw_n));
    model_reply_free(r);
}

static void a_stream_without_its_end_is_cut(void **state)
{
    (void)state;
    static const char *const cut[] = { "",
                                       ": just a comment\n\n",
                                       BEGIN,
                                       BEGIN TEXT(0) SAY(0, "hal"),
                                       BEGIN CALL(0, "a", "x") ARG(0, "{}") STOP(0),
                                       BEGIN PING "event: message_stop\ndata: {\"type\":\"mess" };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        for (int whole = 0; whole < 2; whole++) {
            struct model_reply *r =
                cut_read_all(&anthropic, SSE_TYPE, cut[i], strlen(cut[i]), whole);
            assert_int_equal(r->outcome, RETRY);
            assert_string_equal(r->code, "answer_cut");
            model_reply_free(r);
        }
    }
    /* the reason comes when all blocks have ended */
    static const char ended[] = BEGIN TEXT(0) SAY(0, "all") STOP(0) REASON("end_turn");
    struct model_reply *r = cut_read_all(&anthropic, SSE_TYPE, ended, sizeof ended - 1, false);
    assert_int_equal(r->outcome, OK);
    assert_said(r, 0, REPLY_TEXT, "all");
    model_reply_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_text),
        cmocka_unit_test(reads_interleaved_blocks_with_gaps),
        cmocka_unit_test(reads_blocks_in_any_order),
        cmocka_unit_test(inputs_come_in_every_shape),
        cmocka_unit_test(keeps_the_content_as_it_came),
        cmocka_unit_test(blank_text_is_left_out),
        cmocka_unit_test(calls_get_what_the_api_wants_back),
        cmocka_unit_test(ignores_what_nobody_knows),
        cmocka_unit_test(reads_one_object_when_a_stream_was_asked),
        cmocka_unit_test(nul_in_text_can_be_stored),
        cmocka_unit_test(tells_while_it_reads),
        cmocka_unit_test(counts_what_the_provider_says),
        cmocka_unit_test(a_failed_call_was_counted_too),
        cmocka_unit_test(says_why_the_model_stopped),
        cmocka_unit_test(what_was_said_before_a_pause_is_kept_for_going_on),
        cmocka_unit_test(a_stream_without_its_end_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
