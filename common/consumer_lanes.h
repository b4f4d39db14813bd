/*
 * consumer_lanes.h -- the partitions of one consumer; consumer.c's own.
 *
 * librdkafka would throw the records of all partitions into one queue.  Here
 * each partition is a lane with a queue of its own, so that pausing is merely
 * not reading, rebalances never wait behind records, and no partition starves
 * another.
 *
 *     slot {lane, generation, offset}
 *             |       |          +-- offsets.h
 *             |       +-- raised whenever the lane's slots become void
 *             +-- index: a lane is never removed, only closed and opened again
 *
 * Threads: the loop's; librdkafka's threads write to the eventfd.
 */
#ifndef PAWL_COMMON_CONSUMER_LANES_H
#define PAWL_COMMON_CONSUMER_LANES_H

#include "common/consumer.h"
#include "common/offsets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd_kafka_queue_s;                /* rd_kafka_queue_t */
struct rd_kafka_topic_partition_list_s; /* rd_kafka_topic_partition_list_t */

struct lane {
    size_t topic; /* index in lanes.topics */
    int32_t partition;
    uint32_t generation;
    struct rd_kafka_queue_s *queue; /* NULL: closed, not ours now */
    struct offsets offsets;
};

struct lane_topic {
    char *name;
    bool paused;
};

struct lanes {
    struct lane_topic *topics;
    size_t n_topics;
    struct lane *items;
    size_t count;
    size_t turn; /* index of the lane that was served last */
    size_t open; /* lanes that are ours now */
    size_t out;  /* records handed out and not done, of all lanes */
};

void lanes_init(struct lanes *lanes, const char *const *topics, size_t n_topics);
void lanes_release(struct lanes *lanes); /* closes them too */

/* The index of a topic that we subscribed to; another name stops the process. */
size_t lanes_topic(const struct lanes *lanes, const char *name);

struct lane *lanes_find(const struct lanes *lanes, const char *topic, int32_t partition);
const char *lane_topic_name(const struct lanes *lanes, const struct lane *lane);

/* The partition is ours: its records come to its own queue from here on, and
 * each time that queue is no longer empty 8 bytes are written to event_fd.   */
void lanes_open(struct lanes *lanes, struct rd_kafka_s *client, int event_fd, const char *topic,
                int32_t partition);
void lane_close(struct lanes *lanes, struct lane *lane);

/* Makes all slots of the lane void: what is out is done elsewhere, or again. */
void lane_forget(struct lanes *lanes, struct lane *lane);

/* The lane's next record is out.  An offset that is not newer than the last
 * means that the log was made anew; then the slots before it are void.       */
struct consumer_slot lane_begin(struct lanes *lanes, struct lane *lane, int64_t offset);

/* False when the slot is void. */
bool lanes_done(struct lanes *lanes, struct consumer_slot slot);

/* The lane whose turn it is. */
struct lane *lanes_next(struct lanes *lanes);

/* What is to be committed, perhaps nothing; the caller destroys it. */
struct rd_kafka_topic_partition_list_s *lanes_take(struct lanes *lanes);

#endif
