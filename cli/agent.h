/*
 * agent.h -- definition files beside what is published.
 *
 *     FILE... --catalog_read--> catalog --+
 *                                         +--> agent_change per definition
 *     pawl.published ---------> rows -----+
 *
 * `agent apply` publishes the changes, `agent diff` prints them.  Agents that
 * are published but stand in no file are among the definitions when a model or
 * tool of theirs changes: they are published anew with the new one.
 *
 * Threads: one.
 * Errors:  answered as exit codes, already printed.
 */
#ifndef PAWL_CLI_AGENT_H
#define PAWL_CLI_AGENT_H

#include "cli/session.h"
#include "common/catalog.h"

#include <jansson.h>

struct agent_files {
    struct catalog catalog;
    json_t *published; /* array of {kind, name, digest, body, seq}, the current ones */
};

/* Reads both. */
MUST_CHECK int agent_files_read(struct agent_files *f, struct cli *cli, struct session *s);
void agent_files_release(struct agent_files *f);

/* What is published under that name, or NULL. */
const json_t *agent_published(const json_t *rows, enum catalog_kind kind, const char *name);

/* "new", "changed", "same"; "repinned" for an agent that is in no file. */
const char *agent_change(const struct agent_files *f, const struct catalog_entry *entry);

#endif
