/*
 * migrate_command.c -- `pawl migrate up` and `pawl migrate status`.
 */
#include "cli/commands.h"
#include "cli/migrate.h"
#include "cli/output.h"
#include "common/json.h"

#include <string.h>

/* Unlike other commands, this one comes before there is a schema. */
static int open_bare(struct cli *cli, struct session **out)
{
    struct error err;
    int code = cli_configure(cli);
    if (code != CLI_DONE)
        return code;
    if (config_require(&cli->config, CONFIG_POSTGRES, &err) != OK)
        return cli_fail(CLI_CONFIG, "%s", err.text);
    enum outcome o = session_connect(cli->config.postgres_dsn, out, &err);
    if (o != OK)
        return cli_fail(o == RETRY ? CLI_UNAVAILABLE : CLI_CONFIG, "%s", err.text);
    return CLI_DONE;
}

struct progress {
    json_t *applied;
    bool print;
};

static void on_step(void *self, int number, const char *name)
{
    struct progress *p = self;
    (void)json_array_append_new(p->applied,
                                json_pack("{s:i, s:s}", "number", number, "name", name));
    if (p->print)
        printf("applied %04d_%s\n", number, name);
    (void)fflush(stdout);
}

int migrate_up_command(struct cli *cli)
{
    struct session *s = NULL;
    struct error err;
    int applied = 0;
    int code = open_bare(cli, &s);
    if (code != CLI_DONE)
        return code;
    struct progress p = { .applied = json_array(), .print = !cli_given(cli, "json") };
    enum outcome o = migrate_up(s, on_step, &p, &applied, &err);
    session_close(s);
    if (o != OK)
        code = cli_answer(o, &err);
    if (cli_given(cli, "json"))
        output_json(p.applied);
    else if (o == OK && !applied)
        (void)puts("the schema is up to date");
    json_decref(p.applied);
    return code;
}

static void status_row(struct table *t, const json_t *row)
{
    const char *state = json_str_or(row, "state", "");
    table_cell(t, STYLE_PLAIN, "%04lld", (long long)json_int_or(row, "number", 0));
    table_cell(t, STYLE_PLAIN, "%s", json_str_or(row, "name", ""));
    table_cell(t, output_status_style(state), "%s", state);
    table_moment(t, json_str(row, "applied_at"));
}

static bool is_behind(const json_t *rows)
{
    const json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *state = json_str_or(row, "state", "");
        if (strcmp(state, "applied") != 0 && strcmp(state, "newer") != 0)
            return true;
    }
    return false;
}

int migrate_status_command(struct cli *cli)
{
    static const char *const heads[] = { "NUMBER", "NAME", "STATE", "APPLIED" };
    static const struct list_view view = LIST_VIEW(heads, status_row, "this build has no schema");
    struct session *s = NULL;
    struct error err;
    json_t *rows;
    int code = open_bare(cli, &s);
    if (code != CLI_DONE)
        return code;
    enum outcome o = migrate_status(s, &rows, &err);
    session_close(s);
    if (o != OK)
        return cli_answer(o, &err);
    output_list(&view, rows, cli_given(cli, "json"));
    bool behind = is_behind(rows);
    json_decref(rows);
    if (behind && !cli_given(cli, "json"))
        (void)puts("the database is not what this build expects: pawl migrate up");
    return behind ? CLI_FAILED : CLI_DONE;
}
