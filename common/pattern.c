#include "common/pattern.h"

#include "common/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    TRANSLATED_BYTES_MAX = 32 * PATTERN_BYTES_MAX,
    STEPS_FIRST = 64,    /* calls of PCRE2's inner function that one start may take, */
    STEPS_GROWTH = 8,    /* and how they grow when that was too few */
    STARTS_FIRST = 64,   /* places where a match may start, looked at in one go */
    STARTS_GROWTH = 4,   /* and how the goes grow */
    BYTES_PER_WORK = 16, /* of scanning */
    CALL_WORK = 16,      /* of one call, however small */
};

struct pattern {
    pcre2_code *code;
    pcre2_match_context *context;
    bool anchored;        /* only the start of the text can be the start of a match */
    int first;            /* the byte that each match starts with, or -1 */
    const uint8_t *bytes; /* or the set of them, or NULL */
    int last;             /* a byte that each match holds, or -1 */
};

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_match_context_free(p->context);
    pcre2_code_free(p->code);
    free(p);
}

static uint32_t ask(const struct pattern *p, uint32_t what)
{
    uint32_t value = 0;
    (void)pcre2_pattern_info(p->code, what, &value);
    return value;
}

size_t pattern_size(const struct pattern *p)
{
    size_t bytes = 0;
    (void)pcre2_pattern_info(p->code, PCRE2_INFO_SIZE, &bytes);
    return sizeof *p + bytes;
}

enum outcome pattern_compile(const char *text, size_t n, struct pattern **out, struct error *err)
{
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF |
                             PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
    *out = NULL;
    AUTO_BUF struct buf translated;
    buf_init(&translated, TRANSLATED_BYTES_MAX);
    enum outcome outcome = pattern_translate(text, n, &translated, err);
    if (outcome != OK)
        return outcome;
    int code = 0;
    size_t at = 0;
    struct pattern *p = xcalloc(1, sizeof *p);
    p->code = pcre2_compile((PCRE2_SPTR)translated.data, translated.len, options, &code, &at, NULL);
    if (!p->code) {
        unsigned char words[120];
        (void)pcre2_get_error_message(code, words, sizeof words);
        pattern_free(p);
        return fail(err, REFUSED, "%s", (const char *)words);
    }
    p->context = pcre2_match_context_create(NULL);
    if (!p->context) {
        pattern_free(p);
        return fail(err, REFUSED, "no memory for this pattern");
    }
    (void)pcre2_set_heap_limit(p->context, PATTERN_HEAP_KIB);
    p->anchored = ask(p, PCRE2_INFO_ALLOPTIONS) & PCRE2_ANCHORED;
    p->first = ask(p, PCRE2_INFO_FIRSTCODETYPE) == 1 ? (int)ask(p, PCRE2_INFO_FIRSTCODEUNIT) : -1;
    (void)pcre2_pattern_info(p->code, PCRE2_INFO_FIRSTBITMAP, &p->bytes);
    p->last = ask(p, PCRE2_INFO_LASTCODETYPE) == 1 ? (int)ask(p, PCRE2_INFO_LASTCODEUNIT) : -1;
    *out = p;
    return OK;
}

/* ---- matching ------------------------------------------------------------------------- */

/* Where matches are looked for in one go: starts in [from, to]. */
struct go {
    const char *text;
    size_t n;
    size_t from, to;
};

static bool is_inside_character(const struct go *go, size_t at)
{
    return at < go->n && ((unsigned char)go->text[at] & 0xc0) == 0x80;
}

/* How many starts PCRE2 will really try: it passes over the rest quickly.  Its sets
 * of first bytes hold the case of the pattern, for none is without regard to case. */
static size_t count_starts(const struct pattern *p, const struct go *go)
{
    if (p->anchored)
        return 1;
    if (p->first < 0 && !p->bytes)
        return go->to - go->from + 1;
    size_t count = 1;
    for (size_t i = go->from; i <= go->to && i < go->n; i++) {
        unsigned byte = (unsigned char)go->text[i];
        count += p->first >= 0 ? byte == (unsigned)p->first : (p->bytes[byte / 8] >> byte % 8) & 1;
    }
    return count;
}

/* PCRE2 bounds the steps of each start.  A step may scan all of the text.  So this
 * is the most that a go can cost.                                            */
static int64_t cost_of(const struct pattern *p, const struct go *go, uint32_t steps)
{
    int64_t each = (int64_t)steps + (int64_t)(go->n / BYTES_PER_WORK);
    return CALL_WORK + (int64_t)count_starts(p, go) * each;
}

/* PCRE2's answer.  Steps are given sparingly at first, since what is given counts as
 * spent: most matches need a few, bad patterns on bad texts need 2^n.        */
static int match_go(const struct pattern *p, const struct go *go, pcre2_match_data *data,
                    int64_t *work)
{
    int rc = PCRE2_ERROR_MATCHLIMIT;
    for (uint32_t steps = STEPS_FIRST;
         rc == PCRE2_ERROR_MATCHLIMIT && steps < UINT32_MAX / STEPS_GROWTH; steps *= STEPS_GROWTH) {
        int64_t cost = cost_of(p, go, steps);
        if (cost > *work)
            return PCRE2_ERROR_MATCHLIMIT;
        *work -= cost;
        (void)pcre2_set_match_limit(p->context, steps);
        (void)pcre2_set_offset_limit(p->context, go->to);
        rc = pcre2_match(p->code, (PCRE2_SPTR)go->text, go->n, go->from, PCRE2_NO_UTF_CHECK, data,
                         p->context);
    }
    return rc;
}

enum pattern_answer pattern_match(const struct pattern *p, const char *text, size_t n,
                                  int64_t *work)
{
    struct go go = { .text = text, .n = n };
    enum pattern_answer answer = PATTERN_MISSES;
    int64_t look = CALL_WORK + (int64_t)(n / BYTES_PER_WORK);
    if (look > *work)
        return PATTERN_TOO_HARD;
    *work -= look;
    if (p->last >= 0 && !memchr(text, p->last, n))
        return PATTERN_MISSES; /* PCRE2 finds this, too, but what it was given is spent */
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data)
        return PATTERN_TOO_HARD;
    for (size_t starts = STARTS_FIRST; go.from <= n; starts *= STARTS_GROWTH) {
        go.to = n - go.from < starts ? n : go.from + starts - 1;
        while (is_inside_character(&go, go.to + 1))
            go.to++;
        int rc = match_go(p, &go, data, work);
        if (rc != PCRE2_ERROR_NOMATCH) {
            answer = rc >= 0 ? PATTERN_MATCHES : PATTERN_TOO_HARD;
            break;
        }
        if (p->anchored)
            break;
        go.from = go.to + 1;
    }
    pcre2_match_data_free(data);
    return answer;
}
