#include "cli/broker.h"

#include "common/kafka_tsan.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/text.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

enum { PARTITIONS_DEFAULT = 4, PARTITIONS_MAX = 1024, TOPICS_MAX = 64, BROKER_ID = 1 };

/* An empty fetch of the mock broker sleeps through the whole fetch.wait.max.ms
 * whatever arrives meanwhile, so this is its latency per hop.  Shorter costs
 * idle CPU on both sides.                                                     */
const struct config_property broker_properties[] = {
    { .name = "fetch.wait.max.ms", .value = "5" },
    { .name = "reconnect.backoff.max.ms", .value = "500" },
};
const size_t broker_property_count = sizeof broker_properties / sizeof *broker_properties;

struct broker {
    rd_kafka_t *client; /* the mock cluster lives in a client that does nothing else */
    rd_kafka_mock_cluster_t *cluster;
};

/* ---- the port ---------------------------------------------------------------- */

/* The mock cluster binds to port 0, and there is no setting for another one.  A
 * bind() in the program stands in front of that of libc for all libraries, so
 * the wish can be put in on the way: for the one call made by broker_start(),
 * and nobody else's.                                                          */
static _Atomic int wanted_port;

typedef int bind_function(int fd, const struct sockaddr *address, socklen_t length);

/* The label, because glibc declares bind() with an argument type of its own. */
bind_function bind_to_wanted_port __asm__("bind");

int bind_to_wanted_port(int fd, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_in with_port;
    bind_function *real;
    void *symbol = dlsym(RTLD_NEXT, "bind");
    assert(symbol);
    memcpy(&real, &symbol, sizeof real);
    if (wanted_port != 0 && address->sa_family == AF_INET && length == sizeof with_port) {
        memcpy(&with_port, address, sizeof with_port);
        if (with_port.sin_port == 0) {
            with_port.sin_port = htons((uint16_t)atomic_exchange(&wanted_port, 0));
            return real(fd, (struct sockaddr *)&with_port, length);
        }
    }
    return real(fd, address, length);
}

/* ---- the broker ---------------------------------------------------------------- */

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)client;
    if (strcmp(facility, "CONFWARN") == 0)
        return; /* that this client knows no other brokers is as it should be */
    log_event(level <= 4 ? LOG_WARN : LOG_INFO, "embedded broker", LOG_STR("facility", facility),
              LOG_STR("text", text), LOG_END);
}

/* librdkafka asserts when the mock cluster cannot bind, so it is tried before. */
static bool is_free(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool bound = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    (void)close(fd);
    return bound;
}

static enum outcome make_topics(struct broker *b, const struct broker_options *options,
                                struct error *err)
{
    for (size_t i = 0; i < options->n_topics; i++) {
        const struct broker_topic *topic = &options->topics[i];
        rd_kafka_resp_err_t e = rd_kafka_mock_topic_create(
            b->cluster, topic->name, topic->partitions > 0 ? topic->partitions : PARTITIONS_DEFAULT,
            1);
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
            return fail(err, BROKEN, "cannot make the topic '%s': %s", topic->name,
                        rd_kafka_err2str(e));
    }
    return OK;
}

enum outcome broker_start(struct broker **out, const struct broker_options *options,
                          struct error *err)
{
    char text[256];
    *out = NULL;
    if (options->port != 0 && !is_free(options->port))
        return fail(err, BROKEN,
                    "the embedded broker cannot listen on 127.0.0.1:%d; is it running already, or "
                    "has another program taken the port?",
                    options->port);
    struct broker *b = xcalloc(1, sizeof *b);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    kafka_tsan_link();
    rd_kafka_conf_set_log_cb(conf, on_log);
    b->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!b->client) {
        rd_kafka_conf_destroy(conf);
        free(b);
        return fail(err, BROKEN, "cannot start the embedded broker: %s", text);
    }
    wanted_port = options->port;
    b->cluster = rd_kafka_mock_cluster_new(b->client, 1);
    wanted_port = 0;
    enum outcome outcome = b->cluster ? make_topics(b, options, err)
                                      : fail(err, BROKEN, "cannot start the embedded broker");
    if (outcome != OK) {
        broker_stop(b);
        return outcome;
    }
    *out = b;
    return OK;
}

const char *broker_bootstrap(const struct broker *b)
{
    assert(b);
    return rd_kafka_mock_cluster_bootstraps(b->cluster);
}

void broker_set_down(struct broker *b, bool down)
{
    if (down)
        (void)rd_kafka_mock_broker_set_down(b->cluster, BROKER_ID);
    else
        (void)rd_kafka_mock_broker_set_up(b->cluster, BROKER_ID);
}

void broker_stop(struct broker *b)
{
    if (!b)
        return;
    if (b->cluster)
        rd_kafka_mock_cluster_destroy(b->cluster);
    rd_kafka_destroy(b->client);
    free(b);
}

/* ---- the process ------------------------------------------------------------------ */

struct arguments {
    int port;
    const char *port_file;
    struct broker_topic topics[TOPICS_MAX];
    size_t n_topics;
};

static bool read_number(const char *text, int max, int *out)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end || number < 0 || number > max)
        return false;
    *out = (int)number;
    return true;
}

/* NAME or NAME:PARTITIONS; cuts the text at the colon. */
static bool read_topic(char *text, struct arguments *args)
{
    struct broker_topic *topic = &args->topics[args->n_topics];
    char *colon = strrchr(text, ':');
    if (args->n_topics == TOPICS_MAX || text == colon || !*text)
        return false;
    *topic = (struct broker_topic){ .name = text };
    if (colon) {
        *colon = '\0';
        if (!read_number(colon + 1, PARTITIONS_MAX, &topic->partitions) || topic->partitions == 0)
            return false;
    }
    args->n_topics++;
    return true;
}

static bool read_arguments(int argc, char **argv, struct arguments *args)
{
    static const struct option options[] = {
        { "port", required_argument, NULL, 'p' },
        { "port-file", required_argument, NULL, 'f' },
        { "topic", required_argument, NULL, 't' },
        { 0 },
    };
    bool fine = true;
    optind = 1;
    for (int o; fine && (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'p': fine = read_number(optarg, 65535, &args->port); break;
        case 'f': args->port_file = optarg; break;
        case 't': fine = read_topic(optarg, args); break;
        default: fine = false; break;
        }
    }
    return fine && optind == argc && args->n_topics > 0;
}

/* All at once, so that a reader never sees half an address. */
static bool write_port_file(const char *path, const char *bootstrap)
{
    char draft[4096];
    int n = snprintf(draft, sizeof draft, "%s.new", path);
    FILE *file = n > 0 && (size_t)n < sizeof draft ? fopen(draft, "we") : NULL;
    if (!file)
        return false;
    bool fine = fprintf(file, "%s\n", bootstrap) > 0;
    fine = fclose(file) == 0 && fine;
    return fine && rename(draft, path) == 0;
}

int broker_main(int argc, char **argv)
{
    struct arguments args = { 0 };
    struct broker *b;
    struct error err;
    sigset_t ends;
    int signal_number;
    if (!read_arguments(argc, argv, &args)) {
        fprintf(stderr, "usage: pawl dev-broker [--port PORT] [--port-file FILE] "
                        "--topic NAME[:PARTITIONS]...\n");
        return EX_USAGE;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before librdkafka's threads begin */

    struct broker_options options = { args.port, args.topics, args.n_topics };
    if (broker_start(&b, &options, &err) != OK) {
        log_event(LOG_ERROR, "embedded broker not started", LOG_WHY(&err), LOG_END);
        return EX_UNAVAILABLE;
    }
    if (args.port_file && !write_port_file(args.port_file, broker_bootstrap(b))) {
        log_event(LOG_ERROR, "cannot write the port file", LOG_STR("file", args.port_file),
                  LOG_STR("error", strerror(errno)), LOG_END);
        broker_stop(b);
        return EX_CANTCREAT;
    }
    printf("%s\n", broker_bootstrap(b));
    (void)fflush(stdout);
    (void)sigwait(&ends, &signal_number);
    broker_stop(b);
    return EX_OK;
}
