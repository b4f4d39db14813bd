/*
 * test_daemon.c -- the life of a daemon: its start, its sweeps, its ends.
 *
 * The daemons are this very program, started as `test_daemon daemon FLAG...`: their
 * work is to wait for $FAKE_CALL_MS whenever something is due, and to tell of it on
 * standard output.  There is no Kafka.
 */
#include "tests/store/world.h"

#include "common/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 3 };

/* ---- the work of the fake ----------------------------------------------------------- */

struct call {
    struct loop_timer timer;
    bool busy;
};

static struct fake {
    struct daemon *daemon;
    struct call calls[CALLS];
    int busy;
    bool finishing;
    int64_t call_ms;
} fake;

static void say(const char *word)
{
    (void)printf("%s\n", word);
    (void)fflush(stdout);
}

static void on_call_ended(void *arg)
{
    struct call *c = arg;
    c->busy = false;
    fake.busy--;
    say("ended");
    daemon_progress(fake.daemon);
}

static enum outcome fake_start(struct daemon *d, void **self, struct error *err)
{
    (void)err;
    const char *call_ms = getenv("FAKE_CALL_MS");
    fake.daemon = d;
    fake.call_ms = call_ms ? strtoll(call_ms, NULL, 10) : 0;
    for (int i = 0; i < CALLS; i++)
        loop_timer_init(&d->loop, &fake.calls[i].timer, on_call_ended, &fake.calls[i]);
    *self = &fake;
    say("started");
    return OK;
}

static void fake_on_record(void *self, const struct record_view *rec, struct consumer_slot slot)
{
    (void)self;
    (void)rec;
    daemon_record_done(fake.daemon, slot);
}

static void fake_on_due(void *self, const struct store_due *due)
{
    (void)self;
    say(due->what == STORE_DUE_PLAN ? "plan" : "act");
    for (int i = 0; i < CALLS; i++)
        if (!fake.calls[i].busy) {
            fake.calls[i].busy = true;
            fake.busy++;
            loop_timer_start(&fake.calls[i].timer, fake.call_ms);
            return;
        }
    say("too much");
}

static void fake_on_sweep(void *self)
{
    (void)self;
    say("sweep");
}

static void fake_on_cancel(void *self, const struct uuid *run, int step, int index)
{
    (void)self;
    (void)run;
    (void)step;
    say(index < 0 ? "cancel plan" : "cancel call");
}

static void fake_on_finish(void *self, bool dead)
{
    (void)self;
    fake.finishing = true;
    say(dead ? "finish dead" : "finish");
}

static int fake_free_places(void *self)
{
    (void)self;
    return fake.finishing ? 0 : CALLS - fake.busy;
}

static int fake_in_flight(void *self)
{
    (void)self;
    return fake.busy;
}

static int64_t fake_longest_call_ms(void *self)
{
    (void)self;
    return 60000;
}

static void fake_stop(void *self)
{
    (void)self;
    for (int i = 0; i < CALLS; i++)
        loop_timer_close(&fake.calls[i].timer);
    say("stop");
}

static const char *fake_group(const struct config *cfg)
{
    return cfg->group_planner;
}

static size_t fake_topics(const struct config *cfg, const char *topics[DAEMON_TOPICS_MAX])
{
    topics[0] = cfg->topic_plan;
    return 1;
}

static int fake_capacity(const struct config *cfg)
{
    (void)cfg;
    return CALLS;
}

static const struct daemon_work fake_work = {
    .name = "planner",
    .summary = "a fake",
    .group = fake_group,
    .topics = fake_topics,
    .capacity = fake_capacity,
    .start = fake_start,
    .on_record = fake_on_record,
    .on_due = fake_on_due,
    .on_sweep = fake_on_sweep,
    .on_cancel = fake_on_cancel,
    .on_finish = fake_on_finish,
    .free_places = fake_free_places,
    .in_flight = fake_in_flight,
    .longest_call_ms = fake_longest_call_ms,
    .stop = fake_stop,
};

/* ---- a daemon as a child ---------------------------------------------------------------- */

static struct world world;

struct child {
    pid_t pid;
    int out;
    char text[1 << 16]; /* all that it said */
    size_t length;
};

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

/* Both streams go into one pipe. */
static void start_with(struct child *c, char **argv)
{
    int pipes[2];
    *c = (struct child){ .length = 0 };
    assert_int_equal(pipe(pipes), 0);
    c->pid = fork();
    if (c->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        (void)dup2(pipes[1], STDOUT_FILENO);
        (void)dup2(pipes[1], STDERR_FILENO);
        (void)execv("/proc/self/exe", argv);
        _exit(127);
    }
    (void)close(pipes[1]);
    c->out = pipes[0];
    assert_int_equal(fcntl(c->out, F_SETFL, O_NONBLOCK), 0);
}

static void start(struct child *c, const char *call_ms)
{
    char dsn[400];
    (void)snprintf(dsn, sizeof dsn, "--postgres-dsn=%s", world.planner_dsn);
    char *argv[] = { (char[]){ "test_daemon" },
                     (char[]){ "daemon" },
                     dsn,
                     (char[]){ "--kafka-bootstrap=127.0.0.1:1" },
                     (char[]){ "--instance=tests/fake" },
                     (char[]){ "--log-format=json" },
                     NULL };
    assert_int_equal(setenv("FAKE_CALL_MS", call_ms, 1), 0);
    start_with(c, argv);
}

static bool said(struct child *c, const char *what)
{
    ssize_t n = read(c->out, c->text + c->length, sizeof c->text - c->length - 1);
    if (n > 0)
        c->length += (size_t)n;
    c->text[c->length] = '\0';
    return strstr(c->text, what) != NULL;
}

static int exit_code(struct child *c)
{
    int status = 0;
    int64_t until_ms = clock_mono_ms() + 20000;
    while (waitpid(c->pid, &status, WNOHANG) != c->pid) {
        (void)said(c, ""); /* a full pipe would hold it up */
        if (clock_mono_ms() > until_ms)
            fail_msg("it does not end; it said: %s", c->text);
        loop_turn(&world.loop, 20);
    }
    (void)said(c, "");
    (void)close(c->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define SAYS(c, what) UNTIL(&world, said((c), (what)), 15000)

static void make_due(int runs)
{
    world_sql(&world, "UPDATE pawl.agent_runs SET due_at = NULL WHERE ended_at IS NULL");
    for (int i = 0; i < runs; i++)
        (void)world_start_run(&world);
    world_sql(&world, "UPDATE pawl.agent_runs SET due_at = now() WHERE due_at IS NOT NULL");
}

static const char *last_state(void)
{
    static char text[200];
    return world_text(&world, text,
                      "SELECT state FROM pawl.workers ORDER BY incarnation DESC LIMIT 1");
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void test_start_sweep_and_leave(void **state)
{
    static struct child c;
    (void)state;
    start(&c, "50");
    SAYS(&c, "started\n");
    assert_string_equal(last_state(), "alive");
    make_due(5); /* more than there are places: the rest at once when one is free */
    int64_t before_ms = clock_mono_ms();
    UNTIL(&world,
          said(&c, "") && world_int(&world, "SELECT count(*) FROM pawl.agent_runs WHERE "
                                            "due_at <= now()") == 0,
          5000);
    assert_true(clock_mono_ms() - before_ms < 4000);
    SAYS(&c, "ended");
    assert_false(said(&c, "too much"));
    SAYS(&c, "sweep");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(exit_code(&c), 0);
    assert_non_null(strstr(c.text, "finish\n"));
    assert_non_null(strstr(c.text, "stop\n"));
    assert_string_equal(last_state(), "gone");
}

static void test_work_in_flight_is_finished(void **state)
{
    static struct child c;
    (void)state;
    start(&c, "2000");
    SAYS(&c, "started\n");
    make_due(1);
    SAYS(&c, "plan\n");
    int64_t before_ms = clock_mono_ms();
    (void)kill(c.pid, SIGTERM);
    SAYS(&c, "finish\n");
    UNTIL(&world, strcmp(last_state(), "leaving") == 0, 2000);
    assert_int_equal(exit_code(&c), 0);
    assert_true(clock_mono_ms() - before_ms > 1000);
    assert_non_null(strstr(c.text, "ended\n"));
    assert_string_equal(last_state(), "gone");
}

static void test_second_signal_ends_the_grace(void **state)
{
    static struct child c;
    (void)state;
    start(&c, "60000");
    SAYS(&c, "started\n");
    make_due(1);
    SAYS(&c, "plan\n");
    (void)kill(c.pid, SIGTERM);
    SAYS(&c, "finish\n");
    for (int i = 0; i < 20; i++)
        loop_turn(&world.loop, 20);
    assert_int_equal(waitpid(c.pid, NULL, WNOHANG), 0);
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(exit_code(&c), 0);
    assert_null(strstr(c.text, "ended\n"));
    assert_string_equal(last_state(), "gone");
}

static void test_declared_dead(void **state)
{
    static struct child c;
    (void)state;
    start(&c, "1500");
    SAYS(&c, "started\n");
    make_due(1);
    SAYS(&c, "plan\n");
    world_sql(&world, "SELECT pawl.declare_dead(NULL, ARRAY[w.incarnation], ARRAY[w.beat]) FROM "
                      "pawl.workers w WHERE w.state = 'alive'");
    SAYS(&c, "finish dead\n");
    assert_int_equal(exit_code(&c), DAEMON_EXIT_DEAD);
    assert_non_null(strstr(c.text, "ended\n")); /* what was in flight came to its end */
    assert_string_equal(last_state(), "dead");
}

static void test_cancelled_claims_reach_the_work(void **state)
{
    static struct child c;
    struct uuid run = world_start_run(&world), token = uuid_v4();
    char id[UUID_TEXT_SIZE], tok[UUID_TEXT_SIZE];
    (void)state;
    uuid_format(&run, id);
    uuid_format(&token, tok);
    start(&c, "10");
    SAYS(&c, "started\n");
    world_sql(&world,
              "SELECT pawl.claim_plans((SELECT max(incarnation) FROM pawl.workers), "
              "ARRAY['%s'::uuid], ARRAY['%s'::uuid], false)",
              tok, id);
    world_sql(&world, "SELECT pawl.cancel(ARRAY['%s'::uuid], 'tests', NULL)", id);
    SAYS(&c, "cancel plan\n");
    (void)kill(c.pid, SIGINT);
    assert_int_equal(exit_code(&c), 0);
}

static void test_restart_of_postgres_under_a_daemon(void **state)
{
    static struct child c;
    (void)state;
    start(&c, "10");
    SAYS(&c, "started\n");
    world_server("restart immediate");
    for (int i = 0; i < 30; i++)
        loop_turn(&world.loop, 50);
    make_due(1);
    SAYS(&c, "plan\n");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(exit_code(&c), 0);
    assert_string_equal(last_state(), "gone");
}

static void test_postgres_away_at_the_start_and_at_the_end(void **state)
{
    static struct child c;
    (void)state;
    world_server("stop");
    start(&c, "10");
    SAYS(&c, "postgres cannot be used");
    (void)kill(c.pid, SIGTERM); /* before it ever had a number */
    assert_int_equal(exit_code(&c), 0);

    start(&c, "10");
    SAYS(&c, "postgres cannot be used");
    world_server("start");
    SAYS(&c, "started\n");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(exit_code(&c), 0);
}

static void test_old_schema_ends_it_with_advice(void **state)
{
    static struct child c;
    (void)state;
    world_sql(&world, "UPDATE pawl.schema_migrations SET number = -number WHERE number > 2");
    start(&c, "10");
    assert_int_equal(exit_code(&c), 1);
    assert_contains(c.text, "run `pawl migrate up`");
    world_sql(&world, "UPDATE pawl.schema_migrations SET number = abs(number)");
}

static int run_with(const char *flag, struct child *c)
{
    char given[40];
    char *argv[] = { (char[]){ "test_daemon" }, (char[]){ "daemon" }, given, NULL };
    (void)snprintf(given, sizeof given, "%s", flag);
    start_with(c, argv);
    return exit_code(c);
}

static void test_flags(void **state)
{
    static struct child c;
    (void)state;
    assert_int_equal(run_with("--version", &c), 0);
    assert_contains(c.text, "planner " PAWL_VERSION);
    assert_int_equal(run_with("--help", &c), 0);
    assert_contains(c.text, "--postgres-dsn");
    assert_int_equal(run_with("--fault-points", &c), 0);
    assert_contains(c.text, "planner_after_accept");
    assert_int_equal(run_with("--nonsense", &c), 64);
    assert_contains(c.text, "--nonsense");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_sweep_and_leave),
        cmocka_unit_test(test_work_in_flight_is_finished),
        cmocka_unit_test(test_second_signal_ends_the_grace),
        cmocka_unit_test(test_declared_dead),
        cmocka_unit_test(test_cancelled_claims_reach_the_work),
        cmocka_unit_test(test_restart_of_postgres_under_a_daemon),
        cmocka_unit_test(test_postgres_away_at_the_start_and_at_the_end),
        cmocka_unit_test(test_old_schema_ends_it_with_advice),
        cmocka_unit_test(test_flags),
    };
    if (argc > 1 && strcmp(argv[1], "daemon") == 0)
        return daemon_main(argc - 1, argv + 1, &fake_work);
    return cmocka_run_group_tests(tests, setup, teardown);
}
