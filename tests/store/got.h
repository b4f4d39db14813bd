/*
 * got.h -- callbacks of the store that write down what they got, and requests to
 * ask with.
 */
#ifndef PAWL_TESTS_STORE_GOT_H
#define PAWL_TESTS_STORE_GOT_H

#include "tests/store/world.h"

#include "common/store.h"

struct got {
    int answers;
    enum outcome outcome;
    struct error error;
    struct store_accepted accepted;
    struct store_plan_claim plan;
    struct store_plan_commit plan_commit;
    struct store_action_claim action;
    struct store_action_commit action_commit;
    char rows[400]; /* "input0.0=... item1.0=..." */
    char text[100];
    int count;
    int64_t id;
};

extern int got_links_up, got_dead;

struct store *got_store(struct world *w, const char *program, int64_t incarnation);
void got_wait(struct world *w, struct got *g, int answers);
void got_accept(void *arg, enum outcome outcome, const struct store_accepted *a,
                const struct error *err);
void got_plan(void *arg, enum outcome outcome, const struct store_plan_claim *claim,
              const struct error *err);
void got_plan_commit(void *arg, enum outcome outcome, const struct store_plan_commit *commit,
                     const struct error *err);
void got_action(void *arg, enum outcome outcome, const struct store_action_claim *claim,
                const struct error *err);
void got_action_commit(void *arg, enum outcome outcome, const struct store_action_commit *commit,
                       const struct error *err);
void got_plain(void *arg, enum outcome outcome, const struct error *err);
void got_count(void *arg, enum outcome outcome, int count, const struct error *err);
void got_announcement(void *arg, enum outcome outcome, const struct store_announcement *a,
                      const struct error *err);
void got_ids(void *arg, enum outcome outcome, const int64_t *ids, size_t count,
             const struct error *err);
void got_revisions(void *arg, enum outcome outcome, const struct store_revision *r, size_t count,
                   const struct error *err);
struct store_accept got_request_of(const char *id, const char *agent, const char *input);
struct store_claim_plan got_plan_of(const struct uuid *run);
struct store_commit_plan got_commit_of(const struct store_claim_plan *c, const struct got *g,
                                       enum store_plan_outcome outcome);
struct store_claim_action got_call_of(const struct uuid *run, int index);
struct store_commit_action got_result_of(const struct store_claim_action *c, const struct got *g,
                                         enum store_call_outcome outcome);

#endif
