/*
 * digest.h -- SHA-256: the name of a revision, of arguments, of a request body.
 *
 * Threads: any.
 * Errors:  digest_of() cannot fail but by a broken libcrypto, which stops the
 *          process; digest_parse() answers REFUSED.
 */
#ifndef PAWL_COMMON_DIGEST_H
#define PAWL_COMMON_DIGEST_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_TEXT_SIZE = 65 };

struct digest {
    uint8_t b[32];
};

void digest_of(const void *data, size_t size_bytes, struct digest *out);
void digest_hex(const struct digest *d, char out[DIGEST_TEXT_SIZE]); /* 64 lower case digits */
MUST_CHECK enum outcome digest_parse(const char *hex, struct digest *out, struct error *err);
bool digest_eq(const struct digest *a, const struct digest *b);

#endif
