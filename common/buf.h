/*
 * buf.h -- a growing byte buffer with a ceiling.
 *
 *     struct buf b;
 *     buf_init(&b, 64 * 1024);
 *     buf_puts(&b, "{\"name\":");
 *     buf_add_json_string(&b, name, strlen(name));
 *     buf_puts(&b, "}");
 *     if (b.full) ...            one check at the end is enough
 *     buf_release(&b);
 *
 * `data` is always NUL-terminated (the NUL is not counted in len) and never
 * NULL after buf_init(). Bytes may be anything, NUL included.
 *
 * Limits:  len never passes limit_bytes. An addition that does not fit adds
 *          nothing, sets `full` and answers false; from then on everything is
 *          refused until buf_reset(), so there is never a hole in the middle.
 *          The same when the machine has no memory.
 * Threads: one owner, no locks.
 */
#ifndef PAWL_COMMON_BUF_H
#define PAWL_COMMON_BUF_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap;
    size_t limit_bytes;
    bool full;
};

void buf_init(struct buf *b, size_t limit_bytes); /* allocates nothing */
void buf_release(struct buf *b);                  /* frees; the buffer is empty and usable again */
void buf_reset(struct buf *b);                    /* empty, not full; the memory is kept */

/* Releases at the end of its scope:  AUTO_BUF struct buf b;  buf_init(&b, ...); */
#define AUTO_BUF __attribute__((cleanup(buf_release)))

bool buf_add(struct buf *b, const void *data, size_t n);
bool buf_puts(struct buf *b, const char *text);
bool buf_putc(struct buf *b, char c);
PRINTF(2, 3) bool buf_printf(struct buf *b, const char *format, ...);
PRINTF(2, 0) bool buf_vprintf(struct buf *b, const char *format, va_list args);

/* The n bytes as a JSON string with its quotes. Control characters are escaped;
 * a byte that is not UTF-8 becomes U+FFFD, so the result is always valid JSON. */
bool buf_add_json_string(struct buf *b, const char *s, size_t n);

/* Forgets the first n bytes (n <= len) and moves the rest to the front. */
void buf_drop_front(struct buf *b, size_t n);

/* Hands the text to the caller, who frees it; the buffer is empty and usable again.
 * NULL when the machine has no memory for the empty text.                    */
char *buf_take(struct buf *b);

#endif
