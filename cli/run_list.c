/*
 * run_list.c -- `pawl run list` and `pawl run show`.
 */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/run_watch.h"
#include "cli/session.h"
#include "cli/timeline.h"
#include "common/json.h"

#include <string.h>

static const char list_sql[] =
    "SELECT coalesce(json_agg(t), '[]') FROM ("
    " SELECT r.run_id, r.agent, r.tenant, r.status, r.step, r.waits_for, r.open_calls, "
    "r.waiting_calls,"
    "        r.model_calls, r.cost, r.created_at, r.ended_at, (extract(epoch FROM r.took) * "
    "1000)::bigint AS took_ms,"
    "        r.error_code, r.error"
    " FROM pawl.runs r"
    " WHERE ($1::text IS NULL OR r.status = $1) AND ($2::text IS NULL OR r.agent = $2)"
    "   AND ($3::text IS NULL OR r.tenant = $3) AND ($4::text IS NULL OR r.ended_at IS NULL)"
    " ORDER BY r.run_id DESC LIMIT $5::int) t";

static void list_row(struct table *t, const json_t *run)
{
    char took[OUTPUT_TIME_SIZE], cost[OUTPUT_TIME_SIZE];
    const char *status = json_str_or(run, "status", "");
    const char *waits_for = json_str(run, "waits_for"), *error = json_str(run, "error");
    table_cell(t, STYLE_PLAIN, "%s", json_str_or(run, "run_id", ""));
    table_foreign(t, STYLE_PLAIN, json_str(run, "agent"));
    table_foreign(t, STYLE_PLAIN, json_str(run, "tenant"));
    table_cell(t, output_status_style(status), "%s", status);
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(run, "step", 0));
    table_moment(t, json_str(run, "created_at"));
    table_cell(t, STYLE_PLAIN, "%s", output_duration(json_int_or(run, "took_ms", -1), took));
    table_cell(t, STYLE_PLAIN, "%s",
               output_money((int64_t)(json_num_or(run, "cost", 0) * 1e6 + 0.5), cost));
    if (waits_for)
        table_cell(t, STYLE_DIM, "waits for %s", waits_for);
    else
        table_foreign(t, STYLE_DIM, error);
}

static bool is_status(const char *text)
{
    static const char *const all[] = { "queued",    "running", "suspended",
                                       "succeeded", "failed",  "cancelled" };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i], text))
            return true;
    return false;
}

int run_list_command(struct cli *cli)
{
    static const char *const heads[] = { "RUN",   "AGENT", "TENANT", "STATUS", ">STEP",
                                         "BEGAN", ">TOOK", ">COST",  "" };
    static const struct list_view view = LIST_VIEW(
        heads, list_row, "no runs; start one with: pawl run start --agent NAME --input TEXT");
    struct error err;
    int64_t limit;
    char limit_text[24];
    const char *status = cli_text(cli, "status");
    if (cli_number(cli, "limit", 20, 1, 10000, &limit, &err) != OK)
        return cli_usage(cli, "%s", err.text);
    if (status && !is_status(status))
        return cli_usage(
            cli, "--status '%s' is not queued, running, suspended, succeeded, failed or cancelled",
            status);
    (void)snprintf(limit_text, sizeof limit_text, "%lld", (long long)limit);
    const char *params[] = { status, cli_text(cli, "agent"), cli_setting(cli, "tenant"),
                             cli_text(cli, "live"), limit_text };
    return session_list(cli, list_sql, params, 5, &view);
}

int run_show_command(struct cli *cli)
{
    struct session *s;
    json_t *document = NULL;
    char run[SESSION_RUN_SIZE];
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    bool json = cli_given(cli, "json");
    code = session_find_run(s, cli->operands[0], run);
    if (code == CLI_DONE)
        code = run_timeline(s, run, json, &document);
    if (code == CLI_DONE && !document)
        code = cli_fail(CLI_FAILED, "there is no run %s", run);
    else if (code == CLI_DONE && json)
        output_json(document);
    else if (code == CLI_DONE)
        timeline_print(document, stdout);
    json_decref(document);
    session_close(s);
    return code;
}
