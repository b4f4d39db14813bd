/*
 * store_core.h -- the inside of the store: operations, batches, lanes.  Only the
 * files store*.c include it.
 *
 *     store_op_new --> lane->waiting --gather--> lane->batch --> link (a connection)
 *                                        ^                          |
 *                      lane->again <-----+---- failed --------------+--> decode --> done
 *
 * `again` holds what is to be sent again: operations of one `group` go in one
 * statement, so that the halves of a split stay apart.
 *
 * A lane with a second statement sends both as a pair while its batches are
 * small; what cannot be answered so is asked for again, one after the other.
 *
 * To add a function of the protocol: its request and answer in store.h, a lane
 * in the list below, and a struct store_lane_def with its SQL, its encoder and
 * its decoder in the file where it belongs.
 */
#ifndef PAWL_COMMON_STORE_CORE_H
#define PAWL_COMMON_STORE_CORE_H

#include "common/loop.h"
#include "common/metrics.h"
#include "common/outcome.h"
#include "common/pg.h"
#include "common/pg_async.h"
#include "common/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_lane_id {
    LANE_ACCEPT,
    LANE_CLAIM_PLANS,
    LANE_COMMIT_PLANS,
    LANE_CLAIM_ACTIONS,
    LANE_COMMIT_ACTIONS,
    LANE_CLAIM_DUE,
    LANE_ADMIT,
    LANE_TAKE_QUOTA,
    LANE_READ_ANNOUNCEMENTS,
    LANE_TAKE_ANNOUNCEMENTS,
    LANE_ANNOUNCE,
    LANE_LEAVE,
    LANE_HAND_BACK,
    LANE_OPEN_RECORD,
    LANE_CLOSE_RECORD,
    LANE_PLANNER_DIED,
    LANE_READ_REVISIONS,
    LANE_READ_CURRENT,
    LANE_FIND_REVISIONS,
    LANES
};

struct store_op {
    struct store_op *prev, *next; /* in `waiting` or `again` of its lane */
    store_ticket ticket;
    uint8_t lane; /* enum store_lane_id */
    bool cancelled;
    bool answered;
    bool sent;     /* once at least: Postgres may have done it */
    bool solo;     /* goes in a statement of its own */
    bool unpaired; /* its two statements go one after the other */
    uint32_t group;
    int64_t linger_until_ms; /* it need not be sent before; 0: at once */
    size_t size_bytes;
    void *arg;
    union {
        struct store_accept accept;
        struct store_claim_plan claim_plan;
        struct store_commit_plan commit_plan;
        struct store_claim_action claim_action;
        struct store_commit_action commit_action;
        struct store_quota quota;
        int limit;        /* claim_due, take_announcements, admit */
        int64_t event_id; /* read_announcement, announce */
        struct {
            const char *topic;
            int partition;
            int64_t offset;
        } record;
        struct {
            const int64_t *seqs;
            const struct store_revision_name *names;
            size_t count;
        } revisions;
    } ask;
    union { /* NULL: nobody waits for it */
        store_accept_done *accept;
        store_claim_plan_done *claim_plan;
        store_commit_plan_done *commit_plan;
        store_claim_action_done *claim_action;
        store_commit_action_done *commit_action;
        store_claim_due_done *claim_due;
        store_admit_done *admit;
        store_quota_done *quota;
        store_announcement_done *announcement;
        store_ids_done *ids;
        store_count_done *count;
        store_done *plain;
        store_revisions_done *revisions;
    } done;
};

struct store_queue {
    struct store_op *first, *last;
};

struct store_batch {
    struct store_op *ops[STORE_BATCH_MAX];
    size_t count;
    struct pg_params params, second_params;
    int64_t sent_at_ms; /* before anything of it left us */
    /* A second statement for the same items: claims, then their history. */
    struct pg_result *first_rows;
    int row_of[STORE_BATCH_MAX]; /* in first_rows, of each item to come */
    int left[STORE_BATCH_MAX];   /* the items to come */
    size_t left_count, left_at, slice;
};

struct store_lane {
    const struct store_lane_def *def;
    struct store_queue waiting, again;
    struct store_batch *batch; /* on its way, or empty */
    bool busy;
    int64_t linger_until_ms; /* all that is waiting may wait until then */
    int64_t not_before_ms;   /* back-off */
    int64_t pause_ms;
    int64_t told_at_ms; /* when a failure was last logged */
    struct metric_series *items, *batch_items, *seconds, *answered, *failed, *operations;
};

struct store_link {
    struct store *store;
    struct pg_async *conn;
    struct store_lane *lane; /* whose statement is on its way, or NULL */
};

struct store_slot {
    struct store_op *op; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

enum { STORE_LINKS_MAX = 16 };

struct store {
    struct loop *loop;
    struct store_calls calls;
    char *program, *class;
    int64_t worker; /* 0: not registered yet */
    int64_t *cannot;
    size_t cannot_count;
    bool dead, dead_told;
    struct store_link links[STORE_LINKS_MAX];
    int link_count;
    bool told; /* something was told to on_link, namely: */
    enum outcome told_outcome;
    struct error told_text;
    struct store_lane lanes[LANES];
    int turn; /* the lane that may send next */
    uint32_t last_group;
    struct store_slot *slots;
    uint32_t slot_count, free_slot;
    size_t operations;
    struct loop_task pump;
    struct loop_timer timer;
};

/* What a decoder says. */
enum store_next {
    STORE_FINISHED,
    STORE_GO_ON, /* send the lane's second statement for batch->left */
};

struct store_lane_def {
    struct pg_statement statement; /* its name is the lane's, in metrics and logs */
    size_t batch_max;
    bool for_worker; /* waits until our incarnation is known */
    bool claims;     /* a cancelled one that was sent must be heard to its end */
    void (*encode)(struct store *s, struct store_batch *b);
    /* Answers items by store_op_take().  Those it leaves are refused. */
    enum store_next (*decode)(struct store *s, struct store_batch *b, struct pg_result *rows);
    void (*refuse)(struct store *s, struct store_op *op, const struct error *err);
    /* Only with STORE_GO_ON. */
    struct pg_statement second;
    void (*encode_second)(struct store *s, struct store_batch *b);
    enum store_next (*decode_second)(struct store *s, struct store_batch *b,
                                     struct pg_result *rows);
    /* The second statement for all items, before the first is answered, for batches
     * up to pair_max; and both answers.  Items left are asked for again, unpaired. */
    size_t pair_max;
    void (*encode_ahead)(struct store_batch *b);
    void (*decode_pair)(struct store *s, struct store_batch *b, struct pg_result *first,
                        struct pg_result *second);
};

extern const struct store_lane_def store_lane_accept, store_lane_claim_plans,
    store_lane_commit_plans, store_lane_claim_actions, store_lane_commit_actions,
    store_lane_claim_due, store_lane_admit, store_lane_take_quota, store_lane_read_announcements,
    store_lane_take_announcements, store_lane_announce, store_lane_leave, store_lane_hand_back,
    store_lane_open_record, store_lane_close_record, store_lane_planner_died,
    store_lane_read_revisions, store_lane_read_current, store_lane_find_revisions;

struct store_op *store_op_new(struct store *s, enum store_lane_id lane, void *arg);
store_ticket store_op_queue(struct store *s, struct store_op *op);

void store_op_free(struct store *s, struct store_op *op);
void store_push_back(struct store_queue *q, struct store_op *op);
void store_take_out(struct store_queue *q, struct store_op *op);

/* store_lane.c: sends what can be sent; `arg` is the store. */
void store_pump(void *arg);
void store_pump_soon(struct store *s); /* at the end of this turn */
void store_lanes_init(struct store *s);
void store_lanes_release(struct store *s);

/* The answer for the row's item (column 0) is here.  NULL: nobody wants it any
 * more; else the caller calls its callback now.                             */
struct store_op *store_op_take(struct store_batch *b, const struct pg_result *rows, int row);

/* The same without looking whether it was cancelled. */
struct store_op *store_op_of(struct store_batch *b, const struct pg_result *rows, int row);

/* The one operation of a lane without batches, or NULL as above. */
struct store_op *store_op_only(struct store_batch *b);

/* For lanes whose callback is a store_done: all items went through, or not. */
enum store_next store_plain_decode(struct store *s, struct store_batch *b, struct pg_result *rows);
void store_plain_refuse(struct store *s, struct store_op *op, const struct error *err);

/* The place of `text` in a table of names, or -1. */
int store_name_index(const char *const *names, size_t count, const char *text);

/* Reads the column `answer` of a claim.  False: a word that this build does not
 * know; err says so.                                                         */
bool store_claim_answer_of(struct store *s, const char *text, enum store_claim_answer *answer,
                           struct error *err);

/* What the word of a commit means to its caller. */
enum outcome store_commit_outcome(const char *word, struct error *err);

/* Numbers of which a negative one means: not known. */
void store_put_known_4(struct pg_params *p, int value);
void store_put_known_8(struct pg_params *p, int64_t value);

/* The run's claim turned out to be ours after nobody wanted it any more. */
void store_return_plan(struct store *s, const struct store_claim_plan *ask, int step, int epoch,
                       int version);
void store_return_action(struct store *s, const struct store_claim_action *ask, int version,
                         enum store_work work);

/* One array parameter with a value of each operation. */
#define STORE_ARRAY(b, pg_type, put, value)           \
    do {                                              \
        pg_array_begin(&(b)->params, (pg_type));      \
        for (size_t i_ = 0; i_ < (b)->count; i_++) {  \
            const struct store_op *op = (b)->ops[i_]; \
            put(&(b)->params, (value));               \
        }                                             \
        pg_array_end(&(b)->params);                   \
    } while (0)

#endif
