#include "planner/model_openai_items.h"

#include "common/buf.h"
#include "common/json.h"
#include "common/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct part {
    enum item_part kind;
    json_int_t index;
    struct buf text;
};

struct items_entry {
    json_int_t index;
    char *id;           /* as it was first said; NULL: not said */
    bool begun, done;   /* its beginning, its end came */
    bool told;          /* something of it was told to who listens */
    json_t *item;       /* as it was then; NULL: only pieces came */
    size_t item_bytes;  /* spent on it */
    size_t item_values; /* the same */
    struct part *parts; /* by index, then as they came */
    size_t part_count, part_room;
};

void items_init(struct items *s, size_t limit_bytes)
{
    *s = (struct items){ .limit_bytes = limit_bytes };
}

/* What its pieces cost is free again. */
static void forget_parts(struct items *s, struct items_entry *entry)
{
    for (size_t i = 0; i < entry->part_count; i++) {
        s->used_bytes -= ITEMS_COST_BYTES + entry->parts[i].text.len;
        buf_release(&entry->parts[i].text);
    }
    free(entry->parts);
    entry->parts = NULL;
    entry->part_count = entry->part_room = 0;
}

void items_release(struct items *s)
{
    for (size_t i = 0; i < s->count; i++) {
        forget_parts(s, &s->entries[i]);
        json_decref(s->entries[i].item);
        free(s->entries[i].id);
    }
    free(s->entries);
    json_decref(s->whole);
    *s = (struct items){ 0 };
}

/* ---- limits -------------------------------------------------------------------- */

static enum outcome too_large(const struct items *s, struct error *err)
{
    return fail(err, REFUSED, "the model's answer is larger than %zu bytes", s->limit_bytes);
}

static enum outcome spend(struct items *s, size_t n_bytes, struct error *err)
{
    if (n_bytes > s->limit_bytes - s->used_bytes)
        return too_large(s, err);
    s->used_bytes += n_bytes;
    return OK;
}

static size_t count_values(const json_t *value)
{
    size_t count = 1, i;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
        count += count_values(member);
    json_array_foreach(value, i, member)
        count += count_values(member);
    return count;
}

static size_t bytes_of(const json_t *value)
{
    return json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* ---- finding -------------------------------------------------------------------- */

static bool same_id(const struct items_entry *entry, const char *id)
{
    return id && *id && entry->id && strcmp(entry->id, id) == 0;
}

/* The entry that an event speaks of: the one with its id, else the newest of its
 * index that is still open; NULL: there is none.                             */
static struct items_entry *find(struct items *s, const json_t *event, const char *id, bool begins)
{
    const json_t *index = json_object_get(event, "output_index");
    bool numbered = json_is_integer(index);
    struct items_entry *open = NULL;
    s->looks += s->count;
    for (size_t i = s->count; i-- > 0;) {
        struct items_entry *entry = &s->entries[i];
        if (numbered && entry->index != json_integer_value(index))
            continue;
        if (same_id(entry, id))
            return entry;
        bool other = !numbered && id && *id && entry->id;
        if (!open && !other && !entry->done && !(begins && entry->begun))
            open = entry;
    }
    return open;
}

static struct items_entry *add_entry(struct items *s, const json_t *event, const char *id,
                                     struct error *err)
{
    if (s->count == ITEMS_MAX) {
        (void)fail(err, REFUSED, "the model's answer has more than %d items", ITEMS_MAX);
        return NULL;
    }
    if (spend(s, ITEMS_COST_BYTES + (id ? strlen(id) : 0), err) != OK)
        return NULL;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 4;
        s->entries = xreallocarray(s->entries, s->room, sizeof *s->entries);
    }
    size_t at = s->count;
    const json_t *given = json_object_get(event, "output_index");
    json_int_t index = json_is_integer(given) ? json_integer_value(given)
                       : at > 0               ? s->entries[at - 1].index
                                              : 0;
    while (at > 0 && s->entries[at - 1].index > index)
        at--;
    memmove(&s->entries[at + 1], &s->entries[at], (s->count - at) * sizeof *s->entries);
    s->count++;
    s->entries[at] = (struct items_entry){ .index = index, .id = id && *id ? xstrdup(id) : NULL };
    return &s->entries[at];
}

static enum outcome entry_of(struct items *s, const json_t *event, const char *id, bool begins,
                             struct items_entry **out, struct error *err)
{
    *out = find(s, event, id, begins);
    if (s->looks > ITEMS_LOOKS_MAX)
        return fail(err, REFUSED, "the model's answer comes in too many pieces of its items");
    if (!*out)
        *out = add_entry(s, event, id, err);
    return *out ? OK : REFUSED;
}

/* ---- news ---------------------------------------------------------------------------- */

static bool is_call(const struct items_entry *entry)
{
    return strcmp(json_str_or(entry->item, "type", ""), "function_call") == 0 ||
           (entry->part_count > 0 && entry->parts[0].kind == ITEM_ARGUMENTS);
}

static void begin_news(struct items *s, const struct items_entry *entry)
{
    s->news = (struct items_news){ .at = (size_t)(entry - s->entries) };
    for (size_t i = 0; i < s->news.at; i++)
        s->news.index += s->entries[i].told || is_call(&s->entries[i]);
    s->looks += s->news.at;
}

void items_told(struct items *s)
{
    s->entries[s->news.at].told = true;
}

/* A piece of this part came.  Thoughts have two forms: the summary stands above. */
static void add_news(struct items *s, const struct items_entry *entry, const struct part *part,
                     const char *bytes, size_t n)
{
    if (n == 0 || part->kind == ITEM_ARGUMENTS)
        return;
    begin_news(s, entry);
    s->news.reasoning = part->kind == ITEM_SUMMARY || part->kind == ITEM_THOUGHT;
    s->news.apart = s->news.reasoning && part->text.len == n && entry->told;
    s->news.bytes = bytes;
    s->news.n = n;
    for (size_t i = 0; i < entry->part_count; i++)
        if (part->kind == ITEM_THOUGHT && entry->parts[i].kind == ITEM_SUMMARY)
            s->news.n = 0;
}

/* ---- what comes ------------------------------------------------------------------- */

static enum outcome take_item(struct items *s, struct items_entry *entry, json_t *item,
                              struct error *err)
{
    size_t values = count_values(item), n_bytes = bytes_of(item);
    s->used_bytes -= entry->item_bytes;
    s->values -= entry->item_values;
    entry->item_bytes = entry->item_values = 0;
    if (spend(s, n_bytes, err) != OK)
        return REFUSED;
    if (values > JSON_VALUES_MAX - s->values)
        return fail(err, REFUSED, "the model's answer has more than %d values", JSON_VALUES_MAX);
    s->values += values;
    entry->item_bytes = n_bytes;
    entry->item_values = values;
    json_decref(entry->item);
    entry->item = json_incref(item);
    return OK;
}

enum outcome items_begin(struct items *s, const json_t *event, struct error *err)
{
    json_t *item = json_obj(event, "item");
    struct items_entry *entry;
    if (!item)
        return OK;
    if (entry_of(s, event, json_str(item, "id"), true, &entry, err) != OK)
        return REFUSED;
    if (entry->done) /* told late, or twice */
        return OK;
    entry->begun = true;
    return take_item(s, entry, item, err);
}

enum outcome items_end(struct items *s, const json_t *event, struct error *err)
{
    json_t *item = json_obj(event, "item");
    struct items_entry *entry;
    if (!item)
        return OK;
    if (entry_of(s, event, json_str(item, "id"), false, &entry, err) != OK)
        return REFUSED;
    entry->done = true;
    forget_parts(s, entry);
    if (take_item(s, entry, item, err) != OK)
        return REFUSED;
    begin_news(s, entry);
    s->news.untold = !entry->told;
    return OK;
}

/* ---- pieces ---------------------------------------------------------------------------- */

static json_int_t part_index(const json_t *event, enum item_part part)
{
    return json_int_or(event, part == ITEM_SUMMARY ? "summary_index" : "content_index", 0);
}

/* The part that a piece belongs to, found or made; NULL past a limit. */
static struct part *part_of(struct items *s, struct items_entry *entry, enum item_part kind,
                            json_int_t index, struct error *err)
{
    size_t at = entry->part_count;
    s->looks += at;
    for (size_t i = 0; i < entry->part_count; i++)
        if (entry->parts[i].kind == kind && entry->parts[i].index == index)
            return &entry->parts[i];
    if (at == ITEMS_MAX) {
        (void)fail(err, REFUSED, "an item of the model's answer has more than %d parts", ITEMS_MAX);
        return NULL;
    }
    if (spend(s, ITEMS_COST_BYTES, err) != OK)
        return NULL;
    if (at == entry->part_room) {
        entry->part_room = entry->part_room ? 2 * entry->part_room : 4;
        entry->parts = xreallocarray(entry->parts, entry->part_room, sizeof *entry->parts);
    }
    while (at > 0 && entry->parts[at - 1].index > index)
        at--;
    memmove(&entry->parts[at + 1], &entry->parts[at],
            (entry->part_count - at) * sizeof *entry->parts);
    entry->part_count++;
    entry->parts[at] = (struct part){ .kind = kind, .index = index };
    buf_init(&entry->parts[at].text, s->limit_bytes);
    return &entry->parts[at];
}

enum outcome items_add(struct items *s, const json_t *event, enum item_part kind,
                       const json_t *text, bool whole, struct error *err)
{
    struct items_entry *entry;
    if (!json_is_string(text))
        return OK;
    if (entry_of(s, event, json_str(event, "item_id"), false, &entry, err) != OK)
        return REFUSED;
    if (entry->done)
        return OK;
    struct part *part = part_of(s, entry, kind, part_index(event, kind), err);
    if (!part)
        return REFUSED;
    const char *bytes = json_string_value(text);
    size_t n = json_string_length(text), known = whole ? part->text.len : 0;
    bool goes_on = n >= known && (known == 0 || memcmp(bytes, part->text.data, known) == 0);
    if (whole) {
        s->used_bytes -= known;
        buf_reset(&part->text);
    }
    if (spend(s, n, err) != OK)
        return REFUSED;
    if (!buf_add(&part->text, bytes, n)) {
        s->used_bytes -= n;
        return fail(err, REFUSED, "no room for the model's answer");
    }
    if (goes_on)
        add_news(s, entry, part, bytes + known, n - known);
    return OK;
}

enum outcome items_whole(struct items *s, json_t *output, struct error *err)
{
    if (json_array_size(output) > ITEMS_MAX)
        return fail(err, REFUSED, "the model's answer has more than %d items", ITEMS_MAX);
    if (bytes_of(output) > s->limit_bytes)
        return too_large(s, err);
    json_decref(s->whole);
    s->whole = json_incref(output);
    return OK;
}

/* ---- putting together --------------------------------------------------------------- */

static const struct {
    const char *item;   /* its type */
    const char *member; /* of the item, where the part stands */
    const char *type;   /* of the part; NULL: the member is the text */
    const char *text;   /* the part's member with the text */
} places[] = {
    [ITEM_TEXT] = { "message", "content", "output_text", "text" },
    [ITEM_REFUSAL] = { "message", "content", "refusal", "refusal" },
    [ITEM_SUMMARY] = { "reasoning", "summary", "summary_text", "text" },
    [ITEM_THOUGHT] = { "reasoning", "content", "reasoning_text", "text" },
    [ITEM_ARGUMENTS] = { "function_call", "arguments", NULL, NULL },
};

static json_t *begun_item(const struct items_entry *entry)
{
    json_t *item = entry->item ? json_copy(entry->item) : json_object();
    if (!json_str(item, "type") && entry->part_count > 0)
        (void)json_object_set_new(item, "type", json_string(places[entry->parts[0].kind].item));
    if (!json_str(item, "role") && strcmp(json_str_or(item, "type", ""), "message") == 0)
        (void)json_object_set_new(item, "role", json_string("assistant"));
    if (!json_str(item, "id") && entry->id)
        (void)json_object_set_new(item, "id", json_string(entry->id));
    if (strcmp(json_str_or(item, "status", ""), "in_progress") == 0)
        (void)json_object_del(item, "status"); /* it is not, any more */
    return item;
}

/* The array that parts of this kind stand in.  What stood there at the beginning
 * makes place for the first of them.                                         */
static json_t *array_for(json_t *item, const struct items_entry *entry, size_t at)
{
    const char *member = places[entry->parts[at].kind].member;
    for (size_t i = 0; i < at; i++)
        if (strcmp(places[entry->parts[i].kind].member, member) == 0)
            return json_arr(item, member);
    (void)json_object_set_new(item, member, json_array());
    return json_arr(item, member);
}

/* An item that never ended. */
static json_t *assembled(const struct items_entry *entry)
{
    json_t *item = begun_item(entry);
    for (size_t i = 0; i < entry->part_count; i++) {
        const struct part *part = &entry->parts[i];
        enum item_part kind = part->kind;
        json_t *text = json_stringn(part->text.data, part->text.len);
        if (!places[kind].type) {
            (void)json_object_set_new(item, places[kind].member, text);
            continue;
        }
        json_t *made = json_object();
        (void)json_object_set_new(made, "type", json_string(places[kind].type));
        (void)json_object_set_new(made, places[kind].text, text);
        if (kind == ITEM_TEXT)
            (void)json_object_set_new(made, "annotations", json_array());
        (void)json_array_append_new(array_for(item, entry, i), made);
    }
    return item;
}

static bool same_type(const json_t *a, const json_t *b)
{
    const char *left = json_str(a, "type"), *right = json_str(b, "type");
    return left && right && strcmp(left, right) == 0;
}

/* What one item lacks, and another telling of it has. */
static json_t *completed(json_t *item, const json_t *from)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)from, key, member) {
        const json_t *have = json_object_get(item, key);
        if (!have || json_is_null(have))
            (void)json_object_set(item, key, member);
    }
    return json_incref(item);
}

json_t *items_array(const struct items *s)
{
    size_t whole = json_array_size(s->whole);
    if (whole > s->count || (s->count == 0 && s->whole))
        return json_incref(s->whole);
    if (s->count == 0)
        return NULL;
    json_t *array = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const struct items_entry *entry = &s->entries[i];
        json_t *told = whole == s->count ? json_array_get(s->whole, i) : NULL;
        json_t *made = entry->done ? json_incref(entry->item) : assembled(entry);
        if (told && same_type(made, told)) {
            json_t *kept = entry->done ? completed(made, told) : json_incref(told);
            json_decref(made);
            made = kept;
        }
        (void)json_array_append_new(array, made);
    }
    return array;
}
