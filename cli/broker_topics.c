#include "cli/broker_topics.h"

#include "common/kafka.h"

#include <librdkafka/rdkafka.h>

enum { TOPICS_MAX = 6, PARTITIONS = 8, REPLICATION_OF_BROKER = -1, TIMEOUT_MS = 15000 };

static enum outcome open_client(const struct config *cfg, const char *bootstrap, rd_kafka_t **out,
                                struct error *err)
{
    char text[200];
    struct rd_kafka_conf_s *conf;
    struct kafka_settings settings = kafka_settings_of(cfg, "pawl");
    settings.bootstrap = bootstrap;
    enum outcome o = kafka_conf(&settings, KAFKA_OBSERVER, NULL, &conf, err);
    if (o != OK)
        return o;
    *out = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (*out)
        return OK;
    rd_kafka_conf_destroy(conf);
    return fail(err, REFUSED, "no Kafka client can be made: %s", text);
}

static enum outcome judge(rd_kafka_event_t *event, struct error *err)
{
    if (rd_kafka_event_error(event))
        return fail(err, RETRY, "Kafka did not make the topics: %s",
                    rd_kafka_event_error_string(event));
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            return fail(err, kafka_outcome(code), "Kafka did not make topic %s: %s",
                        rd_kafka_topic_result_name(results[i]),
                        rd_kafka_topic_result_error_string(results[i]));
    }
    return OK;
}

static enum outcome create(rd_kafka_t *client, rd_kafka_NewTopic_t **topics, size_t count,
                           struct error *err)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    char text[200];
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, TIMEOUT_MS, text, sizeof text);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, text, sizeof text);
    rd_kafka_CreateTopics(client, topics, count, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 1000);
    enum outcome o = event ? judge(event, err) : fail(err, RETRY, "Kafka did not answer in time");
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return o;
}

enum outcome broker_topics_create(const struct config *cfg, const char *bootstrap,
                                  struct error *err)
{
    const char *names[TOPICS_MAX] = { cfg->topic_requests, cfg->topic_plan, cfg->topic_act,
                                      cfg->topic_events,   cfg->topic_dlq,  cfg->topic_stream };
    rd_kafka_NewTopic_t *topics[TOPICS_MAX];
    rd_kafka_t *client;
    char text[200];
    enum outcome o = open_client(cfg, bootstrap, &client, err);
    if (o != OK)
        return o;
    size_t n = 0;
    for (; n < TOPICS_MAX && names[n] && o == OK; n++) {
        topics[n] =
            rd_kafka_NewTopic_new(names[n], PARTITIONS, REPLICATION_OF_BROKER, text, sizeof text);
        if (!topics[n])
            o = fail(err, REFUSED, "topic %s: %s", names[n], text);
        if (!topics[n])
            break;
    }
    if (o == OK)
        o = create(client, topics, n, err);
    rd_kafka_NewTopic_destroy_array(topics, n);
    rd_kafka_destroy(client);
    return o;
}
