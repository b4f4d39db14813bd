#include "common/json_schema_core.h"

#include "common/memory.h"
#include "common/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ------------------------------------------------------------------------------ */

unsigned value_types(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL: return TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return TYPE_BOOLEAN;
    case JSON_INTEGER: return TYPE_INTEGER | TYPE_NUMBER;
    case JSON_REAL: {
        double number = json_real_value(value);
        return TYPE_NUMBER | (number == floor(number) ? TYPE_INTEGER : 0);
    }
    case JSON_STRING: return TYPE_STRING;
    case JSON_ARRAY: return TYPE_ARRAY;
    case JSON_OBJECT: return TYPE_OBJECT;
    }
    return 0;
}

/* Exactly: a double cannot hold every int64_t. */
static int compare_mixed(int64_t whole, double real)
{
    if (real >= 9223372036854775808.0)
        return -1;
    if (real < -9223372036854775808.0)
        return 1;
    int64_t floor_of_real = (int64_t)floor(real);
    if (whole != floor_of_real)
        return whole < floor_of_real ? -1 : 1;
    return real > floor(real) ? -1 : 0;
}

int value_compare(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b)) {
        int64_t x = json_integer_value(a), y = json_integer_value(b);
        return (x > y) - (x < y);
    }
    if (json_is_integer(a))
        return compare_mixed(json_integer_value(a), json_real_value(b));
    if (json_is_integer(b))
        return -compare_mixed(json_integer_value(b), json_real_value(a));
    double x = json_real_value(a), y = json_real_value(b);
    return (x > y) - (x < y);
}

/* mantissa * 10^exponent, without a sign and without zeros at the end of the mantissa. */
struct decimal {
    uint64_t mantissa;
    int exponent;
};

/* A double as the shortest decimal that stands for it: so it was most likely written. */
static struct decimal decimal_of(const json_t *number)
{
    struct decimal d = { 0, 0 };
    if (json_is_integer(number)) {
        int64_t value = json_integer_value(number);
        d.mantissa = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    } else {
        char text[40];
        double value = fabs(json_real_value(number));
        for (int digits = 0; digits <= 16; digits++) {
            (void)snprintf(text, sizeof text, "%.*e", digits, value);
            if (strtod(text, NULL) == value)
                break;
        }
        const char *c = text;
        for (; *c && *c != 'e'; c++) {
            if (*c < '0' || *c > '9')
                continue; /* the point */
            d.mantissa = d.mantissa * 10 + (uint64_t)(*c - '0');
            d.exponent -= c > text;
        }
        d.exponent += *c ? (int)strtol(c + 1, NULL, 10) : 0;
    }
    while (d.mantissa > 0 && d.mantissa % 10 == 0) {
        d.mantissa /= 10;
        d.exponent++;
    }
    return d;
}

__extension__ typedef unsigned __int128 wide; /* ten times a mantissa */

bool value_is_multiple(const json_t *value, const json_t *of)
{
    struct decimal a = decimal_of(value), b = decimal_of(of);
    if (a.mantissa == 0)
        return true;
    if (b.mantissa == 0 || a.exponent < b.exponent)
        return false; /* it has decimals that no multiple has */
    wide rest = a.mantissa % b.mantissa;
    for (int i = a.exponent - b.exponent; i > 0 && rest > 0; i--)
        rest = rest * 10 % b.mantissa;
    return rest == 0;
}

/* ---- equality ------------------------------------------------------------------------------- */

/* Depth: that of the value, which whoever read it has bounded. */
/* NOLINTBEGIN(misc-no-recursion) */
static bool arrays_equal(const json_t *a, const json_t *b, int64_t *work)
{
    size_t n = json_array_size(a);
    if (n != json_array_size(b))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!value_equal(json_array_get(a, i), json_array_get(b, i), work))
            return false;
    return true;
}

static bool objects_equal(const json_t *a, const json_t *b, int64_t *work)
{
    const char *key;
    const json_t *member;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach((json_t *)(uintptr_t)a, key, member) {
        const json_t *other = json_object_get(b, key);
        if (!other || !value_equal(member, other, work))
            return false;
    }
    return true;
}

bool value_equal(const json_t *a, const json_t *b, int64_t *work)
{
    if (--*work < 0)
        return false;
    if (json_is_number(a) && json_is_number(b))
        return value_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    switch (json_typeof(a)) {
    case JSON_STRING: {
        size_t n = json_string_length(a);
        if (n != json_string_length(b))
            return false;
        *work -= (int64_t)(n / SHOWN_BYTES);
        return memcmp(json_string_value(a), json_string_value(b), n) == 0;
    }
    case JSON_ARRAY: return arrays_equal(a, b, work);
    case JSON_OBJECT: return objects_equal(a, b, work);
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: break;
    }
    return true;
}

/* Equal values have equal sums: those of an object's members are added, since their
 * order does not count.  Unequal values that have equal sums only cost time.  */
static uint64_t mix(uint64_t sum, const void *bytes, size_t n)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ byte[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return sum;
}

static uint64_t sum_of(const json_t *value, int64_t *work)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325) + (uint64_t)json_typeof(value);
    const char *key;
    const json_t *member;
    size_t i;
    if (--*work < 0)
        return 0;
    if (json_is_number(value)) {
        double number = json_number_value(value) + 0.0; /* not -0.0 */
        return mix(UINT64_C(0xcbf29ce484222325), &number, sizeof number);
    }
    if (json_is_string(value)) {
        *work -= (int64_t)(json_string_length(value) / SHOWN_BYTES);
        return mix(sum, json_string_value(value), json_string_length(value));
    }
    json_array_foreach(value, i, member) {
        uint64_t part = sum_of(member, work);
        sum = mix(sum, &part, sizeof part);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        uint64_t part = sum_of(member, work);
        sum += mix(part, key, strlen(key));
    }
    return sum;
}
/* NOLINTEND(misc-no-recursion) */

struct summed {
    uint64_t sum;
    size_t index;
};

static int by_sum(const void *a, const void *b)
{
    const struct summed *x = a, *y = b;
    if (x->sum != y->sum)
        return x->sum < y->sum ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

bool value_find_twins(const json_t *array, size_t *first, size_t *second, int64_t *work)
{
    size_t n = json_array_size(array);
    bool found = false;
    if (n < 2)
        return false;
    struct summed *items = xcalloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct summed){ sum_of(json_array_get(array, i), work), i };
    qsort(items, n, sizeof *items, by_sum);
    for (size_t i = 0; i < n && !found && *work >= 0; i++)
        for (size_t k = i + 1; k < n && items[k].sum == items[i].sum && !found && *work >= 0; k++) {
            *first = items[i].index;
            *second = items[k].index;
            found =
                value_equal(json_array_get(array, *first), json_array_get(array, *second), work);
        }
    free(items);
    return found && *work >= 0;
}

size_t value_length(const json_t *string)
{
    const char *text = json_string_value(string);
    size_t n = json_string_length(string), length = 0;
    for (size_t i = 0; i < n; i++)
        length += ((unsigned char)text[i] & 0xc0) != 0x80;
    return length;
}

/* ---- words ------------------------------------------------------------------------------------
 */

const char *const json_schema_types[TYPE_COUNT] = { "null",   "boolean", "integer", "number",
                                                    "string", "array",   "object" };

const char *value_show(const json_t *value, char *out, size_t out_size)
{
    /* What does not fit is cut, and an array of megabytes is not written out for that. */
    bool large = json_array_size(value) > 100 || json_object_size(value) > 100;
    if (large)
        return value_describe(value, out, out_size);
    AUTO_FREE char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS |
                                                 JSON_REAL_PRECISION(16));
    return text_bounded(out, out_size, text ? text : "?", strlen(text ? text : "?"));
}

const char *value_describe(const json_t *value, char *out, size_t out_size)
{
    char shown[SHOWN_BYTES];
    switch (json_typeof(value)) {
    case JSON_ARRAY:
        (void)snprintf(out, out_size, "an array of %zu item%s", json_array_size(value),
                       json_array_size(value) == 1 ? "" : "s");
        break;
    case JSON_OBJECT: (void)snprintf(out, out_size, "an object"); break;
    case JSON_STRING:
        (void)snprintf(
            out, out_size, "the string \"%s\"",
            text_bounded(shown, sizeof shown, json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        (void)snprintf(out, out_size, "the number %s", value_show(value, shown, sizeof shown));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: return value_show(value, out, out_size);
    }
    return out;
}

const char *types_show(unsigned types, char *out, size_t out_size)
{
    size_t at = 0, left = 0;
    if (types & TYPE_NUMBER)
        types &= ~(unsigned)TYPE_INTEGER; /* one says the other */
    for (int i = 0; i < TYPE_COUNT; i++)
        left += (types >> i) & 1;
    *out = '\0';
    for (int i = TYPE_COUNT - 1; i >= 0; i--) {
        if (!((types >> i) & 1) || at >= out_size)
            continue;
        const char *name = json_schema_types[i];
        const char *article = i == 0 ? "" : strchr("aio", *name) ? "an " : "a ";
        int n = snprintf(out + at, out_size - at, "%s%s%s", article, name,
                         --left > 1  ? ", "
                         : left == 1 ? " or "
                                     : "");
        at += n > 0 ? (size_t)n : 0;
    }
    return out;
}
