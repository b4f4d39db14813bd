/*
 * hands_metrics.h -- what the executor counts.
 *
 *     pawl_executor_actions{state}                    in each state of action.h
 *     pawl_executor_claims_total{answer}              yours, busy, done, later, no, dead
 *     pawl_executor_calls_total{tool, outcome}        attempts that ended, probes too
 *     pawl_executor_call_duration_seconds{outcome}    how long the tool took
 *     pawl_executor_unknown_outcomes_total{tool}      nobody knows whether it ran
 *     pawl_executor_late_results_total                stored though the claim was gone
 *     pawl_executor_lost_results_total                not taken: too late
 *     pawl_executor_not_served_total{tool}            handed back: a secret is missing here
 *     pawl_executor_waiting_doorbells                 received, and no free place
 *     pawl_executor_waiting_retries                   to be tried again by us
 *
 * Threads: any (metrics.h).
 */
#ifndef PAWL_EXECUTOR_HANDS_METRICS_H
#define PAWL_EXECUTOR_HANDS_METRICS_H

#include "executor/action.h"

#include <stddef.h>

void hands_metrics_register(void);

enum { HANDS_NO_STATE = -1 };

void hands_count_move(int from, int to); /* states of action.h, or HANDS_NO_STATE */
void hands_count_claim(const char *answer);
void hands_count_end(const struct action *a, const char *tool, bool after_death);
void hands_count_not_served(const char *tool);
void hands_set_waiting(size_t doorbells, size_t retries);

#endif
