/*
 * conversation.h -- what was said in a run, in nobody's dialect.
 *
 *     rows of read_steps()            struct conversation
 *     context                  -->    context
 *     input                    -->    input
 *     items of step 1          -->    steps[0]: raw (the provider's own message) and
 *                                               its dialect; said (the same, neutral)
 *     results of step 1        -->              calls: id, tool, status, text
 *     items of step 2 ...
 *
 * Usually only the newest part of a run is read: the rows begin after the step
 * that the planner's history (history.h) holds already.  The results of that step
 * come with it; its items do not.
 *
 * Limits:  the arena's.
 * Threads: one owner.
 * Errors:  REFUSED: the arena is full.
 */
#ifndef PAWL_PLANNER_CONVERSATION_H
#define PAWL_PLANNER_CONVERSATION_H

#include "common/arena.h"
#include "common/outcome.h"
#include "common/store.h"
#include "planner/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One call with what it came to. */
struct conversation_call {
    int index;
    const char *call_id;
    const char *tool;       /* NULL when the items of this step were not read */
    const char *status;     /* as in pawl.statuses; NULL: no attempt of it has a row */
    const char *error_code; /* or NULL */
    const char *refused;    /* why the call was not made, or NULL */
    const char *text;       /* result or error; NULL: none */
    size_t text_n;
    int64_t hidden; /* > 0: it has so many bytes, and was not read */
};

/* What a person said to the run: read after the results of the step. */
struct conversation_message {
    const char *text;
    size_t text_n;
};

struct conversation_step {
    int step;
    const char *raw; /* NULL when the items of this step were not read */
    size_t raw_n;
    const char *dialect;     /* whose form raw has; NULL: not stored */
    struct reply_item *said; /* text and calls, also refused ones; no reasoning */
    size_t said_count, said_room;
    struct conversation_call *calls;
    size_t call_count, call_room;
    struct conversation_message *messages;
    size_t message_count, message_room;
};

struct conversation {
    const char *context; /* JSON, see context.h; NULL: nothing is stored */
    size_t context_n;
    const char *input; /* JSON; NULL when it was not read */
    size_t input_n;
    struct conversation_step *steps; /* in their order */
    size_t step_count, step_room;
    struct arena *arena;
};

/* Copies the rows, which come in the order of store.h, into the arena. */
MUST_CHECK enum outcome conversation_read(struct conversation *c, struct arena *arena,
                                          const struct store_row *rows, size_t count,
                                          struct error *err);

#endif
