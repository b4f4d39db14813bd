#include "common/consumer.h"

#include "common/consumer_lanes.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/memory.h"

#include <assert.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    RECORDS_PER_TURN_DEFAULT = 64,
    RECORDS_OUT_DEFAULT = 4096,
    FETCH_AHEAD_BYTES_DEFAULT = 512 * 1024,
    COMMIT_INTERVAL_MS_DEFAULT = 100,
    LANE_SHARE = 8,         /* records of one lane before it is the next one's turn */
    TICK_MS = 1000,         /* librdkafka wants to be polled now and then */
    COMMIT_AGAIN_MS = 1000, /* after a refusal */
    REJOIN_MS = 20000,      /* a rebalance may take this long before we count as out */
    CLOSE_TICK_MS = 20,     /* the same while closing */
    CLOSE_MAX_MS = 10000,   /* then we leave as the dead do */
    VERSION_SAFE_DESTROY = 0x02030000,
};

enum consumer_state { CONSUMER_OPEN, CONSUMER_CLOSING, CONSUMER_CLOSED };

struct consumer {
    enum consumer_state state;
    struct loop *loop;
    struct loop_watch watch;
    struct loop_task drain;
    struct loop_timer tick;
    struct loop_timer commit;
    struct loop_timer rejoin;
    struct loop_timer close_limit;
    int event_fd;
    rd_kafka_t *client;
    rd_kafka_queue_t *control; /* rebalances, errors, answers to commits */
    struct consumer_options options;
    struct consumer_calls calls;
    struct lanes lanes;
    struct record_header *headers; /* of the record being handed out */
    size_t headers_cap;
    struct consumer_stats stats;
    size_t commits_out; /* sent and not answered */
    bool full;          /* records_out was reached, and not yet half of it done */
    bool joined;
    bool ever_joined;
    bool draining;
    bool abandoned; /* closing did not end in time */
};

static const uint64_t one = 1;

static void wake(struct consumer *c);

/* ---- commits ------------------------------------------------------------------ */

/* Sends the finished prefix of all lanes that are ours.  The answer comes to
 * on_commit(); what is sent before a partition is given back is on the wire
 * before the request that gives it back, so nothing has to wait here.         */
static void commit(struct consumer *c)
{
    rd_kafka_topic_partition_list_t *list = lanes_take(&c->lanes);
    if (list->cnt > 0) {
        rd_kafka_resp_err_t e = rd_kafka_commit(c->client, list, 1 /* async */);
        if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
            c->commits_out++;
        else
            log_event(LOG_WARN, "offsets not committed", LOG_STR("error", rd_kafka_err2str(e)),
                      LOG_END);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void on_commit_timer(void *arg)
{
    struct consumer *c = arg;
    if (c->state != CONSUMER_OPEN)
        return;
    if (c->commits_out == 0)
        commit(c);
    else /* the broker is slow: one batch at a time */
        loop_timer_start(&c->commit, c->options.commit_interval_ms);
}

static void commit_after(struct consumer *c, int delay_ms)
{
    if (c->state == CONSUMER_OPEN && !loop_timer_active(&c->commit))
        loop_timer_start(&c->commit, delay_ms);
}

static void on_commit(rd_kafka_t *client, rd_kafka_resp_err_t e,
                      rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct consumer *c = opaque;
    (void)client;
    if (c->commits_out > 0)
        c->commits_out--;
    bool failed = e != RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; list && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *part = &list->elems[i];
        struct lane *lane = lanes_find(&c->lanes, part->topic, part->partition);
        if (e == RD_KAFKA_RESP_ERR_NO_ERROR && part->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        failed = true;
        if (lane)
            offsets_untake(&lane->offsets);
    }
    if (!failed) {
        FAULT_POINT(DAEMON_AFTER_OFFSET);
        c->stats.commits++;
        return;
    }
    c->stats.commit_errors++;
    log_event(LOG_INFO, "commit of offsets refused, will be repeated",
              LOG_STR("group", c->options.group), LOG_STR("error", rd_kafka_err2str(e)), LOG_END);
    commit_after(c, COMMIT_AGAIN_MS);
}

/* ---- rebalances ----------------------------------------------------------------- */

static void report_assignment(struct consumer *c)
{
    c->stats.rebalances++;
    log_event(LOG_INFO, "partitions assigned", LOG_STR("group", c->options.group),
              LOG_BOOL("joined", c->joined), LOG_INT("partitions", c->lanes.open), LOG_END);
    if (c->calls.on_assignment)
        c->calls.on_assignment(c->calls.arg, c->joined, c->lanes.open);
}

static void check(struct consumer *c, const char *what, rd_kafka_error_t *error)
{
    if (!error)
        return;
    c->stats.errors++;
    log_event(LOG_WARN, "kafka rebalance", LOG_STR("group", c->options.group),
              LOG_STR("during", what), LOG_STR("error", rd_kafka_error_string(error)), LOG_END);
    rd_kafka_error_destroy(error);
}

/* Each rebalance takes all partitions for a moment, and that is no reason to
 * count as out of the group; losing them is, and not getting any back.        */
static void on_rejoin_timer(void *arg)
{
    struct consumer *c = arg;
    c->joined = false;
    report_assignment(c);
}

static void close_lane(struct consumer *c, const rd_kafka_topic_partition_t *part)
{
    struct lane *lane = lanes_find(&c->lanes, part->topic, part->partition);
    if (lane)
        lane_close(&c->lanes, lane);
}

static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t e,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct consumer *c = opaque;
    bool cooperative = strcmp(rd_kafka_rebalance_protocol(client), "COOPERATIVE") == 0;
    if (e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        for (int i = 0; i < list->cnt; i++)
            lanes_open(&c->lanes, client, c->event_fd, list->elems[i].topic,
                       list->elems[i].partition);
        if (cooperative)
            check(c, "assign", rd_kafka_incremental_assign(client, list));
        else
            (void)rd_kafka_assign(client, list);
        c->joined = c->ever_joined = true;
        loop_timer_stop(&c->rejoin);
    } else {
        bool lost = rd_kafka_assignment_lost(client);
        if (!lost)
            commit(c);
        for (int i = 0; i < list->cnt; i++)
            close_lane(c, &list->elems[i]);
        if (cooperative)
            check(c, "revoke", rd_kafka_incremental_unassign(client, list));
        else
            (void)rd_kafka_assign(client, NULL);
        if (lost)
            c->joined = false;
        else if (c->lanes.open == 0 && c->state == CONSUMER_OPEN)
            loop_timer_start(&c->rejoin, REJOIN_MS);
    }
    report_assignment(c);
    wake(c); /* records that were let in by room, or that lie in new lanes */
}

/* ---- records -------------------------------------------------------------------- */

static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct consumer *c = opaque;
    (void)client;
    c->stats.errors++;
    /* Broken connections are logged by librdkafka itself (kafka.c). */
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        log_event(LOG_ERROR, "kafka consumer is dead", LOG_STR("error", reason), LOG_END);
}

/* Something librdkafka puts in the place of a record: a topic that is not
 * there, rights that are missing, a group that lost us.                       */
static void report_error(struct consumer *c, const rd_kafka_message_t *message)
{
    bool no_topic = message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                    message->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    c->stats.errors++;
    log_event(LOG_WARN,
              no_topic ? "a topic does not exist; make it and it will be found" : "kafka consumer",
              LOG_STR("group", c->options.group),
              LOG_STR("topic", message->rkt ? rd_kafka_topic_name(message->rkt) : NULL),
              LOG_STR("error", rd_kafka_message_errstr(message)), LOG_END);
}

static size_t read_headers(struct consumer *c, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    size_t count = rd_kafka_header_cnt(headers);
    if (count > c->headers_cap) {
        c->headers = xreallocarray(c->headers, count, sizeof *c->headers);
        c->headers_cap = count;
    }
    for (size_t i = 0; i < count; i++) {
        const void *value;
        rd_kafka_resp_err_t e = rd_kafka_header_get_all(headers, i, &c->headers[i].name, &value,
                                                        &c->headers[i].value_n);
        assert(e == RD_KAFKA_RESP_ERR_NO_ERROR);
        c->headers[i].value = value;
    }
    return count;
}

static void hand_out(struct consumer *c, struct lane *lane, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    struct consumer_slot slot = lane_begin(&c->lanes, lane, message->offset);
    struct record_view rec = {
        .topic = lane_topic_name(&c->lanes, lane),
        .partition = lane->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &kind),
        .key = message->key,
        .key_n = message->key_len,
        .value = message->payload,
        .value_n = message->len,
        .n_headers = read_headers(c, message),
    };
    rec.headers = c->headers;
    c->stats.records++;
    c->calls.on_record(c->calls.arg, &rec, slot);
}

/* A record outside of its lane's queue: librdkafka made the partition anew in
 * its memory.  Dropping it would be losing it.                                */
static void hand_out_stray(struct consumer *c, const rd_kafka_message_t *message)
{
    struct lane *lane =
        lanes_find(&c->lanes, rd_kafka_topic_name(message->rkt), message->partition);
    if (lane && lane->queue && c->state == CONSUMER_OPEN)
        hand_out(c, lane, message);
}

/* Beyond records_out nothing is read until half of it is done. */
static bool is_full(struct consumer *c)
{
    if (c->lanes.out >= c->options.records_out)
        c->full = true;
    else if (c->lanes.out <= c->options.records_out / 2)
        c->full = false;
    return c->full;
}

static bool may_read(struct consumer *c, const struct lane *lane)
{
    return c->state == CONSUMER_OPEN && lane->queue && !c->lanes.topics[lane->topic].paused &&
           !is_full(c);
}

/* Hands out up to `most` records of a lane; answers how many. */
static size_t serve_lane(struct consumer *c, struct lane *lane, size_t most)
{
    size_t n = 0;
    while (n < most && may_read(c, lane)) {
        rd_kafka_message_t *message = rd_kafka_consume_queue(lane->queue, 0);
        if (!message)
            break;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            hand_out(c, lane, message);
        else
            report_error(c, message);
        rd_kafka_message_destroy(message);
        n++;
    }
    return n;
}

/* Each lane in turn, a share at a time.  True when the turn's measure is full
 * and there may be more.                                                      */
static bool serve_lanes(struct consumer *c)
{
    size_t left = c->options.records_per_turn;
    size_t idle = 0; /* lanes in a row that had nothing */
    while (left > 0 && idle < c->lanes.count) {
        struct lane *lane = lanes_next(&c->lanes);
        size_t n = serve_lane(c, lane, left < LANE_SHARE ? left : LANE_SHARE);
        left -= n;
        idle = n > 0 ? 0 : idle + 1;
    }
    return left == 0;
}

/* ---- turns ---------------------------------------------------------------------- */

static void end_close(struct consumer *c)
{
    c->state = CONSUMER_CLOSED;
    c->joined = false;
    loop_timer_stop(&c->tick);
    loop_timer_stop(&c->close_limit);
    loop_defer_cancel(&c->drain);
    loop_watch_stop(&c->watch);
    if (c->calls.on_closed)
        c->calls.on_closed(c->calls.arg); /* may free c */
}

static void drain(void *arg)
{
    struct consumer *c = arg;
    rd_kafka_message_t *message;
    c->draining = true;
    /* Rebalances, errors and answers to commits: callbacks out of this call. */
    while ((message = rd_kafka_consumer_poll(c->client, 0)) != NULL) {
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            report_error(c, message);
        else
            hand_out_stray(c, message);
        rd_kafka_message_destroy(message);
    }
    bool more = c->state == CONSUMER_OPEN && serve_lanes(c);
    c->draining = false;
    if (c->state == CONSUMER_CLOSING && rd_kafka_consumer_closed(c->client)) {
        end_close(c);
        return;
    }
    if (more)
        wake(c);
}

static void wake(struct consumer *c)
{
    if (c->state != CONSUMER_CLOSED)
        loop_defer(c->loop, &c->drain, drain, c);
}

static void on_event(void *arg, int events)
{
    struct consumer *c = arg;
    uint64_t count;
    (void)events;
    ssize_t n = read(c->event_fd, &count, sizeof count);
    assert(n == (ssize_t)sizeof count || errno == EAGAIN);
    wake(c);
}

static void on_tick(void *arg)
{
    struct consumer *c = arg;
    loop_timer_start(&c->tick, c->state == CONSUMER_OPEN ? TICK_MS : CLOSE_TICK_MS);
    wake(c);
}

static void on_close_limit(void *arg)
{
    struct consumer *c = arg;
    log_event(LOG_WARN, "kafka group left without saying so", LOG_STR("group", c->options.group),
              LOG_INT("after_ms", CLOSE_MAX_MS), LOG_END);
    c->abandoned = true;
    end_close(c);
}

/* ---- birth ------------------------------------------------------------------------ */

static void copy_options(struct consumer *c, const struct consumer_options *options)
{
    c->options = *options;
    if (c->options.records_per_turn == 0)
        c->options.records_per_turn = RECORDS_PER_TURN_DEFAULT;
    if (c->options.records_out == 0)
        c->options.records_out = RECORDS_OUT_DEFAULT;
    if (c->options.fetch_ahead_bytes == 0)
        c->options.fetch_ahead_bytes = FETCH_AHEAD_BYTES_DEFAULT;
    if (c->options.commit_interval_ms == 0)
        c->options.commit_interval_ms = COMMIT_INTERVAL_MS_DEFAULT;
    c->options.group = xstrdup(options->group);
    c->options.topics = NULL; /* kept in lanes */
    lanes_init(&c->lanes, options->topics, options->n_topics);
}

static enum outcome open_client(struct consumer *c, const struct kafka_settings *settings,
                                struct error *err)
{
    char text[256], kbytes[24];
    rd_kafka_conf_t *conf;
    enum outcome outcome = kafka_conf(settings, KAFKA_CONSUMER, c->options.group, &conf, err);
    if (outcome != OK)
        return outcome;
    (void)snprintf(kbytes, sizeof kbytes, "%zu", (c->options.fetch_ahead_bytes + 1023) / 1024);
    if (rd_kafka_conf_set(conf, "queued.max.messages.kbytes", kbytes, text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return fail(err, REFUSED, "cannot make a Kafka consumer: %s", text);
    }
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
    rd_kafka_conf_set_error_cb(conf, on_error);
    c->client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (!c->client) {
        rd_kafka_conf_destroy(conf);
        return fail(err, REFUSED, "cannot make a Kafka consumer: %s", text);
    }
    rd_kafka_poll_set_consumer(c->client);
    c->control = rd_kafka_queue_get_consumer(c->client);
    return OK;
}

static enum outcome subscribe(struct consumer *c, struct error *err)
{
    int n = (int)c->options.n_topics;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
    for (int i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, c->lanes.topics[i].name, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t e = rd_kafka_subscribe(c->client, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e == RD_KAFKA_RESP_ERR_NO_ERROR
               ? OK
               : fail(err, REFUSED, "cannot subscribe to the topics of group '%s': %s",
                      c->options.group, rd_kafka_err2str(e));
}

enum outcome consumer_init(struct consumer **out, struct loop *loop,
                           const struct kafka_settings *settings,
                           const struct consumer_options *options,
                           const struct consumer_calls *calls, struct error *err)
{
    assert(options->n_topics > 0 && calls->on_record);
    struct consumer *c = xcalloc(1, sizeof *c);
    *out = NULL;
    c->loop = loop;
    c->calls = *calls;
    copy_options(c, options);
    loop_timer_init(loop, &c->tick, on_tick, c);
    loop_timer_init(loop, &c->commit, on_commit_timer, c);
    loop_timer_init(loop, &c->rejoin, on_rejoin_timer, c);
    loop_timer_init(loop, &c->close_limit, on_close_limit, c);
    c->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum outcome outcome =
        c->event_fd < 0 ? fail(err, BROKEN, "cannot make an eventfd: %s", strerror(errno)) : OK;
    if (outcome == OK)
        outcome = open_client(c, settings, err);
    if (outcome == OK)
        outcome = loop_watch_start(loop, &c->watch, c->event_fd, LOOP_READ, on_event, c, err);
    if (outcome == OK)
        outcome = subscribe(c, err);
    if (outcome != OK) {
        consumer_free(c);
        return outcome;
    }
    rd_kafka_queue_io_event_enable(c->control, c->event_fd, &one, sizeof one);
    wake(c); /* the event tells of a queue that is no longer empty; it may be so already */
    loop_timer_start(&c->tick, TICK_MS);
    *out = c;
    return OK;
}

/* ---- at work ------------------------------------------------------------------------ */

void consumer_done(struct consumer *c, struct consumer_slot slot)
{
    if (!lanes_done(&c->lanes, slot))
        return; /* the partition was taken away: its next owner gets the record */
    commit_after(c, c->options.commit_interval_ms);
    if (c->full && !is_full(c))
        wake(c);
}

void consumer_pause(struct consumer *c, const char *topic)
{
    c->lanes.topics[lanes_topic(&c->lanes, topic)].paused = true;
}

void consumer_resume(struct consumer *c, const char *topic)
{
    struct lane_topic *resumed = &c->lanes.topics[lanes_topic(&c->lanes, topic)];
    if (resumed->paused)
        wake(c);
    resumed->paused = false;
}

bool consumer_joined(const struct consumer *c)
{
    return c->joined;
}

struct consumer_stats consumer_stats(const struct consumer *c)
{
    struct consumer_stats stats = c->stats;
    stats.out = c->lanes.out;
    stats.partitions = c->lanes.open;
    return stats;
}

struct rd_kafka_s *consumer_client(struct consumer *c)
{
    return c->client;
}

/* ---- death ---------------------------------------------------------------------------- */

void consumer_close(struct consumer *c)
{
    if (c->state != CONSUMER_OPEN)
        return;
    c->state = CONSUMER_CLOSING;
    loop_timer_stop(&c->commit);
    loop_timer_stop(&c->rejoin);
    commit(c);
    check(c, "close", rd_kafka_consumer_close_queue(c->client, c->control));
    loop_timer_start(&c->close_limit, CLOSE_MAX_MS);
    loop_timer_start(&c->tick, CLOSE_TICK_MS);
}

/* librdkafka before 2.3 aborts on its way out when a cooperative member dies that
 * never had an assignment (its issue 4312); it is left to the end of the
 * process then.                                                               */
static bool may_destroy(const struct consumer *c)
{
    char strategy[128] = "";
    size_t n = sizeof strategy;
    if (c->abandoned)
        return false;
    if (c->ever_joined || rd_kafka_version() >= VERSION_SAFE_DESTROY)
        return true;
    (void)rd_kafka_conf_get(rd_kafka_conf(c->client), "partition.assignment.strategy", strategy,
                            &n);
    return strstr(strategy, "cooperative") == NULL;
}

static void free_client(struct consumer *c)
{
    if (!c->client)
        return;
    rd_kafka_queue_io_event_enable(c->control, -1, NULL, 0);
    rd_kafka_queue_destroy(c->control);
    if (may_destroy(c))
        rd_kafka_destroy_flags(c->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

void consumer_free(struct consumer *c)
{
    if (!c)
        return;
    assert(!c->draining); /* not from inside on_record or on_assignment */
    loop_defer_cancel(&c->drain);
    loop_timer_close(&c->tick);
    loop_timer_close(&c->commit);
    loop_timer_close(&c->rejoin);
    loop_timer_close(&c->close_limit);
    loop_watch_close(&c->watch);
    lanes_release(&c->lanes); /* before the client that their queues belong to */
    free_client(c);
    if (c->event_fd >= 0)
        (void)close(c->event_fd);
    free(c->headers);
    free((char *)c->options.group);
    free(c);
}
