/*
 * test_result.c -- whatever a tool answers becomes text that can be stored: UTF-8
 * without NUL, bounded, without secrets, and honest about what was changed.
 */
#include "tests/unit/cm.h"

#include "common/text.h"
#include "executor/result.h"

#include <stdlib.h>
#include <time.h>

static struct buf work;

static int setup(void **state)
{
    (void)state;
    buf_init(&work, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_release(&work);
    return 0;
}

static const char *text_of(struct result_source source)
{
    size_t length = 0;
    const char *text = result_text(&source, &work, &length);
    assert_true(text_is_utf8(text, length));
    assert_false(text_has_nul(text, length));
    assert_int_equal(strlen(text), length);
    return text;
}

static struct result_source source_of(const char *bytes, size_t max_bytes)
{
    return (struct result_source){
        .bytes = bytes, .count = strlen(bytes), .total_bytes = -1, .max_bytes = max_bytes
    };
}

static void plain_text_is_not_touched(void **state)
{
    (void)state;
    const char *bytes = "{\"invoice\":\"R-1\",\"to\":\"J\xc3\xbcrgen\"}";
    assert_ptr_equal(text_of(source_of(bytes, 256)), bytes);
    assert_string_equal(text_of(source_of("", 256)), "");
}

static void what_exceeds_the_bound_is_left_out_and_said(void **state)
{
    (void)state;
    const char *text = text_of(source_of("abcdefghij", 4));
    assert_string_equal(
        text, "abcd\n[The answer of the tool was cut: 4 of its 10 bytes are shown, 6 were left "
              "out.]");
}

static void the_cut_is_between_characters(void **state)
{
    (void)state;
    assert_true(
        strncmp(text_of(source_of("ab\xe2\x82\xac\xe2\x82\xac", 6)), "ab\xe2\x82\xac\n[", 7) == 0);
    /* The client stopped reading in the middle of a character: no bad byte. */
    struct result_source source = source_of("ab\xe2\x82", 100);
    source.more = true;
    const char *text = text_of(source);
    assert_true(strncmp(text, "ab\n[", 4) == 0);
    assert_null(strstr(text, "replaced"));
}

static void what_was_not_read_is_said(void **state)
{
    (void)state;
    struct result_source source = source_of("abcdefgh", 4);
    source.more = true;
    assert_contains(text_of(source), "its first 4 bytes are shown, what followed was not read");
    source.total_bytes = 1000000000;
    assert_contains(text_of(source),
                    "4 of its 1000000000 bytes are shown, 999999996 were left out");
    source.total_bytes = 2; /* the tool lied */
    assert_contains(text_of(source), "its first 4 bytes are shown");
}

static void bytes_that_are_no_text_are_replaced(void **state)
{
    (void)state;
    struct result_source source = {
        .bytes = "a\xff\0b\xc3", .count = 5, .total_bytes = -1, .max_bytes = 100
    };
    assert_string_equal(text_of(source),
                        "a\xef\xbf\xbd\xef\xbf\xbd"
                        "b\xef\xbf\xbd\n"
                        "[3 bytes that are not UTF-8 text were replaced by \xef\xbf\xbd.]");
}

static void a_title_stands_above(void **state)
{
    (void)state;
    struct result_source source = source_of("no such customer", 100);
    source.title = "the tool answered with HTTP status 404";
    assert_string_equal(text_of(source),
                        "the tool answered with HTTP status 404:\nno such customer");
}

static void secrets_are_taken_out(void **state)
{
    (void)state;
    struct arena arena;
    struct error err;
    arena_init(&arena, 64 * 1024);
    struct scrub scrub = { 0 };
    assert_ok(scrub_add(&scrub, &arena, "s3cr3t", &err), &err);
    assert_ok(scrub_add(&scrub, &arena, "s3cr3t-and-longer", &err), &err);
    assert_ok(scrub_add(&scrub, &arena, "a\"b\\c", &err), &err);
    assert_ok(scrub_add(&scrub, &arena, "xy", &err), &err); /* too short to be looked for */
    struct result_source source =
        source_of("k=s3cr3t; k=s3cr3t-and-longer; raw a\"b\\c json a\\\"b\\\\c xy", 200);
    source.scrub = &scrub;
    assert_string_equal(text_of(source), "k=[secret]; k=[secret]; raw [secret] json [secret] xy");

    /* One that straddles the bound, and one that the client cut in two. */
    source = source_of("0123456789s3cr3t", 12);
    source.scrub = &scrub;
    assert_null(strstr(text_of(source), "s3"));
    source = source_of("s3cr3t s3cr3t s3c", 17);
    source.scrub = &scrub;
    source.more = true;
    assert_null(strstr(text_of(source), "s3c"));
    assert_int_equal(result_read_bytes(12, &scrub), 12 + strlen("s3cr3t-and-longer"));
    arena_free(&arena);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Megabytes are copied in stretches, not character by character: whoever makes a tool
 * must not be able to hold the loop.  Measured against one look at the same bytes. */
static void a_large_result_holds_nobody_up(void **state)
{
    (void)state;
    enum { BYTES = 16 << 20, LOOKS = 8 };
    char *bytes = malloc(BYTES + 1);
    assert_non_null(bytes);
    memset(bytes, 'y', BYTES);
    bytes[BYTES] = '\0';
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        size_t length;
        struct result_source source = source_of(bytes, BYTES - 1);
        double begin = cpu_seconds();
        assert_true(text_is_utf8(bytes, BYTES));
        double look = cpu_seconds() - begin;
        begin = cpu_seconds();
        (void)result_text(&source, &work, &length);
        double ratio = (cpu_seconds() - begin) / look;
        best = ratio < best ? ratio : best;
        assert_true(length > BYTES - 1);
    }
    free(bytes);
    if (best > LOOKS)
        fail_msg("copying takes as long as %.1f looks", best);
}

static void nothing_ever_exceeds_the_bound(void **state)
{
    (void)state;
    char bytes[64];
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        size_t count = (size_t)rand_r(&seed) % sizeof bytes;
        for (size_t i = 0; i < count; i++)
            bytes[i] = (char)(rand_r(&seed) % (round % 2 ? 256 : 4));
        bytes[count] = '\0';
        struct result_source source = { .bytes = bytes,
                                        .count = count,
                                        .total_bytes = -1,
                                        .max_bytes = (size_t)rand_r(&seed) % 40,
                                        .more = round % 3 == 0 };
        size_t length = 0;
        const char *text = result_text(&source, &work, &length);
        assert_true(length <= source.max_bytes + RESULT_NOTES_BYTES);
        assert_true(text_is_utf8(text, length) && !text_has_nul(text, length));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_is_not_touched),
        cmocka_unit_test(what_exceeds_the_bound_is_left_out_and_said),
        cmocka_unit_test(the_cut_is_between_characters),
        cmocka_unit_test(what_was_not_read_is_said),
        cmocka_unit_test(bytes_that_are_no_text_are_replaced),
        cmocka_unit_test(a_title_stands_above),
        cmocka_unit_test(secrets_are_taken_out),
        cmocka_unit_test(a_large_result_holds_nobody_up),
        cmocka_unit_test(nothing_ever_exceeds_the_bound),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
