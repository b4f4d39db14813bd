/*
 * args.h -- the command line, read and explained by the table in commands.c.
 *
 *     pawl NOUN [VERB] [--option VALUE | --option=VALUE | operand]... [-- operand...]
 *
 * Limits:  CLI_OPERANDS_MAX operands; an option may be given once.
 * Errors:  answered as an exit code of cli.h, already printed, with the nearest
 *          word that would have been right.
 */
#ifndef PAWL_CLI_ARGS_H
#define PAWL_CLI_ARGS_H

#include "cli/cli.h"

/* Reads argv into *cli.  Answers true when there is a command to run; otherwise
 * *exit_code is what the program ends with (after --help, --version, errors). */
MUST_CHECK bool args_read(struct cli *cli, int argc, char **argv, int *exit_code);

/* `pawl NOUN VERB [options] OPERANDS` */
void args_print_usage(const struct cli_command *command, FILE *out);

/* Every command as Markdown: the second half of docs/cli.md. */
void args_print_manual(FILE *out);

#endif
