/*
 * fuzz_json_schema.c -- any schema is compiled or refused with its place, and any value fits
 * it or is told why: within the work that was given, in UTF-8, the same each time, and in
 * accordance with what `not`, `anyOf`, `oneOf`, `allOf` and `if` make of that answer.
 *
 * The first line is the schema, the rest the value, both as JSON.
 */
#include "common/json.h"
#include "common/json_schema.h"
#include "common/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORK = 200000 };

enum answer { FITS, FITS_NOT, TOO_MUCH };

static void require(bool condition)
{
    if (!condition)
        abort();
}

static enum answer check(const struct json_schema *schema, const json_t *value,
                         char why[JSON_SCHEMA_WHY_SIZE])
{
    int64_t work = WORK;
    memset(why, 'x', JSON_SCHEMA_WHY_SIZE);
    enum outcome outcome = json_schema_check(schema, value, "the value", &work, why);
    size_t length = strnlen(why, JSON_SCHEMA_WHY_SIZE);
    require(length < JSON_SCHEMA_WHY_SIZE && text_is_utf8(why, length));
    require((outcome == OK) == (length == 0));
    require(work <= WORK && (outcome == REFUSED || work >= 0));
    if (outcome == OK)
        return FITS;
    return strstr(why, "too intricate") ? TOO_MUCH : FITS_NOT;
}

/* The schema within another one, which is the same answer or the opposite. */
static void check_within(json_t *around, const json_t *value, enum answer expected)
{
    struct json_schema *schema;
    struct json_schema_fault fault;
    char why[JSON_SCHEMA_WHY_SIZE];
    if (json_schema_compile(around, false, &schema, &fault) == OK) { /* else: one too many */
        enum answer answer = check(schema, value, why);
        require(answer == expected || answer == TOO_MUCH);
        json_schema_free(schema);
    }
    json_decref(around);
}

static void check_combinations(json_t *source, const json_t *value, enum answer answer)
{
    enum answer opposite = answer == FITS ? FITS_NOT : FITS;
    check_within(json_pack("{s:O}", "not", source), value, opposite);
    check_within(json_pack("{s:{s:O}}", "not", "not", source), value, answer);
    check_within(json_pack("{s:[bO]}", "anyOf", 0, source), value, answer);
    check_within(json_pack("{s:[OO]}", "allOf", source, source), value, answer);
    check_within(json_pack("{s:[Ob]}", "oneOf", source, 0), value, answer);
    check_within(json_pack("{s:[OO]}", "oneOf", source, source), value, FITS_NOT);
    check_within(json_pack("{s:O,s:b,s:b}", "if", source, "then", 0, "else", 1), value, opposite);
}

static void check_both(json_t *source, const json_t *value, bool movable)
{
    struct json_schema *schema;
    struct json_schema_fault fault;
    char why[JSON_SCHEMA_WHY_SIZE], again[JSON_SCHEMA_WHY_SIZE];
    if (json_schema_compile(source, false, &schema, &fault) != OK) {
        require(!schema && *fault.text && (!*fault.pointer || *fault.pointer == '/'));
        return;
    }
    enum answer answer = check(schema, value, why);
    require(check(schema, value, again) == answer && strcmp(why, again) == 0);
    json_schema_free(schema);
    if (movable && answer != TOO_MUCH)
        check_combinations(source, value, answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_limits limits = { (size_t)1 << 20, 64 };
    const char *text = (const char *)data;
    const char *end = size ? memchr(text, '\n', size) : NULL;
    json_t *source = NULL, *value = NULL;
    if (!end)
        return 0;
    size_t n = (size_t)(end - text);
    /* References and the $id are those of the root: such a schema cannot be put elsewhere. */
    bool movable = !memchr(text, '$', n) && !memchr(text, '\\', n);
    if (json_read(text, n, &limits, &source, NULL) == OK &&
        json_read(end + 1, size - n - 1, &limits, &value, NULL) == OK)
        check_both(source, value, movable);
    json_decref(source);
    json_decref(value);
    return 0;
}
