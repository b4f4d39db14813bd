/*
 * model_openai_items.h -- puts the output items of a streamed response together.
 *
 *     response.output_item.added    {output_index: 1, item: {type: function_call, ...}}
 *     response.function_call_arguments.delta  {output_index: 1, delta: "{\"ci"} ...
 *     response.output_item.done     {output_index: 1, item: {... arguments: "{\"city\": 1}"}}
 *     response.completed            {response: {output: [ all items once more ]}}
 *
 * The same item is told up to three times.  What counts is the item at its end
 * (`done`); members that it lacks are taken from the item at the same place of the
 * whole output, since some servers put the encrypted thoughts only there.  An item
 * that never ended is taken from the whole output, and without one it is made of
 * what it was at its beginning and the pieces that came.  Where the whole output
 * has more items than the stream, it stands alone.
 *
 * Items are told apart by their output_index, and by their id where a server gives
 * all of them one index, or none: ids alone would not do, since some servers give an
 * item a new one in every event.  Gaps and any order are fine.
 *
 * Limits:  `limit_bytes` bounds all text and a share for every item and part;
 *          JSON_VALUES_MAX the values in the items; ITEMS_MAX the items, and the parts
 *          of one.  ITEMS_LOOKS_MAX bounds the time: items are looked for one by one.
 * Threads: one owner.
 * Errors:  REFUSED past a limit; the items are then of no use.
 */
#ifndef PAWL_PLANNER_MODEL_OPENAI_ITEMS_H
#define PAWL_PLANNER_MODEL_OPENAI_ITEMS_H

#include "common/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { ITEMS_MAX = 1024, ITEMS_COST_BYTES = 128, ITEMS_LOOKS_MAX = 100000000 };

/* What a piece of an item belongs to. */
enum item_part {
    ITEM_TEXT,      /* message: content[content_index], output_text */
    ITEM_REFUSAL,   /* message: content[content_index], refusal */
    ITEM_SUMMARY,   /* reasoning: summary[summary_index] */
    ITEM_THOUGHT,   /* reasoning: content[content_index] */
    ITEM_ARGUMENTS, /* function_call: arguments */
};

struct items_entry;

/* What the last event brought, for who listens; emptied by the caller before each. */
struct items_news {
    size_t at;         /* the entry it belongs to */
    int index;         /* how many items that say or call something are in front of it */
    bool reasoning;    /* it is a thought, and not text */
    bool apart;        /* an empty line is between it and what was said before */
    bool untold;       /* the item ended, and nothing of it has been told */
    const char *bytes; /* the event's */
    size_t n;
};

struct items {
    struct items_entry *entries; /* by output_index, then as they came */
    size_t count, room;
    json_t *whole; /* the response's output; NULL: not said */
    size_t limit_bytes, used_bytes;
    size_t values, looks;
    struct items_news news;
};

void items_init(struct items *s, size_t limit_bytes);
void items_release(struct items *s);

/* The item of an event, at its beginning or at its end. */
MUST_CHECK enum outcome items_begin(struct items *s, const json_t *event, struct error *err);
MUST_CHECK enum outcome items_end(struct items *s, const json_t *event, struct error *err);

/* A piece of a part; with `whole`, the text of all of it. */
MUST_CHECK enum outcome items_add(struct items *s, const json_t *event, enum item_part part,
                                  const json_t *text, bool whole, struct error *err);

/* Something of the entry in the news was told. */
void items_told(struct items *s);

/* The response's output: an array. */
MUST_CHECK enum outcome items_whole(struct items *s, json_t *output, struct error *err);

/* All items as an array, a new reference; they share values with what came.  NULL:
 * there was no item, nor an output.                                          */
json_t *items_array(const struct items *s);

#endif
