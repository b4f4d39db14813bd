#include "common/lag.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PARTITIONS_MAX = 1000, WATCH_TIMEOUT_MS = 5000 };

/* ---- asking ------------------------------------------------------------------ */

enum outcome lag_open(const struct kafka_settings *settings, struct rd_kafka_s **out,
                      struct error *err)
{
    char text[256];
    rd_kafka_conf_t *conf;
    *out = NULL;
    enum outcome outcome = kafka_conf(settings, KAFKA_OBSERVER, NULL, &conf, err);
    if (outcome != OK)
        return outcome;
    /* Of a producer's kind, a question about a topic that does not exist would
     * make it, where the brokers make topics by themselves.                  */
    *out = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (*out)
        return OK;
    rd_kafka_conf_destroy(conf);
    return fail(err, REFUSED, "cannot make a Kafka client: %s", text);
}

void lag_close(struct rd_kafka_s *client)
{
    if (client)
        rd_kafka_destroy(client);
}

static enum outcome failed(struct error *err, const char *what, rd_kafka_resp_err_t e)
{
    return fail(err, RETRY, "Kafka did not answer: %s: %s", what, rd_kafka_err2str(e));
}

static int remaining_ms(int64_t until_ms)
{
    int64_t left = until_ms - clock_mono_ms();
    return left > 0 ? (int)left : 0;
}

/* Adds the partitions of one topic; none when it does not exist. */
static enum outcome add_topic(rd_kafka_t *client, const char *name, int64_t until_ms,
                              rd_kafka_topic_partition_list_t *list, struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
    if (!topic)
        return fail(err, REFUSED, "'%s' cannot be the name of a topic", name);
    rd_kafka_resp_err_t e = rd_kafka_metadata(client, 0, topic, &metadata, remaining_ms(until_ms));
    rd_kafka_topic_destroy(topic);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        return failed(err, name, e);
    enum outcome outcome = OK;
    for (int t = 0; t < metadata->topic_cnt; t++) {
        const struct rd_kafka_metadata_topic *found = &metadata->topics[t];
        if (list->cnt + found->partition_cnt > PARTITIONS_MAX)
            outcome = fail(err, REFUSED, "more than %d partitions at once", PARTITIONS_MAX);
        for (int p = 0; outcome == OK && p < found->partition_cnt; p++)
            rd_kafka_topic_partition_list_add(list, found->topic, found->partitions[p].id);
    }
    rd_kafka_metadata_destroy(metadata);
    return outcome;
}

/* Fills in the offset of each partition for `place`: RD_KAFKA_OFFSET_END or
 * _BEGINNING, which are the times -1 and -2 of the protocol.                   */
static enum outcome find_offsets(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                 int64_t place, int64_t until_ms, struct error *err)
{
    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = place;
    rd_kafka_resp_err_t e = rd_kafka_offsets_for_times(client, list, remaining_ms(until_ms));
    for (int i = 0; e == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        e = list->elems[i].err;
    return e == RD_KAFKA_RESP_ERR_NO_ERROR ? OK : failed(err, "offsets of partitions", e);
}

static enum outcome copy_committed(rd_kafka_event_t *event, struct lag_row *rows, size_t n,
                                   struct error *err)
{
    size_t groups = 0;
    if (!event)
        return failed(err, "offsets of the group", RD_KAFKA_RESP_ERR__TIMED_OUT);
    if (rd_kafka_event_error(event))
        return failed(err, "offsets of the group", rd_kafka_event_error(event));
    const rd_kafka_group_result_t **results = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(event), &groups);
    if (groups != 1)
        return failed(err, "offsets of the group", RD_KAFKA_RESP_ERR__BAD_MSG);
    const rd_kafka_error_t *error = rd_kafka_group_result_error(results[0]);
    if (error)
        return failed(err, "offsets of the group", rd_kafka_error_code(error));
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(results[0]);
    for (int i = 0; list && i < list->cnt; i++)
        for (size_t r = 0; r < n; r++)
            if (rows[r].partition == list->elems[i].partition &&
                strcmp(rows[r].topic, list->elems[i].topic) == 0)
                rows[r].committed = list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
    return OK;
}

static enum outcome find_committed(rd_kafka_t *client, const char *group,
                                   rd_kafka_topic_partition_list_t *list, int64_t until_ms,
                                   struct lag_row *rows, struct error *err)
{
    char text[256];
    int left = remaining_ms(until_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, left > 0 ? left : 1, text,
                                                    sizeof text);
    rd_kafka_ListConsumerGroupOffsets_t *request =
        rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_ListConsumerGroupOffsets(client, &request, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, left);
    enum outcome outcome = copy_committed(event, rows, (size_t)list->cnt, err);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return outcome;
}

/* ---- the answer ---------------------------------------------------------------- */

static void sum_up(struct lag_report *report, const rd_kafka_topic_partition_list_t *beginnings)
{
    report->lag = 0;
    for (size_t i = 0; i < report->n; i++) {
        struct lag_row *row = &report->rows[i];
        int64_t begin = beginnings->elems[i].offset;
        /* Records that were deleted unread are nobody's backlog any more. */
        int64_t from = row->committed > begin ? row->committed : begin;
        row->lag = row->end > from ? row->end - from : 0;
        report->lag += row->lag;
    }
}

static enum outcome ask(rd_kafka_t *client, const char *group,
                        rd_kafka_topic_partition_list_t *list, int64_t until_ms,
                        struct lag_report *report, struct error *err)
{
    enum outcome outcome = find_offsets(client, list, RD_KAFKA_OFFSET_END, until_ms, err);
    for (int i = 0; outcome == OK && i < list->cnt; i++) {
        struct lag_row *row = &report->rows[i];
        (void)snprintf(row->topic, sizeof row->topic, "%s", list->elems[i].topic);
        row->partition = list->elems[i].partition;
        row->end = list->elems[i].offset;
        row->committed = -1;
    }
    report->n = (size_t)list->cnt;
    if (outcome == OK)
        outcome = find_committed(client, group, list, until_ms, report->rows, err);
    if (outcome == OK)
        outcome = find_offsets(client, list, RD_KAFKA_OFFSET_BEGINNING, until_ms, err);
    if (outcome == OK)
        sum_up(report, list);
    return outcome;
}

enum outcome lag_read(struct rd_kafka_s *client, const struct lag_query *query, int timeout_ms,
                      struct lag_report *out, struct error *err)
{
    int64_t until_ms = clock_mono_ms() + timeout_ms;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    enum outcome outcome = OK;
    *out = (struct lag_report){ 0 };
    for (size_t i = 0; outcome == OK && i < query->n_topics; i++)
        outcome = add_topic(client, query->topics[i], until_ms, list, err);
    rd_kafka_topic_partition_list_sort(list, NULL, NULL);
    if (outcome == OK && list->cnt > 0) {
        out->rows = xcalloc((size_t)list->cnt, sizeof *out->rows);
        outcome = ask(client, query->group, list, until_ms, out, err);
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (outcome != OK)
        lag_report_release(out);
    return outcome;
}

void lag_report_release(struct lag_report *r)
{
    free(r->rows);
    *r = (struct lag_report){ 0 };
}

/* ---- the thread ------------------------------------------------------------------ */

struct watched {
    struct lag_query query; /* our copy */
    struct lag_report report;
    int64_t read_ms; /* 0: never */
};

struct lag_watch {
    pthread_t thread;
    pthread_mutex_t lock; /* of reports, read_ms and stop */
    pthread_cond_t wake;
    rd_kafka_t *client;
    struct watched *groups;
    size_t n_groups;
    int interval_ms;
    bool running; /* there is a thread to wait for */
    bool stop;
};

static void copy_query(struct lag_query *to, const struct lag_query *from)
{
    const char **topics = xcalloc(from->n_topics, sizeof *topics);
    for (size_t i = 0; i < from->n_topics; i++)
        topics[i] = xstrdup(from->topics[i]);
    *to = (struct lag_query){ xstrdup(from->group), topics, from->n_topics };
}

static void release_query(struct lag_query *q)
{
    for (size_t i = 0; i < q->n_topics; i++)
        free((char *)q->topics[i]);
    free((void *)q->topics);
    free((char *)q->group);
}

static void read_group(struct lag_watch *w, struct watched *g)
{
    struct lag_report report;
    struct error err;
    if (lag_read(w->client, &g->query, WATCH_TIMEOUT_MS, &report, &err) != OK) {
        log_event(LOG_DEBUG, "lag not read", LOG_STR("group", g->query.group), LOG_WHY(&err),
                  LOG_END);
        return;
    }
    pthread_mutex_lock(&w->lock);
    struct lag_report old = g->report;
    g->report = report;
    g->read_ms = clock_mono_ms();
    pthread_mutex_unlock(&w->lock);
    lag_report_release(&old);
}

/* Sleeps for an interval, or until it is time to stop. */
static bool sleep_on(struct lag_watch *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + (int64_t)(w->interval_ms % 1000) * 1000000;
    until.tv_sec += w->interval_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&w->lock);
    while (!w->stop && pthread_cond_timedwait(&w->wake, &w->lock, &until) == 0)
        continue;
    bool go_on = !w->stop;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

static bool is_stopping(struct lag_watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

static void *watch_main(void *arg)
{
    struct lag_watch *w = arg;
    do {
        for (size_t i = 0; i < w->n_groups && !is_stopping(w); i++)
            read_group(w, &w->groups[i]);
    } while (sleep_on(w));
    return NULL;
}

enum outcome lag_watch_init(struct lag_watch **out, struct rd_kafka_s *client,
                            const struct lag_query *queries, size_t n_queries, int interval_ms,
                            struct error *err)
{
    assert(interval_ms > 0);
    struct lag_watch *w = xcalloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    w->client = client;
    w->interval_ms = interval_ms;
    w->groups = xcalloc(n_queries, sizeof *w->groups);
    w->n_groups = n_queries;
    for (size_t i = 0; i < n_queries; i++)
        copy_query(&w->groups[i].query, &queries[i]);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int e = pthread_create(&w->thread, NULL, watch_main, w);
    w->running = e == 0;
    *out = w->running ? w : NULL;
    if (w->running)
        return OK;
    lag_watch_free(w);
    return fail(err, BROKEN, "cannot start a thread: %s", strerror(e));
}

void lag_watch_each(struct lag_watch *w,
                    void (*row)(void *arg, const char *group, const struct lag_row *row), void *arg)
{
    int64_t oldest_ms = clock_mono_ms() - 3 * (int64_t)w->interval_ms;
    pthread_mutex_lock(&w->lock);
    for (size_t g = 0; g < w->n_groups; g++) {
        const struct watched *group = &w->groups[g];
        if (group->read_ms == 0 || group->read_ms < oldest_ms)
            continue;
        for (size_t i = 0; i < group->report.n; i++)
            row(arg, group->query.group, &group->report.rows[i]);
    }
    pthread_mutex_unlock(&w->lock);
}

void lag_watch_free(struct lag_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->running)
        (void)pthread_join(w->thread, NULL);
    for (size_t i = 0; i < w->n_groups; i++) {
        release_query(&w->groups[i].query);
        lag_report_release(&w->groups[i].report);
    }
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->groups);
    free(w);
}
