#include "executor/result.h"

#include "common/text.h"

#include <inttypes.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

size_t result_read_bytes(size_t max_bytes, const struct scrub *scrub)
{
    return max_bytes + (scrub ? scrub->longest : 0);
}

/* One pass over the source. */
struct copy {
    const struct result_source *source;
    struct buf *out;
    size_t start;    /* where the text begins, behind the title */
    size_t taken;    /* bytes of the source that are in the text */
    size_t replaced; /* bytes that were not text */
};

static size_t secret_at(const struct result_source *source, size_t at)
{
    return source->scrub ? scrub_match(source->scrub, source->bytes + at, source->count - at) : 0;
}

static bool fits_unchanged(const struct result_source *source)
{
    if (source->title || source->more || source->count > source->max_bytes)
        return false;
    if (!text_is_utf8(source->bytes, source->count) || text_has_nul(source->bytes, source->count))
        return false;
    for (size_t at = 0; source->scrub && source->scrub->count > 0 && at < source->count; at++)
        if (secret_at(source, at))
            return false;
    return true;
}

/* Adds what stands at `taken` up to the next place that needs a look, or as much of
 * it as fits.  Results have megabytes: one addition for each character of them would
 * hold the loop for a second.                                                */
static void copy_plain(struct copy *c, size_t end)
{
    const struct result_source *source = c->source;
    const struct scrub *scrub = source->scrub;
    const char *at = source->bytes + c->taken;
    size_t left = source->count - c->taken, most = end - c->taken, n = 0;
    size_t room = source->max_bytes - (c->out->len - c->start);
    while (n < most) {
        unsigned char byte = (unsigned char)at[n];
        uint32_t code_point;
        size_t step = byte < 0x80 ? 1 : text_utf8_next(at + n, left - n, &code_point);
        if (byte == 0 || step == 0 || step > room - n)
            break;
        if (scrub && scrub->first_byte[byte] && secret_at(source, c->taken + n))
            break;
        n += step;
    }
    if (buf_add(c->out, at, n))
        c->taken += n;
}

/* Adds what stands at `taken`: a secret, a character, or a byte that is none.
 * False when it does not fit.                                                */
static bool copy_next(struct copy *c)
{
    const struct result_source *source = c->source;
    const char *at = source->bytes + c->taken;
    size_t left = source->count - c->taken;
    const char *piece = at;
    uint32_t code_point = 0;
    size_t step = secret_at(source, c->taken);
    size_t size;
    bool bad = false;
    if (step > 0) {
        piece = SCRUB_MARK;
        size = sizeof SCRUB_MARK - 1;
    } else {
        step = text_utf8_next(at, left, &code_point);
        bad = step == 0 || code_point == 0;
        size = bad ? sizeof REPLACEMENT - 1 : step;
        if (bad) {
            step = 1;
            piece = REPLACEMENT;
        }
    }
    if (c->out->len - c->start + size > source->max_bytes || !buf_add(c->out, piece, size))
        return false;
    c->taken += step;
    c->replaced += bad ? 1 : 0;
    return true;
}

/* Where copying ends when the tool sent more than was read: before a character
 * that the end cuts in two (no fault of the tool's), and before bytes that may
 * be the beginning of a secret.                                              */
static size_t end_of_copy(const struct result_source *source)
{
    size_t count = source->count;
    if (!source->more)
        return count;
    for (size_t back = 1; back <= 3 && back <= count; back++) {
        unsigned char byte = (unsigned char)source->bytes[count - back];
        size_t wants = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        if (wants > back) {
            count -= back;
            break;
        }
        if (byte < 0x80 || byte >= 0xc0)
            break;
    }
    size_t unsure = source->scrub && source->scrub->longest > 0 ? source->scrub->longest - 1 : 0;
    return count > unsure ? count - unsure : 0;
}

static void add_notes(const struct copy *c)
{
    const struct result_source *source = c->source;
    const char *gap = c->out->len > 0 ? "\n" : "";
    int64_t taken = (int64_t)c->taken;
    int64_t total = source->more ? source->total_bytes : (int64_t)source->count;
    if (total > taken)
        (void)buf_printf(c->out,
                         "%s[The answer of the tool was cut: %" PRId64 " of its %" PRId64
                         " bytes are shown, %" PRId64 " were left out.]",
                         gap, taken, total, total - taken);
    else if (source->more)
        (void)buf_printf(c->out,
                         "%s[The answer of the tool was cut: its first %" PRId64
                         " bytes are shown, what followed was not read.]",
                         gap, taken);
    if (c->replaced > 0)
        (void)buf_printf(c->out,
                         "%s[%zu bytes that are not UTF-8 text were replaced by " REPLACEMENT ".]",
                         c->out->len > 0 ? "\n" : "", c->replaced);
}

const char *result_text(const struct result_source *source, struct buf *work, size_t *length)
{
    if (fits_unchanged(source)) {
        *length = source->count;
        return source->bytes;
    }
    work->limit_bytes = source->max_bytes + RESULT_NOTES_BYTES;
    buf_reset(work);
    if (source->title)
        (void)buf_printf(work, "%s:\n", source->title);
    struct copy c = { .source = source, .out = work, .start = work->len };
    size_t end = end_of_copy(source);
    do {
        copy_plain(&c, end);
    } while (c.taken < end && copy_next(&c));
    if (work->full) /* no memory: what is there stays, and is said to be a part */
        work->full = false;
    add_notes(&c);
    *length = work->len;
    return work->data;
}
