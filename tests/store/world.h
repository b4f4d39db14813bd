/*
 * world.h -- what the tests of this directory stand on: the throwaway Postgres of
 * tools/with_postgres, with the schema in it, an agent and its tools published.
 */
#ifndef PAWL_TESTS_STORE_WORLD_H
#define PAWL_TESTS_STORE_WORLD_H

#include "tests/unit/cm.h"

#include "common/clock.h"
#include "common/loop.h"
#include "common/pg.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stdint.h>

struct world {
    const char *dsn;       /* of the owner of everything */
    char planner_dsn[300]; /* of a login that may do what pawl_planner may, and no more */
    char executor_dsn[300];
    struct loop loop;
    struct pg *pg; /* waits; connects again by itself after a restart of the server */
};

/* Of cmocka's setup and teardown; the schema is made anew. */
void world_open(struct world *w);
void world_close(struct world *w);

/* Runs a statement and drops its rows. */
PRINTF(2, 3) void world_sql(struct world *w, const char *format, ...);

/* The first column of the only row, cast to text or int8 by the statement. */
PRINTF(2, 3) int64_t world_int(struct world *w, const char *format, ...);
PRINTF(3, 4) const char *world_text(struct world *w, char out[200], const char *format, ...);

struct uuid world_start_run(struct world *w); /* a new run of agent `billing`, at step 1 */

/* A run whose step 1 has committed calls of these tools ("look,send"). */
struct uuid world_planned_run(struct world *w, int64_t planner, const char *tools);

/* register() and take nothing else. */
int64_t world_worker(struct world *w, const char *kind, const char *instance);

/* tests/store/server VERB: "restart fast", "restart immediate", "stop", "start". */
void world_server(const char *verb);

/* Turns the loop until the condition holds; fails the test after the time. */
#define UNTIL(w, condition, timeout_ms)                                                     \
    do {                                                                                    \
        int64_t until_ = clock_mono_ms() + (timeout_ms);                                    \
        while (!(condition)) {                                                              \
            if (clock_mono_ms() > until_)                                                   \
                fail_msg("%s did not become true in %d ms", #condition, (int)(timeout_ms)); \
            loop_turn(&(w)->loop, 20);                                                      \
        }                                                                                   \
    } while (0)

#endif
