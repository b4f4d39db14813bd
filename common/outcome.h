/*
 * outcome.h -- how every fallible function answers its caller.
 *
 * A caller never needs to know which of a hundred things went wrong; it needs
 * to know what to do next. So the return value names the reaction, one of
 * five, and the text (for logs, and for the row we store) rides alongside in a
 * struct error. The text says what failed and what the reader can do about it;
 * it never carries a secret. It is logged once: where the reaction is taken.
 */
#ifndef PAWL_COMMON_OUTCOME_H
#define PAWL_COMMON_OUTCOME_H

#include <stdarg.h>
#include <stdio.h>

enum outcome {
    OK = 0,  /* go on */
    RETRY,   /* passing trouble (timeout, 5xx, lost connection): back off */
    REFUSED, /* final answer "no": store it or tell the user */
    STALE,   /* somebody already committed something newer: drop our work */
    BROKEN,  /* an invariant is false: stop the process, restart clean */
};

struct error {
    char text[240];
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))

/* Fills `err` (which may be NULL) and returns `kind`, so that a failure is one
 * statement:  return fail(err, RETRY, "cannot reach '%s'", url);            */
PRINTF(3, 4)
static inline enum outcome fail(struct error *err, enum outcome kind, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return kind;
}

/* The name for logs and metrics. */
static inline const char *outcome_name(enum outcome outcome)
{
    switch (outcome) {
    case OK: return "ok";
    case RETRY: return "retry";
    case REFUSED: return "refused";
    case STALE: return "stale";
    case BROKEN: return "broken";
    }
    return "?";
}

#endif
