/*
 * context.h -- keeps the prompt of a long run within what its model can read.
 *
 *     step:     1   2   3   4   5   6   7   8   9   (now: 10)
 *             [ left out  ][ emptied  ][ shown whole   ]
 *                        ^           ^               ^ the newest: always whole
 *                   left_out = 3   emptied = 6
 *
 * Of an emptied step the calls are shown and their long results only named; a step
 * that is left out is not there at all, neither its calls nor its results.  The
 * instructions and the input always stay.
 *
 * What is shown is a function of the stored rows and of the view (struct store_view),
 * which stands still until a prompt would pass the budget.  Then it moves so far that
 * half of the room is free again.  So the prompt of a step begins with that of the
 * step before, byte for byte, all but once in many steps, and the provider finds it in
 * its cache.  The view is stored with each plan, so that another planner shows the
 * same.
 *
 * Tokens are not counted here but estimated from bytes, by what the provider counted
 * for the last prompt of this run.  What has come since is taken at no more than two
 * bytes a token, so that a step that begins to read digits does not run over.
 *
 * Limits:  none of its own.
 * Threads: pure.
 * Errors:  CONTEXT_FULL: nothing is left that could be left out.
 */
#ifndef PAWL_PLANNER_CONTEXT_H
#define PAWL_PLANNER_CONTEXT_H

#include "common/arena.h"
#include "common/catalog.h"
#include "common/store.h"
#include "planner/history.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONTEXT_SHORT_BYTES = 200, /* results up to here are never only named; see pawl.read_steps */
    CONTEXT_NAMED_BYTES = 180, /* about what the words cost that name a result */
    CONTEXT_RESULT_BYTES_MIN = 1024,
};

/* What is known of a run's prompts, as it is stored between two steps. */
struct context {
    struct store_view view;
    int64_t budget;        /* tokens, when the provider refused a prompt; 0: the model's */
    int64_t prompt_bytes;  /* of the last prompt that was counted by the provider, */
    int64_t prompt_tokens; /* and its count; 0: none was yet */
};

/* Reads what was stored (NULL: nothing).  What makes no sense counts as not stored. */
void context_read(struct context *c, const char *json, size_t n);

/* The text to be stored; NULL past the arena's limit. */
const char *context_write(const struct context *c, struct arena *arena);

/* Fits what was read to the model that is asked now. */
void context_begin(struct context *c, const struct model_def *model);

/* Tokens that a prompt may take; 0: the model has no context_window, all is shown. */
int64_t context_budget(const struct model_def *model);

/* Tokens of a prompt of so many bytes. */
int64_t context_estimate(const struct context *c, size_t bytes);

/* Moves the view on so that the prompt in `h`, closed, shrinks to half of the room
 * that the head leaves it; when only the newest step is left, shows less of its
 * results.  False: nothing could be moved.                                   */
bool context_move(struct context *c, const struct model_def *model, const struct history *h);

enum context_answer {
    CONTEXT_FITS,  /* send it */
    CONTEXT_MOVED, /* the view has moved: read the run again */
    CONTEXT_FULL,  /* it cannot be made to fit */
};
enum context_answer context_fit(struct context *c, const struct model_def *model,
                                const struct history *h);

/* The provider counted a prompt of so many bytes; tokens < 0: it did not say. */
void context_count(struct context *c, size_t bytes, int64_t tokens);

/* The provider refused a prompt of so many bytes as too long: less from now on. */
void context_refuse(struct context *c, const struct model_def *model, size_t bytes);

#endif
