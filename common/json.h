/*
 * json.h -- reading JSON that nobody has checked yet.
 *
 * jansson does the parsing; this door adds what a stranger's text needs:
 * limits on size, nesting and number of values that hold before any memory is
 * taken, strict UTF-8, no doubled keys (two readers would disagree on what was said), and
 * errors that name the place. Text with \u0000 is accepted inside strings
 * (models write it), so read strings with their length where it matters; in
 * keys it is refused. Integers beyond 64 bits are refused.
 *
 * Limits:  given by the caller for every read.
 * Threads: any; a json_t has one owner.
 * Errors:  REFUSED, with line and column where the first fault was noticed.
 */
#ifndef PAWL_COMMON_JSON_H
#define PAWL_COMMON_JSON_H

#include "common/digest.h"
#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_limits {
    size_t bytes;
    int depth; /* objects and arrays open at once; at most JSON_DEPTH_MAX */
};

/* A value costs up to 250 bytes of memory and 300 ns, however few bytes it has in the
 * text ("{},"): so much that megabytes of them would hold the loop for seconds.  */
enum { JSON_DEPTH_MAX = 1000, JSON_VALUES_MAX = 100000 };

/* Reads exactly one JSON value of any type, with nothing but space after it.
 * *out is NULL on failure, and otherwise the caller's (json_decref).        */
MUST_CHECK enum outcome json_read(const char *text, size_t n, const struct json_limits *limits,
                                  json_t **out, struct error *err);

/* Compact text with sorted keys: equal values give equal bytes. The caller
 * frees it. Stops the process when there is no memory.                      */
char *json_canonical(const json_t *value);

void json_digest(const json_t *value, struct digest *out); /* of the canonical text */

/* Small getters. `object` may be NULL or something else than an object; a
 * missing member and one of another type give the default (or NULL). All
 * results are borrowed from `object`.                                       */
const char *json_str(const json_t *object, const char *key);
const char *json_strn(const json_t *object, const char *key, size_t *length);
const char *json_str_or(const json_t *object, const char *key, const char *otherwise);
int64_t json_int_or(const json_t *object, const char *key, int64_t otherwise);
double json_num_or(const json_t *object, const char *key, double otherwise); /* integers too */
bool json_bool_or(const json_t *object, const char *key, bool otherwise);
json_t *json_obj(const json_t *object, const char *key);
json_t *json_arr(const json_t *object, const char *key);

#endif
