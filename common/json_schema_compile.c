#include "common/json_schema_compile.h"

#include "common/buf.h"
#include "common/memory.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 16 << 20, SHOWN_SIZE = 64 };

#define NO_BOUNDS                              \
    {                                          \
        NO_BOUND, NO_BOUND, NO_BOUND, NO_BOUND \
    }
_Static_assert((int)COUNT_KINDS == 4, "NO_BOUNDS has one for each");
static const struct node anything = { .height = 1, .least = NO_BOUNDS, .most = NO_BOUNDS };
static const struct node nothing = {
    .nothing = true, .height = 1, .least = NO_BOUNDS, .most = NO_BOUNDS
};

/* ---- refusing -------------------------------------------------------------------------------- */

static void write_pointer(const struct spot *spot, struct buf *out)
{
    const struct spot *path[2 * JSON_SCHEMA_DEPTH_MAX + 8];
    size_t n = 0;
    for (; spot && spot->above; spot = spot->above)
        path[n++] = spot;
    while (n-- > 0) {
        (void)buf_putc(out, '/');
        if (!path[n]->token)
            (void)buf_printf(out, "%zu", path[n]->index);
        for (const char *c = path[n]->token; c && *c; c++)
            (void)(*c == '~'   ? buf_puts(out, "~0")
                   : *c == '/' ? buf_puts(out, "~1")
                               : buf_putc(out, *c));
    }
}

const char *compile_pointer(const struct compiler *c, const struct spot *spot)
{
    AUTO_BUF struct buf pointer;
    buf_init(&pointer, sizeof c->fault->pointer - 1);
    write_pointer(spot, &pointer);
    return arena_strdup(&c->schema->arena, pointer.data);
}

enum outcome compile_refuse(const struct compiler *c, const struct spot *spot, const char *fmt, ...)
{
    AUTO_BUF struct buf pointer;
    buf_init(&pointer, sizeof c->fault->pointer - 1);
    write_pointer(spot, &pointer);
    (void)snprintf(c->fault->pointer, sizeof c->fault->pointer, "%s", pointer.data);
    c->fault->at_key = false;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(c->fault->text, sizeof c->fault->text, fmt, args);
    va_end(args);
    return REFUSED;
}

enum outcome compile_refuse_value(const struct compiler *c, const struct spot *spot,
                                  const json_t *value, const char *right)
{
    char shown[SHOWN_SIZE];
    return compile_refuse(c, spot, "is %s; write %s", value_describe(value, shown, sizeof shown),
                          right);
}

enum outcome compile_no_room(const struct compiler *c, const struct spot *spot)
{
    return compile_refuse(c, spot, "does not fit in memory; make the schema smaller");
}

/* ---- one schema
 * ------------------------------------------------------------------------------------ */

/* A required property that is not described is a slip of the pen, unless another
 * part of the schema describes it.                                           */
static enum outcome check_required(const struct compiler *c, const struct spot *spot,
                                   const struct node *node)
{
    static const char *const others[] = { "$ref", "allOf", "anyOf", "oneOf", "patternProperties" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (json_object_get(node->source, others[i]))
            return OK;
    if (!node->required || !node->described)
        return OK;
    for (size_t i = 0; i < json_array_size(node->required); i++) {
        const char *name = json_string_value(json_array_get(node->required, i));
        const struct spot list = { spot, "required", 0 }, item = { &list, NULL, i };
        if (json_object_get(node->described, name))
            continue;
        const char *near = keyword_nearest_member(name, node->described);
        if (near)
            return compile_refuse(
                c, &item, "'%.48s' is required but not under 'properties'; did you mean '%.48s'?",
                name, near);
        return compile_refuse(
            c, &item, "'%.64s' is required but not under 'properties'; describe it there", name);
    }
    return OK;
}

static struct node *add_node(struct compiler *c, const json_t *source)
{
    struct node *node = arena_alloc(&c->schema->arena, sizeof *node);
    if (!node)
        return NULL;
    if (c->count == c->room) {
        c->room = c->room ? c->room * 2 : 32;
        c->nodes = xreallocarray(c->nodes, c->room, sizeof *c->nodes);
    }
    c->nodes[c->count++] = node;
    node->source = source;
    for (int i = 0; i < COUNT_KINDS; i++)
        node->least[i] = node->most[i] = NO_BOUND;
    return node;
}

/* NOLINTNEXTLINE(misc-no-recursion): JSON_SCHEMA_DEPTH_MAX deep */
enum outcome compile_node(struct compiler *c, const struct spot *spot, const json_t *source,
                          const struct node **into)
{
    const char *key;
    const json_t *value;
    if (json_is_boolean(source)) {
        *into = json_is_true(source) ? &anything : &nothing;
        return OK;
    }
    if (!json_is_object(source))
        return compile_refuse_value(c, spot, source, "a schema, like {type: string}");
    if (c->count == JSON_SCHEMA_NODES_MAX)
        return compile_refuse(c, spot, "is one schema too many; at most %d are read",
                              JSON_SCHEMA_NODES_MAX);
    if (c->depth == JSON_SCHEMA_DEPTH_MAX)
        return compile_refuse(c, spot, "lies within more than %d other schemas",
                              JSON_SCHEMA_DEPTH_MAX);
    struct node *node = add_node(c, source);
    if (!node)
        return compile_no_room(c, spot);
    *into = node;
    c->depth++;
    json_object_foreach((json_t *)(uintptr_t)source, key, value) {
        const struct spot below = { spot, key, 0 };
        enum outcome outcome = compile_keyword(c, &below, value, node);
        if (outcome != OK)
            return outcome;
    }
    c->depth--;
    return c->by_hand ? check_required(c, spot, node) : OK;
}

/* ---- references
 * --------------------------------------------------------------------------------------- */

static enum outcome refuse_link(const struct compiler *c, const struct link *link, const char *why)
{
    char shown[SHOWN_SIZE];
    (void)compile_refuse(c, NULL, "'%s' %s",
                         text_bounded(shown, sizeof shown, link->target, strlen(link->target)),
                         why);
    (void)snprintf(c->fault->pointer, sizeof c->fault->pointer, "%s", link->pointer);
    return REFUSED;
}

/* One token of a JSON pointer in a URI fragment, in place: %7E0 is ~0 is ~. */
static bool decode_token(char *token)
{
    char *out = token;
    for (const char *in = token; *in; in++) {
        char c = *in;
        if (c == '%') {
            char digits[3] = { in[1], in[1] ? in[2] : '\0', '\0' };
            if (strspn(digits, "0123456789abcdefABCDEF") != 2)
                return false;
            c = (char)strtol(digits, NULL, 16);
            in += 2;
            if (!c)
                return false;
        }
        *out++ = c;
    }
    *out = '\0';
    out = token;
    for (const char *in = token; *in; in++) {
        if (*in == '~' && in[1] != '0' && in[1] != '1')
            return false;
        *out++ = *in == '~' ? (*++in == '1' ? '/' : '~') : *in;
    }
    *out = '\0';
    return true;
}

static const json_t *member_of(const json_t *within, const char *token)
{
    if (!json_is_array(within))
        return json_object_get(within, token);
    size_t digits = strspn(token, "0123456789");
    if (digits == 0 || digits > 9 || token[digits] || (*token == '0' && digits > 1))
        return NULL;
    return json_array_get(within, (size_t)strtoul(token, NULL, 10));
}

/* The schema that a pointer names: each step goes from a schema to a keyword that holds
 * schemas, so what looks like one within `const` or `default` is none.       */
static const json_t *find_target(const struct compiler *c, char *pointer)
{
    const json_t *at = c->source;
    bool in_schema = true; /* or in a list or map of them */
    for (char *token = pointer, *next; token && at; token = next) {
        next = strchr(token, '/');
        if (next)
            *next++ = '\0';
        if (!decode_token(token))
            return NULL;
        if (in_schema) {
            enum keyword_holds holds = keyword_holds(token, json_object_get(at, token));
            if (holds == HOLDS_NO_SCHEMA)
                return NULL;
            at = json_object_get(at, token);
            in_schema = holds == HOLDS_SCHEMA;
        } else {
            at = member_of(at, token);
            in_schema = true;
        }
    }
    return in_schema ? at : NULL;
}

static int by_source(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    uintptr_t p = (uintptr_t)(*x)->source, q = (uintptr_t)(*y)->source;
    return (p > q) - (p < q);
}

static enum outcome follow_links(struct compiler *c)
{
    if (c->count > 0)
        qsort(c->nodes, c->count, sizeof *c->nodes, by_source);
    for (struct link *link = c->links; link; link = link->next) {
        AUTO_FREE char *pointer = xstrdup(link->target[1] ? link->target + 2 : "");
        const json_t *target = link->target[1] ? find_target(c, pointer) : c->source;
        struct node wanted = { .source = target };
        const struct node *key = &wanted;
        struct node **found = NULL;
        if (json_is_boolean(target)) {
            link->from->reference = json_is_true(target) ? &anything : &nothing;
            continue;
        }
        if (target && c->count > 0)
            found = bsearch(&key, c->nodes, c->count, sizeof *c->nodes, by_source);
        if (!found)
            return refuse_link(c, link, "is no schema here; write a place like '#/$defs/name'");
        link->from->reference = *found;
    }
    return OK;
}

/* ---- circles
 * -------------------------------------------------------------------------------------------- */

enum { TOO_HIGH = -1 };

static int height_of(const struct node *constant, int depth);

/* NOLINTBEGIN(misc-no-recursion): JSON_SCHEMA_DEPTH_MAX deep */
static int highest(const struct node *const *list, size_t count, int depth)
{
    int most = 0;
    for (size_t i = 0; i < count && most >= 0; i++) {
        int height = list[i] ? height_of(list[i], depth) : 0;
        most = height < 0 || height > most ? height : most;
    }
    return most;
}

/* How many schemas within each other look at the same value; TOO_HIGH when there is
 * no end, or none near enough.                                               */
static int height_of(const struct node *constant, int depth)
{
    struct node *node = (struct node *)(uintptr_t)constant; /* `anything` has its height */
    if (node->height != 0)
        return node->height;
    if (depth == JSON_SCHEMA_DEPTH_MAX)
        return TOO_HIGH;
    const struct node *singles[] = { node->reference, node->not, node->condition, node->then,
                                     node->otherwise };
    int most[] = {
        highest(singles, sizeof singles / sizeof *singles, depth + 1),
        highest(node->all.items, node->all.count, depth + 1),
        highest(node->any.items, node->any.count, depth + 1),
        highest(node->one.items, node->one.count, depth + 1),
    };
    int height = 0;
    for (size_t i = 0; i < node->needs_form.count && height >= 0; i++) {
        int one = height_of(node->needs_form.items[i].node, depth + 1);
        height = one < 0 || one > height ? one : height;
    }
    for (size_t i = 0; i < sizeof most / sizeof *most && height >= 0; i++)
        height = most[i] < 0 || most[i] > height ? most[i] : height;
    return node->height = height < 0 || height >= JSON_SCHEMA_DEPTH_MAX ? TOO_HIGH : height + 1;
}
/* NOLINTEND(misc-no-recursion) */

static enum outcome check_circles(struct compiler *c)
{
    /* Every circle goes over a reference. */
    for (struct link *link = c->links; link; link = link->next)
        if (height_of(link->from, 0) < 0)
            return refuse_link(c, link,
                               "comes back here without going into a member or an item, or over "
                               "too many schemas");
    return OK;
}

/* ---- life
 * ---------------------------------------------------------------------------------------------------
 */

static void release_json(void *thing)
{
    json_decref(thing);
}

enum outcome json_schema_compile(json_t *source, bool by_hand, struct json_schema **out,
                                 struct json_schema_fault *fault)
{
    struct json_schema *s = xcalloc(1, sizeof *s);
    struct compiler c = { .schema = s, .fault = fault, .source = source, .by_hand = by_hand };
    const struct spot root = { 0 };
    arena_init(&s->arena, ARENA_BYTES);
    *fault = (struct json_schema_fault){ 0 };
    enum outcome outcome = arena_defer(&s->arena, release_json, json_incref(source))
                               ? compile_node(&c, &root, source, &s->root)
                               : compile_no_room(&c, &root);
    if (outcome == OK)
        outcome = follow_links(&c);
    if (outcome == OK)
        outcome = check_circles(&c);
    free(c.nodes);
    if (outcome != OK) {
        json_schema_free(s);
        s = NULL;
    }
    *out = s;
    return outcome;
}

void json_schema_free(struct json_schema *s)
{
    if (s)
        arena_free(&s->arena);
    free(s);
}
