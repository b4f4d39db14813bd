/*
 * test_registry.c -- definitions as they are published, resolved and kept.
 */
#include "tests/store/got.h"

#include "common/json.h"
#include "common/registry.h"

#include <stdlib.h>

static struct world world;
static struct store *store;
static struct registry *registry;

static struct seen {
    int tools, models, agents, answers;
    enum outcome outcome;
    struct error error;
    const struct registry_agent *agent;
    const struct tool_def *tool;
} seen;

static void on_tool_read(void *arg, int64_t seq, const struct tool_def *def)
{
    (void)arg;
    assert_true(seq > 0 && def);
    seen.tools++;
}

static void on_model_read(void *arg, int64_t seq, const struct model_def *def)
{
    (void)arg;
    assert_true(seq > 0 && def);
    seen.models++;
}

static const char first_files[] =
    "models:\n"
    "  demo: {dialect: openai_chat, base_url: 'http://127.0.0.1:1/v1', model: gpt-x, timeout: 7m}\n"
    "tools:\n"
    "  look: {description: Looks., parameters: {type: object}, read_only: true, timeout: 3s,\n"
    "         http: {method: POST, url: 'http://127.0.0.1:1/look'}}\n"
    "  send: {description: Sends., parameters: {type: object}, timeout: 20s,\n"
    "         http: {method: POST, url: 'http://127.0.0.1:1/send'}}\n"
    "agents:\n"
    "  clerk: {description: d, instructions: Work., model: demo, tools: [send, look]}\n";

/* The tool `look` changes, and with it the agent. */
static const char *second_files(char out[2000])
{
    (void)snprintf(out, 2000, "%s", first_files);
    char *at = strstr(out, "Looks.");
    assert_non_null(at);
    memcpy(at, "Peeks.", 6);
    return out;
}

static void publish(const char *yaml)
{
    struct error err;
    struct catalog c;
    assert_ok(catalog_read_text(&c, "test.yaml", yaml, strlen(yaml), NULL, NULL, &err), &err);
    for (size_t i = 0; i < c.count; i++) {
        struct pg_params p;
        char *body = json_canonical(c.entries[i].body);
        pg_params_init(&p, 1 << 20);
        pg_add_text(&p, catalog_kind_name(c.entries[i].kind));
        pg_add_text(&p, c.entries[i].name);
        pg_add_text(&p, c.entries[i].digest);
        pg_add_text(&p, body);
        assert_ok(pg_exec(world.pg,
                          "SELECT pawl.publish($1, $2, $3, $4, 'tests', NULL, NULL, NULL, NULL, "
                          "NULL, NULL, NULL)",
                          &p, 0, NULL, &err),
                  &err);
        pg_params_release(&p);
        free(body);
    }
    catalog_release(&c);
}

static int64_t seq_of(const char *name)
{
    return world_int(&world,
                     "SELECT seq FROM pawl.current_revisions WHERE name = '%s' "
                     "AND kind <> 'model'",
                     name);
}

static int setup(void **state)
{
    struct registry_calls calls = { .on_tool = on_tool_read, .on_model = on_model_read };
    (void)state;
    world_open(&world);
    /* Those of the other tests have no bodies. */
    world_sql(&world, "DELETE FROM pawl.current_revisions");
    world_sql(&world, "DELETE FROM pawl.revisions");
    publish(first_files);
    store = got_store(&world, "planner", 1);
    seen = (struct seen){ .answers = 0 };
    registry_init(&registry, &world.loop, store, &calls);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    registry_free(registry);
    store_free(store);
    world_close(&world);
    return 0;
}

static void on_agent(void *arg, enum outcome outcome, const struct registry_agent *agent,
                     const struct error *err)
{
    (void)arg;
    seen.answers++;
    seen.outcome = outcome;
    seen.agent = agent;
    if (err)
        seen.error = *err;
}

static void on_tool(void *arg, enum outcome outcome, const struct tool_def *def,
                    const struct error *err)
{
    (void)arg;
    seen.answers++;
    seen.outcome = outcome;
    seen.tool = def;
    if (err)
        seen.error = *err;
}

static void wait_answers(int n)
{
    UNTIL(&world, seen.answers == n, 10000);
}

static void test_agent_with_its_pins(void **state)
{
    int64_t seq = seq_of("clerk");
    (void)state;
    assert_null(registry_agent_now(registry, seq));
    registry_agent(registry, seq, on_agent, NULL);
    registry_agent(registry, seq, on_agent, NULL); /* two who wait for the same */
    assert_int_equal(seen.answers, 0);
    wait_answers(2);
    assert_ok(seen.outcome, &seen.error);
    assert_string_equal(seen.agent->def->name, "clerk");
    assert_string_equal(seen.agent->models[0].def->model, "gpt-x");
    assert_int_equal(seen.agent->def->tool_count, 2);
    for (size_t i = 0; i < 2; i++) { /* in the agent's own order */
        const char *name = seen.agent->def->tools[i].name;
        assert_string_equal(seen.agent->tools[i].def->name, name);
        assert_int_equal(seen.agent->tools[i].seq, seq_of(name));
    }
    assert_int_equal(seen.tools, 2);
    assert_int_equal(seen.models, 1);
    assert_true(registry_agent_now(registry, seq) == seen.agent);

    /* Here already: still not from inside. */
    registry_agent(registry, seq, on_agent, NULL);
    assert_int_equal(seen.answers, 2);
    wait_answers(3);
    assert_int_equal(registry_longest_model_ms(registry), 7 * 60 * 1000);
    assert_int_equal(registry_longest_tool_ms(registry), 20 * 1000);
}

static void test_tools_by_themselves(void **state)
{
    int64_t seq = seq_of("look");
    (void)state;
    registry_tool(registry, seq, on_tool, NULL);
    wait_answers(1);
    assert_string_equal(seen.tool->name, "look");
    assert_true(registry_tool_now(registry, seq) == seen.tool);
    registry_tool(registry, seq_of("clerk"), on_tool, NULL);
    wait_answers(2);
    assert_int_equal(seen.outcome, REFUSED);
    assert_contains(seen.error.text, "is not a tool");
    registry_agent(registry, seq, on_agent, NULL);
    wait_answers(3);
    assert_int_equal(seen.outcome, REFUSED);
    registry_agent(registry, 999999, on_agent, NULL);
    wait_answers(4);
    assert_int_equal(seen.outcome, REFUSED);
    assert_contains(seen.error.text, "999999");
}

static void test_cancelled_questions(void **state)
{
    int64_t seq = seq_of("clerk");
    (void)state;
    registry_ticket t = registry_agent(registry, seq, on_agent, NULL);
    registry_cancel(registry, t);
    UNTIL(&world, registry_agent_now(registry, seq) != NULL, 5000);
    t = registry_agent(registry, seq, on_agent, NULL); /* ready, and cancelled */
    registry_cancel(registry, t);
    registry_cancel(registry, t);
    registry_cancel(registry, 0);
    for (int i = 0; i < 5; i++)
        loop_turn(&world.loop, 10);
    assert_int_equal(seen.answers, 0);

    /* Freed with questions open. */
    registry_agent(registry, seq, on_agent, NULL);
    registry_tool(registry, 12345, on_tool, NULL);
}

static void test_current_is_read_ahead(void **state)
{
    char files[2000];
    int64_t old_agent = seq_of("clerk"), old_look = seq_of("look");
    (void)state;
    registry_refresh(registry);
    registry_refresh(registry);
    UNTIL(&world, registry_agent_now(registry, old_agent) != NULL, 5000);
    assert_int_equal(seen.tools, 2);
    const struct registry_agent *before = registry_agent_now(registry, old_agent);

    publish(second_files(files));
    registry_refresh(registry);
    int64_t new_agent = seq_of("clerk");
    assert_true(new_agent != old_agent);
    UNTIL(&world, registry_agent_now(registry, new_agent) != NULL, 5000);
    assert_int_equal(seen.tools, 3); /* only what changed was read */
    assert_int_equal(seen.models, 1);
    assert_true(registry_agent_now(registry, old_agent) == before);
    assert_string_equal(registry_tool_now(registry, old_look)->description, "Looks.");
    assert_string_equal(registry_tool_now(registry, seq_of("look"))->description, "Peeks.");
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    world_sql(&world,
              "SELECT pawl.publish('agent', 'odd', repeat('c', 64), '[1,2]', 'tests', NULL, "
              "NULL, NULL, NULL, NULL, NULL, NULL)");
    registry_refresh(registry);
    registry_agent(registry, seq_of("odd"), on_agent, NULL);
    wait_answers(1);
    assert_int_equal(seen.outcome, REFUSED);
    UNTIL(&world, registry_agent_now(registry, seq_of("clerk")) != NULL, 5000);

    /* An agent whose tool is gone from the table. */
    world_sql(&world, "SET session_replication_role = replica");
    world_sql(&world, "UPDATE pawl.revisions SET name = 'other' WHERE name = 'send'");
    registry_free(registry);
    struct registry_calls calls = { .arg = NULL };
    registry_init(&registry, &world.loop, store, &calls);
    registry_agent(registry, seq_of("clerk"), on_agent, NULL);
    wait_answers(2);
    assert_int_equal(seen.outcome, REFUSED);
    assert_contains(seen.error.text, "pins a model or tool");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_agent_with_its_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tools_by_themselves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_questions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_current_is_read_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
