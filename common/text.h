/*
 * text.h -- checking, reading and showing text that came from outside.
 *
 * Limits:  durations up to 36500d, sizes up to 2^62 bytes.
 * Threads: any.
 * Errors:  the parsers answer REFUSED and name the forms that would be right.
 */
#ifndef PAWL_COMMON_TEXT_H
#define PAWL_COMMON_TEXT_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length in bytes (1..4) of the UTF-8 character at `s`, its code point in
 * *code_point; 0 when the first bytes are not one (n == 0, cut, overlong,
 * surrogate, above U+10FFFF).  Unicode 15, table 3-7.                       */
size_t text_utf8_next(const char *s, size_t n, uint32_t *code_point);

/* Whether all n bytes are UTF-8 by that rule. NUL bytes are allowed here. */
bool text_is_utf8(const char *s, size_t n);

bool text_has_nul(const char *s, size_t n);

/* "500ms", "30s", "10m", "1h", "7d": one whole number, one unit; "0" needs none. */
MUST_CHECK enum outcome text_parse_duration(const char *text, int64_t *ms, struct error *err);

#define TEXT_MONEY_MAX_MICROS INT64_C(1000000000000000)

/* "2", "2.5", "0.000001" as millionths, exactly: no detour through binary fractions.
 * At most six decimals and 1000000000.                                        */
MUST_CHECK enum outcome text_parse_money(const char *text, int64_t *micros, struct error *err);

/* "1000" (bytes), "64KiB", "1MiB", "2GiB": one whole number, a binary unit or none. */
MUST_CHECK enum outcome text_parse_size(const char *text, size_t *bytes, struct error *err);

/* The shortest text that the parsers above read back as the same value. */
enum { TEXT_NUMBER_SIZE = 32 };
void text_format_duration(int64_t ms, char out[TEXT_NUMBER_SIZE]);
void text_format_size(size_t bytes, char out[TEXT_NUMBER_SIZE]);

/* Copies n bytes of foreign text for people to read, safe on a terminal: line
 * breaks and other control characters, invisible direction marks and bytes
 * that are not UTF-8 become \n, \t, \x1b, \u{202e}. What does not fit into
 * out_size (NUL included) is cut on a character boundary, and "..." says so.
 * Returns out, so that it can stand in an argument list.  out_size >= 4.    */
const char *text_bounded(char *out, size_t out_size, const char *s, size_t n);

/* Is it one of these words?  `words` ends with NULL; NULL is none of them. */
bool text_is_one_of(const char *text, const char *const *words);

#endif
