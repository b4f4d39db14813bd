#include "cli/dev.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/json.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 50, TELL_AFTER_MS = 3000, DOWN_TIMEOUT_MS = 24 * 3600 * 1000 };

/* ---- up ------------------------------------------------------------------------- */

static int read_options(struct dev *d)
{
    struct cli *cli = d->cli;
    struct error err;
    int64_t planners, executors;
    if (cli_number(cli, "planners", 1, 0, DEV_WORKERS_MAX, &planners, &err) != OK ||
        cli_number(cli, "executors", 1, 0, DEV_WORKERS_MAX, &executors, &err) != OK)
        return cli_usage(cli, "%s", err.text);
    d->planners = (int)planners;
    d->executors = (int)executors;
    d->kafka = cli_text(cli, "kafka");
    d->quiet = cli_given(cli, "json");
    /* Names and limits of a process file count here; its addresses do not. */
    if (config_load(&cli->config, cli->config_path, cli->flags, cli->flag_count, &err) != OK)
        return cli_fail(CLI_CONFIG, "%s", err.text);
    cli->configured = true;
    return CLI_DONE;
}

/* From here on signals are taken by dev_pause(). */
static void block_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void print_next(const struct dev *d)
{
    static const char first[] = "examples/first-agent/agent.yaml";
    const char *pawl = strchr(d->cli->program, '/') ? d->cli->program : "pawl";
    bool here = access(first, R_OK) == 0;
    printf("\nIn another terminal, in this directory:\n\n");
    if (cli_given(d->cli, "dir"))
        printf("    export PAWL_DEV_DIR=%s\n", d->directory);
    printf("    %s agent apply %s\n", pawl, here ? first : "FILE");
    printf("    %s run start --agent %s --input \"%s\" --watch\n", pawl, here ? "weather" : "NAME",
           here ? "Shall I take an umbrella in Bergen or in Oslo?" : "...");
    printf("\nCtrl-C stops everything; so does `%s dev down`.\n\n", pawl);
}

static void print_ready(const struct dev *d)
{
    if (d->quiet) {
        json_t *state = json_load_file(dev_path(d, "state.json"), 0, NULL);
        output_json(state);
        json_decref(state);
    } else {
        printf("\n%s\n\n", output_bold("pawl is ready."));
        printf("  Postgres    psql 'postgres://pawl_operator@127.0.0.1:%d/pawl?passfile=%s'\n",
               d->postgres_port, dev_path(d, "operator.pgpass"));
        printf("  Kafka       %s%s\n", d->bootstrap,
               d->kafka ? "" : "   (embedded: in memory, this machine only)");
        for (int i = 0; i < d->process_count; i++)
            if (d->processes[i].role >= DEV_PLANNER)
                printf("  %-10s  http://%s/metrics\n", d->processes[i].name,
                       d->processes[i].address);
        printf("  logs        %s\n", dev_path(d, "log"));
        print_next(d);
    }
    (void)fflush(stdout);
}

static int up(struct dev *d)
{
    struct error err;
    pid_t holder;
    enum outcome o = dev_directory_open(d, true, &err);
    if (o == OK)
        o = dev_lock(d, &holder, &err);
    if (o == STALE)
        return cli_fail(CLI_FAILED, "%s; `pawl dev status` shows it, `pawl dev down` stops it",
                        err.text);
    if (o != OK)
        return cli_fail(CLI_FAILED, "%s", err.text);
    block_signals();
    o = dev_start_all(d, &err);
    if (o == OK && !d->stop_asks) {
        print_ready(d);
        dev_supervise(d);
    }
    bool asked = d->stop_asks > 0;
    dev_say(d, "stopping");
    dev_stop_all(d);
    dev_say(d, "stopped");
    if (o != OK && !asked)
        return cli_fail(o == RETRY ? CLI_UNAVAILABLE : CLI_FAILED, "%s", err.text);
    return CLI_DONE;
}

int dev_up_command(struct cli *cli)
{
    static struct dev dev;
    dev = (struct dev){ .cli = cli, .lock_fd = -1 };
    int code = read_options(&dev);
    return code == CLI_DONE ? up(&dev) : code;
}

/* ---- down ------------------------------------------------------------------------ */

static void sleep_ms(int ms)
{
    const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
    (void)nanosleep(&pause, NULL);
}

/* Where the cluster is, by the state of the last start. */
static void find_cluster(struct dev *d)
{
    json_t *state = json_load_file(dev_path(d, "state.json"), 0, NULL);
    (void)snprintf(d->postgres_data, sizeof d->postgres_data, "%s",
                   json_str_or(state, "data", dev_path(d, "postgres")));
    json_decref(state);
}

/* Postgres outlives a supervisor that was killed. */
static int stop_left_behind(struct dev *d)
{
    find_cluster(d);
    pid_t postgres = dev_postgres_stale(d);
    if (!postgres)
        return cli_fail(CLI_FAILED, "no stack is running in %s", d->directory);
    (void)kill(postgres, SIGINT);
    while (dev_postgres_stale(d))
        sleep_ms(POLL_MS);
    (void)puts(cli_given(d->cli, "json") ? "{\"stopped\": \"postgres\"}"
                                         : "stopped the Postgres that was left behind");
    return CLI_DONE;
}

int dev_down_command(struct cli *cli)
{
    static struct dev dev;
    struct error err;
    dev = (struct dev){ .cli = cli, .lock_fd = -1 };
    if (dev_directory_open(&dev, false, &err) != OK)
        return cli_fail(CLI_FAILED, "%s", err.text);
    pid_t holder = dev_lock_holder(&dev);
    if (!holder)
        return stop_left_behind(&dev);
    if (kill(holder, SIGTERM) != 0)
        return cli_fail(CLI_FAILED, "the supervisor (pid %ld) cannot be told to stop: %s",
                        (long)holder, strerror(errno));
    if (cli_given(cli, "now"))
        (void)(sleep_ms(POLL_MS), kill(holder, SIGTERM));
    int64_t began = clock_mono_ms();
    bool told = false;
    while (dev_lock_holder(&dev) == holder) {
        sleep_ms(POLL_MS);
        if (!told && clock_mono_ms() - began > TELL_AFTER_MS) {
            fprintf(
                stderr,
                "pawl: calls in flight are being finished; `pawl dev down --now` does not wait\n");
            told = true;
        }
    }
    (void)puts(cli_given(cli, "json") ? "{\"stopped\": \"all\"}" : "stopped");
    return CLI_DONE;
}

/* ---- status ------------------------------------------------------------------------ */

static bool is_alive(int64_t pid)
{
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static void status_row(struct table *t, const json_t *p)
{
    char took[OUTPUT_TIME_SIZE];
    int64_t pid = json_int_or(p, "pid", 0), started = json_int_or(p, "started_at_ms", 0);
    bool alive = is_alive(pid);
    const char *state = alive ? "running" : "stopped";
    table_cell(t, STYLE_BOLD, "%s", json_str_or(p, "name", "?"));
    table_cell(t, alive ? STYLE_GOOD : STYLE_DIM, "%s", state);
    if (alive)
        table_cell(t, STYLE_PLAIN, "%lld", (long long)pid);
    else
        table_cell(t, STYLE_PLAIN, "%s", "");
    table_cell(t, STYLE_PLAIN, "%s", alive ? output_duration(clock_wall_ms() - started, took) : "");
    table_cell(t, STYLE_PLAIN, "%lld", (long long)json_int_or(p, "restarts", 0));
    table_cell(t, STYLE_DIM, "%s", json_str_or(p, "address", ""));
}

int dev_status_command(struct cli *cli)
{
    static const char *const heads[] = { "PART", "STATE", ">PID", ">UP", ">RESTARTS", "ADDRESS" };
    static const struct list_view view =
        LIST_VIEW(heads, status_row, "nothing has been started yet");
    static struct dev dev;
    struct error err;
    dev = (struct dev){ .cli = cli, .lock_fd = -1 };
    if (dev_directory_open(&dev, false, &err) != OK)
        return cli_fail(CLI_FAILED, "%s", err.text);
    pid_t holder = dev_lock_holder(&dev);
    json_t *state = json_load_file(dev_path(&dev, "state.json"), 0, NULL);
    if (!state)
        state = json_object();
    (void)json_object_set_new(state, "running", json_boolean(holder != 0));
    if (cli_given(cli, "json")) {
        output_json(state);
    } else if (!holder) {
        printf("no stack is running in %s; start it with: pawl dev\n", dev.directory);
    } else {
        printf("running in %s (pid %ld)\n\n", dev.directory, (long)holder);
        output_list(&view, json_arr(state, "processes"), false);
    }
    json_decref(state);
    return holder ? CLI_DONE : CLI_FAILED;
}
