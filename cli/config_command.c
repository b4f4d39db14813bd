/*
 * config_command.c -- `pawl config check`, `pawl config show`, and the manual
 * pages in docs/ that are made from the program's own tables.
 */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "common/catalog.h"
#include "common/config.h"
#include "common/kafka.h"

#include <stdlib.h>
#include <string.h>

static void add_problem(json_t *problems, const char *text)
{
    (void)json_array_append_new(problems, json_string(text));
}

/* What config_load lets pass because only some processes need it. */
static void check_settings(const struct config *cfg, json_t *problems)
{
    struct error err;
    if (config_require(cfg, CONFIG_POSTGRES, &err) != OK)
        add_problem(problems, err.text);
    if (config_require(cfg, CONFIG_KAFKA, &err) != OK)
        add_problem(problems, err.text);
    for (size_t i = 0; i < cfg->secret_count; i++)
        if (!cfg->secrets[i].value)
            add_problem(problems, cfg->secrets[i].problem);
    struct kafka_settings kafka = kafka_settings_of(cfg, "pawl");
    if (cfg->kafka_bootstrap && kafka_check(&kafka, &err) != OK)
        add_problem(problems, err.text);
}

/* Anything may be published already: names that are not in the files pass. */
static enum outcome anything(void *self, enum catalog_kind kind, const char *name,
                             char digest[CATALOG_HEX], struct error *err)
{
    (void)self;
    (void)kind;
    (void)name;
    (void)err;
    memset(digest, '0', CATALOG_HEX - 1);
    digest[CATALOG_HEX - 1] = '\0';
    return OK;
}

static void check_definitions(const struct cli *cli, json_t *problems)
{
    struct catalog catalog;
    struct error err;
    if (cli->operand_count == 0)
        return;
    if (catalog_read(&catalog, cli->operands, (size_t)cli->operand_count, anything, NULL, &err) !=
        OK)
        add_problem(problems, err.text);
    else
        catalog_release(&catalog);
}

int config_check_command(struct cli *cli)
{
    json_t *problems = json_array();
    const json_t *problem;
    struct error err;
    size_t i;
    if (cli->operand_count == 0 || cli->config_path || getenv("PAWL_CONFIG")) {
        int code = cli_configure(cli);
        if (code != CLI_DONE) {
            json_decref(problems);
            return code;
        }
        check_settings(&cli->config, problems);
    }
    (void)err;
    check_definitions(cli, problems);
    int code = json_array_size(problems) ? CLI_CONFIG : CLI_DONE;
    if (cli_given(cli, "json"))
        output_json(problems);
    else
        json_array_foreach(problems, i, problem)
            fprintf(stderr, "pawl: %s\n", json_string_value(problem));
    if (code == CLI_DONE && !cli_given(cli, "json"))
        printf("fine%s%s\n", cli->configured && cli->config.file ? ": " : "",
               cli->configured && cli->config.file ? cli->config.file : "");
    json_decref(problems);
    return code;
}

int config_show_command(struct cli *cli)
{
    int code = cli_configure(cli);
    if (code == CLI_DONE)
        config_print(&cli->config, stdout, cli_given(cli, "json"));
    return code;
}

/* Hidden: `pawl manual cli > docs/...`. */
int manual_command(struct cli *cli)
{
    const char *page = cli->operands[0];
    if (!strcmp(page, "cli"))
        args_print_manual(stdout);
    else if (!strcmp(page, "settings"))
        config_print_manual(stdout);
    else if (!strcmp(page, "definitions"))
        catalog_print_manual(stdout);
    else
        return cli_usage(cli, "'%s' is neither cli, settings nor definitions", page);
    return CLI_DONE;
}
