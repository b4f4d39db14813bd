/*
 * main.c -- pawl, the command line.  See cli.h.
 */
#include "cli/args.h"
#include "cli/broker.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "common/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static struct cli cli;
    int exit_code;
    if (argc > 1 &&
        !strcmp(argv[1], "dev-broker")) /* a process of its own kind: `pawl dev` starts it */
        return broker_main(argc - 1, argv + 1);
    log_init("pawl", LOG_WARN, LOG_FORMAT_AUTO);
    output_init();
    if (!args_read(&cli, argc, argv, &exit_code))
        return exit_code;
    exit_code = cli.command->run(&cli);
    if (cli.configured)
        config_release(&cli.config);
    if (fflush(stdout) != 0 && exit_code == CLI_DONE)
        exit_code = cli_fail(CLI_FAILED, "standard output cannot be written");
    return exit_code;
}
