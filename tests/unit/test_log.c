#include "common/json.h"
#include "common/log.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static int pipe_ends[2];

static int open_pipe(void **state)
{
    (void)state;
    if (pipe2(pipe_ends, O_NONBLOCK) < 0)
        return -1;
    log_set_fd(pipe_ends[1]);
    log_set_instance(NULL);
    log_init("test", LOG_INFO, LOG_FORMAT_JSON);
    return 0;
}

static int close_pipe(void **state)
{
    (void)state;
    log_set_fd(STDERR_FILENO);
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
    return 0;
}

/* What stands in the pipe: "" when nothing. */
static const char *written(void)
{
    static char text[1 << 17];
    ssize_t n = read(pipe_ends[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static json_t *line_as_json(const char *line)
{
    static const struct json_limits limits = { .bytes = LOG_LINE_BYTES, .depth = 4 };
    json_t *object = NULL;
    struct error err;
    size_t length = strlen(line);
    assert_true(length > 0 && line[length - 1] == '\n');
    assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    assert_ok(json_read(line, length, &limits, &object, &err), &err);
    return object;
}

static void a_line_is_json_with_typed_fields(void **state)
{
    (void)state;
    struct uuid run;
    assert_int_equal(uuid_parse("01932f5e-8a61-7c3e-9d4b-52a1c0de77f0", &run, NULL), OK);
    struct error err = { "it \"failed\"\nbadly" };
    log_set_instance("host/1");
    log_event(LOG_WARN, "plan claimed", LOG_STR("agent", "billing"), LOG_STRN("part", "abcdef", 3),
              LOG_INT("step", -3), LOG_REAL("cost", 0.25), LOG_REAL("bad", NAN),
              LOG_BOOL("again", true), LOG_UUID("run_id", &run), LOG_STR("none", NULL),
              LOG_WHY(&err), LOG_END);
    json_t *o = line_as_json(written());
    assert_int_equal(strlen(json_str(o, "ts")), 24);
    assert_string_equal(json_str(o, "level"), "warn");
    assert_string_equal(json_str(o, "service"), "test");
    assert_string_equal(json_str(o, "instance"), "host/1");
    assert_string_equal(json_str(o, "msg"), "plan claimed");
    assert_string_equal(json_str(o, "agent"), "billing");
    assert_string_equal(json_str(o, "part"), "abc");
    assert_int_equal(json_int_or(o, "step", 0), -3);
    assert_true(json_num_or(o, "cost", 0) == 0.25);
    assert_true(json_is_null(json_object_get(o, "bad")));
    assert_true(json_bool_or(o, "again", false));
    assert_string_equal(json_str(o, "run_id"), "01932f5e-8a61-7c3e-9d4b-52a1c0de77f0");
    assert_true(json_is_null(json_object_get(o, "none")));
    assert_string_equal(json_str(o, "error"), "it \"failed\"\nbadly");
    assert_int_equal(json_object_size(o), 14);
    json_decref(o);
}

static int evaluated;

static const char *evaluate(void)
{
    evaluated++;
    return "x";
}

static void levels_filter_without_evaluating(void **state)
{
    (void)state;
    log_event(LOG_DEBUG, "hidden", LOG_STR("k", evaluate()), LOG_END);
    assert_string_equal(written(), "");
    assert_int_equal(evaluated, 0);
    log_set_level(LOG_DEBUG);
    log_event(LOG_DEBUG, "shown", LOG_STR("k", evaluate()), LOG_END);
    assert_contains(written(), "shown");
    assert_int_equal(evaluated, 1);
    log_set_level(LOG_ERROR);
    log_event(LOG_WARN, "hidden", LOG_END);
    assert_string_equal(written(), "");
    log_event(LOG_ERROR, "shown", LOG_END);
    assert_contains(written(), "\"level\":\"error\"");
}

static void long_text_is_cut_on_a_character(void **state)
{
    (void)state;
    char text[4000];
    for (size_t offset = 0; offset < 2;
         offset++) { /* the cut falls before, and into, a character */
        memset(text, 'a', offset);
        for (size_t i = offset; i + 2 <= sizeof text; i += 2)
            memcpy(text + i, "\xc3\xbc", 2);
        log_event(LOG_INFO, "m", LOG_STRN("k", text, sizeof text - 1), LOG_INT("after", 1),
                  LOG_END);
        json_t *o = line_as_json(written());
        size_t length = 0;
        const char *shown = json_strn(o, "k", &length);
        assert_in_range(length, LOG_TEXT_BYTES - 1, LOG_TEXT_BYTES + 3);
        assert_string_equal(shown + length - 3, "...");
        assert_null(strstr(shown, "\xef\xbf\xbd"));
        assert_int_equal(json_int_or(o, "after", 0), 1);
        json_decref(o);
    }
}

static void a_line_never_passes_its_limit(void **state)
{
    (void)state;
    char control[LOG_TEXT_BYTES], plain[LOG_TEXT_BYTES];
    memset(control, 1, sizeof control); /* each becomes six bytes */
    memset(plain, 'p', sizeof plain);
    log_event(LOG_INFO, "m", LOG_INT("first", 1), LOG_STRN("big", control, sizeof control),
              LOG_INT("last", 2), LOG_END);
    json_t *o = line_as_json(written());
    assert_int_equal(json_int_or(o, "first", 0), 1);
    assert_true(json_bool_or(o, "truncated", false));
    assert_null(json_object_get(o, "big"));
    assert_null(json_object_get(o, "last"));
    json_decref(o);

    /* every length around the limit: always one whole object, never too long */
    for (size_t n = 900; n < LOG_TEXT_BYTES; n++) {
        log_event(LOG_INFO, "m", LOG_STRN("a", plain, n), LOG_STRN("b", plain, n),
                  LOG_STRN("c", plain, n), LOG_STRN("d", plain, n), LOG_END);
        const char *line = written();
        assert_true(strlen(line) <= LOG_LINE_BYTES);
        o = line_as_json(line);
        assert_true((json_str(o, "d") != NULL) != json_bool_or(o, "truncated", false));
        json_decref(o);
    }
    assert_true(LOG_LINE_BYTES <= PIPE_BUF);
}

static void the_worst_head_still_makes_a_line(void **state)
{
    (void)state;
    char bad[600];
    memset(bad, 2, sizeof bad);
    bad[sizeof bad - 1] = '\0';
    log_init(bad, LOG_INFO, LOG_FORMAT_JSON);
    log_set_instance(bad);
    log_event(LOG_INFO, bad, LOG_INT("k", 7), LOG_END);
    json_t *o = line_as_json(written());
    assert_non_null(json_str(o, "msg"));
    assert_int_equal(json_int_or(o, "k", 0), 7);
    json_decref(o);
}

static void people_get_a_short_form_without_control_characters(void **state)
{
    (void)state;
    log_init("test", LOG_INFO, LOG_FORMAT_HUMAN);
    log_event(LOG_INFO, "claimed", LOG_STR("plain", "x"), LOG_STR("spaced", "a b"),
              LOG_STR("empty", ""), LOG_STR("evil", "\x1b[2J\nfake line"), LOG_INT("n", 5),
              LOG_END);
    const char *line = written();
    assert_contains(line, " info  test: claimed plain=x spaced=\"a b\" empty=\"\" "
                          "evil=\"\\x1b[2J\\nfake line\" n=5\n");
    assert_int_equal(line[2], ':');
    assert_int_equal(line[8], '.');
    log_init("test", LOG_INFO, LOG_FORMAT_AUTO); /* a pipe is not a terminal */
    log_event(LOG_INFO, "x", LOG_END);
    json_decref(line_as_json(written()));
}

static void names_are_read(void **state)
{
    (void)state;
    enum log_level level;
    enum log_format format;
    struct error err;
    assert_ok(log_parse_level("debug", &level, &err), &err);
    assert_int_equal(level, LOG_DEBUG);
    assert_string_equal(log_level_name(level), "debug");
    assert_ok(log_parse_format("human", &format, &err), &err);
    assert_int_equal(format, LOG_FORMAT_HUMAN);
    assert_int_equal(log_parse_level("DEBUG", &level, &err), REFUSED);
    assert_contains(err.text, "error, warn, info or debug");
    assert_int_equal(log_parse_format("xml", &format, &err), REFUSED);
    assert_contains(err.text, "auto, json or human");
}

static void a_broken_pipe_loses_the_line_and_keeps_errno(void **state)
{
    (void)state;
    log_set_fd(-1);
    errno = EDOM;
    log_event(LOG_INFO, "lost", LOG_END);
    assert_int_equal(errno, EDOM);
}

static void *chatter(void *self)
{
    for (int i = 0; i < 50; i++)
        log_event(LOG_INFO, "chatter", LOG_INT("thread", (intptr_t)self), LOG_INT("i", i), LOG_END);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (intptr_t t = 0; t < 4; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, chatter, (void *)t), 0);
    for (int t = 0; t < 4; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    int next[4] = { 0 }, lines = 0;
    char text[1 << 16], *rest = text;
    (void)snprintf(text, sizeof text, "%s", written());
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line; lines++) {
        char whole[LOG_LINE_BYTES];
        (void)snprintf(whole, sizeof whole, "%s\n", line);
        json_t *o = line_as_json(whole);
        int64_t thread = json_int_or(o, "thread", -1);
        assert_in_range(thread, 0, 3);
        assert_int_equal(json_int_or(o, "i", -1), next[thread]++);
        json_decref(o);
    }
    assert_int_equal(lines, 200);
}

int main(void)
{
#define log_test(f) cmocka_unit_test_setup_teardown(f, open_pipe, close_pipe)
    const struct CMUnitTest tests[] = {
        log_test(a_line_is_json_with_typed_fields),
        log_test(levels_filter_without_evaluating),
        log_test(long_text_is_cut_on_a_character),
        log_test(a_line_never_passes_its_limit),
        log_test(the_worst_head_still_makes_a_line),
        log_test(people_get_a_short_form_without_control_characters),
        log_test(names_are_read),
        log_test(a_broken_pipe_loses_the_line_and_keeps_errno),
        log_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
