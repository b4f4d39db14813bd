/*
 * mistake.h -- what could be wrong in the protocol, on purpose.
 *
 * Each mistake replaces one rule by a plausible wrong one.  The tests show that
 * it is found: otherwise the model, or the judge, would be blind there.
 */
#ifndef PAWL_SCHEMA_MODEL_MISTAKE_H
#define PAWL_SCHEMA_MODEL_MISTAKE_H

#include <stdbool.h>

#define MISTAKES(X)                                                                            \
    /* claims, commits, deaths */                                                              \
    X(LITERAL_CLAIM, "what a dead process held is claimed again at once, whatever the tool")   \
    X(NO_WORKER_LOCK, "a claim slips in behind the declaration of death")                      \
    X(CLEAR_DUE, "claiming one call clears the wake-up of the other")                          \
    X(BURY_NO_DUE, "what the dead left does not fall due")                                     \
    X(NO_FENCE, "a result is taken from whoever brings it")                                    \
    X(SNAPSHOT_COUNT, "open calls are counted before the run's lock")                          \
    X(LATE_DECREMENT, "a late result closes its call a second time")                           \
    X(LATE_ANY, "a late result is taken although the next step was claimed")                   \
    X(SPECULATIVE_READ, "the prompt is read before the claim has the run's lock")              \
    X(NO_SEND_FENCE, "a probe's no is believed while the request may be on its way")           \
    X(OWN_CLAIM_WINS, "a claim is given again to the same process, whatever the token")        \
    X(NO_PLACE_DUE, "a place that falls free at a limit of calls wakes nobody")                \
    X(NO_TWINS, "a call is sent while its twin is unknown")                                    \
    /* cancel */                                                                               \
    X(CANCEL_BLIND, "cancel ends what had ended between its look and its lock")                \
    X(CANCEL_FORGETS, "a call that may have been sent is cancelled, not unknown")              \
    X(CANCEL_FORGETS_CUT, "a call that was cut before is cancelled as if it never was")        \
    X(CANCEL_DROPS_LATE, "what a holder still brings after the end is thrown away")            \
    X(CANCEL_KEEPS_CLAIM, "a plan is committed to a run that has ended")                       \
    /* retry */                                                                                \
    X(RETRY_SAME_EPOCH, "retry opens no new epoch")                                            \
    X(RETRY_FORGETS, "a success of an earlier epoch is computed again")                        \
    X(RETRY_RESENDS, "an unknown call of an earlier epoch holds up nobody")                    \
    X(RETRY_AT_ONCE, "retry does not wait for the holders of the cancelled calls")             \
    X(DECIDE_EARLY, "a person's no is believed while the request may be on its way")           \
    /* sub-agents */                                                                           \
    X(CHILD_APART, "the child is inserted in one transaction, the call suspended in the next") \
    X(CHILD_AGAIN, "a start that is asked for again makes a second child")                     \
    X(CHILD_OF_THE_DEAD, "a child is started by a claim that is gone")                         \
    X(CHILD_END_APART, "the child's end and its parent's result are two transactions")         \
    X(CHILD_END_SILENT, "a child that is cancelled does not tell its parent")                  \
    X(CHILD_LIVES_ON, "cancel does not go down")                                               \
    X(CHILD_END_BLIND, "a child's end completes the parent's call as it was before the lock")  \
    /* approval */                                                                             \
    X(APPROVE_BLIND, "an approval counts although the call was closed since the look")         \
    X(DENY_BLIND, "a denial counts although the call was allowed since the look")              \
    X(EXPIRY_BLIND, "the default end counts although the call was allowed since the look")     \
    X(UNASKED, "a claim takes a call that waits for its approval")                             \
    X(APPROVE_TWICE, "an approval lets a call go that was sent already")                       \
    X(DECIDE_ALLOWS, "who says that a call did not happen has allowed it")

enum mistake {
    NO_MISTAKE,
#define X(NAME, MEANING) NAME,
    MISTAKES(X)
#undef X
        MISTAKE_COUNT,
};

extern enum mistake mistake;

/* Whether the rules are wrong in this way. */
static inline bool wrong(enum mistake which)
{
    return mistake == which;
}

const char *mistake_meaning(enum mistake which);

#endif
