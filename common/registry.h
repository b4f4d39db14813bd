/*
 * registry.h -- the published models, tools and agents that this process uses.
 *
 *     registry_agent(seq) --> cached? --> done
 *                               | no
 *                               +--> read the agent --> find its model and tools --> parse --> done
 *
 * A revision never changes, so what was read once is good for ever.  A run names
 * the seq of its agent, a call the seq of its tool; which revision is current
 * matters only to accept, in Postgres.  What is current is read ahead at the
 * start and whenever the catalogue changes, so that the first run of a new
 * revision does not wait, and so that a process knows early what it cannot serve
 * (a secret that is missing here).
 *
 * A definition stays valid for REGISTRY_KEEP_MS after it was last asked for: ask
 * at each step and hold it for the step.
 *
 * Limits:  above REGISTRY_ENTRIES, entries that nobody asked for in that time go.
 * Threads: the loop's.
 * Errors:  REFUSED: no such revision, or this version cannot read it.
 */
#ifndef PAWL_COMMON_REGISTRY_H
#define PAWL_COMMON_REGISTRY_H

#include "common/catalog.h"
#include "common/loop.h"
#include "common/outcome.h"
#include "common/store.h"

#include <stddef.h>
#include <stdint.h>

enum { REGISTRY_ENTRIES = 4096, REGISTRY_KEEP_MS = 24 * 3600 * 1000 };

struct registry;

struct registry_tool {
    int64_t seq;
    const struct tool_def *def;
};

struct registry_model {
    int64_t seq;
    const struct model_def *def;
};

/* An agent with what it pins. */
struct registry_agent {
    int64_t seq;
    const struct agent_def *def;
    const struct registry_model *models; /* def->model_count of them, the first choice first */
    const struct registry_tool *tools;   /* in the agent's order, def->tool_count of them */
};

/* On the loop; each may be NULL. */
struct registry_calls {
    void *arg;
    void (*on_tool)(void *arg, int64_t seq, const struct tool_def *def); /* one was read */
    void (*on_model)(void *arg, int64_t seq, const struct model_def *def);
};

void registry_init(struct registry **out, struct loop *loop, struct store *store,
                   const struct registry_calls *calls);
void registry_free(struct registry *r); /* before its store; without callbacks; NULL is fine */

/* Reads ahead what is current; what is known already stays. */
void registry_refresh(struct registry *r);

typedef uint64_t registry_ticket; /* 0: none */

/* The callback comes once, on the loop, never from inside this call. */
typedef void registry_agent_done(void *arg, enum outcome outcome,
                                 const struct registry_agent *agent, const struct error *err);
registry_ticket registry_agent(struct registry *r, int64_t seq, registry_agent_done *done,
                               void *arg);

typedef void registry_tool_done(void *arg, enum outcome outcome, const struct tool_def *def,
                                const struct error *err);
registry_ticket registry_tool(struct registry *r, int64_t seq, registry_tool_done *done, void *arg);

/* The same when it is here already, else NULL: for those who can go on at once. */
const struct registry_agent *registry_agent_now(struct registry *r, int64_t seq);
const struct tool_def *registry_tool_now(struct registry *r, int64_t seq);

void registry_cancel(struct registry *r, registry_ticket ticket); /* its callback does not come */

/* The longest `timeout` among the models, or tools, that are here: how long a
 * drain has to wait.  0 when there are none.                                */
int64_t registry_longest_model_ms(const struct registry *r);
int64_t registry_longest_tool_ms(const struct registry *r);

#endif
