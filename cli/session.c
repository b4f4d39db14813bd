#include "cli/session.h"

#include "cli/output.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/pg.h"
#include "common/uuid.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_TIMEOUT_MS = 5000,
    STATEMENT_TIMEOUT_MS = 30000,
    MIGRATION_TIMEOUT_MS = 3600000,
    PARAMS_BYTES_MAX = 256 * 1024 * 1024,
    ANSWER_BYTES_MAX = 1 << 30,
};

struct session {
    struct pg *pg;
    char *dsn;
};

enum outcome session_reconnect(struct session *s, struct error *err)
{
    const struct pg_options options = { .dsn = s->dsn,
                                        .application = "pawl",
                                        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                        .statement_timeout_ms = STATEMENT_TIMEOUT_MS };
    pg_close(s->pg);
    s->pg = NULL;
    return pg_open(&s->pg, &options, err);
}

enum outcome session_connect(const char *dsn, struct session **out, struct error *err)
{
    struct session *s = xcalloc(1, sizeof *s);
    s->dsn = xstrdup(dsn);
    enum outcome o = session_reconnect(s, err);
    if (o != OK) {
        session_close(s);
        s = NULL;
    }
    *out = s;
    return o;
}

int session_open(struct cli *cli, struct session **out)
{
    struct error err;
    int code = cli->configured ? CLI_DONE : cli_configure(cli);
    *out = NULL;
    if (code != CLI_DONE)
        return code;
    if (!cli->config.postgres_dsn)
        return cli_fail(CLI_CONFIG,
                        "no Postgres is configured: run `pawl dev` in this directory, or set "
                        "PAWL_POSTGRES_DSN or --config FILE");
    enum outcome o = session_connect(cli->config.postgres_dsn, out, &err);
    if (o == RETRY && cli->config_is_dev)
        return cli_fail(CLI_UNAVAILABLE, "the stack in %s does not answer; start it with: pawl dev",
                        cli_dev_directory(cli));
    if (o != OK)
        return cli_fail(o == RETRY ? CLI_UNAVAILABLE : CLI_CONFIG, "%s", err.text);
    o = pg_check_schema((*out)->pg, "pawl", &err);
    if (o == OK)
        return CLI_DONE;
    session_close(*out);
    *out = NULL;
    return cli_fail(o == RETRY ? CLI_UNAVAILABLE : CLI_FAILED, "%s", err.text);
}

void session_close(struct session *s)
{
    if (!s)
        return;
    pg_close(s->pg);
    free(s->dsn);
    free(s);
}

static enum outcome read_answer(const struct pg_result *r, json_t **out, struct error *err)
{
    const struct json_limits limits = { ANSWER_BYTES_MAX, JSON_DEPTH_MAX };
    *out = NULL;
    if (pg_row_count(r) == 0 || pg_is_null(r, 0, 0))
        return OK;
    assert(pg_column_count(r) == 1);
    enum outcome o = json_read(pg_text(r, 0, 0), pg_length(r, 0, 0), &limits, out, err);
    return o == REFUSED ? BROKEN : o; /* Postgres has made it: it cannot be bad */
}

enum outcome session_ask(struct session *s, const char *sql, const char *const *params,
                         size_t n_params, json_t **out, struct error *err)
{
    struct pg_params p;
    struct pg_result *r = NULL;
    *out = NULL;
    assert(s);
    if (!s->pg || !pg_is_open(s->pg))
        return fail(err, RETRY, "the connection to Postgres was lost");
    pg_params_init(&p, PARAMS_BYTES_MAX);
    for (size_t i = 0; i < n_params; i++)
        pg_add_text(&p, params[i]);
    enum outcome o = pg_exec(s->pg, sql, &p, 0, &r, err);
    pg_params_release(&p);
    if (o == OK)
        o = read_answer(r, out, err);
    pg_result_free(r);
    return o;
}

int session_get(struct session *s, const char *sql, const char *const *params, size_t n_params,
                json_t **out)
{
    struct error err;
    enum outcome o = session_ask(s, sql, params, n_params, out, &err);
    return o == OK ? CLI_DONE : cli_answer(o, &err);
}

int session_list(struct cli *cli, const char *sql, const char *const *params, size_t n_params,
                 const struct list_view *view)
{
    struct session *s;
    json_t *list;
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = session_get(s, sql, params, n_params, &list);
    session_close(s);
    if (code != CLI_DONE)
        return code;
    output_list(view, list, cli_given(cli, "json"));
    json_decref(list);
    return CLI_DONE;
}

enum outcome session_script(struct session *s, const char *sql, struct error *err)
{
    if (!s->pg || !pg_is_open(s->pg))
        return fail(err, RETRY, "the connection to Postgres was lost");
    return pg_run(s->pg, sql, MIGRATION_TIMEOUT_MS, err);
}

int session_find_run(struct session *s, const char *text, char run[SESSION_RUN_SIZE])
{
    const char *params[] = { text };
    json_t *found;
    int code = session_get(s, "SELECT coalesce(json_agg(f), '[]') FROM pawl.find_runs($1) f",
                           params, 1, &found);
    if (code != CLI_DONE)
        return code;
    if (json_array_size(found) == 1)
        (void)snprintf(run, SESSION_RUN_SIZE, "%s", json_string_value(json_array_get(found, 0)));
    else if (json_array_size(found) > 1)
        code = cli_fail(CLI_FAILED, "more than one run ends in '%s'; give more of its id", text);
    else
        code = cli_fail(CLI_FAILED, "there is no run '%s'; `pawl run list` shows them", text);
    json_decref(found);
    return code;
}
