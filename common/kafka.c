#include "common/kafka.h"

#include "common/kafka_tsan.h"
#include "common/log.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <string.h>

enum { FOR_PRODUCER = 1 << KAFKA_PRODUCER, FOR_CONSUMER = 1 << KAFKA_CONSUMER, FOR_ALL = 7 };

/* Our defaults.  Where librdkafka's own is as good, it is not repeated here. */
static const struct setting {
    unsigned roles;
    const char *name;
    const char *value;
} settings_table[] = {
    /* Small records must not wait for company, nor for an ACK of TCP.  Measured
     * per hop: 0.2 ms instead of 6 with librdkafka's default of linger.ms.   */
    { FOR_ALL, "socket.nagle.disable", "true" },
    { FOR_PRODUCER, "linger.ms", "0" },
    { FOR_CONSUMER, "fetch.min.bytes", "1" },

    /* Come back soon after an outage, and do not report idle connections that
     * the broker closes in the normal course of things.                      */
    { FOR_ALL, "reconnect.backoff.max.ms", "1000" },
    { FOR_ALL, "socket.keepalive.enable", "true" },
    { FOR_ALL, "log.connection.close", "false" },

    /* A topic made after our start is found within this time. */
    { FOR_ALL, "topic.metadata.refresh.interval.ms", "10000" },

    /* A retry inside the client neither doubles nor reorders records. */
    { FOR_PRODUCER, "enable.idempotence", "true" },

    /* The partitioner of the Java clients: one key, one partition, whoever
     * sends.  (Nothing breaks where a sender disagrees.)                     */
    { FOR_PRODUCER, "partitioner", "murmur2_random" },

    /* What Kafka did not take in this time is given up: doorbells are dropped,
     * events and dead letters are sent again by those who sent them.         */
    { FOR_PRODUCER, "message.timeout.ms", "5000" },

    /* The broker's limit decides; the client's must only not be below it. */
    { FOR_PRODUCER, "message.max.bytes", "16777216" },

    /* A record that waited while nobody was there is still wanted. */
    { FOR_CONSUMER, "auto.offset.reset", "earliest" },

    /* One strategy for all members of a group, or brokers refuse the second.
     * Not cooperative-sticky: until 2.3.0 librdkafka aborts the process when a
     * member leaves before its first assignment (its issue 4312), with all calls
     * in flight.  Moving all partitions costs us little, since no work in flight
     * hangs on them.                                                          */
    { FOR_CONSUMER, "partition.assignment.strategy", "range" },

    /* A dead member is noticed in 6 s.  Not less: brokers refuse it, and the
     * embedded one needs more than 3 s for a first join.                     */
    { FOR_CONSUMER, "session.timeout.ms", "6000" },
    { FOR_CONSUMER, "heartbeat.interval.ms", "1000" },

    /* Offsets say "Postgres owns it", and only consumer.c knows when. */
    { FOR_CONSUMER, "enable.auto.commit", "false" },
    { FOR_CONSUMER, "enable.auto.offset.store", "false" },

    /* Bytes that one partition may add to one fetch: bounds what lies around
     * when a backlog is worked off.                                          */
    { FOR_CONSUMER, "fetch.message.max.bytes", "262144" },
};

/* What a user may not set, and what to do instead. */
static const struct reserved {
    const char *name;
    const char *instead;
} reserved_table[] = {
    { "bootstrap.servers", "set kafka.bootstrap" },
    { "metadata.broker.list", "set kafka.bootstrap" },
    { "client.id", "set instance" },
    { "group.id", "set kafka.groups" },
    { "enable.auto.commit", "offsets are committed when Postgres owns the work" },
    { "enable.auto.offset.store", "offsets are committed when Postgres owns the work" },
    { "auto.commit.enable", "offsets are committed when Postgres owns the work" },
    { "auto.commit.interval.ms", "offsets are committed when Postgres owns the work" },
    { "enable.partition.eof", "the end of a partition is no record" },
    { "transactional.id", "Kafka transactions are not used; Postgres is the truth" },
    { "enable.gapless.guarantee", "a lost doorbell is no error" },
    { "test.mock.num.brokers", "for an embedded broker, run: pawl dev" },
};

struct kafka_settings kafka_settings_of(const struct config *cfg, const char *client_id)
{
    return (struct kafka_settings){
        .bootstrap = cfg->kafka_bootstrap,
        .client_id = client_id,
        .properties = cfg->kafka_properties,
        .n_properties = cfg->kafka_property_count,
    };
}

/* ---- log lines of librdkafka's threads ------------------------------------ */

static enum log_level level_of(int syslog_level)
{
    if (syslog_level <= 2) /* critical and worse: the client itself is in danger */
        return LOG_ERROR;
    if (syslog_level <= 4) /* error, warning: a broker is away, which passes */
        return LOG_WARN;
    return syslog_level <= 6 ? LOG_INFO : LOG_DEBUG;
}

static void on_log(const rd_kafka_t *client, int syslog_level, const char *facility,
                   const char *text)
{
    enum log_level level = level_of(syslog_level);
    kafka_tsan_ours(true);
    /* One set of properties serves producers and consumers, so this is no news. */
    if (strstr(text, "will be ignored by this"))
        level = LOG_DEBUG;
    log_event(level, "kafka", LOG_STR("client", rd_kafka_name(client)),
              LOG_STR("facility", facility), LOG_STR("text", text), LOG_END);
    kafka_tsan_ours(false);
}

/* ---- making a configuration ------------------------------------------------ */

/* The value is never shown: it may be a password, written where only a word
 * was meant.                                                                  */
static enum outcome set(rd_kafka_conf_t *conf, const char *name, const char *value,
                        struct error *err)
{
    char unused[8];
    switch (rd_kafka_conf_set(conf, name, value, unused, sizeof unused)) {
    case RD_KAFKA_CONF_OK: return OK;
    case RD_KAFKA_CONF_UNKNOWN:
        return fail(err, REFUSED,
                    "kafka.properties: '%s' is not a property of librdkafka %s; see its "
                    "CONFIGURATION.md",
                    name, rd_kafka_version_str());
    case RD_KAFKA_CONF_INVALID: break;
    }
    return fail(err, REFUSED,
                "kafka: librdkafka %s does not take this value for '%s'; see its CONFIGURATION.md",
                rd_kafka_version_str(), name);
}

static enum outcome set_property(rd_kafka_conf_t *conf, const struct config_property *property,
                                 struct error *err)
{
    for (size_t i = 0; i < sizeof reserved_table / sizeof *reserved_table; i++)
        if (strcmp(property->name, reserved_table[i].name) == 0)
            return fail(err, REFUSED, "kafka.properties: '%s' cannot be set here: %s",
                        property->name, reserved_table[i].instead);
    if (!property->value)
        return fail(err, REFUSED, "kafka.properties: the secret for '%s' could not be read",
                    property->name);
    return set(conf, property->name, property->value, err);
}

static enum outcome fill(rd_kafka_conf_t *conf, const struct kafka_settings *settings,
                         enum kafka_role role, const char *group, struct error *err)
{
    enum outcome outcome = OK;
    for (size_t i = 0; outcome == OK && i < sizeof settings_table / sizeof *settings_table; i++)
        if (settings_table[i].roles & 1u << role)
            outcome = set(conf, settings_table[i].name, settings_table[i].value, err);
    if (outcome == OK)
        outcome = set(conf, "bootstrap.servers", settings->bootstrap, err);
    if (outcome == OK && settings->client_id)
        outcome = set(conf, "client.id", settings->client_id, err);
    if (outcome == OK && group)
        outcome = set(conf, "group.id", group, err);
    for (size_t i = 0; outcome == OK && i < settings->n_properties; i++)
        outcome = set_property(conf, &settings->properties[i], err);
    return outcome;
}

enum outcome kafka_conf(const struct kafka_settings *settings, enum kafka_role role,
                        const char *group, struct rd_kafka_conf_s **out, struct error *err)
{
    assert((role == KAFKA_CONSUMER) == (group != NULL));
    *out = NULL;
    if (!settings->bootstrap || !*settings->bootstrap)
        return fail(err, REFUSED,
                    "no Kafka brokers are named: set kafka.bootstrap or PAWL_KAFKA_BOOTSTRAP");
    kafka_tsan_link();
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum outcome outcome = fill(conf, settings, role, group, err);
    if (outcome != OK) {
        rd_kafka_conf_destroy(conf);
        return outcome;
    }
    rd_kafka_conf_set_log_cb(conf, on_log);
    *out = conf;
    return OK;
}

enum outcome kafka_check(const struct kafka_settings *settings, struct error *err)
{
    static const enum kafka_role roles[] = { KAFKA_PRODUCER, KAFKA_CONSUMER, KAFKA_OBSERVER };
    enum outcome outcome = OK;
    for (size_t i = 0; outcome == OK && i < sizeof roles / sizeof *roles; i++) {
        rd_kafka_conf_t *conf;
        outcome =
            kafka_conf(settings, roles[i], roles[i] == KAFKA_CONSUMER ? "check" : NULL, &conf, err);
        if (outcome == OK)
            rd_kafka_conf_destroy(conf);
    }
    return outcome;
}

/* ---- errors ------------------------------------------------------------------ */

enum outcome kafka_outcome(int resp_err)
{
    switch (resp_err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return OK;
    case RD_KAFKA_RESP_ERR__FATAL: return BROKEN;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE: return REFUSED;
    default: return RETRY;
    }
}

const char *kafka_library(void)
{
    return rd_kafka_version_str();
}
