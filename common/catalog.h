/*
 * catalog.h -- what is published: models, tools and agents.
 *
 *     YAML files --catalog_read--> bodies + digests --> Postgres (pawl agent apply)
 *     Postgres   --> body --catalog_parse_*--> struct model_def, tool_def, agent_def
 *
 * A *body* is the JSON that is stored: every default filled in, so that the
 * revision keeps its meaning when a default changes, and no secret in it, only
 * the names of secrets.  Its *digest* is the SHA-256 of its canonical form
 * (json_canonical), so that the order of keys in a file does not matter.
 *
 * An agent's body pins its model and tools by digest.  Names that are not in the
 * files are asked of a resolver, which knows what is published already.
 *
 * Limits:  names, 128 tools per agent, instructions 256 KiB, parameters 64 KiB.
 * Threads: a catalog and a definition belong to one owner; once made they are
 *          constant.
 * Errors:  REFUSED, with FILE:LINE when reading YAML and with kind and name when
 *          parsing a body.  A schema that cannot be read does not refuse a stored tool,
 *          for an executor has no need of it; the planner leaves its runs to others.
 */
#ifndef PAWL_COMMON_CATALOG_H
#define PAWL_COMMON_CATALOG_H

#include "common/arena.h"
#include "common/field.h"
#include "common/json_schema.h"
#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CATALOG_HEX = 65 }; /* a digest as text, with its NUL */

enum catalog_kind { CATALOG_MODEL, CATALOG_TOOL, CATALOG_AGENT, CATALOG_KINDS };

const char *catalog_kind_name(enum catalog_kind kind); /* "model", "tool", "agent" */

/* Reading files ----------------------------------------------------------- */

struct catalog_entry {
    enum catalog_kind kind;
    const char *name;
    char digest[CATALOG_HEX];
    json_t *body;     /* owned by the catalog */
    const char *file; /* NULL: added by catalog_repin */
    int line;
};

struct catalog {
    /* Models, then tools, then agents, by name within a kind; at the end those
     * that catalog_repin added. */
    struct catalog_entry *entries;
    size_t count;
    size_t room;
    struct arena arena;
};

/* Finds what is published under a name: OK with its digest, REFUSED when there is
 * no such name (err is not read), RETRY when Postgres cannot be asked now.  */
typedef enum outcome catalog_resolve(void *self, enum catalog_kind kind, const char *name,
                                     char digest[CATALOG_HEX], struct error *err);

/* Reads all files as one set of definitions.  `resolve` NULL: nothing is
 * published, every name must be in the files.  On failure the catalog is empty.
 * RETRY only from the resolver.                                             */
MUST_CHECK enum outcome catalog_read(struct catalog *catalog, const char *const *paths,
                                     size_t count, catalog_resolve *resolve, void *self,
                                     struct error *err);

/* The same for one text in memory; `name` stands for the file in messages. */
MUST_CHECK enum outcome catalog_read_text(struct catalog *catalog, const char *name,
                                          const char *text, size_t length, catalog_resolve *resolve,
                                          void *self, struct error *err);

void catalog_release(struct catalog *catalog);

const struct catalog_entry *catalog_find(const struct catalog *catalog, enum catalog_kind kind,
                                         const char *name);

/* An agent that is published but not in the files: when it pins an older digest
 * of a model or tool of this catalog, a new body with the new pins is added to
 * the catalog and *added is true.  To be called for each published agent.   */
MUST_CHECK enum outcome catalog_repin(struct catalog *catalog, const json_t *agent_body,
                                      bool *added, struct error *err);

/* Using bodies ------------------------------------------------------------ */

enum model_dialect {
    MODEL_OPENAI_CHAT,
    MODEL_OPENAI_RESPONSES,
    MODEL_ANTHROPIC,
};

struct model_price { /* micros (millionths) of money per million tokens; -1: not given */
    int64_t input_micros;
    int64_t cached_input_micros;
    int64_t cache_write_micros;
    int64_t output_micros;
};

struct model_limits { /* of the provider's key; 0: none */
    int requests_per_minute;
    int tokens_per_minute;
};

struct model_def {
    const char *name;
    char digest[CATALOG_HEX];
    enum model_dialect dialect;
    const char *base_url;       /* without a slash at the end */
    const char *model;          /* the provider's name for it */
    const char *api_key_secret; /* name of the secret, or NULL */
    int64_t connect_timeout_ms;
    int64_t first_event_timeout_ms;
    int64_t silence_timeout_ms;
    int64_t timeout_ms;
    int attempts;
    size_t max_output_bytes;
    int context_window;    /* tokens of prompt and answer together; 0: not known */
    int max_output_tokens; /* of one answer; 0: not given */
    struct model_limits limits;
    json_t *options; /* an object, perhaps empty: merged into the request as it is */
    struct model_price price;
    struct arena arena; /* owns all of it */
};

enum tool_method {
    TOOL_POST,
    TOOL_PUT,
    TOOL_PATCH,
    TOOL_DELETE,
    TOOL_GET, /* the arguments become query parameters */
};

enum tool_on_unknown {
    TOOL_TELL_MODEL, /* the model reads that it may have happened */
    TOOL_PROBE,      /* ask probe_url, then a person */
    TOOL_ASK,        /* a person says */
};

enum tool_key_mode {
    TOOL_KEY_QUOTED, /* Idempotency-Key: "..." (a structured-field string) */
    TOOL_KEY_BARE,   /* Idempotency-Key: ... */
    TOOL_KEY_NONE,   /* not sent */
};

struct tool_def {
    const char *name;
    char digest[CATALOG_HEX];
    const char *description;
    json_t *parameters; /* a JSON Schema object, as shown to the model */
    /* The same, to check arguments with.  NULL when this version cannot: a newer one has
     * published it, with keywords of its own; `schema_why` says which.       */
    struct json_schema *schema;
    const char *schema_why;
    enum tool_method method;
    const char *url;
    struct field_pairs headers;
    bool read_only;
    bool idempotent;
    enum tool_on_unknown on_unknown;
    const char *probe_url; /* with {key} in it; NULL unless on_unknown is TOOL_PROBE */
    struct field_pairs probe_headers;
    int64_t probe_timeout_ms;
    int64_t ask_timeout_ms; /* after it the outcome unknown is told to the model */
    int64_t timeout_ms;
    int64_t connect_timeout_ms;
    int attempts;
    enum tool_key_mode key_mode;
    const char *key_header;
    size_t max_result_bytes;
    struct arena arena;
};

struct agent_pin {
    const char *name;
    char digest[CATALOG_HEX];
};

struct agent_def {
    const char *name;
    char digest[CATALOG_HEX];
    const char *description; /* "" when there is none */
    const char *instructions;
    struct agent_pin *models; /* at least one; the others are asked when those before fail */
    size_t model_count;
    struct agent_pin *tools; /* in the order of the body, which the model sees */
    size_t tool_count;
    int fallback_after;               /* failed calls of one step, then the next model is asked */
    struct field_strings fallback_on; /* codes of failures after which it is asked at once */
    int limit_steps;
    int limit_calls_per_step;
    int limit_parallel_calls;
    int64_t limit_time_ms;
    size_t limit_arguments_bytes;
    int limit_tokens;          /* of a run with all its descendants; 0: none */
    int64_t limit_cost_micros; /* the same in money; -1: none */
    struct arena arena;
};

enum { CATALOG_MODELS_MAX = 8 }; /* of one agent */

/* A published body as a struct of its own, to be freed with the function below.
 * `digest` is the one it is published under (NULL: computed).  Keys that this
 * version does not know are skipped, missing ones get their default.        */
MUST_CHECK enum outcome catalog_parse_model(const json_t *body, const char *digest,
                                            struct model_def **out, struct error *err);
MUST_CHECK enum outcome catalog_parse_tool(const json_t *body, const char *digest,
                                           struct tool_def **out, struct error *err);
MUST_CHECK enum outcome catalog_parse_agent(const json_t *body, const char *digest,
                                            struct agent_def **out, struct error *err);
void model_def_free(struct model_def *def); /* NULL is fine */
void tool_def_free(struct tool_def *def);
void agent_def_free(struct agent_def *def);

/* May the tool be called again without asking? */
static inline bool tool_is_repeatable(const struct tool_def *def)
{
    return def->read_only || def->idempotent;
}

const char *tool_method_name(enum tool_method method); /* "POST" */

/* The definitions as documentation (Markdown). */
void catalog_print_manual(FILE *out);

#endif
