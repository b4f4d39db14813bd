#include "common/buf.h"
#include "common/text.h"
#include "tests/unit/cm.h"

#include <jansson.h>
#include <stdlib.h>

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 10000; i++) {
        assert_true(buf_printf(&b, "%d,", i % 10));
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_int_equal(b.len, 20000);
    assert_int_equal(strlen(b.data), 20000);
    assert_memory_equal(b.data + 19996, "8,9,", 4);
    buf_reset(&b);
    assert_string_equal(b.data, "");
    assert_true(buf_add(&b, "a\0b", 3));
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "a\0b", 4);
    buf_release(&b);
    assert_string_equal(b.data, "");
    assert_int_equal(b.cap, 0);
    buf_release(&b); /* twice is fine */
}

static void limit_refuses_whole_additions_and_stays(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_puts(&b, "12345678"));
    assert_true(buf_puts(&b, "90")); /* exactly full is not `full` */
    assert_false(b.full);
    assert_true(buf_add(&b, NULL, 0));
    assert_false(buf_putc(&b, 'x'));
    assert_true(b.full);
    assert_string_equal(b.data, "1234567890");
    buf_reset(&b);
    assert_false(b.full);
    assert_false(buf_puts(&b, "12345678901"));
    assert_false(buf_puts(&b, "1")); /* would fit, but there would be a hole */
    assert_string_equal(b.data, "");
    buf_reset(&b);
    assert_false(buf_printf(&b, "%011d", 5));
    assert_int_equal(b.len, 0);
    buf_release(&b);

    buf_init(&b, 0);
    assert_true(buf_puts(&b, ""));
    assert_false(buf_puts(&b, "x"));
    buf_release(&b);
}

static void drops_from_the_front(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_drop_front(&b, 0);
    assert_true(buf_puts(&b, "line one\nline two"));
    buf_drop_front(&b, 9);
    assert_string_equal(b.data, "line two");
    buf_drop_front(&b, 8);
    assert_string_equal(b.data, "");
    assert_int_equal(b.len, 0);
    buf_release(&b);
}

static void hands_its_text_over(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    char *empty = buf_take(&b);
    assert_string_equal(empty, "");
    free(empty);
    assert_true(buf_puts(&b, "text"));
    char *text = buf_take(&b);
    assert_string_equal(text, "text");
    free(text);
    assert_string_equal(b.data, "");
    assert_true(buf_puts(&b, "next"));
    buf_release(&b);
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t length;
        const char *out;
    } cases[] = {
        { "", 0, "\"\"" },
        { "plain", 5, "\"plain\"" },
        { "a\"b\\c/", 6, "\"a\\\"b\\\\c/\"" },
        { "\n\r\t\b", 4, "\"\\n\\r\\t\\u0008\"" },
        { "a\0b", 3, "\"a\\u0000b\"" },
        { "\x7f\xe2\x80\xa8", 4, "\"\\u007f\\u2028\"" },
        { "\xc3\xbc\xf0\x9f\x98\x80", 6, "\"\xc3\xbc\xf0\x9f\x98\x80\"" },
        { "x\xff\xc3y", 4, "\"x\xef\xbf\xbd\xef\xbf\xbdy\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 100);
        assert_true(buf_add_json_string(&b, cases[i].in, cases[i].length));
        assert_string_equal(b.data, cases[i].out);
        buf_release(&b);
    }
}

static void any_bytes_make_a_json_string_that_reads_back(void **state)
{
    (void)state;
    uint32_t random = 12345;
    for (int round = 0; round < 3000; round++) {
        char bytes[40];
        size_t length = (size_t)round % sizeof bytes;
        for (size_t i = 0; i < length; i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (char)(round % 2 ? random >> 24 : random >> 25); /* any, or ASCII only */
        }
        struct buf b;
        buf_init(&b, 1000);
        assert_true(buf_add_json_string(&b, bytes, length));
        json_error_t error;
        json_t *back = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (!back)
            fail_msg("round %d: %s: %s", round, error.text, b.data);
        if (text_is_utf8(bytes, length)) {
            assert_int_equal(json_string_length(back), length);
            assert_memory_equal(json_string_value(back), bytes, length);
        }
        json_decref(back);
        buf_release(&b);
    }
}

static void a_json_string_that_does_not_fit_leaves_nothing(void **state)
{
    (void)state;
    for (size_t limit = 2; limit < 12; limit++) {
        struct buf b;
        buf_init(&b, limit);
        assert_true(buf_puts(&b, "x:"));
        bool added = buf_add_json_string(&b, "ab\ncd", 5); /* 8 bytes with its quotes */
        assert_int_equal(added, limit >= 10);
        assert_string_equal(b.data, added ? "x:\"ab\\ncd\"" : "x:");
        assert_int_equal(b.full, !added);
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(limit_refuses_whole_additions_and_stays),
        cmocka_unit_test(drops_from_the_front),
        cmocka_unit_test(hands_its_text_over),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(any_bytes_make_a_json_string_that_reads_back),
        cmocka_unit_test(a_json_string_that_does_not_fit_leaves_nothing),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
