/*
 * log.h -- one line per event, to standard error.
 *
 *     log_event(LOG_INFO, "plan claimed", LOG_UUID("run_id", &run), LOG_INT("step", step),
 * LOG_END);
 *
 * writes, as JSON:
 *
 *     {"ts":"2026-11-23T20:00:00.123Z","level":"info","service":"planner",
 *      "msg":"plan claimed","run_id":"0193...","step":3}
 *
 * and on a terminal (format `auto` looks):
 *
 *     20:00:00.123 info  planner: plan claimed run_id=0193... step=3
 *
 * The message is a constant phrase, so that it can be searched and counted;
 * everything that varies is a field. Secrets and the contents of conversations
 * never stand in a log. Keys ts, level, service, instance and msg are taken.
 *
 * Limits:  a line has at most LOG_LINE_BYTES, a text field LOG_TEXT_BYTES: both
 *          are cut, and what is cut says so ("..."; "truncated":true). The line
 *          is one write() of at most PIPE_BUF, so lines of several processes on
 *          one pipe never mix. Control characters are escaped in both forms.
 * Threads: log_event() and log_set_level() from any thread; log_init() and
 *          log_set_instance() before the first thread starts.
 * Errors:  none; a line that cannot be written is lost, work goes on.
 */
#ifndef PAWL_COMMON_LOG_H
#define PAWL_COMMON_LOG_H

#include "common/outcome.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_HUMAN };
enum { LOG_LINE_BYTES = 4096, LOG_TEXT_BYTES = 1024 };

enum log_field_type {
    LOG_FIELD_END,
    LOG_FIELD_TEXT,
    LOG_FIELD_INT,
    LOG_FIELD_REAL,
    LOG_FIELD_BOOL,
    LOG_FIELD_UUID,
};

struct log_field {
    enum log_field_type type;
    const char *key;
    const char *text; /* NULL is written as null */
    size_t length;
    int64_t integer;
    double real;
    const struct uuid *uuid;
};

/* All borrow what they point to, until log_event() returns. */
#define LOG_STR(k, s) \
    ((struct log_field){ .type = LOG_FIELD_TEXT, .key = (k), .text = (s), .length = SIZE_MAX })
#define LOG_STRN(k, s, n) \
    ((struct log_field){ .type = LOG_FIELD_TEXT, .key = (k), .text = (s), .length = (n) })
#define LOG_INT(k, i) \
    ((struct log_field){ .type = LOG_FIELD_INT, .key = (k), .integer = (int64_t)(i) })
#define LOG_REAL(k, r) ((struct log_field){ .type = LOG_FIELD_REAL, .key = (k), .real = (r) })
#define LOG_BOOL(k, t) ((struct log_field){ .type = LOG_FIELD_BOOL, .key = (k), .integer = (t) })
#define LOG_UUID(k, u) ((struct log_field){ .type = LOG_FIELD_UUID, .key = (k), .uuid = (u) })
#define LOG_WHY(err) LOG_STR("error", (err)->text) /* a struct error */
#define LOG_END ((struct log_field){ .type = LOG_FIELD_END })

/* Give LOG_END last: C17 wants at least one argument for the dots. The fields
 * are not evaluated when the level is off.                                  */
#define log_event(level, msg, ...)                                                            \
    do {                                                                                      \
        if (log_on(level)) {                                                                  \
            const struct log_field log_fields_[] = { __VA_ARGS__ };                           \
            log_write((level), (msg), log_fields_, sizeof log_fields_ / sizeof *log_fields_); \
        }                                                                                     \
    } while (0)

void log_init(const char *service, enum log_level level, enum log_format format);
void log_set_instance(const char *instance); /* copied; added to every line; NULL: none */
void log_set_level(enum log_level level);
bool log_on(enum log_level level);
void log_set_fd(int fd); /* instead of standard error: for tests */

/* "error", "warn", "info", "debug"; "auto", "json", "human". */
MUST_CHECK enum outcome log_parse_level(const char *text, enum log_level *level, struct error *err);
MUST_CHECK enum outcome log_parse_format(const char *text, enum log_format *format,
                                         struct error *err);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *msg, const struct log_field *fields, size_t count);

#endif
