#include "common/consumer_lanes.h"

#include "common/log.h"
#include "common/memory.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>

void lanes_init(struct lanes *lanes, const char *const *topics, size_t n_topics)
{
    *lanes = (struct lanes){ .n_topics = n_topics };
    lanes->topics = xcalloc(n_topics, sizeof *lanes->topics);
    for (size_t i = 0; i < n_topics; i++)
        lanes->topics[i].name = xstrdup(topics[i]);
}

void lanes_release(struct lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        lane_close(lanes, &lanes->items[i]);
        offsets_release(&lanes->items[i].offsets);
    }
    for (size_t i = 0; i < lanes->n_topics; i++)
        free(lanes->topics[i].name);
    free(lanes->topics);
    free(lanes->items);
    *lanes = (struct lanes){ 0 };
}

size_t lanes_topic(const struct lanes *lanes, const char *name)
{
    size_t i = 0;
    while (i < lanes->n_topics && strcmp(lanes->topics[i].name, name) != 0)
        i++;
    assert(i < lanes->n_topics);
    return i;
}

const char *lane_topic_name(const struct lanes *lanes, const struct lane *lane)
{
    return lanes->topics[lane->topic].name;
}

struct lane *lanes_find(const struct lanes *lanes, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < lanes->count; i++)
        if (lanes->items[i].partition == partition &&
            strcmp(lane_topic_name(lanes, &lanes->items[i]), topic) == 0)
            return &lanes->items[i];
    return NULL;
}

static struct lane *add(struct lanes *lanes, const char *topic, int32_t partition)
{
    lanes->items = xreallocarray(lanes->items, lanes->count + 1, sizeof *lanes->items);
    struct lane *lane = &lanes->items[lanes->count++];
    *lane = (struct lane){ .topic = lanes_topic(lanes, topic), .partition = partition };
    offsets_init(&lane->offsets);
    return lane;
}

void lanes_open(struct lanes *lanes, struct rd_kafka_s *client, int event_fd, const char *topic,
                int32_t partition)
{
    static const uint64_t one = 1;
    struct lane *lane = lanes_find(lanes, topic, partition);
    if (!lane)
        lane = add(lanes, topic, partition);
    if (lane->queue)
        return;
    lane_forget(lanes, lane);
    lane->queue = rd_kafka_queue_get_partition(client, topic, partition);
    assert(lane->queue);
    rd_kafka_queue_forward(lane->queue, NULL); /* out of the common queue */
    rd_kafka_queue_io_event_enable(lane->queue, event_fd, &one, sizeof one);
    lanes->open++;
}

void lane_close(struct lanes *lanes, struct lane *lane)
{
    if (!lane->queue)
        return;
    rd_kafka_queue_io_event_enable(lane->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(lane->queue);
    lane->queue = NULL;
    lanes->open--;
    lane_forget(lanes, lane);
}

void lane_forget(struct lanes *lanes, struct lane *lane)
{
    lanes->out -= lane->offsets.unfinished;
    lane->generation++;
    offsets_reset(&lane->offsets);
}

struct consumer_slot lane_begin(struct lanes *lanes, struct lane *lane, int64_t offset)
{
    bool begun = offsets_begin(&lane->offsets, offset);
    if (!begun) {
        log_event(LOG_WARN, "partition begins anew", LOG_STR("topic", lane_topic_name(lanes, lane)),
                  LOG_INT("partition", lane->partition), LOG_INT("offset", offset),
                  LOG_INT("last_offset", lane->offsets.last), LOG_END);
        lane_forget(lanes, lane);
        begun = offsets_begin(&lane->offsets, offset);
    }
    assert(begun);
    lanes->out++;
    return (struct consumer_slot){ (uint32_t)(lane - lanes->items), lane->generation, offset };
}

bool lanes_done(struct lanes *lanes, struct consumer_slot slot)
{
    assert(slot.lane < lanes->count);
    struct lane *lane = &lanes->items[slot.lane];
    if (!lane->queue || lane->generation != slot.generation)
        return false;
    bool was_out = offsets_done(&lane->offsets, slot.offset);
    assert(was_out);
    lanes->out--;
    return true;
}

struct lane *lanes_next(struct lanes *lanes)
{
    assert(lanes->count > 0);
    lanes->turn = (lanes->turn + 1) % lanes->count;
    return &lanes->items[lanes->turn];
}

struct rd_kafka_topic_partition_list_s *lanes_take(struct lanes *lanes)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->items[i];
        int64_t next = lane->queue ? offsets_take(&lane->offsets) : OFFSETS_NONE;
        if (next != OFFSETS_NONE)
            rd_kafka_topic_partition_list_add(list, lane_topic_name(lanes, lane), lane->partition)
                ->offset = next;
    }
    return list;
}
