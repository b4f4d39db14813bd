#include "common/json_schema_core.h"

#include "common/buf.h"
#include "common/json_schema_tell.h"
#include "common/text.h"

#include <string.h>

/* A check goes over the nodes and the value together and stops at the first thing that
 * does not fit; what it says of it goes to `tell`.  Where a node only asks whether
 * something fits (anyOf, not, contains), it asks quietly; when that makes it fail
 * itself, it has its parts speak.  So whatever was told belongs to a failure of the
 * whole, and of several the nearest is kept.                                 */

/* The schema goes into the value by at most this many calls within each other, however
 * the two are made: 64 levels of arguments, 64 schemas for each, is more.    */
enum { DEPTH_MAX = 1500 };

/* What is more than a step, in steps: decimals of a double; bytes that are counted. */
enum { MULTIPLE_WORK = 300, BYTES_PER_WORK = 64 };

/* NOLINTBEGIN(misc-no-recursion): DEPTH_MAX deep */
static bool fits(struct check *c, const struct node *node, const json_t *value,
                 const struct place *place);

/* Without a word, and not at all when the work is used up. */
static bool fits_quietly(struct check *c, const struct node *node, const json_t *value,
                         const struct place *place)
{
    bool was_quiet = c->quiet;
    c->quiet = true;
    bool answer = fits(c, node, value, place);
    c->quiet = was_quiet;
    return answer;
}

/* ---- one kind of value ---------------------------------------------------------------------- */

static bool fits_number(struct check *c, const struct node *node, const json_t *value,
                        const struct place *place)
{
    if (node->minimum && value_compare(value, node->minimum) < 0)
        return tell_bound(c, place, value, "at least", node->minimum);
    if (node->maximum && value_compare(value, node->maximum) > 0)
        return tell_bound(c, place, value, "at most", node->maximum);
    if (node->above && value_compare(value, node->above) <= 0)
        return tell_bound(c, place, value, "more than", node->above);
    if (node->below && value_compare(value, node->below) >= 0)
        return tell_bound(c, place, value, "less than", node->below);
    if (!node->multiple_of)
        return true;
    *c->work -= MULTIPLE_WORK;
    return value_is_multiple(value, node->multiple_of) ||
           tell_bound(c, place, value, "a multiple of", node->multiple_of);
}

/* Is the count between the bounds, if there are any? */
static bool fits_count(struct check *c, const struct node *node, enum count_of kind, size_t count,
                       const struct place *place)
{
    int64_t least = node->least[kind], most = node->most[kind];
    if (least != NO_BOUND && (int64_t)count < least)
        return tell_count(c, place, kind, count, "at least", least);
    if (most != NO_BOUND && (int64_t)count > most)
        return tell_count(c, place, kind, count, "at most", most);
    return true;
}

static bool fits_string(struct check *c, const struct node *node, const json_t *value,
                        const struct place *place)
{
    if (node->least[COUNT_LENGTH] != NO_BOUND || node->most[COUNT_LENGTH] != NO_BOUND) {
        *c->work -= (int64_t)(json_string_length(value) / BYTES_PER_WORK);
        if (!fits_count(c, node, COUNT_LENGTH, value_length(value), place))
            return false;
    }
    if (!node->pattern)
        return true;
    switch (pattern_match(node->pattern, json_string_value(value), json_string_length(value),
                          c->work)) {
    case PATTERN_MATCHES: return true;
    case PATTERN_MISSES: return tell_pattern(c, place, value, node->pattern_text);
    case PATTERN_TOO_HARD: return check_stop(c, place, "its pattern in the schema");
    }
    return false;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static bool fits_contains(struct check *c, const struct node *node, const json_t *value,
                          const struct place *place)
{
    int64_t least = node->least[COUNT_CONTAINS], most = node->most[COUNT_CONTAINS], count = 0;
    size_t i;
    const json_t *item;
    if (!node->contains)
        return true;
    least = least == NO_BOUND ? 1 : least;
    json_array_foreach(value, i, item) {
        const struct place below = { place, NULL, i, false };
        count += fits_quietly(c, node->contains, item, &below);
        if (c->stopped)
            return false;
    }
    if (count < least)
        return tell_contains(c, place, (size_t)count, "at least", least);
    return most == NO_BOUND || count <= most ||
           tell_contains(c, place, (size_t)count, "at most", most);
}

static bool fits_array(struct check *c, const struct node *node, const json_t *value,
                       const struct place *place)
{
    size_t i, first = 0, second = 0;
    const json_t *item;
    if (!fits_count(c, node, COUNT_ITEMS, json_array_size(value), place))
        return false;
    json_array_foreach(value, i, item) {
        const struct place below = { place, NULL, i, false };
        const struct node *wanted =
            i < node->first_items.count ? node->first_items.items[i] : node->other_items;
        if (!wanted)
            break; /* neither this one nor those behind it */
        if (!fits(c, wanted, item, &below))
            return false;
    }
    if (node->unique && value_find_twins(value, &first, &second, c->work))
        return tell_twins(c, place, first, second);
    if (*c->work < 0)
        return check_stop(c, place, "the schema");
    return fits_contains(c, node, value, place);
}

/* ---- objects --------------------------------------------------------------------------------- */

static bool fits_required(struct check *c, const json_t *required, const json_t *value,
                          const struct place *place, const char *because)
{
    size_t i;
    const json_t *name;
    *c->work -= (int64_t)json_array_size(required);
    json_array_foreach(required, i, name)
        if (!json_object_get(value, json_string_value(name)))
            return tell_missing(c, place, required, value, because);
    return true;
}

static bool fits_needs(struct check *c, const struct node *node, const json_t *value,
                       const struct place *place)
{
    *c->work -= (int64_t)(node->needs.count + node->needs_form.count);
    for (size_t i = 0; i < node->needs.count; i++) {
        const struct named_node *need = &node->needs.items[i];
        if (json_object_get(value, need->name) &&
            !fits_required(c, need->names, value, place, need->name))
            return false;
    }
    for (size_t i = 0; i < node->needs_form.count; i++) {
        const struct named_node *need = &node->needs_form.items[i];
        if (json_object_get(value, need->name) && !fits(c, need->node, value, place))
            return false;
    }
    return true;
}

/* One member, by its name: the patterns, and if nothing else speaks of it, the rest. */
static bool fits_member(struct check *c, const struct node *node, const char *name,
                        const json_t *member, const struct place *place)
{
    const struct place below = { place, name, 0, false }, at_name = { place, name, 0, true };
    bool described = node->described && json_object_get(node->described, name);
    for (size_t i = 0; i < node->pattern_properties.count; i++) {
        const struct named_node *wanted = &node->pattern_properties.items[i];
        switch (pattern_match(wanted->pattern, name, strlen(name), c->work)) {
        case PATTERN_MISSES: continue;
        case PATTERN_TOO_HARD: return check_stop(c, &at_name, "the patterns of the schema");
        case PATTERN_MATCHES: break;
        }
        described = true;
        if (!fits(c, wanted->node, member, &below))
            return false;
    }
    if (described || !node->other_properties)
        return true;
    if (node->other_properties->nothing)
        return tell_unknown(c, place, name, node);
    return fits(c, node->other_properties, member, &below);
}

static bool fits_name(struct check *c, const struct node *node, const char *name,
                      const struct place *place)
{
    const struct place at_name = { place, name, 0, true };
    json_t *text = json_string(name);
    bool answer = text && fits(c, node->names, text, &at_name);
    json_decref(text);
    return answer;
}

static bool fits_object(struct check *c, const struct node *node, const json_t *value,
                        const struct place *place)
{
    const char *name;
    const json_t *member;
    if (!fits_required(c, node->required, value, place, NULL))
        return false;
    *c->work -= (int64_t)node->properties.count;
    for (size_t i = 0; i < node->properties.count; i++) {
        const struct named_node *wanted = &node->properties.items[i];
        const struct place below = { place, wanted->name, 0, false };
        member = json_object_get(value, wanted->name);
        if (member && !fits(c, wanted->node, member, &below))
            return false;
    }
    if (node->pattern_properties.count > 0 || node->other_properties || node->names) {
        *c->work -= (int64_t)json_object_size(value);
        json_object_foreach((json_t *)(uintptr_t)value, name, member)
            if ((node->names && !fits_name(c, node, name, place)) ||
                !fits_member(c, node, name, member, place))
                return false;
    }
    return fits_count(c, node, COUNT_PROPERTIES, json_object_size(value), place) &&
           fits_needs(c, node, value, place);
}

/* ---- combinations ---------------------------------------------------------------------------- */

static bool fits_all(struct check *c, const struct node_list *list, const json_t *value,
                     const struct place *place)
{
    for (size_t i = 0; i < list->count; i++)
        if (!fits(c, list->items[i], value, place))
            return false;
    return true;
}

/* None of the forms fits.  Those that are meant for other values are not spoken of,
 * unless all are; of the others the nearest complaint is kept.               */
static bool tell_forms(struct check *c, const struct node_list *list, const json_t *value,
                       const struct place *place)
{
    if (c->quiet || c->stopped)
        return false;
    *c->work -= (int64_t)list->count;
    if (tell_types(c, place, list, value) || tell_tags(c, place, list, value))
        return false;
    int nearest = c->nearest;
    size_t spoken = 0;
    for (size_t i = 0; i < list->count; i++)
        if (!form_is_for_others(c, list->items[i], value)) {
            spoken++;
            (void)fits(c, list->items[i], value, place);
        }
    for (size_t i = 0; i < list->count && spoken == 0; i++)
        (void)fits(c, list->items[i], value, place);
    if (spoken != 1 && c->nearest > nearest)
        tell_other_forms(c, place, list->count);
    return false;
}

static bool fits_any(struct check *c, const struct node_list *list, const json_t *value,
                     const struct place *place)
{
    for (size_t i = 0; i < list->count && !c->stopped; i++)
        if (fits_quietly(c, list->items[i], value, place))
            return true;
    return list->count == 0 || tell_forms(c, list, value, place);
}

static bool fits_one(struct check *c, const struct node_list *list, const json_t *value,
                     const struct place *place)
{
    size_t fitting[2] = { 0 }, count = 0;
    for (size_t i = 0; i < list->count && count < 2 && !c->stopped; i++)
        if (fits_quietly(c, list->items[i], value, place))
            fitting[count++] = i;
    if (c->stopped)
        return false;
    if (count == 2)
        return tell_two_forms(c, place, fitting[0], fitting[1]);
    return count == 1 || list->count == 0 || tell_forms(c, list, value, place);
}

static bool fits_not(struct check *c, const struct node *excluded, const json_t *value,
                     const struct place *place)
{
    if (!excluded)
        return true;
    bool fitting = fits_quietly(c, excluded, value, place);
    return !c->stopped && (!fitting || tell_excluded(c, place, value));
}

static bool fits_condition(struct check *c, const struct node *node, const json_t *value,
                           const struct place *place)
{
    if (!node->condition)
        return true;
    const struct node *then =
        fits_quietly(c, node->condition, value, place) ? node->then : node->otherwise;
    return !c->stopped && (!then || fits(c, then, value, place));
}

static bool fits_combinations(struct check *c, const struct node *node, const json_t *value,
                              const struct place *place)
{
    return (!node->reference || fits(c, node->reference, value, place)) &&
           fits_all(c, &node->all, value, place) && fits_any(c, &node->any, value, place) &&
           fits_one(c, &node->one, value, place) && fits_not(c, node->not, value, place) &&
           fits_condition(c, node, value, place);
}

/* ---- one node ----------------------------------------------------------------------------------
 */

static bool fits_choices(struct check *c, const struct node *node, const json_t *value,
                         const struct place *place)
{
    size_t i;
    const json_t *choice;
    if (node->constant && !value_equal(value, node->constant, c->work))
        return tell_constant(c, place, value, node->constant);
    if (!node->choices)
        return true;
    json_array_foreach(node->choices, i, choice)
        if (value_equal(value, choice, c->work))
            return true;
    return tell_choices(c, place, value, node->choices);
}

static bool fits_kind(struct check *c, const struct node *node, const json_t *value,
                      const struct place *place)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return fits_object(c, node, value, place);
    case JSON_ARRAY: return fits_array(c, node, value, place);
    case JSON_STRING: return fits_string(c, node, value, place);
    case JSON_INTEGER:
    case JSON_REAL: return fits_number(c, node, value, place);
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: break;
    }
    return true;
}

static bool fits(struct check *c, const struct node *node, const json_t *value,
                 const struct place *place)
{
    if (c->stopped)
        return false;
    if (--*c->work < 0 || c->depth == DEPTH_MAX)
        return check_stop(c, place, "the schema");
    if (node->nothing)
        return tell_nothing(c, place);
    if (node->types && !(value_types(value) & node->types))
        return tell_type(c, place, value, node->types);
    c->depth++;
    bool answer = fits_choices(c, node, value, place) && fits_kind(c, node, value, place) &&
                  fits_combinations(c, node, value, place);
    c->depth--;
    return *c->work < 0 ? check_stop(c, place, "the schema") : answer;
}
/* NOLINTEND(misc-no-recursion) */

/* NOLINTBEGIN(readability-non-const-parameter): `work` is counted down on the way */
enum outcome json_schema_check(const struct json_schema *s, const json_t *value, const char *whole,
                               int64_t *work, char why[JSON_SCHEMA_WHY_SIZE])
/* NOLINTEND(readability-non-const-parameter) */
{
    struct check c = { .work = work, .whole = whole, .why = why, .nearest = -1 };
    why[0] = '\0';
    if (fits(&c, s->root, value, NULL))
        return OK;
    if (!why[0])
        (void)snprintf(why, JSON_SCHEMA_WHY_SIZE, "no memory to check %s", whole);
    return REFUSED;
}
