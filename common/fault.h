/*
 * fault.h -- numbered places where a test can kill the process.
 *
 * Every step of the protocol after which a death leaves another state behind
 * is followed by FAULT_POINT(NAME). In test builds (presets dev, asan, tsan,
 * fuzz; definition PAWL_FAULTS) the environment arms one or more of them:
 *
 *     PAWL_FAULT=planner_after_accept               die at the first hit
 *     PAWL_FAULT=executor_after_call:3              ... at the third
 *     PAWL_FAULT=executor_after_call:1:sleep:7000   sleep there, once
 *     PAWL_FAULT=a:1:stop,b:2                       several
 *
 * Actions: kill (SIGKILL, the default), stop (SIGSTOP), abort, sleep:MS (the
 * calling thread sleeps, so the loop is blocked). Each armed fault acts once,
 * exactly at its nth hit, and logs a line `fault` before it does.
 *
 * In release builds FAULT_POINT is nothing, and arming anything is refused.
 *
 * To add a point: one line in FAULT_LIST, named PROCESS_WHEN (DAEMON_WHEN: in both
 * programs), with a sentence that says what has just happened; then
 * FAULT_POINT(NAME) at the place.  tests/system/test_kill_table.py reads this list
 * and kills at each of them.
 *
 * Limits:  FAULT_ARMED_MAX armed at once.
 * Threads: arm before the first thread starts; points may be hit from any.
 * Errors:  fault_arm() answers REFUSED for an unknown name or action, and nothing is armed.
 */
#ifndef PAWL_COMMON_FAULT_H
#define PAWL_COMMON_FAULT_H

#include "common/outcome.h"

#include <stdio.h>

/* clang-format off */
#define FAULT_LIST(X) \
    X(PLANNER_AFTER_CONSUME,      "A request record was read from Kafka; nothing is stored yet.") \
    X(PLANNER_AFTER_OPEN,         "A suspect record is noted as begun; it has not been read.") \
    X(PLANNER_AFTER_ACCEPT,       "The accept has committed; the doorbell has not been rung.") \
    X(PLANNER_AFTER_ADMIT,        "Queued runs have places, committed; their doorbells have not been rung.") \
    X(PLANNER_AFTER_CLOSE,        "The note of a suspect record is gone; its offset is not committed.") \
    X(PLANNER_AFTER_DEAD_LETTER,  "Kafka has a dead letter; the offset of its record is not committed.") \
    X(PLANNER_AFTER_PLAN_CLAIM,   "The claim of a step was answered, its commit at least on its way; the model has not been called.") \
    X(PLANNER_DURING_MODEL_CALL,  "The first bytes of the model's answer have arrived, not the last.") \
    X(PLANNER_AFTER_MODEL_CALL,   "The model's answer is complete; its plan is not committed.") \
    X(PLANNER_AFTER_RETRY_COMMIT, "That a model call failed has committed; nobody waits for its next time.") \
    X(PLANNER_AFTER_CANCEL,       "The model call of an ended run was broken off; nothing is handed back.") \
    X(PLANNER_AFTER_PLAN_COMMIT,  "A plan with calls has committed; no doorbell has been rung.") \
    X(PLANNER_AFTER_PLAN_RING,    "The doorbells of a plan's calls were handed to the producer.") \
    X(PLANNER_AFTER_END_COMMIT,   "The end of a run has committed; it is not announced.") \
    X(PLANNER_AFTER_TAKE,         "Announcements that were due are ours for a while; none is sent.") \
    X(PLANNER_AFTER_ANNOUNCE,     "The announcement was acknowledged by Kafka; its mark has not committed.") \
    X(EXECUTOR_AFTER_CONSUME,     "A doorbell was read from Kafka; nothing is claimed yet.") \
    X(EXECUTOR_AFTER_CLAIM,       "The claim of a call has committed; nothing has been sent.") \
    X(EXECUTOR_BEFORE_SEND,       "send_by was checked; the first byte to the tool is about to leave.") \
    X(EXECUTOR_DURING_CALL,       "The request to the tool has been sent; no answer has arrived.") \
    X(EXECUTOR_AFTER_CALL,        "The tool has answered; the result is not committed.") \
    X(EXECUTOR_AFTER_CANCEL,      "The call of an ended run was broken off; its outcome is not committed.") \
    X(EXECUTOR_AFTER_COMMIT,      "The result has committed; the next doorbell has not been rung.") \
    X(EXECUTOR_AFTER_RING,        "The next doorbell was handed to the producer.") \
    X(EXECUTOR_AFTER_PROBE_CLAIM, "The claim of a probe has committed; nothing has been asked.") \
    X(EXECUTOR_AFTER_PROBE,       "A probe has answered; its verdict is not committed.") \
    X(DAEMON_AFTER_REGISTER,      "The process has its number; its session lock is not taken.") \
    X(DAEMON_AFTER_DUE,           "Due work was handed out to us; none of it is claimed.") \
    X(DAEMON_AFTER_OFFSET,        "Kafka has acknowledged an offset of ours.") \
    X(DAEMON_AFTER_DECLARE,       "Another process was declared dead; what it held is free, and not taken.") \
    X(DAEMON_AFTER_LEAVE,         "SIGTERM: Postgres knows that we take nothing new; work is in flight.") \
    X(DAEMON_AFTER_HAND_BACK,     "Our last word to Postgres has committed; doorbells may not be sent yet.")
/* clang-format on */

enum fault_point {
#define X(name, sentence) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_POINTS
};

enum { FAULT_ARMED_MAX = 8, FAULT_NAME_SIZE = 64 };

#ifdef PAWL_FAULTS
#define FAULT_POINT(name) fault_hit(FAULT_##name)
#else
#define FAULT_POINT(name) ((void)FAULT_##name)
#endif

/* `spec` as in PAWL_FAULT above; NULL and "" arm nothing and are OK. A later
 * call replaces what was armed. A daemon calls fault_arm(getenv("PAWL_FAULT"), ...)
 * at its start, and stops when that is refused.                             */
MUST_CHECK enum outcome fault_arm(const char *spec, struct error *err);

/* What `planner --fault-points` prints: one line "name<TAB>sentence" per point. */
void fault_print_list(FILE *out);

void fault_name(enum fault_point point, char out[FAULT_NAME_SIZE]); /* in lower case */
void fault_hit(enum fault_point point);                             /* use FAULT_POINT() */

#endif
