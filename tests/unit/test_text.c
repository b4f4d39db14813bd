#include "common/text.h"
#include "tests/unit/cm.h"

/* Writes a code point without any check: surrogates and overlong forms too. */
static size_t encode(uint32_t c, size_t length, char out[4])
{
    static const unsigned char lead[] = { 0, 0x00, 0xc0, 0xe0, 0xf0 };
    for (size_t i = length; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[length] | c);
    return length;
}

static size_t shortest(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

static void every_code_point_is_read_back(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        char bytes[4];
        size_t length = encode(c, shortest(c), bytes);
        uint32_t back = 0;
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        size_t got = text_utf8_next(bytes, length, &back);
        if (got != (surrogate ? 0 : length) || (!surrogate && back != c))
            fail_msg("U+%04X: length %zu, read %zu as U+%04X", c, length, got, back);
        if (text_is_utf8(bytes, length) == surrogate)
            fail_msg("U+%04X is judged wrongly", c);
    }
}

static void overlong_and_too_large_forms_are_refused(void **state)
{
    (void)state;
    char bytes[4];
    uint32_t back;
    for (uint32_t c = 0; c < 0x10000; c++)
        for (size_t length = shortest(c) + 1; length <= 4; length++)
            if (text_utf8_next(bytes, encode(c, length, bytes), &back) != 0)
                fail_msg("U+%04X in %zu bytes was accepted", c, length);
    for (uint32_t c = 0x110000; c < 0x200000; c += 0x3ff)
        assert_int_equal(text_utf8_next(bytes, encode(c, 4, bytes), &back), 0);
}

static void broken_sequences_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "\x80",         "\xbf",         "\xc3",         "\xc3(",        "\xe2\x82",
        "\xe2\x28\xa1", "\xe2\x82\x28", "\xf0\x9f\x92", "\xf0\x28\x8c", "\xff",
        "\xfe",         "a\xc3",        "\xf8\x88\x80", "\xc0\x80",     "\xed\xa0\x80",
        "ok\xe2\x82",   "\xf4\x90\x80", "\xc3\xa9\xa9",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (text_is_utf8(cases[i], strlen(cases[i])))
            fail_msg("case %zu was accepted", i);
    assert_true(text_is_utf8("", 0));
    assert_true(text_is_utf8("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", 11));
    assert_true(text_is_utf8("a\0b", 3));
    uint32_t c;
    assert_int_equal(text_utf8_next("x", 0, &c), 0);
}

static void finds_nul(void **state)
{
    (void)state;
    assert_true(text_has_nul("a\0b", 3));
    assert_false(text_has_nul("ab", 2));
    assert_false(text_has_nul(NULL, 0));
}

static void money_is_read_exactly(void **state)
{
    static const struct {
        const char *text;
        int64_t micros;
    } amounts[] = {
        { "0", 0 },         { "2", 2000000 },  { "2.5", 2500000 },
        { "0.29", 290000 }, { "0.000001", 1 }, { "1000000000", TEXT_MONEY_MAX_MICROS }
    };
    static const char *const wrong[] = {
        "", ".5", "1.", "-1", "1.0000001", "1000000000.000001", "1e3", "1,5", " 1", "12345678901"
    };
    struct error err;
    int64_t micros;
    (void)state;
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        assert_ok(text_parse_money(amounts[i].text, &micros, &err), &err);
        assert_int_equal(micros, amounts[i].micros);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(text_parse_money(wrong[i], &micros, &err), REFUSED);
}

static void durations_and_sizes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } durations[] = {
        { "500ms", 500 },  { "30s", 30000 },    { "10m", 600000 },
        { "1h", 3600000 }, { "7d", 604800000 }, { "0", 0 },
        { "0s", 0 },       { "007s", 7000 },    { "36500d", INT64_C(3153600000000) },
    };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        int64_t ms = -1;
        struct error err;
        assert_ok(text_parse_duration(durations[i].text, &ms, &err), &err);
        assert_int_equal(ms, durations[i].ms);
    }
    static const struct {
        const char *text;
        size_t bytes;
    } sizes[] = {
        { "1000", 1000 },    { "64KiB", 65536 },
        { "1MiB", 1048576 }, { "2GiB", (size_t)2 << 30 },
        { "0", 0 },          { "4611686018427387904", (size_t)1 << 62 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t bytes = 1;
        struct error err;
        assert_ok(text_parse_size(sizes[i].text, &bytes, &err), &err);
        assert_int_equal(bytes, sizes[i].bytes);
    }
}

static void what_is_no_duration_or_size_is_refused(void **state)
{
    (void)state;
    static const char *const durations[] = {
        "",
        "s",
        "5",
        "5 s",
        " 5s",
        "5s ",
        "-5s",
        "+5s",
        "1.5s",
        "5sec",
        "5S",
        "1h30m",
        "0x5s",
        "36501d",
        "99999999999999999999s",
        "18446744073709551617ms",
        "213503982335d",
    };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        int64_t ms = -7;
        struct error err = { "" };
        if (text_parse_duration(durations[i], &ms, &err) != REFUSED)
            fail_msg("'%s' was accepted", durations[i]);
        assert_int_equal(ms, -7);
        assert_contains(err.text, "30s");
    }
    static const char *const sizes[] = {
        "",
        "KiB",
        "1KB",
        "1K",
        "1kib",
        "1 KiB",
        "-1",
        "1.5MiB",
        "4611686018427387905",
        "17179869185GiB",
        "5000000000GiB",
        "18446744073709551616",
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t bytes = 7;
        struct error err = { "" };
        if (text_parse_size(sizes[i], &bytes, &err) != REFUSED)
            fail_msg("'%s' was accepted", sizes[i]);
        assert_int_equal(bytes, 7);
        assert_contains(err.text, "64KiB");
    }
}

static void quantities_are_written_shortest(void **state)
{
    (void)state;
    char out[TEXT_NUMBER_SIZE];
    static const struct {
        int64_t ms;
        const char *text;
    } durations[] = {
        { 0, "0ms" },     { 1, "1ms" },      { 1500, "1500ms" },
        { 90000, "90s" }, { 3600000, "1h" }, { 86400000, "1d" },
    };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        int64_t back = -1;
        text_format_duration(durations[i].ms, out);
        assert_string_equal(out, durations[i].text);
        assert_int_equal(text_parse_duration(out, &back, NULL), OK);
        assert_int_equal(back, durations[i].ms);
    }
    static const struct {
        size_t bytes;
        const char *text;
    } sizes[] = { { 0, "0" }, { 1000, "1000" }, { 65536, "64KiB" }, { (size_t)3 << 30, "3GiB" } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t back = 1;
        text_format_size(sizes[i].bytes, out);
        assert_string_equal(out, sizes[i].text);
        assert_int_equal(text_parse_size(out, &back, NULL), OK);
        assert_int_equal(back, sizes[i].bytes);
    }
}

static void foreign_text_is_made_visible(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "plain", "plain" },
        { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
        { "two\nlines\tand\r", "two\\nlines\\tand\\r" },
        { "\x1b[31mred", "\\x1b[31mred" },
        { "\x7f", "\\x7f" },
        { "\xc2\x9b"
          "31m",
          "\\u{009b}31m" }, /* C1: one-byte CSI  */
        /* NOLINTNEXTLINE(misc-misleading-bidirectional): that is the point */
        { "a\xe2\x80\xae"
          "b",
          "a\\u{202e}b" }, /* right to left     */
        { "bad\xff\xc3", "bad\\xff\\xc3" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        assert_ptr_equal(text_bounded(out, sizeof out, cases[i].in, strlen(cases[i].in)), out);
        assert_string_equal(out, cases[i].out);
    }
    char out[16];
    assert_string_equal(text_bounded(out, sizeof out, "a\0b", 3), "a\\x00b");
}

static void foreign_text_is_cut_between_characters(void **state)
{
    (void)state;
    /* ü is two bytes, the smiley four, the line break becomes two. */
    static const char text[] = "ab\xc3\xbc\xf0\x9f\x98\x80\ncdefgh\x1bijkl";
    char whole[64];
    text_bounded(whole, sizeof whole, text, sizeof text - 1);
    for (size_t size = 4; size <= sizeof whole; size++) {
        char out[sizeof whole + 1];
        memset(out, '#', sizeof out);
        text_bounded(out, size, text, sizeof text - 1);
        size_t length = strlen(out);
        assert_true(length < size);
        assert_int_equal(out[size], '#');
        assert_true(text_is_utf8(out, length));
        if (size > strlen(whole)) {
            assert_string_equal(out, whole);
        } else {
            assert_string_equal(out + length - 3, "...");
            assert_memory_equal(out, whole, length - 3);
            assert_true(length == 3 || out[length - 4] != '\\'); /* no half escape */
        }
    }
    char out[8];
    assert_string_equal(text_bounded(out, sizeof out, "1234567", 7), "1234567");
    assert_string_equal(text_bounded(out, sizeof out, "12345678", 8), "1234...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_read_back),
        cmocka_unit_test(overlong_and_too_large_forms_are_refused),
        cmocka_unit_test(broken_sequences_are_refused),
        cmocka_unit_test(finds_nul),
        cmocka_unit_test(money_is_read_exactly),
        cmocka_unit_test(durations_and_sizes_are_read),
        cmocka_unit_test(what_is_no_duration_or_size_is_refused),
        cmocka_unit_test(quantities_are_written_shortest),
        cmocka_unit_test(foreign_text_is_made_visible),
        cmocka_unit_test(foreign_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
