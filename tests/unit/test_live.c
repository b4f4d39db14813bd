/*
 * test_live.c -- live tokens: what goes out is what was heard, each byte at its place.
 */
#include "tests/unit/cm.h"

#include "common/buf.h"
#include "common/json.h"
#include "common/text.h"
#include "planner/live.h"
#include "tests/unit/one_loop.h"

#include <jansson.h>
#include <stdlib.h>

enum { SENT_MAX = 256 };

static json_t *sent[SENT_MAX];
static size_t sent_count;
static bool queue_full;
static const struct tokens_place place = { { { 1, 2, 3 } }, 2, 3, 4 };

static bool on_send(void *arg, const struct uuid *run, const char *value, size_t n)
{
    (void)arg;
    if (queue_full)
        return false;
    assert_true(uuid_eq(run, &place.run) && sent_count < SENT_MAX);
    assert_true(text_is_utf8(value, n));
    sent[sent_count] = json_loadb(value, n, JSON_ALLOW_NUL, NULL);
    assert_non_null(sent[sent_count++]);
    return true;
}

static const struct live_sink sink = { &loop, on_send, NULL };
static struct live_attempt *attempt;

static int set_up(void **state)
{
    queue_full = false;
    if (open_loop(state) != 0)
        return 1;
    attempt = live_begin(&sink, &place);
    return 0;
}

static int tear_down(void **state)
{
    live_end(attempt, false);
    attempt = NULL;
    for (size_t i = 0; i < sent_count; i++)
        json_decref(sent[i]);
    sent_count = 0;
    return close_loop(state);
}

static void say_bytes(enum reply_item_type type, int index, const char *bytes, size_t n)
{
    struct reader_listener to = live_listener(attempt);
    to.hear(to.arg, type, index, bytes, n);
}

static void say(enum reply_item_type type, int index, const char *text)
{
    say_bytes(type, index, text, strlen(text));
}

static void on_time(void *arg)
{
    *(bool *)arg = true;
}

/* Until whatever was gathered by now had its time: timers fire in their order. */
static void gather(void)
{
    bool over = false;
    struct loop_timer timer;
    loop_timer_init(&loop, &timer, on_time, &over);
    loop_timer_start(&timer, LIVE_GATHER_MS + 10);
    turn_until(over);
    loop_timer_close(&timer);
}

static void end(bool committed)
{
    live_end(attempt, committed);
    attempt = NULL;
}

static void expect_piece(size_t at, const char *kind, int index, int offset, const char *text)
{
    assert_true(at < sent_count);
    assert_int_equal(json_int_or(sent[at], "v", -1), 1);
    assert_int_equal(json_int_or(sent[at], "epoch", -1), 2);
    assert_int_equal(json_int_or(sent[at], "step", -1), 3);
    assert_int_equal(json_int_or(sent[at], "version", -1), 4);
    assert_string_equal(json_str(sent[at], "run"), "01020300-0000-0000-0000-000000000000");
    assert_string_equal(json_str(sent[at], "kind"), kind);
    assert_int_equal(json_int_or(sent[at], "index", -1), index);
    assert_int_equal(json_int_or(sent[at], "offset", -1), offset);
    assert_string_equal(json_str(sent[at], "text"), text);
}

static void expect_end(size_t at, const char *outcome, int bytes)
{
    assert_int_equal(sent_count, at + 1);
    assert_string_equal(json_str(sent[at], "kind"), "end");
    assert_string_equal(json_str(sent[at], "outcome"), outcome);
    assert_int_equal(json_int_or(sent[at], "bytes", -1), bytes);
    assert_int_equal(json_int_or(sent[at], "version", -1), 4);
}

/* ---- gathering --------------------------------------------------------------------- */

static void what_comes_within_the_time_is_one_piece(void **state)
{
    (void)state;
    int64_t before_ms = clock_mono_ms();
    say(REPLY_TEXT, 0, "Hel");
    say(REPLY_TEXT, 0, "lo");
    turn_until(sent_count == 1);
    assert_true(clock_mono_ms() - before_ms >= LIVE_GATHER_MS);
    expect_piece(0, "text", 0, 0, "Hello");
    say(REPLY_TEXT, 0, ", world");
    turn_until(sent_count == 2);
    expect_piece(1, "text", 0, 5, ", world");
    end(true);
    expect_end(2, "committed", 12);
}

static void the_end_does_not_wait(void **state)
{
    (void)state;
    say(REPLY_TEXT, 0, "half");
    end(false);
    expect_piece(0, "text", 0, 0, "half");
    expect_end(1, "dropped", 4);
}

static void an_attempt_that_said_nothing_has_an_end(void **state)
{
    (void)state;
    end(true);
    expect_end(0, "committed", 0);
}

static void each_item_counts_its_own_bytes(void **state)
{
    (void)state;
    say(REPLY_REASONING, 0, "hm");
    say(REPLY_TEXT, 1, "yes");
    say(REPLY_REASONING, 0, "...");
    say(REPLY_TEXT, 1, "!");
    say(REPLY_TEXT, 7, "other");
    end(true);
    expect_piece(0, "reasoning", 0, 0, "hm");
    expect_piece(1, "text", 1, 0, "yes");
    expect_piece(2, "reasoning", 0, 2, "...");
    expect_piece(3, "text", 1, 3, "!");
    expect_piece(4, "text", 7, 0, "other");
    expect_end(5, "committed", 14);
}

/* ---- bounds ------------------------------------------------------------------------ */

/* Puts the pieces of item 0 together; they must follow each other. */
static void assert_whole(const char *text, size_t n)
{
    struct buf whole;
    buf_init(&whole, SIZE_MAX);
    for (size_t i = 0; i < sent_count; i++) {
        size_t piece_n = 0;
        const char *piece = json_strn(sent[i], "text", &piece_n);
        if (!piece)
            continue;
        assert_int_equal(json_int_or(sent[i], "offset", -1), whole.len);
        assert_in_range(piece_n, 1, LIVE_PIECE_BYTES);
        buf_add(&whole, piece, piece_n);
    }
    assert_int_equal(whole.len, n);
    assert_memory_equal(whole.data, text, n);
    buf_release(&whole);
}

static void a_flood_goes_out_in_pieces_between_characters(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_puts(&text, "x"); /* so that no character of three or four bytes ends at the limit */
    while (text.len < (size_t)3 * LIVE_PIECE_BYTES)
        buf_puts(&text, "\xe2\x82\xac\xf0\x9f\x90\x8e");
    say_bytes(REPLY_TEXT, 0, text.data, text.len);
    assert_true(sent_count >= 2); /* at once, not after the time */
    end(true);
    assert_whole(text.data, text.len);
    buf_release(&text);
}

static void a_character_that_comes_in_bytes_goes_out_whole(void **state)
{
    (void)state;
    static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8e";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        say_bytes(REPLY_TEXT, 0, text + i, 1);
        gather();
    }
    assert_int_equal(sent_count, 4);
    expect_piece(1, "text", 0, 1, "\xc3\xa4");
    expect_piece(3, "text", 0, 6, "\xf0\x9f\x90\x8e");
    end(true);
    assert_whole(text, sizeof text - 1);
}

static void what_the_queue_does_not_take_is_a_gap(void **state)
{
    (void)state;
    say(REPLY_TEXT, 0, "one ");
    turn_until(sent_count == 1);
    queue_full = true;
    say(REPLY_TEXT, 0, "two ");
    say(REPLY_REASONING, 1, "?"); /* the turn to another item sends the first */
    queue_full = false;
    say(REPLY_TEXT, 0, "three");
    end(true);
    expect_piece(0, "text", 0, 0, "one ");
    expect_piece(1, "reasoning", 1, 0, "?");
    expect_piece(2, "text", 0, 8, "three");
    expect_end(3, "committed", 14);
}

static void items_beyond_the_limit_are_not_told(void **state)
{
    (void)state;
    queue_full = true;
    for (int i = 0; i < LIVE_ITEMS_MAX; i++)
        say(REPLY_TEXT, i, "x");
    say(REPLY_TEXT, LIVE_ITEMS_MAX, "y");
    say(REPLY_TEXT, 0, "x");
    queue_full = false;
    end(true);
    expect_piece(0, "text", 0, 1, "x");
    expect_end(1, "committed", LIVE_ITEMS_MAX + 1);
}

#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOOP(what_comes_within_the_time_is_one_piece),
        WITH_LOOP(the_end_does_not_wait),
        WITH_LOOP(an_attempt_that_said_nothing_has_an_end),
        WITH_LOOP(each_item_counts_its_own_bytes),
        WITH_LOOP(a_flood_goes_out_in_pieces_between_characters),
        WITH_LOOP(a_character_that_comes_in_bytes_goes_out_whole),
        WITH_LOOP(what_the_queue_does_not_take_is_a_gap),
        WITH_LOOP(items_beyond_the_limit_are_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
