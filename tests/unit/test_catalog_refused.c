/* What `pawl agent apply` refuses, with the exact words: FILE:LINE, what is wrong,
 * what would be right.                                                      */
#include "common/catalog.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

typedef const char *const cases[][2];

/* Each case is put behind `head`, on a line of its own. */
static void check(const char *head, const char *const (*list)[2], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct catalog catalog;
        struct error err = { "" };
        char text[2048];
        snprintf(text, sizeof text, "%s%s\n", head, list[i][0]);
        enum outcome outcome =
            catalog_read_text(&catalog, "d.yaml", text, strlen(text), NULL, NULL, &err);
        if (outcome == OK)
            catalog_release(&catalog);
        if (outcome != REFUSED || strcmp(err.text, list[i][1]) != 0)
            fail_msg("%s\n expected '%s'\n got      '%s'", list[i][0], list[i][1], err.text);
    }
}
#define CHECK(head, list) check((head), (list), sizeof(list) / sizeof *(list))

static void names_and_sections(void **state)
{
    (void)state;
    static cases list = {
        { "tool: {}", "d.yaml:1: 'tool' is not a key of a file of definitions; did you mean "
                      "'tools'?" },
        { "tools: [a]", "d.yaml:1: 'tools' is a list; write names, each with a mapping behind it" },
        { "tools: {send invoice: {}}", "d.yaml:1: 'send invoice' cannot name a tool; write "
                                       "letters, digits, '_' and '-', at most 64" },
        { "tools: {a.b: {}}", "d.yaml:1: 'a.b' cannot name a tool; write letters, digits, '_' and "
                              "'-', at most 64" },
        { "tools: {a123456789012345678901234567890123456789012345678901234567890123x: {}}",
          "d.yaml:1: 'a123456789012345678901234567890123456789012345678901234567890123x' cannot "
          "name a tool; write letters, digits, '_' and '-', at most 64" },
        { "agents: {Billing: {}}",
          "d.yaml:1: 'Billing' cannot name an agent; write lower case letters, digits, '.', '_' "
          "and '-', at most 63, beginning with a letter or digit" },
        { "models: {-x: {}}",
          "d.yaml:1: '-x' cannot name a model; write lower case letters, digits, '.', '_' and "
          "'-', at most 63, beginning with a letter or digit" },
        { "tools: {a: 5}", "d.yaml:1: a tool is the number 5; write a mapping, like `description: "
                           "...`" },
        { "tools:\n  a: {description: d, http: {url: \"http://h\"}}\n---\ntools:\n  a: {}",
          "d.yaml:5: tool 'a' stands here again, first in d.yaml:2; remove one" },
    };
    CHECK("", list);
}

static void tools(void **state)
{
    (void)state;
    static cases list = {
        { "description: d", "d.yaml:3: 'http' is missing in a tool; add `http: {url: "
                            "\"http://127.0.0.1:8082/invoices\"}`" },
        { "http: {url: \"http://h\"}", "d.yaml:3: 'description' is missing in a tool; add "
                                       "`description: Sends one invoice.`" },
        { "description: d\n  http: {method: POST}",
          "d.yaml:4: 'url' is missing in 'http'; add `url: http://127.0.0.1:8082/invoices`" },
        { "http: {url: \"ftp://h/x\"}",
          "d.yaml:3: 'url' is the text 'ftp://h/x'; write a URL such as "
          "http://127.0.0.1:8082/invoices, without user name and {key}" },
        { "http: {url: \"http://u:hunter2@h/x\"}",
          "d.yaml:3: 'url' is a URL with a user name in it; write a URL such as "
          "http://127.0.0.1:8082/invoices, without user name and {key}" },
        { "http: {url: \"http:///x\"}",
          "d.yaml:3: 'url' is the text 'http:///x'; write a URL such as "
          "http://127.0.0.1:8082/invoices, without user name and {key}" },
        { "http: {url: \"http://h:99999/x\"}",
          "d.yaml:3: 'url' is the text 'http://h:99999/x'; write a URL such as "
          "http://127.0.0.1:8082/invoices, without user name and {key}" },
        { "http: {url: \"http://h/x y\"}",
          "d.yaml:3: 'url' is the text 'http://h/x y'; write a URL such as "
          "http://127.0.0.1:8082/invoices, without user name and {key}" },
        { "http: {url: \"http://h/{key}\"}",
          "d.yaml:3: 'url' is the text 'http://h/{key}'; write a URL such as "
          "http://127.0.0.1:8082/invoices, without user name and {key}" },
        { "http: {method: HEAD, url: \"http://h\"}",
          "d.yaml:3: 'method' is the text 'HEAD'; write POST, PUT, PATCH, DELETE or GET" },
        { "description: d\n  http:\n   method: GET\n   url: \"http://h\"",
          "d.yaml:5: 'method: GET' may be repeated by any proxy on the way; add `read_only: true` "
          "to the tool, or write POST" },
        { "timeout: 2d", "d.yaml:3: 'timeout' is the text '2d'; write a duration from 1ms to 1d" },
        { "frobnicate: 2s",
          "d.yaml:3: 'frobnicate' is not a key of a tool; its keys are description, parameters, "
          "http, read_only, idempotent, on_unknown, probe, ask_timeout, timeout, "
          "connect_timeout, ..." },
        { "timout: 2s", "d.yaml:3: 'timout' is not a key of a tool; did you mean 'timeout'?" },
        { "on_unknown: retry",
          "d.yaml:3: 'on_unknown' is the text 'retry'; write tell_model, probe or ask" },
        { "attempts: 0", "d.yaml:3: 'attempts' is the number 0; write a whole number from 1 to "
                         "100" },
        { "key_header: \"a b\"", "d.yaml:3: 'key_header' is the text 'a b'; write the name of a "
                                 "header, such as Idempotency-Key" },
    };
    CHECK("tools:\n t:\n  ", list);
}

static void contradictions_in_tools(void **state)
{
    (void)state;
    static cases list = {
        { "read_only: true\n  on_unknown: ask",
          "d.yaml:6: 'on_unknown' has no use with 'read_only: true', since the tool is simply "
          "called again; remove one of the two" },
        { "idempotent: true\n  probe: {url: \"http://h/{key}\"}",
          "d.yaml:6: 'probe' has no use with 'idempotent: true', since the tool is simply called "
          "again; remove one of the two" },
        { "read_only: true\n  ask_timeout: 1d",
          "d.yaml:6: 'ask_timeout' has no use with 'read_only: true', since the tool is simply "
          "called again; remove one of the two" },
        { "on_unknown: probe", "d.yaml:5: 'on_unknown: probe' needs to know where to ask; add "
                               "`probe: {url: \"http://host/path/{key}\"}`" },
        { "probe: {url: \"http://h/{key}\"}",
          "d.yaml:5: 'probe' is asked only with 'on_unknown: probe'; add that, or remove 'probe'" },
        { "on_unknown: probe\n  probe: {url: \"http://h/x\"}",
          "d.yaml:6: 'url' is the text 'http://h/x'; write a URL with {key} in it, such as "
          "http://127.0.0.1:8082/by-key/{key}" },
        { "on_unknown: probe\n  probe: {url: \"http://h/{id}/{key}\"}",
          "d.yaml:6: 'url' is the text 'http://h/{id}/{key}'; write a URL with {key} in it, such "
          "as http://127.0.0.1:8082/by-key/{key}" },
        { "on_unknown: probe\n  probe: {url: \"http://{key}/x\"}",
          "d.yaml:6: 'url' is the text 'http://{key}/x'; write a URL with {key} in it, such as "
          "http://127.0.0.1:8082/by-key/{key}" },
        { "on_unknown: probe\n  probe: {timeout: 1s}",
          "d.yaml:6: 'url' is missing in 'probe'; add `url: "
          "http://127.0.0.1:8082/invoices/by-key/{key}`" },
        { "on_unknown: probe\n  probe: {url: \"http://h/{key}\"}\n  idempotency_key: none",
          "d.yaml:7: 'probe' asks by a key that 'idempotency_key: none' never sends; write quoted "
          "or bare" },
        { "idempotency_key: none\n  key_header: X-Key",
          "d.yaml:6: 'key_header' has no use with 'idempotency_key: none'; remove one of the two" },
        { "key_header: Content-Type",
          "d.yaml:5: 'key_header' is 'Content-Type', which has another meaning; write a header "
          "such as Idempotency-Key" },
        { "timeout: 10s\n  connect_timeout: 20s",
          "d.yaml:6: 'connect_timeout' is 20s, longer than 'timeout' with 10s; make it shorter, or "
          "'timeout' longer" },
    };
    CHECK("tools:\n t:\n  description: d\n  http: {url: \"http://h/x\"}\n  ", list);
}

static void headers(void **state)
{
    (void)state;
    static cases list = {
        { "A B: x", "d.yaml:7: 'A B' cannot name a header; write one such as X-Api-Key" },
        { "content-type: x", "d.yaml:7: header 'content-type' is set by pawl; remove it" },
        { "Idempotency-Key: x", "d.yaml:7: header 'Idempotency-Key' is set by pawl; remove it" },
        { "x-pawl-step: x", "d.yaml:7: header 'x-pawl-step' is set by pawl; remove it" },
        { "Authorization: Bearer hunter2",
          "d.yaml:7: header 'Authorization' would be stored for everybody to read; write {secret: "
          "NAME}, or {secret: NAME, prefix: \"Bearer \"}" },
        { "A: \"x\\r\\nEvil: y\"", "d.yaml:7: header 'A' has a value that no header can have; "
                                   "write visible ASCII on one line" },
        { "A: {secret: K, prefix: \"x\\n\"}",
          "d.yaml:7: header 'A' has a value that no header can have; write visible ASCII on one "
          "line" },
        { "A: x\n    a: y", "d.yaml:8: header 'a' stands here again, first on line 7; remove one" },
        { "A: {secret: \"hunter 2\"}",
          "d.yaml:7: 'secret' of 'A' is not a name; write the name of a secret: letters, digits, "
          "'_', '-' and '.', at most 64" },
    };
    CHECK("tools:\n t:\n  description: d\n  http:\n   url: \"http://h/x\"\n   headers:\n    ",
          list);
}

static void schemas(void **state)
{
    (void)state;
    static cases list = {
        { "{type: string}", "d.yaml:5: 'parameters' does not describe an object; write {type: "
                            "object, properties: {...}}" },
        { "[]", "d.yaml:5: 'parameters' does not describe an object; write {type: object, "
                "properties: {...}}" },
        { "{type: object, requierd: [a]}", "d.yaml:5: parameters: 'requierd' is not a keyword of "
                                           "JSON Schema; did you mean 'required'?" },
        { "{type: object, customer: {type: string}}",
          "d.yaml:5: parameters: 'customer' is not a keyword of JSON Schema; properties belong "
          "under 'properties', and names of your own begin with x-" },
        { "{type: object, properties: {a: {type: strnig}}}",
          "d.yaml:5: parameters/properties/a/type is the string \"strnig\"; write object, array, "
          "string, number, integer, boolean or null" },
        { "{type: object, properties: {a: {type: []}}}",
          "d.yaml:5: parameters/properties/a/type is an array of 0 items; write at least one "
          "type" },
        { "{type: object, properties: {a: string}}",
          "d.yaml:5: parameters/properties/a is the string \"string\"; write a schema, like {type: "
          "string}" },
        { "{type: object, properties: [a]}",
          "d.yaml:5: parameters/properties is an array of 1 item; write an object of names" },
        { "{type: object, properties: {cust: {}}, required: [custt]}",
          "d.yaml:5: parameters/required/0 'custt' is required but not under 'properties'; did you "
          "mean 'cust'?" },
        { "{type: object, properties: {a: {}}, required: [other]}",
          "d.yaml:5: parameters/required/0 'other' is required but not under 'properties'; "
          "describe it there" },
        { "{type: object, required: a}",
          "d.yaml:5: parameters/required is the string \"a\"; write a list of property names" },
        { "{type: object, required: [a, a]}",
          "d.yaml:5: parameters/required/1 names 'a' twice; remove one" },
        { "{type: object, properties: {a: {enum: []}}}",
          "d.yaml:5: parameters/properties/a/enum is an array of 0 items; write a list of values "
          "that is not empty" },
        { "{type: object, properties: {a: {minLength: -1}}}",
          "d.yaml:5: parameters/properties/a/minLength is the number -1; write a whole number from "
          "0" },
        { "{type: object, properties: {a: {multipleOf: 0}}}",
          "d.yaml:5: parameters/properties/a/multipleOf is the number 0; write a number above 0" },
        { "{type: object, properties: {a: {maximum: many}}}",
          "d.yaml:5: parameters/properties/a/maximum is the string \"many\"; write a number" },
    };
    CHECK("tools:\n t:\n  description: d\n  http: {url: \"http://h/x\"}\n  parameters: ", list);
}

static void parts_of_schemas(void **state)
{
    (void)state;
    static cases list = {
        { "{type: object, properties: {a: {description: 5}}}",
          "d.yaml:5: parameters/properties/a/description is the number 5; write text, in quotes" },
        { "{type: object, properties: {a: {$ref: \"http://h/s\"}}}",
          "d.yaml:5: parameters/properties/a/$ref is the string \"http://h/s\"; write a place in "
          "this schema, like '#/$defs/name'" },
        { "{type: object, properties: {a: {$ref: \"#/$defs/x\"}}}",
          "d.yaml:5: parameters/properties/a/$ref '#/$defs/x' is no schema here; write a place "
          "like '#/$defs/name'" },
        { "{type: object, properties: {a: {uniqueItems: yes}}}",
          "d.yaml:5: parameters/properties/a/uniqueItems is the string \"yes\"; write true or "
          "false" },
        { "{type: object, properties: {a: {anyOf: []}}}",
          "d.yaml:5: parameters/properties/a/anyOf is an array of 0 items; write a list of "
          "schemas" },
        { "{type: object, properties: {a: {items: [{type: x}]}}}",
          "d.yaml:5: parameters/properties/a/items/0/type is the string \"x\"; write object, "
          "array, string, number, integer, boolean or null" },
        { "{type: object, properties: {a: {pattern: \"(?i)x\"}}}",
          "d.yaml:5: parameters/properties/a/pattern has a regular expression that is not "
          "supported: a group begins with (? and what ECMA-262 has not" },
        { "{type: object, unevaluatedProperties: false}",
          "d.yaml:5: parameters: 'unevaluatedProperties' is not supported; write "
          "'additionalProperties' where the properties are listed" },
        { "\n   type: object\n   properties:\n    a/b:\n     type: array\n     items:\n      tpye: "
          "x",
          "d.yaml:11: parameters/properties/a~1b/items: 'tpye' is not a keyword of JSON Schema; "
          "did "
          "you mean 'type'?" },
        { "\n   type: object\n   properties:\n    a:\n     anyOf:\n     - type: string\n     - "
          "type:\n"
          "       - string\n       - nul",
          "d.yaml:13: parameters/properties/a/anyOf/1/type/1 is the string \"nul\"; write object, "
          "array, string, number, integer, boolean or null" },
    };
    CHECK("tools:\n t:\n  description: d\n  http: {url: \"http://h/x\"}\n  parameters: ", list);
}

static void sizes(void **state)
{
    (void)state;
    static char text[300 * 1024];
    struct catalog catalog;
    struct error err;
    int at = snprintf(text, sizeof text,
                      "tools: {t: {description: d, http: {url: \"http://h\"},\n"
                      "  parameters: {type: object, properties: {a: {enum: [");
    for (int i = 0; i < 10000; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "value%d, ", i);
    at += snprintf(text + at, sizeof text - (size_t)at, "]}}}}}");
    assert_int_equal(catalog_read_text(&catalog, "d.yaml", text, (size_t)at, NULL, NULL, &err),
                     REFUSED);
    assert_string_equal(err.text, "d.yaml:2: 'parameters' has 118937 bytes as JSON; keep it within "
                                  "65536");
    at = snprintf(text, sizeof text,
                  "tools: {t: {description: d, http: {url: \"http://h\",\n"
                  "  headers: {");
    for (int i = 0; i < 65; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "H%d: x, ", i);
    at += snprintf(text + at, sizeof text - (size_t)at, "}}}}");
    assert_int_equal(catalog_read_text(&catalog, "d.yaml", text, (size_t)at, NULL, NULL, &err),
                     REFUSED);
    assert_string_equal(err.text, "d.yaml:2: 65 headers; write at most 64");
}

static void good_schemas_pass(void **state)
{
    (void)state;
    static const char *const list[] = {
        "{type: object}",
        "{type: object, properties: {}, additionalProperties: false}",
        "{type: object, x-order: [a], properties: {type: {type: [string, \"null\"]}}}",
        "{type: object, properties: {a: {$ref: \"#/$defs/x\"}}, $defs: {x: true}}",
        "{type: object, properties: {a: {}}, required: [b], anyOf: [{properties: {b: {}}}]}",
        "{type: object, anyOf: [{required: [a]}, {required: [b]}]}",
        "{type: object, properties: {a: {type: array, items: {enum: [1, null, x]}, minItems: 1}}}",
        "{type: object, dependentRequired: {a: [b]}, properties: {n: {exclusiveMinimum: 1.5}}}",
        "{type: object, properties: {n: {$ref: \"#/properties/l/items\"}, l: {items: {}}}}",
        "{type: object, properties: {n: {type: string, pattern: \"^\\\\d+$\", nullable: true}}}",
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct catalog catalog;
        struct error err;
        char text[512];
        snprintf(text, sizeof text,
                 "tools: {t: {description: d, http: {url: \"http://h\"}, parameters: %s}}",
                 list[i]);
        assert_ok(catalog_read_text(&catalog, "d.yaml", text, strlen(text), NULL, NULL, &err),
                  &err);
        catalog_release(&catalog);
    }
}

static void models(void **state)
{
    (void)state;
    static cases list = {
        { "base_url: \"http://h\"", "d.yaml:3: 'model' is missing in a model; add `model: "
                                    "gpt-4o-mini`" },
        { "base_url: \"http://h?x\"", "d.yaml:3: 'base_url' is the text 'http://h?x'; write a URL "
                                      "such as https://api.openai.com/v1, without user name and "
                                      "'?'" },
        { "base_url: \"http://h\"\n  model: \"gpt x\"",
          "d.yaml:4: 'model' is the text 'gpt x'; write the provider's name of a model, without "
          "spaces" },
        { "dialect: telepathy", "d.yaml:3: 'dialect' is the text 'telepathy'; write openai_chat, "
                                "openai_responses or anthropic" },
        { "api_key: sk-live-12345",
          "d.yaml:3: 'api_key' is not {secret: NAME}; write {secret: NAME}, and NAME under "
          "'secrets' of the process file" },
        { "base_url: \"http://h\"\n  model: x\n  options: 5",
          "d.yaml:5: 'options' is the number 5; write a mapping, like {temperature: 0.2}" },
        { "base_url: \"http://h\"\n  model: x\n  options:\n   messages: []",
          "d.yaml:6: option 'messages' is set by pawl; remove it" },
        { "base_url: \"http://h\"\n  model: x\n  dialect: anthropic\n  options: {system: x}",
          "d.yaml:6: option 'system' is set by pawl; write 'instructions' in the agent" },
        { "base_url: \"http://h\"\n  model: x\n  price: {input: 1}",
          "d.yaml:5: 'output' is missing in 'price'; add `output: 10`" },
        { "base_url: \"http://h\"\n  model: x\n  timeout: 1s\n  silence_timeout: 2s",
          "d.yaml:6: 'silence_timeout' is 2s, longer than 'timeout' with 1s; make it shorter, or "
          "'timeout' longer" },
        { "base_url: \"http://h\"\n  model: x\n  context_window: 8192\n  max_output_tokens: 8192",
          "d.yaml:6: 'max_output_tokens' is not less than 'context_window', which has to hold the "
          "prompt, too; write the limits of the model as its provider gives them" },
        { "base_url: \"http://h\"\n  model: x\n  max_output_bytes: 1GiB",
          "d.yaml:5: 'max_output_bytes' is the text '1GiB'; write a size from 1KiB to 64MiB" },
    };
    CHECK("models:\n m:\n  ", list);
}

static void agents(void **state)
{
    (void)state;
    static cases list = {
        { "{model: m}", "d.yaml:4: 'instructions' is missing in an agent; add `instructions: You "
                        "are a careful bookkeeper.`" },
        { "{instructions: i, model: mm}",
          "d.yaml:4: agent 'a' names model 'mm', which is neither in these files nor published; "
          "did you mean 'm'?" },
        { "{instructions: i, model: m,\n  tools: [send_invoice]}",
          "d.yaml:5: agent 'a' names tool 'send_invoice', which is neither in these files nor "
          "published; did you mean 'sendInvoice'?" },
        { "{instructions: i, model: m, tools: [zzzzzz]}",
          "d.yaml:4: agent 'a' names tool 'zzzzzz', which is neither in these files nor published; "
          "define it under 'tools'" },
        { "{instructions: i, model: m, tools: [sendInvoice, sendInvoice]}",
          "d.yaml:4: 'tools' names 'sendInvoice' twice; remove one" },
        { "{instructions: i, model: m, limits: {calls_per_step: 4, parallel_calls: 5}}",
          "d.yaml:4: 'parallel_calls' is 5, but one step has at most 4 calls ('calls_per_step'); "
          "write a number up to that" },
        { "{instructions: i, model: m, limits: {step: 4}}",
          "d.yaml:4: 'step' is not a key of 'limits'; did you mean 'steps'?" },
        { "{instructions: i, model: m, fallback: {after: 2}}",
          "d.yaml:4: 'fallback' names no models; add `models: [NAME]`, or remove it" },
        { "{instructions: i, model: m, fallback: {models: [m]}}",
          "d.yaml:4: 'fallback' names 'm', which is the agent's own model; remove it" },
        { "{instructions: i, model: m, fallback: {models: [x]}}",
          "d.yaml:4: agent 'a' names model 'x', which is neither in these files nor published; "
          "did you mean 'm'?" },
        { "{instructions: i, model: m, limits: {time: 0s}}",
          "d.yaml:4: 'time' is the text '0s'; write a duration from 1s to 365d" },
    };
    CHECK("models: {m: {base_url: \"http://h\", model: x}}\n"
          "tools: {sendInvoice: {description: d, http: {url: \"http://h\"}}}\n"
          "agents:\n a: ",
          list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sections),
        cmocka_unit_test(tools),
        cmocka_unit_test(contradictions_in_tools),
        cmocka_unit_test(headers),
        cmocka_unit_test(schemas),
        cmocka_unit_test(parts_of_schemas),
        cmocka_unit_test(sizes),
        cmocka_unit_test(good_schemas_pass),
        cmocka_unit_test(models),
        cmocka_unit_test(agents),
    };
    return cmocka_run_group_tests_name("catalog_refused", tests, NULL, NULL);
}
