/*
 * cli.h -- one command of `pawl`, from the words typed to the exit code.
 *
 *     argv --> args.c --> struct cli --> cli_<noun>.c --> output.c --> exit code
 *                ^                          |
 *         commands.c: the one table         +--> session.c --> Postgres
 *
 * commands.c holds one row per command: its words, its options, its help and
 * its function.  Parsing, --help, the list of commands and the manual are all
 * made from that table.
 *
 * Settings (addresses, tenant, class ...) are not options of commands: every
 * command takes the flags of config.h, and so `--tenant acme` means the same
 * everywhere.
 *
 * Errors:  a command prints what went wrong, and what to do, to standard error
 *          and answers one of enum cli_exit.
 * Threads: one.
 */
#ifndef PAWL_CLI_CLI_H
#define PAWL_CLI_CLI_H

#include "common/config.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As in sysexits.h. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,       /* asked and answered: no */
    CLI_USAGE = 64,       /* the command line is wrong */
    CLI_UNAVAILABLE = 69, /* Postgres or Kafka cannot be reached */
    CLI_INTERNAL = 70,    /* a fault of pawl */
    CLI_RETRY = 75,       /* passing trouble: the same command may work next time */
    CLI_CONFIG = 78,      /* a configuration file is wrong, or a setting is missing */
};

struct cli_option {
    const char *name;  /* "input-file" */
    const char *value; /* "FILE"; NULL: a switch */
    const char *help;
};

struct cli;

struct cli_command {
    const char *noun;     /* "run" */
    const char *verb;     /* "start"; NULL: the noun alone is the command */
    const char *operands; /* "RUN [STEP]", for the usage line */
    int operands_min, operands_max;
    const char *summary;  /* one line */
    const char *more;     /* a paragraph, or NULL */
    const char *examples; /* whole lines */
    const struct cli_option *options;
    size_t option_count;
    int (*run)(struct cli *cli);
    bool hidden;
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;
extern const struct cli_option cli_common_options[];
extern const size_t cli_common_option_count;

enum { CLI_VALUES_MAX = 32, CLI_OPERANDS_MAX = 64 };

struct cli_value {
    const char *name, *value;
};

struct cli {
    const char *program; /* argv[0] */
    const struct cli_command *command;
    struct cli_value values[CLI_VALUES_MAX];
    size_t value_count;
    const char *operands[CLI_OPERANDS_MAX + 1];
    int operand_count;

    /* What config_take_flags found. */
    const char *config_path;
    struct config_flag flags[CONFIG_FLAGS_MAX];
    size_t flag_count;
    struct config config; /* after cli_configure() */
    bool configured;
    bool config_is_dev; /* found in the directory of a `pawl dev` stack */
};

/* The value of an option, or NULL when it was not given ("" for a switch). */
const char *cli_text(const struct cli *cli, const char *option);
bool cli_given(const struct cli *cli, const char *option);

/* A setting that was given as a flag of this very command, or NULL. */
const char *cli_setting(const struct cli *cli, const char *path);

/* A whole number within the bounds; `otherwise` when the option is absent. */
MUST_CHECK enum outcome cli_number(const struct cli *cli, const char *option, int64_t otherwise,
                                   int64_t min, int64_t max, int64_t *out, struct error *err);

/* Loads the configuration.  Without any address given, that of a `pawl dev`
 * stack in the working directory (or $PAWL_DEV_DIR) is used, if one is there.
 * Answers CLI_DONE or the exit code; the error is printed.                  */
MUST_CHECK int cli_configure(struct cli *cli);

/* The directory of the `pawl dev` stack: --dir, $PAWL_DEV_DIR or ./.pawl. */
const char *cli_dev_directory(const struct cli *cli);

/* Who acts, for the record: --as, or user@host. */
const char *cli_who(const struct cli *cli);

/* The name of the user who runs this; false (and uid-N) when there is none. */
enum { CLI_USER_SIZE = 256 };
bool cli_user(char out[CLI_USER_SIZE]);

/* Prints "pawl: TEXT" and answers `code`. */
PRINTF(2, 3) int cli_fail(enum cli_exit code, const char *format, ...);

/* Prints "pawl: TEXT" and how to call the command. */
PRINTF(2, 3) int cli_usage(const struct cli *cli, const char *format, ...);

/* Prints the error's text and answers the exit code of the outcome. */
int cli_answer(enum outcome outcome, const struct error *err);

#endif
