#include "common/pg_async.h"

#include "common/memory.h"
#include "common/pg_core.h"
#include "common/uuid.h"

#include <assert.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAUSE_MIN_MS = 100,
    PAUSE_MAX_MS = 5000,
    STATEMENT_TIMEOUT_MS = 30 * 1000,
    OVERDUE_MARGIN_MS = 10 * 1000,
};

enum state {
    WAITING,    /* for the next attempt to connect */
    CONNECTING, /* a helper thread is at it */
    IDLE,       /* may send */
    PREPARING,  /* the statement is being prepared; it is sent next */
    BUSY,       /* the statement is on its way */
    PAIRED,     /* two statements are on their way, in a pipeline */
    SETTLING,   /* they were answered; their commit is on its way */
};

/* What a connecting helper thread and the loop share.  Whoever comes last frees
 * it: the thread when the connection was given up meanwhile, else the loop.  */
struct attempt {
    pthread_mutex_t lock;
    bool given_up; /* by the loop: nobody waits for it, and `wake` is gone */
    bool ended;
    struct loop_wake *wake;
    char *dsn, *application, *program;
    struct pg_options options;
    enum outcome outcome;
    struct pg *pg;
    struct error error;
};

struct pg_async {
    struct loop *loop;
    struct pg_async_calls calls;
    struct pg_options options;
    char *dsn, *application, *program;
    enum state state;
    bool prepare;
    int pause_ms;
    struct loop_timer timer; /* the next attempt; while busy: the answer is overdue */
    struct loop_wake wake;
    struct loop_watch watch;
    struct attempt *attempt;
    PGconn *conn;
    const struct pg_statement *prepared[PG_STATEMENTS_MAX];
    int prepared_count;

    /* The statement on its way. */
    const struct pg_statement *statement;
    const struct pg_params *params;
    pg_async_done *done;
    pg_async_pair_done *pair_done;
    void *done_arg;
    PGresult *rows, *second_rows;
    enum outcome outcome;
    char sqlstate[PG_SQLSTATE_SIZE];
    struct error error;
};

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

/* ---- connecting, in a thread of its own ------------------------------------ */

static void attempt_free(struct attempt *a)
{
    pg_close(a->pg);
    pthread_mutex_destroy(&a->lock);
    free(a->dsn);
    free(a->application);
    free(a->program);
    free(a);
}

static void *attempt_run(void *arg)
{
    struct attempt *a = arg;
    a->outcome = pg_open(&a->pg, &a->options, &a->error);
    if (a->outcome == OK && a->program)
        a->outcome = pg_check_schema(a->pg, a->program, &a->error);

    pthread_mutex_lock(&a->lock);
    bool given_up = a->given_up;
    a->ended = true;
    if (!given_up)
        loop_wake_send(a->wake);
    pthread_mutex_unlock(&a->lock);
    if (given_up)
        attempt_free(a);
    return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(struct attempt *a)
{
    sigset_t all, before;
    pthread_t thread;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, attempt_run, a);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        (void)pthread_detach(thread);
    return rc;
}

static void wait_and_connect(struct pg_async *c);

static void connect_now(struct pg_async *c)
{
    struct attempt *a = xcalloc(1, sizeof *a);
    int rc = pthread_mutex_init(&a->lock, NULL);
    assert(rc == 0);
    a->wake = &c->wake;
    a->dsn = copy(c->dsn);
    a->application = copy(c->application);
    a->program = copy(c->program);
    a->options = c->options;
    a->options.dsn = a->dsn;
    a->options.application = a->application;
    if (start_thread(a) != 0) {
        attempt_free(a);
        wait_and_connect(c); /* out of threads: the next attempt may find one */
        return;
    }
    c->attempt = a;
    c->state = CONNECTING;
}

/* The first pause is short: most breaks are a restart or one bad connection. */
static void wait_and_connect(struct pg_async *c)
{
    struct uuid chance = uuid_v4();
    int jitter = chance.b[0] * 256 + chance.b[1]; /* 0 .. 65535 */
    int half = c->pause_ms / 2;
    c->state = WAITING;
    loop_timer_start(&c->timer, half + (int64_t)c->pause_ms * jitter / 65536);
    c->pause_ms = c->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : c->pause_ms * 2;
}

/* ---- the end of a connection, and of a statement ---------------------------- */

/* Answers the statement on its way.  The callback may send the next one. */
static void answer(struct pg_async *c)
{
    pg_async_done *done = c->done;
    pg_async_pair_done *pair_done = c->pair_done;
    PGresult *rows = c->rows, *second = c->second_rows;
    c->done = NULL;
    c->pair_done = NULL;
    c->rows = c->second_rows = NULL;
    c->params = NULL;
    if (c->outcome != OK) {
        PQclear(rows);
        PQclear(second);
        rows = second = NULL;
    }
    struct error error = c->error;
    char sqlstate[PG_SQLSTATE_SIZE];
    memcpy(sqlstate, c->sqlstate, sizeof sqlstate);
    if (pair_done)
        pair_done(c->done_arg, c->outcome, rows, second, sqlstate, &error);
    else
        done(c->done_arg, c->outcome, rows, sqlstate, &error);
}

static void hang_up(struct pg_async *c)
{
    loop_watch_close(&c->watch);
    loop_timer_stop(&c->timer);
    PQfinish(c->conn);
    c->conn = NULL;
    c->prepared_count = 0;
    PQclear(c->rows); /* of what broke off nobody hears */
    PQclear(c->second_rows);
    c->rows = c->second_rows = NULL;
}

/* An error of the server that came before the break (57P01: it shuts down) says
 * more than the break itself.                                               */
static void break_down(struct pg_async *c, const struct error *why)
{
    bool was_busy = c->state == BUSY || c->state == PREPARING || c->state == PAIRED;
    struct error reason = *why;
    hang_up(c);
    wait_and_connect(c);
    if (was_busy) {
        if (c->outcome == OK) {
            c->outcome = RETRY;
            c->error = reason;
            c->sqlstate[0] = '\0';
        }
        reason = c->error;
    }
    if (c->calls.on_down)
        c->calls.on_down(c->calls.arg, RETRY, &reason);
    if (was_busy)
        answer(c);
}

void pg_async_break(struct pg_async *c, const char *why)
{
    struct error err;
    if (!pg_async_is_up(c))
        return;
    (void)fail(&err, RETRY, "%s", why);
    break_down(c, &err);
}

/* ---- one statement ------------------------------------------------------------ */

static bool is_prepared(const struct pg_async *c, const struct pg_statement *statement)
{
    for (int i = 0; i < c->prepared_count; i++)
        if (c->prepared[i] == statement)
            return true;
    return false;
}

static enum outcome send_now(struct pg_async *c, struct error *err)
{
    bool prepared = is_prepared(c, c->statement);
    bool prepare = c->prepare && !prepared && c->prepared_count < PG_STATEMENTS_MAX;
    enum pg_send_how how = prepared ? PG_SEND_PREPARED : prepare ? PG_SEND_PREPARE : PG_SEND_QUERY;
    enum outcome outcome =
        pg_send(c->conn, how, c->statement->name, c->statement->sql, c->params, err);
    if (outcome != OK)
        return outcome;
    int rc = PQflush(c->conn);
    if (rc < 0)
        return pg_lost(c->conn, 0, err);
    loop_watch_update(&c->watch, rc > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    c->state = prepare ? PREPARING : BUSY;
    return OK;
}

enum outcome pg_async_send(struct pg_async *c, const struct pg_statement *statement,
                           const struct pg_params *params, pg_async_done *done, void *arg,
                           struct error *err)
{
    assert(c->state == IDLE);
    c->statement = statement;
    c->params = params;
    enum outcome outcome = send_now(c, &c->error);
    if (outcome == REFUSED)
        return fail(err, REFUSED, "%s", c->error.text);
    c->done = done;
    c->done_arg = arg;
    c->rows = NULL;
    c->outcome = outcome;
    c->sqlstate[0] = '\0';
    if (outcome != OK)
        c->state = BUSY; /* broken: answered at once, but not from in here */
    loop_timer_start(&c->timer, outcome != OK
                                    ? 0
                                    : (int64_t)c->options.statement_timeout_ms + OVERDUE_MARGIN_MS);
    return OK;
}

static void take_result(struct pg_async *c, PGresult *result)
{
    if (c->outcome != OK) { /* the first failure counts */
        PQclear(result);
        return;
    }
    PQclear(c->rows);
    c->rows = result;
    c->outcome = pg_judge(result, c->sqlstate, &c->error);
}

/* Nothing is on its way any more; false: the connection was given up. */
static bool become_idle(struct pg_async *c)
{
    struct error err;
    if (strcmp(c->sqlstate, "26000") == 0 || strcmp(c->sqlstate, "42P05") == 0)
        c->prepare = false;
    if (strcmp(c->sqlstate, "25006") == 0) { /* a standby now: find the new primary */
        err = c->error;
        break_down(c, &err);
        return false;
    }
    if (!c->prepare)
        c->prepared_count = 0;
    loop_timer_stop(&c->timer);
    c->state = IDLE;
    return true;
}

/* All results of what was sent are here. */
static void finish_statement(struct pg_async *c)
{
    struct error err;
    if (c->state == PREPARING && c->outcome == OK) {
        c->prepared[c->prepared_count++] = c->statement;
        PQclear(c->rows);
        c->rows = NULL;
        c->state = IDLE;
        if (send_now(c, &err) != OK) {
            c->state = BUSY;
            break_down(c, &err);
        }
        return;
    }
    if (become_idle(c))
        answer(c);
}

/* ---- two statements ------------------------------------------------------------- */

bool pg_async_can_pair(const struct pg_async *c, const struct pg_statement *first,
                       const struct pg_statement *second)
{
    return is_prepared(c, first) && is_prepared(c, second);
}

/* The request to flush makes the server send both answers before it commits, which
 * it does when it comes to the sync behind them.                             */
static bool queue_pair(struct pg_async *c, const struct pg_async_pair *pair)
{
    for (int i = 0; i < 2; i++)
        if (pg_send(c->conn, PG_SEND_PREPARED, pair->statement[i]->name, pair->statement[i]->sql,
                    pair->params[i], &c->error) != OK)
            return false;
    if (PQsendFlushRequest(c->conn) && PQpipelineSync(c->conn))
        return true;
    (void)pg_lost(c->conn, 0, &c->error);
    return false;
}

void pg_async_send_pair(struct pg_async *c, const struct pg_async_pair *pair,
                        pg_async_pair_done *done, void *arg)
{
    assert(c->state == IDLE);
    c->pair_done = done;
    c->done_arg = arg;
    c->rows = c->second_rows = NULL;
    c->outcome = OK;
    c->sqlstate[0] = '\0';
    c->state = PAIRED;
    int flushed = PQenterPipelineMode(c->conn) && queue_pair(c, pair) ? PQflush(c->conn) : -1;
    if (flushed < 0)
        c->outcome = RETRY; /* broken: answered at once, but not from in here */
    else
        loop_watch_update(&c->watch, flushed > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    loop_timer_start(
        &c->timer, flushed < 0 ? 0 : (int64_t)c->options.statement_timeout_ms + OVERDUE_MARGIN_MS);
}

/* One result of a pipeline.  True: it was the last, and the transaction is over. */
static bool take_pair_result(struct pg_async *c, PGresult *result)
{
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        return true;
    }
    if (c->outcome != OK || PQresultStatus(result) == PGRES_PIPELINE_ABORTED) {
        PQclear(result);
        return false;
    }
    *(c->rows ? &c->second_rows : &c->rows) = result;
    c->outcome = pg_judge(result, c->sqlstate, &c->error);
    return false;
}

static bool read_pair(struct pg_async *c)
{
    int nothing = 0; /* in a row: between two statements there is one */
    while (nothing < 2 && !PQisBusy(c->conn)) {
        PGresult *result = PQgetResult(c->conn);
        nothing = result ? 0 : nothing + 1;
        if (result && take_pair_result(c, result))
            return true;
    }
    return false;
}

static void lose(struct pg_async *c, size_t known)
{
    struct error err;
    (void)pg_lost(c->conn, known, &err);
    break_down(c, &err);
}

/* Something has come while the commit of a pair was under way. */
static void on_settling_input(struct pg_async *c, bool over)
{
    struct error err = c->error;
    if (c->outcome != OK) /* the commit itself failed, after our answer */
        break_down(c, &err);
    else if (over && become_idle(c) && c->calls.on_settled)
        c->calls.on_settled(c->calls.arg);
}

/* What has come of a pair.  The answer is the last thing done here. */
static void on_pair_input(struct pg_async *c, bool sound)
{
    bool over = read_pair(c);
    if (!sound || PQstatus(c->conn) != CONNECTION_OK || (over && !PQexitPipelineMode(c->conn))) {
        lose(c, 0);
    } else if (c->state == SETTLING) {
        on_settling_input(c, over);
    } else if (over) {
        if (become_idle(c))
            answer(c);
    } else if (c->outcome == OK && c->second_rows) {
        c->state = SETTLING;
        answer(c);
    }
}

/* What has come of a single statement. */
static void on_input(struct pg_async *c, bool sound)
{
    PGresult *result;
    bool all = false;
    while (!PQisBusy(c->conn)) {
        result = PQgetResult(c->conn);
        if (!result) {
            all = true;
            break;
        }
        take_result(c, result);
    }
    if (!sound || PQstatus(c->conn) != CONNECTION_OK)
        lose(c, 0);
    else if (all)
        finish_statement(c);
}

static void on_socket(void *arg, int events)
{
    struct pg_async *c = arg;
    bool sound = true;
    size_t known = c->state == IDLE ? strlen(PQerrorMessage(c->conn)) : 0;
    (void)events;
    if (c->state != IDLE) {
        int rc = PQflush(c->conn);
        sound = rc >= 0;
        if (rc == 0 && c->watch.events != LOOP_READ)
            loop_watch_update(&c->watch, LOOP_READ);
    }
    /* Reads also after a failed flush: the server may have said why. */
    sound = PQconsumeInput(c->conn) && sound;
    if (c->state == IDLE && (!sound || PQstatus(c->conn) != CONNECTION_OK))
        lose(c, known);
    else if (c->state == IDLE)
        return;
    else if (c->state == PAIRED || c->state == SETTLING)
        on_pair_input(c, sound);
    else
        on_input(c, sound);
}

/* ---- life ----------------------------------------------------------------------- */

static void begin(struct pg_async *c, struct pg *pg)
{
    struct error err;
    c->conn = pg_detach(pg);
    bool set = PQsetnonblocking(c->conn, 1) == 0;
    if (!set || loop_watch_start(c->loop, &c->watch, PQsocket(c->conn), LOOP_READ, on_socket, c,
                                 &err) != OK) {
        hang_up(c);
        wait_and_connect(c);
        return;
    }
    c->state = IDLE;
    c->pause_ms = PAUSE_MIN_MS;
    if (c->calls.on_up)
        c->calls.on_up(c->calls.arg);
}

static void on_wake(void *arg)
{
    struct pg_async *c = arg;
    struct attempt *a = c->attempt;
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    bool ended = a->ended;
    pthread_mutex_unlock(&a->lock);
    if (!ended)
        return;
    c->attempt = NULL;
    if (a->outcome == OK) {
        struct pg *pg = a->pg;
        a->pg = NULL;
        attempt_free(a);
        begin(c, pg);
        return;
    }
    enum outcome outcome = a->outcome;
    struct error err = a->error;
    attempt_free(a);
    wait_and_connect(c);
    if (c->calls.on_down)
        c->calls.on_down(c->calls.arg, outcome, &err);
}

static void on_timer(void *arg)
{
    struct pg_async *c = arg;
    struct error err;
    switch (c->state) {
    case WAITING: connect_now(c); break;
    case PREPARING:
    case BUSY:
    case PAIRED:
    case SETTLING:
        (void)fail(&err, RETRY, "Postgres did not answer in time: the connection is given up");
        break_down(c, &err);
        break;
    case CONNECTING:
    case IDLE: break;
    }
}

enum outcome pg_async_init(struct pg_async **out, struct loop *loop,
                           const struct pg_async_options *options,
                           const struct pg_async_calls *calls, struct error *err)
{
    struct pg_async *c = xcalloc(1, sizeof *c);
    *out = NULL;
    c->loop = loop;
    c->calls = *calls;
    enum outcome outcome = loop_wake_init(loop, &c->wake, on_wake, c, err);
    if (outcome != OK) {
        free(c);
        return outcome;
    }
    c->dsn = xstrdup(options->pg.dsn);
    c->application = copy(options->pg.application);
    c->program = copy(options->program);
    c->options = options->pg;
    if (c->options.statement_timeout_ms <= 0)
        c->options.statement_timeout_ms = STATEMENT_TIMEOUT_MS;
    c->prepare = !options->unprepared;
    c->pause_ms = PAUSE_MIN_MS;
    loop_timer_init(loop, &c->timer, on_timer, c);
    connect_now(c);
    *out = c;
    return OK;
}

void pg_async_free(struct pg_async *c)
{
    if (!c)
        return;
    struct attempt *a = c->attempt;
    if (a) {
        pthread_mutex_lock(&a->lock);
        bool ended = a->ended;
        a->given_up = true;
        pthread_mutex_unlock(&a->lock);
        if (ended)
            attempt_free(a);
    }
    if (c->conn)
        hang_up(c);
    loop_timer_close(&c->timer);
    loop_wake_close(&c->wake);
    free(c->dsn);
    free(c->application);
    free(c->program);
    free(c);
}

bool pg_async_is_up(const struct pg_async *c)
{
    return c->state != WAITING && c->state != CONNECTING;
}

bool pg_async_is_idle(const struct pg_async *c)
{
    return c->state == IDLE;
}
