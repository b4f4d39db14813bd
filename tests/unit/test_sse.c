/*
 * test_sse.c -- the rules of the event stream, each in every possible cut.
 *
 * A case is a stream and the events it holds, written down as
 * "type|data|last_id;". check() feeds the stream whole, byte by byte, cut in two
 * at every place, and in random pieces: the events must always be the same.
 */
#include "common/sse.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

enum { LIMIT = 1024 };

static struct buf seen;

static enum outcome note(void *arg, const struct sse_event *ev, struct error *err)
{
    (void)err;
    int *left = arg;
    assert_int_equal(ev->data[ev->data_bytes], '\0');
    buf_printf(&seen, "%s|", ev->type);
    buf_add(&seen, ev->data, ev->data_bytes);
    buf_printf(&seen, "|%s;", ev->last_id);
    return left && --*left == 0 ? STALE : OK;
}

/* Feeds exact copies, so that ASan sees any look beyond a piece. */
static enum outcome feed(struct sse *s, const char *bytes, size_t n)
{
    struct error err;
    char *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    enum outcome outcome = sse_feed(s, copy, n, &err);
    free(copy);
    return outcome;
}

static void compare(const char *how, size_t at, const char *expected, size_t expected_bytes)
{
    if (seen.len != expected_bytes || memcmp(seen.data, expected, expected_bytes) != 0)
        fail_msg("cut %s at %zu: got \"%s\", not \"%s\"", how, at, seen.data, expected);
    buf_reset(&seen);
}

static void check_bytes(const char *stream, size_t n, const char *expected, size_t expected_bytes)
{
    struct sse s;
    buf_init(&seen, 1 << 20);
    for (size_t cut = 0; cut <= n; cut++) {
        sse_init(&s, LIMIT, note, NULL);
        assert_int_equal(feed(&s, stream, cut), OK);
        assert_int_equal(feed(&s, stream + cut, n - cut), OK);
        compare("in two", cut, expected, expected_bytes);
        sse_release(&s);
    }
    for (unsigned seed = 1; seed < 50; seed++) {
        srand(seed);
        sse_init(&s, LIMIT, note, NULL);
        for (size_t at = 0, piece; at < n; at += piece) {
            piece = seed == 1 ? 1 : (size_t)rand() % 5;
            if (piece > n - at)
                piece = n - at;
            assert_int_equal(feed(&s, stream + at, piece), OK);
        }
        compare("in pieces of seed", seed, expected, expected_bytes);
        sse_release(&s);
    }
    buf_release(&seen);
}

#define check(stream, expected) \
    check_bytes((stream), sizeof(stream) - 1, (expected), sizeof(expected) - 1)

static void lines_end_in_lf_cr_or_both(void **state)
{
    (void)state;
    check("data: a\n\ndata: b\n\n", "message|a|;message|b|;");
    check("data: a\r\rdata: b\r\r", "message|a|;message|b|;");
    check("data: a\r\n\r\ndata: b\r\n\r\n", "message|a|;message|b|;");
    check("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", "message|a|;message|b|;message|c|;");
    check("\n\n\r\r\n\n", "");
}

static void fields_follow_the_standard(void **state)
{
    (void)state;
    check("event: add\ndata: 1\n\n", "add|1|;");
    check("data:1\ndata: 2\ndata:  3\n\n", "message|1\n2\n 3|;");
    check("data\n\n", "message||;");
    check("data\ndata\n\n", "message|\n|;");
    check("data:\n\n", "message||;");
    check("data:x", "");                                /* cut off: no event */
    check("data:x\n", "");                              /* without its empty line: no event */
    check("event: lost\n\ndata: 1\n\n", "message|1|;"); /* a type without data is forgotten */
    check("event: a\nevent: b\ndata: 1\n\n", "b|1|;");
    check("event\ndata: 1\n\n", "message|1|;");
    check("data : x\n\n", ""); /* the name holds a space: unknown */
    check("Data: x\n DATA: y\nfoo: z\nfoo\n\n", "");
    check("data: a:b: c\n\n", "message|a:b: c|;");
    check("event: \xc3\xa4\ndata: \xe2\x82\xac\xf0\x9f\x98\x80\n\n",
          "\xc3\xa4|\xe2\x82\xac\xf0\x9f\x98\x80|;");
    check("data: \xff\xfe\n\n", "message|\xff\xfe|;"); /* handed on for the reader to refuse */
    check("data: a\0b\n\n", "message|a\0b|;");
}

static void comments_are_ignored(void **state)
{
    (void)state;
    check(": hello\n\n:\n\ndata: 1\n: between\ndata: 2\n\n", "message|1\n2|;");
    check(":data: 1\n\n", "");
}

static void ids_stay_until_the_next(void **state)
{
    (void)state;
    check("id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "message|a|7;message|b|7;message|c|;");
    check("id: 1\n\nid: 2\ndata: a\n\n", "message|a|2;"); /* counts without an event too */
    check("id: 1\ndata: a\n\nid: x\0y\ndata: b\n\n", "message|a|1;message|b|1;");
}

static void one_byte_order_mark_is_skipped(void **state)
{
    (void)state;
    check("\xef\xbb\xbf"
          "data: a\n\n",
          "message|a|;");
    check("\xef\xbb\xbf\xef\xbb\xbf"
          "data: a\n\ndata: b\n\n",
          "message|b|;");
    check("\xef\xbb"
          "data: a\n\ndata: b\n\n",
          "message|b|;");
    check("\n\xef\xbb\xbf"
          "data: a\n\n",
          "");
    check("\xef", "");
}

static int64_t retry_of(const char *stream)
{
    struct sse s;
    buf_init(&seen, 1024);
    sse_init(&s, LIMIT, note, NULL);
    assert_int_equal(feed(&s, stream, strlen(stream)), OK);
    int64_t retry_ms = s.retry_ms;
    sse_release(&s);
    buf_release(&seen);
    return retry_ms;
}

static void retry_takes_digits_only(void **state)
{
    (void)state;
    assert_int_equal(retry_of("data: x\n"), -1);
    assert_int_equal(retry_of("retry: 1500\n"), 1500);
    assert_int_equal(retry_of("retry: 10\nretry: 1s\nretry: -1\nretry:\nretry\n"), 10);
    assert_int_equal(retry_of("retry: 99999999999999999999999999\n"), 86400000);
}

static void the_boundary_is_known(void **state)
{
    (void)state;
    struct sse s;
    buf_init(&seen, 1024);
    sse_init(&s, LIMIT, note, NULL);
    assert_true(sse_at_boundary(&s));
    assert_int_equal(feed(&s, "\xef", 1), OK);
    assert_false(sse_at_boundary(&s));
    assert_int_equal(feed(&s, "\xbb\xbf", 2), OK);
    assert_true(sse_at_boundary(&s));
    assert_int_equal(feed(&s, "d", 1), OK);
    assert_false(sse_at_boundary(&s));
    assert_int_equal(feed(&s, "ata: x\n", 7), OK);
    assert_false(sse_at_boundary(&s));
    assert_int_equal(feed(&s, "\n", 1), OK);
    assert_true(sse_at_boundary(&s));
    sse_release(&s);
    buf_release(&seen);
}

static void what_is_too_large_is_refused_in_bounded_memory(void **state)
{
    (void)state;
    static const char *const prefixes[] = { "data: ", "event: ", "id: ", ": ", "junk", "" };
    static const char *const endless[] = { "data: 0123456789\n", "data\n", "x" };
    char kib[1024];
    memset(kib, 'x', sizeof kib);
    buf_init(&seen, 1 << 16);
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct sse s;
        enum outcome outcome = OK;
        sse_init(&s, LIMIT, note, NULL);
        assert_int_equal(feed(&s, prefixes[i], strlen(prefixes[i])), OK);
        for (int rounds = 0; outcome == OK && rounds < 100; rounds++)
            outcome = feed(&s, kib, 100);
        assert_int_equal(outcome, REFUSED);
        assert_true(s.line.cap <= LIMIT + 1);
        assert_int_equal(feed(&s, "\n\n", 2), REFUSED); /* for good */
        sse_release(&s);
    }
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        struct sse s;
        enum outcome outcome = OK;
        sse_init(&s, LIMIT, note, NULL);
        for (int rounds = 0; outcome == OK && rounds < 10000; rounds++)
            outcome = feed(&s, endless[i], strlen(endless[i]));
        assert_int_equal(outcome, REFUSED);
        assert_true(s.data.cap <= LIMIT + 2);
        sse_release(&s);
    }
    assert_int_equal(seen.len, 0);
    buf_release(&seen);
}

static void an_event_of_exactly_the_limit_fits(void **state)
{
    (void)state;
    char stream[LIMIT + 8];
    struct error err;
    for (size_t extra = 0; extra < 2; extra++) {
        struct sse s;
        size_t line = LIMIT + extra;
        memcpy(stream, "data:", 5);
        memset(stream + 5, 'x', line - 5);
        memcpy(stream + line, "\n\n", 2);
        buf_init(&seen, 1 << 16);
        sse_init(&s, LIMIT, note, NULL);
        assert_int_equal(sse_feed(&s, stream, line + 2, &err), extra ? REFUSED : OK);
        assert_int_equal(seen.len, extra ? 0 : LIMIT - 5 + strlen("message||;"));
        if (extra)
            assert_non_null(strstr(err.text, "larger than 1024 bytes"));
        sse_release(&s);
        buf_release(&seen);
    }
}

static void many_comments_do_not_add_up(void **state)
{
    (void)state;
    struct sse s;
    buf_init(&seen, 1024);
    sse_init(&s, LIMIT, note, NULL);
    assert_int_equal(feed(&s, "data: a\n", 8), OK);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(feed(&s, ": still there\n", 14), OK);
    assert_int_equal(feed(&s, "\n", 1), OK);
    assert_string_equal(seen.data, "message|a|;");
    sse_release(&s);
    buf_release(&seen);
}

static void the_callback_can_stop_the_stream(void **state)
{
    (void)state;
    struct sse s;
    int left = 2;
    const char *stream = "data: 1\n\ndata: 2\n\ndata: 3\n\n";
    buf_init(&seen, 1024);
    sse_init(&s, LIMIT, note, &left);
    assert_int_equal(feed(&s, stream, strlen(stream)), STALE);
    assert_string_equal(seen.data, "message|1|;message|2|;");
    assert_int_equal(feed(&s, stream, strlen(stream)), STALE);
    assert_string_equal(seen.data, "message|1|;message|2|;");
    sse_release(&s);
    buf_release(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_in_lf_cr_or_both),
        cmocka_unit_test(fields_follow_the_standard),
        cmocka_unit_test(comments_are_ignored),
        cmocka_unit_test(ids_stay_until_the_next),
        cmocka_unit_test(one_byte_order_mark_is_skipped),
        cmocka_unit_test(retry_takes_digits_only),
        cmocka_unit_test(the_boundary_is_known),
        cmocka_unit_test(what_is_too_large_is_refused_in_bounded_memory),
        cmocka_unit_test(an_event_of_exactly_the_limit_fits),
        cmocka_unit_test(many_comments_do_not_add_up),
        cmocka_unit_test(the_callback_can_stop_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
