#include "cli/cli.h"

#include "cli/args.h"
#include "common/memory.h"

#include <assert.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every look-up names an option of the command's own table, so a misspelt name
 * in the code stops the first test that comes by.                           */
static bool in_table(const struct cli *cli, const char *name)
{
    for (size_t i = 0; i < cli->command->option_count; i++)
        if (!strcmp(cli->command->options[i].name, name))
            return true;
    for (size_t i = 0; i < cli_common_option_count; i++)
        if (!strcmp(cli_common_options[i].name, name))
            return true;
    return false;
}

const char *cli_text(const struct cli *cli, const char *option)
{
    assert(in_table(cli, option));
    for (size_t i = 0; i < cli->value_count; i++)
        if (!strcmp(cli->values[i].name, option))
            return cli->values[i].value;
    return NULL;
}

bool cli_given(const struct cli *cli, const char *option)
{
    return cli_text(cli, option) != NULL;
}

const char *cli_setting(const struct cli *cli, const char *path)
{
    for (size_t i = 0; i < cli->flag_count; i++) {
        const char *name = cli->flags[i].name;
        size_t at = strncmp(name, "--", 2) ? 0 : 2, n = strlen(path);
        bool same = strlen(name + at) == n;
        for (size_t c = 0; same && c < n; c++)
            same = name[at + c] == path[c] ||
                   (name[at + c] == '-' && (path[c] == '.' || path[c] == '_'));
        if (same)
            return cli->flags[i].value;
    }
    return NULL;
}

enum outcome cli_number(const struct cli *cli, const char *option, int64_t otherwise, int64_t min,
                        int64_t max, int64_t *out, struct error *err)
{
    const char *text = cli_text(cli, option);
    *out = otherwise;
    if (!text)
        return OK;
    char *end;
    long long value = strtoll(text, &end, 10);
    if (!*text || *end || value < min || value > max)
        return fail(err, REFUSED, "--%s '%s' is not a whole number from %lld to %lld", option, text,
                    (long long)min, (long long)max);
    *out = value;
    return OK;
}

const char *cli_dev_directory(const struct cli *cli)
{
    const char *dir = NULL;
    for (size_t i = 0; i < cli->value_count; i++) /* --dir is an option of `dev` only */
        if (!strcmp(cli->values[i].name, "dir"))
            dir = cli->values[i].value;
    if (!dir)
        dir = getenv("PAWL_DEV_DIR");
    return dir && *dir ? dir : ".pawl";
}

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

/* The file of a `pawl dev` stack, when nothing says where else to go. */
static const char *dev_config_path(const struct cli *cli, char *out, size_t out_size)
{
    if (cli->config_path || is_set("PAWL_CONFIG") || is_set("PAWL_POSTGRES_DSN") ||
        is_set("PAWL_POSTGRES_DSN_FILE") || is_set("PAWL_KAFKA_BOOTSTRAP") ||
        cli_setting(cli, "postgres.dsn") || cli_setting(cli, "kafka.bootstrap"))
        return cli->config_path;
    int n = snprintf(out, out_size, "%s/pawl.yaml", cli_dev_directory(cli));
    return n > 0 && (size_t)n < out_size && access(out, R_OK) == 0 ? out : NULL;
}

int cli_configure(struct cli *cli)
{
    char path[PATH_MAX];
    struct error err;
    const char *file = dev_config_path(cli, path, sizeof path);
    cli->config_is_dev = file == path;
    enum outcome o = config_load(&cli->config, file, cli->flags, cli->flag_count, &err);
    if (o != OK)
        return cli_fail(CLI_CONFIG, "%s", err.text);
    cli->configured = true;
    return CLI_DONE;
}

bool cli_user(char out[CLI_USER_SIZE])
{
    char room[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found) {
        (void)snprintf(out, CLI_USER_SIZE, "%s", entry.pw_name);
        return true;
    }
    (void)snprintf(out, CLI_USER_SIZE, "uid-%u", (unsigned)getuid());
    return false;
}

const char *cli_who(const struct cli *cli)
{
    static char who[CLI_USER_SIZE + HOST_NAME_MAX + 2];
    char user[CLI_USER_SIZE];
    const char *as = cli_text(cli, "as");
    if (!as || !*as)
        as = getenv("PAWL_AS");
    if (as && *as)
        return as;
    char host[HOST_NAME_MAX + 1] = "localhost";
    (void)gethostname(host, sizeof host - 1);
    (void)cli_user(user);
    (void)snprintf(who, sizeof who, "%s@%s", user, host);
    return who;
}

PRINTF(1, 0) static void complain(const char *format, va_list args)
{
    (void)fflush(stdout);
    (void)fputs("pawl: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
}

int cli_fail(enum cli_exit code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    return (int)code;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    (void)fputs("usage: ", stderr);
    args_print_usage(cli->command, stderr);
    return CLI_USAGE;
}

int cli_answer(enum outcome outcome, const struct error *err)
{
    switch (outcome) {
    case OK: return CLI_DONE;
    case RETRY: return cli_fail(CLI_RETRY, "%s", err->text);
    case REFUSED:
    case STALE: return cli_fail(CLI_FAILED, "%s", err->text);
    case BROKEN: break;
    }
    return cli_fail(CLI_INTERNAL, "%s", err->text);
}
