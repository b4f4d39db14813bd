#include "cli/dev.h"

#include "cli/broker.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 * 1024, PATHS = 4 };

const char *dev_path(const struct dev *d, const char *name)
{
    static char paths[PATHS][PATH_MAX + DEV_ADDRESS_SIZE];
    static unsigned next;
    char *out = paths[next++ % PATHS];
    (void)snprintf(out, sizeof paths[0], "%s/%s", d->directory, name);
    return out;
}

enum outcome dev_write_file(const char *path, const char *text, unsigned mode, struct error *err)
{
    char temporary[PATH_MAX + DEV_ADDRESS_SIZE + 8];
    size_t n = strlen(text);
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
    if (fd < 0)
        return fail(err, REFUSED, "%s cannot be written: %s", temporary, strerror(errno));
    bool written = fchmod(fd, (mode_t)mode) == 0 && write(fd, text, n) == (ssize_t)n;
    written = close(fd) == 0 && written && rename(temporary, path) == 0;
    return written ? OK : fail(err, REFUSED, "%s cannot be written: %s", path, strerror(errno));
}

/* ---- the directory -------------------------------------------------------------- */

static enum outcome find_program_dir(struct dev *d, struct error *err)
{
    ssize_t n = readlink("/proc/self/exe", d->program_dir, sizeof d->program_dir - 1);
    char *slash;
    if (n <= 0)
        return fail(err, REFUSED, "/proc/self/exe cannot be read: %s", strerror(errno));
    d->program_dir[n] = '\0';
    slash = strrchr(d->program_dir, '/');
    assert(slash);
    *slash = '\0';
    return OK;
}

static enum outcome make_directory(const char *path, struct error *err)
{
    /* Others may pass through (the user of Postgres does), not read. */
    if (mkdir(path, 0711) == 0 || errno == EEXIST)
        return OK;
    return fail(err, REFUSED, "the directory %s cannot be made: %s", path, strerror(errno));
}

enum outcome dev_directory_open(struct dev *d, bool make, struct error *err)
{
    const char *wanted = cli_dev_directory(d->cli);
    enum outcome o = find_program_dir(d, err);
    if (o == OK && make)
        o = make_directory(wanted, err);
    if (o != OK)
        return o;
    if (!realpath(wanted, d->directory))
        return fail(err, STALE, "there is no stack in %s; start one with: pawl dev", wanted);
    if (make)
        o = make_directory(dev_path(d, "log"), err);
    if (o == OK && make) /* whatever repository it stands in */
        o = dev_write_file(dev_path(d, ".gitignore"), "*\n", 0644, err);
    return o;
}

/* ---- one supervisor at a time ---------------------------------------------------- */

static pid_t read_pid(int fd)
{
    char text[32] = "";
    if (pread(fd, text, sizeof text - 1, 0) <= 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 0 ? (pid_t)pid : 0;
}

enum outcome dev_lock(struct dev *d, pid_t *holder, struct error *err)
{
    const char *path = dev_path(d, "dev.lock");
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->lock_fd < 0)
        return fail(err, REFUSED, "%s cannot be opened: %s", path, strerror(errno));
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        *holder = read_pid(d->lock_fd);
        (void)close(d->lock_fd);
        return fail(err, STALE, "a stack is running in %s already (pid %ld)", d->directory,
                    (long)*holder);
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, text, (size_t)n, 0) != n)
        return fail(err, REFUSED, "%s cannot be written: %s", path, strerror(errno));
    return OK;
}

pid_t dev_lock_holder(const struct dev *d)
{
    int fd = open(dev_path(d, "dev.lock"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    pid_t holder = flock(fd, LOCK_SH | LOCK_NB) == 0 ? 0 : read_pid(fd);
    (void)close(fd);
    return holder;
}

/* ---- ports ------------------------------------------------------------------------- */

/* Binds a loopback port for a moment; `port` 0: any.  Answers it, or 0. */
static int try_port(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    socklen_t size = sizeof address;
    int one = 1, found = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, size) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        found = ntohs(address.sin_port);
    (void)close(fd);
    return found;
}

enum outcome dev_free_port(int *port, struct error *err)
{
    *port = try_port(0);
    return *port ? OK : fail(err, REFUSED, "no free port on 127.0.0.1: %s", strerror(errno));
}

static json_t *read_state(const struct dev *d)
{
    return json_load_file(dev_path(d, "state.json"), 0, NULL);
}

enum outcome dev_choose_ports(struct dev *d, struct error *err)
{
    json_t *state = read_state(d);
    int *ports[] = { &d->postgres_port, &d->kafka_port };
    const char *keys[] = { "postgres_port", "kafka_port" };
    enum outcome o = OK;
    for (int i = 0; i < 2 && o == OK; i++) {
        int64_t last = json_int_or(state, keys[i], 0);
        *ports[i] = last > 0 && last <= 65535 ? try_port((int)last) : 0;
        if (!*ports[i])
            o = dev_free_port(ports[i], err);
    }
    json_decref(state);
    return o;
}

/* ---- the process files --------------------------------------------------------------- */

/* A value of a DSN (key='value'): quotes and backslashes escaped. */
static void add_dsn_value(struct buf *b, const char *key, const char *value)
{
    (void)buf_printf(b, "%s%s='", b->len ? " " : "", key);
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\')
            (void)buf_putc(b, '\\');
        (void)buf_putc(b, *value);
    }
    (void)buf_putc(b, '\'');
}

void dev_dsn(const struct dev *d, const char *role, const char *database, char *out,
             size_t out_size)
{
    struct buf b;
    char port[16];
    buf_init(&b, out_size);
    (void)snprintf(port, sizeof port, "%d", d->postgres_port);
    add_dsn_value(&b, "host", d->postgres_socket);
    add_dsn_value(&b, "port", port);
    add_dsn_value(&b, "dbname", database);
    add_dsn_value(&b, "user", role);
    (void)snprintf(out, out_size, "%s", b.data);
    buf_release(&b);
}

/* Environment variables that name a secret: what agents refer to by the same
 * name without further ado.                                                   */
static bool is_secret_name(const char *name, size_t length)
{
    static const char *const ends[] = { "_KEY", "_TOKEN", "_SECRET", "_PASSWORD" };
    if (!strncmp(name, "PAWL_", 5))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isupper((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) && name[i] != '_')
            return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (length > n && !strncmp(name + length - n, ends[i], n))
            return true;
    }
    return false;
}

static void add_secrets(struct buf *b)
{
    bool openai = false;
    (void)buf_puts(b, "secrets:\n");
    for (char **e = environ; *e; e++) {
        size_t length = strcspn(*e, "=");
        if (!is_secret_name(*e, length) || isdigit((unsigned char)**e))
            continue;
        openai = openai || (length == 14 && !strncmp(*e, "OPENAI_API_KEY", 14));
        (void)buf_printf(b, "  %.*s: {env: %.*s}\n", (int)length, *e, (int)length, *e);
    }
    if (!openai)
        (void)buf_puts(b, "  OPENAI_API_KEY: {env: OPENAI_API_KEY}\n");
}

static void add_kafka(const struct dev *d, struct buf *b)
{
    const struct config *c = &d->cli->config;
    (void)buf_puts(b, "kafka:\n  bootstrap: ");
    (void)buf_add_json_string(b, d->bootstrap, strlen(d->bootstrap));
    (void)buf_printf(b, "\n  topics: {requests: %s, plan: %s, act: %s, events: %s%s%s}\n",
                     c->topic_requests, c->topic_plan, c->topic_act, c->topic_events,
                     c->topic_stream ? ", stream: " : "", c->topic_stream ? c->topic_stream : "");
    if (d->kafka)
        return;
    (void)buf_puts(b, "  properties:\n");

    for (size_t i = 0; i < broker_property_count; i++)
        (void)buf_printf(b, "    %s: \"%s\"\n", broker_properties[i].name,
                         broker_properties[i].value);
}

static enum outcome write_process_file(const struct dev *d, const char *name, const char *role,
                                       struct error *err)
{
    struct buf b;
    char dsn[PATH_MAX + 128];
    buf_init(&b, FILE_BYTES_MAX);
    dev_dsn(d, role, "pawl", dsn, sizeof dsn);
    (void)buf_puts(&b, "# Written by `pawl dev` at each start: what you change here is lost.\n"
                       "postgres:\n  dsn: ");
    (void)buf_add_json_string(&b, dsn, strlen(dsn));
    (void)buf_putc(&b, '\n');
    add_kafka(d, &b);
    if (strcmp(role, "pawl_operator") != 0)
        add_secrets(&b);
    if (strcmp(role, "pawl_executor") == 0)
        (void)buf_puts(&b, "outbound:\n  networks: 127.0.0.0/8, ::1  # tools on this machine\n");
    enum outcome o = b.full ? fail(err, REFUSED, "%s would be too large", name)
                            : dev_write_file(dev_path(d, name), b.data, 0600, err);
    buf_release(&b);
    return o;
}

/* The operator's password: made once, kept beside the process files. */
static enum outcome write_password(struct dev *d, struct error *err)
{
    char line[256] = "";
    unsigned char random[32];
    FILE *file = fopen(dev_path(d, "operator.pgpass"), "re");
    const char *last = file && fgets(line, sizeof line, file) ? strrchr(line, ':') : NULL;
    if (file)
        (void)fclose(file);
    if (last && strcspn(last + 1, "\n") == 64) {
        (void)snprintf(d->password, sizeof d->password, "%.64s", last + 1);
        return OK;
    }
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return fail(err, REFUSED, "the kernel gives no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof random; i++)
        (void)snprintf(d->password + 2 * i, 3, "%02x", random[i]);
    (void)snprintf(line, sizeof line, "127.0.0.1:*:pawl:pawl_operator:%s\n", d->password);
    return dev_write_file(dev_path(d, "operator.pgpass"), line, 0600, err);
}

enum outcome dev_write_files(struct dev *d, struct error *err)
{
    enum outcome o = write_password(d, err);
    if (o == OK)
        o = write_process_file(d, "planner.yaml", "pawl_planner", err);
    if (o == OK)
        o = write_process_file(d, "executor.yaml", "pawl_executor", err);
    if (o == OK) /* last: from here on other commands find the stack */
        o = write_process_file(d, "pawl.yaml", "pawl_operator", err);
    return o;
}

/* ---- the state ------------------------------------------------------------------------ */

void dev_write_state(const struct dev *d)
{
    struct error why;
    json_t *list = json_array();
    for (int i = 0; i < d->process_count; i++) {
        const struct dev_process *p = &d->processes[i];
        int64_t up_ms = p->pid ? clock_mono_ms() - p->started_ms : 0;
        (void)json_array_append_new(
            list, json_pack("{s:s, s:i, s:i, s:I, s:s}", "name", p->name, "pid", (int)p->pid,
                            "restarts", p->restarts, "started_at_ms",
                            (json_int_t)(clock_wall_ms() - up_ms), "address", p->address));
    }
    json_t *state = json_pack("{s:i, s:i, s:i, s:s, s:b, s:s, s:s, s:o}", "pid", (int)getpid(),
                              "postgres_port", d->postgres_port, "kafka_port", d->kafka_port,
                              "kafka", d->bootstrap, "embedded_broker", d->kafka == NULL, "data",
                              d->postgres_data, "socket", d->postgres_socket, "processes", list);
    AUTO_FREE char *text = json_dumps(state, JSON_INDENT(2));
    if (!text || dev_write_file(dev_path(d, "state.json"), text, 0644, &why) != OK)
        dev_say(d, "%s", text ? why.text : "no memory for state.json");
    json_decref(state);
}
