/* From published bodies to structs: the way planner and executor see them. */
#include "common/catalog.h"
#include "common/json.h"
#include "common/memory.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

static const char definitions[] =
    "models:\n"
    "  m:\n"
    "    base_url: https://h/v1//\n"
    "    model: gpt-x\n"
    "    api_key: {secret: KEY}\n"
    "    connect_timeout: 1s\n"
    "    first_event_timeout: 2s\n"
    "    silence_timeout: 3s\n"
    "    timeout: 4s\n"
    "    attempts: 6\n"
    "    max_output_bytes: 1MiB\n"
    "    context_window: 128000\n"
    "    max_output_tokens: 16000\n"
    "    options: {temperature: 0.2, stop: [a]}\n"
    "    price: {input: 2.5, output: 10}\n"
    "  plain: {base_url: \"http://h\", model: x, timeout: 30s}\n"
    "tools:\n"
    "  t:\n"
    "    description: d\n"
    "    parameters: {type: object, properties: {z: {}, a: {}}}\n"
    "    http: {method: PUT, url: \"http://h/x\", headers: {A: {secret: S, prefix: \"Bearer \"}, "
    "B: "
    "text}}\n"
    "    on_unknown: probe\n"
    "    probe: {url: \"http://h/{key}\", headers: {C: {secret: T}}, timeout: 2s}\n"
    "    ask_timeout: 1h\n"
    "    timeout: 20s\n"
    "    connect_timeout: 3s\n"
    "    attempts: 4\n"
    "    idempotency_key: bare\n"
    "    key_header: X-Key\n"
    "    max_result_bytes: 1KiB\n"
    "  quick: {description: d, http: {url: \"http://h\"}, timeout: 1s}\n"
    "agents:\n"
    "  a:\n"
    "    description: An agent.\n"
    "    instructions: \"Do.\\n\"\n"
    "    model: m\n"
    "    tools: [t, quick]\n"
    "    limits: {steps: 5, calls_per_step: 4, parallel_calls: 3, time: 2m, arguments_bytes: "
    "1KiB, tokens: 5000, cost: 0.25}\n"
    "  small: {instructions: i, model: m, limits: {calls_per_step: 2}}\n"
    "  two: {instructions: i, model: m, fallback: {models: [plain], after: 4, on: [timeout]}}\n";

static struct catalog catalog;

static int set_up(void **state)
{
    (void)state;
    struct error err = { "" };
    enum outcome outcome =
        catalog_read_text(&catalog, "d.yaml", definitions, strlen(definitions), NULL, NULL, &err);
    if (outcome != OK)
        print_error("%s\n", err.text);
    return outcome == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    catalog_release(&catalog);
    return 0;
}

/* A body as it comes back from the database: as text, and with a key of the future. */
static json_t *stored(enum catalog_kind kind, const char *name, const char **digest)
{
    const struct catalog_entry *entry = catalog_find(&catalog, kind, name);
    assert_non_null(entry);
    *digest = entry->digest;
    AUTO_FREE char *text = json_dumps(entry->body, JSON_COMPACT);
    json_t *body = json_loads(text, 0, NULL);
    json_object_set_new(body, "from_the_future", json_true());
    return body;
}

static void a_model_comes_back_whole(void **state)
{
    (void)state;
    struct error err;
    struct model_def *def;
    const char *digest;
    json_t *body = stored(CATALOG_MODEL, "m", &digest);
    assert_ok(catalog_parse_model(body, digest, &def, &err), &err);
    json_decref(body); /* the struct stands by itself */
    assert_string_equal(def->name, "m");
    assert_string_equal(def->digest, digest);
    assert_int_equal(def->dialect, MODEL_OPENAI_CHAT);
    assert_string_equal(def->base_url, "https://h/v1");
    assert_string_equal(def->model, "gpt-x");
    assert_string_equal(def->api_key_secret, "KEY");
    assert_int_equal(def->connect_timeout_ms, 1000);
    assert_int_equal(def->first_event_timeout_ms, 2000);
    assert_int_equal(def->silence_timeout_ms, 3000);
    assert_int_equal(def->timeout_ms, 4000);
    assert_int_equal(def->attempts, 6);
    assert_int_equal(def->max_output_bytes, 1 << 20);
    assert_int_equal(def->context_window, 128000);
    assert_int_equal(def->max_output_tokens, 16000);
    assert_int_equal(json_object_size(def->options), 2);
    assert_int_equal(def->price.input_micros, 2500000);
    assert_int_equal(def->price.cached_input_micros, 2500000); /* as input */
    assert_int_equal(def->price.output_micros, 10000000);
    model_def_free(def);
    model_def_free(NULL);
}

static void defaults_are_cut_to_the_whole_timeout(void **state)
{
    (void)state;
    struct error err;
    struct model_def *def;
    struct tool_def *tool;
    const char *digest;
    json_t *body = stored(CATALOG_MODEL, "plain", &digest);
    assert_null(json_object_get(body, "context_window")); /* not known is not 0 */
    assert_null(json_object_get(body, "max_output_tokens"));
    assert_ok(catalog_parse_model(body, digest, &def, &err), &err);
    json_decref(body);
    assert_int_equal(def->connect_timeout_ms, 5000);
    assert_int_equal(def->first_event_timeout_ms, 30000);
    assert_int_equal(def->silence_timeout_ms, 30000);
    assert_null(def->api_key_secret);
    assert_int_equal(json_object_size(def->options), 0);
    assert_int_equal(def->context_window, 0);
    assert_int_equal(def->price.input_micros, -1);
    assert_int_equal(def->price.cached_input_micros, -1);
    model_def_free(def);
    body = stored(CATALOG_TOOL, "quick", &digest);
    assert_ok(catalog_parse_tool(body, digest, &tool, &err), &err);
    json_decref(body);
    assert_int_equal(tool->connect_timeout_ms, 1000);
    tool_def_free(tool);
}

static void a_tool_comes_back_whole(void **state)
{
    (void)state;
    struct error err;
    struct tool_def *def;
    const char *digest;
    json_t *body = stored(CATALOG_TOOL, "t", &digest);
    assert_ok(catalog_parse_tool(body, digest, &def, &err), &err);
    json_decref(body);
    assert_string_equal(def->name, "t");
    assert_string_equal(def->digest, digest);
    AUTO_FREE char *parameters = json_dumps(def->parameters, JSON_COMPACT);
    assert_string_equal(parameters, "{\"type\":\"object\",\"properties\":{\"z\":{},\"a\":{}}}");
    assert_int_equal(def->method, TOOL_PUT);
    assert_string_equal(tool_method_name(def->method), "PUT");
    assert_string_equal(def->url, "http://h/x");
    assert_int_equal(def->headers.count, 2);
    assert_string_equal(def->headers.items[0].name, "A");
    assert_string_equal(def->headers.items[0].secret, "S");
    assert_string_equal(def->headers.items[0].prefix, "Bearer ");
    assert_string_equal(def->headers.items[1].text, "text");
    assert_false(tool_is_repeatable(def));
    assert_int_equal(def->on_unknown, TOOL_PROBE);
    assert_string_equal(def->probe_url, "http://h/{key}");
    assert_string_equal(def->probe_headers.items[0].secret, "T");
    assert_int_equal(def->probe_timeout_ms, 2000);
    assert_int_equal(def->ask_timeout_ms, 3600000);
    assert_int_equal(def->timeout_ms, 20000);
    assert_int_equal(def->connect_timeout_ms, 3000);
    assert_int_equal(def->attempts, 4);
    assert_int_equal(def->key_mode, TOOL_KEY_BARE);
    assert_string_equal(def->key_header, "X-Key");
    assert_int_equal(def->max_result_bytes, 1024);
    tool_def_free(def);
}

static void an_agent_comes_back_whole(void **state)
{
    (void)state;
    struct error err;
    struct agent_def *def;
    const char *digest;
    json_t *body = stored(CATALOG_AGENT, "a", &digest);
    assert_ok(catalog_parse_agent(body, digest, &def, &err), &err);
    json_decref(body);
    assert_string_equal(def->name, "a");
    assert_string_equal(def->description, "An agent.");
    assert_string_equal(def->instructions, "Do.\n");
    assert_string_equal(def->models[0].name, "m");
    assert_string_equal(def->models[0].digest, catalog_find(&catalog, CATALOG_MODEL, "m")->digest);
    assert_int_equal(def->tool_count, 2);
    assert_string_equal(def->tools[0].name, "t"); /* in the order of the file */
    assert_string_equal(def->tools[1].name, "quick");
    assert_string_equal(def->tools[0].digest, catalog_find(&catalog, CATALOG_TOOL, "t")->digest);
    assert_int_equal(def->limit_steps, 5);
    assert_int_equal(def->limit_calls_per_step, 4);
    assert_int_equal(def->limit_parallel_calls, 3);
    assert_int_equal(def->limit_time_ms, 120000);
    assert_int_equal(def->limit_arguments_bytes, 1024);
    assert_int_equal(def->limit_tokens, 5000);
    assert_int_equal(def->limit_cost_micros, 250000);
    agent_def_free(def);
    body = stored(CATALOG_AGENT, "small", &digest);
    assert_ok(catalog_parse_agent(body, digest, &def, &err), &err);
    json_decref(body);
    assert_string_equal(def->description, "");
    assert_int_equal(def->tool_count, 0);
    assert_int_equal(def->limit_parallel_calls, 2); /* cut to the calls of a step */
    assert_int_equal(def->limit_tokens, 0);         /* no limit, and nothing of it in the body */
    assert_int_equal(def->limit_cost_micros, -1);
    agent_def_free(def);
}

static void an_agent_may_have_other_models(void **state)
{
    (void)state;
    struct error err;
    struct agent_def *def;
    const char *digest;
    json_t *body = stored(CATALOG_AGENT, "two", &digest);
    assert_ok(catalog_parse_agent(body, digest, &def, &err), &err);
    json_decref(body);
    assert_int_equal(def->model_count, 2);
    assert_string_equal(def->models[1].name, "plain");
    assert_string_equal(def->models[1].digest,
                        catalog_find(&catalog, CATALOG_MODEL, "plain")->digest);
    assert_int_equal(def->fallback_after, 4);
    assert_int_equal(def->fallback_on.count, 1);
    assert_string_equal(def->fallback_on.items[0], "timeout");
    agent_def_free(def);
    body = stored(CATALOG_AGENT, "a", &digest); /* one without is as it always was */
    assert_null(json_object_get(body, "fallback"));
    assert_ok(catalog_parse_agent(body, digest, &def, &err), &err);
    json_decref(body);
    assert_int_equal(def->model_count, 1);
    assert_int_equal(def->fallback_after, 2);
    agent_def_free(def);
}

static void old_bodies_get_the_defaults(void **state)
{
    (void)state;
    struct error err;
    struct tool_def *def;
    json_t *body = json_loads("{\"kind\":\"tool\",\"name\":\"t\",\"description\":\"d\","
                              "\"http\":{\"url\":\"http://h\"}}",
                              0, NULL);
    assert_ok(catalog_parse_tool(body, NULL, &def, &err), &err);
    assert_int_equal(def->timeout_ms, 30000);
    assert_int_equal(def->on_unknown, TOOL_TELL_MODEL);
    assert_null(def->probe_url);
    AUTO_FREE char *parameters = json_dumps(def->parameters, JSON_COMPACT);
    assert_string_equal(parameters, "{\"type\":\"object\",\"properties\":{}}");
    assert_non_null(def->schema);
    assert_int_equal(strlen(def->digest), 64); /* computed, since none was given */
    tool_def_free(def);
    json_decref(body);
}

/* An executor needs no schema, so it goes on; planners see that there is none. */
static void a_schema_that_is_too_new_is_said_and_no_refusal(void **state)
{
    (void)state;
    struct error err;
    struct tool_def *def;
    json_t *body =
        json_loads("{\"kind\":\"tool\",\"name\":\"t\",\"description\":\"d\",\"http\":{\"url\":"
                   "\"http://h\"},\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":"
                   "{\"tomorrow\":1}}}}",
                   0, NULL);
    assert_ok(catalog_parse_tool(body, NULL, &def, &err), &err);
    assert_null(def->schema);
    assert_contains(def->schema_why,
                    "parameters/properties/a/tomorrow 'tomorrow' is not a keyword");
    tool_def_free(def);
    json_decref(body);
}

static enum outcome parse_any(const char *text, struct error *err)
{
    json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);
    struct model_def *model = NULL;
    struct tool_def *tool = NULL;
    struct agent_def *agent = NULL;
    const char *kind = json_str_or(body, "kind", "");
    enum outcome outcome = strcmp(kind, "model") == 0 ? catalog_parse_model(body, NULL, &model, err)
                           : strcmp(kind, "tool") == 0
                               ? catalog_parse_tool(body, NULL, &tool, err)
                               : catalog_parse_agent(body, NULL, &agent, err);
    model_def_free(model);
    tool_def_free(tool);
    agent_def_free(agent);
    json_decref(body);
    return outcome;
}

static void bodies_that_cannot_be_used_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "[]", "the published body is not that of an agent" },
        { "{\"kind\":\"tool\"}", "the published body is not that of a tool" },
        { "{\"kind\":\"tool\",\"name\":\"a b\"}",
          "the published body of a tool has the name 'a b', which is none" },
        { "{\"kind\":\"tool\",\"name\":\"t\"}",
          "tool 't': 'description' of a tool is not there; publish the definition again with this "
          "version of pawl, or upgrade pawl" },
        { "{\"kind\":\"tool\",\"name\":\"t\",\"description\":\"d\",\"http\":{\"url\":\"http://"
          "h\"},\"on_unknown\":\"probe\"}",
          "tool 't': 'probe' is missing; publish the tool again" },
        { "{\"kind\":\"tool\",\"name\":\"t\",\"description\":\"d\",\"http\":{\"url\":\"http://"
          "h\"},\"parameters\":[]}",
          "tool 't': 'parameters' is not an object" },
        { "{\"kind\":\"tool\",\"name\":\"t\",\"description\":\"d\",\"http\":{\"url\":\"http://"
          "h\"},\"idempotency_key\":\"telepathy\"}",
          "tool 't': 'idempotency_key' of a tool is not quoted, bare or none; publish the "
          "definition "
          "again with this version of pawl, or upgrade pawl" },
        { "{\"kind\":\"model\",\"name\":\"m\",\"base_url\":\"http://h\",\"model\":\"x\","
          "\"options\":1}",
          "model 'm': 'options' is not an object" },
        { "{\"kind\":\"agent\",\"name\":\"a\",\"instructions\":\"i\",\"model\":{\"name\":\"m\"}}",
          "agent 'a': a pin is not a name with a digest; publish the agent again" },
        { "{\"kind\":\"agent\",\"name\":\"a\",\"instructions\":\"i\",\"model\":{\"name\":\"m\","
          "\"digest\":\"xyz\"}}",
          "agent 'a': a pin is not a name with a digest; publish the agent again" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = { "" };
        enum outcome outcome = parse_any(cases[i][0], &err);
        if (outcome != REFUSED || strcmp(err.text, cases[i][1]) != 0)
            fail_msg("%s: expected '%s', got '%s'", cases[i][0], cases[i][1], err.text);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_model_comes_back_whole),
        TEST(defaults_are_cut_to_the_whole_timeout),
        TEST(a_tool_comes_back_whole),
        TEST(an_agent_comes_back_whole),
        TEST(an_agent_may_have_other_models),
        TEST(old_bodies_get_the_defaults),
        TEST(bodies_that_cannot_be_used_are_refused),
        TEST(a_schema_that_is_too_new_is_said_and_no_refusal),
    };
    return cmocka_run_group_tests_name("catalog_body", tests, NULL, NULL);
}
