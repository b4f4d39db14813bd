/*
 * config_table.h -- the rows of the process file; the inner part of config.h.
 *
 * Used by the files of config alone.
 */
#ifndef PAWL_COMMON_CONFIG_TABLE_H
#define PAWL_COMMON_CONFIG_TABLE_H

#include "common/config.h"

enum { CONFIG_NAME_SIZE = 128 };

extern const struct field_table config_table; /* into a struct config */

struct config_source { /* one entry of `secrets`: exactly one of the two */
    const char *env;
    const char *file;
};
extern const struct field_table config_secret_table; /* into a struct config_source */

/* The three spellings of a setting, from its path. */
const char *config_env_name(const char *path, char out[CONFIG_NAME_SIZE]);  /* PAWL_POSTGRES_DSN */
const char *config_flag_name(const char *path, char out[CONFIG_NAME_SIZE]); /* --postgres-dsn */

/* Reads cfg->secrets_node into cfg->secrets. */
MUST_CHECK enum outcome config_read_secrets(struct config *cfg, struct error *err);

/* Turns cfg->kafka_pairs into cfg->kafka_properties; `node` is where they stand. */
MUST_CHECK enum outcome config_read_properties(struct config *cfg, const struct yaml_node *node,
                                               struct error *err);

/* A file without its last newline, in the arena of cfg: NULL, and why in `why`. */
const char *config_read_file(struct config *cfg, const char *path, struct error *why);

#endif
