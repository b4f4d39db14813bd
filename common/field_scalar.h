/*
 * field_scalar.h -- one value between text and struct; the inner part of field.h.
 *
 * Used by the files of field alone. A value arrives as text from three sides
 * (a YAML scalar, the environment, a default in a table) and is stored by one
 * function, so that all three accept the same forms.
 *
 * Threads: any.
 * Errors:  in place of an outcome, what would be right: NULL means stored.
 */
#ifndef PAWL_COMMON_FIELD_SCALAR_H
#define PAWL_COMMON_FIELD_SCALAR_H

#include "common/field.h"

#include <string.h>

enum { FIELD_RIGHT_SIZE = 160 };

/* Where the field's value is. */
static inline void *field_at(const struct field *field, void *within)
{
    return (char *)within + field->offset;
}

static inline const void *field_at_const(const struct field *field, const void *within)
{
    return (const char *)within + field->offset;
}

/* Fields that hold a pointer of any type. */
static inline void field_put_pointer(const struct field *field, void *within, const void *pointer)
{
    memcpy(field_at(field, within), &pointer, sizeof pointer);
}

static inline const void *field_pointer(const struct field *field, const void *within)
{
    const void *pointer;
    memcpy(&pointer, field_at_const(field, within), sizeof pointer);
    return pointer;
}

/* Stores the text as the field's value. Answers NULL, or what would be right,
 * to be read after "write": in `right`, or a constant.                      */
const char *field_scalar_set(const struct field *field, const char *text, struct arena *arena,
                             void *within, char right[FIELD_RIGHT_SIZE]);

/* Stores a number (int, milliseconds, bytes, millionths) within bounds. */
const char *field_scalar_set_number(const struct field *field, int64_t number, void *within,
                                    char right[FIELD_RIGHT_SIZE]);

/* The number behind the field; not for strings and collections. */
int64_t field_scalar_number(const struct field *field, const void *within);

/* What a value of this field looks like: "a whole number from 1 to 100". */
const char *field_scalar_right(const struct field *field, char right[FIELD_RIGHT_SIZE]);

/* The bounds: those of the row, or those of its type. */
int64_t field_min(const struct field *field);
int64_t field_max(const struct field *field);

#endif
