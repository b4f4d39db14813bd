/*
 * pg_core.h -- what pg.c and pg_async.c share of libpq; nobody else includes it.
 */
#ifndef PAWL_COMMON_PG_CORE_H
#define PAWL_COMMON_PG_CORE_H

#include "common/outcome.h"
#include "common/pg.h"

/* The connection itself; `pg` is freed. */
struct pg_conn *pg_detach(struct pg *pg);

enum pg_send_how { PG_SEND_QUERY, PG_SEND_PREPARE, PG_SEND_PREPARED };

/* Starts to send; `name` is that of the prepared statement.  REFUSED when the
 * parameters passed their limit, RETRY when the connection is broken.       */
MUST_CHECK enum outcome pg_send(struct pg_conn *conn, enum pg_send_how how, const char *name,
                                const char *sql, const struct pg_params *params, struct error *err);

/* What an answer of the server means: OK, or the failure with its SQLSTATE. */
enum outcome pg_judge(const struct pg_result *result, char sqlstate[PG_SQLSTATE_SIZE],
                      struct error *err);

/* The connection's own complaint, on one line.  libpq keeps what it said since the
 * last statement began: the first `known` characters are an old story.       */
enum outcome pg_lost(struct pg_conn *conn, size_t known, struct error *err);

#endif
