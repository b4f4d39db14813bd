#include "cli/dev.h"

#include "cli/broker_topics.h"
#include "cli/output.h"
#include "cli/session.h"
#include "common/clock.h"
#include "common/json.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum {
    POLL_MS = 50,
    BROKER_TIMEOUT_MS = 10000,
    WORKER_TIMEOUT_MS = 30000,
    BROKER_GRACE_MS = 5000,
    POSTGRES_GRACE_MS = 30000,
    IDLE_MS = 1000,
};

void dev_say(const struct dev *d, const char *format, ...)
{
    va_list args;
    char at[OUTPUT_TIME_SIZE];
    if (d->quiet)
        return;
    printf("%s%s%s  ", output_on(STYLE_DIM), output_moment(clock_wall_ms(), at),
           output_off(STYLE_DIM));
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
    (void)fflush(stdout);
}

/* ---- starting ------------------------------------------------------------------- */

static enum outcome start_broker(struct dev *d, struct error *err)
{
    char path[PATH_MAX + 80], tail[160];
    int64_t until = clock_mono_ms() + BROKER_TIMEOUT_MS;
    struct dev_process *p = dev_process_add(d, DEV_BROKER, 0);
    (void)snprintf(path, sizeof path, "%s", dev_path(d, "broker.address"));
    (void)unlink(path);
    enum outcome o = dev_process_start(d, p, err);
    if (o != OK)
        return o;
    while (access(path, R_OK) != 0 && p->pid && !d->stop_asks && clock_mono_ms() < until)
        dev_pause(d, POLL_MS);
    if (access(path, R_OK) == 0)
        return OK;
    dev_log_tail(d, p->name, tail, sizeof tail);
    return fail(err, REFUSED, "the broker does not start: %s", tail);
}

static enum outcome start_kafka(struct dev *d, struct error *err)
{
    if (!d->kafka) {
        (void)snprintf(d->bootstrap, sizeof d->bootstrap, "127.0.0.1:%d", d->kafka_port);
        return start_broker(d, err);
    }
    (void)snprintf(d->bootstrap, sizeof d->bootstrap, "%s", d->kafka);
    return broker_topics_create(&d->cli->config, d->bootstrap, err);
}

/* How many of our workers, by their pids, have registered and are alive. */
static enum outcome count_registered(struct session *s, const struct dev *d, int *count,
                                     struct error *err)
{
    json_t *pids = NULL;
    const json_t *pid;
    size_t i;
    enum outcome o = session_ask(
        s, "SELECT json_agg(f.pid) FROM pawl.fleet f WHERE f.state = 'alive'", NULL, 0, &pids, err);
    *count = 0;
    json_array_foreach(pids, i, pid)
        for (int k = 0; k < d->process_count; k++)
            *count += d->processes[k].role >= DEV_PLANNER &&
                      d->processes[k].pid == json_integer_value(pid);
    json_decref(pids);
    return o;
}

static enum outcome wait_for_workers(struct dev *d, struct error *err)
{
    char dsn[PATH_MAX + 128], tail[160];
    int64_t until = clock_mono_ms() + WORKER_TIMEOUT_MS;
    struct session *s;
    int count = 0, wanted = d->planners + d->executors;
    dev_dsn(d, "pawl_operator", "pawl", dsn, sizeof dsn);
    enum outcome o = session_connect(dsn, &s, err);
    while (o == OK && count < wanted && clock_mono_ms() < until && !d->stop_asks) {
        dev_pause(d, POLL_MS);
        o = count_registered(s, d, &count, err);
    }
    session_close(s);
    if (o != OK || count == wanted || d->stop_asks)
        return o;
    for (int i = 0; i < d->process_count; i++) {
        if (d->processes[i].role < DEV_PLANNER || d->processes[i].pid)
            continue;
        dev_log_tail(d, d->processes[i].name, tail, sizeof tail);
        return fail(err, REFUSED, "%s does not start: %s", d->processes[i].name, tail);
    }
    return fail(err, REFUSED,
                "after %d s only %d of %d processes have registered; look into %s/log",
                WORKER_TIMEOUT_MS / 1000, count, wanted, d->directory);
}

static enum outcome start_workers(struct dev *d, struct error *err)
{
    enum outcome o = OK;
    for (int i = 1; i <= d->planners && o == OK; i++)
        o = dev_process_start(d, dev_process_add(d, DEV_PLANNER, i), err);
    for (int i = 1; i <= d->executors && o == OK; i++)
        o = dev_process_start(d, dev_process_add(d, DEV_EXECUTOR, i), err);
    return o == OK ? wait_for_workers(d, err) : o;
}

enum outcome dev_start_all(struct dev *d, struct error *err)
{
    enum outcome o = dev_postgres_prepare(d, err);
    if (o == OK)
        o = start_kafka(d, err);
    if (o == OK)
        o = dev_write_files(d, err);
    if (o == OK)
        o = dev_postgres_schema(d, err);
    if (o == OK)
        o = start_workers(d, err);
    if (o == OK)
        dev_write_state(d);
    return o;
}

/* ---- keeping it running ---------------------------------------------------------------- */

/* Starts what is due; answers the time until the next one is. */
static int64_t restart_due(struct dev *d)
{
    int64_t now = clock_mono_ms(), wait_ms = IDLE_MS;
    for (int i = 0; i < d->process_count; i++) {
        struct dev_process *p = &d->processes[i];
        struct error err;
        if (p->pid)
            continue;
        if (p->restart_at_ms > now) {
            wait_ms = p->restart_at_ms - now < wait_ms ? p->restart_at_ms - now : wait_ms;
            continue;
        }
        p->restarts++;
        if (dev_process_start(d, p, &err) != OK) {
            dev_say(d, "%s cannot be started: %s", p->name, err.text);
            p->restart_at_ms = now + IDLE_MS;
        }
        dev_write_state(d);
    }
    return wait_ms;
}

void dev_supervise(struct dev *d)
{
    while (!d->stop_asks) {
        dev_pause(d, restart_due(d));
        dev_log_follow(d);
    }
}

/* ---- stopping ----------------------------------------------------------------------------- */

static int signal_role(const struct dev *d, enum dev_role from, enum dev_role to, int signal_number)
{
    int alive = 0;
    for (int i = 0; i < d->process_count; i++) {
        const struct dev_process *p = &d->processes[i];
        if (!p->pid || p->role < from || p->role > to)
            continue;
        alive++;
        if (signal_number)
            (void)kill(p->pid, signal_number);
    }
    return alive;
}

/* Workers finish what they have in flight, for as long as their grace lasts.
 * Another Ctrl-C ends the grace, a third one kills.                             */
static void stop_workers(struct dev *d)
{
    int asks = d->stop_asks;
    int64_t began = clock_mono_ms();
    bool told = false;
    if (!signal_role(d, DEV_PLANNER, DEV_EXECUTOR, SIGTERM))
        return;
    while (signal_role(d, DEV_PLANNER, DEV_EXECUTOR, 0)) {
        dev_pause(d, POLL_MS);
        if (!told && clock_mono_ms() - began > 2000) {
            dev_say(d, "calls in flight are being finished; Ctrl-C again stops at once");
            told = true;
        }
        if (d->stop_asks > asks) {
            asks = d->stop_asks;
            (void)signal_role(d, DEV_PLANNER, DEV_EXECUTOR, asks > 2 ? SIGKILL : SIGTERM);
        }
    }
}

static void stop_one(struct dev *d, enum dev_role role, int polite, int harsh, int grace_ms)
{
    int64_t until = clock_mono_ms() + grace_ms;
    if (!signal_role(d, role, role, polite))
        return;
    while (signal_role(d, role, role, 0) && clock_mono_ms() < until)
        dev_pause(d, POLL_MS);
    (void)signal_role(d, role, role, harsh);
    while (signal_role(d, role, role, 0))
        dev_pause(d, POLL_MS);
}

void dev_stop_all(struct dev *d)
{
    if (!d->stop_asks)
        d->stop_asks = 1; /* nothing is started again from here on */
    stop_workers(d);
    stop_one(d, DEV_BROKER, SIGTERM, SIGKILL, BROKER_GRACE_MS);
    stop_one(d, DEV_POSTGRES, SIGINT, SIGQUIT, POSTGRES_GRACE_MS);
    dev_write_state(d);
}
