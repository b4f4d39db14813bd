/* From YAML to bodies and digests; what bodies are read back as is in test_catalog_body.c. */
#include "common/catalog.h"
#include "common/json.h"
#include "common/memory.h"
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <unistd.h>

#define D64(c)                                                                                    \
    c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c \
        c c c c c c c c c c c c c c c c c

/* What is "published": one model and one tool. */
static enum outcome resolve(void *self, enum catalog_kind kind, const char *name,
                            char digest[CATALOG_HEX], struct error *err)
{
    int *asked = self;
    if (asked)
        (*asked)++;
    if (strcmp(name, "down") == 0)
        return fail(err, RETRY, "Postgres is away");
    if (kind == CATALOG_MODEL && strcmp(name, "old-model") == 0)
        strcpy(digest, D64("a"));
    else if (kind == CATALOG_TOOL && strcmp(name, "old_tool") == 0)
        strcpy(digest, D64("b"));
    else
        return REFUSED;
    return OK;
}

static enum outcome read_it(struct catalog *catalog, const char *text, struct error *err)
{
    return catalog_read_text(catalog, "d.yaml", text, strlen(text), resolve, NULL, err);
}

static const char demo[] =
    "models:\n"
    "  demo: {base_url: \"http://127.0.0.1:8081/v1/\", model: gpt-x}\n"
    "tools:\n"
    "  send_invoice:\n"
    "    description: Sends one invoice.\n"
    "    parameters: {type: object, properties: {to: {type: string}}, required: [to]}\n"
    "    http: {url: \"http://127.0.0.1:8082/invoices\", headers: {X-Api-Key: {secret: K}}}\n"
    "    on_unknown: probe\n"
    "    probe: {url: \"http://127.0.0.1:8082/invoices/by-key/{key}\"}\n"
    "  lookup: {description: Looks up., read_only: true, http: {url: \"http://h/l\"}}\n"
    "agents:\n"
    "  billing:\n"
    "    instructions: Bill them.\n"
    "    model: demo\n"
    "    tools: [send_invoice, lookup, old_tool]\n";

static void bodies_have_every_default_filled_in(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"kind\":\"model\",\"name\":\"demo\",\"dialect\":\"openai_chat\",\"base_url\":\"http://"
        "127.0.0.1:8081/v1\",\"model\":\"gpt-x\",\"connect_timeout_ms\":5000,\"first_event_timeout_"
        "ms\":120000,\"silence_timeout_ms\":60000,\"timeout_ms\":600000,\"attempts\":5,\"max_"
        "output_bytes\":4194304,\"options\":{}}",
        "{\"kind\":\"tool\",\"name\":\"lookup\",\"description\":\"Looks "
        "up.\",\"parameters\":{\"type\":\"object\",\"properties\":{}},\"http\":{\"method\":"
        "\"POST\",\"url\":\"http://h/"
        "l\",\"headers\":{}},\"read_only\":true,\"idempotent\":false,\"on_unknown\":\"tell_model\","
        "\"ask_timeout_ms\":604800000,\"timeout_ms\":30000,\"connect_timeout_ms\":5000,"
        "\"attempts\":3,\"idempotency_key\":\"quoted\",\"key_header\":\"Idempotency-Key\",\"max_"
        "result_bytes\":262144}",
        "{\"kind\":\"tool\",\"name\":\"send_invoice\",\"description\":\"Sends one "
        "invoice.\",\"parameters\":{\"type\":\"object\",\"properties\":{\"to\":{\"type\":"
        "\"string\"}},\"required\":[\"to\"]},\"http\":{\"method\":\"POST\",\"url\":\"http://"
        "127.0.0.1:8082/"
        "invoices\",\"headers\":{\"X-Api-Key\":{\"secret\":\"K\"}}},\"read_only\":false,"
        "\"idempotent\":false,\"on_unknown\":\"probe\",\"probe\":{\"url\":\"http://127.0.0.1:8082/"
        "invoices/by-key/{key}\",\"headers\":{},\"timeout_ms\":10000},\"ask_timeout_ms\":604800000,"
        "\"timeout_ms\":30000,\"connect_timeout_ms\":5000,\"attempts\":3,\"idempotency_key\":"
        "\"quoted\",\"key_header\":\"Idempotency-Key\",\"max_result_bytes\":262144}",
    };
    struct catalog catalog;
    struct error err;
    assert_ok(read_it(&catalog, demo, &err), &err);
    assert_int_equal(catalog.count, 4);
    for (size_t i = 0; i < 3; i++) {
        AUTO_FREE char *text = json_dumps(catalog.entries[i].body, JSON_COMPACT);
        assert_string_equal(text, bodies[i]);
    }
    assert_string_equal(catalog.entries[2].file, "d.yaml");
    assert_int_equal(catalog.entries[2].line, 4);
    catalog_release(&catalog);
}

static void an_agent_pins_what_it_names(void **state)
{
    (void)state;
    struct catalog catalog;
    struct error err;
    assert_ok(read_it(&catalog, demo, &err), &err);
    const struct catalog_entry *agent = catalog_find(&catalog, CATALOG_AGENT, "billing");
    const struct catalog_entry *model = catalog_find(&catalog, CATALOG_MODEL, "demo");
    const struct catalog_entry *tool = catalog_find(&catalog, CATALOG_TOOL, "send_invoice");
    assert_non_null(agent);
    assert_string_equal(json_str(json_obj(agent->body, "model"), "name"), "demo");
    assert_string_equal(json_str(json_obj(agent->body, "model"), "digest"), model->digest);
    json_t *tools = json_obj(agent->body, "tools");
    assert_int_equal(json_object_size(tools), 3);
    assert_string_equal(json_str(tools, "send_invoice"), tool->digest);
    assert_string_equal(json_str(tools, "old_tool"), D64("b")); /* published before */
    assert_null(catalog_find(&catalog, CATALOG_TOOL, "billing"));
    catalog_release(&catalog);
}

/* Golden, computed apart from this code (sorted compact JSON, SHA-256): a change
 * here means that everything published is published anew at the next apply.  */
static void digests_are_what_they_were(void **state)
{
    (void)state;
    struct catalog catalog;
    struct error err;
    assert_ok(read_it(&catalog, demo, &err), &err);
    assert_string_equal(catalog_find(&catalog, CATALOG_MODEL, "demo")->digest,
                        "0c6075ef6f54aec372235044c53325c505a1a651fa2af573470e5a1418e016d7");
    assert_string_equal(catalog_find(&catalog, CATALOG_TOOL, "lookup")->digest,
                        "f2a3e1b320711e645a59a192db523ca3d0864f39c1f3b995107f45ea350123f2");
    assert_string_equal(catalog_find(&catalog, CATALOG_TOOL, "send_invoice")->digest,
                        "100326bb0f9bc3cdf63a60ee48616524d42875cb6eaa44db3b3711238866f9da");
    assert_string_equal(catalog_find(&catalog, CATALOG_AGENT, "billing")->digest,
                        "a5972c2bdbbd60a13271ac6390aec9f5b0ac7707af49e4a5c40999e6449c4c2b");
    catalog_release(&catalog);
}

static void digests_do_not_depend_on_the_way_it_is_written(void **state)
{
    (void)state;
    static const char other[] =
        "# another order, other forms, the defaults written out\n"
        "agents: {billing: {tools: [lookup, old_tool, send_invoice], model: demo,\n"
        "  limits: {steps: 64, time: 60m}, instructions: \"Bill them.\"}}\n"
        "---\n"
        "tools:\n"
        "  lookup: {http: {method: POST, url: \"http://h/l\"}, read_only: true,\n"
        "    timeout: 30000ms, max_result_bytes: 262144, description: 'Looks up.'}\n"
        "  send_invoice:\n"
        "    probe: {timeout: 10s, url: \"http://127.0.0.1:8082/invoices/by-key/{key}\"}\n"
        "    on_unknown: probe\n"
        "    http: {headers: {X-Api-Key: {secret: K}}, url: \"http://127.0.0.1:8082/invoices\"}\n"
        "    parameters: {required: [to], properties: {to: {type: string}}, type: object}\n"
        "    description: Sends one invoice.\n"
        "---\n"
        "models: {demo: {model: gpt-x, options: {}, base_url: \"http://127.0.0.1:8081/v1\"}}\n";
    struct catalog a, b;
    struct error err;
    assert_ok(read_it(&a, demo, &err), &err);
    assert_ok(read_it(&b, other, &err), &err);
    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i++)
        assert_string_equal(a.entries[i].digest, b.entries[i].digest);
    catalog_release(&a);
    catalog_release(&b);
}

static void any_change_changes_the_digest(void **state)
{
    (void)state;
    static const char *const variants[] = {
        "tools: {t: {description: d, http: {url: \"http://h/l\"}}}",
        "tools: {u: {description: d, http: {url: \"http://h/l\"}}}",
        "tools: {t: {description: e, http: {url: \"http://h/l\"}}}",
        "tools: {t: {description: d, http: {url: \"http://h/m\"}}}",
        "tools: {t: {description: d, http: {url: \"http://h/l\", method: PUT}}}",
        "tools: {t: {description: d, http: {url: \"http://h/l\", headers: {A: b}}}}",
        "tools: {t: {description: d, http: {url: \"http://h/l\"}, timeout: 31s}}",
        "tools: {t: {description: d, http: {url: \"http://h/l\"}, idempotent: true}}",
        "tools: {t: {description: d, http: {url: \"http://h/l\"}, parameters: {type: object}}}",
    };
    enum { COUNT = sizeof variants / sizeof *variants };
    char digests[COUNT][CATALOG_HEX];
    for (size_t i = 0; i < COUNT; i++) {
        struct catalog catalog;
        struct error err;
        assert_ok(read_it(&catalog, variants[i], &err), &err);
        strcpy(digests[i], catalog.entries[0].digest);
        catalog_release(&catalog);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(digests[i], digests[j]);
    }
}

static void several_files_are_one_set(void **state)
{
    (void)state;
    char directory[] = "/tmp/test_catalog.XXXXXX";
    struct catalog catalog;
    struct error err;
    assert_non_null(mkdtemp(directory));
    char one[64], two[64], expected[240];
    snprintf(one, sizeof one, "%s/one.yaml", directory);
    snprintf(two, sizeof two, "%s/two.yaml", directory);
    FILE *out = fopen(one, "w");
    fputs("agents: {a: {instructions: i, model: m, tools: [t]}}\n", out);
    fclose(out);
    out = fopen(two, "w");
    fputs("models: {m: {base_url: \"https://h\", model: x}}\n"
          "tools: {t: {description: d, http: {url: \"http://h/l\"}}}\n",
          out);
    fclose(out);
    const char *const both[] = { one, two }, *const twice[] = { two, one, two };
    assert_ok(catalog_read(&catalog, both, 2, NULL, NULL, &err), &err);
    assert_int_equal(catalog.count, 3);
    assert_int_equal(catalog.entries[0].kind, CATALOG_MODEL);
    assert_string_equal(catalog.entries[0].file, two);
    assert_string_equal(catalog.entries[2].file, one);
    catalog_release(&catalog);
    assert_int_equal(catalog_read(&catalog, twice, 3, NULL, NULL, &err), REFUSED);
    snprintf(expected, sizeof expected,
             "%s:1: model 'm' stands here again, first in %s:1; remove "
             "one",
             two, two);
    assert_string_equal(err.text, expected);
    assert_int_equal(catalog_read(&catalog, both, 1, NULL, NULL, &err), REFUSED);
    snprintf(expected, sizeof expected,
             "%s:1: agent 'a' names model 'm', which is neither in these files nor published; "
             "define it under 'models'",
             one);
    assert_string_equal(err.text, expected);
    unlink(one);
    assert_int_equal(catalog_read(&catalog, both, 2, NULL, NULL, &err), REFUSED);
    assert_contains(err.text, "cannot open /tmp/test_catalog.");
    unlink(two);
    rmdir(directory);
}

static void the_resolver_is_asked_only_for_what_is_missing(void **state)
{
    (void)state;
    struct catalog catalog;
    struct error err;
    int asked = 0;
    assert_ok(catalog_read_text(&catalog, "d.yaml", demo, strlen(demo), resolve, &asked, &err),
              &err);
    assert_int_equal(asked, 1); /* old_tool */
    catalog_release(&catalog);
    assert_ok(read_it(&catalog, "agents: {a: {instructions: i, model: old-model}}", &err), &err);
    assert_string_equal(json_str(json_obj(catalog.entries[0].body, "model"), "digest"), D64("a"));
    catalog_release(&catalog);
    assert_int_equal(read_it(&catalog, "agents: {a: {instructions: i, model: down}}", &err), RETRY);
    assert_string_equal(err.text, "Postgres is away");
    assert_int_equal(catalog.count, 0);
}

static void published_agents_follow_what_they_use(void **state)
{
    (void)state;
    struct catalog first, second;
    struct error err;
    bool added = true;
    assert_ok(read_it(&first, demo, &err), &err);
    const json_t *agent = catalog_find(&first, CATALOG_AGENT, "billing")->body;
    const char *change = "tools: {lookup: {description: Other., http: {url: \"http://h/l\"}}}";
    assert_ok(read_it(&second, change, &err), &err);
    assert_ok(catalog_repin(&second, agent, &added, &err), &err);
    assert_true(added);
    assert_int_equal(second.count, 2);
    const struct catalog_entry *entry = catalog_find(&second, CATALOG_AGENT, "billing");
    assert_string_not_equal(entry->digest, catalog_find(&first, CATALOG_AGENT, "billing")->digest);
    assert_null(entry->file);
    assert_string_equal(json_str(json_obj(entry->body, "tools"), "lookup"),
                        catalog_find(&second, CATALOG_TOOL, "lookup")->digest);
    assert_string_equal(json_str(json_obj(entry->body, "tools"), "send_invoice"),
                        catalog_find(&first, CATALOG_TOOL, "send_invoice")->digest);
    assert_ok(catalog_repin(&second, agent, &added, &err), &err);
    assert_false(added); /* it is in the catalog now */
    catalog_release(&second);

    assert_ok(
        read_it(&second, "tools: {unrelated: {description: d, http: {url: \"http://h\"}}}", &err),
        &err);
    assert_ok(catalog_repin(&second, agent, &added, &err), &err);
    assert_false(added);
    assert_int_equal(second.count, 1);
    catalog_release(&second);

    const char *model = "models: {demo: {base_url: \"http://other\", model: gpt-x}}";
    assert_ok(read_it(&second, model, &err), &err);
    assert_ok(catalog_repin(&second, agent, &added, &err), &err);
    assert_true(added);
    entry = catalog_find(&second, CATALOG_AGENT, "billing");
    assert_string_equal(json_str(json_obj(entry->body, "model"), "digest"),
                        second.entries[0].digest);
    assert_int_equal(catalog_repin(&second, first.entries[0].body, &added, &err), REFUSED);
    catalog_release(&second);
    catalog_release(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_have_every_default_filled_in),
        cmocka_unit_test(an_agent_pins_what_it_names),
        cmocka_unit_test(digests_are_what_they_were),
        cmocka_unit_test(digests_do_not_depend_on_the_way_it_is_written),
        cmocka_unit_test(any_change_changes_the_digest),
        cmocka_unit_test(several_files_are_one_set),
        cmocka_unit_test(the_resolver_is_asked_only_for_what_is_missing),
        cmocka_unit_test(published_agents_follow_what_they_use),
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
