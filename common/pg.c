#include "common/pg.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/migrations.h"
#include "common/pg_core.h"
#include "common/text.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* struct pg_conn and struct pg_result are the tags of PGconn and PGresult. */

enum {
    CONNECT_TIMEOUT_MS = 10 * 1000,
    STATEMENT_TIMEOUT_MS = 30 * 1000,
    ANSWER_MARGIN_MS = 5 * 1000, /* the server's own timeout is given this head start */
    FOREVER_MS = 3600 * 1000,    /* a wait that nobody bounded */
};

struct pg {
    PGconn *conn;
    int statement_timeout_ms;
    char sqlstate[PG_SQLSTATE_SIZE];
};

/* ---- what went wrong ------------------------------------------------------ */

/* PostgreSQL documentation, appendix A: the first two characters are the class.
 * RETRY: nothing is wrong with what was asked.                              */
static const char *const passing[] = {
    "08",    /* connection exception */
    "40",    /* transaction rollback: deadlock, serialization */
    "53",    /* insufficient resources: disk full, too many connections */
    "55",    /* object not in prerequisite state: lock not available */
    "57",    /* operator intervention: shutdown, cancel, statement timeout */
    "58",    /* system error: I/O */
    "XX",    /* internal error: seen around concurrent changes of the schema */
    "25006", /* read only: this server has become a standby */
    "26000", /* the prepared statement is gone: a pooler changed the server */
    "42P05", /* ... or is there already */
};

enum outcome pg_outcome_of(const char *sqlstate)
{
    if (!sqlstate || !sqlstate[0])
        return RETRY;
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (strncmp(sqlstate, passing[i], strlen(passing[i])) == 0)
            return RETRY;
    return REFUSED;
}

/* libpq writes several lines; a log field and a row want one.  Its guesses about why
 * a connection broke are left out: they are of no help.                      */
static const char *one_line(const char *message, char out[200])
{
    char flat[400];
    size_t n = 0;
    const char *guess = strstr(message, "\tThis probably means");
    for (const char *c = message; *c && c != guess && n + 1 < sizeof flat; c++) {
        bool space = *c == '\n' || *c == '\t' || *c == ' ';
        if (!space)
            flat[n++] = *c;
        else if (n > 0 && flat[n - 1] != ' ')
            flat[n++] = ' ';
    }
    while (n > 0 && flat[n - 1] == ' ')
        n--;
    return text_bounded(out, 200, flat, n);
}

enum outcome pg_judge(const PGresult *result, char sqlstate[PG_SQLSTATE_SIZE], struct error *err)
{
    ExecStatusType status = PQresultStatus(result);
    sqlstate[0] = '\0';
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY)
        return OK;

    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char line[200];
    (void)snprintf(sqlstate, PG_SQLSTATE_SIZE, "%s", code ? code : "");
    return fail(err, pg_outcome_of(code), "Postgres: %s%s%s%s",
                one_line(primary ? primary : PQresultErrorMessage(result), line), code ? " (" : "",
                code ? code : "", code ? ")" : "");
}

enum outcome pg_lost(PGconn *conn, size_t known, struct error *err)
{
    char line[200];
    const char *whole = conn ? PQerrorMessage(conn) : "";
    const char *fresh = strlen(whole) > known ? whole + known : "the connection broke";
    return fail(err, RETRY, "Postgres: %s", one_line(fresh, line));
}

/* ---- connecting ----------------------------------------------------------- */

/* Waits until the socket is ready for `events`, or the deadline. */
static bool wait_socket(PGconn *conn, short events, int64_t deadline_ms)
{
    struct pollfd socket = { .fd = PQsocket(conn), .events = events };
    for (;;) {
        int64_t left = deadline_ms - clock_mono_ms();
        if (left <= 0)
            return false;
        int rc = poll(&socket, 1, left > FOREVER_MS ? FOREVER_MS : (int)left);
        if (rc > 0)
            return true;
        if (rc < 0 && errno != EINTR)
            return false;
    }
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

/* libpq quotes the faulty part of a DSN in its messages, and that may be the
 * password: so a DSN is judged here, before libpq complains.                */
static enum outcome check_dsn(const char *dsn, struct error *err)
{
    char *complaint = NULL;
    PQconninfoOption *parts = PQconninfoParse(dsn, &complaint);
    if (complaint)
        PQfreemem(complaint);
    if (!parts)
        return fail(
            err, REFUSED,
            "the Postgres DSN cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DB "
            "(with %%XX for special characters) or host=... dbname=...");
    PQconninfoFree(parts);
    return OK;
}

/* Keywords before the DSN give way to it, those behind override it.  The TCP
 * settings notice a peer that is gone without a word (a pulled cable, a failed
 * host) within about 25 s, or 15 s when something was sent.                 */
static PGconn *start_connect(const struct pg_options *options, const struct pg_host *host)
{
    const char *const keywords[] = {
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "target_session_attrs",
        "dbname",
        "fallback_application_name",
        "client_encoding",
        "host",
        "hostaddr",
        "port",
        NULL,
    };
    const char *const values[] = {
        "1",     "10",         "5",           "3",
        "15000", "read-write", options->dsn,  options->application ? options->application : "pawl",
        "UTF8",  host->name,   host->address, host->port,
        NULL,
    };
    return PQconnectStartParams(keywords, values, 1);
}

static enum outcome finish_connect(PGconn *conn, int64_t deadline_ms, struct error *err)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (PQstatus(conn) != CONNECTION_BAD) {
        if (next == PGRES_POLLING_OK)
            return OK;
        if (next == PGRES_POLLING_FAILED)
            break;
        if (!wait_socket(conn, next == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms))
            return fail(err, RETRY, "Postgres at %s did not answer in time",
                        PQhost(conn) && PQhost(conn)[0] ? PQhost(conn) : "its address");
        next = PQconnectPoll(conn);
    }
    return pg_lost(conn, 0, err);
}

/* The server, too, shall notice when we are gone: only then is our session lock
 * free.  Commits wait for the disk also where the server's default is not to: a
 * claim that a crash of Postgres takes back is a call that is sent twice.  Other
 * values of synchronous_commit are the administrator's choice.              */
static enum outcome set_session(struct pg *pg, const struct pg_options *options, struct error *err)
{
    char sql[600];
    (void)snprintf(sql, sizeof sql,
                   "SET statement_timeout = %d; SET idle_in_transaction_session_timeout = 60000; "
                   "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; "
                   "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 15000; "
                   "SET client_connection_check_interval = 5000%s",
                   pg->statement_timeout_ms < 0 ? 0 : pg->statement_timeout_ms,
                   options->commit_without_wait
                       ? "; SET synchronous_commit = off"
                       : "; SELECT set_config('synchronous_commit', 'on', false) "
                         "WHERE current_setting('synchronous_commit') = 'off'");
    return pg_run(pg, sql, CONNECT_TIMEOUT_MS, err);
}

/* One host of the DSN.  libpq would go on from host to host by itself, but not from
 * one that is silent: its own time limit does not hold for connections that are
 * made step by step.                                                         */
static enum outcome open_host(struct pg **out, const struct pg_options *options, size_t at,
                              int64_t deadline_ms, struct error *err)
{
    struct pg_host host;
    struct pg *pg = xcalloc(1, sizeof *pg);
    pg->statement_timeout_ms =
        options->statement_timeout_ms ? options->statement_timeout_ms : STATEMENT_TIMEOUT_MS;
    pg_host_init(&host, options->dsn, at);
    pg->conn = start_connect(options, &host);
    pg_host_release(&host);
    if (!pg->conn) {
        free(pg);
        return fail(err, RETRY, "there is no memory for a connection to Postgres");
    }
    enum outcome outcome = finish_connect(pg->conn, deadline_ms, err);
    if (outcome == OK) {
        PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);
        outcome = set_session(pg, options, err);
    }
    if (outcome != OK)
        pg_close(pg);
    else
        *out = pg;
    return outcome;
}

/* Each host in turn, with an equal share of the time that is left. */
enum outcome pg_open(struct pg **out, const struct pg_options *options, struct error *err)
{
    *out = NULL;
    enum outcome outcome = check_dsn(options->dsn, err);
    if (outcome != OK)
        return outcome;

    int timeout_ms =
        options->connect_timeout_ms > 0 ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    int64_t end_ms = clock_mono_ms() + timeout_ms;
    size_t hosts = pg_hosts_count(options->dsn);
    outcome = RETRY;
    for (size_t i = 0; i < hosts && outcome == RETRY; i++) {
        int64_t now_ms = clock_mono_ms();
        outcome =
            open_host(out, options, i, now_ms + (end_ms - now_ms) / (int64_t)(hosts - i), err);
    }
    return outcome;
}

void pg_close(struct pg *pg)
{
    if (!pg)
        return;
    PQfinish(pg->conn);
    free(pg);
}

PGconn *pg_detach(struct pg *pg)
{
    PGconn *conn = pg->conn;
    free(pg);
    return conn;
}

bool pg_is_open(const struct pg *pg)
{
    return pg->conn && PQstatus(pg->conn) == CONNECTION_OK;
}

const char *pg_fault_sqlstate(const struct pg *pg)
{
    return pg->sqlstate;
}

int pg_backend_pid(const struct pg *pg)
{
    return pg->conn ? PQbackendPID(pg->conn) : 0;
}

/* ---- sending and waiting ---------------------------------------------------- */

enum outcome pg_send(PGconn *conn, enum pg_send_how how, const char *name, const char *sql,
                     const struct pg_params *params, struct error *err)
{
    static const struct pg_params none;
    const struct pg_params *given = params ? params : &none;
    Oid types[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];

    assert(!given->array_open);
    if (given->bytes.full)
        return fail(err, REFUSED, "the data is larger than the limit of %zu bytes",
                    given->bytes.limit_bytes);
    for (int i = 0; i < given->count; i++) {
        const struct pg_param *p = &given->list[i];
        types[i] = p->oid;
        values[i] = p->length < 0 ? NULL : given->bytes.data + p->at;
        lengths[i] = p->length < 0 ? 0 : p->length;
        formats[i] = 1;
    }

    int sent = 0;
    switch (how) {
    case PG_SEND_QUERY:
        sent = PQsendQueryParams(conn, sql, given->count, types, values, lengths, formats, 1);
        break;
    case PG_SEND_PREPARE: sent = PQsendPrepare(conn, name, sql, given->count, types); break;
    case PG_SEND_PREPARED:
        sent = PQsendQueryPrepared(conn, name, given->count, values, lengths, formats, 1);
        break;
    }
    return sent ? OK : pg_lost(conn, 0, err);
}

/* After a broken or overdue connection nobody knows what became of the statement. */
static enum outcome drop(struct pg *pg, const char *overdue, struct error *err)
{
    enum outcome outcome = overdue ? fail(err, RETRY, "%s", overdue) : pg_lost(pg->conn, 0, err);
    PQfinish(pg->conn);
    pg->conn = NULL;
    pg->sqlstate[0] = '\0';
    return outcome;
}

static enum outcome flush_all(struct pg *pg, int64_t deadline_ms, struct error *err)
{
    int rc;
    while ((rc = PQflush(pg->conn)) == 1) {
        if (!wait_socket(pg->conn, POLLIN | POLLOUT, deadline_ms))
            return drop(pg, "Postgres did not take the statement in time", err);
        /* The server may be stuck until we read what it says. */
        if (!PQconsumeInput(pg->conn))
            return drop(pg, NULL, err);
    }
    return rc == 0 ? OK : drop(pg, NULL, err);
}

/* Waits for all results.  Keeps the last good one, or the first failure. */
static enum outcome collect(struct pg *pg, int64_t deadline_ms, PGresult **out, struct error *err)
{
    enum outcome outcome = OK;
    PGresult *kept = NULL;
    for (;;) {
        while (PQisBusy(pg->conn)) {
            if (!wait_socket(pg->conn, POLLIN, deadline_ms)) {
                PQclear(kept);
                return drop(pg, "Postgres did not answer the statement in time", err);
            }
            if (!PQconsumeInput(pg->conn)) {
                PQclear(kept);
                return outcome == OK ? drop(pg, NULL, err) : outcome;
            }
        }
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            break;
        if (outcome != OK) {
            PQclear(result);
            continue;
        }
        PQclear(kept);
        kept = result;
        outcome = pg_judge(result, pg->sqlstate, err);
    }
    if (outcome == OK && out)
        *out = kept;
    else
        PQclear(kept);
    if (PQstatus(pg->conn) == CONNECTION_BAD)
        return outcome == OK ? drop(pg, NULL, err) : outcome;
    return outcome;
}

static enum outcome wait_for(struct pg *pg, enum outcome sent, int timeout_ms, PGresult **out,
                             struct error *err)
{
    pg->sqlstate[0] = '\0';
    if (sent != OK)
        return sent;
    int64_t wait_ms = timeout_ms;
    if (timeout_ms <= 0)
        wait_ms =
            pg->statement_timeout_ms < 0 ? FOREVER_MS : pg->statement_timeout_ms + ANSWER_MARGIN_MS;
    int64_t deadline_ms = clock_mono_ms() + wait_ms;
    enum outcome outcome = flush_all(pg, deadline_ms, err);
    return outcome == OK ? collect(pg, deadline_ms, out, err) : outcome;
}

enum outcome pg_exec(struct pg *pg, const char *sql, const struct pg_params *params, int timeout_ms,
                     PGresult **out, struct error *err)
{
    if (out)
        *out = NULL;
    if (!pg_is_open(pg))
        return fail(err, RETRY, "the connection to Postgres is closed");
    return wait_for(pg, pg_send(pg->conn, PG_SEND_QUERY, NULL, sql, params, err), timeout_ms, out,
                    err);
}

enum outcome pg_run(struct pg *pg, const char *sql, int timeout_ms, struct error *err)
{
    if (!pg_is_open(pg))
        return fail(err, RETRY, "the connection to Postgres is closed");
    enum outcome sent = PQsendQuery(pg->conn, sql) ? OK : pg_lost(pg->conn, 0, err);
    return wait_for(pg, sent, timeout_ms, NULL, err);
}

void pg_nap(struct pg *pg, int fd, int timeout_ms)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms, left;
    while ((left = deadline_ms - clock_mono_ms()) > 0) {
        bool open = pg && pg_is_open(pg);
        struct pollfd fds[] = {
            { .fd = fd, .events = POLLIN },
            { .fd = open ? PQsocket(pg->conn) : -1, .events = POLLIN },
        };
        if (poll(fds, 2, (int)left) <= 0)
            continue; /* the time is over, or a signal came */
        if (fds[0].revents || !open)
            return;
        struct error err;
        if (!PQconsumeInput(pg->conn) || PQstatus(pg->conn) != CONNECTION_OK) {
            (void)drop(pg, NULL, &err);
            return;
        }
    }
}

enum outcome pg_check_schema(struct pg *pg, const char *program, struct error *err)
{
    PGresult *r = NULL;
    enum outcome outcome = pg_exec(pg, "SELECT pawl.schema_version()", NULL, 0, &r, err);
    const char *state = pg_fault_sqlstate(pg);
    if (outcome == REFUSED && (strcmp(state, "3F000") == 0 || strcmp(state, "42883") == 0))
        return fail(err, REFUSED,
                    "the database has no schema of pawl yet, this %s needs version %zu: run "
                    "`pawl migrate up`",
                    program, pawl_migration_count);
    if (outcome == REFUSED && strcmp(state, "42501") == 0)
        return fail(err, REFUSED,
                    "this login may not use the schema pawl: GRANT pawl_%s TO it in the database",
                    program);
    if (outcome != OK)
        return outcome;
    int version = PQntuples(r) == 1 ? pg_int4(r, 0, 0) : 0;
    PQclear(r);
    if ((size_t)version < pawl_migration_count)
        return fail(err, REFUSED,
                    "the database has schema %d, this %s needs %zu: run `pawl migrate up`", version,
                    program, pawl_migration_count);
    return OK;
}

/* ---- answers ---------------------------------------------------------------- */

static const char *cell(const PGresult *r, int row, int column, Oid type, int size)
{
    assert(PQftype(r, column) == type && PQfformat(r, column) == 1);
    if (PQgetisnull(r, row, column))
        return NULL;
    assert(size == 0 || PQgetlength(r, row, column) == size);
    return PQgetvalue(r, row, column);
}

static int64_t int64_at(const char *wire)
{
    uint64_t value;
    memcpy(&value, wire, sizeof value);
    return (int64_t)be64toh(value);
}

int pg_row_count(const PGresult *r)
{
    return PQntuples(r);
}

int pg_column_count(const PGresult *r)
{
    return PQnfields(r);
}

const char *pg_column_name(const PGresult *r, int column)
{
    return PQfname(r, column);
}

int64_t pg_rows_affected(const PGresult *r)
{
    /* libpq takes it as not constant but only reads. */
    return strtoll(PQcmdTuples((PGresult *)(uintptr_t)r), NULL, 10);
}

bool pg_is_null(const PGresult *r, int row, int column)
{
    return PQgetisnull(r, row, column) == 1;
}

bool pg_bool(const PGresult *r, int row, int column)
{
    const char *wire = cell(r, row, column, 16, 1);
    return wire && *wire != 0;
}

int32_t pg_int4(const PGresult *r, int row, int column)
{
    const char *wire = cell(r, row, column, 23, 4);
    uint32_t value = 0;
    if (wire)
        memcpy(&value, wire, sizeof value);
    return (int32_t)be32toh(value);
}

int64_t pg_int8(const PGresult *r, int row, int column)
{
    if (PQftype(r, column) == 23)
        return pg_int4(r, row, column);
    const char *wire = cell(r, row, column, 20, 8);
    return wire ? int64_at(wire) : 0;
}

const char *pg_text(const PGresult *r, int row, int column)
{
    Oid type = PQftype(r, column);
    assert(type == 25 || type == 114 || type == 1043 || type == 19); /* text json varchar name */
    return cell(r, row, column, type, 0);
}

size_t pg_length(const PGresult *r, int row, int column)
{
    return (size_t)PQgetlength(r, row, column);
}

struct uuid pg_uuid(const PGresult *r, int row, int column)
{
    struct uuid out = { { 0 } };
    const char *wire = cell(r, row, column, 2950, sizeof out.b);
    if (wire)
        memcpy(out.b, wire, sizeof out.b);
    return out;
}

const void *pg_bytea(const PGresult *r, int row, int column)
{
    return cell(r, row, column, 17, 0);
}

int64_t pg_time_ms(const PGresult *r, int row, int column)
{
    const char *wire = cell(r, row, column, 1184, 8);
    if (!wire)
        return 0;
    int64_t us = int64_at(wire);
    return us / 1000 + INT64_C(946684800000) - (us % 1000 < 0);
}

void pg_result_free(PGresult *r)
{
    PQclear(r);
}
