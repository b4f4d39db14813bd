#include "common/yaml.h"

#include "common/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_SIZE = 64 };

/* --- the core schema (YAML 1.2, 10.3.2) ----------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

#define IS_ONE_OF(text, ...)                                \
    is_one_of((text), (const char *const[]){ __VA_ARGS__ }, \
              sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static const char digits[] = "0123456789";

/* [-+]?[0-9]+ | 0o[0-7]+ | 0x[0-9a-fA-F]+ : the base, or 0 when it is none of them. */
static int integer_base(const char *s)
{
    if (s[0] == '0' && (s[1] == 'o' || s[1] == 'x')) {
        const char *set = s[1] == 'o' ? "01234567" : "0123456789abcdefABCDEF";
        if (s[2] && s[2 + strspn(s + 2, set)] == '\0')
            return s[1] == 'o' ? 8 : 16;
        return 0;
    }
    s += *s == '-' || *s == '+';
    return *s && s[strspn(s, digits)] == '\0' ? 10 : 0;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, digits);
    s += whole;
    if (*s == '.') {
        size_t part = strspn(s + 1, digits);
        if (whole + part == 0)
            return false;
        s += 1 + part;
    } else if (whole == 0) {
        return false;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        if (!*s)
            return false;
        s += strspn(s, digits);
    }
    return *s == '\0';
}

static bool is_not_finite(const char *s)
{
    if (IS_ONE_OF(s, ".nan", ".NaN", ".NAN"))
        return true;
    s += *s == '-' || *s == '+';
    return IS_ONE_OF(s, ".inf", ".Inf", ".INF");
}

static bool is_bool(const char *s)
{
    return IS_ONE_OF(s, "true", "True", "TRUE", "false", "False", "FALSE");
}

bool yaml_is_null(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && node->plain &&
           (node->length == 0 || IS_ONE_OF(node->text, "null", "Null", "NULL", "~"));
}

const char *yaml_describe(const struct yaml_node *node, char *out, size_t out_size)
{
    char shown[SHOWN_SIZE];
    if (node->kind == YAML_MAPPING)
        snprintf(out, out_size, "a mapping");
    else if (node->kind == YAML_SEQUENCE)
        snprintf(out, out_size, "a list");
    else if (yaml_is_null(node))
        snprintf(out, out_size, "nothing");
    else if (node->plain && (integer_base(node->text) || is_float(node->text)))
        snprintf(out, out_size, "the number %s",
                 text_bounded(shown, sizeof shown, node->text, node->length));
    else if (node->plain && is_bool(node->text))
        snprintf(out, out_size, "%s", node->text);
    else
        snprintf(out, out_size, "the text '%s'",
                 text_bounded(shown, sizeof shown, node->text, node->length));
    return out;
}

/* --- as JSON ------------------------------------------------------------------------ */

static enum outcome integer_to_json(const struct yaml_node *node, int base, json_t **out,
                                    struct error *err)
{
    char shown[SHOWN_SIZE];
    errno = 0;
    long long value = strtoll(node->text + (base == 10 ? 0 : 2), NULL, base);
    if (errno)
        return yaml_fail(err, node,
                         "the number %s does not fit in 64 bits; quote it to keep it as "
                         "text",
                         text_bounded(shown, sizeof shown, node->text, node->length));
    *out = json_integer(value);
    return OK;
}

static enum outcome float_to_json(const struct yaml_node *node, json_t **out, struct error *err)
{
    char shown[SHOWN_SIZE];
    double value = is_not_finite(node->text) ? INFINITY : strtod(node->text, NULL);
    if (!isfinite(value))
        return yaml_fail(err, node,
                         "%s is not a number that JSON has; write a finite number, or "
                         "quote it to keep it as text",
                         text_bounded(shown, sizeof shown, node->text, node->length));
    *out = json_real(value);
    return OK;
}

static enum outcome scalar_to_json(const struct yaml_node *node, json_t **out, struct error *err)
{
    /* A NUL can stand in quoted text only, so plain text may be read as a C string. */
    if (yaml_is_null(node)) {
        *out = json_null();
    } else if (node->plain && is_bool(node->text)) {
        *out = json_boolean(node->text[0] == 't' || node->text[0] == 'T');
    } else if (node->plain && integer_base(node->text)) {
        return integer_to_json(node, integer_base(node->text), out, err);
    } else if (node->plain && (is_float(node->text) || is_not_finite(node->text))) {
        return float_to_json(node, out, err);
    } else {
        *out = json_stringn(node->text, node->length);
    }
    return *out ? OK : yaml_fail(err, node, "no memory for this value");
}

/* Depth: that of the tree, which yaml_limits bounds. */
/* NOLINTBEGIN(misc-no-recursion) */
static enum outcome member_to_json(const struct yaml_node *node, size_t i, json_t *into,
                                   struct error *err)
{
    json_t *value = NULL;
    enum outcome outcome = yaml_to_json(node->items[i], &value, err);
    if (outcome != OK)
        return outcome;
    if (node->kind == YAML_SEQUENCE)
        return json_array_append_new(into, value) == 0
                   ? OK
                   : yaml_fail(err, node, "no memory for this list");
    const struct yaml_node *key = node->keys[i];
    if (text_has_nul(key->text, key->length)) {
        json_decref(value);
        return yaml_fail(err, key, "a key holds a NUL character; leave it out");
    }
    return json_object_set_new(into, key->text, value) == 0
               ? OK
               : yaml_fail(err, node, "no memory for this mapping");
}

enum outcome yaml_to_json(const struct yaml_node *node, json_t **out, struct error *err)
{
    *out = NULL;
    if (node->kind == YAML_SCALAR)
        return scalar_to_json(node, out, err);
    json_t *into = node->kind == YAML_MAPPING ? json_object() : json_array();
    if (!into)
        return yaml_fail(err, node, "no memory for this value");
    for (size_t i = 0; i < node->count; i++) {
        enum outcome outcome = member_to_json(node, i, into, err);
        if (outcome != OK) {
            json_decref(into);
            return outcome;
        }
    }
    *out = into;
    return OK;
}
/* NOLINTEND(misc-no-recursion) */
