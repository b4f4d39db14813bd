/*
 * prompt.h -- makes of a conversation what the model is sent.
 *
 *     frame (instructions, tools, model)  --+
 *     conversation: what is new             +--> history.text, ready to be sent
 *     history: what was sent before       --+
 *
 * What a call came to is said to the model in words that leave no doubt about
 * whether it happened.  Every call of a plan gets its result, whatever happened
 * in between: there is never half of a pair in a prompt.
 *
 * Limits:  the history's text (HISTORY_TEXT_BYTES).
 * Threads: pure.
 * Errors:  REFUSED: the prompt has grown too large; the run cannot go on.
 */
#ifndef PAWL_PLANNER_PROMPT_H
#define PAWL_PLANNER_PROMPT_H

#include "common/arena.h"
#include "common/outcome.h"
#include "planner/conversation.h"
#include "planner/history.h"
#include "planner/model.h"

/* Appends to the history's text what the conversation has on top of it, and closes
 * it: h->text is the body of a request then.  Afterwards known_step is that of the
 * last step whose plan is in it.  What was said in another dialect is said again in
 * this one.  `answer_only`: the model is to answer now, without tools.  `view`: by
 * what view the conversation was read, and how much of results is shown.      */
MUST_CHECK enum outcome prompt_extend(const struct dialect *dialect,
                                      const struct prompt_frame *frame, bool answer_only,
                                      const struct conversation *c, const struct store_view *view,
                                      struct arena *arena, struct history *h, struct error *err);

/* The model's answer to the prompt was committed as the plan of `step`: now it is
 * part of the history.  False when it does not fit: then the history forgets all
 * and is read anew next time.                                                */
bool prompt_add_answer(const struct dialect *dialect, const struct model_reply *reply, int step,
                       struct history *h);

/* Nothing but space, and no call: the model is told so, and asked once more. */
bool prompt_is_empty_turn(const struct reply_item *items, size_t count);

/* What the model reads as the result of a call.  NULL past the arena's limit. */
const char *prompt_result_text(const struct conversation_call *call, struct arena *arena,
                               size_t *n);

#endif
