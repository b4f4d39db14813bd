#include "planner/prompt.h"

#include "common/json.h"
#include "common/memory.h"
#include "planner/context.h"

#include <stdio.h>
#include <string.h>

/* ---- results ------------------------------------------------------------------ */

static const struct result_words {
    const char *status;
    const char *words; /* in front of the text; NULL: the text is said as it is */
} result_words[] = {
    { "succeeded", NULL },
    { "failed", "The tool answered with an error" },
    { "failed_before_effect", "Not executed: the tool was not reached" },
    { "unknown", "Outcome unknown: this call may have been executed, but no answer arrived. Do not "
                 "simply repeat it: find out first whether it happened, or ask the user" },
    { "denied", "Not executed: a person refused this call" },
    { "cancelled", "Not executed: this call was cancelled" },
};

static const struct result_words *words_of(const char *status)
{
    for (size_t i = 0; i < sizeof result_words / sizeof *result_words; i++)
        if (status && strcmp(result_words[i].status, status) == 0)
            return &result_words[i];
    return NULL;
}

static const char *with_words(const char *words, const struct conversation_call *call,
                              struct arena *arena, size_t *n)
{
    const char *code = call->error_code ? call->error_code : "";
    const char *text = call->text ? call->text : "";
    const char *out = arena_printf(arena, "%s%s%s%s%s%s", words, *code ? " (" : "", code,
                                   *code ? ")" : "", *text ? ": " : ".", text);
    *n = out ? strlen(out) : 0;
    return out;
}

/* A long result of an emptied step.  Whether it happened is said all the same. */
static const char *hidden_text(const struct conversation_call *call, struct arena *arena, size_t *n)
{
    const struct result_words *words = words_of(call->status);
    const char *what = words && words->words ? words->words : "The call succeeded";
    const char *out =
        arena_printf(arena,
                     "%s. [%lld bytes came back, which are no longer shown, to make room. Call the "
                     "tool again if you need them and repeating it does no harm.]",
                     what, (long long)call->hidden);
    *n = out ? strlen(out) : 0;
    return out;
}

const char *prompt_result_text(const struct conversation_call *call, struct arena *arena, size_t *n)
{
    if (call->hidden > 0)
        return hidden_text(call, arena, n);
    if (call->refused) {
        const char *out = arena_printf(arena, "Not executed: %s", call->refused);
        *n = out ? strlen(out) : 0;
        return out;
    }
    const struct result_words *words = words_of(call->status);
    if (!words)
        return with_words("Not executed: this call was never begun", call, arena, n);
    if (words->words)
        return with_words(words->words, call, arena, n);
    *n = call->text_n;
    return call->text ? call->text : "";
}

/* ---- results that are too long to be shown whole ------------------------------- */

static bool inside_character(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

/* Its beginning and its end, of about `keep` bytes together. */
static const char *ends_of(const char *text, size_t n, size_t keep, struct arena *arena,
                           size_t *out_n)
{
    size_t head = keep / 4 * 3, tail = n - keep / 4;
    while (head > 0 && inside_character(text[head]))
        head--;
    while (tail < n && inside_character(text[tail]))
        tail++;
    char note[100];
    int note_n =
        snprintf(note, sizeof note, "\n[... %zu bytes are left out here ...]\n", tail - head);
    *out_n = head + (size_t)note_n + (n - tail);
    char *out = arena_alloc(arena, *out_n + 1);
    if (!out)
        return NULL;
    memcpy(out, text, head);
    memcpy(out + head, note, (size_t)note_n);
    memcpy(out + head + note_n, text + tail, n - tail);
    return out;
}

/* How much of each result may be shown, so that all together take no more than
 * `limit`: short ones are shown whole, and the long ones share what is left.  */
static size_t fair_share(const struct prompt_result *results, size_t count, size_t limit)
{
    size_t share = limit / count;
    for (bool grew = true; grew;) {
        size_t left = limit, long_ones = 0;
        for (size_t i = 0; i < count; i++) {
            if (results[i].text_n <= share)
                left -= results[i].text_n;
            else
                long_ones++;
        }
        grew = long_ones > 0 && left / long_ones > share;
        if (grew)
            share = left / long_ones;
    }
    return share;
}

static bool bound_results(struct prompt_result *results, size_t count, size_t limit,
                          struct arena *arena)
{
    size_t all = 0;
    for (size_t i = 0; i < count; i++)
        all += results[i].text_n;
    if (limit == 0 || all <= limit)
        return true;
    size_t share = fair_share(results, count, limit);
    for (size_t i = 0; i < count; i++) {
        struct prompt_result *r = &results[i];
        if (r->text_n > share)
            r->text = ends_of(r->text, r->text_n, share, arena, &r->text_n);
        if (!r->text)
            return false;
    }
    return true;
}

static size_t saved_if_emptied(const struct conversation_call *call, size_t shown)
{
    bool is_long = call->hidden == 0 && !call->refused && call->text_n > CONTEXT_SHORT_BYTES;
    return is_long && shown > CONTEXT_NAMED_BYTES ? shown - CONTEXT_NAMED_BYTES : 0;
}

static bool add_results(const struct dialect *dialect, const struct conversation_step *step,
                        struct arena *arena, struct history *h)
{
    if (step->call_count == 0)
        return true;
    struct prompt_result *results = arena_alloc_array(arena, step->call_count, sizeof *results);
    for (size_t i = 0; results && i < step->call_count; i++) {
        const struct conversation_call *call = &step->calls[i];
        struct prompt_result *r = &results[i];
        r->call_id = call->call_id ? call->call_id : "";
        r->tool = call->tool;
        r->step = step->step;
        r->is_error = call->refused || !call->status || strcmp(call->status, "succeeded") != 0;
        r->text = prompt_result_text(call, arena, &r->text_n);
        if (!r->text)
            return false;
    }
    size_t before = h->text.len, saved = 0;
    if (!results || !bound_results(results, step->call_count, (size_t)h->view.result_bytes, arena))
        return false;
    for (size_t i = 0; i < step->call_count; i++)
        saved += saved_if_emptied(&step->calls[i], results[i].text_n);
    if (!dialect->add_results(&h->text, results, step->call_count))
        return false;
    struct history_step *record = history_step(h, step->step);
    record->result_bytes = h->text.len - before;
    record->emptied_bytes = record->result_bytes - saved;
    return true;
}

/* ---- the prompt ----------------------------------------------------------------- */

/* What is not in the prompt is said to be missing, where the model looks first. */
static bool say_input(const struct dialect *dialect, const char *input, size_t n, int left_out,
                      struct buf *text)
{
    if (left_out == 0)
        return dialect->add_user(text, input, n);
    AUTO_BUF struct buf said;
    buf_init(&said, HISTORY_TEXT_BYTES);
    return buf_add(&said, input, n) &&
           buf_printf(&said,
                      "\n\n[Steps 1 to %d of your work on this are left out below, to make room. "
                      "What was done in them is done.]",
                      left_out) &&
           dialect->add_user(text, said.data, said.len);
}

/* A string is said as it is; any other JSON value as its text. */
static bool add_input(const struct dialect *dialect, const struct conversation *c, int left_out,
                      struct buf *text)
{
    const struct json_limits limits = { SIZE_MAX, JSON_DEPTH_MAX };
    json_t *value;
    if (json_read(c->input, c->input_n, &limits, &value, NULL) != OK || !json_is_string(value)) {
        json_decref(value);
        return say_input(dialect, c->input, c->input_n, left_out, text);
    }
    bool fits =
        say_input(dialect, json_string_value(value), json_string_length(value), left_out, text);
    json_decref(value);
    return fits;
}

bool prompt_is_empty_turn(const struct reply_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].type == REPLY_CALL)
            return false;
        if (items[i].type == REPLY_TEXT && items[i].content[strspn(items[i].content, " \t\r\n")])
            return false;
    }
    return true;
}

/* The turn, and what follows it: one that was empty is answered at once, but where the
 * model only paused it has not said its last word yet.                        */
static bool add_turn(const struct dialect *dialect, const struct prompt_turn *turn, bool empty,
                     struct history *h)
{
    static const char words[] =
        "Your last message was empty. Go on: call a tool, or give your answer.";
    bool open = turn->raw && dialect->is_open && dialect->is_open(turn->raw, turn->raw_n);
    h->empty_turn = empty && !open;
    return dialect->add_turn(&h->text, turn) &&
           (!h->empty_turn || dialect->add_user(&h->text, words, sizeof words - 1));
}

/* Rows without a dialect are of the time before there was more than one. */
static bool add_plan(const struct dialect *dialect, const struct conversation_step *step,
                     struct history *h)
{
    bool ours = step->dialect ? strcmp(step->dialect, dialect->name) == 0
                              : strcmp(dialect->name, "openai_chat") == 0;
    struct prompt_turn turn = { .items = step->said,
                                .item_count = step->said_count,
                                .step = step->step };
    for (size_t i = 0; i < step->said_count; i++)
        turn.call_count += step->said[i].type == REPLY_CALL;
    if (ours) {
        turn.raw = step->raw;
        turn.raw_n = step->raw_n;
    }
    return add_turn(dialect, &turn, prompt_is_empty_turn(step->said, step->said_count), h);
}

/* After the results that they were read with, and never left out. */
static bool add_messages(const struct dialect *dialect, const struct conversation_step *step,
                         struct history *h)
{
    size_t before = h->text.len;
    for (size_t i = 0; i < step->message_count; i++)
        if (!dialect->add_user(&h->text, step->messages[i].text, step->messages[i].text_n))
            return false;
    h->head_len += h->text.len - before;
    return true;
}

static bool add_steps(const struct dialect *dialect, const struct conversation *c,
                      struct arena *arena, struct history *h)
{
    for (size_t i = 0; i < c->step_count; i++) {
        const struct conversation_step *step = &c->steps[i];
        size_t before = h->text.len;
        if (step->raw && !add_plan(dialect, step, h))
            return false;
        if (step->raw)
            history_step(h, step->step)->plan_bytes = h->text.len - before;
        if (step->raw)
            h->known_step = step->step;
        if (step->step == h->known_step) {
            h->stable_len = h->text.len; /* its results may still be replaced */
            h->head_kept = h->head_len;
        }
        if (!add_results(dialect, step, arena, h) || !add_messages(dialect, step, h))
            return false;
    }
    return true;
}

enum outcome prompt_extend(const struct dialect *dialect, const struct prompt_frame *frame,
                           bool answer_only, const struct conversation *c,
                           const struct store_view *view, struct arena *arena, struct history *h,
                           struct error *err)
{
    bool fits = true;
    if (!c->input && h->known_step == 0)
        return fail(err, REFUSED, "the input of this run is not stored");
    if (c->input) {
        int epoch = h->epoch;
        history_forget(h);
        h->epoch = epoch;
        h->view = *view;
        fits = dialect->begin(&h->text, frame) && add_input(dialect, c, view->left_out, &h->text);
        h->head_kept = h->stable_len = h->text.len;
    }
    h->head_len = h->head_kept;
    fits = fits && add_steps(dialect, c, arena, h);
    h->open_len = h->text.len;
    if (fits && dialect->close(&h->text, frame, answer_only))
        return OK;
    history_forget(h);
    return fail(err, REFUSED, "the conversation of this run has grown beyond %zu MiB",
                (size_t)(HISTORY_TEXT_BYTES >> 20));
}

bool prompt_add_answer(const struct dialect *dialect, const struct model_reply *reply, int step,
                       struct history *h)
{
    history_cut(h, h->open_len);
    const size_t before = h->text.len;
    const struct prompt_turn turn = { .raw = reply->raw, .raw_n = reply->raw_n, .step = step };
    if (!add_turn(dialect, &turn, prompt_is_empty_turn(reply->items, reply->item_count), h)) {
        history_forget(h);
        return false;
    }
    h->known_step = step;
    h->stable_len = h->text.len;
    h->head_kept = h->head_len;
    history_step(h, step)->plan_bytes = h->stable_len - before;
    return true;
}
