/*
 * dev.h -- the embedded stack: `pawl dev`.
 *
 *     pawl dev --+-- postgres      a private cluster, fsync on      dev_postgres.c
 *                +-- broker        `pawl dev-broker`                broker.c
 *                +-- planner-1..N  \  the programs beside pawl      dev_process.c
 *                +-- executor-1..N /
 *
 * One process supervises: it starts the parts in that order, starts again what
 * dies, and stops them in the opposite order, calls in flight first.  All of it
 * lives in one directory (./.pawl):
 *
 *     pawl.yaml planner.yaml executor.yaml   process files, written at each start
 *     operator.pgpass                        password of the role for people
 *     postgres/ log/ state.json dev.lock
 *
 * Who may connect: over the Unix socket in the directory, the user who started
 * the stack (peer); over TCP, the operator's role with its password.
 *
 * The parts are children that get SIGTERM when the supervisor dies, except for
 * Postgres: it is stopped by the next start, or by `pawl dev down`.
 *
 * Limits:  DEV_WORKERS_MAX planners and as many executors; loopback only.
 * Threads: one.  Signals are blocked and taken by dev_pause().
 * Errors:  REFUSED, with what to do.
 */
#ifndef PAWL_CLI_DEV_H
#define PAWL_CLI_DEV_H

#include "cli/cli.h"
#include "common/outcome.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    DEV_WORKERS_MAX = 16,
    DEV_PROCESSES_MAX = 2 + 2 * DEV_WORKERS_MAX,
    DEV_ARGS_MAX = 40,
    DEV_NAME_SIZE = 24,
    DEV_ADDRESS_SIZE = 64,
};

enum dev_role { DEV_POSTGRES, DEV_BROKER, DEV_PLANNER, DEV_EXECUTOR };

struct dev_process {
    enum dev_role role;
    char name[DEV_NAME_SIZE]; /* "planner-1" */
    char address[DEV_ADDRESS_SIZE];
    pid_t pid; /* 0: not running */
    int restarts;
    int64_t started_ms;    /* monotonic */
    int64_t restart_at_ms; /* monotonic; while pid is 0 */
    int64_t backoff_ms;
    int64_t log_at; /* how far its log has been read */
};

struct dev {
    struct cli *cli;
    char directory[PATH_MAX];     /* absolute */
    char program_dir[PATH_MAX];   /* where pawl, planner and executor lie */
    char postgres_bin[PATH_MAX];  /* where initdb and postgres lie */
    char postgres_data[PATH_MAX]; /* the cluster */
    char postgres_socket[PATH_MAX];
    uid_t postgres_uid;
    gid_t postgres_gid;
    int postgres_port, kafka_port;
    const char *kafka; /* of --kafka, or NULL: the embedded broker */
    char bootstrap[256];
    char password[65]; /* of pawl_operator over TCP */
    int planners, executors;
    int lock_fd;

    struct dev_process processes[DEV_PROCESSES_MAX];
    int process_count;
    bool quiet;    /* --json: no words */
    int stop_asks; /* SIGTERM and SIGINT received */
};

/* ---- dev_directory.c: the directory and what is written into it ---------------- */

/* Finds (and with `make` creates) the directory, and all paths in it. */
MUST_CHECK enum outcome dev_directory_open(struct dev *d, bool make, struct error *err);

/* DIRECTORY/NAME; the result is valid until the next four calls. */
const char *dev_path(const struct dev *d, const char *name);

/* Takes the lock that says a supervisor is at work.  STALE: another one has it;
 * *holder is its pid.                                                         */
MUST_CHECK enum outcome dev_lock(struct dev *d, pid_t *holder, struct error *err);

/* Is a supervisor at work?  Its pid, or 0. */
pid_t dev_lock_holder(const struct dev *d);

/* The ports of the last start, or free ones. */
MUST_CHECK enum outcome dev_choose_ports(struct dev *d, struct error *err);
MUST_CHECK enum outcome dev_free_port(int *port, struct error *err);

/* DSN of a role over the socket. */
void dev_dsn(const struct dev *d, const char *role, const char *database, char *out,
             size_t out_size);

/* The process files and the password file. */
MUST_CHECK enum outcome dev_write_files(struct dev *d, struct error *err);

/* state.json: what `pawl dev status` shows.  Failing to write it is no reason to
 * stop.                                                                        */
void dev_write_state(const struct dev *d);

MUST_CHECK enum outcome dev_write_file(const char *path, const char *text, unsigned mode,
                                       struct error *err);

/* ---- dev_postgres.c -------------------------------------------------------------- */

/* Makes the cluster when there is none, starts it, applies the migrations. */
MUST_CHECK enum outcome dev_postgres_prepare(struct dev *d, struct error *err);
MUST_CHECK enum outcome dev_postgres_schema(struct dev *d, struct error *err);

/* The postmaster of a supervisor that is no more, or 0. */
pid_t dev_postgres_stale(const struct dev *d);

/* The arguments of the postmaster, for dev_process.c. */
void dev_postgres_args(const struct dev *d, const char *args[DEV_ARGS_MAX]);

/* ---- dev_process.c: children ------------------------------------------------------ */

/* Starts one; its output goes to log/NAME.log. */
MUST_CHECK enum outcome dev_process_start(struct dev *d, struct dev_process *p, struct error *err);

/* Runs a program to its end as the user of Postgres; RETRY when it fails. */
MUST_CHECK enum outcome dev_run(struct dev *d, const char *const *args, const char *log,
                                struct error *err);

/* Waits, and takes signals and the ends of children meanwhile. */
void dev_pause(struct dev *d, int64_t timeout_ms);

struct dev_process *dev_process_add(struct dev *d, enum dev_role role, int number);

/* ---- dev_log.c -------------------------------------------------------------------- */

int dev_log_open(const struct dev *d, const char *name); /* to be written; -1: errno */
int64_t dev_log_size(const struct dev *d, const char *name);

/* The last line of a part's log, for an error message. */
void dev_log_tail(const struct dev *d, const char *name, char *out, size_t out_size);

/* Prints the warnings and errors of planners and executors since the last time. */
void dev_log_follow(struct dev *d);

/* ---- dev_supervise.c --------------------------------------------------------------- */

/* Everything from the broker on, until somebody stops it. */
MUST_CHECK enum outcome dev_start_all(struct dev *d, struct error *err);
void dev_supervise(struct dev *d);
void dev_stop_all(struct dev *d);

PRINTF(2, 3) void dev_say(const struct dev *d, const char *format, ...);

#endif
