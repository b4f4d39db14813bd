/*
 * migrate.h -- the schema of the database, brought to the one of this build.
 *
 *     pawl_migrations[] (embedded) --migrate_up--> the database, and a row each in
 *                                                  pawl.schema_migrations
 *
 * Each migration is a transaction of its own; an advisory lock lets one process
 * at a time do it, the others find it done.  A migration that was applied never
 * changes: its digest is stored, and another one is refused.
 *
 * Threads: one.
 * Errors:  REFUSED names the migration and says what to do; those before it
 *          stay applied.  RETRY: Postgres went away; calling again goes on.
 */
#ifndef PAWL_CLI_MIGRATE_H
#define PAWL_CLI_MIGRATE_H

#include "cli/session.h"
#include "common/outcome.h"

#include <jansson.h>

/* Called after each migration that was applied; may be NULL. */
typedef void migrate_step(void *self, int number, const char *name);

/* `applied` may be NULL. */
MUST_CHECK enum outcome migrate_up(struct session *s, migrate_step *step, void *self, int *applied,
                                   struct error *err);

/* A new array of {number, name, state, applied_at}; state is applied, pending,
 * changed (the file is not what was applied) or newer (this build does not know
 * it).                                                                      */
MUST_CHECK enum outcome migrate_status(struct session *s, json_t **out, struct error *err);

#endif
