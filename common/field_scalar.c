#include "common/field_scalar.h"

#include "common/text.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

enum {
    STRING_BYTES_MAX = 4096,
    LIST_ITEMS_MAX = 1000,
    SECRET_NAME_BYTES_MAX = 64,
    MICROS = 1000000,
};
static const int64_t DURATION_MAX_MS = INT64_C(36500) * 86400 * 1000;
static const int64_t SIZE_MAX_BYTES = INT64_C(1) << 62;
static const int64_t MONEY_MAX_MICROS = TEXT_MONEY_MAX_MICROS;

_Static_assert(sizeof(enum field_type) == sizeof(int), "an enum is stored as an int");

const char field_secret_right[] = "the name of a secret: letters, digits, '_', '-' and '.', "
                                  "at most 64";

/* --- bounds --------------------------------------------------------------------- */

int64_t field_min(const struct field *field)
{
    if (field->min || field->max)
        return field->min;
    return field->type == FIELD_STRING ? 1 : 0;
}

int64_t field_max(const struct field *field)
{
    if (field->min || field->max)
        return field->max;
    if (field->type == FIELD_STRING)
        return STRING_BYTES_MAX;
    if (field->type == FIELD_STRINGS)
        return LIST_ITEMS_MAX;
    if (field->type == FIELD_INT)
        return INT_MAX;
    if (field->type == FIELD_DURATION)
        return DURATION_MAX_MS;
    return field->type == FIELD_SIZE ? SIZE_MAX_BYTES : MONEY_MAX_MICROS;
}

/* --- what would be right ------------------------------------------------------------ */

static void list_words(const struct field *field, char right[FIELD_RIGHT_SIZE])
{
    size_t at = 0;
    for (size_t i = 0; field->words[i]; i++) {
        const char *joint = i == 0 ? "" : field->words[i + 1] ? ", " : " or ";
        int n = snprintf(right + at, FIELD_RIGHT_SIZE - at, "%s%s", joint, field->words[i]);
        assert(n > 0 && at + (size_t)n < FIELD_RIGHT_SIZE); /* our own tables */
        at += (size_t)n;
    }
}

static void show_number(const struct field *field, int64_t number, char out[TEXT_NUMBER_SIZE])
{
    if (field->type == FIELD_DURATION)
        text_format_duration(number, out);
    else if (field->type == FIELD_SIZE)
        text_format_size((size_t)number, out);
    else
        snprintf(out, TEXT_NUMBER_SIZE, "%" PRId64, number);
}

static const char *number_noun(enum field_type type)
{
    return type == FIELD_DURATION ? "a duration" : type == FIELD_SIZE ? "a size" : "a whole number";
}

const char *field_scalar_right(const struct field *field, char right[FIELD_RIGHT_SIZE])
{
    char min[TEXT_NUMBER_SIZE], max[TEXT_NUMBER_SIZE];
    switch (field->type) {
    case FIELD_STRING: return "text";
    case FIELD_BOOL: return "true or false";
    case FIELD_INT:
    case FIELD_DURATION:
    case FIELD_SIZE:
        show_number(field, field_min(field), min);
        show_number(field, field_max(field), max);
        snprintf(right, FIELD_RIGHT_SIZE, "%s from %s to %s", number_noun(field->type), min, max);
        return right;
    case FIELD_ENUM: list_words(field, right); return right;
    case FIELD_MONEY: return "a price such as 2.5 (at most 6 decimals)";
    case FIELD_STRINGS: return "a list of texts, like [a, b]";
    case FIELD_SECRET: return "{secret: NAME}";
    case FIELD_PAIRS: return "names with text or {secret: NAME}, like {X-Name: text}";
    case FIELD_JSON: return "any value";
    case FIELD_TABLE:
    case FIELD_MAP: break;
    }
    snprintf(right, FIELD_RIGHT_SIZE, "a mapping, like {%s: ...}",
             field->table->count ? field->table->fields[0].name : "name");
    return right;
}

/* --- storing -------------------------------------------------------------------------- */

const char *field_scalar_set_number(const struct field *field, int64_t number, void *within,
                                    char right[FIELD_RIGHT_SIZE])
{
    if (number < field_min(field) || number > field_max(field))
        return field_scalar_right(field, right);
    void *at = field_at(field, within);
    if (field->type == FIELD_INT) {
        int value = (int)number;
        memcpy(at, &value, sizeof value);
    } else if (field->type == FIELD_SIZE) {
        size_t value = (size_t)number;
        memcpy(at, &value, sizeof value);
    } else {
        memcpy(at, &number, sizeof number);
    }
    return NULL;
}

int64_t field_scalar_number(const struct field *field, const void *within)
{
    const void *at = field_at_const(field, within);
    if (field->type == FIELD_INT || field->type == FIELD_ENUM) {
        int value;
        memcpy(&value, at, sizeof value);
        return value;
    }
    if (field->type == FIELD_SIZE) {
        size_t value;
        memcpy(&value, at, sizeof value);
        return (int64_t)value;
    }
    int64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static bool parse_digits(const char **at, int64_t *number)
{
    const char *s = *at;
    int64_t n = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(n, INT64_C(10), &n) ||
            __builtin_add_overflow(n, (int64_t)(*s - '0'), &n))
            return false;
    bool some = s != *at;
    *at = s;
    *number = n;
    return some;
}

static bool parse_int(const char *text, int64_t *number)
{
    bool negative = *text == '-';
    const char *at = text + negative;
    if (!parse_digits(&at, number) || *at)
        return false;
    if (negative)
        *number = -*number;
    return true;
}

static bool parse_number(const struct field *field, const char *text, int64_t *number)
{
    size_t bytes = 0;
    if (field->type == FIELD_DURATION)
        return text_parse_duration(text, number, NULL) == OK;
    if (field->type == FIELD_MONEY)
        return text_parse_money(text, number, NULL) == OK;
    if (field->type == FIELD_INT)
        return parse_int(text, number);
    bool good = text_parse_size(text, &bytes, NULL) == OK;
    *number = (int64_t)bytes; /* at most 2^62 */
    return good;
}

static const char *set_string(const struct field *field, const char *text, struct arena *arena,
                              void *within, char right[FIELD_RIGHT_SIZE])
{
    int64_t length = (int64_t)strlen(text);
    if (length < field_min(field) || length > field_max(field)) {
        snprintf(right, FIELD_RIGHT_SIZE, "text of %" PRId64 " to %" PRId64 " bytes",
                 field_min(field), field_max(field));
        return right;
    }
    const char *better = field->check ? field->check(text) : NULL;
    if (better)
        return better;
    const char *kept = arena_strdup(arena, text);
    if (!kept)
        return "less: there is no room for it";
    field_put_pointer(field, within, kept);
    return NULL;
}

static const char *set_word(const struct field *field, const char *text, void *within,
                            char right[FIELD_RIGHT_SIZE])
{
    for (int i = 0; field->words[i]; i++)
        if (strcmp(field->words[i], text) == 0) {
            memcpy(field_at(field, within), &i, sizeof i);
            return NULL;
        }
    return field_scalar_right(field, right);
}

static const char *set_bool(const struct field *field, const char *text, void *within)
{
    bool value = strcmp(text, "true") == 0;
    if (!value && strcmp(text, "false") != 0)
        return "true or false";
    memcpy(field_at(field, within), &value, sizeof value);
    return NULL;
}

const char *field_scalar_set(const struct field *field, const char *text, struct arena *arena,
                             void *within, char right[FIELD_RIGHT_SIZE])
{
    int64_t number = 0;
    switch (field->type) {
    case FIELD_STRING: return set_string(field, text, arena, within, right);
    case FIELD_BOOL: return set_bool(field, text, within);
    case FIELD_ENUM: return set_word(field, text, within, right);
    case FIELD_INT:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_MONEY:
        if (!parse_number(field, text, &number))
            return field_scalar_right(field, right);
        return field_scalar_set_number(field, number, within, right);
    case FIELD_STRINGS:
    case FIELD_SECRET:
    case FIELD_PAIRS:
    case FIELD_JSON:
    case FIELD_TABLE:
    case FIELD_MAP: break;
    }
    return field_scalar_right(field, right);
}

bool field_is_secret_name(const char *name)
{
    size_t length = strlen(name);
    return length >= 1 && length <= SECRET_NAME_BYTES_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") ==
               length;
}
