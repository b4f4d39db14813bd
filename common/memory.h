/*
 * memory.h -- memory that lives as long as the process, or as a scope.
 *
 * Memory has three lifetimes here. A task's memory comes from its arena
 * (arena.h). Small things that live as long as the process (configuration,
 * tables filled at start) come from the functions below, which stop the
 * process when there is no memory: there is nothing sensible left to do. And
 * AUTO_FREE returns a malloc'd block at the end of its scope:
 *
 *     AUTO_FREE char *text = json_canonical(value);
 *
 * Limits:  none; never use these for sizes that come from outside unchecked.
 * Threads: any.
 */
#ifndef PAWL_COMMON_MEMORY_H
#define PAWL_COMMON_MEMORY_H

#include <stddef.h>

void *xmalloc(size_t size_bytes);
void *xcalloc(size_t count, size_t size_bytes); /* zeroed; checks the product */
void *xrealloc(void *old, size_t size_bytes);
void *xreallocarray(void *old, size_t count, size_t size_bytes);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t length_max);

#define AUTO_FREE __attribute__((cleanup(memory_free_scope)))
void memory_free_scope(void *pointer_to_pointer);

#endif
