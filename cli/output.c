#include "cli/output.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BOLD_TEXTS = 8, BOLD_SIZE = 64, GAP = 2, LAST_COLUMN_MIN = 24, LAST_COLUMN_INDENT = 8 };

static struct {
    bool terminal, colour;
    int width;
} screen;

void output_init(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    screen.terminal = isatty(STDOUT_FILENO) != 0;
    screen.colour = screen.terminal && !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
    struct winsize size;
    if (screen.terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        screen.width = size.ws_col;
    else
        screen.width = screen.terminal ? 80 : 0;
}

bool output_is_terminal(void)
{
    return screen.terminal;
}

int output_width(void)
{
    return screen.width;
}

const char *output_on(enum style style)
{
    static const char *const codes[] = {
        [STYLE_PLAIN] = "",         [STYLE_BOLD] = "\033[1m",  [STYLE_DIM] = "\033[2m",
        [STYLE_GOOD] = "\033[32m",  [STYLE_LIVE] = "\033[36m", [STYLE_WARN] = "\033[33m",
        [STYLE_BAD] = "\033[1;31m",
    };
    return screen.colour ? codes[style] : "";
}

const char *output_off(enum style style)
{
    return screen.colour && style != STYLE_PLAIN ? "\033[0m" : "";
}

const char *output_bold(const char *text)
{
    static char texts[BOLD_TEXTS][BOLD_SIZE];
    static unsigned next;
    char *out = texts[next++ % BOLD_TEXTS];
    (void)snprintf(out, BOLD_SIZE, "%s%.40s%s", output_on(STYLE_BOLD), text,
                   output_off(STYLE_BOLD));
    return out;
}

enum style output_status_style(const char *status)
{
    static const struct {
        const char *status;
        enum style style;
    } styles[] = {
        { "succeeded", STYLE_GOOD },
        { "alive", STYLE_GOOD },
        { "applied", STYLE_GOOD },
        { "published", STYLE_GOOD },
        { "running", STYLE_LIVE },
        { "leaving", STYLE_LIVE },
        { "pending", STYLE_LIVE },
        { "waiting", STYLE_DIM },
        { "queued", STYLE_DIM },
        { "copied", STYLE_DIM },
        { "gone", STYLE_DIM },
        { "refused", STYLE_WARN },
        { "unknown", STYLE_WARN },
        { "suspended", STYLE_WARN },
        { "awaiting_decision", STYLE_WARN },
        { "cancelled", STYLE_WARN },
        { "lost", STYLE_WARN },
        { "changed", STYLE_WARN },
        { "failed_before_effect", STYLE_WARN },
        { "failed", STYLE_BAD },
        { "error", STYLE_BAD },
        { "denied", STYLE_BAD },
        { "dead", STYLE_BAD },
    };
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (!strcmp(styles[i].status, status))
            return styles[i].style;
    return STYLE_PLAIN;
}

size_t output_columns(const char *text)
{
    size_t columns = 0;
    for (; *text; text++)
        columns += ((unsigned char)*text & 0xc0) != 0x80; /* not a continuation byte */
    return columns;
}

/* ---- tables ---------------------------------------------------------------- */

struct table_cell {
    char *text;
    enum style style;
};

void table_init(struct table *t, const char *const *heads, size_t columns)
{
    assert(columns > 0);
    *t = (struct table){ .heads = heads, .columns = columns };
}

static void add_cell(struct table *t, enum style style, const char *text)
{
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->cells = xreallocarray(t->cells, t->room, sizeof *t->cells);
    }
    t->cells[t->count++] = (struct table_cell){ .text = xstrdup(text), .style = style };
}

void table_cell(struct table *t, enum style style, const char *format, ...)
{
    char text[OUTPUT_CELL_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_cell(t, style, text);
}

void table_foreign(struct table *t, enum style style, const char *text)
{
    char safe[OUTPUT_CELL_BYTES];
    add_cell(t, style, text ? text_bounded(safe, sizeof safe, text, strlen(text)) : "");
}

static const char *head_text(const char *head)
{
    return *head == '>' ? head + 1 : head;
}

static size_t column_width(const struct table *t, size_t column)
{
    size_t width = output_columns(head_text(t->heads[column]));
    for (size_t i = column; i < t->count; i += t->columns) {
        size_t w = output_columns(t->cells[i].text);
        width = w > width ? w : width;
    }
    return width;
}

static void print_spaces(FILE *out, size_t n)
{
    while (n--)
        (void)fputc(' ', out);
}

/* The first `columns` characters of text, with "..." when that is not all. */
static void print_cut(FILE *out, const char *text, size_t columns)
{
    if (output_columns(text) <= columns) {
        (void)fputs(text, out);
        return;
    }
    for (size_t seen = 0; *text; text++) {
        seen += ((unsigned char)*text & 0xc0) != 0x80;
        if (seen + 3 > columns)
            break;
        (void)fputc(*text, out);
    }
    (void)fputs("...", out);
}

/* The last column: cut where the line ends, or on a line of its own when too
 * little is left of this one.                                                 */
static void print_last(const char *text, enum style style, size_t at, FILE *out)
{
    size_t width = (size_t)screen.width, room = width > at ? width - at : 0;
    if (width && room < LAST_COLUMN_MIN && *text && output_columns(text) > room) {
        fprintf(out, "\n%*s", LAST_COLUMN_INDENT, "");
        room = width > LAST_COLUMN_INDENT ? width - LAST_COLUMN_INDENT : 1;
    }
    (void)fputs(output_on(style), out);
    if (width)
        print_cut(out, text, room);
    else
        (void)fputs(text, out);
    (void)fputs(output_off(style), out);
}

static void print_row(const struct table *t, const size_t *widths, const struct table_cell *row,
                      FILE *out)
{
    size_t at = 0;
    for (size_t c = 0; c < t->columns; c++) {
        const char *text = row ? row[c].text : head_text(t->heads[c]);
        enum style style = row ? row[c].style : STYLE_DIM;
        size_t own = output_columns(text), pad = widths[c] > own ? widths[c] - own : 0;
        bool right = t->heads[c][0] == '>', last = c + 1 == t->columns;
        if (right)
            print_spaces(out, pad);
        if (last) {
            print_last(text, style, at, out);
            break;
        }
        fprintf(out, "%s%s%s", output_on(style), text, output_off(style));
        print_spaces(out, (right ? 0 : pad) + GAP);
        at += widths[c] + GAP;
    }
    (void)fputc('\n', out);
}

void table_print(const struct table *t, FILE *out)
{
    AUTO_FREE size_t *widths = xcalloc(t->columns, sizeof *widths);
    assert(t->count % t->columns == 0);
    for (size_t c = 0; c < t->columns; c++)
        widths[c] = column_width(t, c);
    print_row(t, widths, NULL, out);
    for (size_t i = 0; i < t->count; i += t->columns)
        print_row(t, widths, &t->cells[i], out);
}

void table_release(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i].text);
    free(t->cells);
    *t = (struct table){ 0 };
}

void table_moment(struct table *t, const char *iso)
{
    char text[OUTPUT_TIME_SIZE] = "";
    int64_t ms;
    if (iso && clock_parse_iso(iso, &ms, NULL) == OK)
        (void)output_moment(ms, text);
    table_cell(t, STYLE_DIM, "%s", text);
}

void output_list(const struct list_view *view, const json_t *list, bool as_json)
{
    const json_t *object;
    struct table t;
    size_t i;
    if (as_json) {
        output_json(list);
        return;
    }
    if (json_array_size(list) == 0) {
        (void)puts(view->empty);
        return;
    }
    table_init(&t, view->heads, view->columns);
    json_array_foreach(list, i, object)
        view->row(&t, object);
    table_print(&t, stdout);
    table_release(&t);
}

/* ---- values ---------------------------------------------------------------- */

const char *output_duration(int64_t ms, char out[OUTPUT_TIME_SIZE])
{
    const int64_t s = ms / 1000;
    if (ms < 0)
        (void)snprintf(out, OUTPUT_TIME_SIZE, "-");
    else if (ms < 10)
        (void)snprintf(out, OUTPUT_TIME_SIZE, "%lld ms", (long long)ms);
    else if (ms < 10000)
        (void)snprintf(out, OUTPUT_TIME_SIZE, "%.2f s", (double)ms / 1000);
    else if (s < 60)
        (void)snprintf(out, OUTPUT_TIME_SIZE, "%.1f s", (double)ms / 1000);
    else if (s < 3600)
        (void)snprintf(out, OUTPUT_TIME_SIZE, "%lld min %lld s", (long long)(s / 60),
                       (long long)(s % 60));
    else if (s < 86400)
        (void)snprintf(out, OUTPUT_TIME_SIZE, "%lld h %lld min", (long long)(s / 3600),
                       (long long)(s / 60 % 60));
    else
        (void)snprintf(out, OUTPUT_TIME_SIZE, "%lld d %lld h", (long long)(s / 86400),
                       (long long)(s / 3600 % 24));
    return out;
}

const char *output_moment(int64_t wall_ms, char out[OUTPUT_TIME_SIZE])
{
    time_t then = (time_t)(wall_ms / 1000), now = (time_t)(clock_wall_ms() / 1000);
    struct tm a, b;
    if (!localtime_r(&then, &a) || !localtime_r(&now, &b)) {
        (void)snprintf(out, OUTPUT_TIME_SIZE, "?");
        return out;
    }
    bool today = a.tm_year == b.tm_year && a.tm_yday == b.tm_yday;
    size_t n = strftime(out, OUTPUT_TIME_SIZE, today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &a);
    out[n] = '\0';
    return out;
}

const char *output_count(int64_t value, char out[OUTPUT_TIME_SIZE])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)value), o = 0;
    for (int i = 0; i < n && o < OUTPUT_TIME_SIZE - 2; i++) {
        if (i > 0 && digits[i - 1] != '-' && (n - i) % 3 == 0)
            out[o++] = ',';
        out[o++] = digits[i];
    }
    out[o] = '\0';
    return out;
}

const char *output_money(int64_t micros, char out[OUTPUT_TIME_SIZE])
{
    (void)snprintf(out, OUTPUT_TIME_SIZE, "%.4f", (double)micros / 1e6);
    return out;
}

void output_json(const json_t *value)
{
    AUTO_FREE char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
    assert(text);
    (void)puts(text);
}

const char *output_plural(int64_t count, const char *one, const char *many,
                          char out[OUTPUT_TIME_SIZE])
{
    char number[OUTPUT_TIME_SIZE];
    (void)snprintf(out, OUTPUT_TIME_SIZE, "%s %s", output_count(count, number),
                   count == 1 ? one : many);
    return out;
}
