/*
 * json_text.h -- JSON values as text, with numbers as people wrote them.
 *
 * jansson writes 0.1 as 0.10000000000000001, which is right and which no person
 * and no model wants to read.  Here a number gets 15 digits where these say the
 * same, and 17 where they do not.
 *
 * Threads: any.
 */
#ifndef PAWL_PLANNER_JSON_TEXT_H
#define PAWL_PLANNER_JSON_TEXT_H

#include <jansson.h>

/* Compact text in the order of the members; the caller frees it.  Stops the
 * process when there is no memory.                                           */
char *json_text(const json_t *value);

#endif
