/*
 * test_heartbeat.c -- processes that live, die, stop and block, and what the others
 * see of it.
 *
 * The members are this very program, started as `test_heartbeat member INSTANCE`.
 */
#include "tests/store/world.h"

#include "common/heartbeat.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SILENCE_MS = 4000, TICK_MAX_MS = 1500 };

static struct world world;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

/* ---- one heartbeat, and what it told the loop ------------------------------------ */

struct told {
    int64_t incarnation;
    int catalogs, cancels, deads, gones, refusals, ups, downs;
    struct uuid run;
    int step, index;
    char text[300];
};

static void on_registered(void *arg, int64_t incarnation)
{
    ((struct told *)arg)->incarnation = incarnation;
}

static void on_refused(void *arg, const struct error *err)
{
    struct told *t = arg;
    t->refusals++;
    (void)snprintf(t->text, sizeof t->text, "%s", err->text);
}

static void on_link(void *arg, bool up, const char *text)
{
    struct told *t = arg;
    (void)text;
    *(up ? &t->ups : &t->downs) += 1;
}

static void on_cancel(void *arg, const struct uuid *run, int step, int index)
{
    struct told *t = arg;
    t->cancels++;
    t->run = *run;
    t->step = step;
    t->index = index;
}

static void on_catalog(void *arg)
{
    ((struct told *)arg)->catalogs++;
}

static void on_gone(void *arg)
{
    ((struct told *)arg)->gones++;
}

static void on_dead(void *arg)
{
    ((struct told *)arg)->deads++;
}

static struct heartbeat *beat(struct world *w, struct told *t, const char *instance)
{
    struct error err;
    struct heartbeat *h;
    struct heartbeat_options options = { .dsn = w->planner_dsn,
                                         .instance = instance,
                                         .kind = "planner",
                                         .class = "default",
                                         .program = "test",
                                         .capacity = 10,
                                         .dead_after_ms = SILENCE_MS,
                                         .tick_max_ms = TICK_MAX_MS };
    struct heartbeat_calls calls = { .arg = t,
                                     .on_registered = on_registered,
                                     .on_refused = on_refused,
                                     .on_link = on_link,
                                     .on_cancel = on_cancel,
                                     .on_gone = on_gone,
                                     .on_catalog = on_catalog,
                                     .on_dead = on_dead };
    assert_ok(heartbeat_start(&h, &w->loop, &options, &calls, &err), &err);
    return h;
}

static struct heartbeat *beat_here(struct told *t, const char *instance)
{
    struct heartbeat *h = beat(&world, t, instance);
    UNTIL(&world, t->incarnation != 0 && t->ups == 1, 10000);
    return h;
}

/* Leaves as a daemon does, so that nobody finds it dead later. */
static void end_here(struct heartbeat *h, const struct told *t)
{
    heartbeat_stop(h);
    world_sql(&world, "SELECT pawl.hand_back(%lld)", (long long)t->incarnation);
}

static int64_t count_state(const char *state)
{
    return world_int(&world, "SELECT count(*) FROM pawl.workers WHERE state = '%s'", state);
}

static int64_t beats_of(int64_t incarnation)
{
    return world_int(&world, "SELECT beat FROM pawl.workers WHERE incarnation = %lld",
                     (long long)incarnation);
}

static const char *state_of(int64_t incarnation)
{
    static char text[200];
    return world_text(&world, text, "SELECT state FROM pawl.workers WHERE incarnation = %lld",
                      (long long)incarnation);
}

/* ---- members in processes of their own --------------------------------------------- */

static void block(void *arg, int signum)
{
    (void)arg;
    (void)signum;
    (void)sleep(60);
}

static int be_member(const char *instance)
{
    struct error err;
    struct told t = { 0 };
    struct world w = { .dsn = getenv("PAWL_TEST_DSN") };
    (void)snprintf(w.planner_dsn, sizeof w.planner_dsn, "%s user=test_planner", w.dsn);
    assert_ok(loop_init(&w.loop, &err), &err);
    assert_ok(loop_signal(&w.loop, SIGUSR1, block, NULL, &err), &err);
    struct heartbeat *h = beat(&w, &t, instance);
    int64_t said = 0;
    while (t.deads == 0) {
        loop_turn(&w.loop, 50);
        if (t.incarnation != said && t.ups > 0) {
            said = t.incarnation;
            (void)printf("%lld\n", (long long)said);
            (void)fflush(stdout);
        }
    }
    heartbeat_stop(h);
    loop_release(&w.loop);
    return 75;
}

struct member {
    pid_t pid;
    int64_t incarnation;
};

static struct member start_member(const char *instance)
{
    struct member m = { 0 };
    int out[2];
    char line[32] = "";
    assert_int_equal(pipe(out), 0);
    m.pid = fork();
    if (m.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(out[0]);
        (void)execl("/proc/self/exe", "test_heartbeat", "member", instance, (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
    UNTIL(&world, read(out[0], line, sizeof line - 1) > 0, 20000);
    m.incarnation = strtoll(line, NULL, 10);
    (void)close(out[0]);
    return m;
}

static int end_of(const struct member *m)
{
    int status = 0;
    UNTIL(&world, waitpid(m->pid, &status, WNOHANG) == m->pid, 20000);
    return status;
}

static void kill_member(const struct member *m)
{
    (void)kill(m->pid, SIGKILL);
    (void)end_of(m);
}

/* ---- the tests ------------------------------------------------------------------------ */

static void test_it_beats(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    (void)state;
    assert_string_equal(state_of(t.incarnation), "alive");
    assert_int_equal(world_int(&world,
                               "SELECT (lock_server = pawl.server_identity())::int FROM "
                               "pawl.workers WHERE incarnation = %lld",
                               (long long)t.incarnation),
                     1);
    heartbeat_set_in_flight(h, 42);
    int64_t before = beats_of(t.incarnation);
    for (int i = 0; i < 30; i++)
        loop_turn(&world.loop, 50);
    int64_t more = beats_of(t.incarnation) - before;
    assert_true(more >= 1 && more <= 5);
    assert_int_equal(world_int(&world,
                               "SELECT in_flight FROM pawl.workers WHERE incarnation = %lld",
                               (long long)t.incarnation),
                     42);
    end_here(h, &t);
    assert_string_equal(state_of(t.incarnation), "gone");
    assert_int_equal(t.deads, 0);
}

static void test_catalogue_and_cancelled_claims(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct uuid run = world_start_run(&world), token = uuid_v4();
    char id[UUID_TEXT_SIZE], tok[UUID_TEXT_SIZE];
    (void)state;
    uuid_format(&run, id);
    uuid_format(&token, tok);
    UNTIL(&world, t.catalogs == 1, 5000);
    world_sql(&world, "SELECT pawl.publish('model', 'm', repeat('b', 64), '{}', 'tests', NULL, "
                      "NULL, NULL, NULL, NULL, NULL, NULL)");
    UNTIL(&world, t.catalogs == 2, 3000);
    world_sql(&world, "SELECT pawl.claim_plans(%lld, ARRAY['%s'::uuid], ARRAY['%s'::uuid], false)",
              (long long)t.incarnation, tok, id);
    world_sql(&world, "SELECT pawl.cancel(ARRAY['%s'::uuid], 'tests', NULL)", id);
    UNTIL(&world, t.cancels >= 2, 5000); /* again until it is committed */
    assert_true(uuid_eq(&t.run, &run));
    assert_int_equal(t.step, 1);
    assert_int_equal(t.index, -1);
    end_here(h, &t);
}

static void test_killed_process_is_noticed_by_its_lock(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct member m = start_member("there/1");
    (void)state;
    for (int i = 0; i < 20; i++)
        loop_turn(&world.loop, 50);
    assert_string_equal(state_of(m.incarnation), "alive");
    int64_t before_ms = clock_mono_ms();
    kill_member(&m);
    UNTIL(&world, strcmp(state_of(m.incarnation), "dead") == 0, 10000);
    assert_true(clock_mono_ms() - before_ms < SILENCE_MS - 1000);
    assert_int_equal(world_int(&world, "SELECT ended_by FROM pawl.workers WHERE incarnation = %lld",
                               (long long)m.incarnation),
                     t.incarnation);
    UNTIL(&world, t.gones > 0, 2000); /* its work is looked for at once */
    end_here(h, &t);
}

static void test_it_is_told_when_others_were_buried(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct member m = start_member("there/5");
    (void)state;
    for (int i = 0; i < 20; i++)
        loop_turn(&world.loop, 50);
    assert_int_equal(t.gones, 0);
    world_sql(&world, "SELECT pawl.hand_back(%lld)", (long long)m.incarnation);
    UNTIL(&world, t.gones > 0, 3000);
    kill_member(&m);
    end_here(h, &t);
}

static void test_restarted_process_buries_its_predecessor(void **state)
{
    struct member m = start_member("there/1"), other = start_member("there/2");
    (void)state;
    kill_member(&m);
    struct member again = start_member("there/1");
    assert_string_equal(state_of(m.incarnation), "dead");
    assert_string_equal(state_of(other.incarnation), "alive");
    kill_member(&again);
    kill_member(&other);
}

static void test_stopped_process_is_noticed_by_its_silence(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct member m = start_member("there/3");
    (void)state;
    (void)kill(m.pid, SIGSTOP);
    int64_t before_ms = clock_mono_ms();
    UNTIL(&world, strcmp(state_of(m.incarnation), "dead") == 0, 20000);
    int64_t took_ms = clock_mono_ms() - before_ms;
    assert_true(took_ms >= SILENCE_MS - 600 && took_ms < SILENCE_MS + 3000);

    /* It lives, learns it at its next beat, and ends by itself. */
    (void)kill(m.pid, SIGCONT);
    int status = end_of(&m);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 75);
    end_here(h, &t);
}

static void test_blocked_loop_aborts(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct member m = start_member("there/4");
    (void)state;
    int64_t before_ms = clock_mono_ms();
    (void)kill(m.pid, SIGUSR1);
    int status = end_of(&m);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(clock_mono_ms() - before_ms < TICK_MAX_MS + 3000);
    UNTIL(&world, strcmp(state_of(m.incarnation), "dead") == 0, 5000);
    assert_int_equal(t.deads, 0);
    end_here(h, &t);
}

static void rest(int ms)
{
    int64_t until_ms = clock_mono_ms() + ms;
    while (clock_mono_ms() < until_ms)
        loop_turn(&world.loop, 50);
}

static void test_restarts_of_postgres_kill_nobody(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct member a = start_member("there/5"), b = start_member("there/6");
    (void)state;
    int64_t dead_before = count_state("dead");
    for (int i = 0; i < 4; i++) {
        world_server(i % 2 ? "restart immediate" : "restart fast");
        rest(1500);
    }
    world_server("stop");
    rest(SILENCE_MS + 1000); /* longer away than anybody may be silent */
    world_server("start");
    rest(SILENCE_MS + 2000);
    assert_int_equal(count_state("dead"), dead_before);
    assert_int_equal(world_int(&world,
                               "SELECT count(*) FROM pawl.workers WHERE state = 'alive' AND "
                               "lock_server = pawl.server_identity() AND beat_at > now() - "
                               "interval '2 s'"),
                     3);
    assert_int_equal(t.deads, 0);
    assert_true(t.downs >= 1 && t.ups >= 2); /* we looked away while the server restarted */
    kill_member(&a);
    kill_member(&b);
    UNTIL(&world, count_state("dead") == dead_before + 2, 10000);
    end_here(h, &t);
}

/* While an old session of ours, which the server does not know to be broken, still
 * holds the lock, its end says nothing about us.                             */
static void test_a_lock_that_an_old_session_holds(void **state)
{
    static const char held[] = "SELECT count(*) FROM pawl.workers WHERE instance = 'here/old' "
                               "AND lock_server = pawl.server_identity()";
    static const char take[] = "SELECT pawl.take_lock(max(incarnation))::int FROM pawl.workers "
                               "WHERE instance = 'here/old'";
    struct error err;
    struct pg *old = NULL;
    struct pg_options options = { .dsn = world.dsn };
    (void)state;
    world_sql(&world, "SELECT pawl.register('here/old', 'planner', 'default', 't', 1, 1)");
    assert_ok(pg_open(&old, &options, &err), &err);
    assert_ok(pg_run(old, take, 0, &err), &err);
    assert_int_equal(world_int(&world, held), 1);
    assert_int_equal(world_int(&world, take), 0);
    assert_int_equal(world_int(&world, held), 0);
    pg_close(old);
    UNTIL(&world, world_int(&world, take) == 1, 5000);
    assert_int_equal(world_int(&world, held), 1);
    world_sql(&world, "SELECT pg_advisory_unlock_all(), pawl.hand_back(incarnation) "
                      "FROM pawl.workers WHERE instance = 'here/old'");
}

/* The connection with the lock breaks, again and again: beats go on at once. */
static void test_broken_connections_kill_nobody(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    struct member a = start_member("there/7");
    (void)state;
    int64_t dead_before = count_state("dead");
    for (int i = 0; i < 10; i++) {
        world_sql(&world, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                          "application_name = 'pawl-heartbeat'");
        rest(400);
    }
    rest(1500);
    assert_int_equal(count_state("dead"), dead_before);
    kill_member(&a);
    UNTIL(&world, count_state("dead") == dead_before + 1, 10000);
    end_here(h, &t);
}

static void test_dead_while_alive_is_told_once(void **state)
{
    struct told t = { 0 };
    struct heartbeat *h = beat_here(&t, "here/1");
    (void)state;
    world_sql(&world,
              "SELECT pawl.declare_dead(NULL, ARRAY[w.incarnation], ARRAY[w.beat]) FROM "
              "pawl.workers w WHERE incarnation = %lld",
              (long long)t.incarnation);
    UNTIL(&world, t.deads == 1, 3000);
    rest(1200);
    assert_int_equal(t.deads, 1);
    heartbeat_stop(h);
}

static void test_old_schema_is_refused(void **state)
{
    struct told t = { 0 };
    (void)state;
    world_sql(&world, "UPDATE pawl.schema_migrations SET number = -number WHERE number > 2");
    struct heartbeat *h = beat(&world, &t, "here/1");
    UNTIL(&world, t.refusals == 1, 5000);
    assert_contains(t.text, "the database has schema 2, this planner needs");
    world_sql(&world, "UPDATE pawl.schema_migrations SET number = abs(number)");
    UNTIL(&world, t.incarnation != 0, 5000);
    end_here(h, &t);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_beats),
        cmocka_unit_test(test_catalogue_and_cancelled_claims),
        cmocka_unit_test(test_killed_process_is_noticed_by_its_lock),
        cmocka_unit_test(test_it_is_told_when_others_were_buried),
        cmocka_unit_test(test_restarted_process_buries_its_predecessor),
        cmocka_unit_test(test_stopped_process_is_noticed_by_its_silence),
        cmocka_unit_test(test_blocked_loop_aborts),
        cmocka_unit_test(test_restarts_of_postgres_kill_nobody),
        cmocka_unit_test(test_broken_connections_kill_nobody),
        cmocka_unit_test(test_a_lock_that_an_old_session_holds),
        cmocka_unit_test(test_dead_while_alive_is_told_once),
        cmocka_unit_test(test_old_schema_is_refused),
    };
    if (argc == 3 && strcmp(argv[1], "member") == 0)
        return be_member(argv[2]);
    return cmocka_run_group_tests(tests, setup, teardown);
}
