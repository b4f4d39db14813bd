/*
 * explore.h -- every state that can be reached, breadth first.
 *
 *      world_begin -> moves() -> canonical -> new? -> judge() -> moves() -> ...
 *
 * A state that breaks a promise ends the search; the way to it, a shortest one,
 * is printed.  When there is none, the search goes backwards from the states in
 * which every run has ended, along the moves that can be relied upon (no fault,
 * no person, no doorbell): what it does not meet is stuck, and breaks P1.
 *
 * Limits:  STATES_MAX; states are kept without their zero bytes, some 60 bytes
 *          each, and 8 for each move that can be relied upon.
 * Threads: one.
 * Errors:  out of memory ends the program.
 */
#ifndef PAWL_SCHEMA_MODEL_EXPLORE_H
#define PAWL_SCHEMA_MODEL_EXPLORE_H

#include "schema/model/world.h"

#include <stddef.h>

enum { STATES_MAX = 8 * 1000 * 1000 };

struct finding {
    const char *broken; /* what does not hold; NULL: all does */
    size_t states, moves;
    int steps; /* length of the way to it */
};

/* Explores the current setting under the current mistake. */
struct finding explore(void);

/* ---- for moves.c ---- */

struct search;

enum reliable { MAY, WILL }; /* WILL: happens in the end, if nothing else does */

enum { SOMEBODY = -1 };

/* One thing that can happen: who does what, and the world after it. */
__attribute__((format(printf, 5, 6))) void explore_next(struct search *s, const struct world *next,
                                                        enum reliable reliable, int process,
                                                        const char *format, ...);

/* All that can happen in this world. */
void moves(struct search *s, const struct world *w);

/* ---- for judge.c ---- */

/* The promise that this state breaks, or NULL. */
const char *judge(const struct world *w);

/* Every run has ended. */
bool is_over(const struct world *w);

#endif
