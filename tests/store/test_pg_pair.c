/*
 * test_pg_pair.c -- two statements in one round trip, answered before their commit.
 *
 * A deferred trigger makes the commit itself wait or fail: it takes an advisory
 * lock that the test holds, and refuses negative numbers.
 */
#include "tests/store/world.h"

#include "common/pg_async.h"

#include <stdlib.h>

static struct world world;

enum { GATE = 4711 };

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    world_sql(&world, "CREATE TABLE public.paired (n bigint)");
    world_sql(&world,
              "CREATE FUNCTION public.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
              "PERFORM pg_advisory_xact_lock(%d); IF NEW.n < 0 THEN RAISE 'never'; END IF; "
              "RETURN NULL; END $$",
              GATE);
    world_sql(&world,
              "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON public.paired DEFERRABLE "
              "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.at_commit()");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_sql(&world, "DROP TABLE public.paired");
    world_sql(&world, "DROP FUNCTION public.at_commit");
    world_close(&world);
    return 0;
}

struct probe {
    int ups, downs, answers, settled;
    enum outcome outcome;
    char sqlstate[PG_SQLSTATE_SIZE];
    int64_t first, second;
    struct error error;
};

static void on_up(void *arg)
{
    ((struct probe *)arg)->ups++;
}

static void on_down(void *arg, enum outcome outcome, const struct error *err)
{
    struct probe *t = arg;
    (void)outcome;
    t->error = *err;
    t->downs++;
}

static void on_settled(void *arg)
{
    ((struct probe *)arg)->settled++;
}

static void on_pair(void *arg, enum outcome outcome, struct pg_result *first,
                    struct pg_result *second, const char *sqlstate, const struct error *err)
{
    struct probe *t = arg;
    t->answers++;
    t->outcome = outcome;
    (void)snprintf(t->sqlstate, sizeof t->sqlstate, "%s", sqlstate);
    assert_true((outcome == OK) == (first != NULL));
    assert_true((outcome == OK) == (second != NULL));
    if (outcome == OK) {
        t->first = pg_int8(first, 0, 0);
        t->second = pg_int8(second, 0, 0);
    } else {
        t->error = *err;
    }
    pg_result_free(first);
    pg_result_free(second);
}

static void on_plain(void *arg, enum outcome outcome, struct pg_result *rows, const char *sqlstate,
                     const struct error *err)
{
    struct probe *t = arg;
    (void)sqlstate;
    (void)err;
    t->answers++;
    t->outcome = outcome;
    pg_result_free(rows);
}

static const struct pg_statement put = {
    "put", "INSERT INTO public.paired VALUES ($1::int8) RETURNING pg_backend_pid()::int8"
};
static const struct pg_statement look = { "look",
                                          "SELECT 10 / $1::int8 + count(*) FROM public.paired" };

static struct pg_params *one_number(int at, int64_t value)
{
    static struct pg_params params[2];
    static bool made[2];
    if (!made[at])
        pg_params_init(&params[at], 1000);
    made[at] = true;
    pg_params_reset(&params[at]);
    pg_add_int8(&params[at], value);
    return &params[at];
}

static void ask(struct pg_async *c, struct probe *t, const struct pg_statement *statement,
                int64_t value)
{
    struct error err;
    int before = t->answers;
    assert_ok(pg_async_send(c, statement, one_number(0, value), on_plain, t, &err), &err);
    UNTIL(&world, t->answers == before + 1, 5000);
    assert_int_equal(t->outcome, OK);
}

static void send_pair(struct pg_async *c, struct probe *t, int64_t value, int64_t divisor)
{
    const struct pg_async_pair pair = {
        .statement = { &put, &look },
        .params = { one_number(0, value), one_number(1, divisor) },
    };
    int before = t->answers;
    pg_async_send_pair(c, &pair, on_pair, t);
    assert_int_equal(t->answers, before); /* never from inside */
}

/* A connection that has both statements prepared. */
static struct pg_async *open_async(struct probe *t)
{
    struct error err;
    struct pg_async *c;
    const struct pg_async_options options = { .pg = { .dsn = world.dsn,
                                                      .application = "pawl-pair" } };
    const struct pg_async_calls calls = {
        .arg = t, .on_up = on_up, .on_down = on_down, .on_settled = on_settled
    };
    world_sql(&world, "TRUNCATE public.paired");
    assert_ok(pg_async_init(&c, &world.loop, &options, &calls, &err), &err);
    UNTIL(&world, t->ups == 1, 10000);
    assert_false(pg_async_can_pair(c, &put, &look));
    ask(c, t, &put, 1);
    assert_false(pg_async_can_pair(c, &put, &look));
    ask(c, t, &look, 1);
    assert_true(pg_async_can_pair(c, &put, &look));
    return c;
}

static void close_gate(void)
{
    world_sql(&world, "SELECT pg_advisory_lock(%d)", GATE);
}

static void open_gate(void)
{
    world_sql(&world, "SELECT pg_advisory_unlock(%d)", GATE);
}

static int64_t rows(void)
{
    return world_int(&world, "SELECT count(*) FROM public.paired");
}

static void test_both_are_answered_and_the_second_sees_the_first(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t);
    for (int i = 1; i <= 3; i++) {
        send_pair(c, &t, i, 10);
        UNTIL(&world, pg_async_is_idle(c), 5000);
        assert_int_equal(t.answers, 2 + i);
        assert_int_equal(t.outcome, OK);
        assert_int_equal(t.second, 1 + 1 + i);
        assert_int_equal(rows(), 1 + i);
        ask(c, &t, &look, 1); /* and a plain one in between */
        t.answers--;
    }
    assert_int_equal(t.downs, 0);
    pg_async_free(c);
}

static void test_the_answer_is_there_before_the_commit(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t);
    close_gate();
    send_pair(c, &t, 2, 10);
    UNTIL(&world, t.answers == 3, 5000);
    assert_int_equal(t.outcome, OK);
    assert_int_equal(t.second, 3);
    assert_int_equal(rows(), 1); /* not committed */
    assert_false(pg_async_is_idle(c));
    assert_true(pg_async_is_up(c));
    assert_int_equal(t.settled, 0);
    open_gate();
    UNTIL(&world, t.settled == 1, 5000);
    assert_true(pg_async_is_idle(c));
    assert_int_equal(rows(), 2);
    assert_int_equal(t.answers, 3);
    pg_async_free(c);
}

static void test_a_commit_that_fails_after_the_answer_breaks_the_connection(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t);
    close_gate();
    send_pair(c, &t, -1, 10);
    UNTIL(&world, t.answers == 3, 5000);
    assert_int_equal(t.outcome, OK);
    open_gate();
    UNTIL(&world, t.downs == 1, 5000);
    assert_non_null(strstr(t.error.text, "never"));
    assert_int_equal(t.answers, 3);
    assert_int_equal(rows(), 1);
    UNTIL(&world, t.ups == 2, 5000);
    ask(c, &t, &look, 1);
    pg_async_free(c);
}

static void test_what_fails_is_answered_once_and_nothing_of_it_is_stored(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t);
    send_pair(c, &t, 5, 0); /* the second divides by zero */
    UNTIL(&world, t.answers == 3, 5000);
    assert_int_equal(t.outcome, REFUSED);
    assert_string_equal(t.sqlstate, "22012");
    assert_true(pg_async_is_idle(c));
    assert_int_equal(rows(), 1);
    send_pair(c, &t, 6, 10);
    UNTIL(&world, pg_async_is_idle(c), 5000);
    assert_int_equal(t.answers, 4);
    assert_int_equal(t.outcome, OK);

    world_sql(&world, "ALTER TABLE public.paired RENAME TO away");
    send_pair(c, &t, 7, 10); /* the first fails, and the second is passed over */
    UNTIL(&world, t.answers == 5, 5000);
    world_sql(&world, "ALTER TABLE public.away RENAME TO paired");
    assert_int_equal(t.outcome, REFUSED);
    assert_string_equal(t.sqlstate, "42P01");
    assert_int_equal(rows(), 2);
    assert_int_equal(t.downs, 0);
    pg_async_free(c);
}

static void test_a_killed_backend_is_answered_once(void **state)
{
    struct probe t = { 0 };
    (void)state;
    struct pg_async *c = open_async(&t);
    send_pair(c, &t, 2, 10);
    UNTIL(&world, pg_async_is_idle(c), 5000);
    world_sql(&world, "BEGIN");
    world_sql(&world, "LOCK TABLE public.paired IN ACCESS EXCLUSIVE MODE");
    send_pair(c, &t, 3, 10);
    loop_turn(&world.loop, 10);
    world_sql(&world, "SELECT pg_terminate_backend(%lld)", (long long)t.first);
    UNTIL(&world, t.answers == 4, 5000);
    world_sql(&world, "ROLLBACK");
    assert_int_equal(t.outcome, RETRY);
    assert_string_equal(t.sqlstate, "57P01");
    assert_int_equal(t.downs, 1);
    UNTIL(&world, t.ups == 2, 5000);

    /* The same while it settles: there is nothing left to be answered. */
    ask(c, &t, &put, 1);
    ask(c, &t, &look, 1);
    close_gate();
    send_pair(c, &t, 4, 10);
    UNTIL(&world, t.answers == 7, 5000);
    int64_t before = t.settled;
    world_sql(&world, "SELECT pg_terminate_backend(%lld)", (long long)t.first);
    UNTIL(&world, t.downs == 2, 5000);
    open_gate();
    assert_int_equal(t.answers, 7);
    assert_int_equal(t.settled, before);
    UNTIL(&world, t.ups == 3, 5000);
    assert_int_equal(world_int(&world, "SELECT count(*) FROM public.paired WHERE n IN (3, 4)"), 0);
    pg_async_free(c);
}

static void test_freed_at_any_moment(void **state)
{
    (void)state;
    close_gate();
    for (int turns = 0; turns < 6; turns++) {
        struct probe t = { 0 };
        open_gate();
        struct pg_async *c = open_async(&t);
        close_gate();
        send_pair(c, &t, 2, 10);
        for (int i = 0; i < turns; i++)
            loop_turn(&world.loop, 5);
        pg_async_free(c);
    }
    open_gate();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_are_answered_and_the_second_sees_the_first),
        cmocka_unit_test(test_the_answer_is_there_before_the_commit),
        cmocka_unit_test(test_a_commit_that_fails_after_the_answer_breaks_the_connection),
        cmocka_unit_test(test_what_fails_is_answered_once_and_nothing_of_it_is_stored),
        cmocka_unit_test(test_a_killed_backend_is_answered_once),
        cmocka_unit_test(test_freed_at_any_moment),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
