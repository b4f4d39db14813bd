/*
 * arrival.h -- one request record, from Kafka to a run or to the dead letters.
 *
 *     [open] --> read --> accept --> [close] --> done
 *        |        |         |          ^
 *        +--------+---------+--> bury -+
 *       killed    bad       refused
 *       workers   record
 *
 *     open    notes that the record is begun (only after a planner died lately)
 *     read    judges the record; nothing waits here
 *     accept  makes a run of it, or finds the run that it made before
 *     bury    sends it to the dead letter topic, for as long as it takes
 *     close   the note is taken back
 *
 * The record counts as taken only at the end: when Postgres has the run, or the
 * broker has the dead letter.
 *
 * A record that kills whoever reads it would kill them all, one after the other.
 * So records that a dead planner may have had in its hands are noted in Postgres
 * before they are looked at, alone; what was begun more than `deaths_max` times is
 * buried unread.
 *
 * Limits:  the record's size as read from Kafka; see intake.h for how many.
 * Threads: the loop's.
 * Errors:  none leave this machine.
 */
#ifndef PAWL_PLANNER_ARRIVAL_H
#define PAWL_PLANNER_ARRIVAL_H

#include "common/arena.h"
#include "common/consumer.h"
#include "common/message.h"
#include "common/outcome.h"
#include "common/producer.h"
#include "common/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum arrival_state {
    ARRIVAL_OPEN,
    ARRIVAL_READ,
    ARRIVAL_ACCEPT,
    ARRIVAL_BURY,
    ARRIVAL_CLOSE,
    ARRIVAL_DONE,
    ARRIVAL_STATES
};

const char *arrival_state_name(unsigned state);

struct arrival;

/* All borrowed. */
struct arrival_event {
    unsigned ticket;
    enum outcome outcome;
    const struct error *err;               /* unless OK */
    int count;                             /* of open: how often the record was begun */
    const struct store_accepted *accepted; /* of accept */
};

/* Operations answer once, by arrival_resume(), and never from inside the call. */
struct arrival_ports {
    void *self;
    void (*open)(void *self, struct arrival *a, unsigned ticket);
    void (*accept)(void *self, struct arrival *a, unsigned ticket,
                   const struct store_accept *request);
    void (*bury)(void *self, struct arrival *a, unsigned ticket, const struct dead_letter *why);
    void (*close)(void *self, struct arrival *a, unsigned ticket);
    void (*later)(void *self, struct arrival *a, unsigned ticket, int64_t delay_ms);
    void (*forget)(void *self, struct arrival *a); /* the present operation */
    void (*ring)(void *self, const struct doorbell *d);
    void (*announce)(void *self, int64_t event_id);
    void (*told)(void *self, const char *answer); /* "accepted", "conflict", ...: to be counted */
    void (*ended)(void *self, struct arrival *a); /* the last word; may free it */
};

struct arrival_settings {
    const char *tenant, *class; /* of this topic: what a body says does not count */
    const char *dlq, *group;
    struct request_limits limits;
    int deaths_max;
};

struct arrival {
    enum arrival_state state;
    unsigned ticket;
    bool paused;
    int tries;
    bool noted; /* open was answered: close must follow */
    bool dropped;
    bool taken; /* it need not come again */
    const struct arrival_ports *ports;
    const struct arrival_settings *settings;
    struct record_view record; /* a copy */
    size_t size_bytes;
    struct consumer_slot slot;
    struct run_request request;
    struct store_accept accept;
    char *input;
    struct dead_letter why;
    struct error error;
    struct arena arena;
};

/* Copies the record; nothing happens yet. */
void arrival_init(struct arrival *a, const struct arrival_ports *ports,
                  const struct arrival_settings *settings, const struct record_view *rec,
                  struct consumer_slot slot);

/* `suspect`: a planner died lately that may have had it. */
void arrival_start(struct arrival *a, bool suspect);
void arrival_resume(struct arrival *a, const struct arrival_event *ev);

/* Ends without a word: the record will come again, here or elsewhere. */
void arrival_drop(struct arrival *a);

/* Frees what it holds; after `ended`, or instead of it. */
void arrival_release(struct arrival *a);

#endif
