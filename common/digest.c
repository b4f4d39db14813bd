#include "common/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

void digest_of(const void *data, size_t size_bytes, struct digest *out)
{
    unsigned length = 0;
    if (EVP_Digest(data, size_bytes, out->b, &length, EVP_sha256(), NULL) != 1 ||
        length != sizeof out->b) {
        (void)fprintf(stderr, "libcrypto cannot compute SHA-256\n");
        abort();
    }
}

void digest_hex(const struct digest *d, char out[DIGEST_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof d->b; i++) {
        out[2 * i] = digits[d->b[i] >> 4];
        out[2 * i + 1] = digits[d->b[i] & 0x0f];
    }
    out[2 * sizeof d->b] = '\0';
}

enum outcome digest_parse(const char *hex, struct digest *out, struct error *err)
{
    static const char digits[] = "0123456789abcdef";
    struct digest d = { { 0 } };
    size_t length = strlen(hex);
    bool good = length == 2 * sizeof d.b;
    for (size_t i = 0; i < length && good; i++) {
        const char *digit = strchr(digits, hex[i]);
        good = digit != NULL;
        if (good)
            d.b[i / 2] = (uint8_t)(d.b[i / 2] << 4 | (digit - digits));
    }
    if (!good)
        return fail(err, REFUSED, "'%.70s' is not a digest: 64 lower case hexadecimal digits", hex);
    *out = d;
    return OK;
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}
