/*
 * broker.h -- the embedded Kafka broker of `pawl dev` and of the tests.
 *
 *     pawl dev-broker --port 9092 --topic pawl.plans:8 ...
 *         |
 *         +-- librdkafka's mock cluster: one broker, real TCP, the real protocol
 *
 * Any Kafka client can talk to it.  It keeps everything in memory, at most
 * 5 MiB or 100,000 batches a partition (the oldest go first), has no
 * transactions, no admin calls that change anything, and takes 5 to 10 s for a
 * rebalance.  That is enough here, since Postgres is the only truth: whatever
 * it forgets falls due there.  It is not for production.
 *
 * Two things make clients behave with it: broker_properties, and one
 * partition.assignment.strategy for all members of all groups (a second one
 * aborts the broker).
 *
 * Limits:  listens on 127.0.0.1 only.
 * Threads: librdkafka's; the calls below from one thread.
 * Errors:  BROKEN: the port is taken, or a topic cannot be made.
 */
#ifndef PAWL_CLI_BROKER_H
#define PAWL_CLI_BROKER_H

#include "common/config.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>

struct broker;

struct broker_topic {
    const char *name;
    int partitions; /* 0: 4 */
};

struct broker_options {
    int port; /* 0: any */
    const struct broker_topic *topics;
    size_t n_topics;
};

/* What its clients should set under kafka.properties. */
extern const struct config_property broker_properties[];
extern const size_t broker_property_count;

MUST_CHECK enum outcome broker_start(struct broker **out, const struct broker_options *options,
                                     struct error *err);
const char *broker_bootstrap(const struct broker *b); /* "127.0.0.1:9092" */

/* For tests: hangs up on everybody and answers no more, until it is up again
 * with all it had.                                                          */
void broker_set_down(struct broker *b, bool down);

void broker_stop(struct broker *b);

/* The process: runs until SIGTERM or SIGINT.
 *
 *     pawl dev-broker [--port PORT] [--port-file FILE] --topic NAME[:PARTITIONS]...
 *
 * Writes its address to standard output, and to the file (all at once, by
 * rename), when clients may connect.  Answers an exit code of sysexits.h.    */
int broker_main(int argc, char **argv);

#endif
