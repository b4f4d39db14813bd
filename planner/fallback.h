/*
 * fallback.h -- which of an agent's models is asked.
 *
 * Each step begins with the first model.  A model that failed `after` times in this
 * step, or once with a code of `on`, is followed by the next one for the rest of the
 * step; a model whose provider is left alone (breaker.h) is passed over.  Where a
 * step stands is kept in the run's row, so that it goes on there after a death.
 *
 * Threads: pure.
 */
#ifndef PAWL_PLANNER_FALLBACK_H
#define PAWL_PLANNER_FALLBACK_H

#include "common/catalog.h"
#include "planner/model.h"

#include <stdbool.h>

/* After a call of the model at `at` that failed for the `failures`th time in this
 * step: is the next one to be asked?                                         */
bool fallback_moves_on(const struct agent_def *agent, int at, int failures,
                       const struct model_reply *reply);

#endif
