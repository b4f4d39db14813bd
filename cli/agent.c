#include "cli/agent.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "common/json.h"

#include <string.h>

static const char current_sql[] =
    "SELECT coalesce(json_agg(t), '[]') FROM (SELECT p.kind, p.name, p.digest, p.seq, p.body"
    " FROM pawl.published p WHERE p.is_current ORDER BY p.kind, p.name) t";

const json_t *agent_published(const json_t *rows, enum catalog_kind kind, const char *name)
{
    const json_t *row;
    size_t i;
    json_array_foreach(rows, i, row)
        if (!strcmp(json_str_or(row, "kind", ""), catalog_kind_name(kind)) &&
            !strcmp(json_str_or(row, "name", ""), name))
            return row;
    return NULL;
}

static enum outcome resolve(void *self, enum catalog_kind kind, const char *name,
                            char digest[CATALOG_HEX], struct error *err)
{
    const json_t *row = agent_published(self, kind, name);
    if (!row)
        return fail(err, REFUSED, "no %s '%s' is published", catalog_kind_name(kind), name);
    (void)snprintf(digest, CATALOG_HEX, "%s", json_str_or(row, "digest", ""));
    return OK;
}

/* Published agents that stand in no file follow their models and tools. */
static enum outcome repin_others(struct agent_files *f, struct error *err)
{
    const json_t *row;
    size_t i;
    enum outcome o = OK;
    json_array_foreach(f->published, i, row) {
        bool added;
        const char *kind = json_str_or(row, "kind", ""), *name = json_str_or(row, "name", "");
        if (strcmp(kind, catalog_kind_name(CATALOG_AGENT)) != 0 ||
            catalog_find(&f->catalog, CATALOG_AGENT, name))
            continue;
        o = catalog_repin(&f->catalog, json_object_get(row, "body"), &added, err);
        if (o == REFUSED) { /* written by another version of pawl, perhaps: no reason to stop */
            fprintf(stderr, "pawl: agent %s is left as it is: %s\n", name, err->text);
            o = OK;
        }
        if (o != OK)
            break;
    }
    return o;
}

int agent_files_read(struct agent_files *f, struct cli *cli, struct session *s)
{
    struct error err;
    int code = session_get(s, current_sql, NULL, 0, &f->published);
    if (code != CLI_DONE)
        return code;
    enum outcome o = catalog_read(&f->catalog, cli->operands, (size_t)cli->operand_count, resolve,
                                  f->published, &err);
    if (o != OK) {
        json_decref(f->published);
        return cli_fail(CLI_CONFIG, "%s", err.text);
    }
    o = repin_others(f, &err);
    if (o == OK)
        return CLI_DONE;
    agent_files_release(f);
    return cli_answer(o, &err);
}

void agent_files_release(struct agent_files *f)
{
    catalog_release(&f->catalog);
    json_decref(f->published);
}

const char *agent_change(const struct agent_files *f, const struct catalog_entry *entry)
{
    const json_t *row = agent_published(f->published, entry->kind, entry->name);
    if (!row)
        return "new";
    if (!strcmp(json_str_or(row, "digest", ""), entry->digest))
        return "same";
    return entry->file ? "changed" : "repinned";
}

/* ---- list ---------------------------------------------------------------------- */

static const char list_sql[] = "SELECT coalesce(json_agg(t), '[]') FROM ("
                               " SELECT p.kind, p.name, p.seq, p.digest, p.is_current, "
                               "p.live_runs, p.published_at, p.published_by,"
                               "        p.body ->> 'description' AS description, p.body"
                               " FROM pawl.published p WHERE p.is_current OR $1::text IS NOT NULL"
                               " ORDER BY p.kind, p.name, p.seq DESC) t";

static void list_row(struct table *t, const json_t *row)
{
    bool current = json_bool_or(row, "is_current", false);
    table_cell(t, STYLE_PLAIN, "%s", json_str_or(row, "kind", ""));
    table_foreign(t, current ? STYLE_BOLD : STYLE_DIM, json_str(row, "name"));
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(row, "seq", 0));
    table_cell(t, STYLE_DIM, "%.12s", json_str_or(row, "digest", ""));
    table_cell(t, current ? STYLE_GOOD : STYLE_DIM, "%s", current ? "current" : "older");
    if (json_is_integer(json_object_get(row, "live_runs")))
        table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(row, "live_runs", 0));
    else
        table_cell(t, STYLE_PLAIN, "%s", "");
    table_moment(t, json_str(row, "published_at"));
    table_foreign(t, STYLE_DIM, json_str(row, "published_by"));
    table_foreign(t, STYLE_PLAIN, json_str(row, "description"));
}

int agent_list_command(struct cli *cli)
{
    static const char *const heads[] = { "KIND",       "NAME",      ">REVISION", "DIGEST",     "",
                                         ">LIVE RUNS", "PUBLISHED", "BY",        "DESCRIPTION" };
    static const struct list_view view = LIST_VIEW(
        heads, list_row,
        "nothing is published yet; publish what is in a file with: pawl agent apply FILE");
    const char *params[] = { cli_text(cli, "all") };
    return session_list(cli, list_sql, params, 1, &view);
}
