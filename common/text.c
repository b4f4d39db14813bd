#include "common/text.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const int64_t DURATION_MAX_MS = INT64_C(36500) * 86400 * 1000;
static const uint64_t SIZE_MAX_BYTES = UINT64_C(1) << 62;

/* --- UTF-8 ---------------------------------------------------------------------------------- */

/* How a character that starts with `lead` goes on: its length, and the range of
 * its second byte. The range is what keeps overlong forms, surrogates and code
 * points above U+10FFFF out. Length 0: `lead` starts nothing.               */
struct utf8_form {
    size_t length;
    unsigned char second_min, second_max;
};

static struct utf8_form utf8_form(unsigned char lead)
{
    if (lead < 0x80)
        return (struct utf8_form){ 1, 0, 0 };
    if (lead >= 0xc2 && lead <= 0xdf)
        return (struct utf8_form){ 2, 0x80, 0xbf };
    if (lead >= 0xe0 && lead <= 0xef)
        return (struct utf8_form){ 3, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf };
    if (lead >= 0xf0 && lead <= 0xf4)
        return (struct utf8_form){ 4, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf };
    return (struct utf8_form){ 0, 0, 0 };
}

size_t text_utf8_next(const char *s, size_t n, uint32_t *code_point)
{
    static const unsigned char lead_bits[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    if (n == 0)
        return 0;
    const unsigned char *u = (const unsigned char *)s;
    struct utf8_form form = utf8_form(u[0]);
    if (form.length == 0 || form.length > n)
        return 0;
    uint32_t value = u[0] & lead_bits[form.length];
    for (size_t i = 1; i < form.length; i++) {
        unsigned char min = i == 1 ? form.second_min : 0x80;
        unsigned char max = i == 1 ? form.second_max : 0xbf;
        if (u[i] < min || u[i] > max)
            return 0;
        value = value << 6 | (u[i] & 0x3fu);
    }
    *code_point = value;
    return form.length;
}

bool text_is_utf8(const char *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        if ((unsigned char)s[at] < 0x80) {
            at++; /* the common case, without the call */
            continue;
        }
        uint32_t code_point;
        size_t length = text_utf8_next(s + at, n - at, &code_point);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

bool text_has_nul(const char *s, size_t n)
{
    return n > 0 && memchr(s, '\0', n) != NULL;
}

/* --- durations and sizes ---------------------------------------------------------------------- */

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: the formatters take the first that divides. */
static const struct unit durations[] = {
    { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};
static const struct unit sizes[] = {
    { "GiB", 1u << 30 },
    { "MiB", 1u << 20 },
    { "KiB", 1u << 10 },
    { "", 1 },
};
enum {
    DURATIONS = sizeof durations / sizeof *durations,
    SIZES = sizeof sizes / sizeof *sizes,
};

/* Reads "<digits><unit>" up to `max`; false when it is anything else. */
static bool read_quantity(const char *text, const struct unit *units, size_t count, uint64_t max,
                          uint64_t *value)
{
    uint64_t n = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
            __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
            return false;
    }
    if (at == text)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at, units[i].name) == 0) {
            bool wrapped = __builtin_mul_overflow(n, units[i].factor, value);
            return !wrapped && *value <= max;
        }
    }
    *value = 0;
    return n == 0 && *at == '\0'; /* zero is zero in any unit */
}

enum outcome text_parse_duration(const char *text, int64_t *ms, struct error *err)
{
    uint64_t value;
    if (!read_quantity(text, durations, DURATIONS, (uint64_t)DURATION_MAX_MS, &value))
        return fail(err, REFUSED,
                    "'%.40s' is not a duration; write a whole number and one unit, like 500ms, "
                    "30s, 10m, 1h or 7d (at most 36500d)",
                    text);
    *ms = (int64_t)value;
    return OK;
}

enum outcome text_parse_money(const char *text, int64_t *micros, struct error *err)
{
    enum { WHOLE_DIGITS_MAX = 10, PLACES = 6 };
    static const char digits[] = "0123456789";
    size_t whole = strspn(text, digits), part = 0;
    bool point = text[whole] == '.';
    if (point)
        part = strspn(text + whole + 1, digits);
    bool good = whole > 0 && whole <= WHOLE_DIGITS_MAX && point == (part > 0) && part <= PLACES &&
                text[whole + (point ? 1 + part : 0)] == '\0';
    int64_t value = good ? strtoll(text, NULL, 10) : 0;
    for (size_t i = 0; good && i < PLACES; i++)
        value = value * 10 + (i < part ? text[whole + 1 + i] - '0' : 0);
    if (!good || value > TEXT_MONEY_MAX_MICROS)
        return fail(err, REFUSED,
                    "'%.40s' is not an amount of money; write a number such as 2.5 (at most 6 "
                    "decimals, at most 1000000000)",
                    text);
    *micros = value;
    return OK;
}

enum outcome text_parse_size(const char *text, size_t *bytes, struct error *err)
{
    uint64_t value;
    if (!read_quantity(text, sizes, SIZES, SIZE_MAX_BYTES, &value))
        return fail(err, REFUSED,
                    "'%.40s' is not a size; write a whole number of bytes, or one with a unit, "
                    "like 64KiB, 1MiB or 2GiB",
                    text);
    *bytes = (size_t)value;
    return OK;
}

static void format_quantity(uint64_t value, const struct unit *units, size_t count,
                            char out[TEXT_NUMBER_SIZE])
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 || value % units[i].factor != 0))
        i++;
    (void)snprintf(out, TEXT_NUMBER_SIZE, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
}

void text_format_duration(int64_t ms, char out[TEXT_NUMBER_SIZE])
{
    assert(ms >= 0);
    format_quantity((uint64_t)ms, durations, DURATIONS, out);
}

void text_format_size(size_t bytes, char out[TEXT_NUMBER_SIZE])
{
    format_quantity(bytes, sizes, SIZES, out);
}

/* --- for people's eyes ------------------------------------------------------------------------ */

/* Characters that a terminal acts upon, or that make text read otherwise than
 * it is stored: C0, DEL, C1, line separators, direction marks, and the BOM. */
static bool is_harmful(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || (c >= 0x200e && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* The visible form of the next character of s, at most 10 bytes; returns how
 * many bytes of s it stands for.                                            */
static size_t visible(const char *s, size_t n, char out[16])
{
    uint32_t c = 0;
    size_t length = text_utf8_next(s, n, &c);
    if (length == 0) {
        (void)snprintf(out, 16, "\\x%02x", (unsigned)(unsigned char)s[0]);
        return 1;
    }
    if (!is_harmful(c)) {
        memcpy(out, s, length);
        out[length] = '\0';
    } else if (c == '\n' || c == '\t' || c == '\r') {
        (void)snprintf(out, 16, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    } else {
        (void)snprintf(out, 16, c < 0x80 ? "\\x%02x" : "\\u{%04x}", (unsigned)c);
    }
    return length;
}

const char *text_bounded(char *out, size_t out_size, const char *s, size_t n)
{
    static const char ellipsis[] = "...";
    assert(out_size >= sizeof ellipsis);
    size_t used = 0, cut_at = 0; /* cut_at: the last boundary with room for the dots behind it */
    for (size_t at = 0; at < n;) {
        char shown[16];
        at += visible(s + at, n - at, shown);
        size_t length = strlen(shown);
        if (used + length >= out_size) {
            memcpy(out + cut_at, ellipsis, sizeof ellipsis);
            return out;
        }
        memcpy(out + used, shown, length);
        used += length;
        if (used + sizeof ellipsis <= out_size)
            cut_at = used;
    }
    out[used] = '\0';
    return out;
}

bool text_is_one_of(const char *text, const char *const *words)
{
    for (; text && *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}
