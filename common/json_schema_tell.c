#include "common/json_schema_tell.h"

#include "common/buf.h"
#include "common/json_schema_compile.h"
#include "common/text.h"

#include <limits.h>
#include <string.h>

enum {
    PLACE_BYTES = 200,
    TOKEN_BYTES = 48,
    TYPES_BYTES = 80,
    LIST_BYTES = 240, /* of names or values that would be right */
    TEXT_BYTES = 2000,
};

/* What is nearer to what was meant, at one depth. */
enum nearness { FAR_TYPE, FAR_CONSTANT, NEAR, NEARNESSES };

/* ---- saying it ------------------------------------------------------------------------------ */

static int depth_of(const struct place *place)
{
    int depth = 0;
    for (; place; place = place->above)
        depth++;
    return depth;
}

/* As a JSON pointer; what is too long loses its middle. */
static void write_place(const struct check *c, const struct place *place, struct buf *out)
{
    enum { SHOWN_MAX = 12 };
    const struct place *path[SHOWN_MAX];
    int depth = depth_of(place), kept = 0;
    if (!place)
        (void)buf_puts(out, c->whole);
    else if (place->is_name)
        (void)buf_puts(out, "the name of ");
    for (int i = depth; place; place = place->above, i--)
        if (kept < SHOWN_MAX - 2 || i <= 2)
            path[kept++] = place;
    for (int i = kept; i-- > 0;) {
        char shown[TOKEN_BYTES];
        if (depth > kept && i == kept - 3)
            (void)buf_puts(out, "/...");
        (void)buf_putc(out, '/');
        if (!path[i]->token) {
            (void)buf_printf(out, "%zu", path[i]->index);
            continue;
        }
        text_bounded(shown, sizeof shown, path[i]->token, strlen(path[i]->token));
        for (const char *t = shown; *t; t++)
            (void)(*t == '/'   ? buf_puts(out, "~1")
                   : *t == '~' ? buf_puts(out, "~0")
                               : buf_putc(out, *t));
    }
}

static bool is_news(const struct check *c, const struct place *place, enum nearness nearness)
{
    return !c->quiet && !c->stopped && depth_of(place) * NEARNESSES + (int)nearness > c->nearest;
}

static bool keep(struct check *c, const struct buf *text)
{
    text_bounded(c->why, JSON_SCHEMA_WHY_SIZE, text->data, text->len);
    return false;
}

PRINTF(4, 5)
static bool say(struct check *c, const struct place *place, enum nearness nearness, const char *fmt,
                ...)
{
    if (!is_news(c, place, nearness))
        return false;
    AUTO_BUF struct buf text;
    va_list args;
    buf_init(&text, TEXT_BYTES);
    write_place(c, place, &text);
    (void)buf_putc(&text, ' ');
    va_start(args, fmt);
    (void)buf_vprintf(&text, fmt, args);
    va_end(args);
    c->nearest = depth_of(place) * NEARNESSES + (int)nearness;
    return keep(c, &text);
}

bool check_stop(struct check *c, const struct place *place, const char *part)
{
    if (c->stopped)
        return false;
    AUTO_BUF struct buf text;
    buf_init(&text, TEXT_BYTES);
    write_place(c, place, &text);
    (void)buf_printf(&text,
                     " is too large or too intricate to be checked against %s; send less at a time",
                     part);
    c->stopped = true;
    c->nearest = INT_MAX;
    return keep(c, &text);
}

/* ---- one thing that is wrong ------------------------------------------------------------------
 */

bool tell_nothing(struct check *c, const struct place *place)
{
    return say(c, place, NEAR, "is not allowed; leave it out");
}

bool tell_type(struct check *c, const struct place *place, const json_t *value, unsigned types)
{
    char shown[SHOWN_BYTES], wanted[TYPES_BYTES];
    if (!is_news(c, place, FAR_TYPE))
        return false;
    return say(c, place, FAR_TYPE, "is %s; %s is wanted",
               value_describe(value, shown, sizeof shown),
               types_show(types, wanted, sizeof wanted));
}

bool tell_constant(struct check *c, const struct place *place, const json_t *value,
                   const json_t *wanted)
{
    char shown[SHOWN_BYTES], right[LIST_BYTES];
    if (!is_news(c, place, FAR_CONSTANT))
        return false;
    return say(c, place, FAR_CONSTANT, "is %s; %s is wanted",
               value_describe(value, shown, sizeof shown), value_show(wanted, right, sizeof right));
}

/* Adds ` "a"` or `, "b"`, until there are too many; true while there is room. */
static bool add_to_list(struct buf *list, const char *text)
{
    if (list->len + strlen(text) > LIST_BYTES) {
        (void)buf_puts(list, ", ...");
        return false;
    }
    return buf_printf(list, "%s%s", list->len > 0 ? ", " : "", text);
}

static bool add_value(struct buf *list, const json_t *value)
{
    char shown[SHOWN_BYTES];
    return add_to_list(list, value_show(value, shown, sizeof shown));
}

bool tell_choices(struct check *c, const struct place *place, const json_t *value,
                  const json_t *choices)
{
    char shown[SHOWN_BYTES];
    size_t i;
    const json_t *choice;
    if (!is_news(c, place, FAR_CONSTANT))
        return false;
    AUTO_BUF struct buf list;
    buf_init(&list, TEXT_BYTES);
    json_array_foreach(choices, i, choice)
        if (!add_value(&list, choice))
            break;
    return say(c, place, FAR_CONSTANT, "is %s; %s%s is wanted",
               value_describe(value, shown, sizeof shown),
               json_array_size(choices) > 1 ? "one of " : "", list.data);
}

bool tell_bound(struct check *c, const struct place *place, const json_t *value, const char *how,
                const json_t *bound)
{
    char shown[SHOWN_BYTES], right[SHOWN_BYTES];
    if (!is_news(c, place, NEAR))
        return false;
    return say(c, place, NEAR, "is %s; %s %s is wanted", value_show(value, shown, sizeof shown),
               how, value_show(bound, right, sizeof right));
}

bool tell_count(struct check *c, const struct place *place, enum count_of kind, size_t count,
                const char *how, int64_t bound)
{
    static const char *const nouns[] = { "character", "item", "member", "item" };
    return say(c, place, NEAR, "has %zu %s%s; %s %lld %s wanted", count, nouns[kind],
               count == 1 ? "" : "s", how, (long long)bound, bound == 1 ? "is" : "are");
}

bool tell_contains(struct check *c, const struct place *place, size_t count, const char *how,
                   int64_t bound)
{
    return say(c, place, NEAR,
               "has %zu item%s of the form that 'contains' describes; %s %lld %s wanted", count,
               count == 1 ? "" : "s", how, (long long)bound, bound == 1 ? "is" : "are");
}

bool tell_pattern(struct check *c, const struct place *place, const json_t *value,
                  const char *pattern)
{
    char shown[SHOWN_BYTES], right[LIST_BYTES];
    if (!is_news(c, place, NEAR))
        return false;
    return say(c, place, NEAR, "is %s; text that matches the regular expression %s is wanted",
               value_describe(value, shown, sizeof shown),
               text_bounded(right, sizeof right, pattern, strlen(pattern)));
}

bool tell_twins(struct check *c, const struct place *place, size_t first, size_t second)
{
    return say(c, place, NEAR, "has the same item at %zu and %zu; no two may be equal",
               first < second ? first : second, first < second ? second : first);
}

/* ---- members ------------------------------------------------------------------------------------
 */

static bool add_name(struct buf *list, const char *name)
{
    char shown[TOKEN_BYTES], quoted[TOKEN_BYTES + 2];
    (void)snprintf(quoted, sizeof quoted, "'%s'",
                   text_bounded(shown, sizeof shown, name, strlen(name)));
    return add_to_list(list, quoted);
}

static void add_names(struct buf *list, const json_t *object)
{
    const char *name;
    const json_t *member;
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
        if (!add_name(list, name))
            break;
}

bool tell_missing(struct check *c, const struct place *place, const json_t *required,
                  const json_t *value, const char *because)
{
    size_t i, count = 0;
    const json_t *name;
    char shown[TOKEN_BYTES];
    if (!is_news(c, place, NEAR))
        return false;
    AUTO_BUF struct buf list, there;
    buf_init(&list, TEXT_BYTES);
    buf_init(&there, TEXT_BYTES);
    json_array_foreach(required, i, name) {
        if (json_object_get(value, json_string_value(name)))
            continue;
        count++;
        if (!add_name(&list, json_string_value(name)))
            break;
    }
    add_names(&there, value);
    if (because)
        return say(c, place, NEAR, "has '%s' and lacks %s, which must then be there too",
                   text_bounded(shown, sizeof shown, because, strlen(because)), list.data);
    return say(c, place, NEAR, "lacks %s, which %s required; it has %s", list.data,
               count == 1 ? "is" : "are", there.len > 0 ? there.data : "no members");
}

bool tell_unknown(struct check *c, const struct place *place, const char *name,
                  const struct node *node)
{
    char shown[TOKEN_BYTES];
    if (!is_news(c, place, NEAR))
        return false;
    AUTO_BUF struct buf list;
    buf_init(&list, TEXT_BYTES);
    const char *near = keyword_nearest_member(name, node->described);
    text_bounded(shown, sizeof shown, name, strlen(name));
    if (near)
        return say(c, place, NEAR, "has '%s', which is not allowed; did you mean '%s'?", shown,
                   near);
    add_names(&list, node->described);
    return say(c, place, NEAR, "has '%s', which is not allowed; allowed %s %s", shown,
               json_object_size(node->described) == 1 ? "is" : "are",
               list.len > 0 ? list.data : "no members");
}

/* ---- forms
 * ---------------------------------------------------------------------------------------- */

bool tell_excluded(struct check *c, const struct place *place, const json_t *value)
{
    char shown[SHOWN_BYTES];
    if (!is_news(c, place, NEAR))
        return false;
    return say(c, place, NEAR, "is %s, of a form that 'not' excludes",
               value_describe(value, shown, sizeof shown));
}

bool tell_two_forms(struct check *c, const struct place *place, size_t first, size_t second)
{
    return say(c, place, NEAR,
               "fits more than one of the forms of which exactly one is wanted (numbers %zu and "
               "%zu of 'oneOf')",
               first + 1, second + 1);
}

/* The node that says what a form is about: behind references that say nothing more. */
static const struct node *heart_of(const struct node *form)
{
    while (form->reference && !form->types && !form->properties.count)
        form = form->reference; /* circles were refused */
    return form;
}

static bool is_for_other_types(const struct node *form, const json_t *value)
{
    return form->nothing || (form->types && !(form->types & value_types(value)));
}

/* A member that is there with another value than the only ones allowed; NULL: none. */
static const struct named_node *wrong_tag(struct check *c, const struct node *form,
                                          const json_t *value)
{
    *c->work -= (int64_t)form->properties.count;
    for (size_t i = 0; i < form->properties.count; i++) {
        const struct named_node *property = &form->properties.items[i];
        const struct node *wanted = property->node;
        const json_t *member = json_object_get(value, property->name), *choice;
        bool is_tag = wanted->constant || wanted->choices, right = false;
        size_t k;
        if (!member || !is_tag)
            continue;
        if (wanted->constant)
            right = value_equal(member, wanted->constant, c->work);
        else
            json_array_foreach(wanted->choices, k, choice)
                right = right || value_equal(member, choice, c->work);
        if (!right)
            return property;
    }
    return NULL;
}

bool form_is_for_others(struct check *c, const struct node *form, const json_t *value)
{
    form = heart_of(form);
    return is_for_other_types(form, value) || wrong_tag(c, form, value);
}

bool tell_types(struct check *c, const struct place *place, const struct node_list *forms,
                const json_t *value)
{
    unsigned types = 0;
    for (size_t i = 0; i < forms->count; i++) {
        const struct node *form = heart_of(forms->items[i]);
        if (!is_for_other_types(form, value))
            return false;
        types |= form->types;
    }
    return types && !tell_type(c, place, value, types);
}

bool tell_tags(struct check *c, const struct place *place, const struct node_list *forms,
               const json_t *value)
{
    const char *tag = NULL;
    AUTO_BUF struct buf list;
    buf_init(&list, TEXT_BYTES);
    bool room = true;
    for (size_t i = 0; i < forms->count; i++) {
        const struct node *form = heart_of(forms->items[i]);
        if (is_for_other_types(form, value))
            continue;
        const struct named_node *wrong = wrong_tag(c, form, value);
        if (!wrong || (tag && strcmp(tag, wrong->name) != 0))
            return false;
        tag = wrong->name;
        const json_t *choices = wrong->node->choices, *choice;
        size_t k;
        if (wrong->node->constant)
            room = room && add_value(&list, wrong->node->constant);
        else
            json_array_foreach(choices, k, choice)
                room = room && add_value(&list, choice);
    }
    if (!tag)
        return false;
    const struct place below = { place, tag, 0, false };
    char shown[SHOWN_BYTES];
    return !say(c, &below, FAR_CONSTANT, "is %s; one of %s is wanted",
                value_describe(json_object_get(value, tag), shown, sizeof shown), list.data);
}

void tell_other_forms(struct check *c, const struct place *place, size_t count)
{
    static const char head[] = " (or another of the ";
    if (c->quiet || c->stopped || strstr(c->why, head))
        return; /* forms within forms say it once */
    AUTO_BUF struct buf text;
    buf_init(&text, TEXT_BYTES);
    (void)buf_printf(&text, "%s%s%zu forms of ", c->why, head, count);
    write_place(c, place, &text);
    (void)buf_puts(&text, ")");
    if (text.len < JSON_SCHEMA_WHY_SIZE)
        (void)keep(c, &text);
}
