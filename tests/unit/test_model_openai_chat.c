/*
 * test_model_openai_chat.c -- the dialect read and written without a socket.
 */
#include "tests/unit/cm.h"

#include "common/json.h"
#include "common/memory.h"
#include "tests/unit/chat_answers.h"

#include <stdlib.h>
#include <string.h>

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
    assert_contains(r->raw, "\"role\":\"assistant\"");
    model_reply_free(r);
}

static void calls_without_id_or_with_a_doubled_one_get_their_own(void **state)
{
    (void)state;
    struct model_reply *r =
        read_answer(JSON_TYPE,
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
    assert_contains(r->raw, "\"id\":\"pawl_7_3\"");
    assert_contains(r->raw, "\"type\":\"function\"");
    assert_contains(r->raw, "\"role\":\"assistant\"");
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
    assert_contains(r->raw, "\"extra_content\":{\"google\":{\"thought_signature\":\"CsQB\"}}");
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

static void lines_may_end_and_split_in_any_way(void **state)
{
    (void)state;
    static const char *const streams[] = {
        ": ping\r\n\r\nevent: chunk\r\nid: 1\r\nretry: 10\r\ndata: {\"choices\":[{\"index\":0,\r\n"
        "data: \"delta\":\r\ndata:{\"content\":\"hi\"}}]}\r\n\r\n"
        "data: {\"choices\":[{\"delta\":{},\r\ndata: \"finish_reason\":\"stop\"}]}\r\n\r\n"
        "data: [DONE]\r\n\r\n",
        ":\rdata:{\"choices\":\rdata:[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}"
        "\r\r",
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct model_reply *r = read_stream(streams[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->end, REPLY_END_STOP);
        assert_text(r, 0, "hi");
        model_reply_free(r);
    }
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
    const char *const types[] = { JSON_TYPE, "", "text/plain" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct model_reply *r = read_answer(types[i], answer, true);
        assert_int_equal(r->outcome, OK);
        assert_text(r, 0, "two parts");
        assert_contains(r->raw, "\"annotations\":[]");
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
    static const char *const unbelievable[] = {
        DELTA("{\"content\":\"x\"}") END("stop") DONE,
        DELTA("{\"content\":\"x\"}") END("stop")
            EVENT("{\"usage\":{\"prompt_tokens\":9223372036854775807}}") DONE,
        DELTA("{\"content\":\"x\"}") END("stop") EVENT("{\"usage\":{\"prompt_tokens\":-7}}") DONE,
    };
    for (size_t i = 0; i < sizeof unbelievable / sizeof *unbelievable; i++) {
        struct model_reply *r = read_stream(unbelievable[i]);
        assert_int_equal(r->outcome, OK);
        assert_int_equal(r->usage.tokens_in, MODEL_NO_TOKENS);
        model_reply_free(r);
    }
}

/* ---- cut answers -------------------------------------------------------------------- */

static void a_stream_without_its_end_is_cut(void **state)
{
    (void)state;
    static const char *const cut[] = { "", ": just a comment\n\n", DELTA("{\"content\":\"hal\"}"),
                                       CALL(0, "a", "x", "{}") "data: [DO" };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        for (int whole = 0; whole < 2; whole++) {
            struct model_reply *r = read_answer(SSE_TYPE, cut[i], whole);
            assert_int_equal(r->outcome, RETRY);
            assert_string_equal(r->code, "answer_cut");
            model_reply_free(r);
        }
    }
    struct model_reply *r =
        read_answer(JSON_TYPE, "{\"choices\":[{\"message\":{\"content\":\"x\"", false);
    assert_int_equal(r->outcome, RETRY);
    model_reply_free(r);
}

static void a_finish_reason_is_an_end_without_done(void **state)
{
    (void)state;
    struct model_reply *r = read_answer(SSE_TYPE, DELTA("{\"content\":\"x\"}") END("stop"), false);
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

/* ---- the request ----------------------------------------------------------------------- */

static json_t *written(const char *options, size_t tool_count)
{
    struct model_def model = { .model = "gpt \"x\"", .options = json_loads(options, 0, NULL) };
    struct tool_def tool = { .name = "look",
                             .description = "Looks.",
                             .parameters = json_loads("{\"type\":\"object\"}", 0, NULL) };
    const struct tool_def *tools[] = { &tool, &tool };
    const struct prompt_frame frame = { &model, "Be\nbrief.", tools, tool_count, NULL };
    struct buf body;
    buf_init(&body, (size_t)1 << 20);
    assert_true(openai_chat.begin(&body, &frame));
    assert_true(openai_chat.add_user(&body, "Hi \"you\"", 8));
    assert_true(openai_chat.add_turn(
        &body, &(struct prompt_turn){ .raw = "{\"role\":\"assistant\"}", .raw_n = 20 }));
    const struct prompt_result results[] = { { "c1", "look", "seen", 4, false, 1 },
                                             { "c2", NULL, "", 0, true, 1 } };
    assert_true(openai_chat.add_results(&body, results, 2));
    assert_true(openai_chat.close(&body, &frame, false));
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
        cmocka_unit_test(lines_may_end_and_split_in_any_way),
        cmocka_unit_test(reads_a_refusal_and_an_empty_answer),
        cmocka_unit_test(reads_one_object_when_a_stream_was_asked),
        cmocka_unit_test(finds_usage_wherever_it_stands),
        cmocka_unit_test(a_stream_without_its_end_is_cut),
        cmocka_unit_test(a_finish_reason_is_an_end_without_done),
        cmocka_unit_test(says_why_the_model_stopped),
        cmocka_unit_test(writes_a_request),
        cmocka_unit_test(options_replace_what_is_not_ours),
        cmocka_unit_test(the_key_goes_into_a_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
