#include "common/producer.h"

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
    QUEUE_MESSAGES_DEFAULT = 10000,
    QUEUE_BYTES_DEFAULT = 8 << 20,
    MESSAGE_OVERHEAD_BYTES = 256, /* what librdkafka and we keep per message, about */
    PURGE_WAIT_MS = 2000,
    RING_BYTES_MAX = 256,
};

/* One record between producer_send() and its delivery report. */
struct parcel {
    struct producer *producer;
    producer_done *done; /* NULL: a doorbell */
    void *arg;
    size_t bytes;
};

struct flush {
    bool active;
    producer_done *done;
    void *arg;
    struct loop_timer timer;
    struct loop_task task;
};

struct producer {
    struct loop *loop;
    struct loop_watch watch;
    int event_fd;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    struct producer_options options;
    struct producer_stats stats;
    size_t doorbells; /* of stats.in_flight */
    struct flush flush;
    struct loop_task first;
    struct buf ring; /* a doorbell is written here */
    bool closing;    /* producer_free() has begun */
    bool dead;       /* librdkafka said that this client is beyond repair */
};

/* ---- what comes back ------------------------------------------------------- */

static void end_flush(struct producer *p, enum outcome outcome)
{
    struct error err;
    if (!p->flush.active)
        return;
    p->flush.active = false;
    loop_timer_stop(&p->flush.timer);
    loop_defer_cancel(&p->flush.task);
    if (outcome != OK)
        (void)fail(&err, outcome, "%zu records are still on their way to Kafka",
                   p->stats.in_flight);
    p->flush.done(p->flush.arg, outcome, outcome == OK ? NULL : &err);
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct parcel *parcel = message->_private;
    struct producer *p = parcel->producer;
    (void)client;
    (void)opaque;
    p->stats.in_flight--;
    p->stats.in_flight_bytes -= parcel->bytes;
    if (!parcel->done)
        p->doorbells--;
    if (message->err)
        p->stats.failed++;
    else
        p->stats.delivered++;
    if (parcel->done) {
        struct error err;
        enum outcome outcome = kafka_outcome(message->err);
        if (outcome != OK)
            (void)fail(&err, outcome, "Kafka did not take a record of topic '%s': %s",
                       message->rkt ? rd_kafka_topic_name(message->rkt) : "?",
                       rd_kafka_err2str(message->err));
        parcel->done(parcel->arg, outcome, outcome == OK ? NULL : &err);
    }
    free(parcel);
}

/* Lost connections are logged by librdkafka itself (kafka.c); here only what
 * ends the client.                                                            */
static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct producer *p = opaque;
    (void)client;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        p->dead = true;
        log_event(LOG_ERROR, "kafka producer is dead", LOG_STR("error", reason), LOG_END);
    }
}

static void drain(struct producer *p)
{
    (void)rd_kafka_poll(p->client, 0);
    if (p->flush.active && p->stats.in_flight == 0)
        end_flush(p, OK);
}

static void on_event(void *arg, int events)
{
    struct producer *p = arg;
    uint64_t count;
    (void)events;
    ssize_t n = read(p->event_fd, &count, sizeof count);
    assert(n == (ssize_t)sizeof count || errno == EAGAIN);
    drain(p);
}

/* ---- birth and death --------------------------------------------------------- */

static enum outcome open_client(struct producer *p, const struct kafka_settings *settings,
                                struct error *err)
{
    char text[256];
    rd_kafka_conf_t *conf;
    enum outcome outcome = kafka_conf(settings, KAFKA_PRODUCER, NULL, &conf, err);
    if (outcome != OK)
        return outcome;
    if (p->options.timeout_ms > 0) {
        char number[16];
        (void)snprintf(number, sizeof number, "%d", p->options.timeout_ms);
        if (rd_kafka_conf_set(conf, "message.timeout.ms", number, text, sizeof text) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return fail(err, REFUSED, "cannot make a Kafka producer: %s", text);
        }
    }
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_error_cb(conf, on_error);
    p->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!p->client) {
        rd_kafka_conf_destroy(conf);
        return fail(err, REFUSED, "cannot make a Kafka producer: %s", text);
    }
    p->queue = rd_kafka_queue_get_main(p->client);
    return OK;
}

static void close_client(struct producer *p)
{
    if (!p->client)
        return;
    rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(p->queue);
    rd_kafka_destroy(p->client);
}

static void on_first_task(void *arg)
{
    drain(arg);
}

static void on_flush_timer(void *arg)
{
    end_flush(arg, RETRY);
}

static void on_flush_task(void *arg)
{
    struct producer *p = arg;
    if (p->stats.in_flight == 0)
        end_flush(p, OK);
}

enum outcome producer_init(struct producer **out, struct loop *loop,
                           const struct kafka_settings *settings,
                           const struct producer_options *options, struct error *err)
{
    static const uint64_t one = 1;
    struct producer *p = xcalloc(1, sizeof *p);
    *out = NULL;
    p->loop = loop;
    p->options = *options;
    if (p->options.queue_messages == 0)
        p->options.queue_messages = QUEUE_MESSAGES_DEFAULT;
    if (p->options.queue_bytes == 0)
        p->options.queue_bytes = QUEUE_BYTES_DEFAULT;
    buf_init(&p->ring, RING_BYTES_MAX);
    p->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum outcome outcome =
        p->event_fd < 0 ? fail(err, BROKEN, "cannot make an eventfd: %s", strerror(errno)) : OK;
    if (outcome == OK)
        outcome = open_client(p, settings, err);
    if (outcome == OK)
        outcome = loop_watch_start(loop, &p->watch, p->event_fd, LOOP_READ, on_event, p, err);
    if (outcome != OK) {
        close_client(p);
        if (p->event_fd >= 0)
            (void)close(p->event_fd);
        free(p);
        return outcome;
    }
    rd_kafka_queue_io_event_enable(p->queue, p->event_fd, &one, sizeof one);
    /* The event tells of a queue that is no longer empty; it may be so already. */
    loop_defer(loop, &p->first, on_first_task, p);
    loop_timer_init(loop, &p->flush.timer, on_flush_timer, p);
    *out = p;
    return OK;
}

void producer_free(struct producer *p)
{
    if (!p)
        return;
    p->closing = true;
    end_flush(p, RETRY);
    (void)rd_kafka_purge(p->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(p->client, PURGE_WAIT_MS); /* calls on_delivery() for each */
    assert(p->stats.in_flight == 0);
    loop_timer_close(&p->flush.timer);
    loop_defer_cancel(&p->first);
    loop_watch_close(&p->watch);
    close_client(p);
    (void)close(p->event_fd);
    buf_release(&p->ring);
    free(p);
}

/* ---- sending ------------------------------------------------------------------ */

static size_t size_of(const struct record_draft *draft)
{
    size_t bytes = MESSAGE_OVERHEAD_BYTES + draft->key_n + draft->value_n;
    for (size_t i = 0; i < draft->n_headers; i++)
        bytes += strlen(draft->headers[i].name) + draft->headers[i].value_n;
    return bytes;
}

/* A single record larger than the whole room is let in when it is empty. */
static bool has_room(const struct producer *p, size_t bytes, bool doorbell)
{
    const struct producer_options *limit = &p->options;
    size_t messages = doorbell ? limit->queue_messages / 2 : limit->queue_messages;
    size_t used = doorbell ? p->doorbells : p->stats.in_flight;
    if (used >= messages || p->stats.in_flight >= limit->queue_messages)
        return false;
    return p->stats.in_flight_bytes + bytes <= limit->queue_bytes || p->stats.in_flight == 0;
}

static rd_kafka_headers_t *headers_of(const struct record_draft *draft)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(draft->n_headers);
    for (size_t i = 0; i < draft->n_headers; i++) {
        const struct record_header *h = &draft->headers[i];
        rd_kafka_resp_err_t e =
            rd_kafka_header_add(headers, h->name, -1, h->value, (ssize_t)h->value_n);
        assert(e == RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    return headers;
}

/* Gives a copy of the draft to librdkafka, with the parcel. */
static rd_kafka_error_t *hand_over(struct producer *p, const char *topic,
                                   const struct record_draft *draft, struct parcel *parcel)
{
    rd_kafka_headers_t *headers = draft->n_headers > 0 ? headers_of(draft) : NULL;
    rd_kafka_vu_t parts[6] = {
        { .vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic },
        { .vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY },
        { .vtype = RD_KAFKA_VTYPE_KEY, .u.mem = { (void *)draft->key, draft->key_n } },
        { .vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = { (void *)draft->value, draft->value_n } },
        { .vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = parcel },
        { .vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers },
    };
    rd_kafka_error_t *error = rd_kafka_produceva(p->client, parts, headers ? 6 : 5);
    if (error && headers)
        rd_kafka_headers_destroy(headers);
    return error;
}

enum outcome producer_send(struct producer *p, const char *topic, const struct record_draft *draft,
                           producer_done *done, void *arg, struct error *err)
{
    if (p->dead)
        return fail(err, BROKEN, "the Kafka producer is dead; restart the process");
    size_t bytes = size_of(draft);
    if (p->closing || !has_room(p, bytes, done == NULL)) {
        p->stats.full++;
        return fail(err, RETRY, "the queue to Kafka is full: %zu records in flight",
                    p->stats.in_flight);
    }
    struct parcel *parcel = xmalloc(sizeof *parcel);
    *parcel = (struct parcel){ p, done, arg, bytes };
    rd_kafka_error_t *error = hand_over(p, topic, draft, parcel);
    if (error) {
        enum outcome outcome = kafka_outcome(rd_kafka_error_code(error));
        (void)fail(err, outcome, "cannot send to topic '%s': %s", topic,
                   rd_kafka_error_string(error));
        if (outcome == RETRY)
            p->stats.full++;
        rd_kafka_error_destroy(error);
        free(parcel);
        return outcome;
    }
    p->stats.sent++;
    p->stats.in_flight++;
    p->stats.in_flight_bytes += bytes;
    if (!done)
        p->doorbells++;
    return OK;
}

void producer_ring(struct producer *p, const char *topic, const struct doorbell *d)
{
    char key[DOORBELL_KEY_SIZE];
    struct record_draft draft = { .key = key, .key_n = doorbell_key(d, key) };
    buf_reset(&p->ring);
    bool written = doorbell_write(&p->ring, d);
    assert(written);
    draft.value = p->ring.data;
    draft.value_n = p->ring.len;
    /* Not sent is not lost: the work falls due in Postgres. */
    if (producer_send(p, topic, &draft, NULL, NULL, NULL) != OK)
        log_event(LOG_DEBUG, "doorbell dropped", LOG_UUID("run_id", &d->run),
                  LOG_INT("step", d->step), LOG_INT("index", d->index), LOG_END);
}

void producer_flush(struct producer *p, int timeout_ms, producer_done *done, void *arg)
{
    assert(!p->flush.active && done);
    p->flush.active = true;
    p->flush.done = done;
    p->flush.arg = arg;
    loop_timer_start(&p->flush.timer, timeout_ms);
    loop_defer(p->loop, &p->flush.task, on_flush_task, p);
}

struct producer_stats producer_stats(const struct producer *p)
{
    return p->stats;
}
