/*
 * test_loop.c -- timers, deferred tasks, wakes and signals on a real loop; its
 * descriptors have test_loop_watch.c.
 */
#include "tests/unit/cm.h"
#include "tests/unit/one_loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- timers -------------------------------------------------------------- */

struct shot {
    struct loop_timer timer;
    int64_t due_ms;      /* at the earliest: by the clock before it was started */
    int64_t due_last_ms; /* at the latest: by the clock after it */
    int64_t early_ms;
    int fired;
};

static int shots_fired;

static void on_shot(void *arg)
{
    struct shot *s = arg;
    int64_t missing = s->due_ms - clock_mono_ms();
    if (missing > s->early_ms)
        s->early_ms = missing;
    s->fired = ++shots_fired;
}

static void shoot(struct shot *s, int64_t delay_ms)
{
    s->due_ms = clock_mono_ms() + delay_ms;
    loop_timer_start(&s->timer, delay_ms);
    s->due_last_ms = clock_mono_ms() + delay_ms;
}

static void timers_fire_in_order_and_never_early(void **state)
{
    (void)state;
    struct shot shots[50] = { 0 };
    shots_fired = 0;
    for (int i = 0; i < 50; i++) {
        loop_timer_init(&loop, &shots[i].timer, on_shot, &shots[i]);
        shoot(&shots[i], 60 - i);
        assert_true(loop_timer_active(&shots[i].timer));
    }
    turn_until(shots_fired == 50);
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 50; k++) /* a pause between two starts may make them due together */
            if (shots[i].due_last_ms < shots[k].due_ms)
                assert_true(shots[i].fired < shots[k].fired);
        assert_true(shots[i].early_ms <= 0);
        assert_false(loop_timer_active(&shots[i].timer));
        loop_timer_close(&shots[i].timer);
        loop_timer_close(&shots[i].timer); /* twice is harmless */
    }
}

static struct shot after_long_turn;

static void on_long_turn(void *arg)
{
    (void)arg;
    sleep_ms(60); /* a callback that takes long, then asks for 30 ms */
    shoot(&after_long_turn, 30);
}

static void a_long_turn_does_not_make_timers_early(void **state)
{
    (void)state;
    after_long_turn = (struct shot){ 0 };
    shots_fired = 0;
    loop_timer_init(&loop, &after_long_turn.timer, on_shot, &after_long_turn);
    struct loop_task task = { 0 };
    loop_defer(&loop, &task, on_long_turn, NULL);
    turn_until(shots_fired == 1);
    assert_true(after_long_turn.early_ms <= 0);
    loop_timer_close(&after_long_turn.timer);
}

static void a_stopped_or_moved_timer_keeps_to_its_last_word(void **state)
{
    (void)state;
    struct shot stopped = { 0 }, moved = { 0 };
    shots_fired = 0;
    loop_timer_init(&loop, &stopped.timer, on_shot, &stopped);
    loop_timer_init(&loop, &moved.timer, on_shot, &moved);
    shoot(&stopped, 1);
    shoot(&moved, 1);
    loop_timer_stop(&stopped.timer);
    shoot(&moved, 40);
    turn_until(moved.fired);
    assert_int_equal(stopped.fired, 0);
    assert_true(moved.early_ms <= 0);
    loop_timer_close(&stopped.timer);
    loop_timer_close(&moved.timer);
}

struct mortal {
    struct loop_timer timer;
    struct loop_task task;
    int *deaths;
};

static void die(void *arg)
{
    struct mortal *m = arg;
    loop_timer_close(&m->timer);
    loop_defer_cancel(&m->task);
    (*m->deaths)++;
    free(m);
}

static void the_struct_around_a_timer_may_be_freed_in_its_callback(void **state)
{
    (void)state;
    int deaths = 0;
    for (int i = 0; i < 1000; i++) {
        struct mortal *m = calloc(1, sizeof *m);
        m->deaths = &deaths;
        loop_timer_init(&loop, &m->timer, die, m);
        loop_timer_start(&m->timer, i % 3);
    }
    turn_until(deaths == 1000);
}

static struct loop_timer ping, pong;
static int pings, watched;

static void slow_and_again(void *arg)
{
    sleep_ms(3);
    pings++;
    loop_timer_start(arg, pings % 2);
}

static void on_watched(void *arg, int events)
{
    (void)arg;
    (void)events;
    watched++;
}

/* Two timers that are always due when the other one ends do not keep the loop
 * from its descriptors.                                                     */
static void busy_timers_do_not_starve_descriptors(void **state)
{
    (void)state;
    struct loop_watch w;
    struct error err;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(loop_watch_start(&loop, &w, fds[1], LOOP_WRITE, on_watched, NULL, &err), OK);
    loop_timer_init(&loop, &ping, slow_and_again, &ping);
    loop_timer_init(&loop, &pong, slow_and_again, &pong);
    loop_timer_start(&ping, 0);
    loop_timer_start(&pong, 0);
    pings = watched = 0;
    turn_until(pings >= 20);
    assert_true(watched >= 5);
    loop_timer_close(&ping);
    loop_timer_close(&pong);
    loop_watch_close(&w);
    close(fds[0]);
    close(fds[1]);
}

/* ---- deferred tasks ------------------------------------------------------ */

static char trace[64];
static char A[] = "a", B[] = "b", C[] = "c", X[] = "x";
static struct loop_task task_a, task_b, task_c;

static void note(void *arg)
{
    strcat(trace, arg);
}

static void note_and_defer_more(void *arg)
{
    strcat(trace, arg);
    loop_defer(&loop, &task_b, note, B);
    loop_defer(&loop, &task_c, note, C);
    loop_defer(&loop, &task_b, note, X); /* is queued already */
    strcat(trace, "|");
}

static void tasks_run_in_order_and_never_inside_the_caller(void **state)
{
    (void)state;
    trace[0] = '\0';
    loop_defer(&loop, &task_a, note_and_defer_more, A);
    assert_string_equal(trace, "");
    int64_t began = clock_mono_ms();
    turn_until(strcmp(trace, "a|bc") == 0);
    assert_true(clock_mono_ms() - began < 400); /* no wait for the beat in between */
}

static void cancel_c(void *arg)
{
    (void)arg;
    strcat(trace, "a");
    loop_defer_cancel(&task_c);
}

static void a_cancelled_task_does_not_run(void **state)
{
    (void)state;
    trace[0] = '\0';
    loop_defer(&loop, &task_a, cancel_c, NULL);
    loop_defer(&loop, &task_b, note, B);
    loop_defer(&loop, &task_c, note, C); /* in the same round as the one that cancels it */
    turn_until(strcmp(trace, "ab") == 0);
    loop_turn(&loop, 0);
    assert_string_equal(trace, "ab");
    loop_defer_cancel(&task_c);
}

static int again_runs, pipe_reads;

static void again(void *arg)
{
    again_runs++;
    if (pipe_reads == 0)
        loop_defer(&loop, arg, again, arg);
}

static void on_pipe(void *arg, int events)
{
    char c;
    struct loop_watch *w = arg;
    assert_true(events & LOOP_READ);
    if (read(w->fd, &c, 1) == 1)
        pipe_reads++;
}

static void a_task_that_repeats_does_not_starve_descriptors(void **state)
{
    (void)state;
    int fds[2];
    struct error err;
    struct loop_watch w;
    again_runs = pipe_reads = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(loop_watch_start(&loop, &w, fds[0], LOOP_READ, on_pipe, &w, &err), OK);
    loop_defer(&loop, &task_a, again, &task_a);
    turn_until(again_runs > 3);
    assert_int_equal(write(fds[1], "x", 1), 1);
    turn_until(pipe_reads == 1);
    loop_defer_cancel(&task_a);
    loop_watch_close(&w);
    close(fds[0]);
    close(fds[1]);
}

static void the_struct_around_a_task_may_be_freed_in_its_callback(void **state)
{
    (void)state;
    int deaths = 0;
    for (int i = 0; i < 10; i++) {
        struct mortal *m = calloc(1, sizeof *m);
        m->deaths = &deaths;
        loop_defer(&loop, &m->task, die, m);
    }
    turn_until(deaths == 10);
}

/* ---- other threads ------------------------------------------------------- */

static int woken;
static atomic_int produced;
static int consumed;

static void on_wake(void *arg)
{
    (void)arg;
    woken++;
    consumed = atomic_load(&produced);
}

static void *produce(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        atomic_fetch_add(&produced, 1);
        loop_wake_send(arg);
    }
    return NULL;
}

static void a_wake_from_another_thread_is_never_lost(void **state)
{
    (void)state;
    struct error err;
    struct loop_wake w;
    pthread_t thread;
    assert_int_equal(loop_wake_init(&loop, &w, on_wake, NULL, &err), OK);
    assert_int_equal(pthread_create(&thread, NULL, produce, &w), 0);
    turn_until(consumed == 10000);
    assert_true(woken >= 1 && woken <= 10000);
    pthread_join(thread, NULL);
    loop_wake_close(&w);
    loop_turn(&loop, 0);
}

static atomic_bool observed_stuck, observer_ends;

static void block_until_seen(void *arg)
{
    (void)arg;
    int64_t give_up = clock_mono_ms() + PATIENCE_MS;
    while (!atomic_load(&observed_stuck) && clock_mono_ms() < give_up)
        sleep_ms(10);
}

static void *observe(void *arg)
{
    (void)arg;
    while (!atomic_load(&observer_ends)) {
        if (clock_mono_ms() - loop_last_tick_ms(&loop) > 2500)
            atomic_store(&observed_stuck, true);
        sleep_ms(10);
    }
    return NULL;
}

static void a_blocked_loop_is_seen_from_outside_and_an_idle_one_is_not(void **state)
{
    (void)state;
    pthread_t thread;
    struct loop_task task = { 0 };
    atomic_store(&observed_stuck, false);
    atomic_store(&observer_ends, false);
    assert_int_equal(pthread_create(&thread, NULL, observe, NULL), 0);

    int64_t first = loop_last_tick_ms(&loop); /* idle: the beat alone makes it tick */
    turn_until(loop_last_tick_ms(&loop) - first > 2000);
    assert_false(atomic_load(&observed_stuck));

    loop_defer(&loop, &task, block_until_seen, NULL);
    turn_until(atomic_load(&observed_stuck));
    atomic_store(&observer_ends, true);
    pthread_join(thread, NULL);
}

/* ---- signals and the end ------------------------------------------------- */

static int last_signal;

static void on_signal(void *arg, int signum)
{
    last_signal = signum;
    if (arg)
        loop_stop(arg);
}

static void signals_arrive_in_the_loop(void **state)
{
    (void)state;
    struct error err;
    last_signal = 0;
    assert_int_equal(loop_signal(&loop, SIGUSR1, on_signal, NULL, &err), OK);
    assert_int_equal(loop_signal(&loop, SIGTERM, on_signal, &loop, &err), OK);
    assert_int_equal(loop_signal(&loop, SIGKILL, on_signal, NULL, &err), BROKEN);
    assert_non_null(strstr(err.text, "cannot watch signal 9"));
    raise(SIGUSR1);
    assert_int_equal(last_signal, 0);
    turn_until(last_signal == SIGUSR1);
    raise(SIGTERM);
    loop_run(&loop); /* ends because the handler stops it */
    assert_int_equal(last_signal, SIGTERM);
    raise(SIGPIPE); /* is ignored */
}

static void a_turn_waits_no_longer_than_it_may(void **state)
{
    (void)state;
    int64_t began = clock_mono_ms();
    loop_turn(&loop, 0);
    loop_turn(&loop, 30);
    assert_true(clock_mono_ms() - began < 400); /* less than a beat */
    assert_true(loop_now_ms(&loop) >= began);
}

static void never(void *arg)
{
    (void)arg;
    fail_msg("called after the release");
}

static void never_watch(void *arg, int events)
{
    (void)events;
    never(arg);
}

static void releasing_closes_what_is_open_and_calls_nobody(void **state)
{
    (void)state;
    struct error err;
    struct loop other;
    struct loop_timer timer, closed;
    struct loop_watch watch;
    struct loop_wake wake;
    struct loop_task task = { 0 };
    int fds[2];
    assert_int_equal(loop_init(&other, &err), OK);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_timer_init(&other, &timer, never, NULL);
    loop_timer_start(&timer, 0);
    loop_timer_init(&other, &closed, never, NULL);
    loop_timer_close(&closed);
    assert_int_equal(loop_watch_start(&other, &watch, fds[0], LOOP_READ, never_watch, NULL, &err),
                     OK);
    assert_int_equal(loop_wake_init(&other, &wake, never, NULL, &err), OK);
    assert_int_equal(loop_signal(&other, SIGUSR2, on_signal, NULL, &err), OK);
    loop_wake_send(&wake);
    loop_defer(&other, &task, never, NULL);
    loop_release(&other);
    loop_release(&other); /* twice is harmless */
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_and_never_early),
        cmocka_unit_test(a_long_turn_does_not_make_timers_early),
        cmocka_unit_test(a_stopped_or_moved_timer_keeps_to_its_last_word),
        cmocka_unit_test(the_struct_around_a_timer_may_be_freed_in_its_callback),
        cmocka_unit_test(busy_timers_do_not_starve_descriptors),
        cmocka_unit_test(tasks_run_in_order_and_never_inside_the_caller),
        cmocka_unit_test(a_cancelled_task_does_not_run),
        cmocka_unit_test(a_task_that_repeats_does_not_starve_descriptors),
        cmocka_unit_test(the_struct_around_a_task_may_be_freed_in_its_callback),
        cmocka_unit_test(a_wake_from_another_thread_is_never_lost),
        cmocka_unit_test(a_blocked_loop_is_seen_from_outside_and_an_idle_one_is_not),
        cmocka_unit_test(signals_arrive_in_the_loop),
        cmocka_unit_test(a_turn_waits_no_longer_than_it_may),
        cmocka_unit_test(releasing_closes_what_is_open_and_calls_nobody),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
