/*
 * workers.c -- `pawl workers`: the incarnations of planners and executors.
 */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
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

static void worker_row(struct table *t, const json_t *w)
{
    char text[OUTPUT_TIME_SIZE];
    const char *state = json_str_or(w, "state", "");
    bool live = !strcmp(state, "alive") || !strcmp(state, "leaving");
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
    table_moment(t, json_str(w, "started_at"));
    if (json_int_or(w, "ended_by", 0) > 0)
        table_cell(t, STYLE_DIM, "declared dead by %lld", (long long)json_int_or(w, "ended_by", 0));
    else
        table_foreign(t, STYLE_DIM, json_str(w, "program"));
}

int workers_command(struct cli *cli)
{
    static const char *const heads[] = { ">#",    "INSTANCE",   "KIND",       "CLASS",
                                         "STATE", ">LAST BEAT", ">IN FLIGHT", ">CAPACITY",
                                         ">PID",  "SINCE",      "VERSION" };
    static const struct list_view view =
        LIST_VIEW(heads, worker_row,
                  "no planner and no executor is alive; `pawl dev` starts a stack, or start "
                  "`planner` and `executor`");
    const char *params[] = { cli_text(cli, "all") };
    return session_list(cli, workers_sql, params, 1, &view);
}
