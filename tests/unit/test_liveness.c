/*
 * test_liveness.c -- the rules of death against a scripted clock: pauses, jumps,
 * reconnects and restarts declare nobody dead who is alive.
 */
#include "tests/unit/cm.h"

#include "common/liveness.h"

enum { BEAT = 500, DEAD = 10000, FREE = 400, GAP = 3000, PEER = 2, OTHER = 3 };

/* An observer with its own clock, and two peers. */
struct scene {
    struct liveness l;
    int64_t now_ms;
    int64_t beat, other_beat;
    bool lock_free;
    int verdicts;
    struct liveness_verdict last;
};

static void scene_open(struct scene *s)
{
    *s = (struct scene){ .now_ms = 1000000, .beat = 5, .other_beat = 9 };
    liveness_init(&s->l, DEAD, FREE, GAP);
}

/* One look that takes `took_ms`, half a second after the last one. */
static void look(struct scene *s, int64_t took_ms)
{
    struct liveness_verdict out[LIVENESS_VERDICTS_MAX];
    int64_t sent_ms = s->now_ms;
    s->now_ms += took_ms;
    liveness_begin(&s->l, sent_ms, s->now_ms);
    liveness_see(&s->l, PEER, s->beat, s->lock_free);
    liveness_see(&s->l, OTHER, ++s->other_beat, false);
    size_t n = liveness_end(&s->l, out);
    if (n > 0)
        s->last = out[0];
    s->verdicts += (int)n;
    s->now_ms += BEAT - took_ms;
}

static int looks_until_verdict(struct scene *s, int at_most)
{
    for (int i = 1; i <= at_most; i++) {
        look(s, 1);
        if (s->verdicts > 0)
            return i;
    }
    return 0;
}

static void test_silence_is_death_after_ten_seconds(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    int looks = looks_until_verdict(&s, 100);
    assert_true(looks >= DEAD / BEAT + 1 && looks <= DEAD / BEAT + 2);
    assert_int_equal(s.last.worker, PEER);
    assert_int_equal(s.last.beat, 5);
    assert_true(s.last.silence_ms >= DEAD);
    assert_false(s.last.by_lock);
    liveness_release(&s.l);
}

static void test_who_beats_lives(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    for (int i = 0; i < 200; i++) {
        s.beat += i % 15 == 0; /* slowly: every 7.5 s */
        look(&s, 1);
    }
    assert_int_equal(s.verdicts, 0);
    liveness_release(&s.l);
}

static void test_free_lock_at_two_looks_is_death(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    look(&s, 1);
    s.lock_free = true;
    look(&s, 1);
    assert_int_equal(s.verdicts, 0);
    look(&s, 1);
    assert_int_equal(s.verdicts, 1);
    assert_true(s.last.by_lock);
    liveness_release(&s.l);
}

/* The connection with the lock broke, the beat goes on over the next one. */
static void test_free_lock_of_one_who_beats(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    s.lock_free = true;
    for (int i = 0; i < 100; i++) {
        s.beat++;
        look(&s, 1);
    }
    assert_int_equal(s.verdicts, 0);
    for (int i = 0; i < 20; i++) { /* held, free, held, free */
        s.lock_free = i % 2 == 1;
        look(&s, 1);
    }
    assert_int_equal(s.verdicts, 0);
    liveness_release(&s.l);
}

static void test_who_is_not_listed_any_more_is_lost_once(void **state)
{
    struct scene s;
    struct liveness_verdict out[LIVENESS_VERDICTS_MAX];
    (void)state;
    scene_open(&s);
    look(&s, 1);
    look(&s, 1);
    assert_int_equal(s.l.lost, 0);
    for (int i = 0; i < 2; i++) {
        liveness_begin(&s.l, s.now_ms, s.now_ms);
        liveness_see(&s.l, OTHER, ++s.other_beat, false);
        assert_int_equal(liveness_end(&s.l, out), 0);
        assert_int_equal(s.l.lost, i == 0);
        s.now_ms += BEAT;
    }
    liveness_reset(&s.l); /* on a new connection nobody is known, so nobody is missed */
    look(&s, 1);
    assert_int_equal(s.l.lost, 0);
    liveness_release(&s.l);
}

/* Two looks that follow at once do not make half a second. */
static void test_two_quick_looks(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    s.lock_free = true;
    for (int i = 0; i < 4; i++) {
        s.now_ms -= BEAT - 10;
        look(&s, 1);
    }
    assert_int_equal(s.verdicts, 0);
    liveness_release(&s.l);
}

/* The observer slept, or the whole machine: no time of silence has passed. */
static void test_pause_of_the_observer(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    for (int i = 0; i < 15; i++)
        look(&s, 1);
    s.now_ms += 3600 * 1000;
    look(&s, 1);
    assert_int_equal(s.verdicts, 0);
    int looks = looks_until_verdict(&s, 100);
    assert_true(looks >= DEAD / BEAT);
    liveness_release(&s.l);
}

/* A statement that hangs: the time between sending and answer proves nothing. */
static void test_slow_answers(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    look(&s, 1);
    struct liveness_verdict out[LIVENESS_VERDICTS_MAX];
    liveness_begin(&s.l, s.now_ms, s.now_ms + 60000);
    liveness_see(&s.l, PEER, s.beat, true);
    assert_int_equal(liveness_end(&s.l, out), 0);
    liveness_release(&s.l);
}

/* Postgres restarts: all locks are free and all beats stand still for a while. */
static void test_restart_of_postgres(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    for (int i = 0; i < 10; i++) {
        s.beat++;
        look(&s, 1);
    }
    s.now_ms += 9000; /* away */
    liveness_reset(&s.l);
    s.lock_free = false; /* by SQL: it was not taken on this server */
    for (int i = 0; i < 15; i++)
        look(&s, 1); /* the peer needs 7 s to come back */
    s.beat++;
    look(&s, 1);
    assert_int_equal(s.verdicts, 0);
    liveness_release(&s.l);
}

static void test_reconnects_start_from_zero(void **state)
{
    struct scene s;
    (void)state;
    scene_open(&s);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 15; i++)
            look(&s, 1);
        liveness_reset(&s.l);
    }
    assert_int_equal(s.verdicts, 0);
    s.lock_free = true;
    for (int round = 0; round < 10; round++) {
        look(&s, 1);
        liveness_reset(&s.l);
    }
    assert_int_equal(s.verdicts, 0);
    liveness_release(&s.l);
}

/* Who was not seen at a look is forgotten, and is new when seen again. */
static void test_peers_come_and_go(void **state)
{
    struct liveness l;
    struct liveness_verdict out[LIVENESS_VERDICTS_MAX];
    (void)state;
    liveness_init(&l, DEAD, FREE, GAP);
    for (int64_t now_ms = 0; now_ms < 60000; now_ms += BEAT) {
        liveness_begin(&l, now_ms, now_ms);
        for (int64_t worker = 0; worker < 20; worker++)
            if (worker != now_ms / BEAT % 20) /* each is missing every ten seconds */
                liveness_see(&l, worker, 1, false);
        assert_int_equal(liveness_end(&l, out), 0);
        assert_int_equal(l.count, 19);
    }
    liveness_release(&l);
}

static void test_verdicts_are_few_at_a_time(void **state)
{
    struct liveness l;
    struct liveness_verdict out[LIVENESS_VERDICTS_MAX];
    (void)state;
    liveness_init(&l, DEAD, FREE, GAP);
    size_t n = 0;
    for (int64_t now_ms = 0; now_ms <= 11000; now_ms += BEAT) {
        liveness_begin(&l, now_ms, now_ms);
        for (int64_t worker = 0; worker < 100; worker++)
            liveness_see(&l, worker, 1, false);
        n = liveness_end(&l, out);
    }
    assert_int_equal(n, LIVENESS_VERDICTS_MAX);
    liveness_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence_is_death_after_ten_seconds),
        cmocka_unit_test(test_who_beats_lives),
        cmocka_unit_test(test_free_lock_at_two_looks_is_death),
        cmocka_unit_test(test_free_lock_of_one_who_beats),
        cmocka_unit_test(test_who_is_not_listed_any_more_is_lost_once),
        cmocka_unit_test(test_two_quick_looks),
        cmocka_unit_test(test_pause_of_the_observer),
        cmocka_unit_test(test_slow_answers),
        cmocka_unit_test(test_restart_of_postgres),
        cmocka_unit_test(test_reconnects_start_from_zero),
        cmocka_unit_test(test_peers_come_and_go),
        cmocka_unit_test(test_verdicts_are_few_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
