/*
 * cut_answers.h -- how a test reads an answer in any dialect: whole, byte by byte,
 * and cut in two at every place; the replies must be the same.
 */
#ifndef PAWL_TESTS_UNIT_CUT_ANSWERS_H
#define PAWL_TESTS_UNIT_CUT_ANSWERS_H

#include "planner/model.h"

#include <stdbool.h>
#include <stddef.h>

enum { CUT_LIMIT_BYTES = 64 * 1024 }; /* of an answer */
#define CUT_SECRET "sk-very-secret"
#define CUT_PREFIX "pawl_7"

/* Set for answers whose items come out of order: who listens learns their words, and not
 * yet their places.                                                           */
extern bool cut_out_of_order;

/* The reply to these bytes, in pieces of at most `piece` bytes, the first one of `first`. */
struct model_reply *cut_read(const struct dialect *dialect, const char *type, const char *bytes,
                             size_t n, size_t first, size_t piece, bool whole);

/* The reply to these bytes, whatever their cuts. */
struct model_reply *cut_read_all(const struct dialect *dialect, const char *type, const char *bytes,
                                 size_t n, bool whole);

void cut_assert_same(const struct model_reply *a, const struct model_reply *b);

#endif
