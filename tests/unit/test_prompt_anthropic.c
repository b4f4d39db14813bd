/*
 * test_prompt_anthropic.c -- from rows to requests in the dialect "Anthropic messages":
 * a prompt extended step by step is the one that is made at once, and what was sent
 * before is its beginning, so that the provider finds it in its cache.
 */
#include "tests/unit/cm.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/model_anthropic.h"
#include "planner/model_openai_chat.h"
#include "planner/prompt.h"

#include <string.h>

static struct model_def model = { .model = "m" };
static struct tool_def tool = { .name = "t", .description = "T." };
static const struct tool_def *const tools[] = { &tool };
static const struct prompt_frame frame = {
    .model = &model, .instructions = "Be good.", .tools = tools, .tool_count = 1
};
static const struct store_view everything = { 0 };

static int set_up(void **state)
{
    (void)state;
    model.options = json_object();
    tool.parameters = json_pack("{s:s}", "type", "object");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(model.options);
    json_decref(tool.parameters);
    return 0;
}

#define RAW_1                                                                                    \
    "[{\"type\":\"thinking\",\"thinking\":\"two\",\"signature\":\"Eq\"},{\"type\":\"tool_use\"," \
    "\"id\":\"a\",\"name\":\"t\",\"input\":{}},{\"type\":\"tool_use\",\"id\":\"b\",\"name\":"    \
    "\"t\",\"input\":{}}]"
#define CONTENT_2 "[{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"x\",\"input\":{}}]"
#define RAW_2 "{\"content\":" CONTENT_2 ",\"paused\":true}"
#define RAW_4 "[{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"t\",\"input\":{}}]"

#define ITEM(step_, index_, type_, dialect_, raw_)                                              \
    .kind = STORE_ROW_ITEM, .step = (step_), .index = (index_), .type = (type_), .raw = (raw_), \
    .raw_n = sizeof(raw_) - 1, .dialect = (dialect_), .content = "", .content_n = 0
#define CALLED(step_, index_, id)                                                                \
    {                                                                                            \
        .kind = STORE_ROW_ITEM, .step = (step_), .index = (index_), .type = STORE_FUNCTION_CALL, \
        .call_id = (id), .tool = "t", .arguments = "{}"                                          \
    }
#define CAME(step_, index_, id, status_, text)                                         \
    {                                                                                  \
        .kind = STORE_ROW_RESULT, .step = (step_), .index = (index_), .call_id = (id), \
        .status = (status_), .content = (text), .content_n = sizeof(text) - 1          \
    }

/* Thoughts and two calls; a pause without a word; a step of another dialect whose ids
 * come again; one call; nothing but a thought, which is asked about once more. */
enum {
    INPUT,
    STEP_1,
    RESULTS_1 = 4,
    STEP_2 = 6,
    STEP_3,
    RESULTS_3 = 9,
    STEP_4,
    RESULTS_4 = 12,
    STEP_5,
    ROWS
};
static const struct store_row rows[ROWS] = {
    [INPUT] = { .kind = STORE_ROW_INPUT, .content = "\"Go\"", .content_n = 4 },
    [STEP_1] = { ITEM(1, 0, STORE_REASONING, "anthropic", RAW_1) },
    CALLED(1, 1, "a"),
    CALLED(1, 2, "b"),
    [RESULTS_1] = CAME(1, 1, "a", "succeeded", "42"),
    CAME(1, 2, "b", "failed", "boom"),
    [STEP_2] = { ITEM(2, 0, STORE_TEXT, "anthropic", RAW_2) },
    [STEP_3] = { ITEM(3, 0, STORE_REASONING, "openai_chat", "{\"role\":\"assistant\"}") },
    CALLED(3, 1, "a"),
    [RESULTS_3] = CAME(3, 1, "a", "succeeded", ""),
    [STEP_4] = { ITEM(4, 0, STORE_REASONING, "anthropic", RAW_4) },
    CALLED(4, 1, "c"),
    [RESULTS_4] = CAME(4, 1, "c", "succeeded", "43"),
    [STEP_5] = { ITEM(5, 0, STORE_TEXT, "anthropic", "[]") },
};

static struct history *new_history(void)
{
    static const struct uuid run = { { 1 } };
    return history_new(&run);
}

static void extend(const struct dialect *dialect, struct history *h, size_t from, size_t to)
{
    struct arena arena;
    struct conversation c;
    struct error err;
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(conversation_read(&c, &arena, rows + from, to - from, &err), OK);
    assert_int_equal(prompt_extend(dialect, &frame, false, &c, &everything, &arena, h, &err), OK);
    arena_free(&arena);
}

static json_t *messages_of(const struct history *h)
{
    json_t *body = json_loadb(h->text.data, h->text.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(body);
    json_t *messages = json_incref(json_arr(body, "messages"));
    json_decref(body);
    return messages;
}

static void answer(struct history *h, int step, const char *raw, enum reply_item_type type)
{
    struct reply_item item = { .type = type, .content = "", .call_id = "", .tool = "" };
    const struct model_reply reply = {
        .raw = raw, .raw_n = strlen(raw), .items = &item, .item_count = 1
    };
    assert_true(prompt_add_answer(&anthropic, &reply, step, h));
}

/* What is sent next begins with what was sent, up to the text of its last block. */
static void assert_continues(struct history *h, struct buf *sent)
{
    if (sent->len > 0)
        assert_memory_equal(h->text.data, sent->data, sent->len);
    buf_reset(sent);
    buf_add(sent, h->text.data, h->open_len);
}

static void grows_to_the_same_text(void **state)
{
    (void)state;
    struct history *grown = new_history(), *read = new_history();
    AUTO_BUF struct buf sent;
    buf_init(&sent, SIZE_MAX);
    extend(&anthropic, grown, INPUT, STEP_1);
    assert_continues(grown, &sent);
    answer(grown, 1, RAW_1, REPLY_CALL);
    extend(&anthropic, grown, RESULTS_1, STEP_2);
    assert_continues(grown, &sent);
    history_cut(grown, grown->stable_len); /* put away, and the same again */
    extend(&anthropic, grown, RESULTS_1, STEP_2);
    assert_continues(grown, &sent);
    answer(grown, 2, RAW_2, REPLY_TEXT);
    extend(&anthropic, grown, ROWS, ROWS);
    assert_continues(grown, &sent);
    history_cut(grown, grown->stable_len); /* somebody else made the third step */
    extend(&anthropic, grown, STEP_3, STEP_4);
    assert_continues(grown, &sent);
    history_cut(grown, grown->stable_len); /* its results without its calls */
    extend(&anthropic, grown, RESULTS_3, STEP_4);
    assert_continues(grown, &sent);
    answer(grown, 4, RAW_4, REPLY_CALL);
    extend(&anthropic, grown, RESULTS_4, STEP_5);
    assert_continues(grown, &sent);
    answer(grown, 5, "[]", REPLY_TEXT);
    extend(&anthropic, grown, ROWS, ROWS);
    assert_continues(grown, &sent);

    extend(&anthropic, read, INPUT, ROWS);
    assert_string_equal(grown->text.data, read->text.data);
    assert_int_equal(grown->text.len, read->text.len);
    assert_int_equal(grown->stable_len, read->stable_len);
    history_free(grown);
    history_free(read);
}

static void assert_said(const json_t *messages, size_t at, const char *role, const char *content)
{
    const json_t *message = json_array_get(messages, at);
    assert_string_equal(json_str(message, "role"), role);
    AUTO_FREE char *text = json_dumps(json_object_get(message, "content"), JSON_COMPACT);
    assert_string_equal(text, content);
}

#define MARK "\"cache_control\":{\"type\":\"ephemeral\"}"

static void every_turn_finds_its_place(void **state)
{
    (void)state;
    struct history *h = new_history();
    extend(&anthropic, h, INPUT, ROWS);
    json_t *m = messages_of(h);
    assert_int_equal(json_array_size(m), 8);
    assert_said(m, 0, "user", "[{\"type\":\"text\",\"text\":\"Go\"}]");
    assert_said(m, 1, "assistant", RAW_1);
    assert_said(m, 2, "user",
                "[{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":\"42\"},{\"type\":"
                "\"tool_result\",\"is_error\":true,\"tool_use_id\":\"b\",\"content\":\"The tool "
                "answered with an error: boom\"}]");
    assert_said(m, 3, "assistant", CONTENT_2); /* nobody tells it that it was empty */
    assert_said(m, 4, "assistant",
                "[{\"type\":\"tool_use\",\"id\":\"pawl_3_af63dc4c8601ec8c\",\"name\":\"t\","
                "\"input\":{}}]");
    assert_said(m, 5, "user",
                "[{\"type\":\"tool_result\",\"tool_use_id\":\"pawl_3_af63dc4c8601ec8c\"}]");
    assert_said(m, 6, "assistant", RAW_4);
    assert_said(m, 7, "user",
                "[{\"type\":\"tool_result\",\"tool_use_id\":\"c\",\"content\":\"43\"},{\"type\":"
                "\"text\",\"text\":\"Your last message was empty. Go on: call a tool, or give your "
                "answer.\"," MARK "}]");
    json_decref(m);
    history_free(h);
}

/* A run that is moved to a model of another dialect: neutral words, nothing opaque. */
static void moves_to_another_dialect(void **state)
{
    (void)state;
    struct history *h = new_history();
    extend(&openai_chat, h, INPUT, ROWS);
    assert_null(strstr(h->text.data, "signature"));
    assert_null(strstr(h->text.data, "server_tool_use"));
    json_t *m = messages_of(h);
    assert_string_equal(json_str(json_array_get(m, 1), "content"), "Go");
    const json_t *calls = json_arr(json_array_get(m, 2), "tool_calls");
    assert_int_equal(json_array_size(calls), 2);
    assert_string_equal(json_str(json_array_get(calls, 0), "id"), "a");
    assert_string_equal(json_str(json_array_get(m, 3), "tool_call_id"), "a");
    json_decref(m);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_the_same_text),
        cmocka_unit_test(every_turn_finds_its_place),
        cmocka_unit_test(moves_to_another_dialect),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
