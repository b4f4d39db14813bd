#include "common/config.h"
#include "common/memory.h"
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each test has a directory of its own as its current one, and an environment
 * without PAWL_*.                                                           */
static char directory[64];

static int set_up(void **state)
{
    (void)state;
    static const char *const used[] = {
        "PAWL_CONFIG",          "PAWL_POSTGRES_DSN",  "PAWL_POSTGRES_DSN_FILE",
        "PAWL_KAFKA_BOOTSTRAP", "PAWL_CLASS",         "PAWL_TENANT",
        "PAWL_LOG_LEVEL",       "PAWL_LOG_FORMAT",    "PAWL_HTTP_LISTEN",
        "PAWL_INSTANCE",        "PAWL_GRACE",         "T_ENV_SECRET",
        "T_ENV_SECRET_FILE",    "PAWL_CAPACITY_PLANS"
    };
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        unsetenv(used[i]);
    strcpy(directory, "/tmp/test_config.XXXXXX");
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *where)
{
    (void)status;
    (void)flag;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return chdir("/") == 0 ? nftw(directory, remove_one, 4, FTW_DEPTH | FTW_PHYS) : -1;
}

static void write_file(const char *name, const char *text)
{
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static enum outcome load(struct config *cfg, const char *text, struct error *err)
{
    write_file("pawl.yaml", text);
    return config_load(cfg, "pawl.yaml", NULL, 0, err);
}

static void assert_refused_at(const char *text, const char *message, const char *file, int line)
{
    struct config cfg;
    struct error err = { "" };
    if (load(&cfg, text, &err) == OK) {
        config_release(&cfg);
        fail_at(file, line, "accepted: %s", text);
    }
    if (strcmp(err.text, message) != 0)
        fail_at(file, line, "expected '%s', got '%s'", message, err.text);
}
#define assert_refused(text, message) assert_refused_at((text), (message), __FILE__, __LINE__)

/* What config_print says, as JSON. */
static json_t *printed(const struct config *cfg)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    config_print(cfg, out, true);
    fclose(out);
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    free(text);
    return object;
}

static const char *shown(const json_t *object, const char *path, const char *what)
{
    return json_string_value(json_object_get(json_object_get(object, path), what));
}

static void everything_has_a_default(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    assert_ok(config_load(&cfg, NULL, NULL, 0, &err), &err);
    assert_null(cfg.file);
    assert_null(cfg.postgres_dsn);
    assert_int_equal(cfg.postgres_connections, 2);
    assert_null(cfg.kafka_bootstrap);
    assert_string_equal(cfg.topic_requests, "pawl.run-requests");
    assert_string_equal(cfg.topic_dlq, "pawl.run-requests.dlq");
    assert_string_equal(cfg.topic_plan, "pawl.plans");
    assert_string_equal(cfg.topic_act, "pawl.actions");
    assert_string_equal(cfg.topic_events, "pawl.run-events");
    assert_null(cfg.topic_stream);
    assert_string_equal(cfg.group_planner, "pawl.planner");
    assert_string_equal(cfg.group_executor, "pawl.executor");
    assert_string_equal(cfg.class, "default");
    assert_string_equal(cfg.tenant, "default");
    assert_int_equal(cfg.capacity_plans, 1000);
    assert_int_equal(cfg.capacity_actions, 1000);
    assert_int_equal(cfg.limit_request_bytes, 1 << 20);
    assert_null(cfg.http_listen);
    assert_int_equal(cfg.log_level, LOG_INFO);
    assert_int_equal(cfg.log_format, LOG_FORMAT_AUTO);
    assert_int_equal(cfg.grace_ms, -1);
    assert_null(cfg.instance);
    assert_int_equal(cfg.secret_count, 0);
    config_release(&cfg);
    assert_ok(load(&cfg, "# nothing\n", &err), &err); /* an empty file is the same */
    assert_string_equal(cfg.class, "default");
    assert_string_equal(cfg.file, "pawl.yaml");
    config_release(&cfg);
}

static const char whole[] = "postgres: {dsn: \"host=a,b dbname=p\", connections: 4}\n"
                            "kafka:\n"
                            "  bootstrap: k1:9092, [::1]:9093,k3\n"
                            "  topics: {requests: r, plan: p, act: a, events: e, stream: s}\n"
                            "  groups: {planner: gp, executor: ge}\n"
                            "  properties:\n"
                            "    security.protocol: ssl\n"
                            "    socket.timeout.ms: 3000\n"
                            "    sasl.password: {secret: K}\n"
                            "class: batch\n"
                            "tenant: acme\n"
                            "capacity: {plans: 5, actions: 6}\n"
                            "limits: {request_bytes: 64KiB}\n"
                            "http: {listen: \"127.0.0.1:0\"}\n"
                            "secrets: {K: {env: T_ENV_SECRET}, F: {file: secret.txt}}\n"
                            "log: {level: debug, format: json}\n"
                            "grace: 90s\n"
                            "instance: host-1/2\n";

static void the_file_sets_everything(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    setenv("T_ENV_SECRET", "geheim", 1);
    write_file("secret.txt", "from a file\n");
    assert_ok(load(&cfg, whole, &err), &err);
    assert_string_equal(cfg.postgres_dsn, "host=a,b dbname=p");
    assert_int_equal(cfg.postgres_connections, 4);
    assert_string_equal(cfg.kafka_bootstrap, "k1:9092, [::1]:9093,k3");
    assert_string_equal(cfg.topic_dlq, "r.dlq");
    assert_string_equal(cfg.topic_events, "e");
    assert_string_equal(cfg.topic_stream, "s");
    assert_string_equal(cfg.group_executor, "ge");
    assert_int_equal(cfg.kafka_property_count, 3);
    assert_string_equal(cfg.kafka_properties[1].name, "socket.timeout.ms");
    assert_string_equal(cfg.kafka_properties[1].value, "3000");
    assert_false(cfg.kafka_properties[1].secret);
    assert_string_equal(cfg.kafka_properties[2].value, "geheim");
    assert_true(cfg.kafka_properties[2].secret);
    assert_string_equal(cfg.class, "batch");
    assert_string_equal(cfg.tenant, "acme");
    assert_int_equal(cfg.capacity_plans, 5);
    assert_int_equal(cfg.capacity_actions, 6);
    assert_int_equal(cfg.limit_request_bytes, 65536);
    assert_string_equal(cfg.http_listen, "127.0.0.1:0");
    assert_int_equal(cfg.log_level, LOG_DEBUG);
    assert_int_equal(cfg.log_format, LOG_FORMAT_JSON);
    assert_int_equal(cfg.grace_ms, 90000);
    assert_string_equal(cfg.instance, "host-1/2");
    assert_string_equal(config_secret(&cfg, "K"), "geheim");
    assert_string_equal(config_secret(&cfg, "F"), "from a file");
    assert_null(config_secret(&cfg, "X"));
    assert_ok(config_require(&cfg, CONFIG_POSTGRES | CONFIG_KAFKA, &err), &err);
    config_release(&cfg);
}

static void flags_win_over_the_environment_and_that_over_the_file(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    const struct config_flag flags[] = { { "class", "flag" }, { "--grace", "3s" } };
    write_file("pawl.yaml", "class: file\ntenant: file\ninstance: file\ngrace: 1s\n");
    setenv("PAWL_CLASS", "env", 1);
    setenv("PAWL_TENANT", "env", 1);
    setenv("PAWL_INSTANCE", "", 1); /* empty counts as not set */
    setenv("PAWL_CAPACITY_PLANS", "12", 1);
    setenv("PAWL_LOG_LEVEL", "warn", 1);
    setenv("PAWL_CONFIG", "pawl.yaml", 1);
    assert_ok(config_load(&cfg, NULL, flags, 2, &err), &err);
    assert_string_equal(cfg.class, "flag");
    assert_string_equal(cfg.tenant, "env");
    assert_string_equal(cfg.instance, "file");
    assert_int_equal(cfg.grace_ms, 3000);
    assert_int_equal(cfg.capacity_plans, 12);
    assert_int_equal(cfg.log_level, LOG_WARN);
    json_t *object = printed(&cfg);
    assert_string_equal(shown(object, "class", "origin"), "--class");
    assert_string_equal(shown(object, "tenant", "origin"), "PAWL_TENANT");
    assert_string_equal(shown(object, "instance", "origin"), "pawl.yaml:3");
    assert_string_equal(shown(object, "grace", "origin"), "--grace");
    assert_string_equal(shown(object, "log.format", "origin"), "default");
    assert_string_equal(shown(object, "capacity.plans", "value"), "12");
    assert_true(json_is_null(json_object_get(json_object_get(object, "http.listen"), "value")));
    json_decref(object);
    config_release(&cfg);
}

static const char *const mistakes[][2] = {
    { "kafak: {}\n", "pawl.yaml:1: 'kafak' is not a key of the process file; did you mean "
                     "'kafka'?" },
    { "kafka:\n  topics:\n    plans: x\n",
      "pawl.yaml:3: 'plans' is not a key of 'kafka.topics'; did you mean 'plan'?" },
    { "postgres: {dsn: 5}\n", "pawl.yaml:1: 'dsn' is unusable; to make it text, put it in "
                              "quotes" },
    { "postgres: {dsn: \"mysql://u:pw@h/d\"}\n",
      "pawl.yaml:1: 'dsn' is unusable; write a connection string, like "
      "postgres://user@host:5432/database or 'host=... dbname=...'" },
    { "postgres:\n  connections: 0\n",
      "pawl.yaml:2: 'connections' is the number 0; write a whole number from 1 to 64" },
    { "kafka: {bootstrap: \"k1:\"}\n", "pawl.yaml:1: 'bootstrap' is the text 'k1:'; write "
                                       "host:port, or several with commas between them" },
    { "kafka: {bootstrap: \"k1:9092,\"}\n",
      "pawl.yaml:1: 'bootstrap' is the text 'k1:9092,'; write host:port, or several with commas "
      "between them" },
    { "http: {listen: 9464}\n", "pawl.yaml:1: 'listen' is the number 9464; to make it text, put it "
                                "in quotes" },
    { "http: {listen: \"localhost\"}\n",
      "pawl.yaml:1: 'listen' is the text 'localhost'; write host:port, like 127.0.0.1:9464 (port "
      "0: any free one)" },
    { "http: {listen: \"::1:80\"}\n",
      "pawl.yaml:1: 'listen' is the text '::1:80'; write host:port, like 127.0.0.1:9464 (port 0: "
      "any free one)" },
    { "class: Big\n", "pawl.yaml:1: 'class' is the text 'Big'; write a name: lower case letters, "
                      "digits, '.', '_' and '-', beginning with a letter or digit" },
    { "kafka: {topics: {plan: \"a b\"}}\n",
      "pawl.yaml:1: 'plan' is the text 'a b'; write a topic name: letters, digits, '.', '_' and "
      "'-', at most 245" },
    { "kafka:\n  topics:\n    plan: same\n    act: same\n",
      "pawl.yaml:4: kafka.topics.plan and kafka.topics.act are both 'same'; give each topic a name "
      "of its own" },
    { "kafka: {topics: {stream: pawl.plans}}\n",
      "pawl.yaml:1: kafka.topics.plan and kafka.topics.stream are both 'pawl.plans'; give each "
      "topic a name of its own" },
    { "kafka:\n  topics: {plan: pawl.run-requests.dlq}\n",
      "pawl.yaml:2: kafka.topics.plan and kafka.topics.requests are both 'pawl.run-requests.dlq'; "
      "give each topic a name of its own" },
    { "kafka: {groups: {planner: g, executor: g}}\n",
      "pawl.yaml:1: kafka.groups.planner and kafka.groups.executor are both 'g'; give each group a "
      "name of its own" },
    { "kafka:\n  properties:\n    group.id: x\n",
      "pawl.yaml:3: property 'group.id' is set by pawl; remove it" },
    { "kafka:\n  properties:\n    sasl.password: {secret: K}\n",
      "pawl.yaml:3: property 'sasl.password' names secret 'K', which is not under 'secrets'; add "
      "it there" },
    { "secrets:\n  K: sk-live-12345\n",
      "pawl.yaml:2: secret 'K' is not a mapping; write {env: VARIABLE} or {file: PATH}" },
    { "secrets:\n  K: {env: sk-live-12345}\n",
      "pawl.yaml:2: 'env' is unusable; write the name of an environment variable" },
    { "secrets: {K: {}}\n", "pawl.yaml:1: secret 'K' needs one of 'env' and 'file'; write {env: "
                            "VARIABLE} or {file: PATH}" },
    { "secrets: {K: {env: A, file: b}}\n",
      "pawl.yaml:1: secret 'K' needs one of 'env' and 'file'; write {env: VARIABLE} or {file: "
      "PATH}" },
    { "secrets: {'a b': {env: A}}\n",
      "pawl.yaml:1: 'a b' cannot name a secret; write the name of a secret: letters, digits, '_', "
      "'-' and '.', at most 64" },
    { "log: {level: loud}\n",
      "pawl.yaml:1: 'level' is the text 'loud'; write error, warn, info or debug" },
    { "grace: 8d\n", "pawl.yaml:1: 'grace' is the text '8d'; write a duration from 0ms to 7d" },
    { "instance: \"a b\"\n", "pawl.yaml:1: 'instance' is the text 'a b'; write a name such as "
                             "host-1/0, without spaces" },
    { "class: a\n---\nclass: b\n", "pawl.yaml:3: a second document begins here; a process file is "
                                   "one: remove the '---'" },
    { "- a\n", "pawl.yaml:1: the process file is a list; write a mapping, like `postgres: ...`" },
};

static void mistakes_name_file_line_and_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        assert_refused(mistakes[i][0], mistakes[i][1]);
    struct config cfg;
    struct error err;
    assert_int_equal(config_load(&cfg, "absent.yaml", NULL, 0, &err), REFUSED);
    assert_string_equal(err.text, "cannot open absent.yaml: No such file or directory");
}

static void mistakes_in_environment_and_flags_name_them(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    const struct config_flag wrong = { "--kafka-bootstrp", "x" }, strange = { "colour", "x" };
    const struct config_flag bad = { "log.level", "x" };
    assert_int_equal(config_load(&cfg, NULL, &wrong, 1, &err), REFUSED);
    assert_string_equal(err.text,
                        "'--kafka-bootstrp' is not a setting; did you mean '--kafka-bootstrap'?");
    assert_int_equal(config_load(&cfg, NULL, &strange, 1, &err), REFUSED);
    assert_string_equal(err.text, "'colour' is not a setting; --help lists them");
    assert_int_equal(config_load(&cfg, NULL, &bad, 1, &err), REFUSED);
    assert_string_equal(err.text, "--log-level is 'x'; write error, warn, info or debug");
    setenv("PAWL_CAPACITY_PLANS", "lots", 1);
    assert_int_equal(config_load(&cfg, NULL, NULL, 0, &err), REFUSED);
    assert_string_equal(err.text,
                        "PAWL_CAPACITY_PLANS is 'lots'; write a whole number from 1 to 100000");
    unsetenv("PAWL_CAPACITY_PLANS");
    setenv("PAWL_POSTGRES_DSN", "user:hunter2@host", 1);
    assert_int_equal(config_load(&cfg, NULL, NULL, 0, &err), REFUSED);
    assert_string_equal(err.text,
                        "PAWL_POSTGRES_DSN cannot be used; write a connection string, like "
                        "postgres://user@host:5432/database or 'host=... dbname=...'");
}

static void a_dsn_may_come_from_a_file(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    write_file("dsn", "postgres://u:hunter2@h1,h2/d\r\n");
    setenv("PAWL_POSTGRES_DSN_FILE", "dsn", 1);
    assert_ok(config_load(&cfg, NULL, NULL, 0, &err), &err);
    assert_string_equal(cfg.postgres_dsn, "postgres://u:hunter2@h1,h2/d");
    json_t *object = printed(&cfg);
    assert_string_equal(shown(object, "postgres.dsn", "value"), "postgres://u:***@h1,h2/d");
    assert_string_equal(shown(object, "postgres.dsn", "origin"), "PAWL_POSTGRES_DSN_FILE");
    json_decref(object);
    config_release(&cfg);
    setenv("PAWL_POSTGRES_DSN", "host=x", 1);
    assert_int_equal(config_load(&cfg, NULL, NULL, 0, &err), REFUSED);
    assert_string_equal(err.text,
                        "both PAWL_POSTGRES_DSN and PAWL_POSTGRES_DSN_FILE are set; unset one");
    unsetenv("PAWL_POSTGRES_DSN");
    setenv("PAWL_POSTGRES_DSN_FILE", "absent", 1);
    assert_int_equal(config_load(&cfg, NULL, NULL, 0, &err), REFUSED);
    assert_string_equal(err.text, "PAWL_POSTGRES_DSN_FILE: file absent cannot be opened: No such "
                                  "file or directory");
    write_file("dsn", "hunter2");
    setenv("PAWL_POSTGRES_DSN_FILE", "dsn", 1);
    assert_int_equal(config_load(&cfg, NULL, NULL, 0, &err), REFUSED);
    assert_string_equal(err.text,
                        "the file of PAWL_POSTGRES_DSN_FILE cannot be used; write a connection "
                        "string, like postgres://user@host:5432/database or 'host=... "
                        "dbname=...'");
}

/* What cannot be read is told when it is needed, not before. */
static void absent_secrets_stop_only_who_needs_them(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    const char *value;
    write_file("empty", "\n");
    assert_ok(load(&cfg,
                   "kafka: {bootstrap: k, properties: {sasl.password: {secret: A}}}\n"
                   "secrets: {A: {env: T_ENV_SECRET}, B: {file: absent}, C: {file: empty}}\n",
                   &err),
              &err);
    assert_null(config_secret(&cfg, "A"));
    assert_int_equal(config_secret_get(&cfg, "A", &value, &err), REFUSED);
    assert_string_equal(err.text, "secret 'A': environment variable T_ENV_SECRET is not set; set "
                                  "it, or T_ENV_SECRET_FILE");
    assert_int_equal(config_secret_get(&cfg, "B", &value, &err), REFUSED);
    assert_string_equal(err.text,
                        "secret 'B': file absent cannot be opened: No such file or directory");
    assert_int_equal(config_secret_get(&cfg, "C", &value, &err), REFUSED);
    assert_string_equal(err.text, "secret 'C': file empty is empty");
    assert_int_equal(config_secret_get(&cfg, "D", &value, &err), REFUSED);
    assert_string_equal(err.text, "secret 'D' is not named in pawl.yaml; add `secrets: {D: {env: "
                                  "VARIABLE}}`");
    assert_null(value);
    assert_ok(config_require(&cfg, 0, &err), &err);
    assert_int_equal(config_require(&cfg, CONFIG_POSTGRES, &err), REFUSED);
    assert_string_equal(err.text, "postgres.dsn is not set; set PAWL_POSTGRES_DSN or "
                                  "--postgres-dsn, or write `postgres: {dsn: ...}` in pawl.yaml");
    assert_int_equal(config_require(&cfg, CONFIG_KAFKA, &err), REFUSED);
    assert_contains(err.text, "secret 'A': environment variable T_ENV_SECRET is not set");
    config_release(&cfg);
    assert_ok(config_load(&cfg, NULL, NULL, 0, &err), &err);
    assert_int_equal(config_require(&cfg, CONFIG_KAFKA, &err), REFUSED);
    assert_string_equal(err.text,
                        "kafka.bootstrap is not set; set PAWL_KAFKA_BOOTSTRAP or "
                        "--kafka-bootstrap, or write `kafka: {bootstrap: ...}` in the process file "
                        "(--config)");
    config_release(&cfg);
}

static void secrets_come_from_variables_files_and_variables_that_name_files(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    write_file("one", "two lines\nof it\n");
    setenv("T_ENV_SECRET_FILE", "one", 1);
    assert_ok(load(&cfg, "secrets: {A: {env: T_ENV_SECRET}}\n", &err), &err);
    assert_string_equal(config_secret(&cfg, "A"), "two lines\nof it");
    config_release(&cfg);
    setenv("T_ENV_SECRET", "direct", 1); /* the variable itself comes first */
    assert_ok(load(&cfg, "secrets: {A: {env: T_ENV_SECRET}}\n", &err), &err);
    assert_string_equal(config_secret(&cfg, "A"), "direct");
    config_release(&cfg);

    int fd = open("large", O_CREAT | O_WRONLY, 0600);
    assert_int_equal(ftruncate(fd, 64 * 1024 + 1), 0);
    close(fd);
    assert_ok(load(&cfg, "secrets: {A: {file: large}}\n", &err), &err);
    assert_string_equal(cfg.secrets[0].problem, "file large is larger than 65536 bytes");
    config_release(&cfg);
    assert_int_equal(truncate("large", 5), 0);
    assert_ok(load(&cfg, "secrets: {A: {file: large}}\n", &err), &err);
    assert_string_equal(cfg.secrets[0].problem, "file large holds a NUL character");
    config_release(&cfg);
}

static void nothing_secret_is_printed(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    char *text = NULL;
    size_t size = 0;
    setenv("T_ENV_SECRET", "hunter2", 1);
    assert_ok(load(&cfg,
                   "postgres: {dsn: \"host=h password='hunter2' user=u\"}\n"
                   "kafka:\n"
                   "  properties:\n"
                   "    ssl.ca.location: /ca.pem\n"
                   "    sasl.password: hunter2\n"
                   "    ssl.key.pem: hunter2\n"
                   "    sasl.username: {secret: S, prefix: u-}\n"
                   "secrets: {S: {env: T_ENV_SECRET}, T: {file: nowhere}}\n",
                   &err),
              &err);
    assert_string_equal(cfg.kafka_properties[3].value, "u-hunter2");
    for (int json = 0; json <= 1; json++) {
        FILE *out = open_memstream(&text, &size);
        config_print(&cfg, out, json);
        fclose(out);
        assert_null(strstr(text, "hunter2"));
        assert_contains(text, "host=h password=*** user=u");
        assert_contains(text, "/ca.pem");
        assert_contains(text, "not there: file nowhere cannot be opened: No such file");
        free(text);
    }
    json_t *object = printed(&cfg);
    assert_string_equal(shown(object, "kafka.properties.sasl.password", "value"), "***");
    assert_string_equal(shown(object, "kafka.properties.sasl.password", "origin"), "pawl.yaml:5");
    assert_string_equal(shown(object, "kafka.properties.ssl.key.pem", "value"), "***");
    assert_string_equal(shown(object, "kafka.properties.sasl.username", "value"), "***");
    assert_string_equal(shown(object, "secrets.S", "value"), "***");
    assert_string_equal(shown(object, "secrets.S", "origin"), "env:T_ENV_SECRET");
    json_decref(object);
    config_release(&cfg);
}

static void people_read_it_in_columns(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    char *text = NULL;
    size_t size = 0;
    assert_ok(load(&cfg, "class: batch\n", &err), &err);
    FILE *out = open_memstream(&text, &size);
    config_print(&cfg, out, false);
    fclose(out);
    assert_contains(text, "postgres.dsn           -                  default\n");
    assert_contains(text, "class                  batch              pawl.yaml:1\n");
    assert_contains(text, "limits.request_bytes   1MiB               default\n");
    free(text);
    config_release(&cfg);
}

static void pairs_are_expanded(void **state)
{
    (void)state;
    struct config cfg;
    struct error err;
    AUTO_BUF struct buf out;
    const struct field_pair text = { .name = "a", .text = "plain", .prefix = "" };
    const struct field_pair secret = { .name = "b", .secret = "S", .prefix = "Bearer " };
    const struct field_pair absent = { .name = "c", .secret = "X", .prefix = "" };
    setenv("T_ENV_SECRET", "hunter2", 1);
    assert_ok(load(&cfg, "secrets: {S: {env: T_ENV_SECRET}}\n", &err), &err);
    buf_init(&out, 32);
    assert_ok(config_expand(&cfg, &text, &out, &err), &err);
    assert_string_equal(out.data, "plain");
    assert_ok(config_expand(&cfg, &secret, &out, &err), &err);
    assert_string_equal(out.data, "plainBearer hunter2");
    assert_int_equal(config_expand(&cfg, &absent, &out, &err), REFUSED);
    assert_contains(err.text, "secret 'X' is not named in pawl.yaml");
    assert_int_equal(config_expand(&cfg, &secret, &out, &err), REFUSED);
    assert_string_equal(err.text, "'b' is longer than 32 bytes");
    assert_string_equal(out.data, "plainBearer hunter2"); /* no half of it */
    config_release(&cfg);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_has_a_default),
        TEST(the_file_sets_everything),
        TEST(flags_win_over_the_environment_and_that_over_the_file),
        TEST(mistakes_name_file_line_and_remedy),
        TEST(mistakes_in_environment_and_flags_name_them),
        TEST(a_dsn_may_come_from_a_file),
        TEST(absent_secrets_stop_only_who_needs_them),
        TEST(secrets_come_from_variables_files_and_variables_that_name_files),
        TEST(nothing_secret_is_printed),
        TEST(people_read_it_in_columns),
        TEST(pairs_are_expanded),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
