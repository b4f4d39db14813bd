/*
 * dev_log.c -- the logs of the parts: one file each, and what stands out of them.
 *
 * The parts write to their files themselves, so that nothing is lost when the
 * supervisor dies.  The supervisor reads along, and prints warnings and errors
 * of planners and executors among its own lines: that is where a newcomer looks.
 */
#include "cli/dev.h"

#include "common/json.h"
#include "common/text.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LOG_BYTES_KEPT = 16 * 1024 * 1024,
    TAIL_BYTES = 2048,
    READ_BYTES = 64 * 1024, /* at a look; the rest at the next one */
    LINES_MAX = 5,          /* printed of one part at one look */
    TEXT_BYTES = 400,
};

static const char *log_path(const struct dev *d, const char *name)
{
    char file[DEV_ADDRESS_SIZE];
    (void)snprintf(file, sizeof file, "log/%s.log", name);
    return dev_path(d, file);
}

int dev_log_open(const struct dev *d, const char *name)
{
    char older[PATH_MAX + 136];
    const char *path = log_path(d, name);
    struct stat st;
    (void)snprintf(older, sizeof older, "%s.1", path);
    if (stat(path, &st) == 0 && st.st_size > LOG_BYTES_KEPT)
        (void)rename(path, older);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

int64_t dev_log_size(const struct dev *d, const char *name)
{
    struct stat st;
    return stat(log_path(d, name), &st) == 0 ? (int64_t)st.st_size : 0;
}

void dev_log_tail(const struct dev *d, const char *name, char *out, size_t out_size)
{
    char text[TAIL_BYTES + 1];
    const char *path = log_path(d, name);
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        n = pread(fd, text, TAIL_BYTES, size > TAIL_BYTES ? size - TAIL_BYTES : 0);
        (void)close(fd);
    }
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    (void)text_bounded(out, out_size, *line ? line : path, strlen(*line ? line : path));
}

/* ---- reading along ------------------------------------------------------------ */

/* Prints a line of a log when it is a warning or an error. */
static bool print_trouble(const struct dev *d, const char *name, const char *line, size_t n)
{
    const struct json_limits limits = { READ_BYTES, 16 };
    char text[TEXT_BYTES];
    json_t *entry;
    if (json_read(line, n, &limits, &entry, NULL) != OK)
        return false;
    const char *level = json_str_or(entry, "level", ""), *error = json_str(entry, "error");
    bool trouble = !strcmp(level, "error") || !strcmp(level, "warn");
    if (trouble)
        dev_say(d, "%s: %s%s%s", name, json_str_or(entry, "msg", ""), error ? ": " : "",
                error ? text_bounded(text, sizeof text, error, strlen(error)) : "");
    json_decref(entry);
    return trouble;
}

/* New whole lines of one log. */
static void follow(struct dev *d, struct dev_process *p)
{
    static char text[READ_BYTES];
    int fd = open(log_path(d, p->name), O_RDONLY | O_CLOEXEC), printed = 0;
    if (fd < 0)
        return;
    if (dev_log_size(d, p->name) < p->log_at)
        p->log_at = 0; /* a new file has taken its place */
    ssize_t n = pread(fd, text, sizeof text, (off_t)p->log_at);
    (void)close(fd);
    for (const char *line = text; n > 0;) {
        const char *end = memchr(line, '\n', (size_t)n);
        if (!end)
            break;
        size_t length = (size_t)(end - line) + 1;
        if (printed < LINES_MAX)
            printed += print_trouble(d, p->name, line, length);
        else if (printed++ == LINES_MAX)
            dev_say(d, "%s: ... more in %s", p->name, log_path(d, p->name));
        p->log_at += (int64_t)length;
        line += length;
        n -= (ssize_t)length;
    }
}

void dev_log_follow(struct dev *d)
{
    for (int i = 0; i < d->process_count; i++)
        if (d->processes[i].role >= DEV_PLANNER)
            follow(d, &d->processes[i]);
}
