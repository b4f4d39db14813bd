/*
 * live.h -- live tokens: what models say, for people who watch them say it.
 *
 *     model_call --hear--> live_attempt --every LIVE_GATHER_MS--> piece  --> stream topic
 *     brain_task --live_end--------------------------------------> end   --> stream topic
 *
 * One attempt is one model call for one step.  What it hears is gathered, and goes out
 * as pieces that say where they belong: run, epoch, step, version, item, and how many
 * bytes of the item came before.  So a reader can put an item together, see what is
 * missing, and drop an attempt that another one took the place of.  The end says whether
 * what was said became the plan of the step.
 *
 * Nothing hangs on it.  What the topic does not take at once is dropped, which the next
 * offset shows; a planner that dies leaves an attempt without an end, and the next
 * attempt has a higher version.  What was said for good stands in Postgres.
 *
 * Limits:  LIVE_PIECE_BYTES gathered by an attempt at most, then a piece goes out early;
 *          LIVE_ITEMS_MAX items of an attempt, of the others nothing is told.
 * Threads: the loop's.
 * Errors:  none.
 */
#ifndef PAWL_PLANNER_LIVE_H
#define PAWL_PLANNER_LIVE_H

#include "common/loop.h"
#include "common/message.h"
#include "planner/model.h"

#include <stdbool.h>

enum { LIVE_GATHER_MS = 100, LIVE_PIECE_BYTES = 16 * 1024, LIVE_ITEMS_MAX = 1024 };

/* Where pieces go.  send: false: not now; the piece is dropped. */
struct live_sink {
    struct loop *loop;
    bool (*send)(void *arg, const struct uuid *run, const char *value, size_t n);
    void *arg;
};

struct live_attempt;

/* The sink must stay until the end. */
struct live_attempt *live_begin(const struct live_sink *sink, const struct tokens_place *place);

/* What the model call is to be given. */
struct reader_listener live_listener(struct live_attempt *a);

/* Sends what is left and the end; frees it.  NULL is fine. */
void live_end(struct live_attempt *a, bool committed);

#endif
