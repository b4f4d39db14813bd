/*
 * store.h -- the protocol of schema/migrations as typed operations on the loop.
 *
 *     store_claim_plan(...) --+   lane claim_plans
 *     store_claim_plan(...) --+--> [gather] --> one statement with arrays --> Postgres
 *     store_claim_plan(...) --+       ^                                          |
 *                                     |   while it is on its way, new ones gather|
 *     done(arg, OK, answer)  <--------+------------ answers, one per item -------+
 *
 * Each function of the protocol has a lane.  A lane has at most one statement on
 * its way; what is asked meanwhile gathers, and the next statement takes it all.
 * There is no timer: an idle store sends at once, a busy one in large batches.
 * The connections serve the lanes in turn.
 *
 * A statement that fails for its data is sent again in halves, until the one bad
 * item is alone: it is answered REFUSED, the others as usual.  A statement that
 * is lost with its connection, cut by a deadlock or by a shutdown is sent again
 * with the same tokens, after a back-off, for as long as it takes: the protocol
 * answers a repetition like the first time.  So an operation is answered once,
 * and a Postgres that is away only takes time.
 *
 * A request is copied; what it points to (strings, items) must stay until the
 * answer or store_cancel_op().  What an answer points to is borrowed during the
 * callback.  Callbacks come on the loop and never from inside the call that
 * asked.
 *
 * Limits:  STORE_BATCH_MAX items and STORE_BATCH_BYTES per statement; operations
 *          as many as the caller has tasks.
 * Threads: the loop's.  Connecting happens in helper threads.
 * Errors:  a callback gets OK with its answer; STALE: the claim is not ours any
 *          more (commits only); REFUSED: this item can never be stored, err says
 *          why.  Nothing else.
 */
#ifndef PAWL_COMMON_STORE_H
#define PAWL_COMMON_STORE_H

#include "common/digest.h"
#include "common/loop.h"
#include "common/outcome.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STORE_BATCH_MAX = 256,
    STORE_BATCH_BYTES = 16 * 1024 * 1024, /* a larger single item travels alone */
    STORE_ITEM_BYTES_MAX = 256 * 1024 * 1024,
};

struct store;

struct store_options {
    const char *dsn;
    const char *program;      /* "planner" or "executor": whose work claim_due gives */
    const char *class;        /* of the runs that claim_due gives */
    int connections;          /* 1 .. 16 */
    int statement_timeout_ms; /* 0: 30 s */
};

/* All on the loop; each may be NULL. */
struct store_calls {
    void *arg;
    /* The first connection stands (again), or the last one is gone.  The text is
     * for people, and for /readyz.  REFUSED: the schema is too old, or the
     * credentials are not good; the store goes on trying all the same.      */
    void (*on_link)(void *arg, enum outcome outcome, const char *text);
    /* Somebody declared our incarnation dead: called once. */
    void (*on_dead)(void *arg);
};

/* Begins to connect; Postgres need not be there.  Operations may be asked at
 * once and wait.  All strings are copied.                                   */
MUST_CHECK enum outcome store_init(struct store **out, struct loop *loop,
                                   const struct store_options *options,
                                   const struct store_calls *calls, struct error *err);

/* Drops what is not answered, without callbacks. */
void store_free(struct store *s); /* NULL is fine */

/* Our incarnation, from heartbeat.h: needed before the first claim. */
void store_set_worker(struct store *s, int64_t incarnation);

/* Revisions of tools that this process cannot serve: claims leave their calls
 * for others.  Copied; replaces what was set before.                        */
void store_set_cannot(struct store *s, const int64_t *revisions, size_t count);

bool store_is_up(const struct store *s);     /* a connection stands */
size_t store_waiting(const struct store *s); /* operations not answered yet */

/* Every operation answers with a ticket, never 0. */
typedef uint64_t store_ticket;

/* The callback does not come any more and what the request points to may go.  A
 * commit that was on its way may still have gone through.  A claim that turns
 * out to be ours is handed back by the store itself.  0 and tickets of answered
 * operations are harmless.                                                  */
void store_cancel_op(struct store *s, store_ticket ticket);

/* ---- accept -------------------------------------------------------------- */

struct store_accept {
    const char *source, *id;
    struct digest digest;
    const char *agent, *tenant, *class;
    const char *input;                    /* JSON text */
    const char *meta;                     /* JSON object text or NULL */
    int64_t deadline_ms;                  /* wall clock; 0: only the agent's own limit */
    int64_t timeout_ms;                   /* the same, counted from the acceptance */
    int64_t budget_tokens, budget_micros; /* 0: only the agent's own limits */
    int priority;                         /* among the queued runs of its tenant: -9 .. 9 */
    int64_t record_time_ms;               /* wall clock of the record; 0: not known */
};

enum store_accept_answer {
    STORE_ACCEPTED,
    STORE_QUEUED,        /* accepted too, but there is no place for it yet: no doorbell */
    STORE_DUPLICATE,     /* `run` is the one that the first request made */
    STORE_CONFLICT,      /* same source and id, another content */
    STORE_UNKNOWN_AGENT, /* from here on: no run was made, `detail` says why */
    STORE_TOO_OLD,
    STORE_PAST_DEADLINE,
    STORE_BAD_REQUEST,
};

struct store_accepted {
    enum store_accept_answer answer;
    struct uuid run;  /* nil when there is none */
    int64_t event_id; /* to be announced by us; 0: none */
    const char *detail;
};

typedef void store_accept_done(void *arg, enum outcome outcome, const struct store_accepted *a,
                               const struct error *err);
store_ticket store_accept(struct store *s, const struct store_accept *request,
                          store_accept_done *done, void *arg);

/* ---- plans ---------------------------------------------------------------- */

enum store_claim_answer {
    STORE_YOURS,
    STORE_BUSY,  /* another live claim */
    STORE_DONE,  /* the run, or this call, has its end */
    STORE_LATER, /* not yet: back-off, limits, or to be taken alone; it falls due */
    STORE_NO,    /* nothing to do there */
    STORE_DEAD,  /* this incarnation was declared dead; on_dead was called */
};

const char *store_claim_answer_name(enum store_claim_answer answer); /* "yours", ... */

/* How much of a run its prompt shows; all 0: everything. */
struct store_view {
    int left_out;     /* steps up to this one are not in it */
    int emptied;      /* of steps up to this one, long results are only named */
    int result_bytes; /* most that the results of one step take; planner's, only compared here */
};

struct store_claim_plan {
    struct uuid token; /* uuid_v4(), new for each claim */
    struct uuid run;
    int known_step;  /* plans up to this step are known to us already; 0: nothing is */
    int known_epoch; /* ... of this epoch: the claim of another one reads all */
    bool alone;      /* as claim_due said */
    /* With known_step: what the text shows that we have; another view than the stored
     * one reads all.  Without it: how to read; has_view false: as stored.         */
    bool has_view;
    struct store_view view;
};

enum store_row_kind {
    STORE_ROW_CONTEXT, /* content: as the last attempt to plan left it, JSON; there may be none */
    STORE_ROW_INPUT,   /* content: what the run was asked, JSON */
    STORE_ROW_ITEM,    /* one item of a plan; raw on the first one of a step */
    STORE_ROW_SAID,    /* content: a message of a person, read after the results of the step */
    STORE_ROW_RESULT,  /* of the call (step, index): status, content = result or error */
};

enum store_item_type { STORE_TEXT, STORE_REASONING, STORE_FUNCTION_CALL, STORE_ERROR };

const char *store_item_type_name(enum store_item_type type); /* "function_call", ... */

/* In the order of step; items, results, what was said; index.  Missing text is NULL. */
struct store_row {
    enum store_row_kind kind;
    int step, index;
    enum store_item_type type; /* of an item */
    const char *content;
    size_t content_n;
    const char *call_id;
    const char *tool;
    const char *arguments;
    const char *refused; /* item and result: why the call was not made */
    const char *raw;     /* JSON */
    size_t raw_n;
    const char *dialect; /* with raw: whose form it has */
    const char *status;  /* result: as in pawl.statuses; NULL: refused */
    const char *error_code;
    int64_t hidden; /* > 0: a result of so many bytes that was not read, by `emptied` */
};

struct store_plan_claim {
    enum store_claim_answer answer; /* the rest holds for STORE_YOURS */
    int step, epoch, version;
    int64_t change;
    int64_t revision; /* of the agent: registry_agent() */
    int model_at;     /* place of the model that this step has come to, from 0 */
    int failures;     /* its calls in this step that failed before */
    int64_t left_ms;  /* until the run's deadline; may be negative */
    const char *tenant;
    const char *meta; /* JSON or NULL */
    int known_step;   /* the rows begin after it: 0 when known_epoch was another one.  When the
                       * view is not ours, they begin with the input all the same */
    const struct store_row *rows;
    size_t row_count;
};

/* `claim` stands with REFUSED, too, when the run is ours but its history cannot be
 * read: then commit it as failed.                                           */
typedef void store_claim_plan_done(void *arg, enum outcome outcome,
                                   const struct store_plan_claim *claim, const struct error *err);
store_ticket store_claim_plan(struct store *s, const struct store_claim_plan *request,
                              store_claim_plan_done *done, void *arg);

/* One item of a model's output; its index is its place in the array. */
struct store_item {
    enum store_item_type type;
    const char *content; /* text, reasoning, error */
    const char *raw;     /* item 0: the provider's own message, JSON; else NULL */
    const char *call_id; /* function_call, as all below */
    const char *tool;
    int64_t revision;            /* of the tool; 0: not known */
    const char *arguments;       /* as the model gave them */
    const struct digest *digest; /* of the canonical arguments, or NULL */
    const char *refused;         /* why this call is not made, or NULL */
};

enum store_plan_outcome {
    STORE_PLAN_CALLS,       /* the run goes on: items, of which some are function calls */
    STORE_PLAN_FINAL,       /* items without calls: the run has succeeded, unless people said
                               something meanwhile: then next_step says that it goes on */
    STORE_PLAN_LAST,        /* the same, whatever was said: there may be no next step */
    STORE_PLAN_RETRY,       /* the model call failed; again in retry_ms */
    STORE_PLAN_FAIL,        /* the run cannot go on: code, error */
    STORE_PLAN_HANDED_BACK, /* nothing was done: the claim is given up */
};

enum { STORE_NOT_KNOWN = -1 }; /* for numbers below: not known */

struct store_commit_plan {
    struct uuid token, run; /* token, step, epoch, version: those of the claim */
    int step, epoch, version;
    enum store_plan_outcome outcome;
    int64_t retry_ms;       /* RETRY, HANDED_BACK: not before that; 0: at once */
    int model_at, failures; /* RETRY: as the next claim is to see them */
    const char *code, *error;
    const char *model;
    const char *dialect; /* of items[0].raw */
    const char *context; /* JSON: comes with the next claim; NULL: nothing to keep */
    int64_t tokens_in, tokens_out, tokens_cached, tokens_written, tokens_reasoning, cost_micros;
    int duration_ms;
    const struct store_item *items;
    size_t item_count;
};

struct store_plan_commit {
    bool repeated;      /* this very commit had gone through before */
    const char *status; /* of the run */
    int open_calls;     /* ring for the calls without `refused` when > 0 */
    int next_step;      /* > 0: the step completed at once; ring for this one */
    int64_t event_id;   /* the run ended: to be announced by us; 0: none */
};

typedef void store_commit_plan_done(void *arg, enum outcome outcome,
                                    const struct store_plan_commit *commit,
                                    const struct error *err);
store_ticket store_commit_plan(struct store *s, const struct store_commit_plan *request,
                               store_commit_plan_done *done, void *arg);

/* ---- actions --------------------------------------------------------------- */

struct store_claim_action {
    struct uuid token;
    struct uuid run;
    int step, index;
    bool alone;
};

enum store_work { STORE_WORK_CALL, STORE_WORK_PROBE };

struct store_action_claim {
    enum store_claim_answer answer;
    int ring_plan; /* also with STORE_DONE: > 0: this claim completed the step; ring for it */
    enum store_work work; /* from here on: STORE_YOURS */
    int epoch, version;
    struct uuid key; /* the idempotency key */
    const char *tool;
    int64_t revision; /* of the tool: registry_tool() */
    const char *arguments;
    int timeout_ms;
    int64_t send_by_ms; /* on clock_mono_ms(): nothing is sent after it */
    int attempt;        /* 1, 2, ... */
    const char *agent, *tenant;
    int64_t left_ms;  /* until the run's deadline */
    const char *meta; /* JSON or NULL */
    const char *call_id;
};

typedef void store_claim_action_done(void *arg, enum outcome outcome,
                                     const struct store_action_claim *claim,
                                     const struct error *err);
store_ticket store_claim_action(struct store *s, const struct store_claim_action *request,
                                store_claim_action_done *done, void *arg);

enum store_call_outcome {
    STORE_CALL_SUCCEEDED,
    STORE_CALL_FAILED,
    STORE_CALL_FAILED_BEFORE_EFFECT,
    STORE_CALL_UNKNOWN,
    STORE_CALL_HANDED_BACK, /* claimed and not sent */
    STORE_PROBE_HAPPENED,   /* with its result */
    STORE_PROBE_DID_NOT_HAPPEN,
    STORE_PROBE_UNSURE,
    STORE_PROBE_FAILED, /* the probe itself; again in retry_ms */
};

const char *store_call_outcome_name(enum store_call_outcome outcome); /* "succeeded", ... */

struct store_commit_action {
    struct uuid token, run;
    int step, index, version;
    enum store_call_outcome outcome;
    const char *result;
    const char *code, *error;
    int64_t retry_ms; /* STORE_NOT_KNOWN: this outcome is not to be tried again */
    int duration_ms;
    int linger_ms; /* it may wait so long for the company of others; 0: it goes at once */
};

struct store_action_commit {
    bool repeated;      /* this very commit had gone through before */
    bool stored_only;   /* the run has ended: stored, advances nothing */
    const char *status; /* of the action */
    int64_t retry_ms;   /* >= 0: the call is open again; from then on anybody may claim it */
    int ring_plan;      /* > 0: the step completed; ring for this one */
    int ring_index;     /* >= 0: ring for this call of the same step */
};

typedef void store_commit_action_done(void *arg, enum outcome outcome,
                                      const struct store_action_commit *commit,
                                      const struct error *err);
store_ticket store_commit_action(struct store *s, const struct store_commit_action *request,
                                 store_commit_action_done *done, void *arg);

/* ---- what is due ------------------------------------------------------------ */

enum store_due_what {
    STORE_DUE_PLAN,  /* plan the run's step */
    STORE_DUE_ACT,   /* call (step, index) */
    STORE_DUE_MOVED, /* Postgres itself did something for the run: nothing to do */
};

struct store_due {
    enum store_due_what what;
    struct uuid run;
    int step, index;
    bool alone; /* take it with nothing else in flight, and say so in the claim */
};

typedef void store_claim_due_done(void *arg, enum outcome outcome, const struct store_due *due,
                                  size_t count, const struct error *err);
store_ticket store_claim_due(struct store *s, int limit, store_claim_due_done *done, void *arg);

/* ---- announcements ----------------------------------------------------------- */

struct store_announcement {
    int64_t id;
    struct uuid run;
    const char *type; /* "accepted", "waiting", "succeeded", "failed", "cancelled" */
    int64_t at_ms;    /* wall clock */
    int epoch, step;
    const char *agent, *digest, *tenant, *class;
    struct uuid root, parent; /* nil when there is none */
    const char *source, *request_id;
    const char *meta; /* JSON or NULL */
    const char *error_code, *error;
    const char *answer;
    size_t answer_n;
};

/* `a` is NULL with OK when it has been announced already. */
typedef void store_announcement_done(void *arg, enum outcome outcome,
                                     const struct store_announcement *a, const struct error *err);
store_ticket store_read_announcement(struct store *s, int64_t event_id,
                                     store_announcement_done *done, void *arg);

typedef void store_ids_done(void *arg, enum outcome outcome, const int64_t *ids, size_t count,
                            const struct error *err);
store_ticket store_take_announcements(struct store *s, int limit, store_ids_done *done, void *arg);

typedef void store_done(void *arg, enum outcome outcome, const struct error *err);
store_ticket store_announce(struct store *s, int64_t event_id, store_done *done, void *arg);

/* ---- places for queued runs ------------------------------------------------------- */

/* Of our class as a whole. */
struct store_class_load {
    int64_t queued, running;
    int64_t oldest_ms; /* age of the oldest queued run; 0: none is queued */
};

/* `runs` have a place now and are to be rung for, at step `steps[i]`. */
struct store_admitted {
    const struct uuid *runs;
    const int *steps;
    size_t count;
    struct store_class_load load;
};

typedef void store_admit_done(void *arg, enum outcome outcome, const struct store_admitted *a,
                              const struct error *err);
store_ticket store_admit(struct store *s, int limit, store_admit_done *done, void *arg);

/* ---- what providers allow ------------------------------------------------------------ */

struct store_quota {
    const char *base_url, *secret;                  /* the key: the secret's name, or NULL */
    int64_t requests_per_minute, tokens_per_minute; /* 0: no limit */
    struct uuid run;                                /* asks for a call; nil: only to settle */
    const char *tenant;
    int64_t tokens;   /* of this call, as estimated */
    int64_t settle;   /* used beyond what was taken for an earlier call; may be negative */
    int64_t pause_ms; /* the provider wants no request for so long; 0: it did not say so */
};

/* 0: go on; else how long the run has to wait.  `done` may be NULL. */
typedef void store_quota_done(void *arg, enum outcome outcome, int64_t wait_ms,
                              const struct error *err);
store_ticket store_take_quota(struct store *s, const struct store_quota *request,
                              store_quota_done *done, void *arg);

/* ---- our own end -------------------------------------------------------------- */

store_ticket store_leave(struct store *s, store_done *done, void *arg);
store_ticket store_hand_back(struct store *s, store_done *done, void *arg);

/* ---- records that kill ---------------------------------------------------------- */

typedef void store_count_done(void *arg, enum outcome outcome, int count, const struct error *err);

/* `topic` is borrowed until the answer.  How often the record was begun, this
 * time included; an answer that was lost may count twice.                   */
store_ticket store_open_record(struct store *s, const char *topic, int partition, int64_t offset,
                               store_count_done *done, void *arg);
store_ticket store_close_record(struct store *s, const char *topic, int partition, int64_t offset,
                                store_done *done, void *arg);

/* 1 when a planner of our class died within the last minutes, else 0. */
store_ticket store_planner_died_lately(struct store *s, store_count_done *done, void *arg);

/* ---- revisions: ask registry.h instead --------------------------------------------- */

struct store_revision {
    int64_t seq;
    const char *kind, *name, *digest;
    const char *body;
    size_t body_n;
    bool current;
};

/* Those that there are, by seq; perhaps none. */
typedef void store_revisions_done(void *arg, enum outcome outcome, const struct store_revision *r,
                                  size_t count, const struct error *err);

store_ticket store_read_revisions(struct store *s, const int64_t *seqs, size_t count,
                                  store_revisions_done *done, void *arg);
store_ticket store_read_current(struct store *s, store_revisions_done *done, void *arg);

struct store_revision_name {
    const char *kind, *name, *digest;
};
store_ticket store_find_revisions(struct store *s, const struct store_revision_name *names,
                                  size_t count, store_revisions_done *done, void *arg);

#endif
