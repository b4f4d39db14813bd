/*
 * config.h -- the settings of one process: planner, executor or pawl.
 *
 *     flag  >  environment PAWL_*  >  YAML file  >  default
 *
 * All three programs read the same file, so that one file serves a host.  Each
 * scalar setting has one name in three spellings, derived from its path:
 *
 *     postgres.dsn      in the file
 *     PAWL_POSTGRES_DSN in the environment
 *     --postgres-dsn    as a flag
 *
 * PAWL_POSTGRES_DSN_FILE names a file that holds the DSN.  PAWL_CONFIG names
 * the YAML file when no --config does.
 *
 * Secrets are named in the file (`secrets:`) and read once, at the start, from
 * the environment or from files.  A secret that cannot be read does not stop
 * the process: only what needs it does, and says why.
 *
 * Limits:  the YAML file 4 MiB; a secret 64 KiB.
 * Threads: read by one thread before others start; constant afterwards.
 * Errors:  REFUSED with FILE:LINE, or the name of the variable or flag.  No
 *          message holds a secret or the password of a DSN.
 */
#ifndef PAWL_COMMON_CONFIG_H
#define PAWL_COMMON_CONFIG_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/field.h"
#include "common/log.h"
#include "common/outbound.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_property {
    const char *name;
    const char *value;  /* NULL: its secret could not be read (config_require tells why) */
    bool secret;        /* never to be printed */
    const char *origin; /* "pawl.yaml:9" */
};

struct config_secret {
    const char *name;
    const char *value;   /* NULL: could not be read */
    const char *problem; /* then: why, and what to do */
    const char *origin;  /* "env:OPENAI_API_KEY", "file:/run/secrets/key" */
};

/* Where the value of one setting comes from; see config_print. */
struct config_origin {
    const char *path;   /* "postgres.dsn" */
    const char *origin; /* "default", "pawl.yaml:3", "PAWL_POSTGRES_DSN", "--postgres-dsn" */
};

struct config {
    const char *postgres_dsn; /* NULL: not set; several hosts pass through untouched */
    int postgres_connections;

    const char *kafka_bootstrap; /* NULL: not set */
    const char *topic_requests;
    const char *topic_dlq; /* topic_requests + ".dlq" */
    const char *topic_plan;
    const char *topic_act;
    const char *topic_events;
    const char *topic_stream; /* NULL: nothing is streamed */
    const char *group_planner;
    const char *group_executor;
    struct config_property *kafka_properties; /* for librdkafka, as they are */
    size_t kafka_property_count;

    const char *class;
    const char *tenant; /* of the requests in this topic */

    int capacity_plans;   /* model calls in flight at once */
    int capacity_actions; /* tool calls in flight at once */
    size_t limit_request_bytes;

    struct outbound_rules outbound; /* where calls of tools may go */

    const char *http_listen; /* "host:port" or NULL: no health and metrics */

    enum log_level log_level;
    enum log_format log_format;

    int64_t grace_ms;     /* -1: as long as the longest call timeout configured */
    const char *instance; /* NULL: hostname/kind */

    struct config_secret *secrets;
    size_t secret_count;

    const char *file; /* the YAML file read, or NULL */

    /* Only config.c looks below this line. */
    struct field_pairs kafka_pairs;
    const struct yaml_node *secrets_node; /* while loading */
    struct config_origin *origins;
    size_t origin_count;
    struct arena arena;
};

struct config_flag {
    const char *name;  /* the path, "postgres.dsn", or the flag, "--postgres-dsn" */
    const char *value; /* borrowed during the call only */
};

/* Reads everything.  `path` NULL: $PAWL_CONFIG, or no file at all.  On failure
 * *cfg is empty and needs no release.                                       */
MUST_CHECK enum outcome config_load(struct config *cfg, const char *path,
                                    const struct config_flag *flags, size_t count,
                                    struct error *err);

void config_release(struct config *cfg); /* wipes the secrets */

/* What a program cannot do without: refused with what to set, and where. */
enum { CONFIG_POSTGRES = 1, CONFIG_KAFKA = 2 };
MUST_CHECK enum outcome config_require(const struct config *cfg, unsigned needs, struct error *err);

/* The secret's value, or NULL when it is not named or could not be read. */
const char *config_secret(const struct config *cfg, const char *name);

/* The same, with the reason in err. */
MUST_CHECK enum outcome config_secret_get(const struct config *cfg, const char *name,
                                          const char **value, struct error *err);

/* Appends the pair's text, or its prefix and secret.  REFUSED, and nothing
 * appended, when the secret cannot be had or `out` is full.                 */
MUST_CHECK enum outcome config_expand(const struct config *cfg, const struct field_pair *pair,
                                      struct buf *out, struct error *err);

/* Every setting with its value and origin, redacted. */
void config_print(const struct config *cfg, FILE *out, bool json);

/* A DSN with its passwords as ***, either form of libpq. */
void config_redact_dsn(const char *dsn, struct buf *out);

/* Takes `--config FILE` and the flags of all settings (`--kafka-bootstrap X` or
 * `--kafka-bootstrap=X`) out of argv, up to "--".  What it does not know stays.
 * `flags` has room for `room` entries (CONFIG_FLAGS_MAX is enough); values point
 * into argv.                                                                */
enum { CONFIG_FLAGS_MAX = 64 };
MUST_CHECK enum outcome config_take_flags(int *argc, char **argv, const char **path,
                                          struct config_flag *flags, size_t room, size_t *count,
                                          struct error *err);

/* The flags of all settings with their help, for --help. */
void config_print_flags(FILE *out);

/* The process file as documentation (Markdown). */
void config_print_manual(FILE *out);

#endif
