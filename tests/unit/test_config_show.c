/* What config.h does without a file: hiding passwords, and the command line. */
#include "common/config.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

static void passwords_in_a_dsn_are_hidden(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "postgres://u:pw@h:5432/d", "postgres://u:***@h:5432/d" },
        { "postgres://u:pw@h1:1,h2:2/d?a=b", "postgres://u:***@h1:1,h2:2/d?a=b" },
        { "postgres://u@h/d", "postgres://u@h/d" },
        { "postgres://h:5432/d", "postgres://h:5432/d" },
        { "postgres:///d?host=/run", "postgres:///d?host=/run" },
        { "postgres://u:p@w@h/d", "postgres://u:***@h/d" },
        { "postgres://u:p?w@h/d", "postgres://u:***@h/d" },
        { "postgres://u:p/w@h/d", "postgres://***" },
        { "postgres://u:p/w?x@h/d", "postgres://***" },
        { "postgres://u:p@w/x@h/d", "postgres://***" },
        { "postgres://h/d?password=pw", "postgres://h/d?password=***" },
        { "postgres://h/d?user=u&password=p@w&x=y", "postgres://***" },
        { "postgres://h/d?sslpassword=pw&x=1", "postgres://h/d?sslpassword=***&x=1" },
        { "postgres://h/d?pass%77ord=pw", "postgres://h/d?pass%77ord=***" },
        { "host=h password=pw user=u", "host=h password=*** user=u" },
        { "password = 'p w' host = h", "password = *** host = h" },
        { "password='it\\'s' user=u", "password=*** user=u" },
        { "password=a\\ b user=u", "password=*** user=u" },
        { "PASSWORD=pw", "PASSWORD=***" },
        { "password='open host=h", "password=***" },
        { "sslpassword=pw options='-c a=b'", "sslpassword=*** options='-c a=b'" },
        { "password=", "password=***" },
        { "postgres://h/d?a23456789012345678901234567890123456789012345678901234567890123456=pw",
          "postgres://h/d?a23456789012345678901234567890123456789012345678901234567890123456="
          "***" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO_BUF struct buf out;
        buf_init(&out, 1024);
        config_redact_dsn(cases[i][0], &out);
        if (strcmp(out.data, cases[i][1]) != 0)
            fail_msg("%s: expected %s, got %s", cases[i][0], cases[i][1], out.data);
    }
}

static void flags_are_taken_out_of_the_command_line(void **state)
{
    (void)state;
    char args[12][24] = { "planner",   "--config", "a.yaml", "--log-level=debug",
                          "--verbose", "--class",  "batch",  "run",
                          "--classes", "--grace=", "--",     "--class" };
    char *argv[13] = { NULL };
    for (size_t i = 0; i < 12; i++)
        argv[i] = args[i];
    int argc = 12;
    const char *path = NULL;
    struct config_flag flags[CONFIG_FLAGS_MAX];
    size_t count = 0;
    struct error err;
    assert_ok(config_take_flags(&argc, argv, &path, flags, CONFIG_FLAGS_MAX, &count, &err), &err);
    assert_string_equal(path, "a.yaml");
    assert_int_equal(count, 3);
    assert_string_equal(flags[0].name, "log.level");
    assert_string_equal(flags[0].value, "debug");
    assert_string_equal(flags[1].name, "class");
    assert_string_equal(flags[1].value, "batch");
    assert_string_equal(flags[2].value, "");
    assert_int_equal(argc, 6);
    assert_string_equal(argv[1], "--verbose");
    assert_string_equal(argv[2], "run");
    assert_string_equal(argv[3], "--classes");
    assert_string_equal(argv[4], "--");
    assert_string_equal(argv[5], "--class");
    assert_null(argv[6]);

    char last[] = "--tenant";
    char *short_argv[] = { args[0], last, NULL };
    argc = 2;
    assert_int_equal(
        config_take_flags(&argc, short_argv, &path, flags, CONFIG_FLAGS_MAX, &count, &err),
        REFUSED);
    assert_string_equal(err.text, "--tenant needs a value behind it");

    char twice[] = "--tenant=a";
    char *twice_argv[] = { args[0], twice, twice, NULL };
    argc = 3;
    assert_int_equal(config_take_flags(&argc, twice_argv, &path, flags, 1, &count, &err), REFUSED);
    assert_string_equal(err.text, "more than 1 flags; put some in the process file");
}

static void help_lists_every_setting(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    config_print_flags(out);
    fclose(out);
    assert_ok(config_load(&cfg, NULL, NULL, 0, &err), &err);
    assert_in_range(cfg.origin_count, 15, CONFIG_FLAGS_MAX);
    for (size_t i = 0; i < cfg.origin_count; i++) {
        char flag[128];
        snprintf(flag, sizeof flag, "  --%s", cfg.origins[i].path);
        for (char *c = flag; *c; c++)
            if (*c == '.' || *c == '_')
                *c = '-';
        assert_contains(text, flag);
    }
    assert_contains(text, "[pawl.run-requests]\n");
    free(text);
    config_release(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passwords_in_a_dsn_are_hidden),
        cmocka_unit_test(flags_are_taken_out_of_the_command_line),
        cmocka_unit_test(help_lists_every_setting),
    };
    return cmocka_run_group_tests_name("config_show", tests, NULL, NULL);
}
