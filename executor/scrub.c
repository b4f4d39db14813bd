#include "executor/scrub.h"

#include "common/buf.h"

#include <string.h>

static enum outcome add_word(struct scrub *s, struct arena *arena, const char *text, size_t length,
                             struct error *err)
{
    if (length < SCRUB_BYTES_MIN)
        return OK;
    if (!s->words)
        s->words = arena_alloc_array(arena, SCRUB_WORDS_MAX, sizeof *s->words);
    char *copy = arena_memdup(arena, text, length);
    if (!s->words || !copy || s->count == SCRUB_WORDS_MAX)
        return fail(err, REFUSED, "the tool has too many secrets in its headers: at most %d",
                    SCRUB_WORDS_MAX / 2);
    s->words[s->count++] = (struct scrub_word){ copy, length };
    s->first_byte[(unsigned char)*copy] = true;
    if (length > s->longest)
        s->longest = length;
    return OK;
}

enum outcome scrub_add(struct scrub *s, struct arena *arena, const char *secret, struct error *err)
{
    size_t length = strlen(secret);
    enum outcome outcome = add_word(s, arena, secret, length, err);
    if (outcome != OK)
        return outcome;

    struct buf json;
    buf_init(&json, 8 * length + 16);
    bool written = buf_add_json_string(&json, secret, length);
    bool differs = written && json.len - 2 != length; /* escapes only ever add bytes */
    if (differs)
        outcome = add_word(s, arena, json.data + 1, json.len - 2, err);
    buf_release(&json);
    return outcome;
}

size_t scrub_match(const struct scrub *s, const char *bytes, size_t count)
{
    if (count == 0 || !s->first_byte[(unsigned char)*bytes])
        return 0;
    size_t longest = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct scrub_word *w = &s->words[i];
        if (w->length > longest && w->length <= count && memcmp(w->text, bytes, w->length) == 0)
            longest = w->length;
    }
    return longest;
}
