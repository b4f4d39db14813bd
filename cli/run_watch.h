/*
 * run_watch.h -- following a run to its end.
 *
 * On a terminal the picture of timeline.h is drawn again in place; elsewhere
 * each thing that happens is a line.  Reads a few times a second, writes
 * nothing: whoever stops watching changes nothing.
 */
#ifndef PAWL_CLI_RUN_WATCH_H
#define PAWL_CLI_RUN_WATCH_H

#include "cli/cli.h"
#include "cli/session.h"

enum watch_mode {
    WATCH_DRAW,  /* the picture, or lines where there is no terminal */
    WATCH_QUIET, /* nothing until the end, then the answer alone */
    WATCH_JSON,  /* nothing until the end, then the document */
};

/* Answers CLI_DONE when the run succeeded, CLI_FAILED when it ended otherwise,
 * and also when it was interrupted (Ctrl-C), which says how to go on.       */
MUST_CHECK int run_watch(struct session *s, const char *run, enum watch_mode mode);

/* The document of pawl.timeline; *out NULL when there is no such run. */
MUST_CHECK int run_timeline(struct session *s, const char *run, bool whole_texts, json_t **out);

#endif
