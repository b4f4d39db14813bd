/*
 * test_pg.c -- parameters, answers and both kinds of connection, against a server.
 */
#include "tests/store/world.h"

#include "common/pg_async.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- parameters and answers -------------------------------------------------- */

static void test_scalars_come_back(void **state)
{
    struct error err;
    struct pg_params p;
    struct pg_result *r = NULL;
    struct uuid id = uuid_v4();
    const char bytes[] = { 0, 1, '\\', '\'', (char)0xff };
    (void)state;
    pg_params_init(&p, 1000);
    pg_add_bool(&p, true);
    pg_add_int4(&p, -7);
    pg_add_int8(&p, INT64_MIN);
    pg_add_text(&p, "it's \"quoted\" \\ \xc3\xa4");
    pg_add_uuid(&p, &id);
    pg_add_bytea(&p, bytes, sizeof bytes);
    pg_add_time(&p, 1700000000123);
    pg_add_null(&p, PG_TEXT);
    assert_ok(pg_exec(world.pg, "SELECT $1, $2, $3, $4, $5, $6, $7, $8", &p, 0, &r, &err), &err);
    assert_int_equal(pg_row_count(r), 1);
    assert_int_equal(pg_column_count(r), 8);
    assert_true(pg_bool(r, 0, 0));
    assert_int_equal(pg_int4(r, 0, 1), -7);
    assert_int_equal(pg_int8(r, 0, 1), -7);
    assert_true(pg_int8(r, 0, 2) == INT64_MIN);
    assert_string_equal(pg_text(r, 0, 3), "it's \"quoted\" \\ \xc3\xa4");
    struct uuid back = pg_uuid(r, 0, 4);
    assert_true(uuid_eq(&back, &id));
    assert_int_equal(pg_length(r, 0, 5), sizeof bytes);
    assert_memory_equal(pg_bytea(r, 0, 5), bytes, sizeof bytes);
    assert_int_equal(pg_time_ms(r, 0, 6), 1700000000123);
    assert_true(pg_is_null(r, 0, 7));
    assert_null(pg_text(r, 0, 7));
    pg_result_free(r);
    pg_params_release(&p);
}

static void test_arrays_hold_nulls_and_nothing(void **state)
{
    struct error err;
    struct pg_params p;
    struct pg_result *r = NULL;
    struct uuid id = uuid_v4();
    (void)state;
    pg_params_init(&p, 10000);
    pg_array_begin(&p, PG_TEXT);
    pg_put_text(&p, "a,b {c} \"d\" \\");
    pg_put_text(&p, NULL);
    pg_put_text(&p, "");
    pg_array_end(&p);
    pg_array_begin(&p, PG_INT4);
    pg_array_end(&p);
    pg_array_begin(&p, PG_UUID);
    pg_put_uuid(&p, &id);
    pg_put_null(&p);
    pg_array_end(&p);
    pg_array_begin(&p, PG_BYTEA);
    pg_put_bytea(&p, "\0x", 2);
    pg_array_end(&p);
    pg_array_begin(&p, PG_TIME);
    pg_put_time(&p, 0);
    pg_put_null(&p);
    pg_array_end(&p);
    pg_array_begin(&p, PG_INT8);
    pg_put_int8(&p, 1);
    pg_put_int8(&p, -1);
    pg_array_end(&p);
    pg_array_begin(&p, PG_BOOL);
    pg_put_bool(&p, false);
    pg_array_end(&p);
    pg_add_null_array(&p, PG_TEXT);
    assert_ok(
        pg_exec(world.pg,
                "SELECT ($1::text[])[1], ($1::text[])[2] IS NULL, ($1::text[])[3], "
                "cardinality($2::int[]), ($3::uuid[])[1], ($4::bytea[])[1], "
                "($5::timestamptz[])[1], ($6::int8[])[2], ($7::bool[])[1], $8::text[] IS NULL",
                &p, 0, &r, &err),
        &err);
    assert_string_equal(pg_text(r, 0, 0), "a,b {c} \"d\" \\");
    assert_true(pg_bool(r, 0, 1));
    assert_string_equal(pg_text(r, 0, 2), "");
    assert_int_equal(pg_int4(r, 0, 3), 0);
    struct uuid back = pg_uuid(r, 0, 4);
    assert_true(uuid_eq(&back, &id));
    assert_int_equal(pg_length(r, 0, 5), 2);
    assert_int_equal(pg_time_ms(r, 0, 6), 0);
    assert_int_equal(pg_int8(r, 0, 7), -1);
    assert_false(pg_bool(r, 0, 8));
    assert_true(pg_bool(r, 0, 9));
    pg_result_free(r);
    pg_params_release(&p);
}

static void test_too_much_is_refused(void **state)
{
    struct error err;
    struct pg_params p;
    (void)state;
    pg_params_init(&p, 100);
    pg_array_begin(&p, PG_TEXT);
    for (int i = 0; i < 10; i++)
        pg_put_text(&p, "0123456789012345");
    pg_array_end(&p);
    assert_int_equal(pg_exec(world.pg, "SELECT $1::text[] IS NULL", &p, 0, NULL, &err), REFUSED);
    assert_contains(err.text, "limit");
    assert_true(pg_is_open(world.pg));
    pg_params_release(&p);
}

/* ---- the connection that waits ------------------------------------------------- */

static void test_failures_say_what_to_do(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(pg_exec(world.pg, "SELECT 1/0", NULL, 0, NULL, &err), REFUSED);
    assert_string_equal(pg_fault_sqlstate(world.pg), "22012");
    assert_contains(err.text, "division by zero");
    assert_ok(pg_exec(world.pg, "SELECT 1", NULL, 0, NULL, &err), &err);
    assert_string_equal(pg_fault_sqlstate(world.pg), "");
    assert_int_equal(
        pg_exec(world.pg, "DO $$ BEGIN RAISE deadlock_detected; END $$", NULL, 0, NULL, &err),
        RETRY);
    assert_int_equal(pg_exec(world.pg, "SELEC 1", NULL, 0, NULL, &err), REFUSED);
    assert_int_equal(pg_run(world.pg, "SELECT 1; SELECT 2; SELEC 3", 0, &err), REFUSED);
    assert_ok(pg_run(world.pg, "SELECT 1; SELECT 2", 0, &err), &err);
}

static void test_timeouts_end_both_ways(void **state)
{
    struct error err;
    struct pg_options options = { .dsn = world.dsn, .statement_timeout_ms = 100 };
    struct pg *pg;
    (void)state;
    assert_ok(pg_open(&pg, &options, &err), &err);
    assert_int_equal(pg_exec(pg, "SELECT pg_sleep(10)", NULL, 0, NULL, &err), RETRY);
    assert_string_equal(pg_fault_sqlstate(pg), "57014");
    assert_true(pg_is_open(pg));
    assert_ok(pg_exec(pg, "SET statement_timeout = 0", NULL, 0, NULL, &err), &err);
    int64_t before = clock_mono_ms();
    assert_int_equal(pg_exec(pg, "SELECT pg_sleep(10)", NULL, 200, NULL, &err), RETRY);
    assert_true(clock_mono_ms() - before < 3000);
    assert_false(pg_is_open(pg));
    assert_int_equal(pg_exec(pg, "SELECT 1", NULL, 0, NULL, &err), RETRY);
    pg_close(pg);
}

/* The first host takes connections and says nothing, as the address of a machine that
 * is gone: the second one has its turn.                                      */
static void test_a_silent_host_is_passed_by(void **state)
{
    struct error err;
    struct pg *pg = NULL;
    struct pg_result *r = NULL;
    char dsn[1024];
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    assert_ok(pg_exec(world.pg,
                      "SELECT current_setting('unix_socket_directories'), current_setting('port')",
                      NULL, 0, &r, &err),
              &err);
    (void)snprintf(dsn, sizeof dsn, "%s host=127.0.0.1,%s port=%d,%s", world.dsn, pg_text(r, 0, 0),
                   ntohs(at.sin_port), pg_text(r, 0, 1));
    pg_result_free(r);
    struct pg_options options = { .dsn = dsn, .connect_timeout_ms = 4000 };
    int64_t before_ms = clock_mono_ms();
    assert_ok(pg_open(&pg, &options, &err), &err);
    assert_true(clock_mono_ms() - before_ms >= 1900 && clock_mono_ms() - before_ms < 3900);
    assert_true(pg_is_open(pg));
    pg_close(pg);
    (void)close(listener);
}

/* Whatever the server's default is, our commits wait for the disk; other values stay. */
static void test_commits_wait_for_the_disk(void **state)
{
    static const char *const cases[][2] = { { "off", "on" }, { "remote_apply", "remote_apply" } };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char dsn[1024];
        struct error err;
        struct pg *pg = NULL;
        struct pg_result *r = NULL;
        (void)snprintf(dsn, sizeof dsn, "%s options='-c synchronous_commit=%s'", world.dsn,
                       cases[i][0]);
        struct pg_options options = { .dsn = dsn };
        assert_ok(pg_open(&pg, &options, &err), &err);
        assert_ok(pg_exec(pg, "SHOW synchronous_commit", NULL, 0, &r, &err), &err);
        assert_string_equal(pg_text(r, 0, 0), cases[i][1]);
        pg_result_free(r);
        pg_close(pg);
    }
}

static void test_schema_is_checked(void **state)
{
    struct error err;
    (void)state;
    assert_ok(pg_check_schema(world.pg, "planner", &err), &err);
    world_sql(&world, "INSERT INTO pawl.schema_migrations VALUES (9999, 'later', '')");
    assert_ok(pg_check_schema(world.pg, "planner", &err), &err);
    world_sql(&world, "DELETE FROM pawl.schema_migrations WHERE number > 2");
    assert_int_equal(pg_check_schema(world.pg, "planner", &err), REFUSED);
    assert_contains(err.text, "the database has schema 2, this planner needs");
    assert_contains(err.text, "pawl migrate up");
    world_sql(&world, "ALTER SCHEMA pawl RENAME TO gone");
    assert_int_equal(pg_check_schema(world.pg, "planner", &err), REFUSED);
    assert_contains(err.text, "pawl migrate up");
    world_sql(&world, "ALTER SCHEMA gone RENAME TO pawl");
}

/* ---- the connection on the loop -------------------------------------------------- */

struct probe {
    int ups, downs, answers;
    enum outcome outcome;
    char sqlstate[PG_SQLSTATE_SIZE];
    int64_t value;
    struct error error;
};

static void on_up(void *arg)
{
    struct probe *t = arg;
    t->ups++;
}

static void on_down(void *arg, enum outcome outcome, const struct error *err)
{
    struct probe *t = arg;
    (void)outcome;
    t->error = *err;
    t->downs++;
}

static void on_answer(void *arg, enum outcome outcome, struct pg_result *rows, const char *sqlstate,
                      const struct error *err)
{
    struct probe *t = arg;
    t->answers++;
    t->outcome = outcome;
    (void)snprintf(t->sqlstate, sizeof t->sqlstate, "%s", sqlstate);
    t->value = outcome == OK ? pg_int8(rows, 0, 0) : 0;
    if (outcome != OK)
        t->error = *err;
    pg_result_free(rows);
}

static const struct pg_statement plus = { "plus", "SELECT $1::int8 + 1" };
static const struct pg_statement divide = { "divide", "SELECT 1 / $1::int8" };
static const struct pg_statement nap = { "nap", "SELECT $1::int8 FROM pg_sleep(5)" };
static const struct pg_statement own_pid = { "own_pid", "SELECT pg_backend_pid() + $1::int8 * 0" };

static struct pg_async *open_async(struct probe *t, bool unprepared)
{
    struct error err;
    struct pg_async *c;
    struct pg_async_options options = {
        .pg = { .dsn = world.dsn, .application = "pawl-async" },
        .unprepared = unprepared,
    };
    struct pg_async_calls calls = { .arg = t, .on_up = on_up, .on_down = on_down };
    assert_ok(pg_async_init(&c, &world.loop, &options, &calls, &err), &err);
    UNTIL(&world, t->ups == 1, 10000);
    return c;
}

static void ask(struct pg_async *c, struct probe *t, const struct pg_statement *statement,
                int64_t value)
{
    struct error err;
    static struct pg_params p;
    static bool made;
    if (!made)
        pg_params_init(&p, 1000);
    made = true;
    pg_params_reset(&p);
    pg_add_int8(&p, value);
    int before = t->answers;
    assert_ok(pg_async_send(c, statement, &p, on_answer, t, &err), &err);
    assert_int_equal(t->answers, before); /* never from inside */
}

static void answers_and_errors(bool unprepared)
{
    struct probe t = { 0 };
    struct pg_async *c = open_async(&t, unprepared);
    for (int i = 1; i <= 3; i++) {
        ask(c, &t, &plus, i);
        UNTIL(&world, t.answers == i, 5000);
        assert_int_equal(t.outcome, OK);
        assert_int_equal(t.value, i + 1);
    }
    ask(c, &t, &divide, 0);
    UNTIL(&world, t.answers == 4, 5000);
    assert_int_equal(t.outcome, REFUSED);
    assert_string_equal(t.sqlstate, "22012");
    ask(c, &t, &divide, 1);
    UNTIL(&world, t.answers == 5, 5000);
    assert_int_equal(t.value, 1);
    assert_int_equal(t.downs, 0);
    int64_t prepared =
        world_int(&world, "SELECT count(*) FROM pg_stat_activity WHERE "
                          "application_name = 'pawl-async' AND query LIKE 'SELECT 1 /%%'");
    assert_int_equal(prepared, 1);
    pg_async_free(c);
}

static void test_async_answers(void **state)
{
    (void)state;
    answers_and_errors(false);
    answers_and_errors(true);
}

/* A pooler that gives us another server: the prepared statement is not there. */
static void test_lost_prepared_statements_are_survived(void **state)
{
    /* Drops what is prepared, this statement too, while it runs. */
    static const struct pg_statement forget = { "forget", "SELECT t.forget() + $1::int8 * 0" };
    struct probe t = { 0 };
    (void)state;
    world_sql(&world, "CREATE FUNCTION t.forget() RETURNS int8 LANGUAGE plpgsql AS $$ "
                      "BEGIN DEALLOCATE ALL; RETURN 1; END $$");
    struct pg_async *c = open_async(&t, false);
    ask(c, &t, &plus, 1);
    UNTIL(&world, t.answers == 1, 5000);
    ask(c, &t, &forget, 1);
    UNTIL(&world, t.answers == 2, 5000);
    assert_int_equal(t.outcome, OK);
    ask(c, &t, &plus, 1);
    UNTIL(&world, t.answers == 3, 5000);
    assert_int_equal(t.outcome, RETRY);
    assert_string_equal(t.sqlstate, "26000");
    for (int i = 4; i < 7; i++) {
        ask(c, &t, &plus, i);
        UNTIL(&world, t.answers == i, 5000);
        assert_int_equal(t.value, i + 1);
    }
    assert_int_equal(t.downs, 0);
    pg_async_free(c);
}

static void test_killed_backend_is_answered_once(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t, false);
    ask(c, &t, &own_pid, 0);
    UNTIL(&world, t.answers == 1, 5000);
    int64_t pid = t.value;
    ask(c, &t, &nap, 1);
    for (int i = 0; i < 10; i++)
        loop_turn(&world.loop, 10);
    world_sql(&world, "SELECT pg_terminate_backend(%lld)", (long long)pid);
    UNTIL(&world, t.answers == 2, 5000);
    assert_int_equal(t.outcome, RETRY);
    assert_string_equal(t.sqlstate, "57P01");
    assert_int_equal(t.downs, 1);
    UNTIL(&world, t.ups == 2, 5000);
    ask(c, &t, &plus, 1);
    UNTIL(&world, t.answers == 3, 5000);
    assert_int_equal(t.outcome, OK);

    /* The same while it is idle: noticed at once, without asking anything. */
    ask(c, &t, &own_pid, 0);
    UNTIL(&world, t.answers == 4, 5000);
    world_sql(&world, "SELECT pg_terminate_backend(%lld)", (long long)t.value);
    UNTIL(&world, t.downs == 2 && t.ups == 3, 5000);
    assert_int_equal(t.answers, 4);
    pg_async_free(c);
}

static void test_break_and_free_in_the_middle(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t, false);
    ask(c, &t, &nap, 1);
    loop_turn(&world.loop, 10);
    pg_async_break(c, "enough");
    assert_int_equal(t.answers, 1);
    assert_int_equal(t.outcome, RETRY);
    assert_string_equal(t.error.text, "enough");
    UNTIL(&world, t.ups == 2, 5000);
    ask(c, &t, &nap, 1);
    loop_turn(&world.loop, 10);
    pg_async_free(c);
    assert_int_equal(t.answers, 1);

    /* Freed while a helper thread connects. */
    struct error err;
    struct pg_async_options options = { .pg = { .dsn = world.dsn } };
    struct pg_async_calls calls = { .arg = &t };
    for (int i = 0; i < 5; i++) {
        assert_ok(pg_async_init(&c, &world.loop, &options, &calls, &err), &err);
        loop_turn(&world.loop, i);
        pg_async_free(c);
    }
    for (int i = 0; i < 10; i++)
        loop_turn(&world.loop, 20);
}

static void test_large_statement_and_answer(void **state)
{
    static const struct pg_statement echo = { "echo", "SELECT length($1::text)::int8, $1::text" };
    struct error err;
    struct probe t = { 0 };
    struct pg_params p;
    size_t n = 20 << 20;
    char *text = malloc(n + 1);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', n);
    text[n] = '\0';
    pg_params_init(&p, 64 << 20);
    pg_add_text(&p, text);
    struct pg_async *c = open_async(&t, false);
    assert_ok(pg_async_send(c, &echo, &p, on_answer, &t, &err), &err);
    UNTIL(&world, t.answers == 1, 20000);
    assert_int_equal(t.outcome, OK);
    assert_int_equal(t.value, n);
    pg_async_free(c);
    pg_params_release(&p);
    free(text);
}

static void test_server_away_is_waited_for(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t, false);
    world_server("stop");
    UNTIL(&world, t.downs >= 3, 20000); /* the break, and attempts that fail */
    assert_false(pg_async_is_up(c));
    world_server("start");
    UNTIL(&world, t.ups == 2, 20000);
    ask(c, &t, &plus, 41);
    UNTIL(&world, t.answers == 1, 5000);
    assert_int_equal(t.value, 42);
    pg_async_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars_come_back),
        cmocka_unit_test(test_arrays_hold_nulls_and_nothing),
        cmocka_unit_test(test_too_much_is_refused),
        cmocka_unit_test(test_failures_say_what_to_do),
        cmocka_unit_test(test_timeouts_end_both_ways),
        cmocka_unit_test(test_a_silent_host_is_passed_by),
        cmocka_unit_test(test_commits_wait_for_the_disk),
        cmocka_unit_test(test_schema_is_checked),
        cmocka_unit_test(test_async_answers),
        cmocka_unit_test(test_lost_prepared_statements_are_survived),
        cmocka_unit_test(test_killed_backend_is_answered_once),
        cmocka_unit_test(test_break_and_free_in_the_middle),
        cmocka_unit_test(test_large_statement_and_answer),
        cmocka_unit_test(test_server_away_is_waited_for),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
