/*
 * agent_apply.c -- `pawl agent apply`: publishes definition files.
 *
 * All of them become current in one transaction, or none.
 */
#include "cli/agent.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "common/json.h"
#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

/* What pawl.publish takes beside the body: what the protocol itself must know. */
struct facts {
    char time_ms[24], parallel_calls[24], timeout_ms[24], attempts[24], ask_timeout_ms[24];
    char tokens_max[24], micros_max[24];
    const char *effect, *on_unknown;
};

static const char *number(char out[24], int64_t value)
{
    (void)snprintf(out, 24, "%lld", (long long)value);
    return out;
}

static enum outcome tool_facts(const struct catalog_entry *e, struct facts *f, struct error *err)
{
    static const char *const ends[] = {
        [TOOL_TELL_MODEL] = "tell_model", [TOOL_PROBE] = "probe", [TOOL_ASK] = "ask"
    };
    struct tool_def *def;
    enum outcome o = catalog_parse_tool(e->body, e->digest, &def, err);
    if (o != OK)
        return o;
    f->effect = def->read_only ? "read_only" : def->idempotent ? "idempotent" : "once";
    f->on_unknown = ends[def->on_unknown];
    (void)number(f->timeout_ms, def->timeout_ms);
    (void)number(f->attempts, def->attempts);
    (void)number(f->ask_timeout_ms, def->ask_timeout_ms);
    tool_def_free(def);
    return OK;
}

static enum outcome agent_facts(const struct catalog_entry *e, struct facts *f, struct error *err)
{
    struct agent_def *def;
    enum outcome o = catalog_parse_agent(e->body, e->digest, &def, err);
    if (o != OK)
        return o;
    (void)number(f->time_ms, def->limit_time_ms);
    (void)number(f->parallel_calls, def->limit_parallel_calls);
    if (def->limit_tokens > 0)
        (void)number(f->tokens_max, def->limit_tokens);
    if (def->limit_cost_micros >= 0)
        (void)number(f->micros_max, def->limit_cost_micros);
    agent_def_free(def);
    return OK;
}

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

static const char publish_sql[] = "SELECT row_to_json(p) FROM pawl.publish($1, $2, $3, $4, $5, "
                                  "$6::bigint, $7::int, $8, $9, $10::int, "
                                  "$11::int, $12::bigint, $13::bigint, $14::bigint) p";

/* *seq: of the revision that is current now. */
static enum outcome publish(struct session *s, const struct catalog_entry *e, const char *who,
                            int64_t *seq, struct error *err)
{
    struct facts f = { .effect = NULL };
    enum outcome o = OK;
    if (e->kind == CATALOG_TOOL)
        o = tool_facts(e, &f, err);
    else if (e->kind == CATALOG_AGENT)
        o = agent_facts(e, &f, err);
    if (o != OK)
        return o;
    AUTO_FREE char *body = json_canonical(e->body);
    const char *params[] = { catalog_kind_name(e->kind),
                             e->name,
                             e->digest,
                             body,
                             who,
                             or_null(f.time_ms),
                             or_null(f.parallel_calls),
                             f.effect,
                             f.on_unknown,
                             or_null(f.timeout_ms),
                             or_null(f.attempts),
                             or_null(f.ask_timeout_ms),
                             or_null(f.tokens_max),
                             or_null(f.micros_max) };
    json_t *answer = NULL;
    o = session_ask(s, publish_sql, params, sizeof params / sizeof *params, &answer, err);
    *seq = json_int_or(answer, "seq", 0);
    json_decref(answer);
    return o;
}

static json_t *result_row(const struct catalog_entry *e, const char *change, int64_t seq)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I}", "kind", catalog_kind_name(e->kind), "name",
                     e->name, "change", change, "digest", e->digest, "seq", (json_int_t)seq);
}

static enum outcome publish_all(struct session *s, const struct agent_files *f, const char *who,
                                json_t *results, struct error *err)
{
    for (size_t i = 0; i < f->catalog.count; i++) {
        const struct catalog_entry *e = &f->catalog.entries[i];
        const char *change = agent_change(f, e);
        int64_t seq = json_int_or(agent_published(f->published, e->kind, e->name), "seq", 0);
        if (strcmp(change, "same") != 0) {
            enum outcome o = publish(s, e, who, &seq, err);
            if (o != OK)
                return o;
        }
        (void)json_array_append_new(results, result_row(e, change, seq));
    }
    return OK;
}

static void change_row(struct table *t, const json_t *row)
{
    const char *change = json_str_or(row, "change", "");
    bool same = !strcmp(change, "same");
    const char *words = same                          ? "unchanged"
                        : !strcmp(change, "repinned") ? "follows its tools"
                                                      : change;
    table_cell(t, STYLE_PLAIN, "%s", json_str_or(row, "kind", ""));
    table_foreign(t, STYLE_BOLD, json_str(row, "name"));
    table_cell(t, same ? STYLE_DIM : STYLE_GOOD, "%s", words);
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(row, "seq", 0));
    table_cell(t, STYLE_DIM, "%.12s", json_str_or(row, "digest", ""));
}

/* Between BEGIN and COMMIT, so that what is compared with stays what it is. */
static int apply(struct cli *cli, struct session *s, json_t *results)
{
    static const char lock_sql[] = "BEGIN; SELECT pg_advisory_xact_lock(1885435756001)";
    struct agent_files files;
    struct error err;
    if (session_script(s, lock_sql, &err) != OK)
        return cli_fail(CLI_RETRY, "%s", err.text);
    int code = agent_files_read(&files, cli, s);
    if (code != CLI_DONE)
        return code;
    enum outcome o = publish_all(s, &files, cli_who(cli), results, &err);
    if (o == OK)
        o = session_script(s, "COMMIT", &err);
    agent_files_release(&files);
    return o == OK ? CLI_DONE : cli_answer(o, &err);
}

int agent_apply_command(struct cli *cli)
{
    static const char *const heads[] = { "KIND", "NAME", "CHANGE", ">REVISION", "DIGEST" };
    static const struct list_view view =
        LIST_VIEW(heads, change_row, "there is nothing in the files");
    struct session *s;
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    json_t *results = json_array();
    code = apply(cli, s, results);
    session_close(s);
    if (code == CLI_DONE)
        output_list(&view, results, cli_given(cli, "json"));
    json_decref(results);
    return code;
}
