/*
 * pattern.h -- regular expressions as JSON Schema has them, matched in bounded time.
 *
 *     ECMA-262 text --pattern_ecma--> PCRE2 text --> struct pattern --> pattern_match
 *
 * JSON Schema takes its regular expressions from ECMA-262, and PCRE2 reads most of
 * them in the same way.  Where it does not, they are translated: \d, \w, \s and \b are
 * ASCII's and ECMA's sets, `.` stops at ECMA's four line ends, `$` is the very end, \uXXXX
 * and \cX are characters, [] and [^] are nothing and everything.  What only PCRE2
 * understands (\A, (?i), (?>...), a++, [[:alpha:]], ...) is refused, and so is what
 * ECMA-262 has and PCRE2 has not (look-behind of varying length).  As in a RegExp
 * without the flag u, a brace or bracket that closes nothing is a character, and so is
 * any punctuation behind a backslash.  One difference stays: a group that is repeated
 * keeps what it caught in an earlier round.
 *
 * A match is a search: it need not begin at the start of the text.
 *
 * Limits:  PATTERN_BYTES_MAX of text, PATTERN_GROUPS_MAX groups within each other.
 *          A match costs work, which the caller has a store of; one unit is at
 *          most 250 ns, and mostly less than 50.  A match takes at most PATTERN_HEAP_KIB of memory.
 * Threads: one owner, who alone matches with it.
 * Errors:  REFUSED from pattern_compile, with what is wrong.
 */
#ifndef PAWL_COMMON_PATTERN_H
#define PAWL_COMMON_PATTERN_H

#include "common/buf.h"
#include "common/outcome.h"

#include <stddef.h>
#include <stdint.h>

enum { PATTERN_BYTES_MAX = 8192, PATTERN_GROUPS_MAX = 100, PATTERN_HEAP_KIB = 16 * 1024 };

struct pattern;

/* `text` is UTF-8.  *out is to be freed; NULL on failure. */
MUST_CHECK enum outcome pattern_compile(const char *text, size_t n, struct pattern **out,
                                        struct error *err);
void pattern_free(struct pattern *p); /* NULL is fine */

size_t pattern_size(const struct pattern *p); /* bytes of memory that it holds */

enum pattern_answer {
    PATTERN_MISSES,
    PATTERN_MATCHES,
    PATTERN_TOO_HARD, /* *work does not suffice: nobody knows */
};

/* `text` must be UTF-8; NUL is a character like any other.  What the match costs is
 * taken from *work, which is not changed by what it cannot pay.              */
enum pattern_answer pattern_match(const struct pattern *p, const char *text, size_t n,
                                  int64_t *work);

/* The first step alone, for tests: the same expression in PCRE2's language. */
MUST_CHECK enum outcome pattern_translate(const char *text, size_t n, struct buf *out,
                                          struct error *err);

#endif
