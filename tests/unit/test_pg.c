/*
 * test_pg.c -- what can be said of Postgres without one.  With a server: tests/store.
 */
#include "tests/unit/cm.h"

#include "common/clock.h"
#include "common/pg_core.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_outcomes_of_sqlstates(void **state)
{
    static const struct {
        const char *sqlstate;
        enum outcome outcome;
    } rows[] = {
        { NULL, RETRY },      { "", RETRY },        { "08006", RETRY },   { "40001", RETRY },
        { "40P01", RETRY },   { "53300", RETRY },   { "53100", RETRY },   { "55P03", RETRY },
        { "57P01", RETRY },   { "57P03", RETRY },   { "57014", RETRY },   { "58030", RETRY },
        { "XX000", RETRY },   { "25006", RETRY },   { "26000", RETRY },   { "42P05", RETRY },
        { "22P02", REFUSED }, { "22021", REFUSED }, { "23505", REFUSED }, { "42501", REFUSED },
        { "42883", REFUSED }, { "P0001", REFUSED }, { "3D000", REFUSED }, { "28P01", REFUSED },
        { "54000", REFUSED }, { "0A000", REFUSED },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(pg_outcome_of(rows[i].sqlstate), rows[i].outcome);
}

/* Whatever is wrong with a DSN, no message shows its password. */
static void test_no_message_holds_the_password(void **state)
{
    static const char *const dsns[] = {
        "postgresql://user:Sesame%ZZ@127.0.0.1:1/db",
        "postgresql://user:Sesame@127.0.0.1:nonsense/db",
        "postgresql://user:Se@same@[::1/db",
        "host=127.0.0.1 port=1 password=Sesame dbname='db",
        "host=127.0.0.1 port=1 password = Sesame Sesame",
        "host=127.0.0.1 port=1 Sesame",
        "host=127.0.0.1 port=1 user=u password=Sesame dbname=db",
        "host=127.0.0.1 port=1 user=u password=Sesame sslmode=Sesame",
    };
    struct error err;
    struct pg *pg;
    (void)state;
    for (size_t i = 0; i < sizeof dsns / sizeof *dsns; i++) {
        struct pg_options options = { .dsn = dsns[i], .connect_timeout_ms = 500 };
        assert_int_not_equal(pg_open(&pg, &options, &err), OK);
        assert_null(pg);
        /* sslmode is no secret, and libpq says what is wrong with it. */
        if (!strstr(dsns[i], "sslmode"))
            assert_null(strstr(err.text, "esame"));
        assert_true(strlen(err.text) > 20);
        assert_null(strchr(err.text, '\n'));
    }
}

static void test_nobody_there(void **state)
{
    struct error err;
    struct pg *pg;
    struct pg_options options = { .dsn = "host=127.0.0.1,127.0.0.1 port=1,1 user=u dbname=db" };
    (void)state;
    assert_int_equal(pg_open(&pg, &options, &err), RETRY);
    assert_contains(err.text, "Connection refused");
}

/* Somebody who listens and says nothing. */
static void test_silent_server(void **state)
{
    struct error err;
    struct pg *pg;
    char dsn[100];
    struct pg_options options = { .dsn = dsn, .connect_timeout_ms = 300 };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%d user=u dbname=db", ntohs(at.sin_port));
    int64_t before_ms = clock_mono_ms();
    assert_int_equal(pg_open(&pg, &options, &err), RETRY);
    assert_true(clock_mono_ms() - before_ms < 5000);
    assert_contains(err.text, "127.0.0.1 did not answer in time");
    (void)close(listener);
}

static void test_hosts_of_a_dsn(void **state)
{
    static const struct {
        const char *dsn;
        size_t count;
        const char *name, *address, *port; /* of the last one */
    } cases[] = {
        { "dbname=db", 1, NULL, NULL, NULL },
        { "host=a port=1", 1, "a", NULL, "1" },
        { "host=a,b port=1,2", 2, "b", NULL, "2" },
        { "host=a,b,c port=7", 3, "c", NULL, "7" },
        { "host=a,b hostaddr=10.0.0.1,10.0.0.2", 2, "b", "10.0.0.2", NULL },
        { "postgresql://u:p@a:1,[::1]:2/db", 2, "::1", NULL, "2" },
        { "host=/tmp/x,", 2, "", NULL, NULL },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pg_host host;
        assert_int_equal(pg_hosts_count(cases[i].dsn), cases[i].count);
        pg_host_init(&host, cases[i].dsn, cases[i].count - 1);
        const char *const got[] = { host.name, host.address, host.port };
        const char *const want[] = { cases[i].name, cases[i].address, cases[i].port };
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(got[k] != NULL, want[k] != NULL);
            if (want[k])
                assert_string_equal(got[k], want[k]);
        }
        pg_host_release(&host);
    }
}

static void test_parameters_as_bytes(void **state)
{
    struct pg_params p;
    (void)state;
    pg_params_init(&p, 1000);
    pg_add_int4(&p, 0x01020304);
    pg_add_null(&p, PG_INT8);
    pg_add_null_array(&p, PG_UUID);
    assert_int_equal(p.count, 3);
    assert_memory_equal(p.bytes.data, "\1\2\3\4", 4);
    assert_int_equal(p.list[0].length, 4);
    assert_int_equal(p.list[1].length, -1);
    assert_int_equal(p.list[2].oid, 2951);
    pg_params_reset(&p);
    pg_array_begin(&p, PG_TEXT);
    pg_put_textn(&p, "abc", 2);
    pg_put_text(&p, NULL);
    pg_array_end(&p);
    static const char wire[] = "\0\0\0\1"
                               "\0\0\0\1"
                               "\0\0\0\31"
                               "\0\0\0\2"
                               "\0\0\0\1"
                               "\0\0\0\2"
                               "ab"
                               "\377\377\377\377";
    assert_int_equal(p.list[0].oid, 1009);
    assert_int_equal(p.list[0].length, sizeof wire - 1);
    assert_memory_equal(p.bytes.data, wire, sizeof wire - 1);
    pg_params_release(&p);
}

static void test_the_limit_holds(void **state)
{
    struct pg_params p;
    (void)state;
    pg_params_init(&p, 40);
    pg_array_begin(&p, PG_BYTEA);
    pg_put_bytea(&p, "0123456789012345678901234567890123456789", 41);
    pg_array_end(&p);
    assert_true(p.bytes.full);
    pg_params_reset(&p);
    assert_false(p.bytes.full);
    pg_add_text(&p, "0123456789");
    assert_int_equal(p.list[0].length, 10);
    pg_params_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes_of_sqlstates),
        cmocka_unit_test(test_no_message_holds_the_password),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_hosts_of_a_dsn),
        cmocka_unit_test(test_parameters_as_bytes),
        cmocka_unit_test(test_the_limit_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
