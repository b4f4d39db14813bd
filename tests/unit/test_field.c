#include "common/field.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/yaml.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

/* One table with every type, as a stranger to this module would write it. */
enum colour { RED, GREEN, BLUE };

struct inner {
    int depth;
    const char *label;
};

struct thing {
    const char *name;
    bool on;
    int count;
    int64_t wait_ms;
    int64_t grace_ms;
    size_t room;
    enum colour colour;
    int64_t price_micros;
    struct field_strings list;
    const char *key_secret;
    struct field_pairs pairs;
    json_t *options;
    struct inner inner;
    const struct yaml_node *map;
    const char *url;
    struct arena arena;
};

static const char *no_blanks(const char *text)
{
    return strchr(text, ' ') ? "a name without blanks" : NULL;
}

#define AT(member) .offset = offsetof(struct thing, member)
static const char *const colours[] = { "red", "green", "blue", NULL };
static const struct field inner_rows[] = {
    { .name = "depth",
      .type = FIELD_INT,
      .offset = offsetof(struct inner, depth),
      .otherwise = "3",
      .min = -5,
      .max = 9,
      .help = "How deep." },
    { .name = "label",
      .type = FIELD_STRING,
      .offset = offsetof(struct inner, label),
      .required = true,
      .help = "What it says.",
      .example = "hello" },
};
static const struct field_table inner_table = FIELD_TABLE_OF("'inner'", inner_rows);
static const struct field rows[] = {
    { .name = "name",
      .type = FIELD_STRING,
      AT(name),
      .required = true,
      .min = 1,
      .max = 8,
      .check = no_blanks,
      .help = "The name.",
      .example = "thing-1" },
    { .name = "on", .type = FIELD_BOOL, AT(on), .otherwise = "true", .help = "Whether." },
    { .name = "count",
      .type = FIELD_INT,
      AT(count),
      .otherwise = "7",
      .min = 1,
      .max = 10,
      .help = "How many." },
    { .name = "wait",
      .type = FIELD_DURATION,
      AT(wait_ms),
      .otherwise = "30s",
      .min = 1,
      .max = 60000,
      .help = "How long." },
    { .name = "grace", .type = FIELD_DURATION, AT(grace_ms), .help = "No default." },
    { .name = "room",
      .type = FIELD_SIZE,
      AT(room),
      .otherwise = "64KiB",
      .min = 1024,
      .max = 1 << 20,
      .help = "How large." },
    { .name = "colour",
      .type = FIELD_ENUM,
      AT(colour),
      .otherwise = "green",
      .words = colours,
      .help = "Which." },
    { .name = "price", .type = FIELD_MONEY, AT(price_micros), .help = "What it costs." },
    { .name = "list", .type = FIELD_STRINGS, AT(list), .min = 0, .max = 3, .help = "Names." },
    { .name = "key", .type = FIELD_SECRET, AT(key_secret), .help = "A secret." },
    { .name = "pairs", .type = FIELD_PAIRS, AT(pairs), .help = "Names with text." },
    { .name = "options", .type = FIELD_JSON, AT(options), .otherwise = "{}", .help = "Anything." },
    { .name = "inner", .type = FIELD_TABLE, AT(inner), .table = &inner_table, .help = "Within." },
    { .name = "map", .type = FIELD_MAP, AT(map), .table = &inner_table, .help = "Many of them." },
    { .name = "url", .type = FIELD_STRING, AT(url), .check = no_blanks, .help = "A place." },
};
static const struct field_table table = FIELD_TABLE_OF("a thing", rows);

static enum outcome read_thing(struct thing *thing, const char *text, struct error *err)
{
    struct yaml_file yaml;
    *thing = (struct thing){ 0 };
    arena_init(&thing->arena, 1 << 20);
    enum outcome outcome = yaml_read_text(&yaml, "t.yaml", text, strlen(text), NULL, err);
    if (outcome != OK)
        return outcome;
    outcome = field_read(&table, yaml.documents[0], &thing->arena, thing, err);
    thing->map = NULL; /* would point into the tree that goes now */
    yaml_release(&yaml);
    return outcome;
}

static void defaults_are_what_the_table_says(void **state)
{
    (void)state;
    struct thing thing;
    struct error err;
    assert_ok(read_thing(&thing, "name: a\n", &err), &err);
    assert_string_equal(thing.name, "a");
    assert_true(thing.on);
    assert_int_equal(thing.count, 7);
    assert_int_equal(thing.wait_ms, 30000);
    assert_int_equal(thing.grace_ms, -1);
    assert_int_equal(thing.room, 65536);
    assert_int_equal(thing.colour, GREEN);
    assert_int_equal(thing.price_micros, -1);
    assert_int_equal(thing.list.count, 0);
    assert_null(thing.key_secret);
    assert_int_equal(thing.pairs.count, 0);
    assert_int_equal(json_object_size(thing.options), 0);
    assert_int_equal(thing.inner.depth, 3);
    assert_null(thing.inner.label);
    arena_free(&thing.arena);
}

static const char full[] =
    "name: a\n"
    "on: false\n"
    "count: 10\n"
    "wait: 1m\n"
    "grace: 0\n"
    "room: 1MiB\n"
    "colour: blue\n"
    "price: 0.25\n"
    "list: [x, '1']\n"
    "key: {secret: A_KEY}\n"
    "pairs: {one: 1, two: {secret: B, prefix: 'Bearer '}, three: {secret: C}}\n"
    "options: {t: 0.5, deep: [1, null]}\n"
    "inner: {depth: -5, label: hi}\n";

static void all_types_are_read(void **state)
{
    (void)state;
    struct thing thing;
    struct error err;
    assert_ok(read_thing(&thing, full, &err), &err);
    assert_false(thing.on);
    assert_int_equal(thing.count, 10);
    assert_int_equal(thing.wait_ms, 60000);
    assert_int_equal(thing.grace_ms, 0);
    assert_int_equal(thing.room, 1 << 20);
    assert_int_equal(thing.colour, BLUE);
    assert_int_equal(thing.price_micros, 250000);
    assert_int_equal(thing.list.count, 2);
    assert_string_equal(thing.list.items[1], "1");
    assert_string_equal(thing.key_secret, "A_KEY");
    assert_int_equal(thing.pairs.count, 3);
    assert_string_equal(thing.pairs.items[0].text, "1");
    assert_null(thing.pairs.items[0].secret);
    assert_null(thing.pairs.items[1].text);
    assert_string_equal(thing.pairs.items[1].secret, "B");
    assert_string_equal(thing.pairs.items[1].prefix, "Bearer ");
    assert_string_equal(thing.pairs.items[2].prefix, "");
    assert_true(json_real_value(json_object_get(thing.options, "t")) == 0.5);
    assert_int_equal(thing.inner.depth, -5);
    arena_free(&thing.arena);
}

/* A line after "name: a", and the message it earns. */
static const char *const mistakes[][2] = {
    { "color: red", "t.yaml:2: 'color' is not a key of a thing; did you mean 'colour'?" },
    { "ON: true", "t.yaml:2: 'ON' is not a key of a thing; did you mean 'on'?" },
    { "nonsense: 1", "t.yaml:2: 'nonsense' is not a key of a thing; its keys are name, on, "
                     "count, wait, grace, room, colour, price, list, key, pairs, options, "
                     "inner, map, url" },
    { "\"a\\0b\": 1", "t.yaml:2: 'a\\x00b' is not a key of a thing; its keys are name, on, count, "
                      "wait, grace, room, colour, price, list, key, pairs, options, inner, "
                      "map, url" },
    { "on: yes", "t.yaml:2: 'on' is the text 'yes'; write true or false" },
    { "on: 'true'", "t.yaml:2: 'on' is the text 'true'; write true or false" },
    { "count: many", "t.yaml:2: 'count' is the text 'many'; write a whole number from 1 to 10" },
    { "count: 0", "t.yaml:2: 'count' is the number 0; write a whole number from 1 to 10" },
    { "count: 11", "t.yaml:2: 'count' is the number 11; write a whole number from 1 to 10" },
    { "count: 1.5", "t.yaml:2: 'count' is the number 1.5; write a whole number from 1 to 10" },
    { "count: '5'", "t.yaml:2: 'count' is the text '5'; write a whole number from 1 to 10" },
    { "count: [5]", "t.yaml:2: 'count' is a list; write a whole number from 1 to 10" },
    { "count: 99999999999999999999",
      "t.yaml:2: 'count' is the number 99999999999999999999; write a whole number from 1 to "
      "10" },
    { "count:", "t.yaml:2: 'count' has no value; write a whole number from 1 to 10, or leave "
                "the key out" },
    { "wait: 30", "t.yaml:2: 'wait' is the number 30; write a duration from 1ms to 1m" },
    { "wait: 2m", "t.yaml:2: 'wait' is the text '2m'; write a duration from 1ms to 1m" },
    { "room: 1kb", "t.yaml:2: 'room' is the text '1kb'; write a size from 1KiB to 1MiB" },
    { "room: 100", "t.yaml:2: 'room' is the number 100; write a size from 1KiB to 1MiB" },
    { "colour: pink", "t.yaml:2: 'colour' is the text 'pink'; write red, green or blue" },
    { "price: cheap", "t.yaml:2: 'price' is the text 'cheap'; write a price such as 2.5 (at "
                      "most 6 decimals)" },
    { "price: 0.0000001", "t.yaml:2: 'price' is the number 0.0000001; write a price such as "
                          "2.5 (at most 6 decimals)" },
    { "price: -1", "t.yaml:2: 'price' is the number -1; write a price such as 2.5 (at most 6 "
                   "decimals)" },
    { "list: x", "t.yaml:2: 'list' is the text 'x'; write a list of texts, like [a, b]" },
    { "list: [a, 2]", "t.yaml:2: 'list' holds the number 2; write text, in quotes if it looks "
                      "like something else" },
    { "list: [a, b, a]", "t.yaml:2: 'list' names 'a' twice; remove one" },
    { "list: [a, b, c, d]", "t.yaml:2: 'list' has 4 items; write at most 3" },
    { "inner: 4", "t.yaml:2: 'inner' is the number 4; write a mapping, like {depth: ...}" },
    { "inner: {depth: 10, label: x}",
      "t.yaml:2: 'depth' is the number 10; write a whole number from -5 to 9" },
    { "inner:\n  depth: 1", "t.yaml:3: 'label' is missing in 'inner'; add `label: hello`" },
    { "map: [a]", "t.yaml:2: 'map' is a list; write names, each with a mapping behind it" },
    { "pairs: [a]", "t.yaml:2: 'pairs' is a list; write names with text or {secret: NAME}, like "
                    "{X-Name: text}" },
    { "pairs: {a: \"x\\0y\"}", "t.yaml:2: 'a' holds a NUL character; leave it out" },
    { "pairs: {\"a\\0\": x}", "t.yaml:2: 'a\\x00' holds a NUL character; leave it out" },
    { "pairs: {a: }", "t.yaml:2: 'a' has no text; write text or {secret: NAME}" },
    { "pairs: {a: {text: b}}",
      "t.yaml:2: 'a' is not {secret: NAME}; write {secret: NAME} or {secret: NAME, prefix: "
      "TEXT}, and NAME under 'secrets' of the process file" },
    { "pairs: {a: {secret: b, prefix: 1}}",
      "t.yaml:2: 'prefix' of 'a' is not text; write text in quotes, like \"Bearer \"" },
    { "options: {n: 99999999999999999999}",
      "t.yaml:2: the number 99999999999999999999 does not fit in 64 bits; quote it to keep it "
      "as text" },
    { "url: 12", "t.yaml:2: 'url' is the number 12; to make it text, put it in quotes" },
    { "url: true", "t.yaml:2: 'url' is true; to make it text, put it in quotes" },
    { "url: \"a\\0b\"",
      "t.yaml:2: 'url' is the text 'a\\x00b'; to make it text, put it in quotes" },
};

static void mistakes_are_named_with_what_would_be_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct thing thing;
        struct error err = { "" };
        char text[256];
        snprintf(text, sizeof text, "name: a\n%s\n", mistakes[i][0]);
        enum outcome outcome = read_thing(&thing, text, &err);
        arena_free(&thing.arena);
        if (outcome != REFUSED || strcmp(err.text, mistakes[i][1]) != 0)
            fail_msg("%s: expected '%s', got '%s'", mistakes[i][0], mistakes[i][1], err.text);
    }
}

static void the_whole_is_checked_too(void **state)
{
    (void)state;
    struct thing thing;
    struct error err;
    assert_int_equal(read_thing(&thing, "\non: true\n", &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:2: 'name' is missing in a thing; add `name: thing-1`");
    arena_free(&thing.arena);
    assert_int_equal(read_thing(&thing, "- a\n", &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:1: a thing is a list; write a mapping, like `name: ...`");
    arena_free(&thing.arena);
    assert_int_equal(read_thing(&thing, "name: far too long\n", &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:1: 'name' is the text 'far too long'; write text of 1 to "
                                  "8 bytes");
    arena_free(&thing.arena);
    assert_int_equal(read_thing(&thing, "name: ''\n", &err), REFUSED);
    assert_string_equal(err.text, "t.yaml:1: 'name' is the text ''; write text of 1 to 8 bytes");
    arena_free(&thing.arena);
    assert_int_equal(read_thing(&thing, "name: a b\n", &err), REFUSED);
    assert_string_equal(err.text,
                        "t.yaml:1: 'name' is the text 'a b'; write a name without blanks");
    arena_free(&thing.arena);
}

/* People write the secret itself where its name belongs. */
static void messages_hold_no_secret(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "key: sk-live-12345", "t.yaml:2: 'key' is not {secret: NAME}; write {secret: NAME}, and "
                                "NAME under 'secrets' of the process file" },
        { "key: {secret: sk live 12345}",
          "t.yaml:2: 'secret' of 'key' is not a name; write the name of a secret: letters, digits, "
          "'_', '-' and '.', at most 64" },
        { "key: {secret: A, sk-live-12345: x}",
          "t.yaml:2: 'key' has more keys than it may; write {secret: NAME}" },
        { "pairs: {k: {secret: sk live 12345}}",
          "t.yaml:2: 'secret' of 'k' is not a name; write the name of a secret: letters, digits, "
          "'_', '-' and '.', at most 64" },
        { "url: http://u:sk-live-12345@host/a b",
          "t.yaml:2: 'url' is a URL with a user name in it; write a name without blanks" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct thing thing;
        struct error err = { "" };
        char text[256];
        snprintf(text, sizeof text, "name: a\n%s\n", cases[i][0]);
        enum outcome outcome = read_thing(&thing, text, &err);
        arena_free(&thing.arena);
        if (outcome != REFUSED || strcmp(err.text, cases[i][1]) != 0 || strstr(err.text, "12345"))
            fail_msg("%s: expected '%s', got '%s'", cases[i][0], cases[i][1], err.text);
    }
}

static void a_small_arena_refuses_and_does_not_crash(void **state)
{
    (void)state;
    struct yaml_file yaml;
    struct error err;
    size_t passed = 0;
    assert_ok(yaml_read_text(&yaml, "t.yaml", full, strlen(full), NULL, &err), &err);
    for (size_t limit = 0; limit < 2048; limit += 8) {
        struct thing thing = { 0 };
        arena_init(&thing.arena, limit);
        err.text[0] = '\0';
        enum outcome outcome = field_read(&table, yaml.documents[0], &thing.arena, &thing, &err);
        passed += outcome == OK;
        if (outcome != OK && (outcome != REFUSED || !err.text[0]))
            fail_msg("limit %zu: %s '%s'", limit, outcome_name(outcome), err.text);
        arena_free(&thing.arena);
    }
    assert_in_range(passed, 1, 2048 / 8 - 1);
    yaml_release(&yaml);
}

static void a_small_arena_refuses_bodies_too(void **state)
{
    (void)state;
    struct thing thing;
    struct error err;
    size_t passed = 0;
    assert_ok(read_thing(&thing, full, &err), &err);
    json_t *body = field_to_json(&table, &thing);
    for (size_t limit = 0; limit < 2048; limit += 8) {
        struct thing back = { 0 };
        arena_init(&back.arena, limit);
        err.text[0] = '\0';
        enum outcome outcome = field_read_json(&table, body, &back.arena, &back, &err);
        passed += outcome == OK;
        if (outcome != OK && (outcome != REFUSED || !err.text[0]))
            fail_msg("limit %zu: %s '%s'", limit, outcome_name(outcome), err.text);
        arena_free(&back.arena);
    }
    assert_in_range(passed, 1, 2048 / 8 - 1);
    json_decref(body);
    arena_free(&thing.arena);
}

static void a_struct_goes_to_json_and_back(void **state)
{
    (void)state;
    struct thing thing, back = { 0 };
    struct error err;
    assert_ok(read_thing(&thing, full, &err), &err);
    json_t *body = field_to_json(&table, &thing);
    AUTO_FREE char *text = json_dumps(body, JSON_COMPACT);
    assert_string_equal(text, "{\"name\":\"a\",\"on\":false,\"count\":10,\"wait_ms\":60000,"
                              "\"grace_ms\":0,\"room\":1048576,\"colour\":\"blue\","
                              "\"price_micros\":250000,\"list\":[\"x\",\"1\"],"
                              "\"key\":{\"secret\":\"A_KEY\"},\"pairs\":{\"one\":\"1\","
                              "\"two\":{\"secret\":\"B\",\"prefix\":\"Bearer \"},"
                              "\"three\":{\"secret\":\"C\"}},\"options\":{\"t\":0.5,"
                              "\"deep\":[1,null]},\"inner\":{\"depth\":-5,\"label\":\"hi\"}}");
    json_object_set_new(body, "newer", json_true());
    json_object_del(body, "count");
    arena_init(&back.arena, 1 << 20);
    assert_ok(field_read_json(&table, body, &back.arena, &back, &err), &err);
    assert_int_equal(back.count, 7); /* the default in place of what is missing */
    back.count = 10;
    json_decref(body);
    json_t *again = field_to_json(&table, &back);
    AUTO_FREE char *text_again = json_dumps(again, JSON_COMPACT);
    assert_string_equal(text_again, text);
    json_decref(again);
    arena_free(&thing.arena);
    arena_free(&back.arena);
}

static void bodies_of_wrong_types_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{}", "'name' of a thing is not there" },
        { "{\"name\":5}", "'name' of a thing is not text" },
        { "{\"name\":\"a b\"}", "'name' of a thing is not a name without blanks" },
        { "{\"name\":\"a\",\"on\":1}", "'on' of a thing is not true or false" },
        { "{\"name\":\"a\",\"count\":11}",
          "'count' of a thing is not a whole number from 1 to 10" },
        { "{\"name\":\"a\",\"count\":\"1\"}",
          "'count' of a thing is not a whole number from 1 to 10" },
        { "{\"name\":\"a\",\"wait_ms\":0}",
          "'wait_ms' of a thing is not a duration from 1ms to 1m" },
        { "{\"name\":\"a\",\"colour\":\"pink\"}", "'colour' of a thing is not red, green or blue" },
        { "{\"name\":\"a\",\"list\":[1]}",
          "'list' of a thing is not a list of texts, like [a, b]" },
        { "{\"name\":\"a\",\"key\":\"k\"}", "'key' of a thing is not {\"secret\": NAME}" },
        { "{\"name\":\"a\",\"pairs\":{\"x\":1}}",
          "'pairs' of a thing is not names with text or {\"secret\": NAME}" },
        { "{\"name\":\"a\",\"pairs\":[]}", "'pairs' of a thing is not an object" },
        { "{\"name\":\"a\",\"list\":{}}", "'list' of a thing is not a list of texts, like [a, b]" },
        { "{\"name\":\"a\",\"inner\":[]}", "'inner' of a thing is not an object" },
        { "{\"name\":\"a\",\"inner\":{}}", "'label' of 'inner' is not there" },
    };
    static const char hint[] =
        "; publish the definition again with this version of pawl, or upgrade pawl";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct thing thing = { 0 };
        struct error err = { "" };
        char expected[320];
        snprintf(expected, sizeof expected, "%s%s", cases[i][1], hint);
        json_t *body = json_loads(cases[i][0], 0, NULL);
        assert_non_null(body);
        arena_init(&thing.arena, 1 << 20);
        enum outcome outcome = field_read_json(&table, body, &thing.arena, &thing, &err);
        arena_free(&thing.arena);
        json_decref(body);
        if (outcome != REFUSED || strcmp(err.text, expected) != 0)
            fail_msg("%s: expected '%s', got '%s'", cases[i][0], expected, err.text);
    }
}

static const struct field *row(const char *name)
{
    for (size_t i = 0; i < table.count; i++)
        if (strcmp(table.fields[i].name, name) == 0)
            return &table.fields[i];
    fail_msg("no row %s", name);
    return NULL;
}

static void scalars_can_be_set_from_text(void **state)
{
    (void)state;
    struct thing thing = { 0 };
    struct error err;
    arena_init(&thing.arena, 1 << 20);
    assert_ok(field_set(row("count"), "4", "PAWL_COUNT", &thing.arena, &thing, &err), &err);
    assert_int_equal(thing.count, 4);
    assert_ok(field_set(row("on"), "true", "PAWL_ON", &thing.arena, &thing, &err), &err);
    assert_true(thing.on);
    assert_ok(field_set(row("url"), "12", "PAWL_URL", &thing.arena, &thing, &err), &err);
    assert_string_equal(thing.url, "12");
    assert_int_equal(field_set(row("count"), "x", "PAWL_COUNT", &thing.arena, &thing, &err),
                     REFUSED);
    assert_string_equal(err.text, "PAWL_COUNT is 'x'; write a whole number from 1 to 10");
    assert_int_equal(field_set(row("url"), "\xff", "--url", &thing.arena, &thing, &err), REFUSED);
    assert_string_equal(err.text, "--url is not UTF-8; write text");
    assert_int_equal(field_set(row("url"), "http://u:p@h/ x", "--url", &thing.arena, &thing, &err),
                     REFUSED);
    assert_string_equal(err.text, "--url cannot be used; write a name without blanks");
    assert_true(field_is_scalar(row("price")));
    assert_false(field_is_scalar(row("list")));
    assert_false(field_is_scalar(row("inner")));
    arena_free(&thing.arena);
}

static void values_are_shown_as_they_would_be_written(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "name", "a" },
        { "on", "false" },
        { "count", "10" },
        { "wait", "1m" },
        { "room", "1MiB" },
        { "colour", "blue" },
        { "price", "0.25" },
        { "list", "[x, 1]" },
        { "key", "{secret: A_KEY}" },
        { "pairs", "{one: 1, two: {secret: B}, three: {secret: C}}" },
        { "options", "{\"t\":0.5,\"deep\":[1,null]}" },
        { "url", "" },
    };
    struct thing thing;
    struct error err;
    char shown[128], small[8];
    assert_ok(read_thing(&thing, full, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(field_show(row(cases[i][0]), &thing, shown, sizeof shown), cases[i][1]);
    assert_string_equal(field_show(row("pairs"), &thing, small, sizeof small), "{one: 1");
    assert_string_equal(field_show(row("list"), &thing, small, 4), "[x,");
    thing.price_micros = 2000000;
    assert_string_equal(field_show(row("price"), &thing, shown, sizeof shown), "2");
    thing.grace_ms = -1;
    assert_string_equal(field_show(row("grace"), &thing, shown, sizeof shown), "");
    thing.list.count = 0;
    assert_string_equal(field_show(row("list"), &thing, shown, sizeof shown), "[]");
    arena_free(&thing.arena);
}

static void collect(void *self, const char *path, const struct field *field, void *within)
{
    char *all = self;
    (void)field;
    (void)within;
    strcat(all, path);
    strcat(all, " ");
}

static void the_table_is_walked_and_printed_whole(void **state)
{
    (void)state;
    char all[1024] = "";
    char *page = NULL;
    size_t size = 0;
    field_walk(&table, NULL, collect, all);
    assert_string_equal(all, "name on count wait grace room colour price list key pairs options "
                             "inner.depth inner.label map url ");
    FILE *out = open_memstream(&page, &size);
    field_print(&table, out);
    fclose(out);
    assert_contains(page, "| key | type | default | meaning |\n|---|---|---|---|\n");
    assert_contains(page, "| `name` | text | required | The name. Example: `thing-1`. |\n");
    assert_contains(page, "| `count` | number | `7` | How many. Range: from 1 to 10. |\n");
    assert_contains(page, "| `wait` | duration | `30s` | How long. Range: from 1ms to 1m. |\n");
    assert_contains(page, "| `colour` | word | `green` | Which. One of: red, green or blue. |\n");
    assert_contains(page, "| `price` | price | - | What it costs. |\n");
    assert_contains(page, "| `inner.depth` | number | `3` |");
    assert_contains(page, "| `map.NAME.depth` | number | `3` |");
    free(page);
}

static void the_nearest_word_is_found(void **state)
{
    (void)state;
    static const char *const words[] = { "timeout", "connect_timeout", "tools", "url" };
    static const char *const cases[][2] = {
        { "timout", "timeout" },
        { "tiemout", "timeout" },
        { "timeouts", "timeout" },
        { "connect-timeout", "connect_timeout" },
        { "connectTimeout", "connect_timeout" },
        { "TOOLS", "tools" },
        { "tool", "tools" },
        { "uri", "url" },
        { "foo", NULL },
        { "abc", NULL },
        { "model", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = field_nearest(cases[i][0], words, 4);
        const char *expected = cases[i][1];
        if (got != expected && (!got || !expected || strcmp(got, expected) != 0))
            fail_msg("%s: expected %s, got %s", cases[i][0], expected ? expected : "nothing",
                     got ? got : "nothing");
    }
    char endless[5000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(field_nearest(endless, words, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_what_the_table_says),
        cmocka_unit_test(all_types_are_read),
        cmocka_unit_test(mistakes_are_named_with_what_would_be_right),
        cmocka_unit_test(the_whole_is_checked_too),
        cmocka_unit_test(messages_hold_no_secret),
        cmocka_unit_test(a_small_arena_refuses_and_does_not_crash),
        cmocka_unit_test(a_small_arena_refuses_bodies_too),
        cmocka_unit_test(a_struct_goes_to_json_and_back),
        cmocka_unit_test(bodies_of_wrong_types_are_refused),
        cmocka_unit_test(scalars_can_be_set_from_text),
        cmocka_unit_test(values_are_shown_as_they_would_be_written),
        cmocka_unit_test(the_table_is_walked_and_printed_whole),
        cmocka_unit_test(the_nearest_word_is_found),
    };
    return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
