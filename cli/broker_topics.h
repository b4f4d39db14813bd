/*
 * broker_topics.h -- the topics of pawl on a real Kafka.
 *
 * The embedded broker makes its topics at its start; a real one is asked, by
 * `pawl dev --kafka`.  Topics that exist are left as they are.
 *
 * Limits:  waits 15 s at most.
 * Threads: any.
 * Errors:  RETRY: Kafka does not answer.  REFUSED: it does not allow it.
 */
#ifndef PAWL_CLI_BROKER_TOPICS_H
#define PAWL_CLI_BROKER_TOPICS_H

#include "common/config.h"
#include "common/outcome.h"

/* With the settings of `cfg`, but at `bootstrap`. */
MUST_CHECK enum outcome broker_topics_create(const struct config *cfg, const char *bootstrap,
                                             struct error *err);

#endif
