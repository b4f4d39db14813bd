/*
 * plan_prompt.h -- the prompt of a step: made, fitted to its model, made shorter.
 *
 *     conversation --> prompt_extend() --> over budget? --no--> ready
 *                                              | yes
 *                                the view moves; the run is read again
 *
 * A part of plan.c: it works on the plan's history and context, and leaves the states
 * to it.
 *
 * Threads: the loop's.
 * Errors:  in p->why, with what the user can do.
 */
#ifndef PAWL_PLANNER_PLAN_PROMPT_H
#define PAWL_PLANNER_PLAN_PROMPT_H

#include "planner/plan.h"

enum plan_prompt {
    PLAN_PROMPT_READY,      /* history->text is the body of the request */
    PLAN_PROMPT_READ_AGAIN, /* too much was shown: claim again, which brings the new view */
    PLAN_PROMPT_REFUSED,    /* cannot be made */
};
enum plan_prompt plan_prompt_make(struct plan *p, bool answer_only);

/* The model has answered: what it counted is learnt, and stored with the plan. */
void plan_prompt_count(struct plan *p);

/* Was the prompt refused for its length, and can it be made shorter?  Then it is, from
 * the next attempt on.                                                        */
bool plan_prompt_shorten(struct plan *p);

/* Refused for its length, and that is the end: says why in p->why. */
bool plan_prompt_hopeless(struct plan *p);

#endif
