#include "planner/model_anthropic.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/delta.h"
#include "planner/json_text.h"
#include "planner/model_anthropic_message.h"
#include "planner/model_anthropic_request.h"
#include "planner/model_error.h"
#include "planner/reader.h"

#include <stdlib.h>
#include <string.h>

/* A streamed message, as pieces of
 *     {"content":[{"index":0,"id":"1","begun":"...","more":{...},"json":"...",
 *                  "citations":["...",...]},...]}
 * `begun` is the block as it began, `more` what its members grew by, `json` the text of
 * its input.  What came whole is kept as text, since delta.h would merge what is alike
 * in it.  Each block that begins has an id of its own, so that one that bears an index
 * again is not taken for more of the first.                                  */
struct parts {
    struct delta message;
    int64_t started, index; /* blocks so far; of the newest */
    struct anthropic_usage usage;
    int64_t *items; /* blocks that become an item, by their index, as they came */
    size_t item_count, item_room;
};

static void *parts_new(size_t limit_bytes)
{
    struct parts *p = xcalloc(1, sizeof *p);
    delta_init(&p->message, limit_bytes);
    p->usage = ANTHROPIC_USAGE_UNKNOWN;
    return p;
}

static void parts_free(void *arg)
{
    struct parts *p = arg;
    delta_release(&p->message);
    free(p->items);
    free(p);
}

/* ---- a stream -------------------------------------------------------------------- */

static void count(struct reader *r, const json_t *usage)
{
    struct parts *p = r->parts;
    anthropic_count(usage, &p->usage, &r->usage);
}

/* Takes over `element`, whose index is set here. */
static enum outcome merge(struct reader *r, const json_t *event, json_t *element)
{
    struct parts *p = r->parts;
    p->index = json_int_or(event, "index", p->index);
    (void)json_object_set_new(element, "index", json_integer(p->index));
    json_t *piece = json_pack("{s:[o]}", "content", element);
    enum outcome outcome = delta_merge(&p->message, piece, &r->error);
    json_decref(piece);
    r->has_message = true;
    return outcome == OK ? OK : reader_fail(r, RETRY, "answer_too_large");
}

/* The place of the present block in the reply, which it gets by this. */
static int item_of(struct parts *p)
{
    for (size_t i = p->item_count; i-- > 0;)
        if (p->items[i] == p->index)
            return (int)i;
    if (p->item_count == p->item_room) {
        p->item_room = p->item_room ? 2 * p->item_room : 8;
        p->items = xreallocarray(p->items, p->item_room, sizeof *p->items);
    }
    p->items[p->item_count] = p->index;
    return (int)p->item_count++;
}

/* Of a block that begins, or of a piece: what it says, or that a call has its place. */
static void tell(struct reader *r, const json_t *said)
{
    size_t n;
    const char *text = json_strn(said, "text", &n);
    if (text && n > 0)
        reader_tell(r, REPLY_TEXT, item_of(r->parts), text, n);
    text = json_strn(said, "thinking", &n);
    if (text && n > 0)
        reader_tell(r, REPLY_REASONING, item_of(r->parts), text, n);
    if (strcmp(json_str_or(said, "type", ""), "tool_use") == 0)
        (void)item_of(r->parts);
}

static enum outcome on_block_start(struct reader *r, const json_t *event)
{
    struct parts *p = r->parts;
    json_t *block = json_obj(event, "content_block");
    if (!block)
        return OK;
    char id[24];
    (void)snprintf(id, sizeof id, "%lld", (long long)++p->started);
    AUTO_FREE char *begun = json_text(block);
    enum outcome outcome = merge(r, event, json_pack("{s:s,s:s}", "id", id, "begun", begun));
    if (outcome == OK)
        tell(r, block);
    return outcome;
}

/* What a piece says of a block: its own members, whatever they are; only input and
 * citations are of another shape there.  The type is for servers that never began the
 * block.                                                                     */
static json_t *element_of(json_t *piece, const char *type)
{
    if (strcmp(type, "input_json_delta") == 0)
        return json_pack("{s:{s:s},s:O*}", "more", "type", "tool_use", "json",
                         json_object_get(piece, "partial_json"));
    const json_t *citation = json_obj(piece, "citation");
    if (strcmp(type, "citations_delta") == 0 && citation) {
        AUTO_FREE char *text = json_text(citation);
        return json_pack("{s:{s:s},s:[s]}", "more", "type", "text", "citations", text);
    }
    json_t *more = json_copy(piece);
    (void)json_object_del(more, "type");
    if (strcmp(type, "text_delta") == 0)
        (void)json_object_set_new(more, "type", json_string("text"));
    else if (strcmp(type, "thinking_delta") == 0 || strcmp(type, "signature_delta") == 0)
        (void)json_object_set_new(more, "type", json_string("thinking"));
    return json_pack("{s:o}", "more", more);
}

static enum outcome on_block_delta(struct reader *r, const json_t *event)
{
    json_t *piece = json_obj(event, "delta");
    if (!piece)
        return OK;
    enum outcome outcome = merge(r, event, element_of(piece, json_str_or(piece, "type", "")));
    if (outcome == OK)
        tell(r, piece);
    return outcome;
}

static enum outcome read_event(struct reader *r, const json_t *event)
{
    if (model_says_error(event))
        return reader_fail_with(r, event);
    const char *type = json_str_or(event, "type", "");
    if (strcmp(type, "message_start") == 0) {
        r->has_message = true;
        count(r, json_obj(json_obj(event, "message"), "usage"));
    } else if (strcmp(type, "content_block_start") == 0) {
        return on_block_start(r, event);
    } else if (strcmp(type, "content_block_delta") == 0) {
        return on_block_delta(r, event);
    } else if (strcmp(type, "message_delta") == 0) {
        reader_end(r, json_str(json_obj(event, "delta"), "stop_reason"));
        count(r, json_obj(event, "usage"));
    } else if (strcmp(type, "message_stop") == 0) {
        r->done = true;
    }
    return OK;
}

/* ---- the message ----------------------------------------------------------------- */

struct place {
    int64_t index;
    size_t came; /* the how manyth */
    json_t *element;
};

static int by_index(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->index != right->index)
        return left->index < right->index ? -1 : 1;
    return left->came < right->came ? -1 : 1;
}

static json_t *read_text(const json_t *text)
{
    return json_loadb(json_string_value(text), json_string_length(text), JSON_ALLOW_NUL, NULL);
}

static json_t *joined(const json_t *a, const json_t *b)
{
    AUTO_BUF struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_add(&text, json_string_value(a), json_string_length(a));
    buf_add(&text, json_string_value(b), json_string_length(b));
    return json_stringn(text.data ? text.data : "", text.len);
}

static bool is_name(const char *key)
{
    return strcmp(key, "type") == 0 || strcmp(key, "id") == 0 || strcmp(key, "name") == 0;
}

/* Text goes on unless it names the block, lists grow, and of the rest the last word
 * stands.                                                                     */
static void grow(json_t *block, const char *key, json_t *more)
{
    json_t *begun = json_object_get(block, key);
    if (json_is_array(begun) && json_is_array(more))
        (void)json_array_extend(begun, more);
    else if (!json_is_string(begun) || !json_is_string(more))
        (void)json_object_set(block, key, more);
    else if (!is_name(key))
        (void)json_object_set_new(block, key, joined(begun, more));
}

static void add_citations(json_t *block, const json_t *texts)
{
    json_t *citations = json_array();
    for (size_t i = 0; i < json_array_size(texts); i++)
        (void)json_array_append_new(citations, read_text(json_array_get(texts, i)));
    if (json_array_size(citations) > 0)
        grow(block, "citations", citations);
    json_decref(citations);
}

/* The block, with its input as text. */
static json_t *block_of(const json_t *element)
{
    const json_t *begun = json_object_get(element, "begun");
    json_t *block = begun ? read_text(begun) : json_object(), *member;
    json_t *input = json_object_get(element, "json");
    const char *key;
    json_object_foreach(json_obj(element, "more"), key, member)
        grow(block, key, member);
    if (json_string_length(input) > 0)
        (void)json_object_set(block, "input", input);
    add_citations(block, json_arr(element, "citations"));
    return block;
}

/* The blocks in the order of their index. */
static json_t *blocks_of(const json_t *elements)
{
    size_t count = json_array_size(elements);
    AUTO_FREE struct place *places = xcalloc(count + 1, sizeof *places);
    for (size_t i = 0; i < count; i++) {
        json_t *element = json_array_get(elements, i);
        places[i] = (struct place){ json_int_or(element, "index", 0), i, element };
    }
    if (count > 1)
        qsort(places, count, sizeof *places, by_index);
    json_t *blocks = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(blocks, block_of(places[i].element));
    return blocks;
}

static json_t *streamed_message(struct reader *r)
{
    const struct parts *p = r->parts;
    AUTO_BUF struct buf text;
    buf_init(&text, SIZE_MAX);
    if (!delta_write(&p->message, &text))
        return NULL;
    json_t *message = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    json_t *blocks = message ? blocks_of(json_arr(message, "content")) : NULL;
    json_decref(message);
    return blocks;
}

static json_t *whole_message(struct reader *r, json_t *answer)
{
    count(r, json_obj(answer, "usage"));
    reader_end(r, json_str(answer, "stop_reason"));
    json_t *content = json_object_get(answer, "content");
    if (json_is_array(content))
        return json_incref(content);
    if (!json_is_string(content))
        return NULL;
    return json_pack("[{s:s,s:O}]", "type", "text", "text", content);
}

const struct dialect anthropic = {
    .name = "anthropic",
    .path = "/messages",
    .headers = anthropic_headers,
    .begin = anthropic_begin,
    .add_user = anthropic_add_user,
    .add_turn = anthropic_add_turn,
    .add_results = anthropic_add_results,
    .close = anthropic_close,
    .is_open = anthropic_is_open,
    .parts_new = parts_new,
    .parts_free = parts_free,
    .read_event = read_event,
    .whole_message = whole_message,
    .streamed_message = streamed_message,
    .read_message = anthropic_message,
};
