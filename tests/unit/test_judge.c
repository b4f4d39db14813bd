/*
 * test_judge.c -- which calls of a model are made, and what it is told about the
 * others.  The rules are those of the header of judge.h.
 */
#include "tests/unit/cm.h"

#include "planner/judge.h"

#include "common/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static struct tool_def look = { .name = "look" }, send = { .name = "send" };
static struct registry_tool tools[] = { { 11, &look }, { 12, &send } };
static struct agent_def agent_def = {
    .tool_count = 2,
    .limit_calls_per_step = 3,
    .limit_arguments_bytes = 100,
};
static struct registry_agent agent = { .def = &agent_def, .tools = tools };

static struct reply_item call(const char *tool, const char *arguments)
{
    return (struct reply_item){ .type = REPLY_CALL,
                                .call_id = "id",
                                .tool = tool,
                                .arguments = arguments,
                                .arguments_n = strlen(arguments) };
}

static struct model_reply reply_of(struct reply_item *items, size_t count, enum reply_end end)
{
    struct model_reply r = { .outcome = OK,
                             .end = end,
                             .end_reason = "odd",
                             .items = items,
                             .item_count = count,
                             .raw = "{}",
                             .raw_n = 2 };
    for (size_t i = 0; i < count; i++)
        r.call_count += items[i].type == REPLY_CALL;
    return r;
}

static struct arena arena;
static struct store_item *judged;

static void judge(struct reply_item *items, size_t count, enum reply_end end)
{
    struct error err;
    struct model_reply r = reply_of(items, count, end);
    arena_free(&arena);
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(judge_items(&r, &agent, false, &arena, &judged, &err), OK);
}

static json_t *schemas[2];

static void give_schema(struct tool_def *tool, json_t **source, const char *text)
{
    struct json_schema_fault fault;
    *source = json_loads(text, 0, NULL);
    assert_int_equal(json_schema_compile(*source, true, &tool->schema, &fault), OK);
}

static int set_up(void **state)
{
    (void)state;
    give_schema(&look, &schemas[0], "{\"type\":\"object\"}");
    give_schema(&send, &schemas[1],
                "{\"type\":\"object\",\"properties\":{\"to\":{\"type\":\"string\",\"minLength\":1},"
                "\"lines\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
                "\"n\":{\"type\":\"number\"},\"text\":{\"pattern\":\"^(a+)+$\"}}}}},"
                "\"required\":[\"to\"],\"additionalProperties\":false}");
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    arena_free(&arena);
    json_schema_free(look.schema);
    json_schema_free(send.schema);
    json_decref(schemas[0]);
    json_decref(schemas[1]);
    return 0;
}

static void assert_refused(const char *tool, const char *arguments, const char *why)
{
    struct reply_item items[] = { call(tool, arguments) };
    judge(items, 1, REPLY_END_STOP);
    assert_non_null(judged[0].refused);
    if (!strstr(judged[0].refused, why))
        print_error("said: %s\n", judged[0].refused);
    assert_non_null(strstr(judged[0].refused, why));
    assert_string_equal(judged[0].tool, tool);
}

static void a_good_call_is_made(void **state)
{
    (void)state;
    struct reply_item items[] = { { .type = REPLY_REASONING, .content = "hm" },
                                  { .type = REPLY_TEXT, .content = "I look." },
                                  call("look", "{\"b\": 1, \"a\": [2]}"),
                                  call("look", "{\"a\":[2],\"b\":1}") };
    judge(items, 4, REPLY_END_STOP);
    assert_int_equal(judged[0].type, STORE_REASONING);
    assert_string_equal(judged[0].raw, "{}");
    assert_int_equal(judged[1].type, STORE_TEXT);
    assert_null(judged[1].raw);
    assert_int_equal(judged[2].type, STORE_FUNCTION_CALL);
    assert_null(judged[2].refused);
    assert_int_equal(judged[2].revision, 11);
    assert_string_equal(judged[2].arguments, "{\"b\": 1, \"a\": [2]}");
    /* the digest does not hang on spaces and order */
    assert_true(digest_eq(judged[2].digest, judged[3].digest));
    struct digest expected;
    digest_of("{\"a\":[2],\"b\":1}", 15, &expected);
    assert_true(digest_eq(judged[2].digest, &expected));
}

static void empty_arguments_are_an_empty_object(void **state)
{
    (void)state;
    struct reply_item items[] = { call("look", ""), call("look", " \n"), call("look", "{}") };
    judge(items, 3, REPLY_END_STOP);
    for (int i = 0; i < 3; i++) {
        assert_null(judged[i].refused);
        assert_string_equal(judged[i].arguments, "{}");
        assert_true(digest_eq(judged[0].digest, judged[i].digest));
    }
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    assert_refused("look", "{\n \"city\": \"Paris", "not a JSON object");
    assert_refused("look", "[1]", "send an object");
    assert_refused("look", "null", "send an object");
    assert_refused("look", "\"x\"", "send an object");
    assert_refused("look", "{} {}", "not a JSON object");
    assert_refused("look", "{\"a\":1,\"a\":2}", "not a JSON object");
    char long_one[200];
    (void)snprintf(long_one, sizeof long_one, "{\"a\":\"%0120d\"}", 1);
    assert_refused("look", long_one, "at most 100 are allowed");
    assert_null(judged[0].arguments);

    struct reply_item altered[] = { call("look", "{\"a\":\"?\"}") };
    altered[0].altered = true;
    judge(altered, 1, REPLY_END_STOP);
    assert_non_null(judged[0].refused);
}

static void arguments_that_do_not_fit_are_told_so(void **state)
{
    (void)state;
    struct reply_item items[] = { call("send", "{\"to\":\"a\",\"lines\":[{\"n\":1.5}]}"),
                                  call("send", "{\"to\":\"a\",\"lines\":[{\"n\":\"1\"}]}"),
                                  call("look", "{\"lines\":[{\"n\":\"1\"}]}") };
    judge(items, 3, REPLY_END_STOP);
    assert_null(judged[0].refused);
    assert_string_equal(judged[1].refused,
                        "the arguments do not fit the tool's schema: /lines/0/n is the string "
                        "\"1\"; a number is wanted");
    assert_non_null(judged[1].digest);
    assert_string_equal(judged[1].arguments, items[1].arguments);
    assert_int_equal(judged[1].revision, 12);
    assert_null(judged[2].refused); /* it is not that tool's schema */

    assert_refused("send", "{\"too\":\"a\"}",
                   "the argument object lacks 'to', which is required; it has 'too'");
    assert_refused("send", "", "lacks 'to', which is required; it has no members");
    assert_refused("send", "{\"to\":\"a\",\"cc\":1}", "has 'cc', which is not allowed");
    assert_true(strlen(judged[0].refused) <= 560);
}

/* What is said first stays what was said first. */
static void the_schema_speaks_last(void **state)
{
    (void)state;
    struct reply_item items[] = { call("look", "{}"), call("look", "{}"), call("look", "{}"),
                                  call("send", "{\"to\":1}") };
    judge(items, 4, REPLY_END_STOP);
    assert_contains(judged[3].refused, "at most 3 calls");
    judge(items + 3, 1, REPLY_END_LENGTH);
    assert_contains(judged[0].refused, "limit of output tokens");
}

static void a_foreign_text_in_a_refusal_is_safe_to_store(void **state)
{
    (void)state;
    assert_refused("send", "{\"to\":\"a\",\"lines\":\"\\u0000\\u001b[2J\\n\"}",
                   "/lines is the string \"\\x00\\x1b[2J\\n\"; an array is wanted");
}

/* A pattern that needs 2^n steps: the calls of one reply share what may be spent. */
static void checks_of_one_reply_are_bounded_together(void **state)
{
    (void)state;
    char bad[100];
    (void)snprintf(bad, sizeof bad, "{\"to\":\"a\",\"lines\":[{\"text\":\"%.40s!\"}]}",
                   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    struct reply_item items[] = { call("send", bad), call("send", "{\"to\":\"a\"}"),
                                  call("look", "{}") };
    judge(items, 3, REPLY_END_STOP);
    assert_contains(judged[0].refused, "/lines/0/text is too large or too intricate");
    assert_null(judged[1].refused); /* cheap ones are still judged */
    assert_null(judged[2].refused);
}

static void unknown_tools_are_refused(void **state)
{
    (void)state;
    assert_refused("delete_everything", "{}", "no tool 'delete_everything'");
    assert_contains(judged[0].refused, "look, send");
    assert_int_equal(judged[0].revision, 0);
    assert_refused("", "{}", "no tool ''");
    assert_refused("LOOK", "{}", "no tool");
    assert_refused("a\x1b[2Jb", "{}", "no tool");
    assert_null(strchr(judged[0].refused, '\x1b'));
}

static void calls_beyond_the_limit_are_told_so(void **state)
{
    (void)state;
    struct reply_item items[] = { { .type = REPLY_TEXT, .content = "" },
                                  call("look", "{}"),
                                  call("nothing", "{}"),
                                  call("look", "{}"),
                                  call("send", "{}"),
                                  call("send", "{}") };
    judge(items, 6, REPLY_END_STOP);
    assert_null(judged[1].refused);
    assert_non_null(judged[2].refused);
    assert_null(judged[3].refused);
    for (int i = 4; i < 6; i++)
        assert_contains(judged[i].refused, "at most 3 calls");
}

static void a_cut_answer_makes_no_call(void **state)
{
    (void)state;
    const enum reply_end ends[] = { REPLY_END_LENGTH, REPLY_END_FILTER, REPLY_END_UNKNOWN,
                                    REPLY_END_PAUSE };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct reply_item items[] = { call("look", "{}"), call("look", "{\"a\"") };
        judge(items, 2, ends[i]);
        assert_non_null(judged[0].refused); /* although it parses */
        assert_non_null(judged[1].refused);
        struct model_reply r = reply_of(items, 2, ends[i]);
        const char *code = NULL;
        struct error why;
        assert_int_equal(judge_outcome(&r, &code, &why), STORE_PLAN_CALLS);
    }
}

static void what_a_reply_means_for_the_run(void **state)
{
    (void)state;
    struct reply_item text[] = { { .type = REPLY_TEXT, .content = "" } };
    const char *code = NULL;
    struct error why;
    struct model_reply r = reply_of(text, 1, REPLY_END_STOP);
    assert_int_equal(judge_outcome(&r, &code, &why), STORE_PLAN_FINAL);
    r = reply_of(text, 1, REPLY_END_UNKNOWN);
    assert_int_equal(judge_outcome(&r, &code, &why), STORE_PLAN_FINAL);
    assert_null(code);
    r = reply_of(text, 1, REPLY_END_LENGTH);
    assert_int_equal(judge_outcome(&r, &code, &why), STORE_PLAN_FAIL);
    assert_string_equal(code, "answer_cut");
    r = reply_of(text, 1, REPLY_END_FILTER);
    assert_int_equal(judge_outcome(&r, &code, &why), STORE_PLAN_FAIL);
    assert_string_equal(code, "content_filtered");
    code = NULL;
    r = reply_of(text, 1, REPLY_END_PAUSE); /* no answer yet */
    assert_int_equal(judge_outcome(&r, &code, &why), STORE_PLAN_CALLS);
    assert_null(code);
}

static void the_arena_bounds_it(void **state)
{
    (void)state;
    struct reply_item items[] = { call("look", "{}") };
    struct model_reply r = reply_of(items, 1, REPLY_END_STOP);
    struct error err;
    arena_free(&arena);
    arena_init(&arena, 16);
    assert_int_equal(judge_items(&r, &agent, false, &arena, &judged, &err), REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_call_is_made),
        cmocka_unit_test(empty_arguments_are_an_empty_object),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(arguments_that_do_not_fit_are_told_so),
        cmocka_unit_test(the_schema_speaks_last),
        cmocka_unit_test(a_foreign_text_in_a_refusal_is_safe_to_store),
        cmocka_unit_test(checks_of_one_reply_are_bounded_together),
        cmocka_unit_test(unknown_tools_are_refused),
        cmocka_unit_test(calls_beyond_the_limit_are_told_so),
        cmocka_unit_test(a_cut_answer_makes_no_call),
        cmocka_unit_test(what_a_reply_means_for_the_run),
        cmocka_unit_test(the_arena_bounds_it),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
