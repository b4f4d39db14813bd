/*
 * budget.h -- limits of tokens and money, as options of a command.
 *
 * Threads: pure.
 * Errors:  REFUSED: an option that is no such number, with its name.
 */
#ifndef PAWL_CLI_BUDGET_H
#define PAWL_CLI_BUDGET_H

#include "cli/cli.h"
#include "common/outcome.h"

#include <stdint.h>

/* 0 for an option that is not given. */
MUST_CHECK enum outcome budget_options(const struct cli *cli, const char *tokens_option,
                                       const char *cost_option, int64_t *tokens, int64_t *micros,
                                       struct error *err);

#endif
