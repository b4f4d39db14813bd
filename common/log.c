#include "common/log.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/text.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* Of each text in the head of a line. Even if all of it must be escaped, six
 * bytes for one, the head fits into the line.                               */
enum { HEAD_TEXT_BYTES = 160 };

static struct {
    char service[64];
    char instance[128];
    bool human;
    int fd;
    atomic_int level;
} settings = { .service = "pawl", .fd = STDERR_FILENO, .level = LOG_INFO };

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};
static const char *const format_names[] = {
    [LOG_FORMAT_AUTO] = "auto",
    [LOG_FORMAT_JSON] = "json",
    [LOG_FORMAT_HUMAN] = "human",
};
enum {
    LEVELS = sizeof level_names / sizeof *level_names,
    FORMATS = sizeof format_names / sizeof *format_names,
};

void log_init(const char *service, enum log_level level, enum log_format format)
{
    (void)snprintf(settings.service, sizeof settings.service, "%s", service);
    settings.human =
        format == LOG_FORMAT_HUMAN || (format == LOG_FORMAT_AUTO && isatty(settings.fd) == 1);
    log_set_level(level);
}

void log_set_instance(const char *instance)
{
    (void)snprintf(settings.instance, sizeof settings.instance, "%s", instance ? instance : "");
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&settings.level, (int)level, memory_order_relaxed);
}

bool log_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&settings.level, memory_order_relaxed);
}

void log_set_fd(int fd)
{
    settings.fd = fd;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

/* The place of `text` among `count` names, or -1. */
static int find_name(const char *const *names, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

enum outcome log_parse_level(const char *text, enum log_level *level, struct error *err)
{
    int found = find_name(level_names, LEVELS, text);
    if (found < 0)
        return fail(err, REFUSED, "'%.40s' is not a log level; write error, warn, info or debug",
                    text);
    *level = (enum log_level)found;
    return OK;
}

enum outcome log_parse_format(const char *text, enum log_format *format, struct error *err)
{
    int found = find_name(format_names, FORMATS, text);
    if (found < 0)
        return fail(err, REFUSED, "'%.40s' is not a log format; write auto, json or human", text);
    *format = (enum log_format)found;
    return OK;
}

/* --- one field ----------------------------------------------------------------------------------
 */

/* A text, cut to `most` bytes (at most LOG_TEXT_BYTES). A character torn by the
 * cut is dropped, so that it does not show up as a bad one.                 */
static void add_text(struct buf *line, const char *text, size_t length, size_t most)
{
    if (length == SIZE_MAX)
        length = strnlen(text, most + 1);
    bool cut = length > most;
    if (cut) {
        length = most;
        while (length > most - 3 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    if (settings.human) {
        char shown[LOG_LINE_BYTES];
        text_bounded(shown, sizeof shown, text, length);
        bool quotes = length == 0 || strpbrk(shown, " \"=") != NULL;
        (void)buf_printf(line, "%s%s%s%s", quotes ? "\"" : "", shown, cut ? "..." : "",
                         quotes ? "\"" : "");
        return;
    }
    char piece[LOG_TEXT_BYTES + 4];
    memcpy(piece, text, length);
    memcpy(piece + length, "...", 3);
    (void)buf_add_json_string(line, piece, length + (cut ? 3 : 0));
}

static void add_value(struct buf *line, const struct log_field *f)
{
    char uuid[UUID_TEXT_SIZE];
    switch (f->type) {
    case LOG_FIELD_TEXT:
        if (f->text)
            add_text(line, f->text, f->length, LOG_TEXT_BYTES);
        else
            (void)buf_puts(line, "null");
        return;
    case LOG_FIELD_INT: (void)buf_printf(line, "%lld", (long long)f->integer); return;
    case LOG_FIELD_REAL:
        if (isfinite(f->real))
            (void)buf_printf(line, "%.6g", f->real);
        else
            (void)buf_puts(line, "null"); /* JSON has no other word for it */
        return;
    case LOG_FIELD_BOOL: (void)buf_puts(line, f->integer ? "true" : "false"); return;
    case LOG_FIELD_UUID:
        if (f->uuid) {
            uuid_format(f->uuid, uuid);
            add_text(line, uuid, SIZE_MAX, sizeof uuid);
        } else {
            (void)buf_puts(line, "null");
        }
        return;
    case LOG_FIELD_END: return;
    }
}

static void add_field(struct buf *line, const struct log_field *f)
{
    if (settings.human) {
        (void)buf_printf(line, " %s=", f->key);
    } else {
        (void)buf_putc(line, ',');
        (void)buf_add_json_string(line, f->key, strlen(f->key));
        (void)buf_putc(line, ':');
    }
    add_value(line, f);
}

/* --- one line -----------------------------------------------------------------------------------
 */

static void add_head(struct buf *line, enum log_level level, const char *msg)
{
    char ts[CLOCK_ISO_SIZE];
    clock_format_iso(clock_wall_ms(), ts);
    if (settings.human) {
        char shown[HEAD_TEXT_BYTES];
        ts[23] = '\0'; /* of the date and time, the time without its Z */
        (void)buf_printf(line, "%s %-5s %s: %s", ts + 11, level_names[level], settings.service,
                         text_bounded(shown, sizeof shown, msg, strlen(msg)));
        return;
    }
    (void)buf_printf(line, "{\"ts\":\"%s\",\"level\":\"%s\",\"service\":", ts, level_names[level]);
    add_text(line, settings.service, SIZE_MAX, HEAD_TEXT_BYTES);
    if (settings.instance[0]) {
        (void)buf_puts(line, ",\"instance\":");
        add_text(line, settings.instance, SIZE_MAX, HEAD_TEXT_BYTES);
    }
    (void)buf_puts(line, ",\"msg\":");
    add_text(line, msg, SIZE_MAX, HEAD_TEXT_BYTES);
}

/* A field that does not fit is left out as a whole, and so are those after it;
 * the limit leaves room for the words that say so and for the end.          */
static void add_fields(struct buf *line, const struct log_field *fields, size_t count)
{
    for (size_t i = 0; i < count && fields[i].type != LOG_FIELD_END; i++) {
        size_t before = line->len;
        add_field(line, &fields[i]);
        if (line->full) {
            line->full = false;
            line->len = before;
            line->limit_bytes = LOG_LINE_BYTES;
            (void)buf_puts(line, settings.human ? " truncated=true" : ",\"truncated\":true");
            return;
        }
    }
    line->limit_bytes = LOG_LINE_BYTES;
}

static void write_line(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(settings.fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* a log that nobody reads must not stop the work */
        text += n;
        length -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields, size_t count)
{
    enum { TAIL_BYTES = 32 };
    int errno_before = errno;
    struct buf line;
    buf_init(&line, LOG_LINE_BYTES - TAIL_BYTES);
    add_head(&line, level, msg);
    add_fields(&line, fields, count);
    (void)buf_puts(&line, settings.human ? "\n" : "}\n");
    write_line(line.data, line.len);
    buf_release(&line);
    errno = errno_before;
}
