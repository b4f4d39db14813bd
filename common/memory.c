#include "common/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *block, size_t size_bytes)
{
    if (!block && size_bytes > 0) {
        (void)fprintf(stderr, "out of memory: %zu bytes refused\n", size_bytes);
        abort();
    }
    return block;
}

void *xmalloc(size_t size_bytes)
{
    return checked(malloc(size_bytes), size_bytes);
}

void *xcalloc(size_t count, size_t size_bytes)
{
    return checked(calloc(count, size_bytes), count > 0 ? size_bytes : 0);
}

void *xrealloc(void *old, size_t size_bytes)
{
    /* realloc(p, 0) may free or not: the standard leaves it open, so we do not ask. */
    size_t size = size_bytes > 0 ? size_bytes : 1;
    return checked(realloc(old, size), size);
}

void *xreallocarray(void *old, size_t count, size_t size_bytes)
{
    size_t size;
    if (__builtin_mul_overflow(count, size_bytes, &size))
        size = SIZE_MAX; /* no machine has it: refused below, with a message */
    return xrealloc(old, size);
}

char *xstrdup(const char *text)
{
    return xstrndup(text, strlen(text));
}

char *xstrndup(const char *text, size_t length_max)
{
    size_t length = strnlen(text, length_max);
    char *copy = xmalloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void memory_free_scope(void *pointer_to_pointer)
{
    void *block;
    memcpy(&block, pointer_to_pointer, sizeof block);
    free(block);
}
