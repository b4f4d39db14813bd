#include "common/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_EXACT 1 /* gcc */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_EXACT 1 /* clang */
#endif
#endif
#ifndef ARENA_EXACT
#define ARENA_EXACT 0
#endif

enum { BLOCK_BYTES = 16 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(max_align_t) unsigned char data[];
};

struct arena_defer {
    struct arena_defer *next;
    void (*release)(void *);
    void *thing;
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){ .limit_bytes = limit_bytes };
}

/* The size that an allocation counts with and occupies: never zero, so that
 * every pointer is a different one.                                         */
static size_t round_up(size_t n)
{
    size_t align = _Alignof(max_align_t);
    return n == 0 ? align : (n + align - 1) / align * align;
}

static struct arena_block *add_block(struct arena *a, size_t room)
{
    struct arena_block *b = calloc(1, sizeof *b + room);
    if (!b)
        return NULL;
    b->size = room;

    /* A large block of its own goes behind the one that still has room. */
    struct arena_block *head = a->blocks;
    if (head && room != BLOCK_BYTES) {
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->blocks = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX / 2)
        return NULL; /* the sums below would wrap around */
    size_t need = round_up(size_bytes);
    if (a->used_bytes > a->limit_bytes || need > a->limit_bytes - a->used_bytes)
        return NULL;

    struct arena_block *b = a->blocks;
    if (ARENA_EXACT) {
        b = add_block(a, size_bytes); /* the very next byte is poisoned */
    } else if (need > BLOCK_BYTES / 4) {
        b = add_block(a, need);
    } else if (!b || b->size - b->used < need) {
        b = add_block(a, BLOCK_BYTES);
    }
    if (!b)
        return NULL;

    void *p = b->data + b->used;
    b->used = ARENA_EXACT ? b->size : b->used + need;
    a->used_bytes += need;
    return p;
}

void *arena_alloc_array(struct arena *a, size_t count, size_t size_bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total))
        return NULL;
    return arena_alloc(a, total);
}

char *arena_memdup(struct arena *a, const void *data, size_t size_bytes)
{
    if (size_bytes == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(a, size_bytes + 1);
    if (copy && size_bytes > 0)
        memcpy(copy, data, size_bytes);
    return copy; /* zeroed memory: the NUL is there */
}

char *arena_strdup(struct arena *a, const char *text)
{
    return arena_memdup(a, text, strlen(text));
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : arena_alloc(a, (size_t)length + 1);
    if (text)
        (void)vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

bool arena_defer(struct arena *a, void (*release)(void *), void *thing)
{
    struct arena_defer *d = arena_alloc(a, sizeof *d);
    if (!d) {
        release(thing); /* ownership was passed: never leak it */
        return false;
    }
    *d = (struct arena_defer){ a->defers, release, thing };
    a->defers = d;
    return true;
}

void arena_free(struct arena *a)
{
    for (struct arena_defer *d = a->defers; d; d = d->next)
        d->release(d->thing);
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    arena_init(a, a->limit_bytes);
}
