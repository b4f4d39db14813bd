/*
 * admission.h -- gives places to runs that wait for one, and tells how many do.
 *
 *     once a sweep --------------+
 *     a run of ours has ended ---+--> pawl.admit --> doorbells of who may begin
 *       (while any is queued)                    +-> metrics of the class
 *
 * Every planner does this for its class, and they need not agree: a place is given
 * once, in Postgres (0010_admission.sql).  One that dies between the answer and its
 * doorbells leaves runs that fall due.
 *
 * Limits:  one question at a time; ADMISSION_BATCH runs an answer, and at once again
 *          while answers are full.
 * Threads: the loop's.
 * Errors:  none leave it: the next sweep asks again.
 */
#ifndef PAWL_PLANNER_ADMISSION_H
#define PAWL_PLANNER_ADMISSION_H

#include "common/daemon.h"

enum { ADMISSION_BATCH = 256 };

struct admission;

void admission_init(struct admission **out, struct daemon *daemon);
void admission_free(struct admission *a); /* NULL is fine */

void admission_sweep(struct admission *a);
void admission_place_freed(struct admission *a);

/* No more questions; the answer on its way is still heard, and rung for. */
void admission_drain(struct admission *a);

#endif
