/*
 * pg_async.h -- one connection to Postgres that lives on the loop.
 *
 *      +--> waiting --timer--> connecting --> idle <--> busy --+
 *      |    (back-off)      (helper thread)    |               |
 *      +------------------- broken ------------+---------------+
 *
 * Name look-up, TLS, passwords and the check of the schema happen in a helper
 * thread that ends with the connection made or failed; the loop never waits.  A
 * broken connection is made anew for ever, with growing pauses and jitter, so
 * that a restarting Postgres is not run down.
 *
 * Statements are prepared once per connection.  Behind a pooler that hands every
 * transaction to another server this fails; the connection notices (SQLSTATE
 * 26000, 42P05) and sends plain statements from then on.
 *
 * Two statements can travel as a pair: one transaction, one round trip, and both
 * answers come before the commit has reached the disk.
 *
 * Limits:  one statement (or pair) at a time; an answer that is overdue (the server's own
 *          statement timeout, and 10 s) breaks the connection, since the server
 *          may be gone without a word.
 * Threads: the loop's, and a helper thread while connecting.
 * Errors:  see pg.h.  Each statement that was taken is answered exactly once,
 *          with RETRY when its connection breaks, unless pg_async_free() comes
 *          first.
 */
#ifndef PAWL_COMMON_PG_ASYNC_H
#define PAWL_COMMON_PG_ASYNC_H

#include "common/loop.h"
#include "common/outcome.h"
#include "common/pg.h"

#include <stdbool.h>

struct pg_async;

struct pg_async_options {
    struct pg_options pg;
    const char *program; /* check the schema for it (pg_check_schema); NULL: no check */
    bool unprepared;     /* never prepare statements */
};

/* On the loop. */
struct pg_async_calls {
    void *arg;
    void (*on_up)(void *arg);
    /* The connection broke, or an attempt to connect failed (again and again). */
    void (*on_down)(void *arg, enum outcome outcome, const struct error *err);
    /* The commit of a pair, answered before, is through: idle again.        */
    void (*on_settled)(void *arg);
};

/* A statement as the program knows it: static, so that its address is its name. */
struct pg_statement {
    const char *name;
    const char *sql;
};

enum { PG_STATEMENTS_MAX = 32 }; /* prepared per connection; more are sent as they are */

/* Begins to connect.  Everything is copied. */
MUST_CHECK enum outcome pg_async_init(struct pg_async **out, struct loop *loop,
                                      const struct pg_async_options *options,
                                      const struct pg_async_calls *calls, struct error *err);

/* Without any callback; not from inside one. */
void pg_async_free(struct pg_async *c); /* NULL is fine */

bool pg_async_is_up(const struct pg_async *c);   /* idle or busy */
bool pg_async_is_idle(const struct pg_async *c); /* may send */

/* `rows` belongs to the callback (pg_result_free), NULL unless outcome is OK.
 * `sqlstate` is "" when the connection broke.  Both are NULL-safe to ignore. The
 * connection is idle again, or down, when this is called.                   */
typedef void pg_async_done(void *arg, enum outcome outcome, struct pg_result *rows,
                           const char *sqlstate, const struct error *err);

/* The connection must be idle.  `params` stays as it is until the answer, which
 * never comes from inside this call.  REFUSED: the parameters passed their limit,
 * nothing was sent and `done` does not come.                                */
MUST_CHECK enum outcome pg_async_send(struct pg_async *c, const struct pg_statement *statement,
                                      const struct pg_params *params, pg_async_done *done,
                                      void *arg, struct error *err);

/* Both statements are prepared on this connection, so that they can go as a pair. */
bool pg_async_can_pair(const struct pg_async *c, const struct pg_statement *first,
                       const struct pg_statement *second);

/* As pg_async_done, for both.  OK comes *before* the commit: it is for work that has
 * no effect until a later statement has found this commit in place.  If the
 * connection is not idle then, on_settled or on_down follows.  With any other
 * outcome nothing of the two was done, and it is idle or down.              */
typedef void pg_async_pair_done(void *arg, enum outcome outcome, struct pg_result *first,
                                struct pg_result *second, const char *sqlstate,
                                const struct error *err);

struct pg_async_pair {
    const struct pg_statement *statement[2];
    const struct pg_params *params[2]; /* within their limits */
};

/* pg_async_can_pair() has said yes.  Never answered from inside this call. */
void pg_async_send_pair(struct pg_async *c, const struct pg_async_pair *pair,
                        pg_async_pair_done *done, void *arg);

/* For tests, and for a server that turned out to be the wrong one. */
void pg_async_break(struct pg_async *c, const char *why);

#endif
