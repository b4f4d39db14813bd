/*
 * kafka_topics.h -- making topics that are not there yet.
 *
 * For the command line and for tests: a daemon never makes topics, since their
 * partitions and replicas are an administrator's decision.  The embedded broker
 * makes its own and does not answer this request.
 *
 * Threads: any; waits for the answer.
 * Errors:  RETRY: Kafka did not answer in time.  REFUSED: a topic cannot be
 *          made; err names it and Kafka's reason.
 */
#ifndef PAWL_COMMON_KAFKA_TOPICS_H
#define PAWL_COMMON_KAFKA_TOPICS_H

#include "common/kafka.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>

struct kafka_topic {
    const char *name;
    int partitions;  /* 0: the brokers' default */
    int replication; /* 0: the brokers' default */
    bool made;       /* answer: it was not there before */
};

/* Makes those of the topics that do not exist; existing ones stay as they are. */
MUST_CHECK enum outcome kafka_topics_make(const struct kafka_settings *settings,
                                          struct kafka_topic *topics, size_t n_topics,
                                          int timeout_ms, struct error *err);

#endif
