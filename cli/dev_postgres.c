/*
 * dev_postgres.c -- the private cluster of `pawl dev`.
 *
 * Postgres refuses to run as root, so root's cluster belongs to the user
 * `postgres` (or `nobody`), and lies in /var/lib/pawl-dev when that user cannot
 * reach the directory.  Durability is as in production: fsync and synchronous_commit on.
 */
#include "cli/dev.h"
#include "cli/migrate.h"
#include "cli/session.h"

#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_TIMEOUT_MS = 60000,
    POLL_MS = 50,
    SOCKET_PATH_MAX = 107, /* sun_path, less its NUL */
    OLDEST_VERSION = 13,
};

#define SOCKET_NAME "/.s.PGSQL.65535"
#define OWNER "pawl" /* superuser of the cluster, and owner of the schema */

/* ---- the programs ------------------------------------------------------------- */

static bool has_programs(const char *dir)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/initdb", dir);
    if (access(path, X_OK) != 0)
        return false;
    (void)snprintf(path, sizeof path, "%s/postgres", dir);
    return access(path, X_OK) == 0;
}

/* The whole number that a file of the cluster begins with, or 0. */
static int read_number(const struct dev *d, const char *name)
{
    char path[PATH_MAX + 32], line[32];
    (void)snprintf(path, sizeof path, "%s/%s", d->postgres_data, name);
    FILE *file = fopen(path, "re");
    long number = file && fgets(line, sizeof line, file) ? strtol(line, NULL, 10) : 0;
    if (file)
        (void)fclose(file);
    return number > 0 && number <= INT_MAX ? (int)number : 0;
}

/* The version that the data directory was made by, or 0. */
static int data_version(const struct dev *d)
{
    return read_number(d, "PG_VERSION");
}

/* Debian keeps each major version in /usr/lib/postgresql/N/bin: the newest, or
 * the one that made the data.                                                  */
static bool find_versioned(struct dev *d, int wanted)
{
    static const char root[] = "/usr/lib/postgresql/";
    glob_t found;
    long best = 0;
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0)
        return false;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        long version = strtol(path + strlen(root), NULL, 10);
        if (version < OLDEST_VERSION || version <= best || (wanted && version != wanted) ||
            !has_programs(path))
            continue;
        best = version;
        (void)snprintf(d->postgres_bin, sizeof d->postgres_bin, "%s", path);
    }
    globfree(&found);
    return best > 0;
}

static bool find_on_path(struct dev *d)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t n = strcspn(path, ":");
        (void)snprintf(d->postgres_bin, sizeof d->postgres_bin, "%.*s", (int)n, path);
        if (n && has_programs(d->postgres_bin))
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

static enum outcome find_programs(struct dev *d, struct error *err)
{
    const char *asked = getenv("PAWL_POSTGRES_BIN");
    int wanted = data_version(d);
    if (asked && *asked) {
        (void)snprintf(d->postgres_bin, sizeof d->postgres_bin, "%s", asked);
        return has_programs(asked)
                   ? OK
                   : fail(err, REFUSED, "PAWL_POSTGRES_BIN: there is no initdb and postgres in %s",
                          asked);
    }
    if (find_versioned(d, wanted) || find_on_path(d))
        return OK;
    if (wanted)
        return fail(err, REFUSED,
                    "the cluster in %s was made by PostgreSQL %d, which is not installed: apt "
                    "install postgresql-%d",
                    d->postgres_data, wanted, wanted);
    return fail(err, REFUSED,
                "PostgreSQL is not installed: apt install postgresql (or set PAWL_POSTGRES_BIN)");
}

/* ---- whose it is, and where ------------------------------------------------------ */

static bool find_account(struct dev *d, const char *name)
{
    char room[4096];
    struct passwd entry, *found = NULL;
    if (getpwnam_r(name, &entry, room, sizeof room, &found) != 0 || !found || entry.pw_uid == 0)
        return false;
    d->postgres_uid = entry.pw_uid;
    d->postgres_gid = entry.pw_gid;
    return true;
}

static enum outcome find_user(struct dev *d, struct error *err)
{
    d->postgres_uid = getuid();
    d->postgres_gid = getgid();
    if (getuid() != 0 || find_account(d, "postgres") || find_account(d, "nobody"))
        return OK;
    return fail(err, REFUSED,
                "Postgres does not run as root, and there is no user postgres or nobody");
}

/* Could the user of Postgres work in the directory? */
static bool user_reaches(const struct dev *d, const char *directory)
{
    if (d->postgres_uid == getuid())
        return true;
    pid_t child = fork();
    if (child == 0) {
        bool fine = setgroups(0, NULL) == 0 && setgid(d->postgres_gid) == 0 &&
                    setuid(d->postgres_uid) == 0 && access(directory, X_OK) == 0;
        _exit(fine ? 0 : 1);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* A directory that belongs to the user of Postgres and to nobody else. */
static enum outcome own_directory(const struct dev *d, const char *path, struct error *err)
{
    struct stat st;
    if (mkdir(path, 0700) == 0) {
        if (chown(path, d->postgres_uid, d->postgres_gid) != 0)
            return fail(err, REFUSED, "%s cannot be given to the user of Postgres: %s", path,
                        strerror(errno));
        return OK;
    }
    if (errno != EEXIST || lstat(path, &st) != 0)
        return fail(err, REFUSED, "the directory %s cannot be made: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != d->postgres_uid)
        return fail(err, REFUSED, "%s belongs to somebody else; remove it, or choose another --dir",
                    path);
    return OK;
}

/* A new directory with a random name, noted in FILE of the stack's directory so
 * that the next start finds it again.                                          */
static enum outcome place_apart(const struct dev *d, const char *parent, const char *file,
                                char *out, size_t out_size, struct error *err)
{
    FILE *note = fopen(dev_path(d, file), "re");
    bool known = note && fgets(out, (int)out_size, note);
    if (note)
        (void)fclose(note);
    if (known)
        return own_directory(d, out, err);
    if (mkdir(parent, 0711) != 0 && errno != EEXIST)
        return fail(err, REFUSED, "the directory %s cannot be made: %s", parent, strerror(errno));
    (void)snprintf(out, out_size, "%s/pawl-dev-XXXXXX", parent);
    if (!mkdtemp(out) || chown(out, d->postgres_uid, d->postgres_gid) != 0)
        return fail(err, REFUSED, "no directory can be made in %s: %s", parent, strerror(errno));
    return dev_write_file(dev_path(d, file), out, 0644, err);
}

/* Beside the other files if that user can get there: root's home is closed to
 * the user of Postgres.  The socket's path may be shorter than that.          */
static enum outcome choose_places(struct dev *d, struct error *err)
{
    enum outcome o;
    if (user_reaches(d, d->directory)) {
        (void)snprintf(d->postgres_data, sizeof d->postgres_data, "%.4000s/postgres", d->directory);
        o = own_directory(d, d->postgres_data, err);
    } else {
        o = place_apart(d, "/var/lib/pawl-dev", "postgres.path", d->postgres_data,
                        sizeof d->postgres_data, err);
    }
    if (o != OK)
        return o;
    (void)snprintf(d->postgres_socket, sizeof d->postgres_socket, "%s", d->postgres_data);
    if (strlen(d->postgres_data) + strlen(SOCKET_NAME) <= SOCKET_PATH_MAX)
        return OK;
    return place_apart(d, "/tmp", "socket.path", d->postgres_socket, sizeof d->postgres_socket,
                       err);
}

/* ---- making and starting it -------------------------------------------------------- */

/* A file in the data directory, for the user of Postgres. */
static enum outcome write_data_file(const struct dev *d, const char *name, const char *text,
                                    struct error *err)
{
    char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/%s", d->postgres_data, name);
    enum outcome o = dev_write_file(path, text, 0600, err);
    if (o == OK && chown(path, d->postgres_uid, d->postgres_gid) != 0)
        o = fail(err, REFUSED, "%s cannot be given to the user of Postgres: %s", path,
                 strerror(errno));
    return o;
}

/* Who may connect.  Over the socket: the user who started the stack, by the
 * kernel's word, as any of our roles; over TCP: people, with the password.    */
static enum outcome write_access(const struct dev *d, struct error *err)
{
    static const char *const roles[] = { OWNER, "pawl_planner", "pawl_executor", "pawl_operator" };
    char ident[2048] = "", user[CLI_USER_SIZE];
    size_t n = 0;
    if (!cli_user(user))
        return fail(err, REFUSED, "user %u has no name in /etc/passwd, which Postgres needs",
                    (unsigned)getuid());
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        n += (size_t)snprintf(ident + n, sizeof ident - n, "dev \"%.200s\" %s\n", user, roles[i]);
    enum outcome o = write_data_file(d, "pg_ident.conf", ident, err);
    if (o != OK)
        return o;
    return write_data_file(d, "pg_hba.conf",
                           "local all all peer map=dev\n"
                           "host pawl pawl_operator 127.0.0.1/32 scram-sha-256\n",
                           err);
}

static enum outcome init_cluster(struct dev *d, struct error *err)
{
    char program[PATH_MAX + 16];
    if (data_version(d))
        return OK;
    (void)snprintf(program, sizeof program, "%s/initdb", d->postgres_bin);
    const char *args[] = { program,
                           "-D",
                           d->postgres_data,
                           "-U",
                           OWNER,
                           "-E",
                           "UTF8",
                           "--locale=C",
                           "--auth-local=peer",
                           "--auth-host=scram-sha-256",
                           "--data-checksums",
                           NULL };
    dev_say(d, "making a private Postgres cluster in %s", d->postgres_data);
    enum outcome o = dev_run(d, args, "initdb", err);
    if (o == OK)
        return OK;
    char tail[160];
    dev_log_tail(d, "initdb", tail, sizeof tail);
    return fail(err, REFUSED, "initdb failed: %s", tail);
}

void dev_postgres_args(const struct dev *d, const char *args[DEV_ARGS_MAX])
{
    static char program[PATH_MAX + 16], port[24], socket[PATH_MAX + 32];
    const char *const fixed[] = {
        program,
        "-D",
        d->postgres_data,
        "-c",
        port,
        "-c",
        socket,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_permissions=0700",
        "-c",
        "fsync=on",
        "-c",
        "synchronous_commit=on",
        "-c",
        "full_page_writes=on",
        "-c",
        "logging_collector=off",
        "-c",
        "max_connections=200",
        "-c",
        "shared_buffers=64MB",
        "-c",
        "log_line_prefix=%m [%p] %u@%d ",
        NULL,
    };
    (void)snprintf(program, sizeof program, "%s/postgres", d->postgres_bin);
    (void)snprintf(port, sizeof port, "port=%d", d->postgres_port);
    (void)snprintf(socket, sizeof socket, "unix_socket_directories=%s", d->postgres_socket);
    memcpy(args, fixed, sizeof fixed);
}

/* The postmaster's pid by its own file, when that process is alive and at work
 * in this cluster: numbers of processes are used again.                        */
pid_t dev_postgres_stale(const struct dev *d)
{
    char link[64], directory[PATH_MAX];
    int pid = read_number(d, "postmaster.pid");
    (void)snprintf(link, sizeof link, "/proc/%d/cwd", pid);
    ssize_t n = pid ? readlink(link, directory, sizeof directory - 1) : 0;
    if (n <= 0)
        return 0;
    directory[n] = '\0';
    return strcmp(directory, d->postgres_data) ? 0 : (pid_t)pid;
}

static enum outcome stop_stale(struct dev *d, struct error *err)
{
    pid_t pid = dev_postgres_stale(d);
    int64_t until = clock_mono_ms() + START_TIMEOUT_MS;
    if (!pid)
        return OK;
    dev_say(d, "stopping the Postgres that an earlier start has left behind (pid %ld)", (long)pid);
    (void)kill(pid, SIGINT);
    while (dev_postgres_stale(d) && clock_mono_ms() < until)
        dev_pause(d, POLL_MS);
    return dev_postgres_stale(d) ? fail(err, REFUSED, "Postgres (pid %ld) does not stop", (long)pid)
                                 : OK;
}

static enum outcome wait_until_ready(struct dev *d, const struct dev_process *p, struct error *err)
{
    char dsn[PATH_MAX + 128], tail[160];
    int64_t until = clock_mono_ms() + START_TIMEOUT_MS;
    dev_dsn(d, OWNER, "postgres", dsn, sizeof dsn);
    while (clock_mono_ms() < until && p->pid && !d->stop_asks) {
        struct session *s;
        enum outcome o = session_connect(dsn, &s, err);
        session_close(s);
        if (o != RETRY)
            return o;
        dev_pause(d, POLL_MS);
    }
    if (d->stop_asks)
        return fail(err, REFUSED, "stopped");
    dev_log_tail(d, "postgres", tail, sizeof tail);
    return fail(err, REFUSED, "Postgres does not start: %s", tail);
}

enum outcome dev_postgres_prepare(struct dev *d, struct error *err)
{
    enum outcome o = find_user(d, err);
    if (o == OK)
        o = choose_places(d, err);
    if (o == OK)
        o = find_programs(d, err);
    if (o == OK)
        o = stop_stale(d, err);
    if (o == OK)
        o = dev_choose_ports(d, err);
    if (o == OK)
        o = init_cluster(d, err);
    if (o == OK)
        o = write_access(d, err);
    if (o != OK)
        return o;
    struct dev_process *p = dev_process_add(d, DEV_POSTGRES, 0);
    o = dev_process_start(d, p, err);
    return o == OK ? wait_until_ready(d, p, err) : o;
}

/* ---- the schema ------------------------------------------------------------------------ */

static enum outcome make_database(struct dev *d, struct error *err)
{
    char dsn[PATH_MAX + 128];
    struct session *s;
    json_t *there = NULL;
    dev_dsn(d, OWNER, "postgres", dsn, sizeof dsn);
    enum outcome o = session_connect(dsn, &s, err);
    if (o != OK)
        return o;
    o = session_ask(s, "SELECT 'true'::json FROM pg_database WHERE datname = 'pawl'", NULL, 0,
                    &there, err);
    if (o == OK && !there)
        o = session_script(s, "CREATE DATABASE pawl", err);
    json_decref(there);
    session_close(s);
    return o;
}

static void on_migration(void *self, int number, const char *name)
{
    (void)number;
    (void)name;
    ++*(int *)self;
}

enum outcome dev_postgres_schema(struct dev *d, struct error *err)
{
    char dsn[PATH_MAX + 128], roles[512];
    struct session *s;
    struct error why;
    int applied = 0;
    enum outcome o = make_database(d, err);
    if (o != OK)
        return o;
    dev_dsn(d, OWNER, "pawl", dsn, sizeof dsn);
    o = session_connect(dsn, &s, err);
    if (o != OK)
        return o;
    (void)snprintf(roles, sizeof roles,
                   "ALTER ROLE pawl_planner LOGIN; ALTER ROLE pawl_executor LOGIN; "
                   "ALTER ROLE pawl_operator LOGIN PASSWORD '%s'",
                   d->password);
    o = migrate_up(s, on_migration, &applied, NULL, &why);
    if (o != OK)
        o = fail(err, o, "%.150s (to begin anew: rm -r %.60s)", why.text, d->directory);
    if (o == OK)
        o = session_script(s, roles, err);
    session_close(s);
    if (o == OK && applied)
        dev_say(d, "applied %d migration%s", applied, applied == 1 ? "" : "s");
    return o;
}
