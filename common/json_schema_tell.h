/*
 * json_schema_tell.h -- what a check says; the inner part of json_schema.
 *
 * Each of these answers false, so that a check can end with it.  Nothing is written
 * while the check is quiet, or when something nearer to what was meant stands there
 * already: a fault deep within the value is nearer than one at its top, and a fault
 * in what the value is nearer than one in its type.
 */
#ifndef PAWL_COMMON_JSON_SCHEMA_TELL_H
#define PAWL_COMMON_JSON_SCHEMA_TELL_H

#include "common/json_schema_core.h"

/* Where a check stands in the value. */
struct place {
    const struct place *above; /* NULL: `token` is in the whole */
    const char *token;         /* NULL in an array: */
    size_t index;
    bool is_name; /* not the member, but its name */
};

struct check {
    int64_t *work;
    int depth;
    bool stopped; /* the work is used up: what is answered means nothing */
    bool quiet;
    const char *whole;
    char *why;
    int nearest; /* of what is written; -1: nothing is */
};

/* The work does not suffice for `part`. */
bool check_stop(struct check *c, const struct place *place, const char *part);

bool tell_nothing(struct check *c, const struct place *place);
bool tell_type(struct check *c, const struct place *place, const json_t *value, unsigned types);
bool tell_constant(struct check *c, const struct place *place, const json_t *value,
                   const json_t *wanted);
bool tell_choices(struct check *c, const struct place *place, const json_t *value,
                  const json_t *choices);
bool tell_bound(struct check *c, const struct place *place, const json_t *value, const char *how,
                const json_t *bound);
bool tell_count(struct check *c, const struct place *place, enum count_of kind, size_t count,
                const char *how, int64_t bound);
bool tell_contains(struct check *c, const struct place *place, size_t count, const char *how,
                   int64_t bound);
bool tell_pattern(struct check *c, const struct place *place, const json_t *value,
                  const char *pattern);
bool tell_twins(struct check *c, const struct place *place, size_t first, size_t second);

/* Names of `required` that `value` has not; `because`: the member that needs them. */
bool tell_missing(struct check *c, const struct place *place, const json_t *required,
                  const json_t *value, const char *because);
bool tell_unknown(struct check *c, const struct place *place, const char *name,
                  const struct node *node);

bool tell_excluded(struct check *c, const struct place *place, const json_t *value);
bool tell_two_forms(struct check *c, const struct place *place, size_t first, size_t second);

/* Forms of which none fits.  Is this one for values of another type, or with another
 * constant in one of its members?                                            */
bool form_is_for_others(struct check *c, const struct node *form, const json_t *value);

/* Are all of them for values of other types?  Then, unlike the above, true: it was told. */
bool tell_types(struct check *c, const struct place *place, const struct node_list *forms,
                const json_t *value);

/* Do all of them want another constant in the same member?  Likewise. */
bool tell_tags(struct check *c, const struct place *place, const struct node_list *forms,
               const json_t *value);

/* Adds to what is written that there are other forms. */
void tell_other_forms(struct check *c, const struct place *place, size_t count);

#endif
