/*
 * pg_core.h -- what the files of pg and pg_async share of libpq; nobody else
 * includes it.
 */
#ifndef PAWL_COMMON_PG_CORE_H
#define PAWL_COMMON_PG_CORE_H

#include "common/outcome.h"
#include "common/pg.h"

/* One of the hosts that a DSN names (pg_hosts.c).  NULL: the DSN does not say. */
struct pg_host {
    char *name, *address, *port;
};
size_t pg_hosts_count(const char *dsn); /* at least 1 */
void pg_host_init(struct pg_host *host, const char *dsn, size_t at);
void pg_host_release(struct pg_host *host);

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
