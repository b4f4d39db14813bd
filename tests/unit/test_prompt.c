/*
 * test_prompt.c -- from rows to the body of a request, step by step and all at
 * once: a history that grew must say the same as one that was read anew.
 */
#include "tests/unit/cm.h"

#include "planner/prompt.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/model_openai_chat.h"

#include <stdint.h>
#include <string.h>

static struct model_def model = { .model = "m" };
static const struct store_view whole = { 0 };
static struct prompt_frame frame = { .model = &model, .instructions = "Be good." };

static int set_up(void **state)
{
    (void)state;
    model.options = json_object();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(model.options);
    return 0;
}

#define INPUT(json)                                                               \
    {                                                                             \
        .kind = STORE_ROW_INPUT, .content = (json), .content_n = sizeof(json) - 1 \
    }
#define SAID(step_, json)                                                              \
    {                                                                                  \
        .kind = STORE_ROW_ITEM, .step = (step_), .type = STORE_TEXT, .content = "...", \
        .content_n = 3, .raw = (json), .raw_n = sizeof(json) - 1                       \
    }
#define ASKED(step_, index_, id)                                                                 \
    {                                                                                            \
        .kind = STORE_ROW_ITEM, .step = (step_), .index = (index_), .type = STORE_FUNCTION_CALL, \
        .call_id = (id), .tool = "t", .arguments = "{}"                                          \
    }
#define CAME(step_, index_, id, status_, text)                                         \
    {                                                                                  \
        .kind = STORE_ROW_RESULT, .step = (step_), .index = (index_), .call_id = (id), \
        .status = (status_), .content = (text), .content_n = sizeof(text) - 1          \
    }
#define HEARD(step_, text)                                                                        \
    {                                                                                             \
        .kind = STORE_ROW_SAID, .step = (step_), .content = (text), .content_n = sizeof(text) - 1 \
    }
#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* Extends the history by the rows; returns the messages of the body. */
static json_t *extend_by(struct history *h, const struct store_row *rows, size_t count,
                         const struct store_view *view)
{
    struct arena arena;
    struct conversation c;
    struct error err;
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(conversation_read(&c, &arena, rows, count, &err), OK);
    assert_int_equal(prompt_extend(&openai_chat, &frame, false, &c, view, &arena, h, &err), OK);
    arena_free(&arena);
    json_t *body =
        json_loadb(h->text.data, h->text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(body);
    json_t *messages = json_incref(json_arr(body, "messages"));
    json_decref(body);
    return messages;
}

static json_t *extend(struct history *h, const struct store_row *rows, size_t count)
{
    return extend_by(h, rows, count, &whole);
}

static void assert_message(const json_t *messages, size_t at, const char *role, const char *content)
{
    const json_t *message = json_array_get(messages, at);
    assert_string_equal(json_str(message, "role"), role);
    assert_string_equal(json_str(message, "content"), content);
}

static struct history *new_history(void)
{
    static const struct uuid run = { { 1 } };
    return history_new(&run);
}

/* As after the commit of this row's plan, which asked for calls. */
static bool add_answer(const struct store_row *row, int step, struct history *h)
{
    struct reply_item item = { .type = REPLY_CALL };
    const struct model_reply reply = {
        .raw = row->raw, .raw_n = row->raw_n, .items = &item, .item_count = 1, .call_count = 1
    };
    return prompt_add_answer(&openai_chat, &reply, step, h);
}

static const struct store_row whole_run[] = {
    INPUT("\"Send \\u0000 it\""),
    SAID(1, "{\"role\":\"assistant\",\"content\":\"one\",\"extra\":1}"),
    ASKED(1, 1, "a"),
    ASKED(1, 2, "b"),
    CAME(1, 1, "a", "succeeded", "42"),
    CAME(1, 2, "b", "failed", "no such thing"),
    SAID(2, "{\"role\":\"assistant\",\"content\":\"two\"}"),
    ASKED(2, 1, "c"),
    CAME(2, 1, "c", "succeeded", ""),
};

static void makes_a_prompt_of_rows(void **state)
{
    (void)state;
    struct history *h = new_history();
    json_t *m = extend(h, whole_run, COUNT(whole_run));
    assert_int_equal(json_array_size(m), 7);
    assert_message(m, 0, "system", "Be good.");
    assert_int_equal(json_string_length(json_object_get(json_array_get(m, 1), "content")), 9);
    assert_message(m, 2, "assistant", "one");
    assert_int_equal(json_int_or(json_array_get(m, 2), "extra", 0), 1);
    assert_message(m, 3, "tool", "42");
    assert_string_equal(json_str(json_array_get(m, 3), "tool_call_id"), "a");
    assert_message(m, 4, "tool", "The tool answered with an error: no such thing");
    assert_message(m, 5, "assistant", "two");
    assert_message(m, 6, "tool", "");
    assert_int_equal(h->known_step, 2);
    json_decref(m);
    history_free(h);
}

static void input_that_is_no_string_is_said_as_json(void **state)
{
    (void)state;
    const struct store_row rows[] = { INPUT("{\"order\": [1, 0.1]}") };
    struct history *h = new_history();
    json_t *m = extend(h, rows, 1);
    assert_message(m, 1, "user", "{\"order\": [1, 0.1]}");
    assert_int_equal(h->known_step, 0);
    json_decref(m);
    history_free(h);
}

/* As a planner does it: own answers are added at the commit, results come with the
 * next claim.                                                                */
static void grows_to_the_same_text(void **state)
{
    (void)state;
    struct history *grown = new_history(), *read = new_history();
    json_decref(extend(grown, whole_run, 1));
    assert_true(add_answer(&whole_run[1], 1, grown));
    assert_int_equal(grown->known_step, 1);
    history_cut(grown, grown->stable_len); /* as the cache does */
    json_decref(extend(grown, whole_run + 4, 2));
    assert_true(add_answer(&whole_run[6], 2, grown));
    json_decref(extend(grown, whole_run + 8, 1));

    json_decref(extend(read, whole_run, COUNT(whole_run)));
    assert_int_equal(grown->text.len, read->text.len);
    assert_string_equal(grown->text.data, read->text.data);
    history_free(grown);
    history_free(read);
}

/* A late result takes the place of `unknown` as long as nobody planned on it. */
/* Whoever makes the prompt, and from whatever it knows, a message has one place. */
static void what_people_say_has_its_place(void **state)
{
    (void)state;
    const struct store_row rows[] = {
        INPUT("\"go\""),
        HEARD(0, "at once"),
        SAID(1, "{\"role\":\"assistant\",\"content\":\"one\"}"),
        ASKED(1, 1, "a"),
        CAME(1, 1, "a", "succeeded", "42"),
        HEARD(1, "wait"),
        HEARD(1, "go on"),
        SAID(2, "{\"role\":\"assistant\",\"content\":\"the answer\"}"),
        HEARD(2, "and now?"),
    };
    struct history *all = new_history(), *grown = new_history();
    json_t *messages = extend(all, rows, COUNT(rows));
    assert_int_equal(json_array_size(messages), 9);
    assert_message(messages, 2, "user", "at once");
    assert_message(messages, 4, "tool", "42");
    assert_message(messages, 5, "user", "wait");
    assert_message(messages, 6, "user", "go on");
    assert_message(messages, 7, "assistant", "the answer");
    assert_message(messages, 8, "user", "and now?");
    json_decref(messages);

    json_decref(extend(grown, rows, 2));
    assert_true(add_answer(&rows[2], 1, grown));
    for (int attempt = 0; attempt < 2; attempt++) { /* the first one fails */
        history_cut(grown, grown->stable_len);
        json_decref(extend(grown, rows + 4, 3));
    }
    assert_true(add_answer(&rows[7], 2, grown));
    json_decref(extend(grown, rows + 8, 1));
    assert_string_equal(grown->text.data, all->text.data);
    assert_int_equal(grown->head_len, all->head_len); /* what is never left out */
    assert_true(all->head_len > strlen("at once") + strlen("wait") + strlen("and now?"));
    history_free(all);
    history_free(grown);
}

static void results_of_the_last_step_are_not_kept(void **state)
{
    (void)state;
    const struct store_row before[] = { CAME(2, 1, "c", "unknown", "timeout") };
    const struct store_row after[] = { CAME(2, 1, "c", "succeeded", "late but true") };
    struct history *h = new_history();
    json_decref(extend(h, whole_run, COUNT(whole_run) - 1));
    history_cut(h, h->stable_len);
    json_t *m = extend(h, before, 1);
    assert_int_equal(json_array_size(m), 7);
    assert_memory_equal(json_str(json_array_get(m, 6), "content"), "Outcome unknown", 15);
    json_decref(m);
    history_cut(h, h->stable_len); /* the model failed; the step is claimed again */
    m = extend(h, after, 1);
    assert_int_equal(json_array_size(m), 7);
    assert_message(m, 6, "tool", "late but true");
    json_decref(m);
    history_free(h);
}

/* Another planner made steps in between: they come with the claim. */
static void catches_up(void **state)
{
    (void)state;
    struct history *h = new_history(), *read = new_history();
    json_decref(extend(h, whole_run, 1));
    assert_true(add_answer(&whole_run[1], 1, h));
    json_decref(extend(h, whole_run + 4, COUNT(whole_run) - 4));
    json_decref(extend(read, whole_run, COUNT(whole_run)));
    assert_string_equal(h->text.data, read->text.data);
    assert_int_equal(h->known_step, 2);
    history_free(h);
    history_free(read);
}

static void every_call_gets_a_result(void **state)
{
    (void)state;
    struct store_row rows[] = {
        INPUT("\"x\""),
        SAID(1, "{\"role\":\"assistant\"}"),
        ASKED(1, 1, "a"),
        ASKED(1, 2, "b"),
        ASKED(1, 3, "c"),
        ASKED(1, 4, "d"),
        ASKED(1, 5, "e"),
        ASKED(1, 6, "f"),
        ASKED(1, 7, "g"),
        CAME(1, 1, "a", "failed_before_effect", "connection refused"),
        CAME(1, 2, "b", "unknown", "timeout after 5s"),
        CAME(1, 3, "c", "denied", ""),
        CAME(1, 4, "d", "cancelled", ""),
        CAME(1, 5, "e", NULL, ""),
        CAME(1, 6, "f", "failed", "boom"),
        /* and nothing at all for g */
    };
    rows[13].refused = "there is no tool 'x'";
    rows[14].error_code = "http_500";
    struct history *h = new_history();
    json_t *m = extend(h, rows, COUNT(rows));
    assert_int_equal(json_array_size(m), 10);
    assert_message(m, 3, "tool", "Not executed: the tool was not reached: connection refused");
    const char *unknown = json_str(json_array_get(m, 4), "content");
    assert_contains(unknown, "may have been executed");
    assert_contains(unknown, "Do not simply repeat it");
    assert_contains(unknown, "timeout after 5s");
    assert_message(m, 5, "tool", "Not executed: a person refused this call.");
    assert_message(m, 6, "tool", "Not executed: this call was cancelled.");
    assert_message(m, 7, "tool", "Not executed: there is no tool 'x'");
    assert_message(m, 8, "tool", "The tool answered with an error (http_500): boom");
    assert_message(m, 9, "tool", "Not executed: this call was never begun.");
    json_decref(m);
    history_free(h);
}

/* A run that was moved to another model: what it said before is said again. */
static void another_dialect_is_said_in_this_one(void **state)
{
    (void)state;
    struct store_row rows[] = {
        INPUT("\"Go\""),
        SAID(1, "[{\"type\":\"thinking\",\"signature\":\"Eq\"}]"),
        { .kind = STORE_ROW_ITEM, .step = 1, .index = 1, .type = STORE_TEXT, .content = "I look." },
        ASKED(1, 2, "a"),
        ASKED(1, 3, "b"),
        CAME(1, 2, "a", "succeeded", "42"),
        CAME(1, 3, "b", "succeeded", "43"),
        SAID(2, "{\"role\":\"assistant\",\"content\":\"two\",\"extra\":1}"),
    };
    rows[1].type = STORE_REASONING;
    rows[1].dialect = "anthropic";
    rows[4].arguments = NULL; /* were too large */
    rows[7].dialect = "openai_chat";
    struct history *h = new_history();
    json_t *m = extend(h, rows, COUNT(rows));
    assert_int_equal(json_array_size(m), 6);
    AUTO_FREE char *said = json_dumps(json_array_get(m, 2), JSON_COMPACT);
    assert_string_equal(
        said,
        "{\"role\":\"assistant\",\"content\":\"I look.\",\"tool_calls\":["
        "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"t\",\"arguments\":\"{}\"}},"
        "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"t\",\"arguments\":\"{}\"}}]"
        "}");
    assert_message(m, 3, "tool", "42");
    assert_int_equal(json_int_or(json_array_get(m, 5), "extra", 0), 1);
    json_decref(m);
    history_free(h);
}

/* ---- a run that is not shown whole --------------------------------------------- */

#define HIDDEN(step_, index_, id, status_, bytes)                                      \
    {                                                                                  \
        .kind = STORE_ROW_RESULT, .step = (step_), .index = (index_), .call_id = (id), \
        .status = (status_), .hidden = (bytes)                                         \
    }

/* As read_steps gives it: step 1 is left out, step 2 emptied, step 3 whole. */
static const struct store_row part_of_run[] = {
    INPUT("\"Send it\""),
    SAID(2, "{\"role\":\"assistant\",\"content\":\"two\"}"),
    ASKED(2, 1, "c"),
    ASKED(2, 2, "d"),
    ASKED(2, 3, "e"),
    HIDDEN(2, 1, "c", "succeeded", 5000),
    HIDDEN(2, 2, "d", "unknown", 300),
    CAME(2, 3, "e", "succeeded", "short"),
    SAID(3, "{\"role\":\"assistant\",\"content\":\"three\"}"),
    ASKED(3, 1, "f"),
    CAME(3, 1, "f", "succeeded", "whole"),
};

static void what_is_not_shown_is_said(void **state)
{
    (void)state;
    const struct store_view view = { .left_out = 1, .emptied = 2, .result_bytes = 1000 };
    struct history *h = new_history();
    json_t *m = extend_by(h, part_of_run, COUNT(part_of_run), &view);
    assert_int_equal(json_array_size(m), 8);
    const char *input = json_str(json_array_get(m, 1), "content");
    assert_memory_equal(input, "Send it\n\n[", 10);
    assert_contains(input, "Steps 1 to 1 of your work");
    assert_message(m, 2, "assistant", "two");
    assert_contains(json_str(json_array_get(m, 3), "content"), "The call succeeded. [5000 bytes");
    const char *unknown = json_str(json_array_get(m, 4), "content");
    assert_memory_equal(unknown, "Outcome unknown", 15);
    assert_contains(unknown, "[300 bytes");
    assert_message(m, 5, "tool", "short");
    assert_message(m, 7, "tool", "whole");
    assert_int_equal(h->known_step, 3);
    assert_memory_equal(&h->view, &view, sizeof view);
    json_decref(m);
    history_free(h);
}

/* With a view, too: whoever reads the run anew says the same as who had it. */
static void a_part_grows_to_the_same_text(void **state)
{
    (void)state;
    const struct store_view view = { .left_out = 1, .emptied = 2, .result_bytes = 30 };
    const struct store_row more[] = {
        CAME(3, 1, "f", "succeeded",
             "a result of more bytes than are shown of the results of a step"),
        SAID(4, "{\"role\":\"assistant\",\"content\":\"four\"}"),
        ASKED(4, 1, "g"),
        CAME(4, 1, "g", "succeeded", "42"),
    };
    struct store_row rows[COUNT(part_of_run) + 3];
    memcpy(rows, part_of_run, sizeof part_of_run);
    memcpy(rows + COUNT(part_of_run) - 1, more, sizeof more);
    struct history *grown = new_history(), *read = new_history();
    json_decref(extend_by(grown, part_of_run, 8, &view));
    assert_true(add_answer(&part_of_run[8], 3, grown));
    history_cut(grown, grown->stable_len);
    json_decref(extend_by(grown, more, 1, &view));
    assert_true(add_answer(&more[1], 4, grown));
    json_decref(extend_by(grown, more + 3, 1, &view));
    json_decref(extend_by(read, rows, COUNT(rows), &view));
    assert_string_equal(grown->text.data, read->text.data);

    /* And what a decision is made of is the same. */
    assert_int_equal(grown->head_len, read->head_len);
    assert_int_equal(grown->step_count, 3);
    assert_int_equal(read->step_count, 3);
    size_t all = read->head_len;
    for (size_t i = 0; i < 3; i++) {
        const struct history_step *a = &grown->steps[i], *b = &read->steps[i];
        assert_int_equal(a->step, b->step);
        assert_int_equal(a->plan_bytes, b->plan_bytes);
        assert_int_equal(a->result_bytes, b->result_bytes);
        assert_int_equal(a->emptied_bytes, b->emptied_bytes);
        all += b->plan_bytes + b->result_bytes;
    }
    assert_int_equal(all, read->open_len);
    history_free(grown);
    history_free(read);
}

static void extend_in(const struct dialect *dialect, struct history *h,
                      const struct store_row *rows, size_t count, const struct store_view *view)
{
    struct arena arena;
    struct conversation c;
    struct error err;
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(conversation_read(&c, &arena, rows, count, &err), OK);
    assert_int_equal(prompt_extend(dialect, &frame, false, &c, view, &arena, h, &err), OK);
    arena_free(&arena);
}

/* Where a dialect puts its words between two additions, too. */
static void a_part_grows_to_the_same_text_in_every_dialect(void **state)
{
    (void)state;
    static const struct {
        enum model_dialect dialect;
        const char *raw;
    } tongues[] = {
        { MODEL_OPENAI_CHAT,
          "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"f\",\"type\":\"function\","
          "\"function\":{\"name\":\"t\",\"arguments\":\"{}\"}}]}" },
        { MODEL_OPENAI_RESPONSES, "[{\"type\":\"function_call\",\"call_id\":\"f\",\"name\":"
                                  "\"t\",\"arguments\":\"{}\"}]" },
        { MODEL_ANTHROPIC, "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":"
                           "\"f\",\"name\":\"t\",\"input\":{}}]}" },
    };
    const struct store_view view = { .left_out = 7, .emptied = 8, .result_bytes = 1000 };
    for (size_t i = 0; i < sizeof tongues / sizeof *tongues; i++) {
        const struct dialect *dialect = dialect_of(tongues[i].dialect);
        struct store_row rows[] = {
            INPUT("\"Send it\""),
            SAID(8, ""),
            HIDDEN(8, 0, "f", "succeeded", 5000),
            SAID(9, ""),
            CAME(9, 0, "f", "succeeded", "whole"),
            SAID(10, ""),
            CAME(10, 0, "f", "failed", "no"),
        };
        for (size_t at = 1; at < COUNT(rows); at += 2) {
            rows[at].type = STORE_FUNCTION_CALL;
            rows[at].call_id = "f";
            rows[at].tool = "t";
            rows[at].arguments = "{}";
            rows[at].raw = tongues[i].raw;
            rows[at].raw_n = strlen(tongues[i].raw);
            rows[at].dialect = dialect->name;
        }
        struct history *grown = new_history(), *read = new_history();
        extend_in(dialect, grown, rows, 3, &view);
        for (size_t at = 3; at < COUNT(rows); at += 2) {
            struct reply_item item = { .type = REPLY_CALL, .call_id = "f", .tool = "t" };
            const struct model_reply reply = {
                .raw = rows[at].raw, .raw_n = rows[at].raw_n, .items = &item, .item_count = 1
            };
            assert_true(prompt_add_answer(dialect, &reply, rows[at].step, grown));
            history_cut(grown, grown->stable_len); /* as the cache does */
            extend_in(dialect, grown, &rows[at + 1], 1, &view);
        }
        extend_in(dialect, read, rows, COUNT(rows), &view);
        assert_string_equal(grown->text.data, read->text.data);
        assert_contains(read->text.data, "Steps 1 to 7 of your work");
        assert_int_equal(grown->step_count, read->step_count);
        assert_memory_equal(grown->steps, read->steps, read->step_count * sizeof *read->steps);
        history_free(grown);
        history_free(read);
    }
}

static void long_results_share_what_there_is(void **state)
{
    (void)state;
    static char text[4][5000];
    const size_t sizes[4] = { 100, 4999, 300, 2000 };
    struct store_row rows[10] = { INPUT("\"x\""), SAID(1, "{\"role\":\"assistant\"}") };
    for (int i = 0; i < 4; i++) {
        /* three bytes a character, so that no cut falls between characters by chance */
        for (size_t at = 0; at + 3 <= sizes[i]; at += 3)
            memcpy(text[i] + at, "\xe2\x82\xac", 4);
        rows[2 + i] = (struct store_row)ASKED(1, i + 1, "id");
        rows[6 + i] = (struct store_row)CAME(1, i + 1, "id", "succeeded", "");
        rows[6 + i].content = text[i];
        rows[6 + i].content_n = strlen(text[i]);
    }
    const struct store_view view = { .result_bytes = 2400 };
    struct history *h = new_history();
    json_t *m = extend_by(h, rows, COUNT(rows), &view);
    size_t n[4], all = 0;
    for (size_t i = 0; i < 4; i++) {
        const char *shown = json_str(json_array_get(m, 3 + i), "content");
        n[i] = strlen(shown);
        all += n[i];
        assert_null(strstr(shown, "\xef\xbf\xbd")); /* no character was cut */
        if (i == 1 || i == 3)
            assert_contains(shown, "bytes are left out here ...]");
    }
    assert_int_equal(n[0], 99);
    assert_int_equal(n[2], 300);
    assert_in_range(n[1], 950, 1060);
    assert_in_range(n[3], 950, 1060);
    assert_in_range(all, 2300, 2520);
    json_decref(m);
    history_free(h);
}

static void too_large_a_prompt_is_refused(void **state)
{
    (void)state;
    struct history *h = new_history();
    h->text.limit_bytes = 200;
    struct arena arena;
    struct conversation c;
    struct error err;
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(conversation_read(&c, &arena, whole_run, COUNT(whole_run), &err), OK);
    assert_int_equal(prompt_extend(&openai_chat, &frame, false, &c, &whole, &arena, h, &err),
                     REFUSED);
    assert_int_equal(h->known_step, 0);
    arena_free(&arena);
    arena_init(&arena, 300);
    assert_int_equal(conversation_read(&c, &arena, whole_run, COUNT(whole_run), &err), REFUSED);
    arena_free(&arena);
    history_free(h);
}

static void without_input_there_is_no_prompt(void **state)
{
    (void)state;
    struct history *h = new_history();
    struct arena arena;
    struct conversation c;
    struct error err;
    arena_init(&arena, (size_t)1 << 20);
    assert_int_equal(conversation_read(&c, &arena, whole_run + 1, 2, &err), OK);
    assert_int_equal(prompt_extend(&openai_chat, &frame, false, &c, &whole, &arena, h, &err),
                     REFUSED);
    arena_free(&arena);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_a_prompt_of_rows),
        cmocka_unit_test(input_that_is_no_string_is_said_as_json),
        cmocka_unit_test(grows_to_the_same_text),
        cmocka_unit_test(what_people_say_has_its_place),
        cmocka_unit_test(results_of_the_last_step_are_not_kept),
        cmocka_unit_test(catches_up),
        cmocka_unit_test(every_call_gets_a_result),
        cmocka_unit_test(another_dialect_is_said_in_this_one),
        cmocka_unit_test(what_is_not_shown_is_said),
        cmocka_unit_test(a_part_grows_to_the_same_text),
        cmocka_unit_test(a_part_grows_to_the_same_text_in_every_dialect),
        cmocka_unit_test(long_results_share_what_there_is),
        cmocka_unit_test(too_large_a_prompt_is_refused),
        cmocka_unit_test(without_input_there_is_no_prompt),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
