#include "common/json.h"
#include "common/memory.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

static const struct json_limits limits = { .bytes = 100000, .depth = 32 };

static json_t *read_ok(const char *text)
{
    json_t *value = NULL;
    struct error err;
    assert_ok(json_read(text, strlen(text), &limits, &value, &err), &err);
    assert_non_null(value);
    return value;
}

static void refuse(const char *text, size_t n, const char *words)
{
    json_t *value = (json_t *)&limits; /* must be overwritten */
    struct error err = { "" };
    if (json_read(text, n, &limits, &value, &err) != REFUSED)
        fail_msg("accepted: %s", text);
    assert_null(value);
    assert_contains(err.text, words);
}

static void reads_values_of_every_type(void **state)
{
    (void)state;
    static const char *const cases[] = { "{}",   "[]",   "\"x\"", "1",         "-0.5e3",
                                         "true", "null", " [1] ", "{\"a\":{}}" };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        json_decref(read_ok(cases[i]));
}

static void refuses_with_the_place(void **state)
{
    (void)state;
    refuse("", 0, "line 1, column 1");
    refuse("{\"a\":1,\n \"b\":}", 14, "line 2, column");
    refuse("[1] x", 5, "line 1, column 5");
    refuse("{\"a\":1,\"b\":2,\"a\":3}", 19, "uplicate");
    refuse("{\"a\":\"\xff\"}", 8, "not UTF-8 (line 1, column 7)");
    refuse("\n\n\"\xed\xa0\x80\"", 7, "not UTF-8 (line 3, column 2)");
    refuse("{\"a\\u0000b\":1}", 14, "line 1");
    refuse("\"\\ud800\"", 8, "line 1");
    refuse("[1,]", 4, "line 1, column 4");
    refuse("{'a':1}", 7, "line 1, column 2");
    refuse("[NaN]", 5, "near 'NaN' (line 1, column 4)"); /* the end of the token */
    refuse("99999999999999999999", 20, "line 1");
    refuse("[1\0]", 4, "NUL byte (line 1, column 3)");
    refuse("\"open", 5, "line 1");
}

static void size_is_limited(void **state)
{
    (void)state;
    char *text = xmalloc(limits.bytes + 2);
    memset(text, ' ', limits.bytes + 2);
    text[0] = '1';
    json_t *value;
    assert_int_equal(json_read(text, limits.bytes, &limits, &value, NULL), OK);
    json_decref(value);
    refuse(text, limits.bytes + 1, "100000 are allowed");
    free(text);
}

static void nest(char *text, size_t depth, char open, char close)
{
    memset(text, open, depth);
    memset(text + depth, close, depth);
    text[2 * depth] = '\0';
}

static void depth_is_limited(void **state)
{
    (void)state;
    static char text[90001];
    nest(text, 32, '[', ']');
    json_decref(read_ok(text));
    nest(text, 33, '[', ']');
    refuse(text, 66, "deeper than 32 (line 1, column 33)");
    nest(text, 45000, '{', '}');
    refuse(text, 90000, "deeper than 32");
    memset(text, '[', 90000);
    refuse(text, 90000, "deeper than 32");
    /* brackets inside strings do not count, behind an escaped quote neither */
    json_decref(read_ok("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[[[[[[[\\\\\"]"));
    /* and closing ones give the depth back */
    json_decref(read_ok("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                        "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]"));
}

static void the_number_of_values_is_limited(void **state)
{
    (void)state;
    struct error err;
    json_t *value;
    static char dense[3 * JSON_VALUES_MAX]; /* would take 25 MB */
    const struct json_limits usual = { .bytes = sizeof dense, .depth = 32 };
    memset(dense, ' ', sizeof dense);
    dense[0] = '[';
    for (size_t i = 1; i + 3 < sizeof dense; i += 3)
        memcpy(dense + i, "{},", 3);
    assert_int_equal(json_read(dense, sizeof dense, &usual, &value, &err), REFUSED);
    assert_contains(err.text, "the JSON has more than 100000 values (line 1, column");

    memset(dense, ',', sizeof dense); /* commas of a text are none between values */
    dense[0] = '[';
    dense[1] = '"';
    memcpy(dense + sizeof dense - 2, "\"]", 2);
    assert_ok(json_read(dense, sizeof dense, &usual, &value, &err), &err);
    json_decref(value);
}

static void deepest_allowed_nesting_reads(void **state)
{
    (void)state;
    static char text[2 * JSON_DEPTH_MAX + 1];
    const struct json_limits deep = { .bytes = sizeof text, .depth = JSON_DEPTH_MAX };
    nest(text, JSON_DEPTH_MAX, '[', ']');
    json_t *value;
    struct error err;
    assert_ok(json_read(text, strlen(text), &deep, &value, &err), &err);
    AUTO_FREE char *back = json_canonical(value);
    assert_string_equal(back, text);
    json_decref(value);
}

static void nul_inside_a_string_is_kept(void **state)
{
    (void)state;
    json_t *value = read_ok("{\"a\":\"x\\u0000y\"}");
    size_t length = 0;
    const char *text = json_strn(value, "a", &length);
    assert_int_equal(length, 3);
    assert_memory_equal(text, "x\0y", 3);
    AUTO_FREE char *canonical = json_canonical(value);
    assert_string_equal(canonical, "{\"a\":\"x\\u0000y\"}");
    json_decref(value);
}

static void equal_values_have_equal_text_and_digest(void **state)
{
    (void)state;
    json_t *a = read_ok("{ \"b\" : [1, 2.5, \"\\u00fc\"], \"a\" : {\"z\":null,\"y\":true} }");
    json_t *b = read_ok("{\"a\":{\"y\":true,\"z\":null},\"b\":[1,2.5,\"\xc3\xbc\"]}");
    json_t *c = read_ok("{\"a\":{\"y\":true,\"z\":null},\"b\":[2.5,1,\"\xc3\xbc\"]}");
    AUTO_FREE char *text_a = json_canonical(a), *text_b = json_canonical(b);
    assert_string_equal(text_a, "{\"a\":{\"y\":true,\"z\":null},\"b\":[1,2.5,\"\xc3\xbc\"]}");
    assert_string_equal(text_a, text_b);
    struct digest da, db, dc, expected;
    json_digest(a, &da);
    json_digest(b, &db);
    json_digest(c, &dc);
    digest_of(text_a, strlen(text_a), &expected);
    assert_true(digest_eq(&da, &expected));
    assert_true(digest_eq(&da, &db));
    assert_false(digest_eq(&da, &dc));
    json_decref(a);
    json_decref(b);
    json_decref(c);
    json_t *scalar = read_ok("\"x\"");
    AUTO_FREE char *text = json_canonical(scalar);
    assert_string_equal(text, "\"x\"");
    json_decref(scalar);
}

static void getters_take_the_type_or_the_default(void **state)
{
    (void)state;
    json_t *o =
        read_ok("{\"s\":\"text\",\"i\":-7,\"r\":2.5,\"t\":true,\"o\":{},\"a\":[],\"n\":null}");
    size_t length = 9;
    assert_string_equal(json_str(o, "s"), "text");
    assert_string_equal(json_strn(o, "s", &length), "text");
    assert_int_equal(length, 4);
    assert_string_equal(json_str_or(o, "s", "x"), "text");
    assert_int_equal(json_int_or(o, "i", 1), -7);
    assert_true(json_num_or(o, "r", 1) == 2.5);
    assert_true(json_num_or(o, "i", 1) == -7.0);
    assert_true(json_bool_or(o, "t", false));
    assert_ptr_equal(json_obj(o, "o"), json_object_get(o, "o"));
    assert_ptr_equal(json_arr(o, "a"), json_object_get(o, "a"));

    static const char *const others[] = { "missing", "n" };
    for (size_t i = 0; i < 2; i++) {
        assert_null(json_str(o, others[i]));
        assert_null(json_strn(o, others[i], &length));
        assert_int_equal(length, 0);
        assert_string_equal(json_str_or(o, others[i], "x"), "x");
        assert_int_equal(json_int_or(o, others[i], 5), 5);
        assert_true(json_num_or(o, others[i], 5.5) == 5.5);
        assert_true(json_bool_or(o, others[i], true));
        assert_null(json_obj(o, others[i]));
        assert_null(json_arr(o, others[i]));
    }
    assert_int_equal(json_int_or(o, "r", 5), 5); /* a real is not an integer */
    assert_null(json_obj(o, "a"));
    assert_null(json_arr(o, "o"));
    assert_null(json_str(NULL, "s"));
    assert_null(json_str(json_object_get(o, "a"), "s"));
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values_of_every_type),
        cmocka_unit_test(refuses_with_the_place),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(the_number_of_values_is_limited),
        cmocka_unit_test(deepest_allowed_nesting_reads),
        cmocka_unit_test(nul_inside_a_string_is_kept),
        cmocka_unit_test(equal_values_have_equal_text_and_digest),
        cmocka_unit_test(getters_take_the_type_or_the_default),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
