/*
 * test_json_schema.c -- what a check says, what a schema is refused for, and the bounds.
 * That each keyword means what the draft says is test_json_schema_suite.c.
 */
#include "common/json.h"
#include "common/json_schema.h"
#include "common/memory.h"
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <time.h>

static json_t *source;
static struct json_schema *schema;
static char why[JSON_SCHEMA_WHY_SIZE];

static json_t *value_of(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        fail_msg("%s: %s", text, error.text);
    return value;
}

static void use(const char *text)
{
    struct json_schema_fault fault;
    json_schema_free(schema);
    json_decref(source);
    source = value_of(text);
    if (json_schema_compile(source, true, &schema, &fault) != OK)
        fail_msg("%s: #%s %s", text, fault.pointer, fault.text);
}

static int clean_up(void **state)
{
    (void)state;
    json_schema_free(schema);
    json_decref(source);
    schema = NULL;
    source = NULL;
    return 0;
}

static enum outcome check(const char *text)
{
    json_t *value = value_of(text);
    int64_t work = JSON_SCHEMA_WORK;
    enum outcome outcome = json_schema_check(schema, value, "the argument object", &work, why);
    json_decref(value);
    return outcome;
}

static void says(const char *text, const char *expected, const char *file, int line)
{
    if (check(text) == OK)
        fail_at(file, line, "%s fits", text);
    if (strcmp(why, expected) != 0)
        fail_at(file, line, "%s\n expected '%s'\n got      '%s'", text, expected, why);
}
#define SAYS(text, expected) says(text, expected, __FILE__, __LINE__)
#define FITS(text)                         \
    do {                                   \
        if (check(text) != OK)             \
            fail_msg("%s: %s", text, why); \
    } while (0)

/* ---- sentences ------------------------------------------------------------------------- */

static const char invoice[] =
    "{\"type\":\"object\",\"required\":[\"customer\",\"amount\"],\"additionalProperties\":false,"
    "\"properties\":{\"customer\":{\"type\":\"string\",\"minLength\":2},"
    "\"amount\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"multipleOf\":0.01},"
    "\"currency\":{\"enum\":[\"EUR\",\"USD\"]},\"kind\":{\"const\":\"invoice\"},"
    "\"note\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]},"
    "\"lines\":{\"type\":\"array\",\"maxItems\":3,\"uniqueItems\":true,\"items\":{\"type\":"
    "\"object\",\"properties\":{\"sku\":{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}-\\\\d+$\"},"
    "\"n\":{\"type\":\"integer\"}},\"required\":[\"sku\"],\"additionalProperties\":false}}}}";

static void a_sentence_says_where_what_and_what_is_wanted(void **state)
{
    (void)state;
    use(invoice);
    FITS("{\"customer\":\"Ada\",\"amount\":12.35,\"note\":null,\"lines\":[{\"sku\":\"AB-1\"}]}");
    FITS("{\"customer\":\"\\u00e9\\u00e9\",\"amount\":1e3,\"lines\":[{\"sku\":\"AB-1\",\"n\":2.0}]"
         "}");
    SAYS("[]", "the argument object is an array of 0 items; an object is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":\"12\"}",
         "/amount is the string \"12\"; a number is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":0}", "/amount is 0; more than 0 is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1.005}",
         "/amount is 1.005; a multiple of 0.01 is wanted");
    SAYS("{\"customer\":\"\\u00e9\",\"amount\":1}",
         "/customer has 1 character; at least 2 are wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"currency\":\"GBP\"}",
         "/currency is the string \"GBP\"; one of \"EUR\", \"USD\" is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"kind\":{\"a\":1}}",
         "/kind is an object; \"invoice\" is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"note\":5}",
         "/note is the number 5; a string or null is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"lines\":[{\"sku\":\"AB-1\"},{\"sku\":\"ab\"}]}",
         "/lines/1/sku is the string \"ab\"; text that matches the regular expression "
         "^[A-Z]{2}-\\d+$ is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"lines\":[{\"sku\":\"AB-1\",\"n\":1.5}]}",
         "/lines/0/n is the number 1.5; an integer is wanted");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"lines\":[{\"sku\":\"AB-1\",\"n\":1},{\"n\":1.0,"
         "\"sku\":\"AB-1\"}]}",
         "/lines has the same item at 0 and 1; no two may be equal");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"lines\":[1,2,3,4]}",
         "/lines has 4 items; at most 3 are wanted");
}

static void members_that_are_missing_or_too_many_are_named(void **state)
{
    (void)state;
    use(invoice);
    SAYS("{}", "the argument object lacks 'customer', 'amount', which are required; it has no "
               "members");
    SAYS("{\"custmer\":\"Ada\",\"amount\":1}",
         "the argument object lacks 'customer', which is required; it has 'custmer', 'amount'");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"amuont\":1}",
         "the argument object has 'amuont', which is not allowed; did you mean 'amount'?");
    SAYS("{\"customer\":\"Ada\",\"amount\":1,\"lines\":[{\"sku\":\"AB-1\",\"zzzzzzz\":1}]}",
         "/lines/0 has 'zzzzzzz', which is not allowed; allowed are 'sku', 'n'");
    use("{\"additionalProperties\":false}");
    SAYS("{\"a\":1}", "the argument object has 'a', which is not allowed; allowed are no members");
    use("{\"dependentRequired\":{\"card\":[\"address\"]}}");
    FITS("{\"address\":1}");
    SAYS("{\"card\":1}",
         "the argument object has 'card' and lacks 'address', which must then be there too");
    use("{\"propertyNames\":{\"pattern\":\"^[a-z]+$\"}}");
    SAYS("{\"A/b\":1}", "the name of /A~1b is the string \"A/b\"; text that matches the regular "
                        "expression ^[a-z]+$ is wanted");
    use("{\"properties\":{\"a\":false}}");
    SAYS("{\"a\":1}", "/a is not allowed; leave it out");
}

static const char shapes[] =
    "{\"properties\":{\"shape\":{\"oneOf\":[{\"$ref\":\"#/$defs/circle\"},{\"$ref\":"
    "\"#/$defs/square\"}]}},\"$defs\":{\"circle\":{\"type\":\"object\",\"properties\":{\"kind\":{"
    "\"const\":\"circle\"},\"r\":{\"type\":\"number\"}},\"required\":[\"kind\",\"r\"]},\"square\":{"
    "\"type\":\"object\",\"properties\":{\"kind\":{\"enum\":[\"square\"]},\"side\":{\"type\":"
    "\"number\"}},\"required\":[\"kind\",\"side\"]}}}";

static void of_several_forms_the_nearest_is_spoken_of(void **state)
{
    (void)state;
    use(shapes);
    FITS("{\"shape\":{\"kind\":\"square\",\"side\":1}}");
    SAYS("{\"shape\":{\"kind\":\"square\"}}",
         "/shape lacks 'side', which is required; it has 'kind'");
    SAYS("{\"shape\":{\"kind\":\"circle\",\"r\":\"1\"}}",
         "/shape/r is the string \"1\"; a number is wanted");
    SAYS("{\"shape\":{\"kind\":\"hexagon\"}}",
         "/shape/kind is the string \"hexagon\"; one of \"circle\", \"square\" is wanted");
    SAYS("{\"shape\":5}", "/shape is the number 5; an object is wanted");
    SAYS("{\"shape\":{}}", "/shape lacks 'kind', 'r', which are required; it has no members (or "
                           "another of the 2 forms of /shape)");
    use("{\"anyOf\":[{\"type\":\"integer\",\"minimum\":5},{\"type\":\"array\",\"items\":{\"type\":"
        "\"integer\"}},{\"type\":\"null\"}]}");
    SAYS("\"x\"",
         "the argument object is the string \"x\"; an array, an integer or null is wanted");
    SAYS("3", "the argument object is 3; at least 5 is wanted");
    SAYS("[1,\"2\"]", "/1 is the string \"2\"; an integer is wanted");
    use("{\"anyOf\":[{\"anyOf\":[{\"maxItems\":0},{\"maxItems\":1}]},{\"maxItems\":2}]}");
    SAYS("[1,2,3]", "the argument object has 3 items; at most 0 are wanted (or another of the 2 "
                    "forms of the argument object)");
    use("{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}");
    SAYS("3", "the argument object fits more than one of the forms of which exactly one is wanted "
              "(numbers 1 and 2 of 'oneOf')");
    use("{\"not\":{\"type\":\"string\"}}");
    SAYS("\"x\"", "the argument object is the string \"x\", of a form that 'not' excludes");
    use("{\"contains\":{\"const\":1},\"maxContains\":1}");
    SAYS("[2]", "the argument object has 0 items of the form that 'contains' describes; at least 1 "
                "is wanted");
    SAYS("[1,1]", "the argument object has 2 items of the form that 'contains' describes; at most "
                  "1 is wanted");
}

/* A form that fits takes back nothing, so what it asks quietly must stay unsaid. */
static void what_was_asked_quietly_is_not_said(void **state)
{
    (void)state;
    use("{\"allOf\":[{\"anyOf\":[{\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":"
        "\"null\"}}}}},true]},{\"if\":{\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":"
        "\"array\"}}}}},\"else\":{\"maxProperties\":0}}]}");
    SAYS("{\"a\":{\"b\":1}}", "the argument object has 1 member; at most 0 are wanted");
}

static void foreign_text_is_shown_safely_and_bounded(void **state)
{
    (void)state;
    use("{\"additionalProperties\":{\"additionalProperties\":{\"type\":\"integer\"}}}");
    SAYS("{\"a\\u001b[2J\":{\"\\u202e\":\"\\n\\u0000\"}}",
         "/a\\x1b[2J/\\u{202e} is the string \"\\n\\x00\"; an integer is wanted");
    char text[2100], key[900];
    memset(key, 'k', sizeof key);
    (void)snprintf(text, sizeof text, "{\"%.800s\":{\"%.800s\":\"%.400s\"}}", key, key, key);
    assert_int_equal(check(text), REFUSED);
    assert_true(strlen(why) < 300);
    /* a name of two-byte characters is cut between two of them */
    for (size_t i = 0; i + 1 < sizeof key; i += 2)
        memcpy(key + i, "\xc3\xa9", 2);
    for (int n = 0; n < 8; n++) {
        (void)snprintf(text, sizeof text, "{\"%.*s%.800s\":{\"%.800s\":\"%.400s\"}}", n, "aaaaaaaa",
                       key, key, key);
        assert_int_equal(check(text), REFUSED);
        json_t *shown = json_string(why);
        assert_non_null(shown); /* UTF-8 */
        json_decref(shown);
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void numbers_are_what_they_are_written_as(void **state)
{
    (void)state;
    use("{\"multipleOf\":0.1}");
    FITS("0.3");
    FITS("1e300");
    FITS("-0.7");
    FITS("0");
    FITS("0.0");
    assert_int_equal(check("0.35"), REFUSED);
    use("{\"multipleOf\":3}");
    FITS("9223372036854775806");
    assert_int_equal(check("-9223372036854775808"), REFUSED); /* 2^63 */
    use("{\"multipleOf\":1e-8}");
    FITS("12391239123");
    use("{\"maximum\":9007199254740992}");
    assert_int_equal(check("9007199254740993"), REFUSED); /* no double */
    FITS("9007199254740992.0");
    use("{\"exclusiveMinimum\":9223372036854775807}");
    assert_int_equal(check("9223372036854775807"), REFUSED);
    FITS("9223372036854775808.0");
    use("{\"minimum\":1.5,\"exclusiveMaximum\":2.5}");
    assert_int_equal(check("1"), REFUSED);
    FITS("2");
    assert_int_equal(check("3"), REFUSED);
    use("{\"minimum\":-1.5}");
    FITS("-1");
    assert_int_equal(check("-2"), REFUSED);
    use("{\"enum\":[1,2.5]}");
    FITS("1.0");
    FITS("2.5");
    use("{\"uniqueItems\":true}");
    assert_int_equal(check("[0.0,-0.0]"), REFUSED);
    assert_int_equal(check("[{\"a\":1,\"b\":[2]},{\"b\":[2.0],\"a\":1.0}]"), REFUSED);
    FITS("[1,true,\"1\",[1],{\"1\":1},null,false,0]");
}

/* ---- schemas that are refused -------------------------------------------------------------------
 */

static void refused(const char *text, const char *pointer, const char *part, const char *file,
                    int line)
{
    struct json_schema_fault fault;
    struct json_schema *none;
    json_t *value = value_of(text);
    if (json_schema_compile(value, false, &none, &fault) == OK)
        fail_at(file, line, "%s was taken", text);
    assert_null(none);
    if (strcmp(fault.pointer, pointer) != 0 || !strstr(fault.text, part))
        fail_at(file, line, "%s: #%s %s", text, fault.pointer, fault.text);
    json_decref(value);
}
#define REFUSES(text, pointer, part) refused(text, pointer, part, __FILE__, __LINE__)

static void schemas_that_cannot_be_checked_are_refused(void **state)
{
    (void)state;
    REFUSES("5", "", "is the number 5; write a schema");
    REFUSES("{\"properties\":{\"a/b~c\":{\"foo\":1}}}", "/properties/a~1b~0c/foo", "'foo' is not");
    REFUSES("{\"items\":{\"$id\":\"x\"}}", "/items/$id", "below the root");
    REFUSES("{\"$anchor\":\"x\"}", "/$anchor", "put the schema under '$defs'");
    REFUSES("{\"$dynamicRef\":\"#x\"}", "/$dynamicRef", "write '$ref'");
    REFUSES("{\"dependencies\":{}}", "/dependencies", "write 'dependentRequired'");
    REFUSES("{\"$schema\":\"https://example.com/mine\"}", "/$schema", "2020-12");
    REFUSES("{\"exclusiveMinimum\":true}", "/exclusiveMinimum", "write a number");
    REFUSES("{\"minLength\":1.5}", "/minLength", "a whole number");
    REFUSES("{\"prefixItems\":[{}],\"items\":[{}]}", "/items", "since 'prefixItems' is there");
    REFUSES("{\"additionalItems\":5,\"items\":{}}", "/additionalItems", "write a schema");
    REFUSES("{\"required\":[1]}", "/required/0", "the name of a property");
    REFUSES("{\"patternProperties\":{\"(\":{}}}", "/patternProperties/(", "is not closed");
    REFUSES("{\"pattern\":\"a++\"}", "/pattern", "'+' repeats nothing");
}

static void references_lead_to_schemas_here(void **state)
{
    (void)state;
    REFUSES("{\"$ref\":\"other.json\"}", "/$ref", "a place in this schema");
    REFUSES("{\"$ref\":\"#anchor\"}", "/$ref", "a place in this schema");
    REFUSES("{\"$ref\":\"#/$defs/a\"}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/default\",\"default\":{}}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/const\",\"const\":{}}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/$defs\",\"$defs\":{}}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/allOf/01\",\"allOf\":[{},{}]}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/allOf/2\",\"allOf\":[{},{}]}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/$defs/%zz\",\"$defs\":{}}", "/$ref", "is no schema here");
    REFUSES("{\"$ref\":\"#/$defs/a~2\",\"$defs\":{\"a~2\":{}}}", "/$ref", "is no schema here");
    use("{\"$ref\":\"#/$defs/a%25~1b%22\",\"$defs\":{\"a%/b\\\"\":{\"type\":\"null\"}}}");
    FITS("null");
    assert_int_equal(check("1"), REFUSED);
    use("{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"items\":{\"$ref\":\"#/properties/"
        "a\"}},"
        "\"c\":{\"$ref\":\"#/properties/b/items\"}}}");
    assert_int_equal(check("{\"c\":1}"), REFUSED);
    FITS("{\"c\":null,\"b\":[null]}");
}

static void a_circle_must_go_deeper(void **state)
{
    (void)state;
    REFUSES("{\"$ref\":\"#\"}", "/$ref", "comes back here");
    REFUSES("{\"allOf\":[{\"not\":{\"$ref\":\"#\"}}]}", "/allOf/0/not/$ref", "comes back here");
    REFUSES("{\"dependentSchemas\":{\"a\":{\"$ref\":\"#\"}}}", "/dependentSchemas/a/$ref",
            "comes back here");
    REFUSES("{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]"
            "}}}",
            "/$defs/b/anyOf/0/$ref", "comes back here");
    use("{\"type\":\"object\",\"properties\":{\"child\":{\"$ref\":\"#\"},\"list\":{\"items\":{"
        "\"$ref\":\"#\"}}}}");
    FITS("{\"child\":{\"list\":[{},{\"child\":{}}]}}");
    SAYS("{\"child\":{\"list\":[{},{\"child\":1}]}}",
         "/child/list/1/child is the number 1; an object is wanted");
}

static void older_spellings_mean_what_they_meant(void **state)
{
    (void)state;
    use("{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"items\":[{\"type\":\"null\"}],"
        "\"additionalItems\":{\"type\":\"integer\"},\"definitions\":{\"a\":true}}");
    FITS("[null,1,2]");
    SAYS("[null,1,\"2\"]", "/2 is the string \"2\"; an integer is wanted");
    use("{\"items\":{\"type\":\"null\"},\"additionalItems\":false}");
    FITS("[null,null]");
    use("{\"type\":\"string\",\"nullable\":true,\"example\":\"x\",\"discriminator\":{}}");
    FITS("null");
    assert_int_equal(check("1"), REFUSED);
    use("{\"type\":\"string\",\"nullable\":false}");
    assert_int_equal(check("null"), REFUSED);
}

/* ---- bounds
 * ----------------------------------------------------------------------------------------- */

static char *repeat(const char *head, const char *piece, int times, const char *tail)
{
    size_t n = strlen(piece);
    char *text = xmalloc(strlen(head) + n * (size_t)times + strlen(tail) + 1), *at = text;
    at += sprintf(at, "%s", head); // NOLINT
    for (int i = 0; i < times; i++) {
        memcpy(at, piece, n);
        at += n;
    }
    memcpy(at, tail, strlen(tail) + 1);
    return text;
}

static void schemas_have_limits(void **state)
{
    (void)state;
    struct json_schema_fault fault;
    struct json_schema *none;
    AUTO_FREE char *many = repeat("{\"allOf\":[", "{},", JSON_SCHEMA_NODES_MAX, "{}]}");
    REFUSES(many, "/allOf/9999", "one schema too many");
    AUTO_FREE char *open = repeat("", "{\"not\":", 100, "true");
    AUTO_FREE char *deep = repeat(open, "}", 100, "");
    json_t *value = value_of(deep);
    assert_int_equal(json_schema_compile(value, false, &none, &fault), REFUSED);
    assert_contains(fault.text, "within more than 64");
    json_decref(value);
    AUTO_FREE char *patterns =
        repeat("{\"allOf\":[", "{\"pattern\":\"(?:ab){500}\"},", 500, "{}]}");
    value = value_of(patterns);
    assert_int_equal(json_schema_compile(value, false, &none, &fault), REFUSED);
    assert_contains(fault.text, "larger than 1024 KiB in all");
    json_decref(value);
}

/* 2^60 ways through the schema; and a regular expression with as many. */
static void a_check_ends_when_its_work_is_used_up(void **state)
{
    (void)state;
    char text[8192];
    int at = snprintf(text, sizeof text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 60; i++)
        at +=
            snprintf(text + at, sizeof text - (size_t)at,
                     "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},",
                     i, i + 1, i + 1);
    (void)snprintf(text + at, sizeof text - (size_t)at, "\"d60\":{\"type\":\"null\"}}}");
    struct timespec began, ended;
    json_t *wide = value_of(text);
    struct json_schema_fault fault;
    struct json_schema *none;
    assert_int_equal(json_schema_compile(wide, false, &none, &fault), REFUSED);
    assert_contains(fault.text, "too many schemas");
    json_decref(wide);
    at = snprintf(text, sizeof text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 25; i++)
        at +=
            snprintf(text + at, sizeof text - (size_t)at,
                     "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},",
                     i, i + 1, i + 1);
    (void)snprintf(text + at, sizeof text - (size_t)at, "\"d25\":{\"type\":\"null\"}}}");
    use(text);
    FITS("null");
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
    SAYS("1", "the argument object is too large or too intricate to be checked against the "
              "schema; send less at a time");
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
    assert_true(ended.tv_sec - began.tv_sec < 5);
    /* what nobody knows is no: also within a `not` */
    use("{\"not\":{\"pattern\":\"^(a+)+$\"}}");
    FITS("\"b\"");
    assert_int_equal(check("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\""), REFUSED);
    assert_contains(why, "too intricate");
    use("{\"if\":{\"pattern\":\"^(a+)+$\"},\"then\":false}");
    assert_int_equal(check("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\""), REFUSED);
}

/* 2^25 ways to a leaf that costs more than a step: each has to pay what it costs. */
static void what_costs_more_than_a_step_pays_for_it(void **state)
{
    (void)state;
    static const char *const leaves[] = {
        "\"maxLength\":3",
        "\"items\":{\"multipleOf\":1e-300},\"contains\":false",
        "\"uniqueItems\":true,\"contains\":false",
        "\"required\":[\"x\"]",
    };
    char tree[4096];
    struct timespec began, ended;
    int at = snprintf(tree, sizeof tree, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 25; i++)
        at +=
            snprintf(tree + at, sizeof tree - (size_t)at,
                     "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},",
                     i, i + 1, i + 1);
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        (void)snprintf(tree + at, sizeof tree - (size_t)at, "\"d25\":{%s}}}", leaves[i]);
        use(tree);
        AUTO_FREE char *text = i == 0   ? repeat("\"", "xxxxxxxxxx", 10000, "\"")
                               : i == 1 ? repeat("[", "1.23456789012345e300,", 3, "1]")
                               : i == 2 ? repeat("[", "[],[[]],[1],", 1, "0]")
                                        : repeat("{", "", 0, "}");
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
        assert_int_equal(check(text), REFUSED);
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
        assert_contains(why, "too intricate");
        if (ended.tv_sec - began.tv_sec > 10) /* under sanitizers, too */
            fail_msg("%s took %ld s", leaves[i], (long)(ended.tv_sec - began.tv_sec));
    }
}

static void a_large_value_is_checked_in_time(void **state)
{
    (void)state;
    AUTO_FREE char *items = repeat("[", "{\"n\":1,\"s\":\"abc\"},", 30000, "{}]");
    use("{\"items\":{\"properties\":{\"n\":{\"type\":\"integer\"},\"s\":{\"enum\":[\"x\",\"abc\"]}}"
        ","
        "\"additionalProperties\":false}}");
    FITS(items);
    AUTO_FREE char *numbers = repeat("[", "1e5,", 99990, "0]");
    use("{\"uniqueItems\":true}");
    assert_int_equal(check(numbers), REFUSED);
    assert_contains(why, "no two may be equal");
    char *text = xmalloc(1000000), *at = text;
    at += sprintf(at, "["); // NOLINT
    for (int i = 0; i < 99000; i++)
        at += sprintf(at, "%d,", i); // NOLINT
    (void)sprintf(at, "-1]");        // NOLINT
    FITS(text);
    free(text);
}

static void work_is_shared_by_who_shares_it(void **state)
{
    (void)state;
    use("{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}");
    json_t *value = value_of("[1,2,3]");
    int64_t work = 10;
    assert_int_equal(json_schema_check(schema, value, "it", &work, why), OK);
    assert_int_equal(work, 6);
    assert_int_equal(json_schema_check(schema, value, "it", &work, why), OK);
    assert_int_equal(json_schema_check(schema, value, "it", &work, why), REFUSED);
    assert_contains(why, "/1 is too large");
    json_decref(value);
    /* what ran out in the middle of a comparison is no answer, whatever it looks like */
    use("{\"not\":{\"const\":[[1],[2],[3],[4]]}}");
    value = value_of("[[1],[2],[3],[4]]");
    for (work = 1; work <= 11; work++) {
        int64_t left = work;
        assert_int_equal(json_schema_check(schema, value, "it", &left, why), REFUSED);
    }
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentence_says_where_what_and_what_is_wanted),
        cmocka_unit_test(members_that_are_missing_or_too_many_are_named),
        cmocka_unit_test(of_several_forms_the_nearest_is_spoken_of),
        cmocka_unit_test(what_was_asked_quietly_is_not_said),
        cmocka_unit_test(foreign_text_is_shown_safely_and_bounded),
        cmocka_unit_test(numbers_are_what_they_are_written_as),
        cmocka_unit_test(schemas_that_cannot_be_checked_are_refused),
        cmocka_unit_test(references_lead_to_schemas_here),
        cmocka_unit_test(a_circle_must_go_deeper),
        cmocka_unit_test(older_spellings_mean_what_they_meant),
        cmocka_unit_test(schemas_have_limits),
        cmocka_unit_test(a_check_ends_when_its_work_is_used_up),
        cmocka_unit_test(what_costs_more_than_a_step_pays_for_it),
        cmocka_unit_test(a_large_value_is_checked_in_time),
        cmocka_unit_test(work_is_shared_by_who_shares_it),
    };
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
