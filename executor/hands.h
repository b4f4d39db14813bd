/*
 * hands.h -- the executor's work: takes calls, sees them through, hands back the rest.
 *
 *     act doorbells --+                            +--> tool_http --> tools
 *     claim_due ------+--> begin --> action.c -----+--> store -----> Postgres
 *     later (retries) +       ^                    +--> producer --> doorbells
 *                             |
 *     full: waiting doorbells and a paused topic
 *
 * This is the piece that daemon.h runs.  It owns the actions and gives each the
 * ports it needs; it bounds how many there are, remembers what is to be tried
 * again when, what this process cannot serve, and what must be taken alone.
 *
 * A doorbell is acknowledged to Kafka when Postgres has answered its claim.
 *
 * Asked to finish: nothing new is begun, what has been sent is waited for, what
 * has not been sent is handed back and rung for, so that others take it at once.
 * Declared dead: the same; results that still arrive are committed, since a late
 * result is the truth about its call.
 *
 * Limits:  capacity.actions in flight; doorbells beyond it wait here, as many as
 *          the consumer has handed out.
 * Threads: the loop's.
 * Errors:  see daemon.h.
 */
#ifndef PAWL_EXECUTOR_HANDS_H
#define PAWL_EXECUTOR_HANDS_H

#include "common/daemon.h"

extern const struct daemon_work hands_work;

#endif
