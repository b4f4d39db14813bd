/*
 * workers.c -- `pawl workers`: the incarnations of planners and executors.
 */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
#include "common/clock.h"
#include "common/json.h"

#include <string.h>

/* The living, and with --all also those that ended. */
static const char workers_sql[] =
    "SELECT coalesce(json_agg(t), '[]') FROM ("
    " SELECT f.incarnation, f.instance, f.kind, f.class, f.program, f.pid, f.state,"
    "        (extract(epoch FROM f.beat_age) * 1000)::bigint AS beat_age_ms, f.in_flight, "
    "f.capacity,"
    "        f.started_at, f.ended_at, f.ended_by"
    " FROM pawl.fleet f WHERE $1::text IS NOT NULL OR f.state IN ('alive', 'leaving')"
    " ORDER BY f.kind DESC, f.instance, f.incarnation) t";

static void worker_row(struct table *t, const json_t *w, bool all)
{
    char text[OUTPUT_TIME_SIZE];
    const char *state = json_str_or(w, "state", ""), *started = json_str_or(w, "started_at", "");
    bool live = !strcmp(state, "alive") || !strcmp(state, "leaving");
    int64_t ms;
    table_cell(t, STYLE_BOLD, "%lld", (long long)json_int_or(w, "incarnation", 0));
    table_foreign(t, STYLE_PLAIN, json_str(w, "instance"));
    table_cell(t, STYLE_PLAIN, "%s", json_str_or(w, "kind", ""));
    table_foreign(t, STYLE_PLAIN, json_str(w, "class"));
    table_cell(t, output_status_style(state), "%s", state);
    table_cell(t, STYLE_PLAIN, "%s",
               live ? output_duration(json_int_or(w, "beat_age_ms", -1), text) : "");
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(w, "in_flight", 0));
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(w, "capacity", 0));
    table_cell(t, STYLE_DIM, "%lld", (long long)json_int_or(w, "pid", 0));
    table_cell(t, STYLE_DIM, "%s",
               clock_parse_iso(started, &ms, NULL) == OK ? output_moment(ms, text) : "");
    if (all && json_int_or(w, "ended_by", 0) > 0)
        table_cell(t, STYLE_DIM, "declared dead by %lld", (long long)json_int_or(w, "ended_by", 0));
    else
        table_foreign(t, STYLE_DIM, json_str(w, "program"));
}

int workers_command(struct cli *cli)
{
    static const char *const heads[] = { ">#",    "INSTANCE",   "KIND",       "CLASS",
                                         "STATE", ">LAST BEAT", ">IN FLIGHT", ">CAPACITY",
                                         ">PID",  "SINCE",      "VERSION" };
    struct session *s;
    json_t *workers;
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    const char *params[] = { cli_text(cli, "all") };
    code = session_get(s, workers_sql, params, 1, &workers);
    session_close(s);
    if (code != CLI_DONE)
        return code;
    if (cli_given(cli, "json")) {
        output_json(workers);
    } else if (json_array_size(workers) == 0) {
        (void)puts("no planner and no executor is alive; `pawl dev` starts a stack, or start "
                   "`planner` and `executor`");
    } else {
        struct table t;
        const json_t *w;
        size_t i;
        table_init(&t, heads, sizeof heads / sizeof *heads);
        json_array_foreach(workers, i, w)
            worker_row(&t, w, cli_given(cli, "all"));
        table_print(&t, stdout);
        table_release(&t);
    }
    json_decref(workers);
    return CLI_DONE;
}
