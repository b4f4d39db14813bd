/*
 * kafka.h -- one way to configure every Kafka client of a process.
 *
 *     settings --> kafka_conf() --> consumer.c, producer.c, lag.c
 *
 * The settings that the design relies on stand in one table in kafka.c, each
 * with its reason.  What the user writes under `kafka.properties` is passed to
 * librdkafka as it is, after the table, except for the few on which
 * correctness hangs (how offsets are stored and committed, for example): these
 * are refused with the reason.
 *
 * Nobody outside consumer.c, producer.c, lag.c and the embedded broker includes
 * a header of librdkafka; its types are named here by their tags only.
 *
 * Limits:  none of its own.
 * Threads: no state.  librdkafka's own threads log through log.h.
 * Errors:  REFUSED: a property is unknown, reserved or has an impossible
 *          value; err names the property, never its value.
 */
#ifndef PAWL_COMMON_KAFKA_H
#define PAWL_COMMON_KAFKA_H

#include "common/config.h"
#include "common/outcome.h"

#include <stddef.h>

struct rd_kafka_s;      /* rd_kafka_t */
struct rd_kafka_conf_s; /* rd_kafka_conf_t */

/* Borrowed: read while a client is made, not kept. */
struct kafka_settings {
    const char *bootstrap; /* host:port,host:port */
    const char *client_id; /* seen in the logs and quotas of the brokers */
    const struct config_property *properties;
    size_t n_properties;
};

/* The `kafka:` part of the process file. */
struct kafka_settings kafka_settings_of(const struct config *cfg, const char *client_id);

enum kafka_role { KAFKA_PRODUCER, KAFKA_CONSUMER, KAFKA_OBSERVER };

/* A configuration for rd_kafka_new(), which takes it over; whoever does not get
 * that far frees it with rd_kafka_conf_destroy().  `group` for consumers only. */
MUST_CHECK enum outcome kafka_conf(const struct kafka_settings *settings, enum kafka_role role,
                                   const char *group, struct rd_kafka_conf_s **out,
                                   struct error *err);

/* Checks the properties without connecting: for `pawl config check`. */
MUST_CHECK enum outcome kafka_check(const struct kafka_settings *settings, struct error *err);

/* What the caller should do about an error of librdkafka
 * (rd_kafka_resp_err_t): RETRY for all that passes or that an administrator can
 * mend while we run, REFUSED for a record that will never be taken, BROKEN when
 * the client itself is dead.                                                 */
enum outcome kafka_outcome(int resp_err);

/* "2.0.2": the version of librdkafka, for the log line at the start. */
const char *kafka_library(void);

#endif
