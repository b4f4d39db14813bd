/*
 * session.h -- what the command line asks Postgres.
 *
 * Every statement answers one JSON value (or nothing), whatever it does:
 *
 *     SELECT coalesce(json_agg(t), '[]') FROM (SELECT ... FROM pawl.runs ...) t
 *
 * so that a command prints the same value as a table or, with --json, as it
 * is.  Parameters are texts; NULL is SQL's NULL; casts stand in the statement.
 *
 * Limits:  none of its own.
 * Threads: one.
 * Errors:  RETRY when Postgres cannot be reached or the statement met passing
 *          trouble, REFUSED when it was refused for good (no right, no such
 *          function: an older schema).
 */
#ifndef PAWL_CLI_SESSION_H
#define PAWL_CLI_SESSION_H

#include "cli/cli.h"
#include "common/outcome.h"

#include <jansson.h>
#include <stddef.h>

struct session;

/* Connects with the configuration's DSN (cli_configure() is called when it has
 * not been yet).  Answers CLI_DONE or the exit code; errors are printed.    */
MUST_CHECK int session_open(struct cli *cli, struct session **out);

/* The same with a DSN of one's own, and nothing printed. */
MUST_CHECK enum outcome session_connect(const char *dsn, struct session **out, struct error *err);

void session_close(struct session *s); /* NULL is fine */

/* A connection that broke stays so until this is called, so that no statement
 * of a transaction runs outside of it.                                      */
MUST_CHECK enum outcome session_reconnect(struct session *s, struct error *err);

/* *out is a new reference, or NULL when there was no row or a null in it. */
MUST_CHECK enum outcome session_ask(struct session *s, const char *sql, const char *const *params,
                                    size_t n_params, json_t **out, struct error *err);

/* session_ask() that prints the error: answers CLI_DONE or the exit code. */
MUST_CHECK int session_get(struct session *s, const char *sql, const char *const *params,
                           size_t n_params, json_t **out);

/* The whole of a command that lists: connects, asks for an array, shows it. */
struct list_view;
MUST_CHECK int session_list(struct cli *cli, const char *sql, const char *const *params,
                            size_t n_params, const struct list_view *view);

/* Runs a script of several statements (a migration); nothing is answered. */
MUST_CHECK enum outcome session_script(struct session *s, const char *sql, struct error *err);

/* The full id of the run that a person means: an id, the last characters of
 * one, or `last`.  Answers CLI_DONE or the exit code; errors are printed.   */
enum { SESSION_RUN_SIZE = 37 };
MUST_CHECK int session_find_run(struct session *s, const char *text, char run[SESSION_RUN_SIZE]);

#endif
