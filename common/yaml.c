#include "common/yaml.h"

#include "common/memory.h"
#include "common/text.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

const struct yaml_limits yaml_limits_default = { .bytes = 4u << 20, .depth = 64, .nodes = 100000 };

enum { ARENA_BYTES = 64 << 20, ANCHORS_MAX = 1000, FILE_NAME_SHOWN = 80, SHOWN_SIZE = 64 };

/* A collection that has begun and not ended. */
struct frame {
    struct yaml_node *node;
    const struct yaml_node **children; /* mapping: key, value, key, value ... */
    size_t count, room;
};

struct anchor {
    const char *name;
    const struct yaml_node *node; /* height 0: its collection has not ended */
};

struct reader {
    struct yaml_file *file;
    const char *name; /* of the file, owned by its arena */
    const struct yaml_limits *limits;
    yaml_parser_t parser;
    struct frame *frames;
    size_t depth; /* frames in use */
    size_t frame_room;
    struct anchor *anchors; /* of this document */
    size_t anchor_count, anchor_room;
    size_t document_room;
    size_t nodes; /* so far, aliases counted in full */
    bool finished;
    struct error *err;
};

/* --- messages ----------------------------------------------------------------- */

/* Long names keep their tail: that is what tells files apart. */
static const char *name_shown(const char *name, char out[FILE_NAME_SHOWN + 4])
{
    size_t length = strlen(name);
    if (length <= FILE_NAME_SHOWN)
        return name;
    snprintf(out, FILE_NAME_SHOWN + 4, "...%s", name + length - FILE_NAME_SHOWN);
    return out;
}

static enum outcome refuse_at(struct error *err, const char *file, size_t line, const char *what)
{
    char shown[FILE_NAME_SHOWN + 4];
    (void)fail(err, REFUSED, "%s:%zu: %s", name_shown(file, shown), line, what);
    return REFUSED;
}

enum outcome yaml_fail(struct error *err, const struct yaml_node *node, const char *format, ...)
{
    struct error what;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what.text, sizeof what.text, format, args);
    va_end(args);
    return refuse_at(err, node->file, (size_t)node->line, what.text);
}

PRINTF(3, 4)
static enum outcome refuse(struct reader *r, size_t line, const char *format, ...)
{
    struct error what;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what.text, sizeof what.text, format, args);
    va_end(args);
    return refuse_at(r->err, r->name, line, what.text);
}

static enum outcome refuse_size(struct reader *r)
{
    return refuse(r, r->parser.mark.line + 1, "the file is too large; split it");
}

static enum outcome refuse_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "no reason given";
    size_t line = p->problem_mark.line + 1;
    if (p->error == YAML_READER_ERROR || p->error == YAML_MEMORY_ERROR)
        line = p->mark.line + 1;
    if (strstr(problem, "cannot start any token"))
        return refuse(r, line,
                      "not YAML: %s; indent with spaces, and quote text that begins with "
                      "@, ` or %%",
                      problem);
    if (p->context && p->context_mark.line + 1 != line)
        return refuse(r, line,
                      "not YAML: %s (%s that began on line %zu); check the indentation "
                      "and the quotes",
                      problem, p->context, p->context_mark.line + 1);
    return refuse(r, line, "not YAML: %s; check the indentation and the quotes", problem);
}

/* --- building the tree ---------------------------------------------------------- */

/* Room for one more element in a growing array of `count`. */
static void *grow(void *array, size_t count, size_t *room, size_t element_bytes)
{
    if (count < *room)
        return array;
    *room = *room ? *room * 2 : 16;
    return xreallocarray(array, *room, element_bytes);
}

static enum outcome count_nodes(struct reader *r, size_t line, size_t nodes)
{
    if (nodes > r->limits->nodes - r->nodes)
        return refuse(r, line, "more than %zu values; split the file", r->limits->nodes);
    r->nodes += nodes;
    return OK;
}

/* Puts a node where the text stands: into the open collection, or on top. */
static void place(struct reader *r, const struct yaml_node *node)
{
    if (r->depth) {
        struct frame *f = &r->frames[r->depth - 1];
        f->children = grow(f->children, f->count, &f->room, sizeof(void *));
        f->children[f->count++] = node;
        return;
    }
    struct yaml_file *file = r->file;
    file->documents = grow(file->documents, file->count, &r->document_room, sizeof(void *));
    file->documents[file->count++] = node;
}

/* Is the next node a key of the open mapping? */
static bool expects_key(const struct reader *r)
{
    if (!r->depth)
        return false;
    const struct frame *f = &r->frames[r->depth - 1];
    return f->node->kind == YAML_MAPPING && f->count % 2 == 0;
}

static enum outcome check_key(struct reader *r, const struct yaml_node *key, size_t line)
{
    if (key->kind != YAML_SCALAR)
        return refuse(r, line, "a key is %s; write a name",
                      key->kind == YAML_MAPPING ? "a mapping" : "a list");
    if (key->length == 0)
        return refuse(r, line, "a key is missing before ':'; write a name");
    if (key->plain && strcmp(key->text, "<<") == 0)
        return refuse(r, line,
                      "merge keys (<<) are not read; write the keys out, or use an alias "
                      "for a whole value");
    return OK;
}

static enum outcome check_tag(struct reader *r, const yaml_char_t *tag, size_t line)
{
    char shown[SHOWN_SIZE];
    if (!tag || strcmp((const char *)tag, "!") == 0) /* "!" is what quotes mean */
        return OK;
    return refuse(r, line, "tags are not read: %s; leave it out, and quote the value if it is text",
                  text_bounded(shown, sizeof shown, (const char *)tag, strlen((const char *)tag)));
}

/* NULL: refused, and r->err says why. */
static struct yaml_node *new_node(struct reader *r, enum yaml_kind kind, const yaml_mark_t *mark)
{
    if (count_nodes(r, mark->line + 1, 1) != OK)
        return NULL;
    struct yaml_node *node = arena_alloc(&r->file->arena, sizeof *node);
    if (!node) {
        (void)refuse_size(r);
        return NULL;
    }
    node->kind = kind;
    node->file = r->name;
    node->line = (int)mark->line + 1;
    node->column = (int)mark->column + 1;
    node->nodes = 1;
    return node;
}

static enum outcome add_anchor(struct reader *r, const yaml_char_t *name,
                               const struct yaml_node *node)
{
    if (!name)
        return OK;
    if (r->anchor_count == ANCHORS_MAX)
        return refuse(r, (size_t)node->line,
                      "more than %d anchors in one document; write some "
                      "values out",
                      ANCHORS_MAX);
    const char *kept = arena_strdup(&r->file->arena, (const char *)name);
    if (!kept)
        return refuse_size(r);
    r->anchors = grow(r->anchors, r->anchor_count, &r->anchor_room, sizeof *r->anchors);
    r->anchors[r->anchor_count++] = (struct anchor){ kept, node };
    return OK;
}

static enum outcome on_scalar(struct reader *r, const yaml_event_t *ev)
{
    size_t line = ev->start_mark.line + 1;
    enum outcome outcome = check_tag(r, ev->data.scalar.tag, line);
    if (outcome != OK)
        return outcome;
    struct yaml_node *node = new_node(r, YAML_SCALAR, &ev->start_mark);
    if (!node)
        return REFUSED;
    node->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->height = 1;
    node->length = ev->data.scalar.length;
    node->text = arena_memdup(&r->file->arena, ev->data.scalar.value, node->length);
    if (!node->text)
        return refuse_size(r);
    outcome = add_anchor(r, ev->data.scalar.anchor, node);
    if (outcome == OK && expects_key(r))
        outcome = check_key(r, node, line);
    if (outcome == OK)
        place(r, node);
    return outcome;
}

static enum outcome on_alias(struct reader *r, const yaml_event_t *ev)
{
    const char *name = (const char *)ev->data.alias.anchor;
    size_t line = ev->start_mark.line + 1;
    const struct yaml_node *node = NULL;
    for (size_t i = r->anchor_count; i > 0 && !node; i--)
        if (strcmp(r->anchors[i - 1].name, name) == 0)
            node = r->anchors[i - 1].node;
    char shown[SHOWN_SIZE];
    if (!node)
        return refuse(r, line,
                      "alias *%s has no anchor before it; write &%s in front of the value "
                      "it stands for",
                      text_bounded(shown, sizeof shown, name, strlen(name)), shown);
    if (node->height == 0)
        return refuse(r, line,
                      "alias *%s stands inside the value that it stands for; write the "
                      "value out",
                      text_bounded(shown, sizeof shown, name, strlen(name)));
    if ((int)r->depth + node->height > r->limits->depth)
        return refuse(r, line, "nested deeper than %d levels; flatten it", r->limits->depth);
    enum outcome outcome = count_nodes(r, line, node->nodes);
    if (outcome == OK && expects_key(r))
        outcome = check_key(r, node, line);
    if (outcome == OK)
        place(r, node);
    return outcome;
}

static enum outcome on_start(struct reader *r, const yaml_event_t *ev, enum yaml_kind kind)
{
    /* The two kinds of event have anchor and tag in two places of a union. */
    bool mapping = kind == YAML_MAPPING;
    const yaml_char_t *tag = mapping ? ev->data.mapping_start.tag : ev->data.sequence_start.tag;
    const yaml_char_t *anchor =
        mapping ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor;
    size_t line = ev->start_mark.line + 1;

    if ((int)r->depth >= r->limits->depth)
        return refuse(r, line, "nested deeper than %d levels; flatten it", r->limits->depth);
    enum outcome outcome = check_tag(r, tag, line);
    if (outcome != OK)
        return outcome;
    struct yaml_node *node = new_node(r, kind, &ev->start_mark);
    if (!node)
        return REFUSED;
    outcome = add_anchor(r, anchor, node);
    if (outcome == OK && expects_key(r))
        outcome = check_key(r, node, line);
    if (outcome != OK)
        return outcome;
    r->frames = grow(r->frames, r->depth, &r->frame_room, sizeof *r->frames);
    r->frames[r->depth++] = (struct frame){ .node = node };
    return OK;
}

static int by_text(const void *a, const void *b)
{
    const struct yaml_node *x = *(const struct yaml_node *const *)a;
    const struct yaml_node *y = *(const struct yaml_node *const *)b;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    int order = memcmp(x->text, y->text, x->length);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* `sorted` is scratch space for n keys. */
static enum outcome check_doubled(struct reader *r, const struct yaml_node *mapping,
                                  const struct yaml_node **sorted)
{
    size_t n = mapping->count;
    if (n < 2)
        return OK;
    memcpy(sorted, mapping->keys, n * sizeof(void *));
    qsort(sorted, n, sizeof(void *), by_text);
    for (size_t i = 1; i < n; i++) {
        const struct yaml_node *a = sorted[i - 1], *b = sorted[i];
        char shown[SHOWN_SIZE];
        if (a->length == b->length && memcmp(a->text, b->text, a->length) == 0)
            return refuse(r, (size_t)b->line,
                          "key '%s' stands here again, first on line %d; "
                          "remove one",
                          text_bounded(shown, sizeof shown, b->text, b->length), a->line);
    }
    return OK;
}

/* The children of an ended collection go from the frame to the node. */
static enum outcome fill(struct reader *r, struct frame *f)
{
    struct yaml_node *node = f->node;
    bool mapping = node->kind == YAML_MAPPING;
    struct arena *arena = &r->file->arena;
    node->count = mapping ? f->count / 2 : f->count;
    if (node->count == 0)
        return OK;

    const struct yaml_node **items = arena_alloc_array(arena, node->count, sizeof(void *));
    const struct yaml_node **keys = items;
    if (mapping)
        keys = arena_alloc_array(arena, node->count, sizeof(void *));
    if (!items || !keys)
        return refuse_size(r);
    for (size_t i = 0; i < node->count; i++) {
        items[i] = f->children[mapping ? 2 * i + 1 : i];
        keys[i] = f->children[mapping ? 2 * i : i];
    }
    node->items = items;
    node->keys = mapping ? keys : NULL;
    return mapping ? check_doubled(r, node, f->children) : OK;
}

static enum outcome on_end(struct reader *r)
{
    struct frame *f = &r->frames[--r->depth];
    struct yaml_node *node = f->node;
    int height = 0;
    for (size_t i = 0; i < f->count; i++) {
        node->nodes += f->children[i]->nodes;
        if (f->children[i]->height > height)
            height = f->children[i]->height;
    }
    enum outcome outcome = fill(r, f);
    free(f->children);
    if (outcome != OK)
        return outcome;
    node->height = height + 1;
    place(r, node);
    return OK;
}

static enum outcome on_event(struct reader *r, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT: return on_scalar(r, ev);
    case YAML_ALIAS_EVENT: return on_alias(r, ev);
    case YAML_SEQUENCE_START_EVENT: return on_start(r, ev, YAML_SEQUENCE);
    case YAML_MAPPING_START_EVENT: return on_start(r, ev, YAML_MAPPING);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return on_end(r);
    case YAML_DOCUMENT_START_EVENT: r->anchor_count = 0; return OK;
    case YAML_STREAM_END_EVENT: r->finished = true; return OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: return OK;
    }
    return OK;
}

static enum outcome read_events(struct reader *r)
{
    while (!r->finished) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&r->parser, &ev))
            return refuse_syntax(r);
        enum outcome outcome = on_event(r, &ev);
        yaml_event_delete(&ev);
        if (outcome != OK)
            return outcome;
    }
    return OK;
}

/* --- entry points ----------------------------------------------------------------- */

static enum outcome check_utf8(struct reader *r, const char *text, size_t length)
{
    if (text_is_utf8(text, length))
        return OK;
    size_t line = 1;
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t n = text_utf8_next(text + at, length - at, &code_point);
        if (n == 0)
            break;
        line += text[at] == '\n';
        at += n;
    }
    return refuse(r, line, "not UTF-8; save the file as UTF-8");
}

static enum outcome read_tree(struct reader *r, const char *text, size_t length)
{
    if (length > r->limits->bytes)
        return refuse(r, 1, "larger than %zu bytes; split the file", r->limits->bytes);
    enum outcome outcome = check_utf8(r, text, length);
    if (outcome != OK)
        return outcome;
    if (!yaml_parser_initialize(&r->parser))
        return fail(r->err, REFUSED, "no memory to read %s", r->name);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, length);
    outcome = read_events(r);
    yaml_parser_delete(&r->parser);
    return outcome;
}

static void release_reader(struct reader *r)
{
    for (size_t i = 0; i < r->depth; i++)
        free(r->frames[i].children);
    free(r->frames);
    free(r->anchors);
}

enum outcome yaml_read_text(struct yaml_file *file, const char *name, const char *text,
                            size_t length, const struct yaml_limits *limits, struct error *err)
{
    *file = (struct yaml_file){ 0 };
    arena_init(&file->arena, ARENA_BYTES);
    struct reader r = { .file = file,
                        .limits = limits ? limits : &yaml_limits_default,
                        .err = err };
    r.name = arena_strdup(&file->arena, name);
    enum outcome outcome =
        r.name ? read_tree(&r, text, length) : fail(err, REFUSED, "no memory to read %s", name);
    release_reader(&r);
    if (outcome != OK)
        yaml_release(file);
    return outcome;
}

enum outcome yaml_read_path(struct yaml_file *file, const char *path,
                            const struct yaml_limits *limits, struct error *err)
{
    char shown[FILE_NAME_SHOWN + 4];
    *file = (struct yaml_file){ 0 };
    if (!limits)
        limits = &yaml_limits_default;
    FILE *in = fopen(path, "rbe");
    if (!in)
        return fail(err, REFUSED, "cannot open %s: %s", name_shown(path, shown), strerror(errno));
    size_t room = limits->bytes + 1; /* one more, to see that it is too large */
    char *text = xmalloc(room);
    size_t length = fread(text, 1, room, in);
    int failed = ferror(in) ? errno : 0;
    (void)fclose(in);
    enum outcome outcome =
        failed ? fail(err, REFUSED, "cannot read %s: %s", name_shown(path, shown), strerror(failed))
               : yaml_read_text(file, path, text, length, limits, err);
    free(text);
    return outcome;
}

void yaml_release(struct yaml_file *file)
{
    free(file->documents);
    arena_free(&file->arena);
    *file = (struct yaml_file){ 0 };
}

/* --- looking at nodes --------------------------------------------------------------- */

static size_t find_key(const struct yaml_node *node, const char *key)
{
    if (!node || node->kind != YAML_MAPPING)
        return SIZE_MAX;
    size_t length = strlen(key);
    for (size_t i = 0; i < node->count; i++)
        if (node->keys[i]->length == length && memcmp(node->keys[i]->text, key, length) == 0)
            return i;
    return SIZE_MAX;
}

const struct yaml_node *yaml_get(const struct yaml_node *node, const char *key)
{
    size_t i = find_key(node, key);
    return i == SIZE_MAX ? NULL : node->items[i];
}

const struct yaml_node *yaml_get_key(const struct yaml_node *node, const char *key)
{
    size_t i = find_key(node, key);
    return i == SIZE_MAX ? NULL : node->keys[i];
}
