/*
 * probe.h -- asking a tool whether a call happened, when nobody knows.
 *
 *     GET probe_url, with the call's idempotency key in place of {key}
 *
 *     how the probe ended                            verdict
 *     ---------------------------------------------  ----------------
 *     200, {"happened": true, "result": any}         happened, with this result
 *     200, {"happened": false}                       did_not_happen
 *     200, another JSON value, or no JSON            happened, the body is the result
 *     200, a JSON object that is cut or broken, or
 *          whose `happened` is neither true nor false unsure
 *     404                                            did_not_happen
 *     not sent, cut, timed out, 408, 425, 429, 5xx   probe_failed, with retry_ms
 *     another status                                 unsure
 *
 * "It did not happen" may only be believed once the first sender can no longer be
 * under way; the database hands a probe out no earlier (agent_actions.probe_after).
 *
 * Threads: any.
 */
#ifndef PAWL_EXECUTOR_PROBE_H
#define PAWL_EXECUTOR_PROBE_H

#include "common/arena.h"
#include "common/outcome.h"
#include "common/uuid.h"
#include "executor/verdict.h"

/* The probe's URL with the key in it; NULL when the arena is full. */
const char *probe_url(const struct tool_def *def, const struct uuid *key, struct arena *arena);

/* Fills v->answer, as verdict_of_call() does. */
void probe_verdict(struct verdict *v, const struct verdict_case *c);

#endif
