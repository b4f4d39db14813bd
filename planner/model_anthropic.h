/*
 * model_anthropic.h -- the dialect "Anthropic messages": POST <base_url>/messages,
 * streamed; base_url is https://api.anthropic.com/v1.
 *
 * `raw` is the content of the assistant's message, an array of blocks, in the order
 * and with all that the provider sent: signatures of thoughts, blocks that nobody has
 * heard of.  Only what the API itself sends and does not take back is mended: blocks
 * with blank text are left out, and thoughts that nothing follows; a call gets an id and
 * a name of the API's letters, and an object as its input.
 *
 * An answer ends with `message_stop`; `stop_reason` is an end, too, since it comes when
 * all blocks have been closed.  Its reason `pause_turn` (REPLY_END_PAUSE) means: ask
 * again with what was said so far.  `raw` is {"content":[...],"paused":true} then, and
 * nothing is put behind it.
 *
 * `options` of the model are merged into the body, but for `model`, `messages`, `tools`
 * and `system`.  The API wants `max_tokens`: it is that of the options, or
 * max_output_tokens, or ANTHROPIC_MAX_TOKENS beside what thinking may take
 * (thinking.budget_tokens).
 *
 * The body is a text that only grows (history.h), and so that the provider's cache of
 * prompts holds it up to its end, the last block of the last user message bears a
 * marker.  So this block stays open at its end:
 *
 *     ...,{"role":"user","content":[{"type":"tool_result",...,"content":"42"
 *        close()  ,"cache_control":{...}}]}]}
 *        add      }]},{"role":"assistant","content":[...]}
 *
 * What comes next is told by the last byte: '[' no message yet, '"' an open block, '}'
 * a closed message.  Markers stand on the last tool, on the system's block and there:
 * three of the four that are allowed.
 *
 * What was said in another dialect is written as {"content":[...],"role":"assistant"},
 * which is how a later addition knows it: its calls have other ids here, since the API
 * wants them of certain letters and never twice in a conversation; and thinking of the
 * type `enabled` is not asked for as long as such a turn is the last one, because the
 * API wants a thought at its beginning.
 *
 * Users and tools must not be silent: blank text of a user becomes ANTHROPIC_NO_TEXT; a
 * blank result is left out.  History with calls needs tools: where an agent has none,
 * one is declared that must not be called.
 */
#ifndef PAWL_PLANNER_MODEL_ANTHROPIC_H
#define PAWL_PLANNER_MODEL_ANTHROPIC_H

#include "planner/model.h"

/* All models that are served have at least this output limit. */
enum { ANTHROPIC_MAX_TOKENS = 8192 };
#define ANTHROPIC_NO_TEXT "(no text)"

extern const struct dialect anthropic;

#endif
