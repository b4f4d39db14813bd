/*
 * test_model_anthropic_request.c -- requests in the dialect "Anthropic messages": what
 * the API wants, and that a prompt which grows is one that only gets longer.
 */
#include "tests/unit/cm.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/json_text.h"
#include "planner/model_anthropic.h"
#include "planner/reader.h"
#include "tests/unit/cut_answers.h"

#include <string.h>

#define MARK "\"cache_control\":{\"type\":\"ephemeral\"}"

/* ---- a request in the making --------------------------------------------------------- */

struct request {
    struct model_def model;
    struct tool_def tool;
    const struct tool_def *tools[2];
    struct prompt_frame frame;
    struct buf body;
};

static void begin(struct request *q, const char *options, size_t tool_count)
{
    *q = (struct request){
        .model = { .model = "claude \"x\"", .options = json_loads(options, 0, NULL) },
        .tool = { .name = "look",
                  .description = "Looks.",
                  .parameters = json_loads("{\"type\":\"object\"}", 0, NULL) },
    };
    assert_non_null(q->model.options);
    q->tools[0] = q->tools[1] = &q->tool;
    q->frame.model = &q->model;
    q->frame.instructions = "Be\nbrief.";
    q->frame.tools = q->tools;
    q->frame.tool_count = tool_count;
    buf_init(&q->body, (size_t)1 << 20);
    assert_true(anthropic.begin(&q->body, &q->frame));
}

static void add_user(struct request *q, const char *text)
{
    assert_true(anthropic.add_user(&q->body, text, strlen(text)));
}

static void add_own(struct request *q, const char *raw)
{
    const struct prompt_turn turn = { .raw = raw, .raw_n = strlen(raw) };
    assert_true(anthropic.add_turn(&q->body, &turn));
}

static void add_foreign(struct request *q, int step, const struct reply_item *items, size_t count)
{
    struct prompt_turn turn = { .items = items, .item_count = count, .step = step };
    for (size_t i = 0; i < count; i++)
        turn.call_count += items[i].type == REPLY_CALL;
    assert_true(anthropic.add_turn(&q->body, &turn));
}

static void add_result(struct request *q, int step, const char *id, const char *text, bool is_error)
{
    const struct prompt_result r = {
        .call_id = id, .text = text, .text_n = strlen(text), .is_error = is_error, .step = step
    };
    assert_true(anthropic.add_results(&q->body, &r, 1));
}

/* The body as JSON, and again as if nothing had been closed. */
static json_t *closed(struct request *q, bool answer_only)
{
    size_t open = q->body.len;
    assert_true(anthropic.close(&q->body, &q->frame, answer_only));
    json_t *value =
        json_loadb(q->body.data, q->body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    q->body.len = open;
    q->body.data[open] = '\0';
    return value;
}

static void release(struct request *q)
{
    json_decref(q->model.options);
    json_decref(q->tool.parameters);
    buf_release(&q->body);
}

static void assert_json(json_t *value, const char *expected)
{
    AUTO_FREE char *text = json_text(value);
    assert_string_equal(text, expected);
}

/* Takes the request with it. */
static void assert_messages(struct request *q, const char *expected)
{
    json_t *value = closed(q, false);
    assert_json(json_object_get(value, "messages"), expected);
    json_decref(value);
    release(q);
}

#define ITEM_TEXT(words)                       \
    {                                          \
        .type = REPLY_TEXT, .content = (words) \
    }
#define ITEM_CALL(id, name, text)                                                 \
    {                                                                             \
        .type = REPLY_CALL, .call_id = (id), .tool = (name), .arguments = (text), \
        .arguments_n = sizeof(text) - 1                                           \
    }

/* ---- what is asked -------------------------------------------------------------------- */

static void writes_a_request(void **state)
{
    (void)state;
    struct request q;
    begin(&q,
          "{\"temperature\":0.2,\"model\":\"no\",\"messages\":3,\"tools\":4,\"system\":5,"
          "\"metadata\":null}",
          2);
    add_user(&q, "Hi \"you\"");
    add_own(&q, "[{\"type\":\"tool_use\",\"id\":\"c1\"},{\"type\":\"tool_use\",\"id\":\"c2\"}]");
    const struct prompt_result results[] = { { .call_id = "c1", .text = "seen", .text_n = 4 },
                                             { .call_id = "c2", .text = "", .is_error = true } };
    assert_true(anthropic.add_results(&q.body, results, 2));
    json_t *value = closed(&q, false);
    assert_json(
        value,
        "{\"model\":\"claude \\\"x\\\"\",\"max_tokens\":8192,\"stream\":true,\"temperature\":0.2,"
        "\"tools\":[{\"name\":\"look\",\"description\":\"Looks.\",\"input_schema\":{\"type\":"
        "\"object\"}},{\"name\":\"look\",\"description\":\"Looks.\",\"input_schema\":{\"type\":"
        "\"object\"}," MARK "}],\"system\":[{\"type\":\"text\",\"text\":\"Be\\nbrief.\"," MARK
        "}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi "
        "\\\"you\\\"\"}]},{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":"
        "\"c1\"},{\"type\":\"tool_use\",\"id\":\"c2\"}]},{\"role\":\"user\",\"content\":[{"
        "\"type\":\"tool_result\",\"tool_use_id\":\"c1\",\"content\":\"seen\"},{\"type\":"
        "\"tool_result\",\"is_error\":true,\"tool_use_id\":\"c2\",\"content\":\"(no text)\"," MARK
        "}]}]}");
    json_decref(value);
    release(&q);
}

static void the_output_limit_is_always_sent(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int model_limit, window;
        json_int_t sent;
    } cases[] = {
        { "{}", 0, 0, ANTHROPIC_MAX_TOKENS },
        { "{}", 0, 200000, ANTHROPIC_MAX_TOKENS },
        { "{}", 0, 32000, 4000 },
        { "{\"max_tokens\":null}", 0, 0, ANTHROPIC_MAX_TOKENS },
        { "{}", 64000, 200000, 64000 },
        { "{\"max_tokens\":100}", 64000, 0, 100 },
        { "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":10000}}", 0, 0, 18192 },
        { "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":10000}}", 12000, 0, 12000 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct request q;
        begin(&q, "{}", 0);
        json_decref(q.model.options);
        q.model.options = json_loads(cases[i].options, 0, NULL);
        q.model.max_output_tokens = cases[i].model_limit;
        q.model.context_window = cases[i].window;
        buf_reset(&q.body);
        assert_true(anthropic.begin(&q.body, &q.frame));
        json_t *value = closed(&q, false);
        assert_int_equal(json_int_or(value, "max_tokens", -1), cases[i].sent);
        json_decref(value);
        release(&q);
    }
}

static void options_replace_what_is_not_ours(void **state)
{
    (void)state;
    static const char *const options[] = { "{}", "{\"stream\":false}", "{\"stream\":null}" };
    for (size_t i = 0; i < 3; i++) {
        struct request q;
        begin(&q, options[i], 0);
        q.frame.instructions = " \n";
        buf_reset(&q.body);
        assert_true(anthropic.begin(&q.body, &q.frame));
        json_t *value = closed(&q, false);
        const json_t *stream = json_object_get(value, "stream");
        assert_true(i == 0 ? json_is_true(stream) : i == 1 ? json_is_false(stream) : !stream);
        assert_null(json_object_get(value, "system")); /* the API refuses a blank one */
        assert_null(json_object_get(value, "tools"));
        json_decref(value);
        release(&q);
    }
}

static void tools_are_forbidden_at_the_end(void **state)
{
    (void)state;
    struct request q;
    begin(&q, "{\"tool_choice\":{\"type\":\"any\"}}", 1);
    add_user(&q, "Hi");
    json_t *value = closed(&q, false);
    assert_json(json_object_get(value, "tool_choice"), "{\"type\":\"any\"}");
    json_decref(value);
    value = closed(&q, true);
    assert_json(json_object_get(value, "tool_choice"), "{\"type\":\"none\"}");
    assert_int_equal(json_array_size(json_object_get(value, "tools")), 1);
    json_decref(value);
    release(&q);

    begin(&q, "{\"tool_choice\":{\"type\":\"any\"}}", 0);
    add_user(&q, "Hi");
    value = closed(&q, true);
    assert_null(json_object_get(value, "tool_choice"));
    assert_null(json_object_get(value, "tools"));
    json_decref(value);
    release(&q);
}

/* "Requests which include `tool_use` blocks must define tools." */
static void old_calls_have_a_tool_declared(void **state)
{
    (void)state;
    struct request q;
    begin(&q, "{}", 0);
    add_user(&q, "\"type\":\"tool_use\"");
    json_t *value = closed(&q, false);
    assert_null(json_object_get(value, "tools")); /* words of a user are no call */
    json_decref(value);
    static const struct reply_item items[] = { ITEM_CALL("a", "look", "{}") };
    add_foreign(&q, 1, items, 1);
    add_result(&q, 1, "a", "seen", false);
    value = closed(&q, false);
    assert_int_equal(json_array_size(json_object_get(value, "tools")), 1);
    assert_json(json_object_get(value, "tool_choice"), "{\"type\":\"none\"}");
    json_decref(value);
    release(&q);
}

static void the_key_goes_into_a_header(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1024);
    struct http_header headers[MODEL_HEADERS_MAX];
    assert_int_equal(anthropic.headers("k", &arena, headers), 3);
    assert_string_equal(headers[1].name, "anthropic-version");
    assert_string_equal(headers[1].value, "2023-06-01");
    assert_string_equal(headers[2].name, "x-api-key");
    assert_string_equal(headers[2].value, "k");
    assert_int_equal(anthropic.headers(NULL, &arena, headers), 2);
    arena_free(&arena);
}

/* ---- messages -------------------------------------------------------------------------- */

static void a_user_says_one_thing_after_another(void **state)
{
    (void)state;
    struct request q;
    begin(&q, "{}", 1);
    add_user(&q, "");
    add_user(&q, "and this");
    add_own(&q, "[{\"type\":\"tool_use\",\"id\":\"c\"}]");
    add_result(&q, 1, "c", " \n", false);
    add_user(&q, "quickly");
    assert_messages(&q,
                    "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"(no text)\"},{"
                    "\"type\":\"text\",\"text\":\"and this\"}]},{\"role\":\"assistant\",\"content\""
                    ":[{\"type\":\"tool_use\",\"id\":\"c\"}]},{\"role\":\"user\",\"content\":[{"
                    "\"type\":\"tool_result\",\"tool_use_id\":\"c\"},{\"type\":\"text\",\"text\":"
                    "\"quickly\"," MARK "}]}]");
}

/* A turn that paused is the last one, and has no marker behind it; one without a word
 * is no message.                                                               */
static void a_turn_may_be_the_last_one(void **state)
{
    (void)state;
    struct request q;
    begin(&q, "{}", 1);
    add_user(&q, "Hi");
    add_own(&q, "[]");
    add_own(&q, "{\"content\":[],\"paused\":true}");
    add_own(&q, "{\"content\":[{\"type\":\"server_tool_use\"}],\"paused\":true}");
    add_own(&q, "[{\"type\":\"text\",\"text\":\"on\"}]");
    assert_messages(&q, "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"}]},{"
                        "\"role\":\"assistant\",\"content\":[{\"type\":\"server_tool_use\"}]},{"
                        "\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"on\"}]"
                        "}]");
}

static void another_dialect_is_said_in_this_one(void **state)
{
    (void)state;
    static const struct reply_item first[] = {
        { .type = REPLY_REASONING, .content = "secret thoughts" },
        ITEM_TEXT(" "),
        ITEM_TEXT("I look."),
        ITEM_CALL("call_0", "look", "{\"k\": 1.50}"),
        ITEM_CALL("functions.look:1", "lo ok", "{\"city\": \"Par"),
        ITEM_CALL("\xc3\xa4", "", "[1]"),
    };
    static const struct reply_item again[] = { ITEM_CALL("call_0", "look", "{}") };
    static const struct reply_item silent[] = { ITEM_TEXT("\n") };
    struct request q;
    begin(&q, "{}", 1);
    add_user(&q, "Hi");
    add_foreign(&q, 1, silent, 1); /* nothing */
    add_foreign(&q, 2, first, 6);
    add_result(&q, 2, "call_0", "one", false);
    add_result(&q, 2, "functions.look:1", "two", true);
    add_result(&q, 2, "\xc3\xa4", "three", true);
    add_foreign(&q, 3, again, 1);
    add_result(&q, 3, "call_0", "four", false);
    json_t *value = closed(&q, false);
    const json_t *messages = json_arr(value, "messages");
    assert_int_equal(json_array_size(messages), 5);
    const json_t *said = json_arr(json_array_get(messages, 1), "content");
    const json_t *results = json_arr(json_array_get(messages, 2), "content");
    assert_int_equal(json_array_size(said), 4);
    assert_int_equal(json_array_size(results), 3);
    assert_json(json_array_get(said, 0), "{\"type\":\"text\",\"text\":\"I look.\"}");
    static const char *const names[] = { "look", "lo_ok", "_" };
    static const char *const inputs[] = { "{\"k\":1.5}", "{}", "{}" };
    for (size_t i = 0; i < 3; i++) {
        const json_t *call = json_array_get(said, i + 1);
        const char *id = json_str(call, "id");
        assert_string_equal(json_str(call, "type"), "tool_use");
        assert_string_equal(json_str(call, "name"), names[i]);
        assert_json(json_object_get(call, "input"), inputs[i]);
        assert_int_equal(strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(id));
        assert_string_equal(json_str(json_array_get(results, i), "tool_use_id"), id);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(json_str(json_array_get(said, k + 1), "id"), id);
    }
    /* never the same id again, also where the provider gave it again */
    const char *id = json_str(json_array_get(said, 1), "id");
    const char *later =
        json_str(json_array_get(json_arr(json_array_get(messages, 3), "content"), 0), "id");
    assert_string_not_equal(id, later);
    assert_string_equal(
        json_str(json_array_get(json_arr(json_array_get(messages, 4), "content"), 0),
                 "tool_use_id"),
        later);
    json_decref(value);
    release(&q);
}

/* "When `thinking` is enabled, a final assistant message must start with a thinking
 * block": what another model said has none.                                    */
static void thinking_waits_for_a_turn_of_its_own(void **state)
{
    (void)state;
    static const struct reply_item items[] = { ITEM_CALL("a", "look", "{}") };
    static const char *const options[] = {
        "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}}",
        "{\"thinking\":{\"type\":\"adaptive\"}}",
    };
    for (size_t i = 0; i < 2; i++) {
        struct request q;
        begin(&q, options[i], 1);
        add_user(&q, "Hi");
        json_t *value = closed(&q, false);
        assert_non_null(json_object_get(value, "thinking"));
        json_decref(value);
        add_foreign(&q, 1, items, 1);
        add_result(&q, 1, "a", ",{\"role\":\"user\",\"content\":[", false);
        value = closed(&q, false);
        assert_int_equal(json_object_get(value, "thinking") != NULL, i == 1);
        json_decref(value);
        add_own(&q, "[{\"type\":\"thinking\"},{\"type\":\"tool_use\",\"id\":\"b\",\"input\":{"
                    "\"x\":[{\"content\":[],\"role\":\"assistant\"}]}}]");
        add_result(&q, 2, "b", "seen", false);
        value = closed(&q, false);
        assert_non_null(json_object_get(value, "thinking"));
        json_decref(value);
        release(&q);
    }
}

/* ---- a prompt that grows ----------------------------------------------------------------- */

/* One addition after another, as a run would make them. */
static void add_nth(struct request *q, int n)
{
    static const struct reply_item said[] = { ITEM_TEXT("I look."), ITEM_CALL("x.1", "t", "{}") };
    static const struct reply_item silent[] = { ITEM_TEXT("") };
    switch (n) {
    case 0: add_user(q, "Hi \"you\" ]}"); return;
    case 1: add_own(q, "[{\"type\":\"tool_use\",\"id\":\"a\",\"input\":{}}]"); return;
    case 2: add_result(q, 1, "a", "", false); return;
    case 3: add_foreign(q, 2, said, 2); return;
    case 4: add_result(q, 2, "x.1", "],\"role\":\"assistant\"}", true); return;
    case 5: add_own(q, "[{\"type\":\"server_tool_use\"}]"); return;
    case 6: add_foreign(q, 4, silent, 1); return;
    case 7: add_own(q, "[{\"type\":\"text\",\"text\":\"}\"}]"); return;
    case 8: add_user(q, "["); return;
    case 9: add_user(q, "\\"); return;
    default: add_own(q, "[]"); return;
    }
}
enum { ADDITIONS = 11 };

/* Where the blocks of the last user message begin to be its last one: up to there the
 * provider has the prompt in its cache.                                        */
static void assert_marked_once(const json_t *body, bool user_is_last)
{
    AUTO_FREE char *text = json_text(json_object_get((json_t *)(uintptr_t)body, "messages"));
    size_t marks = 0;
    for (const char *at = text; (at = strstr(at, MARK)); at++)
        marks++;
    assert_int_equal(marks, user_is_last ? 1 : 0);
    if (user_is_last)
        assert_string_equal(text + strlen(text) - strlen("," MARK "}]}]"), "," MARK "}]}]");
}

/* Closed, sent and cut after every addition, or made at once: the same bytes; and what
 * was sent once is never changed, up to the end of its last block.            */
static void grows_to_the_same_text(void **state)
{
    (void)state;
    struct request grown, at_once;
    begin(&grown, "{}", 1);
    begin(&at_once, "{}", 1);
    AUTO_BUF struct buf before;
    buf_init(&before, SIZE_MAX);
    for (int n = 0; n < ADDITIONS; n++) {
        add_nth(&grown, n);
        add_nth(&at_once, n);
        assert_true(grown.body.len >= before.len);
        assert_memory_equal(grown.body.data, before.data ? before.data : "", before.len);
        buf_reset(&before);
        buf_add(&before, grown.body.data, grown.body.len);

        json_t *body = closed(&grown, false);
        bool user_is_last = grown.body.data[grown.body.len - 1] == '"';
        assert_marked_once(body, user_is_last);
        json_decref(body);
        assert_string_equal(grown.body.data, at_once.body.data);
        assert_string_equal(grown.body.data, before.data);
    }
    release(&grown);
    release(&at_once);
}

/* In a buffer that is too small nothing is half done. */
static void a_full_body_says_so(void **state)
{
    (void)state;
    struct request q;
    begin(&q, "{}", 1);
    size_t begun = q.body.len;
    for (size_t room = 0; room < 400; room++) {
        buf_release(&q.body);
        buf_init(&q.body, begun + room);
        bool fits = anthropic.begin(&q.body, &q.frame);
        const struct prompt_turn turn = { .raw = "[{\"type\":\"tool_use\",\"id\":\"a\"}]",
                                          .raw_n = 30 };
        const struct prompt_result result = { .call_id = "a", .text = "seen", .text_n = 4 };
        fits = anthropic.add_user(&q.body, "Hi", 2) && fits;
        fits = anthropic.add_turn(&q.body, &turn) && fits;
        fits = anthropic.add_results(&q.body, &result, 1) && fits;
        fits = anthropic.close(&q.body, &q.frame, false) && fits;
        assert_int_equal(fits, !q.body.full);
        if (fits)
            json_decref(json_loadb(q.body.data, q.body.len, 0, NULL));
    }
    assert_false(q.body.full);
    release(&q);
}

/* What was answered is sent back as it came. */
static void an_answer_goes_back_unchanged(void **state)
{
    (void)state;
    static const char answer[] =
        "{\"content\":[{\"type\":\"thinking\",\"thinking\":\"h\\u00e9 \\\"m\\\"\",\"signature\":"
        "\"EqQ+/==\"},{\"type\":\"redacted_thinking\",\"data\":\"Emw==\"},{\"type\":\"new\",\"x\":"
        "[0.1,1e3,null,true,-7]},{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look\","
        "\"input\":{\"b\":1,\"a\":2}}],\"stop_reason\":\"tool_use\"}";
    struct model_reply *r =
        cut_read_all(&anthropic, "application/json", answer, sizeof answer - 1, true);
    assert_int_equal(r->outcome, OK);
    struct request q;
    begin(&q, "{}", 1);
    add_user(&q, "Hi");
    add_own(&q, r->raw);
    add_result(&q, 1, r->items[1].call_id, "seen", false);
    json_t *value = closed(&q, false);
    json_t *came = json_loads(answer, 0, NULL);
    const json_t *sent = json_array_get(json_arr(value, "messages"), 1);
    assert_true(json_equal(json_object_get(came, "content"), json_object_get(sent, "content")));
    assert_contains(q.body.data, "\"input\":{\"b\":1,\"a\":2}");
    assert_contains(q.body.data, "\"tool_use_id\":\"toolu_1\"");
    json_decref(came);
    json_decref(value);
    release(&q);
    model_reply_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_request),
        cmocka_unit_test(the_output_limit_is_always_sent),
        cmocka_unit_test(options_replace_what_is_not_ours),
        cmocka_unit_test(tools_are_forbidden_at_the_end),
        cmocka_unit_test(old_calls_have_a_tool_declared),
        cmocka_unit_test(the_key_goes_into_a_header),
        cmocka_unit_test(a_user_says_one_thing_after_another),
        cmocka_unit_test(a_turn_may_be_the_last_one),
        cmocka_unit_test(another_dialect_is_said_in_this_one),
        cmocka_unit_test(thinking_waits_for_a_turn_of_its_own),
        cmocka_unit_test(grows_to_the_same_text),
        cmocka_unit_test(a_full_body_says_so),
        cmocka_unit_test(an_answer_goes_back_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
