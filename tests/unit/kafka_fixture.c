#include "tests/unit/cm.h"

#include "common/lag.h"
#include "common/log.h"
#include "tests/unit/kafka_fixture.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture fixture;

static void start_broker(int port)
{
    struct broker_topic topics[] = { { fixture.topic_a, PARTITIONS },
                                     { fixture.topic_b, PARTITIONS } };
    struct broker_options options = { .port = port, .topics = topics, .n_topics = 2 };
    struct error err;
    assert_ok(broker_start(&fixture.broker, &options, &err), &err);
    (void)snprintf(fixture.bootstrap, sizeof fixture.bootstrap, "%s",
                   broker_bootstrap(fixture.broker));
}

/* On a real Kafka, where nothing is made at the start. */
static void make_topics(void)
{
    char text[256];
    const char *names[] = { fixture.topic_a, fixture.topic_b };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_NewTopic_t *topics[2];
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", fixture.bootstrap, text, sizeof text), 0);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    for (int i = 0; i < 2; i++)
        topics[i] = rd_kafka_NewTopic_new(names[i], PARTITIONS, 1, text, sizeof text);
    rd_kafka_CreateTopics(client, topics, 2, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, PATIENCE_MS);
    if (!event || rd_kafka_event_error(event))
        fail_msg("no topics: %s", event ? rd_kafka_event_error_string(event) : "no answer");
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy_array(topics, 2);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
}

static void add_property(const char *name, const char *value)
{
    fixture.properties[fixture.settings.n_properties++] =
        (struct config_property){ .name = name, .value = value };
}

int fixture_open(void **state)
{
    const char *outside = getenv("PAWL_TEST_KAFKA");
    struct error err;
    (void)state;
    log_init("test", LOG_ERROR, LOG_FORMAT_HUMAN);
    assert_ok(loop_init(&fixture.loop, &err), &err);
    (void)snprintf(fixture.topic_a, sizeof fixture.topic_a, "test.a.%d", (int)getpid());
    (void)snprintf(fixture.topic_b, sizeof fixture.topic_b, "test.b.%d", (int)getpid());
    fixture.settings = (struct kafka_settings){ .bootstrap = fixture.bootstrap,
                                                .client_id = "test",
                                                .properties = fixture.properties };
    if (outside) {
        (void)snprintf(fixture.bootstrap, sizeof fixture.bootstrap, "%s", outside);
        make_topics();
        return 0;
    }
    start_broker(0);
    for (size_t i = 0; i < broker_property_count; i++)
        add_property(broker_properties[i].name, broker_properties[i].value);
    /* Its rebalances take the session timeout less a second; 3 s would hang it. */
    add_property("session.timeout.ms", "3600");
    return 0;
}

int fixture_close(void **state)
{
    (void)state;
    loop_release(&fixture.loop);
    broker_stop(fixture.broker);
    return 0;
}

void fixture_restart_broker(void)
{
    int port = atoi(strrchr(fixture.bootstrap, ':') + 1);
    broker_stop(fixture.broker);
    start_broker(port);
}

struct kafka_settings settings_with(const char *name, const char *value)
{
    struct kafka_settings settings = fixture.settings;
    fixture.properties[settings.n_properties++] =
        (struct config_property){ .name = name, .value = value };
    return settings;
}

static void count_acknowledged(void *arg, enum outcome outcome, const struct error *err)
{
    int *acknowledged = arg;
    assert_ok(outcome, err);
    ++*acknowledged;
}

void send_records(struct producer *p, const char *topic, const char *prefix, int n)
{
    int acknowledged = 0;
    struct error err;
    for (int i = 0; i < n; i++) {
        char text[64];
        size_t length = (size_t)snprintf(text, sizeof text, "%s%d", prefix, i);
        struct record_draft draft = {
            .key = text, .key_n = length, .value = text, .value_n = length
        };
        assert_ok(producer_send(p, topic, &draft, count_acknowledged, &acknowledged, &err), &err);
    }
    turn_until(acknowledged == n);
}

struct producer *open_producer(void)
{
    struct producer_options options = { 0 };
    struct producer *p;
    struct error err;
    assert_ok(producer_init(&p, &fixture.loop, &fixture.settings, &options, &err), &err);
    return p;
}

int64_t lag_of(const char *group, const char *topic)
{
    struct lag_query query = { group, &topic, 1 };
    struct rd_kafka_s *client;
    struct lag_report report;
    struct error err;
    assert_ok(lag_open(&fixture.settings, &client, &err), &err);
    assert_ok(lag_read(client, &query, 10000, &report, &err), &err);
    int64_t lag = report.lag;
    lag_report_release(&report);
    lag_close(client);
    return lag;
}
