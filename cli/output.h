/*
 * output.h -- what people see: colours, tables, times and amounts.
 *
 * Colour only on a terminal, never with NO_COLOR or TERM=dumb.  Everything that
 * comes from a model, a tool or a request is shown through text_bounded(), so
 * that no answer of theirs can move the cursor.
 *
 * Limits:  OUTPUT_CELL_BYTES a table cell; wider ones are cut with "...".
 * Threads: one.
 * Errors:  none; memory comes from the process (memory.h).
 */
#ifndef PAWL_CLI_OUTPUT_H
#define PAWL_CLI_OUTPUT_H

#include "common/buf.h"
#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { OUTPUT_CELL_BYTES = 1024, OUTPUT_TIME_SIZE = 40 };

enum style {
    STYLE_PLAIN,
    STYLE_BOLD,
    STYLE_DIM,
    STYLE_GOOD, /* succeeded, alive */
    STYLE_LIVE, /* at work */
    STYLE_WARN, /* needs a look: unknown, suspended */
    STYLE_BAD,  /* failed, dead */
};

void output_init(void);
bool output_is_terminal(void);
int output_width(void); /* columns of the terminal; 0 when there is none */

/* The escape sequences around a styled text; "" without colour. */
const char *output_on(enum style style);
const char *output_off(enum style style);

/* `text` in bold, valid until the next eight calls. */
const char *output_bold(const char *text);

/* How a status of a run, a call or a worker is coloured. */
enum style output_status_style(const char *status);

/* Columns that `text` takes on a terminal: one a character. */
size_t output_columns(const char *text);

/* ---- tables ---------------------------------------------------------------- */

/* Rows of cells under a head, as wide as needed; on a terminal the last column
 * is cut where the line ends, or gets a line of its own on a narrow one.
 *
 *     struct table t;
 *     table_init(&t, (const char *[]){ "RUN", "AGENT", ">STEP" }, 3);
 *     table_cell(&t, STYLE_BOLD, "%s", id); ...      three cells a row
 *     table_print(&t, stdout);
 *     table_release(&t);                                                      */
struct table_cell;
struct table {
    const char *const *heads; /* ">" in front: aligned to the right */
    size_t columns;
    struct table_cell *cells;
    size_t count, room;
};

void table_init(struct table *t, const char *const *heads, size_t columns);
PRINTF(3, 4) void table_cell(struct table *t, enum style style, const char *format, ...);

/* Text of strangers, made safe to show; NULL is an empty cell. */
void table_foreign(struct table *t, enum style style, const char *text);
void table_print(const struct table *t, FILE *out);
void table_release(struct table *t);

/* A moment as Postgres writes it in JSON; NULL is an empty cell. */
void table_moment(struct table *t, const char *iso);

/* How a list of objects is shown: one row each. */
struct list_view {
    const char *const *heads;
    size_t columns;
    void (*row)(struct table *t, const json_t *object);
    const char *empty; /* what to say when there is none */
};

#define LIST_VIEW(heads_, row_, empty_)                                                 \
    {                                                                                   \
        .heads = (heads_), .columns = sizeof(heads_) / sizeof *(heads_), .row = (row_), \
        .empty = (empty_)                                                               \
    }

void output_list(const struct list_view *view, const json_t *list, bool as_json);

/* ---- values ---------------------------------------------------------------- */

/* "0.12 s", "3.4 s", "2 min 5 s", "3 h 12 min", "4 d 2 h"; "-" when negative. */
const char *output_duration(int64_t ms, char out[OUTPUT_TIME_SIZE]);

/* Time of day for today's moments, date and time for others; local time. */
const char *output_moment(int64_t wall_ms, char out[OUTPUT_TIME_SIZE]);

/* "1,234,567" */
const char *output_count(int64_t value, char out[OUTPUT_TIME_SIZE]);

/* Millionths of money: "0.0123" */
const char *output_money(int64_t micros, char out[OUTPUT_TIME_SIZE]);

/* The value, indented, and a line break. */
void output_json(const json_t *value);

/* "1 call", "2 calls" */
const char *output_plural(int64_t count, const char *one, const char *many,
                          char out[OUTPUT_TIME_SIZE]);

#endif
