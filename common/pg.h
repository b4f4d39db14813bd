/*
 * pg.h -- speaking to Postgres: parameters, answers, and connections that wait.
 *
 *     values --> struct pg_params --+                      +--> struct pg_result --> pg_int4() ...
 *                (binary, no quoting)+--> pg_exec / pg_async-+
 *     SQL text ---------------------+                      +--> outcome, SQLSTATE, text
 *
 * This file and pg_async.h are the only doors to libpq.  A value never becomes
 * part of the SQL text: it travels as a binary parameter, and a whole batch of
 * items as one array per column.  Answers come in binary form too, so select
 * what has a reader below: boolean, int4, int8, text (cast to it what else there
 * is: numeric, jsonb, enums), json, uuid, bytea, timestamptz.
 *
 * A struct pg is a connection that waits for its answers: for the command line,
 * for a thread of its own, for tests.  On the loop use pg_async.h.
 *
 * Limits:  PG_PARAMS_MAX parameters; bytes of all of them as the caller says.
 *          Every wait has a timeout.
 * Threads: one owner per struct; no state between them.
 * Errors:  RETRY: Postgres cannot be reached, is shutting down, cut the
 *          connection, had a deadlock or took too long; the same statement may
 *          be sent again.  REFUSED: the statement, its data, the credentials or
 *          the DSN; pg_fault_sqlstate() tells.  No text holds a password.
 */
#ifndef PAWL_COMMON_PG_H
#define PAWL_COMMON_PG_H

#include "common/buf.h"
#include "common/digest.h"
#include "common/outcome.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg_conn;   /* PGconn */
struct pg_result; /* PGresult */

/* ---- parameters --------------------------------------------------------- */

enum { PG_PARAMS_MAX = 48 };

enum pg_type {
    PG_BOOL,
    PG_INT4,
    PG_INT8,
    PG_TEXT,
    PG_UUID,
    PG_BYTEA,
    PG_TIME, /* timestamptz */
    PG_TYPES
};

struct pg_param {
    size_t at;    /* where its bytes begin in `bytes` */
    int length;   /* of them; -1: NULL */
    unsigned oid; /* the type in Postgres' numbers */
};

/* Parameters $1, $2, ... in the order in which they are added.  Past the byte
 * limit `bytes.full` is set, and sending them answers REFUSED.              */
struct pg_params {
    struct buf bytes;
    struct pg_param list[PG_PARAMS_MAX];
    int count;
    enum pg_type array_type; /* of the array being filled, while `array_open` */
    bool array_open;
    size_t array_count_at;
    int array_count;
};

void pg_params_init(struct pg_params *p, size_t limit_bytes);
void pg_params_release(struct pg_params *p);
void pg_params_reset(struct pg_params *p); /* empty again; the memory is kept */

void pg_add_null(struct pg_params *p, enum pg_type type);
void pg_add_null_array(struct pg_params *p, enum pg_type type);
void pg_add_bool(struct pg_params *p, bool value);
void pg_add_int4(struct pg_params *p, int32_t value);
void pg_add_int8(struct pg_params *p, int64_t value);
void pg_add_text(struct pg_params *p, const char *value); /* NULL is NULL */
void pg_add_uuid(struct pg_params *p, const struct uuid *value);
void pg_add_bytea(struct pg_params *p, const void *data, size_t n); /* data NULL is NULL */
void pg_add_time(struct pg_params *p, int64_t wall_ms);

/* One array parameter: begin, put each element, end. */
void pg_array_begin(struct pg_params *p, enum pg_type type);
void pg_put_null(struct pg_params *p);
void pg_put_bool(struct pg_params *p, bool value);
void pg_put_int4(struct pg_params *p, int32_t value);
void pg_put_int8(struct pg_params *p, int64_t value);
void pg_put_text(struct pg_params *p, const char *value); /* NULL is NULL */
void pg_put_textn(struct pg_params *p, const char *value, size_t n);
void pg_put_uuid(struct pg_params *p, const struct uuid *value);
void pg_put_bytea(struct pg_params *p, const void *data, size_t n); /* data NULL is NULL */
void pg_put_time(struct pg_params *p, int64_t wall_ms);
void pg_array_end(struct pg_params *p);

/* ---- answers ------------------------------------------------------------ */

/* Rows and columns count from 0.  A reader aborts when the column has another
 * type than it reads: a mistake of the programmer.  NULL reads as 0, false,
 * NULL or the nil UUID; pg_is_null() tells them apart.                      */
int pg_row_count(const struct pg_result *r);
int pg_column_count(const struct pg_result *r);
const char *pg_column_name(const struct pg_result *r, int column);
int64_t pg_rows_affected(const struct pg_result *r); /* of INSERT, UPDATE, DELETE */
bool pg_is_null(const struct pg_result *r, int row, int column);
bool pg_bool(const struct pg_result *r, int row, int column);
int32_t pg_int4(const struct pg_result *r, int row, int column);
int64_t pg_int8(const struct pg_result *r, int row, int column);     /* int4 too */
const char *pg_text(const struct pg_result *r, int row, int column); /* borrowed; json too */
size_t pg_length(const struct pg_result *r, int row, int column);    /* bytes of it */
struct uuid pg_uuid(const struct pg_result *r, int row, int column);
const void *pg_bytea(const struct pg_result *r, int row, int column); /* borrowed */
int64_t pg_time_ms(const struct pg_result *r, int row, int column);   /* wall clock */
void pg_result_free(struct pg_result *r);                             /* NULL is fine */

/* ---- what went wrong ---------------------------------------------------- */

enum { PG_SQLSTATE_SIZE = 6 };

/* What to do about an SQLSTATE ("" or NULL: the connection broke). */
enum outcome pg_outcome_of(const char *sqlstate);

/* ---- connections that wait ---------------------------------------------- */

struct pg;

struct pg_options {
    const char *dsn;          /* URI or key=value; several hosts and target_session_attrs pass
                                 through; without the latter a writable server is asked for */
    const char *application;  /* application_name, unless the DSN has one; NULL: "pawl" */
    int connect_timeout_ms;   /* for all hosts together; 0: 10 s */
    int statement_timeout_ms; /* told to the server; 0: 30 s; -1: none */
    bool commit_without_wait; /* synchronous_commit = off: for beats, which may be lost */
};

MUST_CHECK enum outcome pg_open(struct pg **out, const struct pg_options *options,
                                struct error *err);
void pg_close(struct pg *pg); /* NULL is fine */

/* One statement with its parameters (NULL: none).  Waits timeout_ms at most (0:
 * as long as the server's statement timeout, and a little); after a timeout the
 * connection is closed, because its state is unknown.  `out` may be NULL.   */
MUST_CHECK enum outcome pg_exec(struct pg *pg, const char *sql, const struct pg_params *params,
                                int timeout_ms, struct pg_result **out, struct error *err);

/* Several statements in one text, without parameters, in one transaction unless
 * the text says otherwise; their rows are dropped.  For migrations.         */
MUST_CHECK enum outcome pg_run(struct pg *pg, const char *sql, int timeout_ms, struct error *err);

bool pg_is_open(const struct pg *pg);

/* Sleeps for timeout_ms, or until the connection breaks (pg_is_open() tells), or
 * `fd` is readable (-1: none).  `pg` may be NULL.                            */
void pg_nap(struct pg *pg, int fd, int timeout_ms);

/* SQLSTATE of the last failure, "" when the server named none. */
const char *pg_fault_sqlstate(const struct pg *pg);

/* The server's process that serves this connection. */
int pg_backend_pid(const struct pg *pg);

/* Compares the schema of the database with the newest migration of this build
 * (migrations.h): REFUSED when it is older or missing, and `program` ("planner")
 * is told to run `pawl migrate up`.  A newer one is fine.                   */
MUST_CHECK enum outcome pg_check_schema(struct pg *pg, const char *program, struct error *err);

#endif
