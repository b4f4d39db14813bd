/*
 * test_json_schema_suite.c -- the JSON Schema Test Suite, in two editions that Debian has.
 *
 *     draft 2020-12  libtest-json-schema-acceptance-perl
 *     draft 7        json-schema-test-suite: the older spelling of the same keywords
 *
 * Each file of a keyword that json_schema.h supports is run as a whole.  What is left out
 * stands in `left_out`, each with its reason: a case that is listed there has to fail, or
 * the list is wrong.  A group counts as failed as a whole when its schema is refused.
 *
 * Not run are the files of keywords that are refused (unevaluatedItems, unevaluatedProperties,
 * anchor, dynamicRef, id, vocabulary, dependencies) or that pawl does not check (format/), those
 * that need other documents (refRemote, cross-draft), and bignum, for json.h refuses integers
 * beyond 64 bits before any schema is asked.
 */
#include "common/json.h"
#include "common/json_schema.h"
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <unistd.h>

struct suite {
    const char *name, *package, *directory;
    const char *const *files;
};

static const char *const files_2020[] = {
    "additionalProperties",
    "allOf",
    "anyOf",
    "boolean_schema",
    "const",
    "contains",
    "content",
    "default",
    "defs",
    "dependentRequired",
    "dependentSchemas",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if-then-else",
    "infinite-loop-detection",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "ref",
    "required",
    "type",
    "uniqueItems",
    "unknownKeyword",

    "optional/ecmascript-regex",
    "optional/float-overflow",
    "optional/no-schema",
    "optional/non-bmp-regex",
    "optional/unicode",
    "optional/refOfUnknownKeyword",
    NULL,
};

static const char *const files_7[] = {
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "boolean_schema",
    "const",
    "contains",
    "default",
    "definitions",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if-then-else",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "properties",
    "propertyNames",
    "ref",
    "required",
    "type",
    "uniqueItems",

    "optional/ecmascript-regex",
    "optional/zeroTerminatedFloats",
    NULL,
};

static const struct suite suites[] = {
    { "2020-12", "libtest-json-schema-acceptance-perl",
      "/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance/tests/draft2020-12",
      files_2020 },
    { "7", "json-schema-test-suite", "/usr/share/json-schema-test-suite/tests/draft7", files_7 },
};

#define OUTWARD "refers to another schema, or by an $id; only '#/...' is followed"
#define ID_BELOW "has an $id below the root, which would turn references elsewhere"
#define UNEVALUATED "has unevaluatedProperties, which is refused"
#define UNKNOWN "has an unknown keyword, which is refused"
#define FORMAT "has 'format' checked, which says something here and checks nothing"
#define SIBLINGS "draft 7 ignores what stands beside $ref; it counts since draft 2019-09"

static const struct {
    const char *file, *group, *test; /* test NULL: the whole group, its schema is refused */
    const char *reason;
} left_out[] = {
    { "2020-12/defs", "validate definition against metaschema", NULL, OUTWARD },
    { "2020-12/not", "collect annotations inside a 'not', even if collection is disabled", NULL,
      UNEVALUATED },
    { "2020-12/ref", "remote ref, containing refs itself", NULL, OUTWARD },
    { "2020-12/ref", "Recursive references between schemas", NULL, OUTWARD },
    { "2020-12/ref", "ref creates new scope when adjacent to keywords", NULL, UNEVALUATED },
    { "2020-12/ref", "refs with relative uris and defs", NULL, ID_BELOW },
    { "2020-12/ref", "relative refs with absolute uris and defs", NULL, ID_BELOW },
    { "2020-12/ref", "$id must be resolved against nearest parent, not just immediate parent", NULL,
      ID_BELOW },
    { "2020-12/ref", "order of evaluation: $id and $ref", NULL, OUTWARD },
    { "2020-12/ref", "order of evaluation: $id and $anchor and $ref", NULL, OUTWARD },
    { "2020-12/ref", "simple URN base URI with $ref via the URN", NULL, OUTWARD },
    { "2020-12/ref", "URN base URI with f-component", NULL, OUTWARD },
    { "2020-12/ref", "URN base URI with URN and JSON pointer ref", NULL, OUTWARD },
    { "2020-12/ref", "URN base URI with URN and anchor ref", NULL, OUTWARD },
    { "2020-12/ref", "URN ref with nested pointer ref", NULL, OUTWARD },
    { "2020-12/ref", "ref to if", NULL, OUTWARD },
    { "2020-12/ref", "ref to then", NULL, OUTWARD },
    { "2020-12/ref", "ref to else", NULL, OUTWARD },
    { "2020-12/ref", "ref with absolute-path-reference", NULL, ID_BELOW },
    { "2020-12/unknownKeyword", "$id inside an unknown keyword is not a real identifier", NULL,
      UNKNOWN },
    { "2020-12/optional/refOfUnknownKeyword", "reference of a root arbitrary keyword ", NULL,
      UNKNOWN },
    { "2020-12/optional/refOfUnknownKeyword", "reference of an arbitrary keyword of a sub-schema",
      NULL, UNKNOWN },
    { "7/definitions", "valid definition", NULL, OUTWARD },
    { "7/definitions", "invalid definition", NULL, OUTWARD },
    { "7/ref", "escaped pointer ref", NULL, UNKNOWN },
    { "7/ref", "ref overrides any sibling keywords", "ref valid, maxItems ignored", SIBLINGS },
    { "7/ref", "remote ref, containing refs itself", NULL, OUTWARD },
    { "7/ref", "Recursive references between schemas", NULL, OUTWARD },
    { "2020-12/optional/ecmascript-regex", "\\a is not an ECMA 262 control escape", NULL, OUTWARD },
    { "7/optional/ecmascript-regex", "ECMA 262 regex non-compliance",
      "ECMA 262 has no support for \\Z anchor from .NET", FORMAT },
};

static bool used[sizeof left_out / sizeof *left_out];
static int passed, listed, wrong;

static bool is_left_out(const char *file, const char *group, const char *test)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strcmp(left_out[i].file, file) == 0 && strcmp(left_out[i].group, group) == 0 &&
            (!left_out[i].test || (test && strcmp(left_out[i].test, test) == 0)))
            return used[i] = true;
    return false;
}

static void judge(bool right, const char *file, const char *group, const char *test,
                  const char *why)
{
    bool expected = !is_left_out(file, group, test);
    passed += right && expected;
    listed += !right && !expected;
    if (right == expected)
        return;
    wrong++;
    print_error("%s: %s: %s: %s %s\n", file, group, test ? test : "(all)",
                right ? "is right and listed as left out" : "is wrong", why);
}

static void run_group(const char *file, const json_t *group)
{
    const char *name = json_str(group, "description");
    struct json_schema_fault fault;
    struct json_schema *schema;
    size_t i;
    const json_t *test;
    if (json_schema_compile(json_object_get(group, "schema"), false, &schema, &fault) != OK) {
        char why[400];
        (void)snprintf(why, sizeof why, "#%s %s", fault.pointer, fault.text);
        judge(false, file, name, NULL, why);
        return;
    }
    json_array_foreach(json_object_get(group, "tests"), i, test) {
        char why[JSON_SCHEMA_WHY_SIZE];
        int64_t work = JSON_SCHEMA_WORK;
        bool fits =
            json_schema_check(schema, json_object_get(test, "data"), "the value", &work, why) == OK;
        judge(fits == json_is_true(json_object_get(test, "valid")), file, name,
              json_str(test, "description"), why);
        assert_true(fits == !*why);
    }
    json_schema_free(schema);
}

static void run_file(const struct suite *suite, const char *name)
{
    char path[300], file[100];
    json_error_t error;
    size_t i;
    const json_t *group;
    (void)snprintf(path, sizeof path, "%s/%s.json", suite->directory, name);
    (void)snprintf(file, sizeof file, "%s/%s", suite->name, name);
    json_t *groups = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!groups)
        fail_msg("%s: %s", path, error.text);
    json_array_foreach(groups, i, group)
        run_group(file, group);
    json_decref(groups);
}

static void run_suite(const struct suite *suite)
{
    if (access(suite->directory, R_OK) != 0) {
        print_message("Debian's package %s is not installed: ./dev deps test\n", suite->package);
        skip();
    }
    passed = listed = wrong = 0;
    for (const char *const *file = suite->files; *file; file++)
        run_file(suite, *file);
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strncmp(left_out[i].file, suite->name, strlen(suite->name)) == 0 && !used[i]) {
            print_error("%s: %s: listed as left out, and not there\n", left_out[i].file,
                        left_out[i].group);
            wrong++;
        }
    print_message("draft %s: %d cases right, %d left out\n", suite->name, passed, listed);
    assert_int_equal(wrong, 0);
    assert_true(passed > 300); /* neither edition has lost its files */
}

static void draft_2020_12(void **state)
{
    (void)state;
    run_suite(&suites[0]);
}

static void draft_7(void **state)
{
    (void)state;
    run_suite(&suites[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draft_2020_12),
        cmocka_unit_test(draft_7),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
