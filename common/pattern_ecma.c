#include "common/pattern.h"

#include "common/text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* \s of ECMA-262: WhiteSpace and LineTerminator (12.2, 12.3), and all the others. */
#define SPACES                                                                                    \
    "\\x{9}-\\x{d}\\x{20}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}\\x{feff}"
#define NO_SPACES                                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{" \
    "2027}"                                                                                        \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}\\x{ff00}-"       \
    "\\x{10ffff}"

enum { NO_CODE_POINT = -1, SET = -2, LAST_CODE_POINT = 0x10ffff };

struct reader {
    const char *at, *end;
    struct buf *out;
    struct error *err;
    int depth;
    bool looks[PATTERN_GROUPS_MAX + 1]; /* open groups: look-ahead or look-behind? */
    bool repeatable;                    /* what was read last may be followed by * */
};

static bool is_next(const struct reader *r, char c)
{
    return r->at < r->end && *r->at == c;
}

static bool take(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, text, n) != 0)
        return false;
    r->at += n;
    return true;
}

static void put_character(struct reader *r, int32_t c)
{
    if (c < 128 && isalnum(c))
        (void)buf_putc(r->out, (char)c);
    else
        (void)buf_printf(r->out, "\\x{%x}", (unsigned)c);
}

/* The next character of the text, which is UTF-8. */
static int32_t take_character(struct reader *r)
{
    uint32_t c = 0;
    size_t step = text_utf8_next(r->at, (size_t)(r->end - r->at), &c);
    r->at += step;
    return step ? (int32_t)c : NO_CODE_POINT;
}

/* ---- escapes ---------------------------------------------------------------------------- */

/* From `digits_min` to `digits_max` hexadecimal digits. */
static int32_t take_hex(struct reader *r, int digits_min, int digits_max)
{
    int32_t value = 0;
    int digits = 0;
    while (digits < digits_max && r->at < r->end && isxdigit((unsigned char)*r->at)) {
        int c = tolower((unsigned char)*r->at++);
        value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
        digits++;
    }
    return digits >= digits_min ? value : NO_CODE_POINT;
}

/* Behind \u: four digits, twice for what lies beyond them, or {digits}. */
static int32_t take_unicode(struct reader *r)
{
    if (take(r, "{")) {
        int32_t c = take_hex(r, 1, 6);
        return take(r, "}") && c <= LAST_CODE_POINT && (c < 0xd800 || c > 0xdfff) ? c
                                                                                  : NO_CODE_POINT;
    }
    int32_t high = take_hex(r, 4, 4);
    if (high < 0xd800 || high > 0xdfff)
        return high;
    int32_t low = high < 0xdc00 && take(r, "\\u") ? take_hex(r, 4, 4) : NO_CODE_POINT;
    if (low < 0xdc00 || low > 0xdfff)
        return NO_CODE_POINT;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static enum outcome refuse_escape(struct reader *r, const char *from)
{
    char shown[24];
    size_t n = (size_t)(r->end - from);
    return fail(r->err, REFUSED, "'%s' is no escape of ECMA-262",
                text_bounded(shown, sizeof shown, from, n < 8 ? n : 8));
}

/* An escape that stands for one character, within a class and outside;
 * NO_CODE_POINT: it is none of these.  `r` is behind the backslash.          */
static int32_t take_character_escape(struct reader *r)
{
    const char *from = r->at;
    int32_t first = take_character(r), c = NO_CODE_POINT;
    switch (first) {
    case 't': c = '\t'; break;
    case 'n': c = '\n'; break;
    case 'v': c = '\v'; break;
    case 'f': c = '\f'; break;
    case 'r': c = '\r'; break;
    case 'x': c = take_hex(r, 2, 2); break;
    case 'u': c = take_unicode(r); break;
    case 'c': c = r->at < r->end && isalpha((unsigned char)*r->at) ? *r->at++ & 31 : c; break;
    case '0': c = r->at == r->end || !isdigit((unsigned char)*r->at) ? 0 : c; break;
    default: c = first >= 128 || (first >= 0 && !isalnum((int)first)) ? first : c; /* itself */
    }
    if (c == NO_CODE_POINT)
        r->at = from;
    return c;
}

/* ---- properties -------------------------------------------------------------------------- */

/* The long names of general categories, which PCRE2 has not. */
static const struct {
    const char *name, *category;
} categories[] = {
    { "Letter", "L" },
    { "Cased_Letter", "L&" },
    { "Uppercase_Letter", "Lu" },
    { "Lowercase_Letter", "Ll" },
    { "Titlecase_Letter", "Lt" },
    { "Modifier_Letter", "Lm" },
    { "Other_Letter", "Lo" },
    { "Mark", "M" },
    { "Combining_Mark", "M" },
    { "Nonspacing_Mark", "Mn" },
    { "Spacing_Mark", "Mc" },
    { "Enclosing_Mark", "Me" },
    { "Number", "N" },
    { "Decimal_Number", "Nd" },
    { "digit", "Nd" },
    { "Letter_Number", "Nl" },
    { "Other_Number", "No" },
    { "Punctuation", "P" },
    { "punct", "P" },
    { "Connector_Punctuation", "Pc" },
    { "Dash_Punctuation", "Pd" },
    { "Open_Punctuation", "Ps" },
    { "Close_Punctuation", "Pe" },
    { "Initial_Punctuation", "Pi" },
    { "Final_Punctuation", "Pf" },
    { "Other_Punctuation", "Po" },
    { "Symbol", "S" },
    { "Math_Symbol", "Sm" },
    { "Currency_Symbol", "Sc" },
    { "Modifier_Symbol", "Sk" },
    { "Other_Symbol", "So" },
    { "Separator", "Z" },
    { "Space_Separator", "Zs" },
    { "Line_Separator", "Zl" },
    { "Paragraph_Separator", "Zp" },
    { "Other", "C" },
    { "Control", "Cc" },
    { "cntrl", "Cc" },
    { "Format", "Cf" },
    { "Surrogate", "Cs" },
    { "Private_Use", "Co" },
    { "Unassigned", "Cn" },
    { "LC", "L&" },
};

static const char *short_name(const char *name)
{
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (strcmp(categories[i].name, name) == 0)
            return categories[i].category;
    return name;
}

/* Behind \p or \P (`letter`): {Name} or {Kind=Name}.  Names that it does not know
 * are PCRE2's to refuse.                                                     */
static enum outcome take_property(struct reader *r, char letter)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=";
    char name[64];
    const char *from = r->at - 2;
    size_t n = take(r, "{") ? strspn(r->at, set) : 0; /* a buffer ends with a NUL */
    if (n == 0 || n >= sizeof name || r->at + n >= r->end || r->at[n] != '}')
        return refuse_escape(r, from);
    memcpy(name, r->at, n);
    name[n] = '\0';
    r->at += n + 1;
    char *value = strchr(name, '=');
    if (value)
        *value++ = '\0';
    if (!value || strcmp(name, "General_Category") == 0 || strcmp(name, "gc") == 0)
        (void)buf_printf(r->out, "\\%c{%s}", letter, short_name(value ? value : name));
    else if (strcmp(name, "Script") == 0 || strcmp(name, "sc") == 0)
        (void)buf_printf(r->out, "\\%c{sc:%s}", letter, value);
    else if (strcmp(name, "Script_Extensions") == 0 || strcmp(name, "scx") == 0)
        (void)buf_printf(r->out, "\\%c{scx:%s}", letter, value);
    else
        return refuse_escape(r, from);
    return OK;
}

/* \d \D \w \W \s \S \p{} \P{}, within a class or outside.  STALE: it is none. */
static enum outcome take_set(struct reader *r, bool in_class)
{
    char c = r->at < r->end ? *r->at : '\0';
    if (!c || !strchr("dDwWsSpP", c))
        return STALE;
    r->at++;
    if (c == 'p' || c == 'P')
        return take_property(r, c);
    if (c != 's' && c != 'S')
        (void)buf_printf(r->out, "\\%c", c);
    else if (in_class)
        (void)buf_puts(r->out, c == 's' ? SPACES : NO_SPACES);
    else
        (void)buf_puts(r->out, c == 's' ? "[" SPACES "]" : "[^" SPACES "]");
    return OK;
}

/* ---- classes ------------------------------------------------------------------------------ */

/* One end of a range, or a set, which is written at once (*c is SET). */
static enum outcome take_member(struct reader *r, int32_t *c)
{
    if (!take(r, "\\")) {
        *c = take_character(r);
        return OK;
    }
    const char *from = r->at - 1;
    *c = SET;
    enum outcome outcome = take_set(r, true);
    if (outcome != STALE)
        return outcome;
    *c = take(r, "b") ? '\b' : take_character_escape(r);
    return *c == NO_CODE_POINT ? refuse_escape(r, from) : OK;
}

/* A member, or from one to another. */
static enum outcome take_range(struct reader *r)
{
    int32_t from, to;
    enum outcome outcome = take_member(r, &from);
    if (outcome != OK)
        return outcome;
    bool ranges = is_next(r, '-') && r->at + 1 < r->end && r->at[1] != ']';
    if (from != SET)
        put_character(r, from);
    if (!ranges)
        return OK;
    r->at++;
    /* A hyphen beside a set is a hyphen. */
    if (from == SET || (r->at[0] == '\\' && r->at[1] && strchr("dDwWsSpP", r->at[1]))) {
        put_character(r, '-');
        return OK;
    }
    outcome = take_member(r, &to);
    if (outcome != OK)
        return outcome;
    if (to < from)
        return fail(r->err, REFUSED, "a range in [] ends before it begins");
    (void)buf_putc(r->out, '-');
    put_character(r, to);
    return OK;
}

static enum outcome take_class(struct reader *r)
{
    bool negated = take(r, "^");
    r->repeatable = true;
    if (take(r, "]")) {
        (void)buf_puts(r->out, negated ? "[\\x{0}-\\x{10ffff}]" : "(?!)");
        return OK;
    }
    (void)buf_puts(r->out, negated ? "[^" : "[");
    while (r->at < r->end && !is_next(r, ']')) {
        enum outcome outcome = take_range(r);
        if (outcome != OK)
            return outcome;
    }
    if (!take(r, "]"))
        return fail(r->err, REFUSED, "a '[' is not closed");
    (void)buf_putc(r->out, ']');
    return OK;
}

/* ---- groups and repetition ------------------------------------------------------------------ */

static enum outcome take_name(struct reader *r)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    size_t n = strspn(r->at, set);
    if (n == 0 || n > 32 || r->at + n >= r->end || r->at[n] != '>' ||
        isdigit((unsigned char)*r->at))
        return fail(r->err, REFUSED, "a group has a name that is none; write letters and digits");
    (void)buf_printf(r->out, "<%.*s>", (int)n, r->at);
    r->at += n + 1;
    return OK;
}

static enum outcome open_group(struct reader *r)
{
    static const char *const kinds[] = { "?:", "?=", "?!", "?<=", "?<!" };
    if (r->depth == PATTERN_GROUPS_MAX)
        return fail(r->err, REFUSED, "more than %d groups stand within each other",
                    PATTERN_GROUPS_MAX);
    r->looks[r->depth++] = false;
    r->repeatable = false;
    (void)buf_putc(r->out, '(');
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!take(r, kinds[i]))
            continue;
        (void)buf_puts(r->out, kinds[i]);
        r->looks[r->depth - 1] = i > 0;
        return OK;
    }
    if (take(r, "?<")) {
        (void)buf_putc(r->out, '?');
        return take_name(r);
    }
    return is_next(r, '?')
               ? fail(r->err, REFUSED, "a group begins with (? and what ECMA-262 has not")
               : OK;
}

static enum outcome close_group(struct reader *r)
{
    if (r->depth == 0)
        return fail(r->err, REFUSED, "a ')' closes nothing");
    (void)buf_putc(r->out, ')');
    r->repeatable = !r->looks[--r->depth];
    return OK;
}

/* The length of {n}, {n,} or {n,m}; 0 when it is none of these. */
static size_t braces_length(const struct reader *r)
{
    const char *c = r->at + 1;
    size_t digits = strspn(c, "0123456789");
    if (digits == 0)
        return 0;
    c += digits;
    if (*c == ',')
        c += 1 + strspn(c + 1, "0123456789");
    return *c == '}' && c < r->end ? (size_t)(c - r->at) + 1 : 0;
}

static enum outcome repeat(struct reader *r, size_t n)
{
    if (!r->repeatable)
        return fail(r->err, REFUSED, "'%.*s' repeats nothing", n < 20 ? (int)n : 20, r->at);
    (void)buf_add(r->out, r->at, n);
    r->at += n;
    if (take(r, "?"))
        (void)buf_putc(r->out, '?');
    r->repeatable = false; /* what follows would be PCRE2's possessive a++, or a mistake */
    return OK;
}

/* ---- everything ------------------------------------------------------------------------------ */

static enum outcome take_escape(struct reader *r)
{
    const char *from = r->at - 1;
    r->repeatable = true;
    enum outcome outcome = take_set(r, false);
    if (outcome != STALE)
        return outcome;
    if (is_next(r, 'b') || is_next(r, 'B')) {
        (void)buf_printf(r->out, "\\%c", *r->at++);
        r->repeatable = false;
        return OK;
    }
    if (take(r, "k<")) {
        (void)buf_puts(r->out, "\\k");
        return take_name(r);
    }
    if (r->at < r->end && *r->at >= '1' && *r->at <= '9') {
        size_t digits = strspn(r->at, "0123456789");
        (void)buf_printf(r->out, "\\g{%.*s}", digits < 9 ? (int)digits : 9, r->at);
        r->at += digits;
        return OK;
    }
    int32_t c = take_character_escape(r);
    if (c == NO_CODE_POINT)
        return refuse_escape(r, from);
    put_character(r, c);
    return OK;
}

static enum outcome take_brace(struct reader *r)
{
    size_t n = braces_length(r);
    if (n > 0)
        return repeat(r, n);
    if (r->end - r->at > 1 && r->at[1] == ',')
        return fail(r->err, REFUSED, "'{,' means nothing in ECMA-262; write {0,");
    put_character(r, '{');
    r->at++;
    r->repeatable = true;
    return OK;
}

static enum outcome take_one(struct reader *r)
{
    switch (*r->at) {
    case '\\': r->at++; return take_escape(r);
    case '[': r->at++; return take_class(r);
    case '(': r->at++; return open_group(r);
    case ')': r->at++; return close_group(r);
    case '{': return take_brace(r);
    case '*':
    case '+':
    case '?': return repeat(r, 1);
    case '^':
    case '$':
    case '|':
        (void)buf_putc(r->out, *r->at++);
        r->repeatable = false;
        return OK;
    case '.':
        (void)buf_puts(r->out, "[^\\x{a}\\x{d}\\x{2028}\\x{2029}]");
        r->at++;
        break;
    default: put_character(r, take_character(r)); break;
    }
    r->repeatable = true;
    return OK;
}

enum outcome pattern_translate(const char *text, size_t n, struct buf *out, struct error *err)
{
    if (n > PATTERN_BYTES_MAX)
        return fail(err, REFUSED, "it has %zu bytes; at most %d are read", n, PATTERN_BYTES_MAX);
    if (!text_is_utf8(text, n))
        return fail(err, REFUSED, "it is not UTF-8");
    /* Ends with a NUL, so that strspn and the like stop. */
    AUTO_BUF struct buf copy;
    buf_init(&copy, PATTERN_BYTES_MAX);
    if (!buf_add(&copy, text, n))
        return fail(err, REFUSED, "no memory for this pattern");
    struct reader r = { .at = copy.data, .end = copy.data + n, .out = out, .err = err };
    while (r.at < r.end) {
        enum outcome outcome = take_one(&r);
        if (outcome != OK)
            return outcome;
    }
    if (r.depth > 0)
        return fail(err, REFUSED, "a '(' is not closed");
    return out->full ? fail(err, REFUSED, "it becomes too long when its escapes are written out")
                     : OK;
}
