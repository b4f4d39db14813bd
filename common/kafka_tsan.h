/*
 * kafka_tsan.h -- see kafka_tsan.c: for sanitizer builds only.
 */
#ifndef PAWL_COMMON_KAFKA_TSAN_H
#define PAWL_COMMON_KAFKA_TSAN_H

#include <stdbool.h>

/* Does nothing, but that whoever calls it has kafka_tsan.c linked in. */
void kafka_tsan_link(void);

/* A callback of ours, perhaps on a thread of librdkafka's, begins or ends. */
void kafka_tsan_ours(bool begin);

#endif
