/*
 * model_openai_responses.h -- the dialect "OpenAI responses": POST
 * <base_url>/responses, streamed.
 *
 * Nothing is kept at the provider (`store: false`): the whole conversation is sent
 * each time, with what the model thought as the provider encrypted it (`include`).
 * What goes back is the array of output items as it came: ids, `status`, kinds that
 * nobody has heard of.  The API takes all of it as input; an id is looked up there
 * only where the encrypted thoughts are missing, and then not found, which is why
 * they are asked for.  Two things are changed.  A call gets a call_id of its own
 * where it has none.  Thoughts at the end of the output are left out: the API
 * refuses thoughts that nothing follows.
 *
 * `prompt_cache_key` names the run.  The provider finds a cached prefix only on the
 * machine that has it; without a key it goes by the first words of the prompt, and
 * these are the same in all runs of an agent, too many for one machine.  The prefix
 * that is worth most is the run's own past.
 *
 * `options` of the model are merged into the body.  They may replace `stream`,
 * `store`, `include` and `prompt_cache_key` (null leaves one out, for servers that
 * refuse it), but not `model`, `input`, `instructions` and `tools`.
 *
 * What is tolerated of an answer: items interleaved, with gaps in their index; no
 * output_item.done; only response.completed; an empty output there; one JSON object
 * instead of a stream; events that nobody has heard of (model_openai_items.h).
 * A stream without response.completed, .incomplete or .failed was cut: RETRY.
 */
#ifndef PAWL_PLANNER_MODEL_OPENAI_RESPONSES_H
#define PAWL_PLANNER_MODEL_OPENAI_RESPONSES_H

#include "planner/model.h"

extern const struct dialect openai_responses;

#endif
