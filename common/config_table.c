#include "common/config_table.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

enum { NAME_BYTES_MAX = 63, TOPIC_BYTES_MAX = 245 /* leaves room for .dlq in Kafka's 249 */ };

static bool holds_only(const char *text, const char *set)
{
    return *text && text[strspn(text, set)] == '\0';
}

/* --- checks: NULL, or what would be right ------------------------------------------------ */

static const char *check_dsn(const char *text)
{
    if (strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0)
        return NULL;
    if (!strstr(text, "://") && strchr(text, '='))
        return NULL;
    return "a connection string, like postgres://user@host:5432/database or 'host=... dbname=...'";
}

static bool is_port(const char *text, long min)
{
    if (!holds_only(text, DIGITS) || strlen(text) > 5)
        return false;
    long port = strtol(text, NULL, 10);
    return port >= min && port <= 65535;
}

/* "host:port" or "[address]:port" of n bytes. */
static bool is_host_port(const char *text, size_t n, bool port_needed, long port_min)
{
    char copy[300];
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    if (strpbrk(copy, " \t\r\n/@"))
        return false;
    char *end = copy[0] == '[' ? strchr(copy, ']') : NULL;
    if (copy[0] == '[' && !end)
        return false;
    char *colon = strrchr(end ? end : copy, ':');
    if (!colon)
        return !port_needed;
    if (!end && memchr(copy, ':', (size_t)(colon - copy)))
        return false; /* an IPv6 address without its brackets */
    return colon > copy && is_port(colon + 1, port_min);
}

static const char *check_bootstrap(const char *text)
{
    for (const char *at = text;; at++) {
        size_t n = strcspn(at, ",");
        const char *begin = at;
        at += n;
        while (n && *begin == ' ') {
            begin++;
            n--;
        }
        if (!is_host_port(begin, n, false, 1))
            return "host:port, or several with commas between them";
        if (!*at)
            return NULL;
    }
}

static const char *check_listen(const char *text)
{
    return is_host_port(text, strlen(text), true, 0)
               ? NULL
               : "host:port, like 127.0.0.1:9464 (port 0: any free one)";
}

static const char *check_topic(const char *text)
{
    bool dots = strcmp(text, ".") == 0 || strcmp(text, "..") == 0;
    if (!dots && strlen(text) <= TOPIC_BYTES_MAX && holds_only(text, LETTERS DIGITS "._-"))
        return NULL;
    return "a topic name: letters, digits, '.', '_' and '-', at most 245";
}

static const char *check_name(const char *text)
{
    if (strlen(text) <= NAME_BYTES_MAX && holds_only(text, LOWER DIGITS "._-") &&
        isalnum((unsigned char)*text))
        return NULL;
    return "a name: lower case letters, digits, '.', '_' and '-', beginning with a letter or digit";
}

static const char *check_instance(const char *text)
{
    return holds_only(text, LETTERS DIGITS "._-:/@") ? NULL
                                                     : "a name such as host-1/0, without spaces";
}

static const char *check_variable(const char *text)
{
    return holds_only(text, LETTERS DIGITS "_") && !isdigit((unsigned char)*text)
               ? NULL
               : "the name of an environment variable";
}

/* --- rows ------------------------------------------------------------------------------- */

#define AT(member) .offset = offsetof(struct config, member)

static const struct field postgres_rows[] = {
    { .name = "dsn",
      .type = FIELD_STRING,
      AT(postgres_dsn),
      .secret = true,
      .check = check_dsn,
      .help = "Where Postgres is, in either form of libpq. Several hosts are tried in turn.",
      .example = "postgres://pawl@db1:5432,db2:5432/pawl?target_session_attrs=read-write" },
    { .name = "connections",
      .type = FIELD_INT,
      AT(postgres_connections),
      .otherwise = "2",
      .min = 1,
      .max = 64,
      .help = "Connections for claims and commits; the heartbeat has one of its own." },
};
static const struct field_table postgres_table = FIELD_TABLE_OF("'postgres'", postgres_rows);

static const struct field topic_rows[] = {
    { .name = "requests",
      .type = FIELD_STRING,
      AT(topic_requests),
      .otherwise = "pawl.run-requests",
      .check = check_topic,
      .help =
          "Requests for runs. What cannot be accepted goes to this name with `.dlq` behind it." },
    { .name = "plan",
      .type = FIELD_STRING,
      AT(topic_plan),
      .otherwise = "pawl.plans",
      .check = check_topic,
      .help = "Doorbells for planners." },
    { .name = "act",
      .type = FIELD_STRING,
      AT(topic_act),
      .otherwise = "pawl.actions",
      .check = check_topic,
      .help = "Doorbells for executors." },
    { .name = "events",
      .type = FIELD_STRING,
      AT(topic_events),
      .otherwise = "pawl.run-events",
      .check = check_topic,
      .help = "Announcements: accepted, waiting, succeeded, failed, cancelled." },
    { .name = "stream",
      .type = FIELD_STRING,
      AT(topic_stream),
      .check = check_topic,
      .help = "Live tokens: what models say, while they say it; absent: not sent.",
      .example = "pawl.run-stream" },
};
static const struct field_table topic_table = FIELD_TABLE_OF("'kafka.topics'", topic_rows);

static const struct field group_rows[] = {
    { .name = "planner",
      .type = FIELD_STRING,
      AT(group_planner),
      .otherwise = "pawl.planner",
      .check = check_topic,
      .help = "Consumer group of the planners." },
    { .name = "executor",
      .type = FIELD_STRING,
      AT(group_executor),
      .otherwise = "pawl.executor",
      .check = check_topic,
      .help = "Consumer group of the executors." },
};
static const struct field_table group_table = FIELD_TABLE_OF("'kafka.groups'", group_rows);

static const struct field kafka_rows[] = {
    { .name = "bootstrap",
      .type = FIELD_STRING,
      AT(kafka_bootstrap),
      .check = check_bootstrap,
      .help = "Where Kafka is; several brokers with commas between them.",
      .example = "kafka1:9092,kafka2:9092" },
    { .name = "topics",
      .type = FIELD_TABLE,
      .table = &topic_table,
      .help = "The names of the topics." },
    { .name = "groups",
      .type = FIELD_TABLE,
      .table = &group_table,
      .help = "The names of the consumer groups." },
    { .name = "properties",
      .type = FIELD_PAIRS,
      AT(kafka_pairs),
      .help = "Passed to librdkafka as they are: TLS, SASL and the like.",
      .example = "{security.protocol: sasl_ssl, sasl.password: {secret: KAFKA_PASSWORD}}" },
};
static const struct field_table kafka_table = FIELD_TABLE_OF("'kafka'", kafka_rows);

static const struct field capacity_rows[] = {
    { .name = "plans",
      .type = FIELD_INT,
      AT(capacity_plans),
      .otherwise = "1000",
      .min = 1,
      .max = 100000,
      .help = "Model calls that one planner has in flight at most." },
    { .name = "actions",
      .type = FIELD_INT,
      AT(capacity_actions),
      .otherwise = "1000",
      .min = 1,
      .max = 100000,
      .help = "Tool calls that one executor has in flight at most." },
};
static const struct field_table capacity_table = FIELD_TABLE_OF("'capacity'", capacity_rows);

static const struct field limit_rows[] = {
    { .name = "request_bytes",
      .type = FIELD_SIZE,
      AT(limit_request_bytes),
      .otherwise = "1MiB",
      .min = 1024,
      .max = 64 << 20,
      .help = "A larger request is not accepted and goes to the dead letter topic." },
};
static const struct field_table limit_table = FIELD_TABLE_OF("'limits'", limit_rows);

static const struct field http_rows[] = {
    { .name = "listen",
      .type = FIELD_STRING,
      AT(http_listen),
      .check = check_listen,
      .help = "Address for health and metrics; port 0 takes any free port; absent: none.",
      .example = "127.0.0.1:9464" },
};
static const struct field_table http_table = FIELD_TABLE_OF("'http'", http_rows);

static const struct field secret_rows[] = {
    { .name = "env",
      .type = FIELD_STRING,
      .offset = offsetof(struct config_source, env),
      .secret = true, /* people write the secret itself here */
      .check = check_variable,
      .help = "The environment variable that holds it, or, with `_FILE` behind its name, the "
              "variable that names a file.",
      .example = "OPENAI_API_KEY" },
    { .name = "file",
      .type = FIELD_STRING,
      .offset = offsetof(struct config_source, file),
      .help = "The file that holds it; its last newline does not count.",
      .example = "/run/secrets/invoice-key" },
};
const struct field_table config_secret_table = FIELD_TABLE_OF("a secret", secret_rows);

static const char *const level_words[] = { "error", "warn", "info", "debug", NULL };
static const char *const format_words[] = { "auto", "json", "human", NULL };
_Static_assert(LOG_ERROR == 0 && LOG_DEBUG == 3, "level_words are in the order of enum log_level");
_Static_assert(LOG_FORMAT_AUTO == 0 && LOG_FORMAT_HUMAN == 2, "format_words likewise");

static const struct field log_rows[] = {
    { .name = "level",
      .type = FIELD_ENUM,
      AT(log_level),
      .otherwise = "info",
      .words = level_words,
      .help = "What is logged." },
    { .name = "format",
      .type = FIELD_ENUM,
      AT(log_format),
      .otherwise = "auto",
      .words = format_words,
      .help = "`auto` is `human` on a terminal and `json` elsewhere." },
};
static const struct field_table log_table = FIELD_TABLE_OF("'log'", log_rows);

static const struct field outbound_rows[] = {
    { .name = "networks",
      .type = FIELD_STRING,
      AT(outbound.networks),
      .min = 1,
      .max = 16384,
      .check = outbound_check_networks,
      .help =
          "Networks that may be reached although they are not public. Without this no tool may be "
          "on a private address, on this machine, or on a link-local one (where clouds have their "
          "metadata).",
      .example = "10.1.0.0/16, ::1" },
    { .name = "hosts",
      .type = FIELD_STRING,
      AT(outbound.hosts),
      .min = 1,
      .max = 16384,
      .check = outbound_check_hosts,
      .help = "The only hosts that may be reached; absent: all.",
      .example = "api.example.com, *.internal.example.com" },
    { .name = "ports",
      .type = FIELD_STRING,
      AT(outbound.ports),
      .min = 1,
      .max = 16384,
      .check = outbound_check_ports,
      .help = "The only ports that may be used; absent: all.",
      .example = "443, 8000-8999" },
    { .name = "https_only",
      .type = FIELD_BOOL,
      AT(outbound.https_only),
      .otherwise = "false",
      .help = "No tool is called without TLS." },
    { .name = "proxy",
      .type = FIELD_BOOL,
      AT(outbound.proxy),
      .otherwise = "false",
      .help =
          "Tools may be called through the proxy that the environment names (`https_proxy` and so "
          "on). It resolves names itself, so only addresses that stand in a URL are checked "
          "then." },
};
static const struct field_table outbound_table = FIELD_TABLE_OF("'outbound'", outbound_rows);

static const struct field rows[] = {
    { .name = "postgres",
      .type = FIELD_TABLE,
      .table = &postgres_table,
      .help = "The database: the only truth." },
    { .name = "kafka",
      .type = FIELD_TABLE,
      .table = &kafka_table,
      .help = "Requests in, doorbells and announcements out." },
    { .name = "class",
      .type = FIELD_STRING,
      AT(class),
      .otherwise = "default",
      .check = check_name,
      .help = "The class of runs that this process serves." },
    { .name = "tenant",
      .type = FIELD_STRING,
      AT(tenant),
      .otherwise = "default",
      .check = check_name,
      .help = "The tenant of the requests that come from the requests topic." },
    { .name = "capacity",
      .type = FIELD_TABLE,
      .table = &capacity_table,
      .help = "How much one process does at once." },
    { .name = "limits",
      .type = FIELD_TABLE,
      .table = &limit_table,
      .help = "Bounds on what comes in." },
    { .name = "outbound",
      .type = FIELD_TABLE,
      .table = &outbound_table,
      .help = "Where calls of tools may go (executor). The address is checked after the name was "
              "resolved." },
    { .name = "http", .type = FIELD_TABLE, .table = &http_table, .help = "Health and metrics." },
    { .name = "secrets",
      .type = FIELD_MAP,
      AT(secrets_node),
      .table = &config_secret_table,
      .help = "Secrets by name: each has `env` or `file`. Read once, at the start.",
      .example = "{OPENAI_API_KEY: {env: OPENAI_API_KEY}}" },
    { .name = "log",
      .type = FIELD_TABLE,
      .table = &log_table,
      .help = "The log, on standard error." },
    { .name = "grace",
      .type = FIELD_DURATION,
      AT(grace_ms),
      .min = 0,
      .max = INT64_C(7) * 86400 * 1000,
      .help = "How long work in flight may go on after SIGTERM; absent: as long as the longest "
              "call timeout of all models and tools.",
      .example = "10m" },
    { .name = "instance",
      .type = FIELD_STRING,
      AT(instance),
      .min = 1,
      .max = 128,
      .check = check_instance,
      .help = "The name of this place, the same after a restart; absent: host name and kind of "
              "process.",
      .example = "host-1/0" },
};
const struct field_table config_table = FIELD_TABLE_OF("the process file", rows);

/* --- spellings ------------------------------------------------------------------------------ */

static const char *spell(const char *head, const char *path, char joint, bool upper,
                         char out[CONFIG_NAME_SIZE])
{
    int n = snprintf(out, CONFIG_NAME_SIZE, "%s%s", head, path);
    assert(n > 0 && n < CONFIG_NAME_SIZE); /* our own table */
    for (char *c = out + strlen(head); *c; c++)
        if (*c == '.' || *c == '_')
            *c = joint;
        else if (upper)
            *c = (char)toupper((unsigned char)*c);
    return out;
}

const char *config_env_name(const char *path, char out[CONFIG_NAME_SIZE])
{
    return spell("PAWL_", path, '_', true, out);
}

const char *config_flag_name(const char *path, char out[CONFIG_NAME_SIZE])
{
    return spell("--", path, '-', false, out);
}
