/*
 * catalog_table.h -- the rows of models, tools and agents; the inner part of catalog.h.
 *
 * Used by the files of catalog alone. The same rows read a definition from YAML,
 * write its body and read the body back.
 */
#ifndef PAWL_COMMON_CATALOG_TABLE_H
#define PAWL_COMMON_CATALOG_TABLE_H

#include "common/catalog.h"

extern const struct field_table catalog_price_table, catalog_limits_table; /* parts of a model */
extern const struct field_table catalog_model_table; /* into a struct model_def */
extern const struct field_table catalog_tool_table;  /* into a struct tool_def */

/* An agent names its model and tools in YAML; in the body they are pins. */
struct agent_source {
    struct agent_def def; /* description, instructions and limits of it */
    const char *model;
    struct field_strings fallback_models;
    struct field_strings tools;
};
extern const struct field_table catalog_agent_table;      /* YAML, into a struct agent_source */
extern const struct field_table catalog_agent_body_table; /* body without pins, into agent_def */

/* A whole file: the three sections. */
struct catalog_sections {
    const struct yaml_node *section[CATALOG_KINDS];
};
extern const struct field_table catalog_file_table;

/* Adds an entry with its digest; takes the body over, even when the answer is
 * NULL (no memory).                                                         */
struct catalog_entry *catalog_add(struct catalog *catalog, enum catalog_kind kind, const char *name,
                                  json_t *body);

/* Whether the name may name a definition of this kind: NULL, or what would be right. */
const char *catalog_check_name(enum catalog_kind kind, const char *name);

/* A JSON Schema for the arguments of a tool: an object, in keywords that are supported
 * (json_schema.h).  `node` is where it stands.                               */
MUST_CHECK enum outcome catalog_check_schema(json_t *parameters, const struct yaml_node *node,
                                             struct error *err);

/* Headers as they may stand in a request that pawl makes. `node` is where they
 * stand; `key_header` is the header of the idempotency key, or NULL.        */
MUST_CHECK enum outcome catalog_check_headers(const struct field_pairs *headers,
                                              const struct yaml_node *node, const char *key_header,
                                              struct error *err);

/* What no single field of a definition can tell; default values that make no
 * sense beside explicit ones are adapted. `node` is the definition.         */
MUST_CHECK enum outcome catalog_check_model(struct model_def *def, const struct yaml_node *node,
                                            struct error *err);
MUST_CHECK enum outcome catalog_check_tool(struct tool_def *def, const struct yaml_node *node,
                                           struct error *err);
MUST_CHECK enum outcome catalog_check_agent(struct agent_source *source,
                                            const struct yaml_node *node, struct error *err);

#endif
