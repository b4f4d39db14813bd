#include "common/field.h"
#include "common/field_scalar.h"
#include "common/text.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { PATH_SIZE = 128, WORD_BYTES_MAX = 48, MICROS = 1000000 };

/* --- one value ---------------------------------------------------------------------- */

static void show_money(int64_t micros, char *out, size_t out_size)
{
    int n = snprintf(out, out_size, "%" PRId64 ".%06" PRId64, micros / MICROS, micros % MICROS);
    if (n <= 0 || (size_t)n >= out_size)
        return;
    char *end = out + n;
    while (end[-1] == '0')
        *--end = '\0';
    if (end[-1] == '.')
        end[-1] = '\0';
}

static void show_strings(const struct field_strings *list, char *out, size_t out_size)
{
    size_t at = 0;
    for (size_t i = 0; i <= list->count && at < out_size; i++) {
        const char *joint = i == list->count ? "]" : i ? ", " : "[";
        int n = snprintf(out + at, out_size - at, "%s%s%s", i == 0 && *joint == ']' ? "[" : "",
                         joint, i < list->count ? list->items[i] : "");
        at += n > 0 ? (size_t)n : 0;
    }
}

static void show_pairs(const struct field_pairs *pairs, char *out, size_t out_size)
{
    size_t at = (size_t)snprintf(out, out_size, "{");
    for (size_t i = 0; i < pairs->count && at < out_size; i++) {
        const struct field_pair *pair = &pairs->items[i];
        const char *joint = i ? ", " : "";
        int n = pair->text
                    ? snprintf(out + at, out_size - at, "%s%s: %s", joint, pair->name, pair->text)
                    : snprintf(out + at, out_size - at, "%s%s: {secret: %s}", joint, pair->name,
                               pair->secret);
        at += n > 0 ? (size_t)n : 0;
    }
    if (at < out_size)
        (void)snprintf(out + at, out_size - at, "}");
}

static void show_json(const struct field *field, const void *from, char *out, size_t out_size)
{
    const json_t *value = field_pointer(field, from);
    size_t length =
        value ? json_dumpb(value, out, out_size - 1, JSON_COMPACT | JSON_ENCODE_ANY) : 0;
    out[length < out_size ? length : 0] = '\0';
}

static void show_string(const struct field *field, const void *from, const char *format, char *out,
                        size_t out_size)
{
    const char *text = field_pointer(field, from);
    if (!text)
        return;
    if (format)
        (void)snprintf(out, out_size, "{secret: %s}", text);
    else
        (void)snprintf(out, out_size, "%s", text);
}

const char *field_show(const struct field *field, const void *from, char *out, size_t out_size)
{
    char number[TEXT_NUMBER_SIZE];
    bool truth;
    *out = '\0';
    switch (field->type) {
    case FIELD_STRING: show_string(field, from, NULL, out, out_size); break;
    case FIELD_SECRET: show_string(field, from, "secret", out, out_size); break;
    case FIELD_BOOL:
        memcpy(&truth, field_at_const(field, from), sizeof truth);
        (void)snprintf(out, out_size, "%s", truth ? "true" : "false");
        break;
    case FIELD_INT:
        (void)snprintf(out, out_size, "%" PRId64, field_scalar_number(field, from));
        break;
    case FIELD_SIZE:
        text_format_size((size_t)field_scalar_number(field, from), number);
        (void)snprintf(out, out_size, "%s", number);
        break;
    case FIELD_DURATION:
        if (field_scalar_number(field, from) < 0)
            break;
        text_format_duration(field_scalar_number(field, from), number);
        (void)snprintf(out, out_size, "%s", number);
        break;
    case FIELD_MONEY:
        if (field_scalar_number(field, from) >= 0)
            show_money(field_scalar_number(field, from), out, out_size);
        break;
    case FIELD_ENUM:
        (void)snprintf(out, out_size, "%s", field->words[field_scalar_number(field, from)]);
        break;
    case FIELD_STRINGS: show_strings(field_at_const(field, from), out, out_size); break;
    case FIELD_PAIRS: show_pairs(field_at_const(field, from), out, out_size); break;
    case FIELD_JSON: show_json(field, from, out, out_size); break;
    case FIELD_TABLE:
    case FIELD_MAP: break;
    }
    return out;
}

/* --- all rows -------------------------------------------------------------------------- */

static void join_path(char out[PATH_SIZE], const char *path, const char *name)
{
    int n = snprintf(out, PATH_SIZE, "%s%s%s", path, *path ? "." : "", name);
    assert(n > 0 && n < PATH_SIZE); /* our own tables */
}

/* Depth: that of the tables, which are our own. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static void walk(const struct field_table *table, const char *path, void *within,
                 field_visit *visit, void *self)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        char deeper[PATH_SIZE];
        join_path(deeper, path, field->name);
        if (field->type == FIELD_TABLE)
            walk(field->table, deeper, within ? field_at(field, within) : NULL, visit, self);
        else
            visit(self, deeper, field, within);
    }
}

void field_walk(const struct field_table *table, void *into, field_visit *visit, void *self)
{
    walk(table, "", into, visit, self);
}

static const char *type_noun(enum field_type type)
{
    switch (type) {
    case FIELD_STRING: return "text";
    case FIELD_BOOL: return "true or false";
    case FIELD_INT: return "number";
    case FIELD_DURATION: return "duration";
    case FIELD_SIZE: return "size";
    case FIELD_ENUM: return "word";
    case FIELD_MONEY: return "price";
    case FIELD_STRINGS: return "list of texts";
    case FIELD_SECRET: return "`{secret: NAME}`";
    case FIELD_PAIRS: return "names with text or `{secret: NAME}`";
    case FIELD_JSON: return "any value";
    case FIELD_TABLE:
    case FIELD_MAP: return "mapping";
    }
    return "";
}

static bool has_bounds(const struct field *field)
{
    return field->type == FIELD_INT || field->type == FIELD_DURATION || field->type == FIELD_SIZE;
}

static void print_row(const struct field *field, const char *path, FILE *out)
{
    char right[FIELD_RIGHT_SIZE];
    fprintf(out, "| `%s` | %s | ", path, type_noun(field->type));
    if (field->otherwise)
        fprintf(out, "`%s`", field->otherwise);
    else
        fputs(field->required ? "required" : "-", out);
    fprintf(out, " | %s", field->help);
    if (field->type == FIELD_ENUM)
        fprintf(out, " One of: %s.", field_scalar_right(field, right));
    if (has_bounds(field)) /* "a duration from 1ms to 1h": without its noun */
        fprintf(out, " Range: %s.", strstr(field_scalar_right(field, right), "from"));
    if (field->example)
        fprintf(out, " Example: `%s`.", field->example);
    fputs(" |\n", out);
}

/* NOLINTNEXTLINE(misc-no-recursion): as walk() */
static void print_rows(const struct field_table *table, const char *path, FILE *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        char deeper[PATH_SIZE], entry[PATH_SIZE];
        join_path(deeper, path, field->name);
        print_row(field, deeper, out);
        if (field->type == FIELD_TABLE)
            print_rows(field->table, deeper, out);
        if (field->type == FIELD_MAP && field->table) {
            join_path(entry, deeper, "NAME");
            print_rows(field->table, entry, out);
        }
    }
}

void field_print(const struct field_table *table, FILE *out)
{
    fputs("| key | type | default | meaning |\n|---|---|---|---|\n", out);
    print_rows(table, "", out);
}

/* --- did you mean ----------------------------------------------------------------------- */

static char folded(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters added, dropped, changed, or swapped with their neighbour. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_BYTES_MAX + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            row[j] = least(above[j - 1] + (x != y), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && folded(a[i - 2]) == y)
                row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[strlen(a) % 3][n];
}

const char *field_nearest(const char *text, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    size_t length = strlen(text);
    size_t best = length <= 4 ? 1 : length <= 8 ? 2 : 3; /* further away is another word */
    if (length > WORD_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i]) > WORD_BYTES_MAX)
            continue;
        size_t d = distance(text, words[i]);
        if (d < best || (d == best && !nearest)) {
            best = d;
            nearest = words[i];
        }
    }
    return nearest;
}
