#include "tests/store/world.h"

#include "common/buf.h"
#include "common/migrations.h"

#include <stdlib.h>

static void connect_now(struct world *w)
{
    struct error err;
    struct pg_options options = { .dsn = w->dsn, .application = "pawl-tests" };
    enum outcome outcome = RETRY;
    for (int i = 0; i < 300 && outcome == RETRY; i++) {
        outcome = pg_open(&w->pg, &options, &err);
        if (outcome == RETRY)
            loop_turn(&w->loop, 100);
    }
    assert_ok(outcome, &err);
}

static struct pg_result *query(struct world *w, const char *sql)
{
    struct error err;
    struct pg_result *rows = NULL;
    enum outcome outcome = RETRY;
    for (int i = 0; i < 5 && outcome == RETRY; i++) {
        if (!w->pg || !pg_is_open(w->pg)) {
            pg_close(w->pg);
            connect_now(w);
        }
        outcome = pg_exec(w->pg, sql, NULL, 0, &rows, &err);
    }
    if (outcome != OK)
        fail_msg("%s: %s", sql, err.text);
    return rows;
}

static struct pg_result *formatted(struct world *w, const char *format, va_list args)
{
    struct buf sql;
    buf_init(&sql, 1 << 20);
    assert_true(buf_vprintf(&sql, format, args));
    struct pg_result *rows = query(w, sql.data);
    buf_release(&sql);
    return rows;
}

void world_sql(struct world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pg_result_free(formatted(w, format, args));
    va_end(args);
}

int64_t world_int(struct world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct pg_result *rows = formatted(w, format, args);
    va_end(args);
    assert_int_equal(pg_row_count(rows), 1);
    int64_t value = pg_int8(rows, 0, 0);
    pg_result_free(rows);
    return value;
}

const char *world_text(struct world *w, char out[200], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct pg_result *rows = formatted(w, format, args);
    va_end(args);
    assert_int_equal(pg_row_count(rows), 1);
    const char *text = pg_text(rows, 0, 0);
    (void)snprintf(out, 200, "%s", text ? text : "(null)");
    pg_result_free(rows);
    return out;
}

static void run_script(struct world *w, const char *sql)
{
    struct error err;
    assert_ok(pg_run(w->pg, sql, 60000, &err), &err);
}

static const char table[] =
    "DROP SCHEMA IF EXISTS pawl CASCADE; CREATE SCHEMA pawl; CREATE TABLE pawl.schema_migrations "
    "(number int PRIMARY KEY, name text NOT NULL, digest text NOT NULL, applied_at timestamptz NOT "
    "NULL DEFAULT now())";

static const char published[] =
    "SELECT pawl.publish('tool', x.name, encode(sha256(x.name::bytea), 'hex'), '{}', 'tests', "
    "NULL, "
    "NULL, x.effect, x.on_unknown, 1000, 3, 86400000) FROM (VALUES ('look', 'read_only', "
    "'tell_model'), ('put', 'idempotent', 'tell_model'), ('send', 'once', 'tell_model'), ('pay', "
    "'once', 'probe')) AS x (name, effect, on_unknown); "
    "SELECT pawl.publish('agent', 'billing', repeat('a', 64), '{}', 'tests', 3600000, 16, NULL, "
    "NULL, NULL, NULL, NULL); UPDATE pawl.settings SET class_places = 1000000";

/* What the daemons do, they do with the rights of their roles. */
static const char logins[] =
    "DO $$ DECLARE k text; BEGIN FOREACH k IN ARRAY ARRAY['planner', 'executor'] LOOP "
    "IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'test_' || k) THEN "
    "EXECUTE format('CREATE ROLE %I LOGIN', 'test_' || k); END IF; "
    "EXECUTE format('GRANT %I TO %I', 'pawl_' || k, 'test_' || k); END LOOP; END $$";

/* The protocol's own words for tests. */
static const char words[] =
    "DROP SCHEMA IF EXISTS t CASCADE; CREATE SCHEMA t;"
    "CREATE FUNCTION t.start() RETURNS uuid LANGUAGE sql AS $$ SELECT run_id FROM "
    "pawl.accept(NULL, ARRAY['tests'], ARRAY[gen_random_uuid()::text], ARRAY[''::bytea], "
    "ARRAY['billing'], ARRAY['tenant'], ARRAY['default'], ARRAY['\"hello\"'], "
    "ARRAY['{\"m\":1}'], ARRAY[NULL::timestamptz], ARRAY[NULL::timestamptz], 'tests', 60000) $$;"
    "CREATE FUNCTION t.planned(p bigint, tools text[]) RETURNS uuid LANGUAGE plpgsql AS $$ "
    "DECLARE run uuid := t.start(); n int := cardinality(tools); tok uuid := gen_random_uuid(); "
    "BEGIN PERFORM pawl.claim_plans(p, ARRAY[tok], ARRAY[run], false); "
    "PERFORM pawl.commit_plans(p, ARRAY[tok], ARRAY[run], ARRAY[1], ARRAY[1], ARRAY[1], "
    "ARRAY['calls'], ARRAY[0::bigint], ARRAY['code'], ARRAY['text'], ARRAY['m'], "
    "ARRAY[1::bigint], ARRAY[1::bigint], ARRAY[0::bigint], ARRAY[1::bigint], ARRAY[1], "
    "array_fill(0, ARRAY[n]), (SELECT array_agg(i) FROM generate_series(0, n - 1) i), "
    "array_fill('function_call'::text, ARRAY[n]), array_fill(NULL::text, ARRAY[n]), "
    "array_fill(NULL::text, ARRAY[n]), "
    "(SELECT array_agg('call_' || i) FROM generate_series(1, n) i), tools, "
    "(SELECT array_agg(v.seq ORDER BY o) FROM unnest(tools) WITH ORDINALITY y (x, o) JOIN "
    "pawl.current_revisions v ON v.kind = 'tool' AND v.name = x), "
    "(SELECT array_agg('{\"n\":' || i || '}') FROM generate_series(1, n) i), "
    "(SELECT array_agg(sha256(('x' || i)::bytea)) FROM generate_series(1, n) i), "
    "array_fill(NULL::text, ARRAY[n])); RETURN run; END $$";

void world_open(struct world *w)
{
    struct error err;
    *w = (struct world){ .dsn = getenv("PAWL_TEST_DSN") };
    if (!w->dsn)
        fail_msg("PAWL_TEST_DSN is not set: run this by tools/with_postgres");
    assert_ok(loop_init(&w->loop, &err), &err);
    connect_now(w);
    run_script(w, table);
    for (size_t i = 0; i < pawl_migration_count; i++) {
        run_script(w, pawl_migrations[i].sql);
        world_sql(w,
                  "INSERT INTO pawl.schema_migrations (number, name, digest) VALUES (%d, '%s', '')",
                  pawl_migrations[i].number, pawl_migrations[i].name);
    }
    run_script(w, published);
    run_script(w, logins);
    (void)snprintf(w->planner_dsn, sizeof w->planner_dsn, "%s user=test_planner", w->dsn);
    (void)snprintf(w->executor_dsn, sizeof w->executor_dsn, "%s user=test_executor", w->dsn);
    run_script(w, words);
}

void world_close(struct world *w)
{
    pg_close(w->pg);
    loop_release(&w->loop);
}

static struct uuid uuid_of(struct pg_result *rows)
{
    struct uuid run = pg_uuid(rows, 0, 0);
    pg_result_free(rows);
    return run;
}

struct uuid world_start_run(struct world *w)
{
    return uuid_of(query(w, "SELECT t.start()"));
}

struct uuid world_planned_run(struct world *w, int64_t planner, const char *tools)
{
    char sql[200];
    (void)snprintf(sql, sizeof sql, "SELECT t.planned(%lld, '{%s}')", (long long)planner, tools);
    return uuid_of(query(w, sql));
}

int64_t world_worker(struct world *w, const char *kind, const char *instance)
{
    return world_int(w, "SELECT pawl.register('%s', '%s', 'default', 'test', 1, 100)", instance,
                     kind);
}

void world_server(const char *verb)
{
    char command[100];
    (void)snprintf(command, sizeof command, "tests/store/server %s", verb);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): our own script */
}
