#include "common/json.h"
#include "common/memory.h"
#include "common/yaml.h"
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <unistd.h>

static enum outcome read_limited(struct yaml_file *file, const char *text,
                                 const struct yaml_limits *limits, struct error *err)
{
    return yaml_read_text(file, "t.yaml", text, strlen(text), limits, err);
}

static enum outcome read_it(struct yaml_file *file, const char *text, struct error *err)
{
    return read_limited(file, text, NULL, err);
}

/* The text is refused with exactly this message. */
static void assert_refused_at(const char *text, const char *message, const char *file, int line)
{
    struct yaml_file yaml;
    struct error err = { "" };
    if (read_it(&yaml, text, &err) == OK) {
        yaml_release(&yaml);
        fail_at(file, line, "accepted: %s", text);
    }
    if (strcmp(err.text, message) != 0)
        fail_at(file, line, "expected '%s', got '%s'", message, err.text);
}
#define assert_refused(text, message) assert_refused_at((text), (message), __FILE__, __LINE__)

static void nodes_know_where_they_stand(void **state)
{
    (void)state;
    struct yaml_file yaml;
    struct error err;
    assert_ok(read_it(&yaml, "# a comment\na: 1\nb:\n  - x\n  - 'y'\n", &err), &err);
    assert_int_equal(yaml.count, 1);
    const struct yaml_node *root = yaml.documents[0];
    assert_int_equal(root->kind, YAML_MAPPING);
    assert_int_equal(root->count, 2);
    assert_int_equal(root->height, 3);
    assert_int_equal(root->nodes, 7);
    const struct yaml_node *a = yaml_get(root, "a"), *b = yaml_get(root, "b");
    assert_string_equal(a->file, "t.yaml");
    assert_int_equal(a->line, 2);
    assert_int_equal(a->column, 4);
    assert_true(a->plain);
    assert_int_equal(yaml_get_key(root, "b")->line, 3);
    assert_int_equal(b->kind, YAML_SEQUENCE);
    assert_int_equal(b->items[1]->line, 5);
    assert_false(b->items[1]->plain);
    assert_null(yaml_get(root, "c"));
    assert_null(yaml_get(a, "c"));
    yaml_release(&yaml);
}

static void a_file_may_hold_several_documents_or_none(void **state)
{
    (void)state;
    struct yaml_file yaml;
    struct error err;
    assert_ok(read_it(&yaml, "a: 1\n---\nb: 2\n--- \n", &err), &err);
    assert_int_equal(yaml.count, 3);
    assert_non_null(yaml_get(yaml.documents[1], "b"));
    assert_true(yaml_is_null(yaml.documents[2]));
    yaml_release(&yaml);
    assert_ok(read_it(&yaml, "# nothing\n", &err), &err);
    assert_int_equal(yaml.count, 0);
    yaml_release(&yaml);
}

static void mistakes_name_file_and_line(void **state)
{
    (void)state;
    assert_refused("a: 1\nb: 2\na: 3\n",
                   "t.yaml:3: key 'a' stands here again, first on line 1; remove one");
    assert_refused("a: !!str 5\n",
                   "t.yaml:1: tags are not read: tag:yaml.org,2002:str; leave it out, and quote "
                   "the value if it is text");
    assert_refused("base: &b {x: 1}\nuse:\n  <<: *b\n",
                   "t.yaml:3: merge keys (<<) are not read; write the keys out, or use an alias "
                   "for a whole value");
    assert_refused("a: *nobody\n",
                   "t.yaml:1: alias *nobody has no anchor before it; write &nobody in front of "
                   "the value it stands for");
    assert_refused("a: &x\n  b: *x\n",
                   "t.yaml:2: alias *x stands inside the value that it stands for; write the value "
                   "out");
    assert_refused("a: 1\n[1, 2]: b\n", "t.yaml:2: a key is a list; write a name");
    assert_refused("a: 1\n? \n: b\n", "t.yaml:2: a key is missing before ':'; write a name");
    assert_refused("a:\n\tb: 1\n",
                   "t.yaml:2: not YAML: found character that cannot start any token; indent with "
                   "spaces, and quote text that begins with @, ` or %");
    assert_refused("a: 1\nb: 'open\nc: 2\n",
                   "t.yaml:4: not YAML: found unexpected end of stream (while scanning a quoted "
                   "scalar that began on line 2); check the indentation and the quotes");
    assert_refused("a: 1\nb: \xff\n", "t.yaml:2: not UTF-8; save the file as UTF-8");
}

static void an_alias_may_be_a_key_when_it_is_a_name(void **state)
{
    (void)state;
    struct yaml_file yaml;
    struct error err;
    assert_ok(read_it(&yaml, "a: &n name\nb: {*n : 1}\n", &err), &err);
    assert_string_equal(yaml_get(yaml_get(yaml.documents[0], "b"), "name")->text, "1");
    yaml_release(&yaml);
    assert_refused("a: &n [x]\nb: {*n : 1}\n", "t.yaml:2: a key is a list; write a name");
}

static void long_file_names_keep_their_tail(void **state)
{
    (void)state;
    char name[300];
    struct yaml_file yaml;
    struct error err;
    memset(name, 'd', sizeof name);
    strcpy(name + 280, "/tail.yaml");
    assert_int_equal(yaml_read_text(&yaml, name, "a: [", 4, NULL, &err), REFUSED);
    assert_contains(err.text, "...ddd");
    assert_contains(err.text, "/tail.yaml:");
    assert_contains(err.text, "not YAML");
}

static void aliases_share_values(void **state)
{
    (void)state;
    struct yaml_file yaml;
    struct error err;
    assert_ok(read_it(&yaml, "a: &h {x: 1}\nb: *h\n---\nc: &h 2\nd: *h\n", &err), &err);
    const struct yaml_node *root = yaml.documents[0];
    assert_ptr_equal(yaml_get(root, "a"), yaml_get(root, "b"));
    assert_int_equal(root->nodes, 1 + 2 + 2 * 3); /* itself, two keys, and {x: 1} twice */
    assert_string_equal(yaml_get(yaml.documents[1], "d")->text, "2");
    yaml_release(&yaml);
    /* Anchors end with their document. */
    assert_refused("a: &h 1\n---\nb: *h\n",
                   "t.yaml:3: alias *h has no anchor before it; write &h in front of the value it "
                   "stands for");
}

static void an_alias_bomb_is_refused(void **state)
{
    (void)state;
    char text[4096];
    int at = snprintf(text, sizeof text, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i <= 9; i++)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
                       i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    assert_refused(text, "t.yaml:6: more than 100000 values; split the file");
}

static void limits_hold(void **state)
{
    (void)state;
    struct yaml_file yaml;
    struct error err;
    struct yaml_limits limits = { .bytes = 100, .depth = 3, .nodes = 8 };
    assert_ok(read_limited(&yaml, "[[[1]], 2, 3]", &limits, &err), &err);
    yaml_release(&yaml);
    assert_int_equal(read_limited(&yaml, "a:\n [[[1]]]", &limits, &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:2: nested deeper than 3 levels; flatten it");
    assert_int_equal(read_limited(&yaml, "- &a [[1]]\n- [*a]", &limits, &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:2: nested deeper than 3 levels; flatten it");
    assert_int_equal(read_limited(&yaml, "[1, 2, 3, 4,\n5, 6, 7, 8]", &limits, &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:2: more than 8 values; split the file");
    char large[128];
    memset(large, ' ', sizeof large);
    assert_int_equal(yaml_read_text(&yaml, "t.yaml", large, 101, &limits, &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:1: larger than 100 bytes; split the file");
    assert_ok(yaml_read_text(&yaml, "t.yaml", large, 100, &limits, &err), &err);
    yaml_release(&yaml);
}

static void too_many_anchors_are_refused(void **state)
{
    (void)state;
    char text[16 * 1024];
    int at = 0;
    for (int i = 0; i <= 1000; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "- &a%d x\n", i);
    assert_refused(text, "t.yaml:1001: more than 1000 anchors in one document; write some values "
                         "out");
}

/* Scalars of the core schema, as a table: text, and what it is as JSON. */
static void scalars_are_typed_by_the_core_schema(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "null", "null" },
        { "~", "null" },
        { "Null", "null" },
        { "", "null" },
        { "true", "true" },
        { "FALSE", "false" },
        { "yes", "\"yes\"" },
        { "off", "\"off\"" },
        { "'true'", "\"true\"" },
        { "\"12\"", "\"12\"" },
        { "12", "12" },
        { "-12", "-12" },
        { "+3", "3" },
        { "007", "7" },
        { "0o17", "15" },
        { "0xff", "255" },
        { "0b1", "\"0b1\"" },
        { "1_000", "\"1_000\"" },
        { "1.5", "1.5" },
        { "-.5", "-0.5" },
        { "1.", "1.0" },
        { "1e3", "1000.0" },
        { "1e", "\"1e\"" },
        { ".", "\".\"" },
        { "a - b", "\"a - b\"" },
        { "1.2.3", "\"1.2.3\"" },
        { "12:30", "\"12:30\"" },
        { "0x", "\"0x\"" },
        { "9223372036854775807", "9223372036854775807" },
        { "'a\\b'", "\"a\\\\b\"" },
        { "\"a\\0b\"", "\"a\\u0000b\"" },
        { "|\n  line\n", "\"line\\n\"" },
        { "{a: [1, {b: x}], c: ~}", "{\"a\":[1,{\"b\":\"x\"}],\"c\":null}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct yaml_file yaml;
        struct error err = { "" };
        json_t *value = NULL;
        char text[256];
        snprintf(text, sizeof text, "--- %s", cases[i][0]);
        assert_ok(read_it(&yaml, text, &err), &err);
        assert_ok(yaml_to_json(yaml.documents[0], &value, &err), &err);
        AUTO_FREE char *got = json_canonical(value);
        if (strcmp(got, cases[i][1]) != 0)
            fail_msg("%s: expected %s, got %s", cases[i][0], cases[i][1], got);
        json_decref(value);
        yaml_release(&yaml);
    }
}

static void numbers_that_json_lacks_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "\n- 9223372036854775808", "t.yaml:2: the number 9223372036854775808 does not fit in 64 "
                                     "bits; quote it to keep it as text" },
        { "\n- .inf", "t.yaml:2: .inf is not a number that JSON has; write a finite number, or "
                      "quote it to keep it as text" },
        { "\n- .NaN", "t.yaml:2: .NaN is not a number that JSON has; write a finite number, or "
                      "quote it to keep it as text" },
        { "\n- 1e999", "t.yaml:2: 1e999 is not a number that JSON has; write a finite number, or "
                       "quote it to keep it as text" },
        { "\"a\\0b\": 1", "t.yaml:1: a key holds a NUL character; leave it out" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct yaml_file yaml;
        struct error err = { "" };
        json_t *value = NULL;
        assert_ok(read_it(&yaml, cases[i][0], &err), &err);
        assert_int_equal(yaml_to_json(yaml.documents[0], &value, &err), REFUSED);
        assert_null(value);
        assert_string_equal(err.text, cases[i][1]);
        yaml_release(&yaml);
    }
}

static void files_are_read_and_their_absence_is_told(void **state)
{
    (void)state;
    char path[] = "/tmp/test_yaml.XXXXXX";
    struct yaml_file yaml;
    struct error err;
    struct yaml_limits small = { .bytes = 4, .depth = 8, .nodes = 8 };
    int fd = mkstemp(path);
    assert_int_not_equal(fd, -1);
    assert_int_equal(write(fd, "a: 12\n", 6), 6);
    close(fd);
    assert_ok(yaml_read_path(&yaml, path, NULL, &err), &err);
    assert_string_equal(yaml_get(yaml.documents[0], "a")->text, "12");
    yaml_release(&yaml);
    assert_int_equal(yaml_read_path(&yaml, path, &small, &err), REFUSED);
    assert_contains(err.text, ":1: larger than 4 bytes; split the file");
    unlink(path);
    assert_int_equal(yaml_read_path(&yaml, "/nonexistent/x.yaml", NULL, &err), REFUSED);
    assert_string_equal(err.text, "cannot open /nonexistent/x.yaml: No such file or directory");
    assert_int_equal(yaml_read_path(&yaml, "/tmp", NULL, &err), REFUSED);
    assert_string_equal(err.text, "cannot read /tmp: Is a directory");
    assert_int_equal(yaml.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_where_they_stand),
        cmocka_unit_test(a_file_may_hold_several_documents_or_none),
        cmocka_unit_test(mistakes_name_file_and_line),
        cmocka_unit_test(an_alias_may_be_a_key_when_it_is_a_name),
        cmocka_unit_test(long_file_names_keep_their_tail),
        cmocka_unit_test(aliases_share_values),
        cmocka_unit_test(an_alias_bomb_is_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(too_many_anchors_are_refused),
        cmocka_unit_test(scalars_are_typed_by_the_core_schema),
        cmocka_unit_test(numbers_that_json_lacks_are_refused),
        cmocka_unit_test(files_are_read_and_their_absence_is_told),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
