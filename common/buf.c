#include "common/buf.h"
#include "common/text.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CAP_MIN_BYTES = 256 };

/* What `data` points to while nothing is allocated (cap == 0). Never written:
 * every writer goes through reserve() first.                                */
static char nothing[1];

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){ .data = nothing, .limit_bytes = limit_bytes };
}

void buf_release(struct buf *b)
{
    if (b->cap > 0)
        free(b->data);
    buf_init(b, b->limit_bytes);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->full = false;
    if (b->cap > 0)
        b->data[0] = '\0';
}

/* Room for n more bytes and the NUL; otherwise sets `full`. */
static bool reserve(struct buf *b, size_t n)
{
    assert(b->data); /* buf_init() was called */
    if (b->full)
        return false;
    if (n > b->limit_bytes - b->len || b->len + n == SIZE_MAX) {
        b->full = true;
        return false;
    }
    size_t need = b->len + n + 1;
    if (need <= b->cap)
        return true;

    size_t cap = b->cap > 0 ? b->cap : CAP_MIN_BYTES;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (b->limit_bytes < SIZE_MAX && cap > b->limit_bytes + 1)
        cap = b->limit_bytes + 1;
    char *data = realloc(b->cap > 0 ? b->data : NULL, cap);
    if (!data) {
        b->full = true;
        return false;
    }
    data[b->len] = '\0';
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_add(struct buf *b, const void *data, size_t n)
{
    if (!reserve(b, n))
        return false;
    if (n > 0)
        memcpy(b->data + b->len, data, n);
    b->len += n;
    b->data[b->len] = '\0';
    return true;
}

bool buf_puts(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

bool buf_putc(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

bool buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    bool fits = length >= 0 && reserve(b, (size_t)length);
    if (fits) {
        (void)vsnprintf(b->data + b->len, (size_t)length + 1, format, again);
        b->len += (size_t)length;
    }
    va_end(again);
    return fits;
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool fits = buf_vprintf(b, format, args);
    va_end(args);
    return fits;
}

/* How the character c stands inside a JSON string, or NULL: as it is.
 * RFC 8259, section 7: only the quote, the backslash and C0 must be escaped;
 * DEL and the line separators are escaped too, for terminals and for old
 * JavaScript readers.                                                       */
static const char *json_escape(uint32_t c, char room[8])
{
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: break;
    }
    if (c >= 0x20 && c != 0x7f && c != 0x2028 && c != 0x2029)
        return NULL;
    static const char hex[] = "0123456789abcdef";
    memcpy(room, "\\u", 2);
    for (int i = 0; i < 4; i++)
        room[2 + i] = hex[c >> (12 - 4 * i) & 0xf];
    room[6] = '\0';
    return room;
}

static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; /* false for what is not ASCII */
}

bool buf_add_json_string(struct buf *b, const char *s, size_t n)
{
    size_t before = b->len;
    buf_putc(b, '"');
    size_t plain_from = 0; /* start of the stretch that goes out as it is */
    for (size_t at = 0; at < n && !b->full;) {
        if (is_plain(s[at])) {
            at++; /* the common case, without the calls */
            continue;
        }
        uint32_t c = 0;
        size_t length = text_utf8_next(s + at, n - at, &c);
        char room[8];
        const char *escape = length == 0 ? "\xef\xbf\xbd" : json_escape(c, room);
        if (escape) {
            buf_add(b, s + plain_from, at - plain_from);
            buf_puts(b, escape);
            plain_from = at + (length == 0 ? 1 : length);
        }
        at += length == 0 ? 1 : length;
    }
    buf_add(b, s + plain_from, n - plain_from);
    buf_putc(b, '"');
    if (b->full && b->cap > 0) { /* all or nothing, as everywhere here */
        b->len = before;
        b->data[before] = '\0';
    }
    return !b->full;
}

void buf_drop_front(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n + 1); /* with the NUL */
    b->len -= n;
}

char *buf_take(struct buf *b)
{
    char *text = b->cap > 0 ? b->data : calloc(1, 1);
    buf_init(b, b->limit_bytes);
    return text;
}
