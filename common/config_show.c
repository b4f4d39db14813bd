#include "common/config.h"
#include "common/config_table.h"
#include "common/memory.h"
#include "common/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_SIZE = 8192, VALUE_COLUMN_MAX = 60 };

static const char hidden[] = "***";

/* --- passwords in a DSN -------------------------------------------------------------- */

/* The names that libpq gives to passwords; a percent sign may spell one in hiding. */
static bool names_password(const char *name, size_t n)
{
    char copy[64];
    if (n >= sizeof copy)
        return true; /* libpq has no such name: better hidden */
    (void)snprintf(copy, sizeof copy, "%.*s", (int)n, name);
    return strchr(copy, '%') || strcasestr(copy, "pass");
}

/* "?name=value&name=value" */
static void redact_parameters(const char *text, struct buf *out)
{
    while (*text) {
        size_t joint = *text == '?' || *text == '&';
        size_t whole = joint + strcspn(text + joint, "&");
        size_t name = joint + strcspn(text + joint, "=&");
        if (name < whole && names_password(text + joint, name - joint)) {
            (void)buf_add(out, text, name + 1);
            (void)buf_puts(out, hidden);
        } else {
            (void)buf_add(out, text, whole);
        }
        text += whole;
    }
}

/* scheme://user:password@host,host/database?parameters
 *
 * libpq ends the user's part at the first '@' before any '/'. What was meant to
 * be a password may hold either, unescaped; better to hide too much then.   */
static void redact_uri(const char *dsn, struct buf *out)
{
    const char *begin = strstr(dsn, "://") + 3;
    const char *end = begin + strcspn(begin, "/"); /* of the host's part */
    const char *at = memrchr(begin, '@', (size_t)(end - begin));
    if (strchr(end, '@')) {
        (void)buf_add(out, dsn, (size_t)(begin - dsn));
        (void)buf_puts(out, hidden);
        return;
    }
    const char *rest = begin;
    const char *colon = at ? memchr(begin, ':', (size_t)(at - begin)) : NULL;
    if (colon) {
        (void)buf_add(out, dsn, (size_t)(colon + 1 - dsn));
        (void)buf_puts(out, hidden);
        rest = at;
    } else {
        (void)buf_add(out, dsn, (size_t)(begin - dsn));
    }
    size_t plain = strcspn(rest, "?");
    (void)buf_add(out, rest, plain);
    redact_parameters(rest + plain, out);
}

/* The length of a value of the form "name = value": bare or in single quotes. */
static size_t value_length(const char *text)
{
    size_t n = 0;
    bool quoted = *text == '\'';
    for (n = quoted; text[n]; n++) {
        if (text[n] == '\\' && text[n + 1])
            n++;
        else if (quoted && text[n] == '\'')
            return n + 1;
        else if (!quoted && strchr(" \t\r\n", text[n]))
            return n;
    }
    return n;
}

/* host=... password=... */
static void redact_keywords(const char *dsn, struct buf *out)
{
    static const char spaces[] = " \t\r\n";
    while (*dsn) {
        size_t blank = strspn(dsn, spaces);
        size_t name = strcspn(dsn + blank, " \t\r\n=");
        const char *after = dsn + blank + name;
        size_t joint = strspn(after, " \t\r\n=");
        size_t value = value_length(after + joint);
        bool password = names_password(dsn + blank, name);
        (void)buf_add(out, dsn, blank + name + joint);
        if (password)
            (void)buf_puts(out, hidden);
        else
            (void)buf_add(out, after + joint, value);
        dsn = after + joint + value;
    }
}

void config_redact_dsn(const char *dsn, struct buf *out)
{
    const char *scheme = strstr(dsn, "://");
    if (scheme && (!strchr(dsn, '=') || scheme < strchr(dsn, '=')))
        redact_uri(dsn, out);
    else
        redact_keywords(dsn, out);
}

/* --- pawl config show ------------------------------------------------------------------- */

/* One line to be shown; the texts are borrowed for the call. */
typedef void show_line(void *self, const char *path, const char *value, const char *origin);

struct shower {
    const struct config *cfg;
    show_line *line;
    void *self;
    size_t next; /* the origins are in the order of the table */
};

static void show_field(void *self, const char *path, const struct field *field, void *within)
{
    struct shower *shower = self;
    char value[VALUE_SIZE];
    if (!field_is_scalar(field))
        return;
    const struct config_origin *origin = &shower->cfg->origins[shower->next++];
    assert(strcmp(origin->path, path) == 0);
    field_show(field, within, value, sizeof value);
    if (field->secret && *value) {
        struct buf redacted;
        buf_init(&redacted, VALUE_SIZE);
        config_redact_dsn(value, &redacted);
        shower->line(shower->self, path, redacted.full ? hidden : redacted.data, origin->origin);
        buf_release(&redacted);
        return;
    }
    shower->line(shower->self, path, value, origin->origin);
}

static void show_all(const struct config *cfg, show_line *line, void *self)
{
    char path[VALUE_SIZE], value[VALUE_SIZE];
    struct shower shower = { .cfg = cfg, .line = line, .self = self };
    /* field_walk takes what it may write to; show_field only reads. */
    field_walk(&config_table, (void *)(uintptr_t)cfg, show_field, &shower);
    for (size_t i = 0; i < cfg->kafka_property_count; i++) {
        const struct config_property *property = &cfg->kafka_properties[i];
        (void)snprintf(path, sizeof path, "kafka.properties.%s", property->name);
        const char *shown = property->secret ? hidden : property->value;
        line(self, path, shown, property->origin);
    }
    for (size_t i = 0; i < cfg->secret_count; i++) {
        const struct config_secret *secret = &cfg->secrets[i];
        (void)snprintf(path, sizeof path, "secrets.%s", secret->name);
        (void)snprintf(value, sizeof value, "not there: %s", secret->value ? "" : secret->problem);
        line(self, path, secret->value ? hidden : value, secret->origin);
    }
}

struct columns {
    FILE *out;
    size_t path, value; /* widths */
};

static void measure_line(void *self, const char *path, const char *value, const char *origin)
{
    struct columns *columns = self;
    (void)origin;
    if (strlen(path) > columns->path)
        columns->path = strlen(path);
    if (strlen(value) > columns->value && strlen(value) <= VALUE_COLUMN_MAX)
        columns->value = strlen(value);
}

static void print_line(void *self, const char *path, const char *value, const char *origin)
{
    const struct columns *columns = self;
    char shown[VALUE_SIZE];
    text_bounded(shown, sizeof shown, value, strlen(value));
    fprintf(columns->out, "%-*s  %-*s  %s\n", (int)columns->path, path, (int)columns->value,
            *shown ? shown : "-", origin);
}

static void print_member(void *self, const char *path, const char *value, const char *origin)
{
    json_t *object = self;
    json_t *member = json_pack("{s:s?, s:s}", "value", *value ? value : NULL, "origin", origin);
    int failed = json_object_set_new(object, path, member);
    assert(!failed);
}

void config_print(const struct config *cfg, FILE *out, bool json)
{
    if (json) {
        json_t *object = json_object();
        show_all(cfg, print_member, object);
        AUTO_FREE char *text = json_dumps(object, JSON_INDENT(2));
        assert(text);
        fprintf(out, "%s\n", text);
        json_decref(object);
        return;
    }
    struct columns columns = { .out = out, .value = 1 };
    show_all(cfg, measure_line, &columns);
    show_all(cfg, print_line, &columns);
}

/* --- --help and the manual ----------------------------------------------------------------- */

static void print_flag(void *self, const char *path, const struct field *field, void *within)
{
    char flag[CONFIG_NAME_SIZE];
    (void)within;
    if (!field_is_scalar(field))
        return;
    fprintf(self, "  %-26s %s", config_flag_name(path, flag), field->help);
    if (field->otherwise)
        fprintf(self, " [%s]", field->otherwise);
    fputc('\n', self);
}

void config_print_flags(FILE *out)
{
    fprintf(out, "  %-26s %s\n", "--config", "The process file (YAML). [$PAWL_CONFIG]");
    field_walk(&config_table, NULL, print_flag, out);
}

static void print_spelling(void *self, const char *path, const struct field *field, void *within)
{
    char env[CONFIG_NAME_SIZE], flag[CONFIG_NAME_SIZE];
    (void)within;
    if (!field_is_scalar(field))
        return;
    fprintf(self, "| `%s` | `%s` | `%s` |\n", path, config_env_name(path, env),
            config_flag_name(path, flag));
}

void config_print_manual(FILE *out)
{
    field_print(&config_table, out);
    fputs("\n| in the file | in the environment | as a flag |\n|---|---|---|\n", out);
    field_walk(&config_table, NULL, print_spelling, out);
}
