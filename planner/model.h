/*
 * model.h -- the port through which the brain speaks with language models.
 *
 *     conversation --prompt.c--> struct dialect --> body of an HTTP request
 *                                                          |
 *                                                    model_call.c (HTTP)
 *                                                          |
 *     plan.c <-- struct model_reply <-- struct dialect <-- bytes of the answer
 *
 * A dialect is a set of pure functions: it writes the body of a request and reads
 * the bytes of an answer, streamed or not.  It knows no socket, clock or store.
 * To add one: a file model_<name>.c with its struct dialect, a word in
 * enum model_dialect (common/catalog.h), and a line in dialect_of().
 *
 * The reply is neutral: items in their order, beside the provider's own message as
 * opaque JSON (`raw`), which goes back to the provider as it came.
 *
 * Limits:  struct reader_options; MODEL_CALLS_MAX; error texts as struct error.
 * Threads: pure; a reader and a reply have one owner.
 * Errors:  a reply carries them: `outcome` RETRY (the model may be asked again) or
 *          REFUSED (asking again is of no use), with a code and the provider's own
 *          words, bounded, without the key that was sent.
 */
#ifndef PAWL_PLANNER_MODEL_H
#define PAWL_PLANNER_MODEL_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/catalog.h"
#include "common/http.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- asking ---------------------------------------------------------------- */

/* What stays the same through a whole run. */
struct prompt_frame {
    const struct model_def *model;
    const char *instructions;
    const struct tool_def *const *tools;
    size_t tool_count;
    const char *cache_key; /* the same for all prompts of the run; NULL: none */
};

struct reply_item;

/* What the model said in one step. */
struct prompt_turn {
    const char *raw; /* its own message, to be sent back as it came; NULL: of another dialect */
    size_t raw_n;
    const struct reply_item *items; /* without raw: the same in nobody's dialect */
    size_t item_count;
    size_t call_count;
    int step;
};

/* What a call came to, as text for the model. */
struct prompt_result {
    const char *call_id;
    const char *tool;
    const char *text;
    size_t text_n;
    bool is_error;
    int step;
};

enum { MODEL_HEADERS_MAX = 4 };

/* ---- the answer ------------------------------------------------------------ */

enum reply_item_type { REPLY_TEXT, REPLY_REASONING, REPLY_CALL };

/* Strings are UTF-8 without NUL, so that Postgres can keep them. */
struct reply_item {
    enum reply_item_type type;
    const char *content; /* text and reasoning */
    const char *call_id; /* call: never empty, and its own within the reply */
    const char *tool;    /* "" when the model gave none */
    const char *arguments;
    size_t arguments_n;
    bool altered; /* the arguments held a NUL, which was replaced: never to be run */
};

enum { MODEL_CALLS_MAX = 1024 }; /* in one answer; more is no answer at all */
#define MODEL_NO_TOKENS INT64_C(-1)

/* Of one call.  The sums of a run with as many steps as there may be fit 64 bits. */
#define MODEL_TOKENS_MAX INT64_C(1000000000000)
#define MODEL_COST_MAX_MICROS INT64_C(10000000000000)

struct model_usage { /* MODEL_NO_TOKENS: the provider did not say */
    int64_t tokens_in;
    int64_t tokens_out;
    int64_t tokens_cached;    /* of tokens_in: read from the provider's cache */
    int64_t tokens_written;   /* of tokens_in: written to it */
    int64_t tokens_reasoning; /* of tokens_out */
};
#define MODEL_USAGE_NONE ((struct model_usage){ 0 }) /* the model has not worked */
#define MODEL_USAGE_UNKNOWN                                                                    \
    ((struct model_usage){ MODEL_NO_TOKENS, MODEL_NO_TOKENS, MODEL_NO_TOKENS, MODEL_NO_TOKENS, \
                           MODEL_NO_TOKENS })

/* Why the model stopped. */
enum reply_end {
    REPLY_END_UNKNOWN, /* it did not say */
    REPLY_END_STOP,    /* it had no more to say, or waits for its calls */
    REPLY_END_LENGTH,  /* cut by the provider's limit of tokens */
    REPLY_END_FILTER,  /* cut by the provider's filter */
    REPLY_END_PAUSE,   /* in the middle of its turn: it goes on when asked again */
};

struct model_reply {
    enum outcome outcome;     /* OK, RETRY or REFUSED */
    const char *code;         /* unless OK: a short word, static */
    struct error error;       /* unless OK */
    int64_t retry_after_ms;   /* RETRY: as the provider asked, or -1 */
    enum reply_end end;       /* the rest only when OK */
    const char *end_reason;   /* in the provider's words */
    struct reply_item *items; /* at least one */
    size_t item_count;
    size_t call_count;
    const char *raw; /* the provider's message: JSON, in its dialect's form */
    size_t raw_n;
    struct model_usage usage; /* also of a failed call, as far as known */
    int64_t took_ms;
    struct arena arena; /* owns all of it */
};

struct model_reply *model_reply_new(size_t limit_bytes);
void model_reply_free(struct model_reply *r); /* NULL is fine */

/* Makes it a failure; returns `outcome`. */
PRINTF(4, 5)
enum outcome model_reply_fail(struct model_reply *r, enum outcome outcome, const char *code,
                              const char *format, ...);

/* ---- a dialect -------------------------------------------------------------- */

/* Hears what a model says while it says it; reader_tell() in reader.h says what. */
struct reader_listener {
    void (*hear)(void *arg, enum reply_item_type type, int index, const char *bytes, size_t n);
    void *arg;
};

struct reader_options {
    size_t output_limit_bytes;       /* of the answer put together */
    const char *call_prefix;         /* for calls that the provider gave no id: "<prefix>_<n>" */
    const char *secret;              /* the key that was sent, or NULL: never in an error */
    struct reader_listener listener; /* hear: NULL: nobody listens */
};

struct reader; /* reader.h */
struct dialect {
    const char *name; /* as in enum model_dialect's words; stored beside raw */
    const char *path; /* behind the model's base_url */
    bool echoes;      /* answers repeat what the request said (reader_expect_echo) */

    /* Headers of a request beside content-type; the secret may be NULL.  Text is
     * the arena's.  Returns how many.                                            */
    size_t (*headers)(const char *secret, struct arena *arena,
                      struct http_header out[MODEL_HEADERS_MAX]);

    /* The body of a request grows with the run: begin, add, add, ..., close.  What
     * close() appended is cut off before the next addition; with `answer_only` the
     * model may call no tool.  The answers are those of buf.h: false when the buffer
     * is full.                                                                 */
    bool (*begin)(struct buf *body, const struct prompt_frame *frame);
    bool (*add_user)(struct buf *body, const char *text, size_t n);
    bool (*add_turn)(struct buf *body, const struct prompt_turn *turn);
    bool (*add_results)(struct buf *body, const struct prompt_result *results, size_t count);
    bool (*close)(struct buf *body, const struct prompt_frame *frame, bool answer_only);
    /* Did the model pause in this turn of its own (REPLY_END_PAUSE), so that it goes on
     * when the turn is the last one of a request?  NULL: it never does.         */
    bool (*is_open)(const char *raw, size_t n);

    /* Reading, by reader.h.  `parts` is what the dialect keeps of a streamed message,
     * of at most limit_bytes.  read_event: OK: go on; anything else: reader_fail().
     * The messages are new references, or NULL: there is none.  whole_message gets
     * an answer without an error in it.                                        */
    void *(*parts_new)(size_t limit_bytes);
    void (*parts_free)(void *parts);
    enum outcome (*read_event)(struct reader *r, const json_t *data);
    json_t *(*streamed_message)(struct reader *r);
    json_t *(*whole_message)(struct reader *r, json_t *answer);
    /* Makes the reply of a message; end_reason: the provider's word, or "". */
    void (*read_message)(json_t *message, const char *end_reason, const char *call_prefix,
                         struct model_reply *reply);
};

const struct dialect *dialect_of(enum model_dialect dialect);

/* ---- shared by the dialects -------------------------------------------------- */

/* Which errors pass: 408, 409, 425, 429 and all from 500 on. */
enum outcome model_status_outcome(long status);

/* The word for an error status: "rate_limited", "unauthorized", ... */
const char *model_status_code(long status);

/* The provider's own words for people: safe on a terminal, cut to out_size, every
 * occurrence of the secret (NULL: none) taken out before that.  Returns out.  */
const char *model_words(char *out, size_t out_size, const char *text, size_t n, const char *secret);

/* All text of a turn, one item after the other; its reasoning is left out. */
void prompt_turn_text(const struct prompt_turn *turn, struct buf *out);

/* The bytes as a string of the arena: NUL becomes U+FFFD.  NULL past the limit. */
char *model_text(struct arena *arena, const char *bytes, size_t n);

/* How long to wait before the model is asked again after `failures` failures
 * (this one included), with `dice` in [0, 1) spreading it.                   */
int64_t model_backoff_ms(int failures, double dice);

/* In millionths, at most MODEL_COST_MAX_MICROS; -1 when the price or the usage is not known. */
int64_t model_cost_micros(const struct model_price *price, const struct model_usage *usage);

#endif
