/*
 * brain.h -- the planner's work, as daemon.h wants it.
 *
 *     request records --> intake.h --> runs
 *     plan doorbells ---+
 *     what is due -------+--> tasks: one plan.h each --> model_call.h, store.h
 *     retries in time --+                            --> doorbells of calls
 *     cancelled claims ------> the task's plan_cancel()
 *     announcements <-- announce.h
 *
 * A run has one task here at a time; a second doorbell for it is dropped.  At
 * capacity the topic of doorbells pauses, and whatever stays behind falls due.
 *
 * Work that processes died with is taken alone: see common/alone.h.
 *
 * A step that cannot be thought here (the secret of its model is missing, the schema of
 * a tool is too new) is handed back and not looked at again for BRAIN_DECLINE_MS:
 * others may have what it needs.
 *
 * Limits:  capacity.plans of the configuration; the histories' bytes as
 *          PAWL_PLANNER_HISTORY says ("64MiB").
 * Threads: the loop's.
 * Errors:  REFUSED at the start: PAWL_PLANNER_HISTORY cannot be read.
 */
#ifndef PAWL_PLANNER_BRAIN_H
#define PAWL_PLANNER_BRAIN_H

#include "common/daemon.h"

enum {
    BRAIN_DECLINE_MS = 30000,
    BRAIN_HISTORY_IDLE_MS = 120000, /* an unused history goes after so long */
};

extern const struct daemon_work brain_work;

#endif
