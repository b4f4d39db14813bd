/*
 * timeline.h -- one run, drawn: steps, plans, calls, attempts.
 *
 *     pawl.timeline(run) --> JSON document --> timeline_print   the whole picture
 *                                         \--> timeline_facts   one line per thing
 *                                                               that has happened
 *
 * The document is described by the function pawl.timeline in
 * schema/migrations/0009_people.sql.  A call that went straight is one line;
 * one that did not (a death, a probe, a person, a repeat) shows its attempts
 * stacked below it.
 *
 * Threads: one.
 * Errors:  none: fields that are missing are left out.
 */
#ifndef PAWL_CLI_TIMELINE_H
#define PAWL_CLI_TIMELINE_H

#include "cli/output.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* The picture: head, steps, and how it ended. */
void timeline_print(const json_t *document, FILE *out);

/* Each thing that has happened as a line of its own.  A line never changes
 * once it is there, so that whoever has printed it need not look again.     */
typedef void timeline_fact(void *self, const char *text);
void timeline_facts(const json_t *document, timeline_fact *fact, void *self);

/* What ended the run, for the last lines of a picture or of facts. */
void timeline_print_end(const json_t *document, FILE *out);

bool timeline_has_ended(const json_t *document);
bool timeline_has_succeeded(const json_t *document);

#endif
