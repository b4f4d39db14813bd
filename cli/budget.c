/*
 * budget.c -- `pawl run resume`, `pawl budget set` and `pawl budget list`.
 */
#include "cli/budget.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
#include "common/json.h"
#include "common/message.h"
#include "common/text.h"

#include <string.h>

enum outcome budget_options(const struct cli *cli, const char *tokens_option,
                            const char *cost_option, int64_t *tokens, int64_t *micros,
                            struct error *err)
{
    const char *cost = cli_text(cli, cost_option);
    struct error why;
    *micros = 0;
    enum outcome o = cli_number(cli, tokens_option, 0, 1, BUDGET_TOKENS_MAX, tokens, err);
    if (o != OK || !cost)
        return o;
    if (text_parse_money(cost, micros, &why) != OK)
        return fail(err, REFUSED, "--%s: %s", cost_option, why.text);
    return *micros > 0 ? OK : fail(err, REFUSED, "--%s must be more than nothing", cost_option);
}

/* Two limits as parameters of a statement: NULL for what is not given. */
struct limits {
    int64_t tokens, micros;
    char tokens_text[24], micros_text[24];
};

static enum outcome read_limits(const struct cli *cli, const char *tokens_option,
                                const char *cost_option, struct limits *l, struct error *err)
{
    enum outcome o = budget_options(cli, tokens_option, cost_option, &l->tokens, &l->micros, err);
    if (o == OK) {
        (void)snprintf(l->tokens_text, sizeof l->tokens_text, "%lld", (long long)l->tokens);
        (void)snprintf(l->micros_text, sizeof l->micros_text, "%lld", (long long)l->micros);
    }
    return o;
}

static const char *tokens_of(const struct limits *l)
{
    return l->tokens ? l->tokens_text : NULL;
}

static const char *micros_of(const struct limits *l)
{
    return l->micros ? l->micros_text : NULL;
}

/* ---- run resume ---------------------------------------------------------------- */

static int print_resume(const struct cli *cli, const char *run, const json_t *answer)
{
    const char *word = json_str_or(answer, "answer", "");
    char runs[OUTPUT_TIME_SIZE];
    int64_t woken = json_int_or(answer, "runs", 0);
    if (cli_given(cli, "json"))
        output_json(answer);
    if (strcmp(word, "resumed") != 0)
        return cli_fail(CLI_FAILED, "run %s was not resumed: %s", run,
                        json_str_or(answer, "detail", word));
    if (!cli_given(cli, "json"))
        printf("%s: the budget is raised; %s\n", run,
               woken ? output_plural(woken, "run goes on", "runs go on", runs)
                     : "no run had to wait for it");
    return CLI_DONE;
}

int run_resume_command(struct cli *cli)
{
    struct session *s;
    struct error err;
    struct limits limits;
    char run[SESSION_RUN_SIZE];
    json_t *answer = NULL;
    if (read_limits(cli, "budget-tokens", "budget-cost", &limits, &err) != OK)
        return cli_usage(cli, "%s", err.text);
    if (!limits.tokens && !limits.micros)
        return cli_usage(cli, "give the new budget: --budget-tokens N, --budget-cost X or both");
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = session_find_run(s, cli->operands[0], run);
    const char *params[] = { run, tokens_of(&limits), micros_of(&limits), cli_who(cli) };
    if (code == CLI_DONE)
        code = session_get(
            s, "SELECT row_to_json(r) FROM pawl.resume($1::uuid, $2::bigint, $3::bigint, $4) r",
            params, 4, &answer);
    if (code == CLI_DONE)
        code = print_resume(cli, run, answer);
    json_decref(answer);
    session_close(s);
    return code;
}

/* ---- budget set ------------------------------------------------------------------ */

/* First the limit, then, in a transaction of its own, the runs that wait: see
 * pawl.set_budget.                                                            */
static int set_budget(struct cli *cli, struct session *s, const struct limits *limits)
{
    const char *tenant = cli_setting(cli, "tenant");
    const char *set[] = { tenant, tokens_of(limits), micros_of(limits), cli_who(cli) };
    char runs[OUTPUT_TIME_SIZE];
    json_t *answer = NULL, *woken = NULL;
    int code = session_get(s, "SELECT to_json(pawl.set_budget($1, $2::bigint, $3::bigint, $4))",
                           set, 4, &answer);
    if (code == CLI_DONE)
        code = session_get(s, "SELECT to_json(pawl.wake_tenant($1))", set, 1, &woken);
    bool none = answer && !strcmp(json_string_value(answer), "none");
    int64_t count = json_integer_value(woken);
    if (code == CLI_DONE && none)
        code = cli_fail(CLI_FAILED, "tenant '%.80s' has no budget", tenant);
    else if (code == CLI_DONE && cli_given(cli, "json"))
        printf("{\"answer\": \"set\", \"runs\": %lld}\n", (long long)count);
    else if (code == CLI_DONE)
        printf("%s; %s\n", cli_given(cli, "off") ? "the budget is lifted" : "the budget is set",
               count ? output_plural(count, "run goes on", "runs go on", runs)
                     : "no run had to wait for it");
    json_decref(answer);
    json_decref(woken);
    return code;
}

int budget_set_command(struct cli *cli)
{
    struct session *s;
    struct error err;
    struct limits limits;
    if (!cli_setting(cli, "tenant"))
        return cli_usage(cli, "--tenant is missing");
    if (read_limits(cli, "tokens-per-day", "cost-per-day", &limits, &err) != OK)
        return cli_usage(cli, "%s", err.text);
    if (cli_given(cli, "off") == (limits.tokens || limits.micros))
        return cli_usage(cli,
                         "give the budget: --tokens-per-day N, --cost-per-day X or both, or --off");
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = set_budget(cli, s, &limits);
    session_close(s);
    return code;
}

/* ---- budget list ------------------------------------------------------------------- */

static const char list_sql[] = "SELECT coalesce(json_agg(t ORDER BY t.tenant), '[]') "
                               "FROM pawl.tenants_today t";

/* "12,000 of 50,000", or what is used alone. */
static void tokens_cell(struct table *t, const json_t *row)
{
    char spent[OUTPUT_TIME_SIZE], limit[OUTPUT_TIME_SIZE];
    int64_t most = json_int_or(row, "tokens_per_day", 0);
    (void)output_count(json_int_or(row, "tokens_spent", 0), spent);
    if (most)
        table_cell(t, STYLE_PLAIN, "%s of %s", spent, output_count(most, limit));
    else
        table_cell(t, STYLE_PLAIN, "%s", spent);
}

static void cost_cell(struct table *t, const json_t *row)
{
    double most = json_num_or(row, "cost_per_day", 0);
    if (most > 0)
        table_cell(t, STYLE_PLAIN, "%.4f of %.4f", json_num_or(row, "cost_spent", 0), most);
    else
        table_cell(t, STYLE_PLAIN, "%.4f", json_num_or(row, "cost_spent", 0));
}

static void budget_row(struct table *t, const json_t *row)
{
    char held[OUTPUT_TIME_SIZE];
    table_foreign(t, STYLE_BOLD, json_str(row, "tenant"));
    tokens_cell(t, row);
    cost_cell(t, row);
    table_cell(t, STYLE_DIM, "%s, %.4f", output_count(json_int_or(row, "tokens_held", 0), held),
               json_num_or(row, "cost_held", 0));
    table_foreign(t, STYLE_DIM, json_str(row, "changed_by"));
}

int budget_list_command(struct cli *cli)
{
    static const char *const heads[] = { "TENANT", ">TOKENS TODAY", ">COST TODAY", ">IN FLIGHT",
                                         "SET BY" };
    static const struct list_view view =
        LIST_VIEW(heads, budget_row,
                  "no tenant has a budget; give it one with: pawl budget set --tenant T "
                  "--cost-per-day X");
    return session_list(cli, list_sql, NULL, 0, &view);
}
