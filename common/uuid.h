/*
 * uuid.h -- identifiers of 128 bits.
 *
 * Run ids are UUIDv7 and minted by the database; here they are only read,
 * written, compared and used as keys of hash tables. What a process names
 * itself (its incarnation, claim tokens) is a random UUIDv4.
 *
 * Threads: any.
 * Errors:  uuid_parse() answers REFUSED; uuid_v4() stops the process when the
 *          kernel gives no randomness, which Linux does not do after boot.
 */
#ifndef PAWL_COMMON_UUID_H
#define PAWL_COMMON_UUID_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stdint.h>

enum { UUID_TEXT_SIZE = 37 };

struct uuid {
    uint8_t b[16];
};

/* The 36 characters 8-4-4-4-12, hexadecimal of either case, of any version. */
MUST_CHECK enum outcome uuid_parse(const char *text, struct uuid *out, struct error *err);
void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE]); /* lower case */
struct uuid uuid_v4(void);
bool uuid_eq(const struct uuid *a, const struct uuid *b);
bool uuid_is_nil(const struct uuid *u);
uint64_t uuid_hash(const struct uuid *u); /* well spread, also for UUIDv7 of one moment */

#endif
