/*
 * model_error.h -- what a provider's error means: may the model be asked again?
 *
 * All dialects have the same object with a message, a type and a code, beside or
 * inside `error`.  Errors are classed by the status and by the exact words in
 * `code` and `type`, never by looking for words in a sentence.  A spent quota comes
 * with 429 like any rate limit, but does not pass by waiting: REFUSED.
 *
 * Threads: pure.
 */
#ifndef PAWL_PLANNER_MODEL_ERROR_H
#define PAWL_PLANNER_MODEL_ERROR_H

#include "planner/model.h"

#include <jansson.h>

/* Does this answer, or event of a stream, hold an error? */
bool model_says_error(const json_t *answer);

/* Makes the reply of it; status 0: inside an answer that began as a good one. */
void model_error(long status, const json_t *answer, const char *secret, struct model_reply *reply);

/* The reply to a whole answer with an error status. */
void model_read_error(long status, const char *body, size_t n, const char *secret,
                      struct model_reply *reply);

#endif
