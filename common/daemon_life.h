/*
 * daemon_life.h -- the inside of daemon.h, for daemon.c and daemon_main.c only.
 */
#ifndef PAWL_COMMON_DAEMON_LIFE_H
#define PAWL_COMMON_DAEMON_LIFE_H

#include "common/daemon.h"
#include "common/metrics.h"

enum daemon_state {
    DAEMON_STARTING,  /* no number from Postgres yet              */
    DAEMON_WORKING,   /* takes records and what is due            */
    DAEMON_FINISHING, /* finishes what is in flight               */
    DAEMON_LEAVING,   /* says its last words to Postgres and Kafka */
    DAEMON_CLOSED,
};

struct daemon_life {
    const struct daemon_work *work;
    void *self;     /* NULL before work->start() and after work->stop() */
    char name[256]; /* the instance */
    enum daemon_state state;
    bool dead;
    bool hurry; /* the grace is over */
    int exit_code;

    const char *topics[DAEMON_TOPICS_MAX];
    size_t topic_count;
    int records_out; /* given to the work and not done */
    bool closing;    /* consumer_close() was called */
    bool left_group;
    bool handed_back, flushing; /* of leaving */

    store_ticket due_op;
    int due_asked;
    bool hungry;     /* there may be more due than the last batch had */
    bool missed;     /* somebody was buried while we asked */
    int idle_sweeps; /* in a row, without anything in flight */

    struct loop_timer sweep, grace, goodbye;
    struct loop_task progress;
};

MUST_CHECK enum outcome daemon_open(struct daemon *d, struct error *err);
void daemon_close(struct daemon *d);
void daemon_sweep_now(struct daemon *d);

#endif
