#include "cli/migrate.h"

#include "common/digest.h"
#include "common/json.h"
#include "common/migrations.h"

#include <string.h>

/* Also the name space of the workers' locks; a worker's number is never 0 there
 * and this lock has one key, not two, so that they cannot meet.             */
#define LOCK "1885435756000"

static const char prepare_sql[] = "CREATE SCHEMA IF NOT EXISTS pawl;"
                                  "CREATE TABLE IF NOT EXISTS pawl.schema_migrations ("
                                  "    number     int PRIMARY KEY,"
                                  "    name       text NOT NULL,"
                                  "    digest     text NOT NULL,"
                                  "    applied_at timestamptz NOT NULL DEFAULT now());";

static const char read_table_sql[] =
    "SELECT coalesce(json_agg(m ORDER BY m.number), '[]') FROM pawl.schema_migrations m";

/* What the operator's role may call; the table itself is its owner's. */
static const char read_function_sql[] =
    "SELECT coalesce(json_agg(m ORDER BY m.number), '[]') FROM pawl.read_migrations() m";

static enum outcome run(struct session *s, const char *sql, struct error *err)
{
    return session_script(s, sql, err);
}

static const json_t *find_applied(const json_t *applied, int number)
{
    const json_t *row;
    size_t i;
    json_array_foreach(applied, i, row)
        if (json_int_or(row, "number", 0) == number)
            return row;
    return NULL;
}

static void migration_digest(const struct migration *m, char out[DIGEST_TEXT_SIZE])
{
    struct digest digest;
    digest_of(m->sql, strlen(m->sql), &digest);
    digest_hex(&digest, out);
}

static enum outcome check_unchanged(const struct migration *m, const json_t *row, struct error *err)
{
    char digest[DIGEST_TEXT_SIZE];
    migration_digest(m, digest);
    if (!strcmp(digest, json_str_or(row, "digest", "")))
        return OK;
    return fail(err, REFUSED,
                "migration %04d_%s was applied in another form than this build carries; use the "
                "build that fits the database, or a fresh database",
                m->number, m->name);
}

static enum outcome apply_in_transaction(struct session *s, const struct migration *m,
                                         struct error *err)
{
    char digest[DIGEST_TEXT_SIZE], number[16];
    json_t *nothing;
    migration_digest(m, digest);
    (void)snprintf(number, sizeof number, "%d", m->number);
    const char *params[] = { number, m->name, digest };
    enum outcome o = run(s, m->sql, err);
    if (o == OK)
        o = session_ask(s,
                        "INSERT INTO pawl.schema_migrations (number, name, digest) "
                        "VALUES ($1::int, $2, $3) RETURNING 'true'::json",
                        params, 3, &nothing, err);
    if (o == OK) {
        json_decref(nothing);
        o = run(s, "COMMIT", err);
    }
    return o;
}

static enum outcome apply(struct session *s, const struct migration *m, struct error *err)
{
    struct error why, ignored;
    enum outcome o = run(s, "BEGIN", err);
    if (o == OK)
        o = apply_in_transaction(s, m, err);
    if (o == OK)
        return OK;
    why = *err;
    (void)run(s, "ROLLBACK", &ignored);
    return fail(err, o, "migration %04d_%s: %.180s", m->number, m->name, why.text);
}

static enum outcome apply_all(struct session *s, migrate_step *step, void *self, int *count,
                              struct error *err)
{
    json_t *applied;
    enum outcome o = run(s, prepare_sql, err);
    if (o == OK)
        o = session_ask(s, read_table_sql, NULL, 0, &applied, err);
    if (o != OK)
        return o;
    for (size_t i = 0; i < pawl_migration_count && o == OK; i++) {
        const struct migration *m = &pawl_migrations[i];
        const json_t *row = find_applied(applied, m->number);
        if (row) {
            o = check_unchanged(m, row, err);
        } else if ((o = apply(s, m, err)) == OK) {
            (*count)++;
            if (step)
                step(self, m->number, m->name);
        }
    }
    json_decref(applied);
    return o;
}

enum outcome migrate_up(struct session *s, migrate_step *step, void *self, int *applied,
                        struct error *err)
{
    struct error ignored;
    int count = 0;
    enum outcome o =
        run(s, "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(" LOCK ")",
            err);
    if (o == OK)
        o = apply_all(s, step, self, &count, err);
    if (o == OK) /* time has passed since the last call, perhaps */
        o = run(s, "SELECT pawl.ensure_partitions()", err);
    (void)run(s, "SELECT pg_advisory_unlock(" LOCK ")", &ignored);
    if (applied)
        *applied = count;
    return o;
}

/* ---- status ------------------------------------------------------------------ */

static enum outcome read_applied(struct session *s, json_t **out, struct error *err)
{
    json_t *has = NULL;
    enum outcome o = session_ask(
        s,
        "SELECT json_build_object('function', to_regprocedure('pawl.read_migrations()') "
        "IS NOT NULL, 'table', to_regclass('pawl.schema_migrations') IS NOT NULL)",
        NULL, 0, &has, err);
    if (o != OK)
        return o;
    bool function = json_bool_or(has, "function", false), table = json_bool_or(has, "table", false);
    json_decref(has);
    *out = NULL;
    if (function || table)
        o = session_ask(s, function ? read_function_sql : read_table_sql, NULL, 0, out, err);
    if (o == OK && !*out)
        *out = json_array();
    return o;
}

static void add_row(json_t *rows, int number, const char *name, const char *state,
                    const json_t *row)
{
    const char *at = json_str(row, "applied_at");
    (void)json_array_append_new(rows, json_pack("{s:i, s:s, s:s, s:s?}", "number", number, "name",
                                                name, "state", state, "applied_at", at));
}

enum outcome migrate_status(struct session *s, json_t **out, struct error *err)
{
    json_t *applied;
    const json_t *row;
    size_t i;
    enum outcome o = read_applied(s, &applied, err);
    if (o != OK)
        return o;
    *out = json_array();
    for (i = 0; i < pawl_migration_count; i++) {
        const struct migration *m = &pawl_migrations[i];
        struct error ignored;
        row = find_applied(applied, m->number);
        const char *state = !row                                      ? "pending"
                            : check_unchanged(m, row, &ignored) == OK ? "applied"
                                                                      : "changed";
        add_row(*out, m->number, m->name, state, row);
    }
    json_array_foreach(applied, i, row)
        if (json_int_or(row, "number", 0) > (int64_t)pawl_migration_count)
            add_row(*out, (int)json_int_or(row, "number", 0), json_str_or(row, "name", "?"),
                    "newer", row);
    json_decref(applied);
    return OK;
}
