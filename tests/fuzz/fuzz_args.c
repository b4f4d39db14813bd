/*
 * fuzz_args.c -- any command line is a command with what it needs, or ends with an exit
 * code; and all that was taken are words of the line.
 *
 * The input is the words, one a line.
 */
#include "cli/args.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { WORDS_MAX = 100 };

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Help and complaints are not looked at. */
// NOLINTNEXTLINE(readability-non-const-parameter): libFuzzer's interface
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return freopen("/dev/null", "w", stdout) ? 0 : 1;
}

static void check_command(const struct cli *cli, const char *text, size_t size)
{
    const struct cli_command *c = cli->command;
    if (!c || !c->run)
        abort();
    require(cli->operand_count >= c->operands_min && cli->operand_count <= c->operands_max);
    for (int i = 0; i < cli->operand_count; i++)
        require(cli->operands[i] >= text && cli->operands[i] <= text + size);
    for (size_t i = 0; i < cli->value_count; i++) {
        const char *value = cli->values[i].value;
        require(!*value || (value >= text && value <= text + size));
        for (size_t k = 0; k < i; k++)
            require(strcmp(cli->values[k].name, cli->values[i].name) != 0);
    }
}

static bool is_exit_code(int code)
{
    return code == CLI_DONE || code == CLI_USAGE || code == CLI_CONFIG;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cli cli;
    char program[] = "pawl", *words[WORDS_MAX + 2] = { program };
    int count = 1, exit_code = -1, quiet, loud;
    char *text = malloc(size + 1), *rest = NULL;
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    for (char *at = strtok_r(text, "\n", &rest); at && count <= WORDS_MAX;
         at = strtok_r(NULL, "\n", &rest))
        words[count++] = at;

    (void)fflush(stderr);
    loud = dup(STDERR_FILENO);
    quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    require(loud >= 0 && quiet >= 0 && dup2(quiet, STDERR_FILENO) >= 0);
    bool go = args_read(&cli, count, words, &exit_code);
    require(dup2(loud, STDERR_FILENO) >= 0);
    close(loud);
    close(quiet);

    if (go)
        check_command(&cli, text, size);
    else
        require(is_exit_code(exit_code));
    free(text);
    return 0;
}
