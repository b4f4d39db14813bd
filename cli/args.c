#include "cli/args.h"

#include "cli/output.h"
#include "common/field.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 64 };

static const struct cli_option *find_option(const struct cli_command *command, const char *name,
                                            size_t length)
{
    const struct cli_option *lists[] = { command->options, cli_common_options };
    const size_t counts[] = { command->option_count, cli_common_option_count };
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < counts[l]; i++)
            if (strlen(lists[l][i].name) == length && !strncmp(lists[l][i].name, name, length))
                return &lists[l][i];
    return NULL;
}

/* ---- help ------------------------------------------------------------------ */

static void print_options(const struct cli_option *options, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", options[i].name, options[i].value ? " " : "",
                       options[i].value ? options[i].value : "");
        if (strlen(left) <= 26)
            fprintf(out, "  %-26s  %s\n", left, options[i].help);
        else
            fprintf(out, "  %s\n  %-26s  %s\n", left, "", options[i].help);
    }
}

void args_print_usage(const struct cli_command *command, FILE *out)
{
    fprintf(out, "pawl %s%s%s%s%s%s\n", command->noun, command->verb ? " " : "",
            command->verb ? command->verb : "", command->option_count ? " [options]" : "",
            command->operands ? " " : "", command->operands ? command->operands : "");
}

static void print_command_help(const struct cli_command *command)
{
    printf("%s\n\n%s:  ", command->summary, output_bold("Usage"));
    args_print_usage(command, stdout);
    if (command->more)
        printf("\n%s\n", command->more);
    if (command->option_count) {
        printf("\n%s\n", output_bold("Options"));
        print_options(command->options, command->option_count, stdout);
    }
    printf("\n%s\n", output_bold("Common options"));
    print_options(cli_common_options, cli_common_option_count, stdout);
    printf("  %-26s  %s\n", "--postgres-dsn DSN ...",
           "Any setting of the process file; `pawl config show` lists them.");
    if (command->examples)
        printf("\n%s\n%s", output_bold("Examples"), command->examples);
}

/* One command as a section of docs/cli.md. */
static void print_manual_section(const struct cli_command *command, FILE *out)
{
    fprintf(out, "### pawl %s%s%s\n\n%s\n\n    ", command->noun, command->verb ? " " : "",
            command->verb ? command->verb : "", command->summary);
    args_print_usage(command, out);
    if (command->more)
        fprintf(out, "\n%s\n", command->more);
    if (command->option_count)
        fprintf(out, "\n| option | meaning |\n|---|---|\n");
    for (size_t i = 0; i < command->option_count; i++) {
        const struct cli_option *o = &command->options[i];
        fprintf(out, "| `--%s%s%s` | %s |\n", o->name, o->value ? " " : "",
                o->value ? o->value : "", o->help);
    }
    if (command->examples)
        fprintf(out, "\n```sh\n");
    for (const char *line = command->examples; line && *line; line = strchr(line, '\n') + 1)
        fprintf(out, "%.*s\n", (int)strcspn(line, "\n") - 2, line + 2);
    if (command->examples)
        fprintf(out, "```\n");
    (void)fputc('\n', out);
}

void args_print_manual(FILE *out)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (!cli_commands[i].hidden)
            print_manual_section(&cli_commands[i], out);
}

static void print_command_line(const struct cli_command *command)
{
    char words[64];
    (void)snprintf(words, sizeof words, "%s%s%s", command->noun, command->verb ? " " : "",
                   command->verb ? command->verb : "");
    printf("  %-16s  %s\n", words, command->summary);
}

static void print_overview(void)
{
    printf("pawl %s -- LLM agents that no crash can undo.\n\n", PAWL_VERSION);
    printf("%s:  pawl COMMAND [options] [operands]\n\n%s\n", output_bold("Usage"),
           output_bold("Commands"));
    for (size_t i = 0; i < cli_command_count; i++)
        if (!cli_commands[i].hidden)
            print_command_line(&cli_commands[i]);
    printf("\n%s\n", output_bold("Common options"));
    print_options(cli_common_options, cli_common_option_count, stdout);
    printf("\n%s\n"
           "  pawl dev                                   # a whole stack in this directory\n"
           "  pawl agent apply agents.yaml               # publish what is in a file\n"
           "  pawl run start --agent billing --input \"Bill Ada.\" --watch\n"
           "\n`pawl COMMAND --help` explains a command.\n",
           output_bold("Begin with"));
}

static bool print_noun_help(const char *noun)
{
    size_t found = 0;
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].hidden || strcmp(cli_commands[i].noun, noun) != 0)
            continue;
        if (!found++)
            printf("%s:  pawl %s VERB\n\n", output_bold("Usage"), noun);
        print_command_line(&cli_commands[i]);
    }
    if (found)
        printf("\n`pawl %s VERB --help` explains a command.\n", noun);
    return found > 0;
}

/* ---- which command --------------------------------------------------------- */

static const struct cli_command *find_command(const char *noun, const char *verb)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        if (!strcmp(c->noun, noun) && (verb ? c->verb && !strcmp(c->verb, verb) : !c->verb))
            return c;
    }
    return NULL;
}

static bool is_noun(const char *word)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (!strcmp(cli_commands[i].noun, word))
            return true;
    return false;
}

/* Nearest noun (noun NULL), or nearest verb of a noun. */
static const char *nearest_word(const char *noun, const char *word)
{
    const char *words[WORDS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < cli_command_count && n < WORDS_MAX; i++) {
        const struct cli_command *c = &cli_commands[i];
        if (c->hidden || (noun && (strcmp(c->noun, noun) != 0 || !c->verb)))
            continue;
        words[n++] = noun ? c->verb : c->noun;
    }
    return field_nearest(word, words, n);
}

static int unknown_command(const char *noun, const char *word)
{
    const char *near = nearest_word(noun, word);
    return cli_fail(CLI_USAGE,
                    "there is no command `pawl %s%s%s`%s%s%s `pawl %s%s--help` lists them",
                    noun ? noun : "", noun ? " " : "", word, near ? "; did you mean `" : ";",
                    near ? near : "", near ? "`?" : "", noun ? noun : "", noun ? " " : "");
}

/* ---- the words ------------------------------------------------------------- */

struct reader {
    struct cli *cli;
    int argc, at;
    char **argv;
    int exit_code;
};

static bool stop(struct reader *r, int exit_code)
{
    r->exit_code = exit_code;
    return false;
}

static const char *nearest_option(const struct cli_command *command, const char *name)
{
    const char *words[WORDS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < command->option_count && n < WORDS_MAX; i++)
        words[n++] = command->options[i].name;
    for (size_t i = 0; i < cli_common_option_count && n < WORDS_MAX; i++)
        words[n++] = cli_common_options[i].name;
    return field_nearest(name, words, n);
}

static bool read_option(struct reader *r, const char *word)
{
    struct cli *cli = r->cli;
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *option = find_option(cli->command, name, length);
    if (!option) {
        const char *near = nearest_option(cli->command, name);
        return stop(r,
                    cli_usage(cli, "unknown option %s%s%s%s", word, near ? "; did you mean --" : "",
                              near ? near : "", near ? "?" : ""));
    }
    const char *value = "";
    if (!option->value && equals)
        return stop(r, cli_usage(cli, "--%s takes no value", option->name));
    if (option->value && equals)
        value = equals + 1;
    else if (option->value && r->at < r->argc)
        value = r->argv[r->at++];
    else if (option->value)
        return stop(r, cli_usage(cli, "--%s needs a value: %s", option->name, option->value));
    if (cli_given(cli, option->name))
        return stop(r, cli_usage(cli, "--%s is given twice", option->name));
    if (cli->value_count == CLI_VALUES_MAX)
        return stop(r, cli_usage(cli, "too many options"));
    cli->values[cli->value_count++] = (struct cli_value){ option->name, value };
    return true;
}

static bool asks_help(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h");
}

static bool read_words(struct reader *r)
{
    struct cli *cli = r->cli;
    bool options = true;
    while (r->at < r->argc) {
        const char *word = r->argv[r->at++];
        if (options && !strcmp(word, "--")) {
            options = false;
        } else if (options && asks_help(word)) {
            print_command_help(cli->command);
            return stop(r, CLI_DONE);
        } else if (options && !strncmp(word, "--", 2)) {
            if (!read_option(r, word))
                return false;
        } else if (options && word[0] == '-' && word[1]) {
            return stop(r,
                        cli_usage(cli, "unknown option %s: options begin with two dashes", word));
        } else if (cli->operand_count == CLI_OPERANDS_MAX) {
            return stop(r, cli_usage(cli, "more than %d operands", CLI_OPERANDS_MAX));
        } else {
            cli->operands[cli->operand_count++] = word;
        }
    }
    return true;
}

static bool check_operands(struct reader *r)
{
    struct cli *cli = r->cli;
    const struct cli_command *c = cli->command;
    if (cli->operand_count < c->operands_min)
        return stop(r, cli_usage(cli, "an operand is missing"));
    if (cli->operand_count > c->operands_max)
        return stop(r,
                    cli_usage(cli, "'%s' is one operand too many", cli->operands[c->operands_max]));
    return true;
}

static bool is_verb(const char *word)
{
    return word && word[0] != '-';
}

/* What can stand in the place of a noun without being one. */
static bool read_no_noun(struct reader *r, const char *word)
{
    if (!word || asks_help(word) || !strcmp(word, "help")) {
        print_overview();
        return stop(r, word ? CLI_DONE : CLI_USAGE);
    }
    if (!strcmp(word, "--version")) {
        printf("pawl %s\n", PAWL_VERSION);
        return stop(r, CLI_DONE);
    }
    return is_noun(word) || stop(r, unknown_command(NULL, word));
}

/* A noun whose next word is no verb of it. */
static bool read_noun_alone(struct reader *r, const char *noun, const char *next)
{
    const struct cli_command *alone = find_command(noun, NULL);
    if (alone && (!is_verb(next) || alone->operands_max > 0)) {
        r->cli->command = alone;
        return true;
    }
    if (is_verb(next))
        return stop(r, unknown_command(noun, next));
    print_noun_help(noun);
    return stop(r, next && asks_help(next) ? CLI_DONE : CLI_USAGE);
}

/* Reads the words before the first option, which name the command. */
static bool read_command(struct reader *r)
{
    const char *noun = r->at < r->argc ? r->argv[r->at] : NULL;
    if (!read_no_noun(r, noun))
        return false;
    r->at++;
    const char *next = r->at < r->argc ? r->argv[r->at] : NULL;
    r->cli->command = is_verb(next) ? find_command(noun, next) : NULL;
    if (!r->cli->command)
        return read_noun_alone(r, noun, next);
    r->at++;
    return true;
}

bool args_read(struct cli *cli, int argc, char **argv, int *exit_code)
{
    *cli = (struct cli){ .program = argc > 0 ? argv[0] : "pawl" };
    struct error err;
    if (config_take_flags(&argc, argv, &cli->config_path, cli->flags, CONFIG_FLAGS_MAX,
                          &cli->flag_count, &err) != OK) {
        *exit_code = cli_fail(CLI_USAGE, "%s", err.text);
        return false;
    }
    struct reader r = { .cli = cli, .argc = argc, .at = 1, .argv = argv };
    bool go = read_command(&r) && read_words(&r) && check_operands(&r);
    *exit_code = r.exit_code;
    return go;
}
