#include "common/uuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* In the text, a dash stands before these bytes. */
static bool dash_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum outcome uuid_parse(const char *text, struct uuid *out, struct error *err)
{
    struct uuid u = { { 0 } };
    const char *at = text;
    bool good = true;
    for (int i = 0; i < 16 && good; i++) {
        if (dash_before(i) && *at++ != '-') {
            good = false;
            break;
        }
        int high = hex_value(at[0]);
        int low = high < 0 ? -1 : hex_value(at[1]);
        good = low >= 0;
        if (good) {
            u.b[i] = (uint8_t)(high << 4 | low);
            at += 2;
        }
    }
    if (!good || *at != '\0')
        return fail(err, REFUSED,
                    "'%.60s' is not a UUID; write it like 01932f5e-8a61-7c3e-9d4b-52a1c0de77f0",
                    text);
    *out = u;
    return OK;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;
    for (int i = 0; i < 16; i++) {
        if (dash_before(i))
            *at++ = '-';
        *at++ = digits[u->b[i] >> 4];
        *at++ = digits[u->b[i] & 0x0f];
    }
    *at = '\0';
}

struct uuid uuid_v4(void)
{
    struct uuid u;
    ssize_t got;
    do {
        got = getrandom(u.b, sizeof u.b, 0);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof u.b) {
        (void)fprintf(stderr, "getrandom: %s\n", strerror(errno));
        abort();
    }
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* RFC 9562, 5.4: version 4 */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80); /* and its variant          */
    return u;
}

bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool uuid_is_nil(const struct uuid *u)
{
    static const struct uuid nil;
    return uuid_eq(u, &nil);
}

/* A mixer of 64 bits with good avalanche: xor-shifts and odd multipliers. The
 * halves are mixed one after the other, since the first of UUIDv7 is the time. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t uuid_hash(const struct uuid *u)
{
    uint64_t half[2];
    memcpy(half, u->b, sizeof half);
    return mix(half[0] + mix(half[1] + UINT64_C(0x9e3779b97f4a7c15)));
}
