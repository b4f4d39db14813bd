/*
 * action_world.h -- a scripted world for the life of a call: no sockets, no Postgres,
 * no clock.
 *
 * `struct world` stands for the database (one call, by the rules of design section
 * 6, simplified), the tool and Kafka.  It can stop answering after any number of
 * operations, which is how a process dies.
 */
#ifndef PAWL_TESTS_UNIT_ACTION_WORLD_H
#define PAWL_TESTS_UNIT_ACTION_WORLD_H

#include "executor/action.h"

enum policy { ONCE_TELL, ONCE_PROBE, IDEMPOTENT, READ_ONLY, POLICIES };
enum row { ROW_NONE, ROW_RUNNING, ROW_OPEN, ROW_PROBE, ROW_SUCCEEDED, ROW_FAILED, ROW_UNKNOWN };
enum manner { TOOL_ANSWERS, TOOL_CUTS, TOOL_REFUSES_CONNECTION, TOOL_SAYS_503, TOOL_SAYS_422 };

enum { SEND_BY_MS = 5000, ATTEMPTS = 3, QUEUE = 64 };

struct world {
    /* the database */
    enum policy policy;
    enum row row;
    struct uuid key, holder;
    int version, failures;
    bool cut, probing;
    char result[128];
    enum store_call_outcome last;
    int commits;

    /* the tool */
    enum manner manner[4]; /* of the 1st, 2nd ... request; the last one repeats */
    int requests, executions, probes;
    int requests_after_success, key_changes, requests_after_send_by;

    /* Kafka */
    int plan_rings, act_rings, rings_before_commit;

    /* the process */
    int fuel; /* operations until "kill -9" */
    int64_t now_ms;
    int jump_at, operations; /* the clock jumps at this operation */
    struct action *action;
    struct action_event queue[QUEUE];
    int read, written;
    bool done;
    struct action_end end;
    int cannot;
    bool load_refused, call_refused, sent_when_cancelled;
    enum outcome commit_outcome[3];
    bool hold; /* answers are queued, and not delivered */

    struct tool_def def;
    struct store_action_claim claim;
    struct store_action_commit commit;
    struct tool_answer answer;
};

enum { WORLD_SCRIPTS = 7 };

/* A new call under this policy, and a tool that behaves as the script says. */
struct world world_make(int policy, int script);

extern const struct doorbell world_item;

bool world_is_final(const struct world *w);
struct action_ports world_ports(struct world *w);
void world_pump(struct world *w); /* delivers the answers that wait */

/* One process: takes the call again and again until it has its end, or dies after
 * `fuel` operations.                                                        */
void world_live(struct world *w, int fuel);

/* What declare_dead does with the claims of a process. */
void world_bury(struct world *w);

/* No request after a success or after send_by, one key, no ring before its commit,
 * and at most one execution of what is not repeatable.                      */
void world_check_promises(const struct world *w);

/* One action that is driven by hand up to a state. */
struct bench {
    struct world w;
    struct action a;
    struct action_ports ports;
};

void bench_open(struct bench *b, enum policy policy, enum action_state stop_in);
void bench_finish(struct bench *b);

#endif
