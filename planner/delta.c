#include "planner/delta.h"

#include "common/memory.h"
#include "planner/json_text.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum node_kind { NODE_NULL, NODE_TEXT, NODE_OBJECT, NODE_ARRAY, NODE_OTHER };

struct delta_node {
    enum node_kind kind;
    struct buf text;            /* NODE_TEXT */
    json_t *other;              /* NODE_OTHER: a number or a boolean */
    struct delta_member *items; /* NODE_OBJECT, NODE_ARRAY */
    size_t count, room;
};

struct delta_member {
    char *key; /* NULL in an array */
    struct delta_node node;
};

static void node_clear(struct delta_node *node)
{
    for (size_t i = 0; i < node->count; i++) {
        free(node->items[i].key);
        node_clear(&node->items[i].node);
    }
    free(node->items);
    buf_release(&node->text);
    json_decref(node->other);
    *node = (struct delta_node){ .kind = NODE_NULL };
}

void delta_init(struct delta *d, size_t limit_bytes)
{
    *d =
        (struct delta){ .root = xcalloc(1, sizeof(struct delta_node)), .limit_bytes = limit_bytes };
    d->root->kind = NODE_OBJECT;
}

void delta_release(struct delta *d)
{
    if (!d->root)
        return;
    node_clear(d->root);
    free(d->root);
    *d = (struct delta){ 0 };
}

static enum outcome spend(struct delta *d, size_t n_bytes, struct error *err)
{
    if (n_bytes > d->limit_bytes - d->used_bytes)
        return fail(err, REFUSED, "the model's answer is larger than %zu bytes", d->limit_bytes);
    d->used_bytes += n_bytes;
    return OK;
}

/* What the node held before is forgotten when it was of another kind. */
static void become(struct delta_node *node, enum node_kind kind)
{
    if (node->kind == kind)
        return;
    node_clear(node);
    node->kind = kind;
}

static struct delta_node *find(const struct delta_node *object, const char *key)
{
    for (size_t i = 0; i < object->count; i++)
        if (strcmp(object->items[i].key, key) == 0)
            return &object->items[i].node;
    return NULL;
}

/* How often one may look for a member of it. */
static enum outcome look(struct delta *d, const struct delta_node *parent, struct error *err)
{
    d->looks += parent->count;
    return d->looks <= DELTA_LOOKS_MAX
               ? OK
               : fail(err, REFUSED, "the model's answer comes in too many pieces of its parts");
}

/* NULL past a limit. */
static struct delta_node *add(struct delta *d, struct delta_node *parent, const char *key,
                              struct error *err)
{
    if (parent->count == DELTA_MEMBERS_MAX) {
        (void)fail(err, REFUSED, "the model's answer has more than %d parts", DELTA_MEMBERS_MAX);
        return NULL;
    }
    if (spend(d, DELTA_NODE_COST_BYTES + (key ? strlen(key) : 0), err) != OK)
        return NULL;
    if (parent->count == parent->room) {
        parent->room = parent->room ? 2 * parent->room : 4;
        parent->items = xreallocarray(parent->items, parent->room, sizeof *parent->items);
    }
    struct delta_member *member = &parent->items[parent->count++];
    *member = (struct delta_member){ .key = key ? xstrdup(key) : NULL };
    return &member->node;
}

/* Does this member name its thing, so that it is set once? */
static bool is_name(const char *key)
{
    static const char *const names[] = { "role", "id", "type", "name", "format" };
    for (size_t i = 0; key && i < sizeof names / sizeof *names; i++)
        if (strcmp(key, names[i]) == 0)
            return true;
    return false;
}

static bool has_text(const struct delta_node *node)
{
    return node && node->kind == NODE_TEXT && node->text.len > 0;
}

static enum outcome merge_text(struct delta *d, struct delta_node *node, const char *key,
                               const json_t *piece, struct error *err)
{
    if (is_name(key) && has_text(node))
        return OK;
    size_t n = json_string_length(piece);
    enum outcome outcome = spend(d, n, err);
    if (outcome != OK)
        return outcome;
    if (node->kind != NODE_TEXT) {
        become(node, NODE_TEXT);
        buf_init(&node->text, d->limit_bytes);
    }
    return buf_add(&node->text, json_string_value(piece), n)
               ? OK
               : fail(err, REFUSED, "no room for the model's answer");
}

/* ---- arrays ---------------------------------------------------------------- */

static bool same_index(const struct delta_node *element, json_int_t index)
{
    const struct delta_node *have = element->kind == NODE_OBJECT ? find(element, "index") : NULL;
    return have && have->kind == NODE_OTHER && json_is_integer(have->other) &&
           json_integer_value(have->other) == index;
}

/* Two ids that differ are two things, whatever the index says: some servers
 * number every call 0.                                                       */
static bool ids_differ(const struct delta_node *element, const char *id)
{
    const struct delta_node *have = find(element, "id");
    return id && *id && has_text(have) && strcmp(have->text.data, id) != 0;
}

/* The element that this piece continues, or NULL: it begins a new one.  The
 * newest of an index is looked at: an older one was left for good.           */
static struct delta_node *continued(const struct delta_node *array, const char *array_key,
                                    const json_t *piece)
{
    if (!json_is_object(piece) || array->count == 0)
        return NULL;
    const char *id = json_string_value(json_object_get(piece, "id"));
    const json_t *index = json_object_get(piece, "index");
    if (json_is_integer(index)) {
        for (size_t i = array->count; i-- > 0;) {
            struct delta_node *element = &array->items[i].node;
            if (same_index(element, json_integer_value(index)))
                return ids_differ(element, id) ? NULL : element;
        }
        return NULL;
    }
    struct delta_node *last = &array->items[array->count - 1].node;
    bool calls = array_key && strcmp(array_key, "tool_calls") == 0;
    return calls && last->kind == NODE_OBJECT && (!id || !*id) ? last : NULL;
}

/* ---- merging --------------------------------------------------------------- */

static enum outcome merge(struct delta *d, struct delta_node *node, const char *key,
                          const json_t *piece, struct error *err);

static enum outcome merge_array(struct delta *d, struct delta_node *node, const char *key,
                                const json_t *piece, struct error *err)
{
    become(node, NODE_ARRAY);
    size_t i;
    const json_t *element;
    json_array_foreach(piece, i, element) {
        if (look(d, node, err) != OK)
            return REFUSED;
        struct delta_node *into = continued(node, key, element);
        if (!into)
            into = add(d, node, NULL, err);
        if (!into || merge(d, into, NULL, element, err) != OK)
            return REFUSED;
    }
    return OK;
}

static enum outcome merge_object(struct delta *d, struct delta_node *node, const json_t *piece,
                                 struct error *err)
{
    become(node, NODE_OBJECT);
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)piece, key, member) {
        if (look(d, node, err) != OK)
            return REFUSED;
        struct delta_node *into = find(node, key);
        if (!into)
            into = add(d, node, key, err);
        if (!into || merge(d, into, key, member, err) != OK)
            return REFUSED;
    }
    return OK;
}

static enum outcome merge(struct delta *d, struct delta_node *node, const char *key,
                          const json_t *piece, struct error *err)
{
    switch (json_typeof(piece)) {
    case JSON_NULL: return OK;
    case JSON_STRING: return merge_text(d, node, key, piece, err);
    case JSON_OBJECT: return merge_object(d, node, piece, err);
    case JSON_ARRAY: return merge_array(d, node, key, piece, err);
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE: break;
    }
    become(node, NODE_OTHER);
    json_decref(node->other);
    node->other = json_copy((json_t *)(uintptr_t)piece);
    return OK;
}

enum outcome delta_merge(struct delta *d, const json_t *piece, struct error *err)
{
    return json_is_object(piece) ? merge_object(d, d->root, piece, err) : OK;
}

/* ---- writing --------------------------------------------------------------- */

static bool write_node(const struct delta_node *node, const char *key, struct buf *out);

static json_int_t index_of(const struct delta_node *element)
{
    const struct delta_node *index = element->kind == NODE_OBJECT ? find(element, "index") : NULL;
    return index && index->kind == NODE_OTHER ? json_integer_value(index->other) : 0;
}

static int by_index(const void *a, const void *b)
{
    const struct delta_node *left = *(const struct delta_node *const *)a;
    const struct delta_node *right = *(const struct delta_node *const *)b;
    json_int_t l = index_of(left), r = index_of(right);
    if (l != r)
        return l < r ? -1 : 1;
    return left < right ? -1 : left > right; /* both lie in one array: the order of coming */
}

static bool write_object(const struct delta_node *node, const char *skip, struct buf *out)
{
    bool first = true;
    buf_putc(out, '{');
    for (size_t i = 0; i < node->count; i++) {
        const char *key = node->items[i].key;
        if (skip && strcmp(key, skip) == 0)
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        buf_add_json_string(out, key, strlen(key));
        buf_putc(out, ':');
        write_node(&node->items[i].node, key, out);
    }
    return buf_putc(out, '}');
}

static bool write_calls(const struct delta_node *node, struct buf *out)
{
    AUTO_FREE const struct delta_node **order = xcalloc(node->count + 1, sizeof *order);
    for (size_t i = 0; i < node->count; i++)
        order[i] = &node->items[i].node;
    if (node->count > 1)
        qsort(order, node->count, sizeof *order, by_index);
    buf_putc(out, '[');
    for (size_t i = 0; i < node->count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        if (order[i]->kind == NODE_OBJECT)
            write_object(order[i], "index", out);
        else
            write_node(order[i], NULL, out);
    }
    return buf_putc(out, ']');
}

static bool write_array(const struct delta_node *node, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < node->count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        write_node(&node->items[i].node, NULL, out);
    }
    return buf_putc(out, ']');
}

static bool write_other(const json_t *value, struct buf *out)
{
    AUTO_FREE char *text = json_text(value);
    return buf_puts(out, text);
}

static bool write_node(const struct delta_node *node, const char *key, struct buf *out)
{
    switch (node->kind) {
    case NODE_NULL: return buf_puts(out, "null");
    case NODE_TEXT: return buf_add_json_string(out, node->text.data, node->text.len);
    case NODE_OBJECT: return write_object(node, NULL, out);
    case NODE_ARRAY:
        return key && strcmp(key, "tool_calls") == 0 ? write_calls(node, out)
                                                     : write_array(node, out);
    case NODE_OTHER: return write_other(node->other, out);
    }
    return false;
}

bool delta_write(const struct delta *d, struct buf *out)
{
    return write_object(d->root, NULL, out) && !out->full;
}
