/*
 * cm.h -- cmocka with the headers it wants in front of it, and two helpers.
 *
 * Every tests/unit/test_noun.c is a program of its own: ctest runs them one by
 * one, so a crash in one hides nothing of the others.
 */
#ifndef PAWL_TESTS_UNIT_CM_H
#define PAWL_TESTS_UNIT_CM_H

#include <setjmp.h> /* these four: cmocka 1.1 does not include what it uses */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* cmocka's macro fail() hides our function of that name. */
#undef fail
#undef fail_msg

#include "common/outcome.h"

#include <string.h>

/* Does not return: cmocka jumps out of the test, which analysers cannot know. */
__attribute__((noreturn))
PRINTF(3, 4) static inline void fail_at(const char *file, int line, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error("%s\n", text);
    _fail(file, line);
    __builtin_unreachable();
}
#define fail_msg(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

/* Fails with both texts when `part` does not stand in `text`. */
static inline void assert_contains_at(const char *text, const char *part, const char *file,
                                      int line)
{
    if (!strstr(text, part)) {
        fail_at(file, line, "'%s' does not contain '%s'", text, part);
    }
}
#define assert_contains(text, part) assert_contains_at((text), (part), __FILE__, __LINE__)

/* The call answers OK; otherwise the failure shows the error's text. */
static inline void assert_ok_at(enum outcome outcome, const struct error *err, const char *file,
                                int line)
{
    if (outcome != OK) {
        fail_at(file, line, "expected ok, got %s: %s", outcome_name(outcome), err->text);
    }
}
#define assert_ok(call, err) assert_ok_at((call), (err), __FILE__, __LINE__)

#endif
