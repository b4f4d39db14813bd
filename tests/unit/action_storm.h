/*
 * action_storm.h -- the world of test_action_storm.c: what several processes, a
 * database, a tool and a network do with two calls, one small event at a time.
 *
 * What is asked for is a `struct op`: it waits, takes effect, and its answer is
 * delivered, each when the scheduler says so.  The rows follow design section 6.
 */
#ifndef PAWL_TESTS_UNIT_ACTION_STORM_H
#define PAWL_TESTS_UNIT_ACTION_STORM_H

#include "executor/action.h"

enum { CALLS = 2, TASKS = 5, PLACES = 3, OPS = 400, INCARNATIONS = 1000 };
enum { SEND_BY_MS = 5000, TOOL_MS = 3000 };

enum policy { ONCE_TELL, ONCE_PROBE, IDEMPOTENT, POLICIES };
enum row_state { FREE, HELD, PROBE_DUE, PROBED, SUCCEEDED, FAILED, UNKNOWN };
enum op_kind { OP_CLAIM, OP_LOAD, OP_CALL, OP_COMMIT };

/* The database's row of one call, and the tool's ledger of it. */
struct row {
    enum policy policy;
    enum row_state state;
    struct uuid key, token; /* of the newest claim */
    int holder, version;    /* incarnation */
    bool cut;
    int executions;
    bool key_made;
    int64_t send_by_ms;
};

/* What a process has asked for, and what becomes of it. */
struct op {
    enum op_kind kind;
    int task;
    unsigned life, ticket; /* whose, and which operation of its */
    bool waiting, answered, wanted;
    int incarnation, call;
    int64_t asked_ms;
    struct store_commit_action commit_request;
    struct store_claim_action claim_request;
    struct tool_call sent;
    struct action_event event;
    struct store_action_claim claim;
    struct store_action_commit commit;
    struct tool_answer answer;
};

struct task {
    bool live;
    unsigned life; /* counts the actions that were here */
    int place, incarnation, call;
    struct action action;
    bool told_yours, sent, committed, commit_ok, done;
    int asked; /* operations so far */
};

struct storm {
    uint64_t seed, random;
    int64_t now_ms;
    struct row rows[CALLS];
    struct task tasks[TASKS];
    int incarnation[PLACES];
    bool buried[INCARNATIONS];
    int born;
    struct op ops[OPS];
    int op_count;
    bool calm;
    struct action_ports ports;
    struct tool_def def;
    struct error why;
};

/* Chooses among `sides` things; a world's seed decides all. */
unsigned storm_dice(struct storm *s, unsigned sides);

/* Fails, naming the seed, when this promise is not kept. */
void storm_hold(const struct storm *s, bool good, const char *promise);

struct action_ports storm_ports(struct storm *s);
bool storm_is_final(const struct row *r);
void storm_take_effect(struct storm *s, struct op *op);
void storm_bury(struct storm *s, int incarnation); /* what declare_dead does */

#endif
