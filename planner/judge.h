/*
 * judge.h -- judges the calls that a model asks for, before anybody makes them.
 *
 *     model_reply --> one store_item each --> commit_plans
 *                     calls that may not be made carry `refused`: a sentence that
 *                     the model reads as their result
 *
 * A call is made only if
 *     - the run has another step to read what comes of it,
 *     - it is not beyond the agent's calls_per_step,
 *     - the model ended by itself: an answer that was cut may hold half a call,
 *       however well its arguments parse,
 *     - the agent may use a tool of this name,
 *     - its arguments are one JSON object of at most arguments_bytes,
 *     - they fit the tool's schema (json_schema.h).
 * Nothing is dropped: every call is stored, made or refused.  The digest stored
 * with it is that of the canonical arguments.
 *
 * Arguments that are empty mean an object without members, which models send for
 * tools without parameters.
 *
 * Limits:  the arena's.  All calls of a reply share JSON_SCHEMA_WORK.
 * Threads: pure.
 * Errors:  REFUSED: the arena is full.
 */
#ifndef PAWL_PLANNER_JUDGE_H
#define PAWL_PLANNER_JUDGE_H

#include "common/arena.h"
#include "common/outcome.h"
#include "common/registry.h"
#include "common/store.h"
#include "planner/model.h"

#include <stdbool.h>
#include <stddef.h>

/* A tool that a newer version has published may have a schema that this one cannot read:
 * then it cannot tell which calls may be made, and `why` says so.            */
bool judge_can(const struct registry_agent *agent, struct error *why);

/* One item for each of the reply's, in their order; strings are the reply's or the
 * arena's.                                                                   */
MUST_CHECK enum outcome judge_items(const struct model_reply *reply,
                                    const struct registry_agent *agent, bool last_step,
                                    struct arena *arena, struct store_item **items,
                                    struct error *err);

/* What the reply as a whole means for the run: CALLS, FINAL, or FAIL with code and
 * text for an answer that was cut short.  CALLS without a call: the model paused in
 * the middle of its turn; what it said is kept, and the next step asks it at once.  */
enum store_plan_outcome judge_outcome(const struct model_reply *reply, const char **code,
                                      struct error *why);

#endif
