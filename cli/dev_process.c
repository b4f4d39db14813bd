#include "cli/dev.h"

#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKOFF_FIRST_MS = 200,
    BACKOFF_MAX_MS = 10000,
    STEADY_MS = 5000, /* who lived so long is started again at once */
};

struct dev_process *dev_process_add(struct dev *d, enum dev_role role, int number)
{
    static const char *const names[] = { "postgres", "broker", "planner", "executor" };
    assert(d->process_count < DEV_PROCESSES_MAX);
    struct dev_process *p = &d->processes[d->process_count++];
    *p = (struct dev_process){ .role = role };
    if (number)
        (void)snprintf(p->name, sizeof p->name, "%s-%d", names[role], number);
    else
        (void)snprintf(p->name, sizeof p->name, "%s", names[role]);
    p->log_at = dev_log_size(d, p->name); /* earlier lines are old news */
    return p;
}

/* ---- starting ---------------------------------------------------------------------- */

/* What the environment says about the supervisor's own addresses must not stand
 * over the files that its children read.  Everything else passes, API keys too. */
static void clean_environment(void)
{
    static const char *const ours[] = {
        "PAWL_CONFIG",          "PAWL_POSTGRES_DSN", "PAWL_POSTGRES_DSN_FILE",
        "PAWL_KAFKA_BOOTSTRAP", "PAWL_INSTANCE",     "PAWL_HTTP_LISTEN"
    };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        (void)unsetenv(ours[i]);
}

static void drop_to_postgres(const struct dev *d)
{
    if (d->postgres_uid == getuid())
        return;
    if (setgroups(0, NULL) != 0 || setgid(d->postgres_gid) != 0 || setuid(d->postgres_uid) != 0)
        _exit(126);
    (void)setenv("HOME", d->postgres_data, 1);
    if (chdir("/") != 0)
        _exit(126);
}

/* In the child: never returns. */
static void become(const struct dev *d, const char *const *args, int log_fd, pid_t parent,
                   bool postgres)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0); /* Ctrl-C is for the supervisor, who stops us in order */
    if (!postgres && (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent))
        _exit(126);
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0)
        _exit(126);
    clean_environment();
    assert(args[0]);
    if (postgres)
        drop_to_postgres(d);
    (void)execv(args[0], (char *const *)args);
    fprintf(stderr, "%s cannot be started: %s\n", args[0], strerror(errno));
    _exit(127);
}

static enum outcome spawn(const struct dev *d, const char *const *args, const char *log,
                          bool postgres, pid_t *pid, struct error *err)
{
    pid_t parent = getpid();
    int log_fd = dev_log_open(d, log);
    if (log_fd < 0)
        return fail(err, REFUSED, "log/%s.log cannot be opened: %s", log, strerror(errno));
    (void)fflush(NULL);
    *pid = fork();
    if (*pid == 0)
        become(d, args, log_fd, parent, postgres);
    (void)close(log_fd);
    return *pid > 0 ? OK : fail(err, REFUSED, "no process can be started: %s", strerror(errno));
}

static void broker_args(const struct dev *d, const char *args[DEV_ARGS_MAX])
{
    static char program[PATH_MAX + 16], port[16], port_file[PATH_MAX + 80], topics[6][272];
    const struct config *c = &d->cli->config;
    const char *names[] = { c->topic_requests, c->topic_plan, c->topic_act,
                            c->topic_events,   c->topic_dlq,  c->topic_stream };
    int n = 0;
    (void)snprintf(program, sizeof program, "%s/pawl", d->program_dir);
    (void)snprintf(port, sizeof port, "%d", d->kafka_port);
    (void)snprintf(port_file, sizeof port_file, "%s", dev_path(d, "broker.address"));
    (void)unlink(port_file);
    args[n++] = program;
    args[n++] = "dev-broker";
    args[n++] = "--port";
    args[n++] = port;
    args[n++] = "--port-file";
    args[n++] = port_file;
    for (int i = 0; i < 6 && names[i]; i++) {
        (void)snprintf(topics[i], sizeof topics[i], "%.255s:4", names[i]);
        args[n++] = "--topic";
        args[n++] = topics[i];
    }
    args[n] = NULL;
}

static enum outcome worker_args(const struct dev *d, struct dev_process *p,
                                const char *args[DEV_ARGS_MAX], struct error *err)
{
    static char program[PATH_MAX + 16], file[PATH_MAX + 80], instance[64];
    const char *kind = p->role == DEV_PLANNER ? "planner" : "executor";
    int port;
    enum outcome o = dev_free_port(&port, err);
    if (o != OK)
        return o;
    (void)snprintf(p->address, sizeof p->address, "127.0.0.1:%d", port);
    (void)snprintf(program, sizeof program, "%s/%s", d->program_dir, kind);
    if (access(program, X_OK) != 0)
        return fail(err, REFUSED,
                    "%s is not there: pawl, planner and executor belong into one directory",
                    program);
    (void)snprintf(file, sizeof file, "%s/%s.yaml", d->directory, kind);
    (void)snprintf(instance, sizeof instance, "dev/%s", p->name);
    const char *const fixed[] = { program,  "--config",      file,       "--instance",
                                  instance, "--http-listen", p->address, NULL };
    memcpy(args, fixed, sizeof fixed);
    return OK;
}

enum outcome dev_process_start(struct dev *d, struct dev_process *p, struct error *err)
{
    const char *args[DEV_ARGS_MAX] = { NULL };
    enum outcome o = OK;
    switch (p->role) {
    case DEV_POSTGRES:
        dev_postgres_args(d, args);
        (void)snprintf(p->address, sizeof p->address, "127.0.0.1:%d", d->postgres_port);
        break;
    case DEV_BROKER:
        broker_args(d, args);
        (void)snprintf(p->address, sizeof p->address, "127.0.0.1:%d", d->kafka_port);
        break;
    case DEV_PLANNER:
    case DEV_EXECUTOR: o = worker_args(d, p, args, err); break;
    }
    if (o == OK)
        o = spawn(d, args, p->name, p->role == DEV_POSTGRES, &p->pid, err);
    p->started_ms = clock_mono_ms();
    return o;
}

enum outcome dev_run(struct dev *d, const char *const *args, const char *log, struct error *err)
{
    pid_t pid = 0;
    int status = 0;
    enum outcome o = spawn(d, args, log, true, &pid, err);
    if (o != OK)
        return o;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return fail(err, RETRY, "%s failed", args[0]);
    return OK;
}

/* ---- signals and ends ------------------------------------------------------------------ */

static void describe_end(int status, char *out, size_t out_size)
{
    if (WIFSIGNALED(status))
        (void)snprintf(out, out_size, "was killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(out, out_size, "ended with exit code %d", WEXITSTATUS(status));
}

static void note_end(struct dev *d, struct dev_process *p, int status)
{
    int64_t now = clock_mono_ms();
    char how[64];
    describe_end(status, how, sizeof how);
    p->pid = 0;
    if (d->stop_asks)
        return;
    if (now - p->started_ms >= STEADY_MS)
        p->backoff_ms = 0;
    p->restart_at_ms = now + p->backoff_ms;
    if (p->backoff_ms)
        dev_say(d, "%s %s; it is started again in %lld ms (log/%s.log)", p->name, how,
                (long long)p->backoff_ms, p->name);
    else
        dev_say(d, "%s %s; it is started again", p->name, how);
    p->backoff_ms = p->backoff_ms ? p->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (p->backoff_ms > BACKOFF_MAX_MS)
        p->backoff_ms = BACKOFF_MAX_MS;
}

static void reap(struct dev *d)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (int i = 0; i < d->process_count; i++)
            if (d->processes[i].pid == pid)
                note_end(d, &d->processes[i], status);
}

void dev_pause(struct dev *d, int64_t timeout_ms)
{
    const struct timespec timeout = { .tv_sec = timeout_ms / 1000,
                                      .tv_nsec = timeout_ms % 1000 * 1000000 };
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    int got = sigtimedwait(&set, NULL, &timeout);
    if (got == SIGINT || got == SIGTERM || got == SIGHUP)
        d->stop_asks++;
    reap(d);
}
