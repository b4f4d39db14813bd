#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Line and column (both from 1, columns in bytes) of an offset, for messages. */
struct place {
    size_t line, column;
};

static struct place place_of(const char *text, size_t offset)
{
    struct place place = { 1, 1 };
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else {
            place.column++;
        }
    }
    return place;
}

static enum outcome refuse_at(const char *text, size_t offset, const char *what, struct error *err)
{
    struct place place = place_of(text, offset);
    return fail(err, REFUSED, "%s (line %zu, column %zu)", what, place.line, place.column);
}

/* A raw NUL is never part of JSON, but jansson 2.14 reads over it ("[1\0]" is
 * taken as "[1]"), so it is refused here too.                               */
static enum outcome check_characters(const char *text, size_t n, struct error *err)
{
    for (size_t at = 0; at < n;) {
        uint32_t code_point;
        size_t length = text_utf8_next(text + at, n - at, &code_point);
        if (length == 0)
            return refuse_at(text, at, "the JSON text is not UTF-8", err);
        if (code_point == 0)
            return refuse_at(text, at, "the JSON text holds a NUL byte", err);
        at += length;
    }
    return OK;
}

static enum outcome refuse_over(const char *text, size_t at, const char *what, int most,
                                const char *of_what, struct error *err)
{
    char sentence[80];
    (void)snprintf(sentence, sizeof sentence, "the JSON %s %d%s", what, most, of_what);
    return refuse_at(text, at, sentence, err);
}

/* Counts brackets and commas outside of strings, before the parser recurses on any or
 * takes memory for any; what is empty counts for two values.  What is not JSON at all
 * is left for the parser to describe.                                       */
static enum outcome check_shape(const char *text, size_t n, int depth_max, struct error *err)
{
    int depth = 0, values = 1;
    bool in_string = false;
    for (size_t at = 0; at < n; at++) {
        char c = text[at];
        if (in_string) {
            if (c == '\\')
                at++; /* whatever is escaped, it does not end the string */
            else if (c == '"')
                in_string = false;
            continue;
        }
        bool opens = c == '{' || c == '[';
        in_string = c == '"';
        depth += opens ? 1 : c == '}' || c == ']' ? -1 : 0;
        values += opens || c == ',' ? 1 : 0;
        if (depth > depth_max)
            return refuse_over(text, at, "is nested deeper than", depth_max, "", err);
        if (values > JSON_VALUES_MAX)
            return refuse_over(text, at, "has more than", JSON_VALUES_MAX, " values", err);
    }
    return OK;
}

/* jansson's own words, without its position: we give that in one form. */
static enum outcome refuse_parse(const char *text, size_t n, const json_error_t *parse,
                                 struct error *err)
{
    char shown[120], what[160];
    text_bounded(shown, sizeof shown, parse->text, strlen(parse->text));
    (void)snprintf(what, sizeof what, "not valid JSON: %s", shown);
    size_t offset = parse->position > 0 ? (size_t)parse->position - 1 : 0;
    return refuse_at(text, offset < n ? offset : n, what, err);
}

enum outcome json_read(const char *text, size_t n, const struct json_limits *limits, json_t **out,
                       struct error *err)
{
    assert(limits->depth > 0 && limits->depth <= JSON_DEPTH_MAX);
    *out = NULL;
    if (n > limits->bytes)
        return fail(err, REFUSED, "the JSON text has %zu bytes; %zu are allowed", n, limits->bytes);
    enum outcome outcome = check_characters(text, n, err);
    if (outcome == OK)
        outcome = check_shape(text, n, limits->depth, err);
    if (outcome != OK)
        return outcome;

    json_error_t parse;
    json_t *value =
        json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &parse);
    if (!value)
        return refuse_parse(text, n, &parse, err);
    *out = value;
    return OK;
}

char *json_canonical(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    if (!text) {
        (void)fprintf(stderr, "cannot write a JSON value as text: out of memory, or a cycle\n");
        abort();
    }
    return text;
}

void json_digest(const json_t *value, struct digest *out)
{
    AUTO_FREE char *text = json_canonical(value);
    digest_of(text, strlen(text), out);
}

const char *json_str(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

const char *json_strn(const json_t *object, const char *key, size_t *length)
{
    const json_t *member = json_object_get(object, key);
    *length = json_string_length(member);
    return json_string_value(member);
}

const char *json_str_or(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_str(object, key);
    return text ? text : otherwise;
}

int64_t json_int_or(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *member = json_object_get(object, key);
    return json_is_integer(member) ? json_integer_value(member) : otherwise;
}

double json_num_or(const json_t *object, const char *key, double otherwise)
{
    const json_t *member = json_object_get(object, key);
    return json_is_number(member) ? json_number_value(member) : otherwise;
}

bool json_bool_or(const json_t *object, const char *key, bool otherwise)
{
    const json_t *member = json_object_get(object, key);
    return json_is_boolean(member) ? json_is_true(member) : otherwise;
}

json_t *json_obj(const json_t *object, const char *key)
{
    json_t *member = json_object_get(object, key);
    return json_is_object(member) ? member : NULL;
}

json_t *json_arr(const json_t *object, const char *key)
{
    json_t *member = json_object_get(object, key);
    return json_is_array(member) ? member : NULL;
}
