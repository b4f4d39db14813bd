/*
 * tenants.c -- `pawl tenant set` and `pawl tenant list`: who gets how much of a
 * fleet, and who waits.
 */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
#include "common/json.h"

#include <stdio.h>

enum { WEIGHT_MAX = 1000, CONCURRENCY_MAX = 1000000 };

static const char set_sql[] =
    "SELECT json_build_object('tenant', $1::text, 'weight', t.weight, 'concurrency', "
    "t.concurrency) FROM pawl.set_tenant($1, $2::int, $3::int, $4) t";

static const char list_sql[] =
    "SELECT coalesce(json_agg(t), '[]') FROM ("
    " SELECT l.tenant, l.class, l.weight, l.concurrency, l.running, l.queued, l.oldest"
    " FROM pawl.tenant_load l ORDER BY l.tenant, l.class) t";

/* The option as text for Postgres; NULL: it was not given. */
static const char *number(const struct cli *cli, const char *option, int64_t min, int64_t max,
                          struct error *err, enum outcome *outcome)
{
    int64_t value;
    if (*outcome == OK)
        *outcome = cli_number(cli, option, 0, min, max, &value, err);
    return cli_text(cli, option);
}

int tenant_set_command(struct cli *cli)
{
    struct session *s;
    struct error err;
    json_t *tenant = NULL;
    enum outcome o = OK;
    const char *weight = number(cli, "weight", 1, WEIGHT_MAX, &err, &o);
    const char *concurrency = number(cli, "concurrency", 0, CONCURRENCY_MAX, &err, &o);
    if (o != OK)
        return cli_usage(cli, "%s", err.text);
    if (!weight && !concurrency)
        return cli_usage(cli, "give --weight, --concurrency or both");
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    const char *params[] = { cli->operands[0], weight, concurrency, cli_who(cli) };
    code = session_get(s, set_sql, params, 4, &tenant);
    session_close(s);
    if (code == CLI_DONE && cli_given(cli, "json"))
        output_json(tenant);
    else if (code == CLI_DONE)
        printf("%s has weight %lld and %s\n", cli->operands[0],
               (long long)json_int_or(tenant, "weight", 1),
               json_int_or(tenant, "concurrency", 0) > 0 ? "a limit of its own"
                                                         : "no limit but its share");
    json_decref(tenant);
    return code;
}

static void tenant_row(struct table *t, const json_t *row)
{
    long long limit = json_int_or(row, "concurrency", 0);
    table_foreign(t, STYLE_BOLD, json_str(row, "tenant"));
    table_foreign(t, STYLE_PLAIN, json_str_or(row, "class", ""));
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(row, "weight", 1));
    table_cell(t, STYLE_PLAIN, limit > 0 ? "%lld" : "-", limit);
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(row, "running", 0));
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(row, "queued", 0));
    table_moment(t, json_str(row, "oldest"));
}

int tenant_list_command(struct cli *cli)
{
    static const char *const heads[] = { "TENANT",   "CLASS",   ">WEIGHT",      ">LIMIT",
                                         ">RUNNING", ">QUEUED", "OLDEST QUEUED" };
    static const struct list_view view =
        LIST_VIEW(heads, tenant_row, "no tenant has asked for a run yet, and none was set");
    return session_list(cli, list_sql, NULL, 0, &view);
}
