#include "common/kafka_topics.h"

#include "common/memory.h"

#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>

static enum outcome open_client(const struct kafka_settings *settings, rd_kafka_t **client,
                                struct error *err)
{
    char text[256];
    rd_kafka_conf_t *conf;
    enum outcome outcome = kafka_conf(settings, KAFKA_OBSERVER, NULL, &conf, err);
    if (outcome != OK)
        return outcome;
    *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (*client)
        return OK;
    rd_kafka_conf_destroy(conf);
    return fail(err, REFUSED, "cannot make a Kafka client: %s", text);
}

/* Marks what was made; the first topic that could not be made is the error. */
static enum outcome read_results(rd_kafka_event_t *event, struct kafka_topic *topics,
                                 size_t n_topics, struct error *err)
{
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t e = rd_kafka_topic_result_error(results[i]);
        const char *name = rd_kafka_topic_result_name(results[i]);
        const char *reason = rd_kafka_topic_result_error_string(results[i]);
        for (size_t t = 0; t < n_topics; t++)
            if (strcmp(topics[t].name, name) == 0)
                topics[t].made = e == RD_KAFKA_RESP_ERR_NO_ERROR;
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR && e != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            return fail(err, REFUSED, "cannot make the topic '%s': %s", name,
                        reason ? reason : rd_kafka_err2str(e));
    }
    return OK;
}

static enum outcome ask(rd_kafka_t *client, rd_kafka_NewTopic_t **requests,
                        struct kafka_topic *topics, size_t n_topics, int timeout_ms,
                        struct error *err)
{
    char text[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text, sizeof text);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, timeout_ms, text, sizeof text);
    rd_kafka_CreateTopics(client, requests, n_topics, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    enum outcome outcome;
    if (!event)
        outcome = fail(err, RETRY, "Kafka did not answer in time");
    else if (rd_kafka_event_error(event))
        outcome = fail(err, RETRY, "Kafka did not answer: %s", rd_kafka_event_error_string(event));
    else
        outcome = read_results(event, topics, n_topics, err);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return outcome;
}

enum outcome kafka_topics_make(const struct kafka_settings *settings, struct kafka_topic *topics,
                               size_t n_topics, int timeout_ms, struct error *err)
{
    char text[256];
    rd_kafka_t *client;
    enum outcome outcome = open_client(settings, &client, err);
    if (outcome != OK)
        return outcome;
    rd_kafka_NewTopic_t **requests = xcalloc(n_topics, sizeof *requests);
    for (size_t i = 0; outcome == OK && i < n_topics; i++) {
        const struct kafka_topic *topic = &topics[i];
        requests[i] = rd_kafka_NewTopic_new(
            topic->name, topic->partitions > 0 ? topic->partitions : -1,
            topic->replication > 0 ? topic->replication : -1, text, sizeof text);
        if (!requests[i])
            outcome = fail(err, REFUSED, "cannot make the topic '%s': %s", topic->name, text);
    }
    if (outcome == OK && n_topics > 0)
        outcome = ask(client, requests, topics, n_topics, timeout_ms, err);
    for (size_t i = 0; i < n_topics; i++)
        if (requests[i])
            rd_kafka_NewTopic_destroy(requests[i]);
    free(requests);
    rd_kafka_destroy(client);
    return outcome;
}
