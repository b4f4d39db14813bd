/*
 * test_model_openai_responses_request.c -- what this dialect sends: the request, and
 * what the model said before, as it came.
 */
#include "tests/unit/cm.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/prompt.h"
#include "tests/unit/responses_answers.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct prompt_result results[] = { { "c1", "look", "seen", 4, false, 1 },
                                                { "c2", NULL, "", 0, true, 1 } };

static struct model_def model = { .model = "gpt \"x\"" };
static struct tool_def tool = { .name = "look", .description = "Looks." };
static const struct tool_def *const tools[] = { &tool, &tool };

static int set_up(void **state)
{
    (void)state;
    tool.parameters = json_loads("{\"type\":\"object\"}", 0, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(tool.parameters);
    return 0;
}

/* The body with a question, this turn and two results, as JSON. */
static json_t *written(const char *options, size_t tool_count, const struct prompt_turn *turn,
                       bool answer_only)
{
    model.options = json_loads(options, 0, NULL);
    const struct prompt_frame frame = { .model = &model,
                                        .instructions = "Be\nbrief.",
                                        .tools = tools,
                                        .tool_count = tool_count,
                                        .cache_key = "run-7" };
    struct buf body;
    buf_init(&body, (size_t)1 << 20);
    assert_true(openai_responses.begin(&body, &frame));
    assert_true(openai_responses.add_user(&body, "Hi \"you\"", 8));
    assert_true(openai_responses.add_turn(&body, turn));
    assert_true(openai_responses.add_results(&body, results, 2));
    assert_true(openai_responses.close(&body, &frame, answer_only));
    json_t *value = json_loadb(body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    buf_release(&body);
    json_decref(model.options);
    model.options = NULL;
    return value;
}

#define RAW(text) (&(struct prompt_turn){ .raw = (text), .raw_n = sizeof(text) - 1 })

static json_t *asked_with(const char *options, size_t tool_count)
{
    return written(options, tool_count, RAW("[]"), false);
}

static void assert_json(const json_t *value, const char *text)
{
    AUTO_FREE char *dumped =
        json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(3));
    assert_string_equal(dumped, text);
}

static void writes_a_request(void **state)
{
    (void)state;
    json_t *value = written("{\"temperature\":0.2,\"model\":\"no\",\"input\":3,\"instructions\":1,"
                            "\"reasoning\":{\"effort\":\"low\"},\"tools\":[]}",
                            2, RAW("[{\"type\":\"x\"},{\"type\":\"y\"}]"), false);
#define TOOL                                                                               \
    "{\"type\":\"function\",\"name\":\"look\",\"description\":\"Looks.\",\"parameters\":{" \
    "\"type\":\"object\"},\"strict\":false}"
#define RESULTS                                                                   \
    "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"seen\"}," \
    "{\"type\":\"function_call_output\",\"call_id\":\"c2\",\"output\":\"\"}"
    assert_json(value,
                "{\"model\":\"gpt \\\"x\\\"\",\"stream\":true,\"store\":false,\"include\":"
                "[\"reasoning.encrypted_content\"],\"prompt_cache_key\":\"run-7\","
                "\"temperature\":0.2,\"reasoning\":{\"effort\":\"low\"},\"tools\":[" TOOL "," TOOL
                "],\"instructions\":\"Be\\nbrief.\",\"input\":[{\"role\":\"user\","
                "\"content\":\"Hi \\\"you\\\"\"},{\"type\":\"x\"},{\"type\":\"y\"}," RESULTS "]}");
    json_decref(value);
}

static void options_replace_what_is_not_ours(void **state)
{
    (void)state;
    json_t *value = asked_with("{\"stream\":null,\"store\":null,\"include\":null,"
                               "\"prompt_cache_key\":null,\"tool_choice\":\"required\"}",
                               0);
    static const char *const left_out[] = { "stream",           "store", "include",
                                            "prompt_cache_key", "tools", "tool_choice" };
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        assert_null(json_object_get(value, left_out[i]));
    json_decref(value);
    value = asked_with("{\"stream\":false,\"store\":true,\"include\":[],\"prompt_cache_key\":"
                       "\"mine\",\"tool_choice\":\"required\"}",
                       1);
    assert_true(json_is_false(json_object_get(value, "stream")));
    assert_true(json_is_true(json_object_get(value, "store")));
    assert_int_equal(json_array_size(json_arr(value, "include")), 0);
    assert_string_equal(json_str(value, "prompt_cache_key"), "mine");
    assert_string_equal(json_str(value, "tool_choice"), "required");
    json_decref(value);
}

static void the_answer_can_be_asked_for_without_tools(void **state)
{
    (void)state;
    json_t *value = written("{\"tool_choice\":\"required\"}", 1, RAW("[]"), true);
    assert_string_equal(json_str(value, "tool_choice"), "none");
    assert_int_equal(json_array_size(json_arr(value, "tools")), 1);
    json_decref(value);
    value = written("{}", 0, RAW("[]"), true); /* the API refuses it without tools */
    assert_null(json_object_get(value, "tool_choice"));
    json_decref(value);
}

static void the_key_goes_into_a_header(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1024);
    struct http_header headers[MODEL_HEADERS_MAX];
    assert_int_equal(openai_responses.headers("k", &arena, headers), 2);
    assert_string_equal(headers[1].name, "Authorization");
    assert_string_equal(headers[1].value, "Bearer k");
    assert_int_equal(openai_responses.headers(NULL, &arena, headers), 1);
    arena_free(&arena);
}

/* ---- what was said before --------------------------------------------------------------- */

/* Of a request without tools: the items between the question and the results. */
static json_t *items_of(const struct prompt_turn *turn)
{
    json_t *value = written("{}", 0, turn, false), *items = json_arr(value, "input");
    size_t n = json_array_size(items);
    assert_true(n >= 3);
    (void)json_array_remove(items, n - 1);
    (void)json_array_remove(items, n - 2);
    (void)json_array_remove(items, 0);
    items = json_incref(items);
    json_decref(value);
    return items;
}

static void what_came_goes_back_as_it_came(void **state)
{
    (void)state;
#define ITEMS                                                                                     \
    "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":\"gA==\","      \
    "\"status\":\"completed\"},{" MESSAGE(                                                        \
        "m", "I look.") "},{\"type\":\"oracle_call\",\"x\":"                                      \
                        "[1,{\"y\":null}]},{" CALL(                                               \
                            "f", "c1", "look", "{\\\"a\\\":[1,2]}") "},{" CALL("g", "c2", "look", \
                                                                               "{}") "}"
    struct model_reply *r = responses_stream(COMPLETED(ITEMS));
    assert_int_equal(r->outcome, OK);
    json_t *items = items_of(&(struct prompt_turn){ .raw = r->raw, .raw_n = r->raw_n });
    assert_json(items, "[" ITEMS "]");
    json_decref(items);
    model_reply_free(r);
}

/* Postgres gives raw back as it was written; space would do no harm. */
static void an_empty_output_leaves_no_trace(void **state)
{
    (void)state;
    static const char *const raws[] = { "[]", " [ ]\n", "[\t]" };
    for (size_t i = 0; i < sizeof raws / sizeof *raws; i++) {
        json_t *items = items_of(&(struct prompt_turn){ .raw = raws[i], .raw_n = strlen(raws[i]) });
        assert_int_equal(json_array_size(items), 0);
        json_decref(items);
    }
    json_t *items = items_of(RAW(" [ {\"type\":\"x\"} ] "));
    assert_json(items, "[{\"type\":\"x\"}]");
    json_decref(items);
}

static void another_dialect_s_words_are_said_in_this_one(void **state)
{
    (void)state;
    const struct reply_item said[] = {
        { .type = REPLY_REASONING, .content = "hm" },
        { .type = REPLY_TEXT, .content = "I \"look\"." },
        { .type = REPLY_CALL,
          .call_id = "c1",
          .tool = "look",
          .arguments = "{\"a\":1}",
          .arguments_n = 7 },
        { .type = REPLY_CALL, .call_id = "c2", .tool = "gone", .arguments = "", .arguments_n = 0 },
        { .type = REPLY_TEXT, .content = "" },
    };
    const struct prompt_turn turn = { .items = said, .item_count = 5, .call_count = 2 };
    json_t *items = items_of(&turn);
    assert_json(items, "[{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":"
                       "\"output_text\",\"text\":\"I \\\"look\\\".\",\"annotations\":[]}]},"
                       "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"look\","
                       "\"arguments\":\"{\\\"a\\\":1}\"},{\"type\":\"function_call\",\"call_id\":"
                       "\"c2\",\"name\":\"gone\",\"arguments\":\"\"}]");
    json_decref(items);
    items = items_of(&(struct prompt_turn){ .items = said, .item_count = 1 });
    assert_int_equal(json_array_size(items), 0);
    json_decref(items);
}

/* ---- step by step ---------------------------------------------------------------------- */

#define SAID(step_, json)                                                                       \
    {                                                                                           \
        .kind = STORE_ROW_ITEM, .step = (step_), .type = STORE_TEXT, .content = "...",          \
        .content_n = 3, .raw = (json), .raw_n = sizeof(json) - 1, .dialect = "openai_responses" \
    }
#define ASKED(step_, index_, id)                                                                 \
    {                                                                                            \
        .kind = STORE_ROW_ITEM, .step = (step_), .index = (index_), .type = STORE_FUNCTION_CALL, \
        .call_id = (id), .tool = "t", .arguments = "{}"                                          \
    }
#define CAME(step_, index_, id, text)                                                  \
    {                                                                                  \
        .kind = STORE_ROW_RESULT, .step = (step_), .index = (index_), .call_id = (id), \
        .status = "succeeded", .content = (text), .content_n = sizeof(text) - 1        \
    }

static const struct store_row rows[] = {
    { .kind = STORE_ROW_INPUT, .content = "\"go\"", .content_n = 4 },
    SAID(1, "[{\"type\":\"reasoning\",\"id\":\"r\"},{\"type\":\"function_call\",\"call_id\":\"a\"},"
            "{\"type\":\"function_call\",\"call_id\":\"b\"}]"),
    ASKED(1, 1, "a"),
    ASKED(1, 2, "b"),
    CAME(1, 1, "a", "42"),
    CAME(1, 2, "b", "no such thing"),
    SAID(2, "[]"),
    SAID(3, "[{\"type\":\"function_call\",\"call_id\":\"c\"}]"),
    ASKED(3, 1, "c"),
    CAME(3, 1, "c", "done"),
};

static void extend(struct history *h, size_t from, size_t to)
{
    const struct prompt_frame frame = { .model = &model, .instructions = "Be good." };
    const struct store_view whole = { 0 };
    struct arena arena;
    struct conversation c;
    struct error err;
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(conversation_read(&c, &arena, rows + from, to - from, &err), OK);
    assert_int_equal(prompt_extend(&openai_responses, &frame, false, &c, &whole, &arena, h, &err),
                     OK);
    arena_free(&arena);
}

static struct history *new_history(void)
{
    static const struct uuid run = { { 1 } };
    return history_new(&run);
}

/* Each request is the one before it and what is new, and the last one is the same as
 * one made at once: also with an output of nothing in between.               */
static void a_prompt_grows_at_its_end(void **state)
{
    (void)state;
    model.options = json_object();
    struct history *h = new_history(), *whole = new_history();
    extend(h, 0, 1);
    static const char end[] = "]}";
    static const struct {
        size_t from, to; /* rows: the results of a step come with the next read */
        size_t answer;   /* the row with what the model said to it */
    } steps[] = { { 4, 6, 1 }, { 7, 7, 6 }, { 9, 10, 7 } };
    char *before = xstrdup(h->text.data);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const struct store_row *answer = &rows[steps[i].answer];
        struct reply_item said = { .type = REPLY_TEXT, .content = "..." };
        const struct model_reply reply = {
            .raw = answer->raw, .raw_n = answer->raw_n, .items = &said, .item_count = 1
        };
        assert_true(prompt_add_answer(&openai_responses, &reply, answer->step, h));
        extend(h, steps[i].from, steps[i].to);
        assert_int_equal(strncmp(h->text.data, before, strlen(before) - strlen(end)), 0);
        free(before);
        before = xstrdup(h->text.data);
    }
    extend(whole, 0, sizeof rows / sizeof *rows);
    assert_string_equal(h->text.data, whole->text.data);
    json_t *value = json_loads(whole->text.data, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_array_size(json_arr(value, "input")), 1 + 3 + 2 + 1 + 1);
    json_decref(value);
    free(before);
    history_free(h);
    history_free(whole);
    json_decref(model.options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_request),
        cmocka_unit_test(options_replace_what_is_not_ours),
        cmocka_unit_test(the_answer_can_be_asked_for_without_tools),
        cmocka_unit_test(the_key_goes_into_a_header),
        cmocka_unit_test(what_came_goes_back_as_it_came),
        cmocka_unit_test(an_empty_output_leaves_no_trace),
        cmocka_unit_test(another_dialect_s_words_are_said_in_this_one),
        cmocka_unit_test(a_prompt_grows_at_its_end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
