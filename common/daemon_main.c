#include "common/clock.h"
#include "common/daemon_life.h"
#include "common/fault.h"
#include "common/kafka.h"
#include "common/log.h"
#include "common/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 64, EXIT_SETTINGS = 78 }; /* sysexits.h */

static void print_help(const struct daemon_work *work)
{
    printf("%s -- %s\n\n"
           "usage: %s [--config FILE] [FLAG...]\n\n"
           "Settings come from flags, the environment (PAWL_*) and the YAML file, in that order;\n"
           "`pawl config show` prints them with their origin.\n\n",
           work->name, work->summary, work->name);
    config_print_flags(stdout);
    printf(
        "\n"
        "  --version        print the version\n"
        "  --fault-points   list the places where a test can kill this process\n"
        "  --help           this text\n\n"
        "SIGTERM and SIGINT: take no new work, finish what is in flight within `grace`, exit 0.\n"
        "A second one ends the grace.  Exit code 75: declared dead by others; start it again.\n");
}

/* The flags that do something else than work; true: done, *code is the end. */
static bool other_errand(const struct daemon_work *work, int argc, char **argv, int *code)
{
    *code = 0;
    if (argc < 2)
        return false;
    if (strcmp(argv[1], "--help") == 0) {
        print_help(work);
    } else if (strcmp(argv[1], "--version") == 0) {
        printf("%s %s (librdkafka %s)\n", work->name, PAWL_VERSION, kafka_library());
    } else if (strcmp(argv[1], "--fault-points") == 0) {
        fault_print_list(stdout);
    } else {
        (void)fprintf(stderr, "%s: there is no flag '%s'; `%s --help` lists them\n", work->name,
                      argv[1], work->name);
        *code = EXIT_USAGE;
    }
    return true;
}

static void choose_name(struct daemon *d)
{
    char host[128] = "localhost";
    (void)gethostname(host, sizeof host - 1);
    if (d->config.instance)
        (void)snprintf(d->life->name, sizeof d->life->name, "%s", d->config.instance);
    else
        (void)snprintf(d->life->name, sizeof d->life->name, "%s/%s", host, d->life->work->name);
}

static int complain(const struct daemon_work *work, const struct error *err, int code)
{
    (void)fprintf(stderr, "%s: %s\n", work->name, err->text);
    return code;
}

static int live(struct daemon *d)
{
    struct error err;
    choose_name(d);
    log_init(d->life->work->name, d->config.log_level, d->config.log_format);
    log_set_instance(d->life->name);
    enum outcome outcome = daemon_open(d, &err);
    if (outcome == OK) {
        log_event(LOG_INFO, "started", LOG_STR("version", PAWL_VERSION), LOG_INT("pid", getpid()),
                  LOG_INT("http_port", d->health ? health_port(d->health) : 0), LOG_END);
        loop_run(&d->loop);
    } else {
        log_event(LOG_ERROR, "cannot start", LOG_WHY(&err), LOG_END);
        d->life->exit_code = 1;
    }
    daemon_close(d);
    log_event(LOG_INFO, "ended", LOG_INT("exit_code", d->life->exit_code), LOG_END);
    return d->life->exit_code;
}

int daemon_main(int argc, char **argv, const struct daemon_work *work)
{
    struct daemon_life life = { .work = work };
    struct daemon daemon = { .life = &life };
    struct config_flag flags[CONFIG_FLAGS_MAX];
    struct error err;
    const char *path = NULL;
    size_t count = 0;
    int code = 0;

    if (config_take_flags(&argc, argv, &path, flags, CONFIG_FLAGS_MAX, &count, &err) != OK)
        return complain(work, &err, EXIT_USAGE);
    if (other_errand(work, argc, argv, &code))
        return code;
    if (fault_arm(getenv("PAWL_FAULT"), &err) != OK)
        return complain(work, &err, EXIT_USAGE);
    if (config_load(&daemon.config, path, flags, count, &err) != OK)
        return complain(work, &err, EXIT_SETTINGS);
    if (config_require(&daemon.config, CONFIG_POSTGRES | CONFIG_KAFKA, &err) != OK)
        code = complain(work, &err, EXIT_SETTINGS);
    else
        code = live(&daemon);
    config_release(&daemon.config);
    return code;
}
