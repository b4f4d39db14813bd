/*
 * test_model_openai_responses.c -- good answers in this dialect, read without a socket.
 */
#include "tests/unit/cm.h"

#include "tests/unit/responses_answers.h"

#include <string.h>

#define ENCRYPTED "\"encrypted_content\":\"gAAAA\\/b+c=\""
#define THOUGHT(id, text)                                                               \
    "\"type\":\"reasoning\",\"id\":\"" id "\",\"summary\":[{\"type\":\"summary_text\"," \
    "\"text\":\"" text "\"}]"

static void reads_text(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(
        CREATED ": a comment\n\n" TOLD("in_progress", ",\"response\":{}") ADDED(
            0, "\"type\":\"message\",\"id\":\"i0\",\"role\":\"assistant\",\"content\":[]")
            TOLD("content_part.added", ",\"output_index\":0,\"part\":{\"type\":\"output_text\"}")
                SAY(0, "Gr\xc3\xbc\xc3\x9f") SAY(0, " Gott")
                    TOLD("output_text.done", ",\"output_index\":0,"
                                             "\"text\":\"Gr\xc3\xbc"
                                             "\xc3\x9f Gott\"")
                        ENDED(0, MESSAGE("i0", "Gr\xc3\xbc\xc3\x9f Gott"))
                            COMPLETED("{" MESSAGE("i0", "Gr\xc3\xbc\xc3\x9f Gott") "}"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_STOP);
    assert_string_equal(r->end_reason, "completed");
    assert_int_equal(r->item_count, 1);
    assert_said(r, 0, REPLY_TEXT, "Gr\xc3\xbc\xc3\x9f Gott");
    assert_string_equal(r->raw, "[{" MESSAGE("i0", "Gr\xc3\xbc\xc3\x9f Gott") "}]");
    assert_int_equal(r->usage.tokens_in, 12);
    assert_int_equal(r->usage.tokens_out, 9);
    assert_int_equal(r->usage.tokens_cached, 8);
    assert_int_equal(r->usage.tokens_written, 2);
    assert_int_equal(r->usage.tokens_reasoning, 5);
    model_reply_free(r);
}

/* With pieces alone: no item ever ends, and the end says nothing of the output. */
static void reads_interleaved_calls_with_gaps(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(
        ADDED(7, "\"type\":\"function_call\",\"id\":\"i7\",\"call_id\":\"c7\",\"name\":\"late\","
                 "\"arguments\":\"\",\"status\":\"in_progress\"")
            ADDED(3, "\"type\":\"function_call\",\"id\":\"i3\",\"call_id\":\"c3\",\"name\":"
                     "\"early\",\"arguments\":\"\"") ARG(7, "{\\\"a\\\"") ARG(3, "{") ARG(7, ":1")
                ARG(3, "}") ARG(7, "}") COMPLETED(""));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->end, REPLY_END_STOP);
    assert_int_equal(r->call_count, 2);
    assert_called(r, 0, "c3", "early", "{}");
    assert_called(r, 1, "c7", "late", "{\"a\":1}");
    assert_string_equal(r->raw,
                        "[{\"type\":\"function_call\",\"id\":\"i3\",\"call_id\":\"c3\",\"name\":"
                        "\"early\",\"arguments\":\"{}\"},{\"type\":\"function_call\",\"id\":\"i7\","
                        "\"call_id\":\"c7\",\"name\":\"late\",\"arguments\":\"{\\\"a\\\":1}\"}]");
    model_reply_free(r);
}

static void reads_what_only_the_end_tells(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(COMPLETED("{" MESSAGE("m", "Both.") "},{" CALL(
        "f1", "c1", "x", "{}") "},{" CALL("f2", "c2", "y", "{\\\"k\\\":[1,2]}") "}"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 3);
    assert_said(r, 0, REPLY_TEXT, "Both.");
    assert_called(r, 1, "c1", "x", "{}");
    assert_called(r, 2, "c2", "y", "{\"k\":[1,2]}");
    model_reply_free(r);

    /* Text is streamed, the call is not. */
    r = responses_stream(SAY(0, "Loo") SAY(0, "king") COMPLETED(
        "{" MESSAGE("m", "Looking") "},{" CALL("f1", "c1", "x", "{}") "}"));
    assert_int_equal(r->item_count, 2);
    assert_said(r, 0, REPLY_TEXT, "Looking");
    assert_called(r, 1, "c1", "x", "{}");
    model_reply_free(r);
}

/* Seen with several servers: one index for all, none at all, an id for every event. */
static void tells_items_apart_without_a_good_index(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(
        ENDED(0, CALL("f1", "c1", "x", "{}")) ENDED(0, CALL("f2", "c2", "y", "[]")) COMPLETED(""));
    assert_int_equal(r->call_count, 2);
    assert_called(r, 0, "c1", "x", "{}");
    assert_called(r, 1, "c2", "y", "[]");
    model_reply_free(r);

#define NAMED(id, piece) \
    TOLD("function_call_arguments.delta", ",\"item_id\":\"" id "\",\"delta\":\"" piece "\"")
    r = responses_stream(TOLD("output_item.added", ",\"item\":{\"type\":\"function_call\","
                                                   "\"id\":\"a\",\"call_id\":\"c1\",\"name\":"
                                                   "\"x\"}")
                             TOLD("output_item.added", ",\"item\":{\"type\":\"function_call\","
                                                       "\"id\":\"b\",\"call_id\":\"c2\",\"name\":"
                                                       "\"y\"}") NAMED("a", "{") NAMED("b", "[")
                                 NAMED("a", "}") NAMED("b", "]") COMPLETED(""));
    assert_int_equal(r->call_count, 2);
    assert_called(r, 0, "c1", "x", "{}");
    assert_called(r, 1, "c2", "y", "[]");
    model_reply_free(r);

    r = responses_stream(
        ADDED(0, "\"type\":\"function_call\",\"id\":\"a\",\"call_id\":\"c1\",\"name\":\"x\"")
            ADDED(0, "\"type\":\"function_call\",\"id\":\"b\",\"call_id\":\"c2\",\"name\":\"y\"")
                NAMED("a", "{") NAMED("b", "[") NAMED("a", "}") NAMED("b", "]") COMPLETED(""));
    assert_int_equal(r->call_count, 2);
    assert_called(r, 0, "c1", "x", "{}");
    assert_called(r, 1, "c2", "y", "[]");
    model_reply_free(r);

    r = responses_stream(
        ADDED(1, "\"type\":\"function_call\",\"id\":\"q1\",\"call_id\":\"c1\",\"name\":\"x\"")
            ARG(1, "{\\\"n\\\":") ARG(1, "1}") ENDED(1, CALL("q9", "c1", "x", "{\\\"n\\\":1}"))
                COMPLETED("{" CALL("q10", "c1", "x", "{\\\"n\\\":1}") "}"));
    assert_int_equal(r->call_count, 1);
    assert_called(r, 0, "c1", "x", "{\"n\":1}");
    assert_contains(r->raw, "\"id\":\"q9\"");
    model_reply_free(r);
}

static void the_whole_text_stands_above_its_pieces(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(
        SAY(0, "he") TOLD("output_text.done",
                          ",\"output_index\":0,\"content_index\":0,\"text\":\"hello\"")
            TOLD("content_part.done", ",\"output_index\":0,\"content_index\":1,\"part\":{\"type\":"
                                      "\"output_text\",\"text\":\" you\"}")
                TOLD("function_call_arguments.done", ",\"output_index\":1,\"item_id\":\"f\","
                                                     "\"arguments\":\"{}\"") COMPLETED(""));
    assert_int_equal(r->outcome, OK);
    assert_said(r, 0, REPLY_TEXT, "hello you");
    assert_called(r, 1, "pawl_7_0", "", "{}");
    assert_contains(r->raw, "\"role\":\"assistant\"");
    assert_contains(r->raw, "\"call_id\":\"pawl_7_0\"");
    model_reply_free(r);
}

static void calls_without_id_or_with_a_doubled_one_get_their_own(void **state)
{
    (void)state;
    struct model_reply *r = responses_object("{" RESPONSE(
        "completed",
        "{\"type\":\"function_call\",\"name\":\"a\",\"arguments\":\"{}\"},{" CALL(
            "f", "same", "b", "{}") "},{" CALL("g", "same", "c", "{}") "},{" CALL("h", "", "d",
                                                                                  "{}") "}") "}");
    assert_int_equal(r->outcome, OK);
    assert_called(r, 0, "pawl_7_0", "a", "{}");
    assert_called(r, 1, "same", "b", "{}");
    assert_called(r, 2, "pawl_7_2", "c", "{}");
    assert_called(r, 3, "pawl_7_3", "d", "{}");
    assert_contains(r->raw, "\"call_id\":\"pawl_7_0\"");
    assert_contains(r->raw, "\"call_id\":\"pawl_7_3\"");
    model_reply_free(r);
}

static void keeps_thoughts_and_what_nobody_knows(void **state)
{
    (void)state;
#define STRANGE "\"type\":\"oracle_call\",\"id\":\"o\",\"bones\":[3,null,{\"a\":0.1}]"
    struct model_reply *r = responses_stream(
        ADDED(0, "\"type\":\"reasoning\",\"id\":\"i0\",\"summary\":[]") THINK(0, "let me ") THINK(
            0, "think") ENDED(0, THOUGHT("i0", "let me think") "," ENCRYPTED) ENDED(1, STRANGE)
            ENDED(2, CALL("i2", "c", "x", "{}") ",\"namespace\":\"n\"")
                COMPLETED("{" THOUGHT("i0", "let me think") "," ENCRYPTED "},{" STRANGE "},{" CALL(
                    "i2", "c", "x", "{}") ",\"namespace\":\"n\"}"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 2);
    assert_said(r, 0, REPLY_REASONING, "let me think");
    assert_called(r, 1, "c", "x", "{}");
    assert_string_equal(
        r->raw, "[{" THOUGHT("i0", "let me think") ",\"encrypted_content\":"
                                                   "\"gAAAA/b+c=\"},{" STRANGE
                                                   "},{" CALL("i2", "c", "x",
                                                              "{}") ",\"namespace\":\"n\"}]");
    model_reply_free(r);

    /* The encrypted part comes only at the very end. */
    r = responses_stream(
        ENDED(0, THOUGHT("i0", "hm") ",\"encrypted_content\":null") ENDED(1, MESSAGE("i1", "Yes."))
            COMPLETED("{" THOUGHT("i0", "hm") "," ENCRYPTED "},{" MESSAGE("i1", "Yes.") "}"));
    assert_contains(r->raw, "\"encrypted_content\":\"gAAAA/b+c=\"");
    model_reply_free(r);

    /* Thoughts in the open, in parts, from servers that encrypt nothing. */
    r = responses_stream(TOLD("reasoning_text.delta", ",\"output_index\":0,\"content_index\":0,"
                                                      "\"delta\":\"one\"")
                             TOLD("reasoning_text.delta", ",\"output_index\":0,\"content_index\":1,"
                                                          "\"delta\":\"two\"") SAY(1, "Yes.")
                                 COMPLETED(""));
    assert_said(r, 0, REPLY_REASONING, "one\n\ntwo");
    assert_said(r, 1, REPLY_TEXT, "Yes.");
    assert_contains(r->raw, "\"content\":[{\"type\":\"reasoning_text\",\"text\":\"one\"},");
    model_reply_free(r);
}

/* The API would refuse them as input. */
static void thoughts_that_nothing_follows_do_not_go_back(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(ENDED(0, MESSAGE("m", "So.")) ENDED(
        1, THOUGHT("i0", "hm")) ENDED(2, THOUGHT("i1", "hmm")) COMPLETED(""));
    assert_int_equal(r->item_count, 3);
    assert_said(r, 2, REPLY_REASONING, "hmm");
    assert_string_equal(r->raw, "[{" MESSAGE("m", "So.") "}]");
    model_reply_free(r);

    r = responses_stream(COMPLETED("{\"type\":\"reasoning\",\"id\":\"i0\",\"summary\":[]}"));
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 1);
    assert_said(r, 0, REPLY_TEXT, "");
    assert_string_equal(r->raw, "[]");
    model_reply_free(r);
}

static void ignores_events_that_nobody_knows(void **state)
{
    (void)state;
    struct model_reply *r =
        responses_stream("event: ping\ndata: {}\n\n" TOLD(
            "something.new",
            ",\"x\":[1,2]") "data: [1]\n\n"
                            "data: null\n\ndata: {\"type\":7}\n\n" TOLD("output_item.added",
                                                                        ",\"item\":7")
                                TOLD("output_text.delta", ",\"output_index\":0,\"delta\":{}")
                                    TOLD("web_search_call.searching", "") SAY(0, "hi") TOLD(
                                        "output_text.annotation.added",
                                        ",\"output_index\":0,\"annotation\":{}")
                                        TOLD("content_part.done",
                                             ",\"output_index\":0,\"part\":{\"type\":\"image\"}")
                                            COMPLETED("") "data: after the end\n\n");
    assert_int_equal(r->outcome, OK);
    assert_int_equal(r->item_count, 1);
    assert_said(r, 0, REPLY_TEXT, "hi");
    model_reply_free(r);
}

static void lines_may_end_and_split_in_any_way(void **state)
{
    (void)state;
    static const char *const streams[] = {
        ": ping\r\n\r\nevent: response.output_text.delta\r\nid: 1\r\ndata: {\"type\":\r\n"
        "data: \"response.output_text.delta\",\"output_index\":0,\r\ndata:\"delta\":\"hi\"}\r\n\r\n"
        "data: {\"type\":\"response.completed\",\r\ndata: \"response\":{\"status\":\"completed\"}}"
        "\r\n\r\n",
        ":\rdata:{\"type\":\"response.output_text.delta\",\rdata:\"delta\":\"hi\"}\r\r"
        "data: {\"type\":\"response.completed\"}\r\r",
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct model_reply *r = responses_stream(streams[i]);
        assert_int_equal(r->outcome, OK);
        assert_said(r, 0, REPLY_TEXT, "hi");
        model_reply_free(r);
    }
}

static void reads_a_refusal_and_an_empty_answer(void **state)
{
    (void)state;
    struct model_reply *r = responses_stream(
        TOLD("refusal.delta", ",\"output_index\":0,\"content_index\":0,\"delta\":\"I ca\"")
            TOLD("refusal.delta", ",\"output_index\":0,\"content_index\":0,\"delta\":\"nnot.\"")
                COMPLETED(""));
    assert_int_equal(r->outcome, OK);
    assert_said(r, 0, REPLY_TEXT, "I cannot.");
    assert_contains(r->raw, "\"content\":[{\"type\":\"refusal\",\"refusal\":\"I cannot.\"}]");
    model_reply_free(r);

    static const char *const empty[] = { COMPLETED(""), COMPLETED("{" MESSAGE("m", "") "}"),
                                         ENDED(0, MESSAGE("m", "")) COMPLETED("") };
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        r = responses_stream(empty[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->end, REPLY_END_STOP);
        assert_int_equal(r->item_count, 1);
        assert_said(r, 0, REPLY_TEXT, "");
        model_reply_free(r);
    }
}

static void reads_one_object_when_a_stream_was_asked(void **state)
{
    (void)state;
    static const char answer[] =
        " {" RESPONSE("completed", "{" THOUGHT("r", "hm") "},{" MESSAGE("m", "Yes.") "}") "}\n";
    const char *const types[] = { JSON_TYPE, "", "text/plain" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct model_reply *r =
            cut_read_all(&openai_responses, types[i], answer, strlen(answer), true);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->end, REPLY_END_STOP);
        assert_said(r, 0, REPLY_REASONING, "hm");
        assert_said(r, 1, REPLY_TEXT, "Yes.");
        assert_int_equal(r->usage.tokens_in, 12);
        assert_int_equal(r->usage.tokens_reasoning, 5);
        model_reply_free(r);
    }
    static const char stream[] = SAY(0, "x") COMPLETED("");
    struct model_reply *r = cut_read_all(&openai_responses, "", stream, strlen(stream), true);
    assert_said(r, 0, REPLY_TEXT, "x");
    model_reply_free(r);
}

/* `response` may be missing, usage too; what nobody can have counted is not believed. */
static void finds_usage_wherever_it_stands(void **state)
{
    (void)state;
    static const char *const streams[] = {
        SAY(0, "x") COMPLETED(""),
        SAY(0, "x") TOLD("completed", "," USAGE),
        SAY(0, "x") TOLD("incomplete", ",\"response\":{" RESPONSE("incomplete", "") "}"),
        SAY(0, "x") TOLD("failed", ",\"response\":{" RESPONSE("failed", "") "}"),
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct model_reply *r = responses_stream(streams[i]);
        assert_int_equal(r->usage.tokens_in, 12);
        assert_int_equal(r->usage.tokens_out, 9);
        assert_int_equal(r->usage.tokens_cached, 8);
        model_reply_free(r);
    }
    static const char *const unknown[] = {
        SAY(0, "x") TOLD("completed", ""),
        SAY(0, "x") TOLD("completed", ",\"response\":{\"usage\":null}"),
        SAY(0, "x") TOLD("completed", ",\"response\":{\"usage\":{\"input_tokens\":-1}}"),
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        struct model_reply *r = responses_stream(unknown[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->usage.tokens_in, MODEL_NO_TOKENS);
        model_reply_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_text),
        cmocka_unit_test(reads_interleaved_calls_with_gaps),
        cmocka_unit_test(reads_what_only_the_end_tells),
        cmocka_unit_test(tells_items_apart_without_a_good_index),
        cmocka_unit_test(the_whole_text_stands_above_its_pieces),
        cmocka_unit_test(calls_without_id_or_with_a_doubled_one_get_their_own),
        cmocka_unit_test(keeps_thoughts_and_what_nobody_knows),
        cmocka_unit_test(thoughts_that_nothing_follows_do_not_go_back),
        cmocka_unit_test(ignores_events_that_nobody_knows),
        cmocka_unit_test(lines_may_end_and_split_in_any_way),
        cmocka_unit_test(reads_a_refusal_and_an_empty_answer),
        cmocka_unit_test(reads_one_object_when_a_stream_was_asked),
        cmocka_unit_test(finds_usage_wherever_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
