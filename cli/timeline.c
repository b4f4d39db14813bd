#include "cli/timeline.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

enum {
    LABEL_COLUMNS_MIN = 24,
    LABEL_COLUMNS_MAX = 52,
    LABEL_BYTES = 256,
    NOTE_BYTES = 512,
    SMALL = 128,
    LONELY_MS = 5000,
};

/* What is the same for all lines of one picture. */
struct picture {
    struct table table;
    timeline_fact *fact; /* instead of the table: one line per row */
    void *fact_self;
    const char *run_id;
    int64_t began_ms;
};

static const json_t *run_of(const json_t *document)
{
    return json_object_get(document, "run");
}

bool timeline_has_ended(const json_t *document)
{
    return json_str(run_of(document), "ended_at") != NULL;
}

bool timeline_has_succeeded(const json_t *document)
{
    return !strcmp(json_str_or(run_of(document), "status", ""), "succeeded");
}

/* A moment of the document in milliseconds, or -1. */
static int64_t moment(const json_t *object, const char *key)
{
    const char *text = json_str(object, key);
    int64_t ms;
    return text && clock_parse_iso(text, &ms, NULL) == OK ? ms : -1;
}

static const char *offset_text(int64_t began_ms, int64_t at_ms, char out[OUTPUT_TIME_SIZE])
{
    char took[OUTPUT_TIME_SIZE];
    if (at_ms < 0 || began_ms < 0)
        return "";
    (void)snprintf(out, OUTPUT_TIME_SIZE, "+%s",
                   output_duration(at_ms > began_ms ? at_ms - began_ms : 0, took));
    return out;
}

/* "dev/planner-1 #3" */
static const char *holder(const json_t *object, char *out, size_t out_size)
{
    const char *instance = json_str(object, "instance");
    int64_t incarnation = json_int_or(object, "incarnation", -1);
    char safe[SMALL];
    if (incarnation < 0)
        return "";
    (void)snprintf(out, out_size, "%s #%lld",
                   instance ? text_bounded(safe, sizeof safe, instance, strlen(instance))
                            : "process",
                   (long long)incarnation);
    return out;
}

/* How wide the first column may become: two fifths of the terminal. */
static size_t label_columns(void)
{
    int width = output_width() * 2 / 5;
    return width == 0 || width > LABEL_COLUMNS_MAX ? LABEL_COLUMNS_MAX
           : width < LABEL_COLUMNS_MIN             ? LABEL_COLUMNS_MIN
                                                   : (size_t)width;
}

static void cut_label(char *label)
{
    size_t columns = 0, at = 0, most = label_columns();
    if (output_columns(label) <= most)
        return;
    for (; label[at]; at++) {
        columns += ((unsigned char)label[at] & 0xc0) != 0x80;
        if (columns > most - 3)
            break;
    }
    memcpy(label + at, "...", 4);
}

/* ---- what to say about an attempt ------------------------------------------ */

static void add_note(char note[NOTE_BYTES], const char *text)
{
    size_t n = strlen(note);
    if (*text && n + 4 < NOTE_BYTES)
        (void)snprintf(note + n, NOTE_BYTES - n, "%s%s", n ? "; " : "", text);
}

static void add_foreign_note(char note[NOTE_BYTES], const char *text)
{
    char safe[NOTE_BYTES / 2];
    if (text)
        add_note(note, text_bounded(safe, sizeof safe, text, strlen(text)));
}

/* How an outcome that nobody knew came to be known, or what is being done. */
static void note_doubt(const json_t *attempt, const char *status, char note[NOTE_BYTES])
{
    const char *by = json_str(attempt, "decided_by");
    bool happened = json_bool_or(attempt, "happened", false);
    char text[NOTE_BYTES / 2], at[OUTPUT_TIME_SIZE];
    if (json_bool_or(attempt, "died", false))
        add_note(note, "its process died with it");
    else if (json_bool_or(attempt, "cut", false) && (by || strcmp(status, "succeeded") != 0))
        add_note(note, "no answer came");
    if (by && !strcmp(by, "probe")) {
        add_note(note, happened ? "the tool was asked: it happened"
                                : "the tool was asked: it did not happen");
    } else if (by) {
        char safe[SMALL];
        (void)snprintf(text, sizeof text, "%s said: %s",
                       text_bounded(safe, sizeof safe, by, strlen(by)),
                       happened ? "it happened" : "it did not happen");
        add_note(note, text);
    } else if (!strcmp(status, "unknown") && moment(attempt, "probe_after") >= 0) {
        (void)snprintf(text, sizeof text, "nobody knows; the tool is asked from %s on",
                       output_moment(moment(attempt, "probe_after"), at));
        add_note(note, text);
    } else if (!strcmp(status, "unknown") && !json_bool_or(attempt, "open", false)) {
        add_note(note, "nobody knows; the model was told so");
    }
}

static bool is_copy(const json_t *attempt)
{
    return json_is_integer(json_object_get(attempt, "copied_from"));
}

static void note_attempt(const json_t *attempt, char note[NOTE_BYTES])
{
    const char *status = json_str_or(attempt, "status", "");
    char text[NOTE_BYTES / 2], at[OUTPUT_TIME_SIZE];
    note[0] = '\0';
    if (is_copy(attempt))
        add_note(note, "returned from storage, not run again");
    note_doubt(attempt, status, note);
    if (!strcmp(status, "awaiting_decision"))
        add_note(note, "waits for a person");
    if (json_str(attempt, "error") &&
        strcmp(json_str_or(attempt, "error_code", ""), "worker_died") != 0)
        add_foreign_note(note, json_str(attempt, "error"));
    if (moment(attempt, "retry_at") >= 0) {
        (void)snprintf(text, sizeof text, "again from %s on",
                       output_moment(moment(attempt, "retry_at"), at));
        add_note(note, text);
    }
    add_foreign_note(note, json_str(attempt, "result"));
}

/* Did the call go straight: at most one attempt, and no doubt about it? */
static bool is_straight(const json_t *call)
{
    const json_t *attempts = json_arr(call, "attempts");
    const json_t *only = json_array_get(attempts, 0);
    return json_array_size(attempts) <= 1 && !json_bool_or(only, "died", false) &&
           json_int_or(only, "probes", 0) == 0 && !json_bool_or(only, "cut", false) &&
           !json_str(only, "decided_by");
}

/* ---- the rows --------------------------------------------------------------- */

struct row {
    char label[LABEL_BYTES];
    char status[SMALL];
    enum style label_style, status_style;
    int64_t at_ms, took_ms; /* -1: none */
    char by[SMALL];
    char note[NOTE_BYTES];
};

static struct row row_init(enum style label_style)
{
    return (struct row){ .label_style = label_style, .at_ms = -1, .took_ms = -1 };
}

static void set_status(struct row *row, const char *status)
{
    row->status_style = output_status_style(status);
    (void)snprintf(row->status, sizeof row->status, "%s", status);
    for (char *c = row->status; *c; c++)
        if (*c == '_')
            *c = ' ';
}

static void draw_fact(const struct picture *p, const struct row *row)
{
    char line[LABEL_BYTES + NOTE_BYTES + 4 * SMALL], took[OUTPUT_TIME_SIZE], at[OUTPUT_TIME_SIZE];
    (void)snprintf(line, sizeof line, "%-9s %s  %s%s%s%s%s%s%s",
                   offset_text(p->began_ms, row->at_ms, at), row->label, row->status,
                   row->took_ms < 0 ? "" : " in ",
                   row->took_ms < 0 ? "" : output_duration(row->took_ms, took),
                   row->by[0] ? "  " : "", row->by, row->note[0] ? "  " : "", row->note);
    p->fact(p->fact_self, line);
}

static void draw(struct picture *p, struct row *row)
{
    char at[OUTPUT_TIME_SIZE], took[OUTPUT_TIME_SIZE];
    if (p->fact) {
        draw_fact(p, row);
        return;
    }
    cut_label(row->label);
    table_cell(&p->table, row->label_style, "%s", row->label);
    table_cell(&p->table, row->status_style, "%s", row->status);
    table_cell(&p->table, STYLE_DIM, "%s", offset_text(p->began_ms, row->at_ms, at));
    table_cell(&p->table, STYLE_PLAIN, "%s",
               row->took_ms < 0 ? "" : output_duration(row->took_ms, took));
    table_cell(&p->table, STYLE_DIM, "%s", row->by);
    table_cell(&p->table, STYLE_DIM, "%s", row->note);
}

static void draw_attempt(struct picture *p, const json_t *attempt, struct row *row)
{
    const char *status = json_str_or(attempt, "status", "");
    row->at_ms = moment(attempt, "claimed_at");
    note_attempt(attempt, row->note);
    if (is_copy(attempt)) {
        set_status(row, "copied");
    } else {
        set_status(row, status);
        if (!json_str(attempt, "decided_by")) /* else it is how long the probe took */
            row->took_ms = json_int_or(attempt, "duration_ms", -1);
        holder(attempt, row->by, sizeof row->by);
    }
    if (json_str(attempt, "decided_by")) /* it was unknown before */
        (void)snprintf(row->status, sizeof row->status, "unknown -> %s",
                       !strcmp(status, "failed_before_effect")    ? "did not happen"
                       : json_bool_or(attempt, "happened", false) ? "happened"
                                                                  : "unknown");
    draw(p, row);
}

/* "  0  send_invoice {"customer":"Ada"}", or with the step in front. */
static void label_call(const struct picture *p, const json_t *call, int step, char *out,
                       size_t size)
{
    char name[SMALL], arguments[LABEL_BYTES / 2], head[SMALL];
    const char *tool = json_str_or(call, "tool", "?"), *given = json_str_or(call, "arguments", "");
    int index = (int)json_int_or(call, "index", 0);
    if (p->fact)
        (void)snprintf(head, sizeof head, "step %d call %d", step, index);
    else
        (void)snprintf(head, sizeof head, "  %d ", index);
    (void)snprintf(out, size, "%s %s %s", head, text_bounded(name, sizeof name, tool, strlen(tool)),
                   text_bounded(arguments, sizeof arguments, given, strlen(given)));
}

static void draw_call(struct picture *p, const json_t *call, int step)
{
    const json_t *attempts = json_arr(call, "attempts"), *attempt;
    const char *refused = json_str(call, "refused");
    bool straight = is_straight(call);
    size_t i;
    if (!straight || json_array_size(attempts) == 0) {
        struct row row = row_init(STYLE_PLAIN);
        label_call(p, call, step, row.label, sizeof row.label);
        set_status(&row, json_str_or(call, "status", ""));
        if (refused)
            (void)text_bounded(row.note, sizeof row.note, refused, strlen(refused));
        if (!p->fact || refused)
            draw(p, &row);
    }
    json_array_foreach(attempts, i, attempt) {
        struct row row = row_init(STYLE_PLAIN);
        if (straight || p->fact)
            label_call(p, call, step, row.label, sizeof row.label);
        if (!straight) {
            size_t n = strlen(row.label);
            (void)snprintf(row.label + n, sizeof row.label - n, "%s attempt %lld",
                           p->fact ? "" : "      ", (long long)json_int_or(attempt, "version", 0));
        }
        draw_attempt(p, attempt, &row);
    }
}

/* "invoices: 3 calls, 412 tokens in, 96 out" */
static void describe_plan(const json_t *plan, char *out, size_t out_size)
{
    char model[SMALL], calls[OUTPUT_TIME_SIZE], in[OUTPUT_TIME_SIZE], made[OUTPUT_TIME_SIZE];
    const char *name = json_str_or(plan, "model", "");
    size_t n = json_array_size(json_arr(plan, "calls"));
    (void)snprintf(out, out_size, "%s%s%s%s%s tokens in, %s out",
                   text_bounded(model, sizeof model, name, strlen(name)), *name ? ": " : "",
                   n ? output_plural((int64_t)n, "call", "calls", calls) : "", n ? ", " : "",
                   output_count(json_int_or(plan, "tokens_in", 0), in),
                   output_count(json_int_or(plan, "tokens_out", 0), made));
}

static const char *plan_status(const json_t *plan)
{
    const char *outcome = json_str_or(plan, "outcome", "");
    return !strcmp(outcome, "calls")    ? "planned"
           : !strcmp(outcome, "answer") ? "answered"
                                        : outcome;
}

static void draw_plan(struct picture *p, const json_t *plan, int step, bool first, bool only)
{
    struct row row = row_init(STYLE_BOLD);
    char text[NOTE_BYTES / 2];
    const char *status = plan_status(plan);
    int version = (int)json_int_or(plan, "version", 0);
    if (p->fact)
        (void)snprintf(row.label, sizeof row.label, "step %d plan %d", step, version);
    else if (only)
        (void)snprintf(row.label, sizeof row.label, "step %d", step);
    else if (first)
        (void)snprintf(row.label, sizeof row.label, "step %-3d plan %d", step, version);
    else
        (void)snprintf(row.label, sizeof row.label, "%-8s plan %d", "", version);
    set_status(&row, status);
    int64_t committed = moment(plan, "created_at");
    row.took_ms = json_int_or(plan, "duration_ms", -1);
    row.at_ms = committed < 0 || row.took_ms < 0 ? committed : committed - row.took_ms;
    holder(plan, row.by, sizeof row.by);
    if (!strcmp(status, "lost")) {
        add_note(row.note, "the process that asked the model died with it");
    } else if (strcmp(status, "running") != 0 && !json_str(plan, "error")) {
        describe_plan(plan, text, sizeof text);
        add_note(row.note, text);
    }
    add_foreign_note(row.note, json_str(plan, "error"));
    draw(p, &row);
}

static void draw_steps(struct picture *p, const json_t *steps)
{
    const json_t *step, *plan, *call;
    size_t s, v, c;
    json_array_foreach(steps, s, step) {
        const json_t *plans = json_arr(step, "plans");
        int number = (int)json_int_or(step, "step", 0);
        json_array_foreach(plans, v, plan) {
            draw_plan(p, plan, number, v == 0, json_array_size(plans) == 1);
            json_array_foreach(json_arr(plan, "calls"), c, call)
                draw_call(p, call, number);
        }
    }
}

void timeline_facts(const json_t *document, timeline_fact *fact, void *self)
{
    const json_t *run = run_of(document);
    struct picture p = { .fact = fact,
                         .fact_self = self,
                         .run_id = json_str_or(run, "run_id", "?"),
                         .began_ms = moment(run, "created_at") };
    draw_steps(&p, json_arr(document, "steps"));
}

/* ---- the whole picture ------------------------------------------------------ */

static void print_input(const json_t *input, FILE *out)
{
    char safe[NOTE_BYTES];
    char *text = json_is_string(input) ? NULL : json_dumps(input, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *shown = text ? text : json_string_value(input);
    if (shown)
        fprintf(out, "  %s\n", text_bounded(safe, sizeof safe, shown, strlen(shown)));
    free(text);
}

static void print_head(const json_t *run, FILE *out)
{
    char at[OUTPUT_TIME_SIZE], who[SMALL], took[OUTPUT_TIME_SIZE];
    const char *status = json_str_or(run, "status", "?"), *by = json_str_or(run, "created_by", "?");
    fprintf(out, "run %s%s%s  %s  %s%s%s  %s\n", output_on(STYLE_BOLD),
            json_str_or(run, "run_id", "?"), output_off(STYLE_BOLD), json_str_or(run, "agent", "?"),
            output_on(output_status_style(status)), status, output_off(output_status_style(status)),
            output_duration(json_int_or(run, "took_ms", 0), took));
    fprintf(out, "  asked by %s at %s, tenant %s", text_bounded(who, sizeof who, by, strlen(by)),
            output_moment(moment(run, "created_at"), at), json_str_or(run, "tenant", "?"));
    if (json_int_or(run, "epoch", 1) > 1)
        fprintf(out, ", epoch %lld", (long long)json_int_or(run, "epoch", 1));
    (void)fputc('\n', out);
    print_input(json_object_get(run, "input"), out);
}

static void print_people(const json_t *people, FILE *out)
{
    const json_t *deed;
    size_t i;
    json_array_foreach(people, i, deed) {
        char at[OUTPUT_TIME_SIZE], who[SMALL], detail[NOTE_BYTES];
        const char *by = json_str_or(deed, "who", "?");
        char *text = json_dumps(json_object_get(deed, "detail"), JSON_ENCODE_ANY | JSON_COMPACT);
        fprintf(out, "%s%s at %s by %s%s %s\n", i ? "" : "\n", json_str_or(deed, "verb", "?"),
                output_moment(moment(deed, "at"), at),
                text_bounded(who, sizeof who, by, strlen(by)), text ? ":" : "",
                text ? text_bounded(detail, sizeof detail, text, strlen(text)) : "");
        free(text);
    }
}

/* The lines of a text of strangers, each made safe. */
static void print_lines(const char *text, FILE *out)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        char *safe = malloc(
            n * 8 + 8); /* the longest escape, \u{xxxxx}, is of a character of 3 or 4 bytes */
        if (!safe)
            return;
        fprintf(out, "  %s\n", text_bounded(safe, n * 8 + 8, text, n));
        free(safe);
        text += n + (text[n] == '\n');
    }
}

/* What a suspended run waits for, as commands to be copied. */
static void print_decisions(const json_t *document, FILE *out)
{
    const json_t *step, *plan, *call, *steps = json_arr(document, "steps");
    const char *run = json_str_or(run_of(document), "run_id", "?");
    size_t s, v, c;
    json_array_foreach(steps, s, step)
        json_array_foreach(json_arr(step, "plans"), v, plan)
            json_array_foreach(json_arr(plan, "calls"), c, call) {
                if (strcmp(json_str_or(call, "status", ""), "awaiting_decision") != 0)
                    continue;
                fprintf(out,
                        "  nobody knows whether it happened; say so:\n"
                        "    pawl run decide %s %lld %lld happened|did-not-happen\n",
                        run, (long long)json_int_or(step, "step", 0),
                        (long long)json_int_or(call, "index", 0));
            }
}

/* Attempts to plan that a process took with it when it died. */
static int64_t count_lost(const json_t *steps)
{
    const json_t *step, *plan;
    size_t s, v;
    int64_t lost = 0;
    json_array_foreach(steps, s, step)
        json_array_foreach(json_arr(step, "plans"), v, plan)
            lost += !strcmp(json_str_or(plan, "outcome", ""), "lost");
    return lost;
}

/* A run that has waited for its first plan longer than it ever should: there is
 * no planner, or none that can call its model.                                 */
static bool nobody_takes_it(const json_t *document)
{
    const json_t *run = run_of(document);
    return !timeline_has_ended(document) && json_array_size(json_arr(document, "steps")) == 0 &&
           json_int_or(run, "took_ms", 0) > LONELY_MS;
}

static const char *money_of(const json_t *run, const char *key, char out[OUTPUT_TIME_SIZE])
{
    return output_money((int64_t)(json_num_or(run, key, 0) * 1e6 + 0.5), out);
}

static void print_wasted(const json_t *run, FILE *out)
{
    char calls[OUTPUT_TIME_SIZE], tokens[OUTPUT_TIME_SIZE], cost[OUTPUT_TIME_SIZE];
    int64_t wasted = json_int_or(run, "calls_wasted", 0);
    if (wasted)
        fprintf(out, "  wasted: %s, %s tokens, cost %s\n",
                output_plural(wasted, "model call", "model calls", calls),
                output_count(json_int_or(run, "tokens_wasted", 0), tokens),
                money_of(run, "cost_wasted", cost));
}

/* Of the whole tree of runs. */
static void print_budget(const json_t *run, FILE *out)
{
    char spent[OUTPUT_TIME_SIZE], limit[OUTPUT_TIME_SIZE];
    int64_t tokens = json_int_or(run, "budget_tokens", 0);
    bool cost = json_num_or(run, "budget_cost", 0) > 0;
    if (!tokens && !cost)
        return;
    (void)fputs("  budget:", out);
    if (tokens)
        fprintf(out, " %s of %s tokens%s", output_count(json_int_or(run, "tree_tokens", 0), spent),
                output_count(tokens, limit), cost ? "," : "");
    if (cost)
        fprintf(out, " cost %s of %s", money_of(run, "tree_cost", spent),
                money_of(run, "budget_cost", limit));
    if (json_int_or(run, "tree_tokens_guessed", 0))
        fprintf(out, "; of that %s tokens and %s are a guess: nobody knows what a call used",
                output_count(json_int_or(run, "tree_tokens_guessed", 0), spent),
                money_of(run, "tree_cost_guessed", limit));
    (void)fputc('\n', out);
}

void timeline_print_end(const json_t *document, FILE *out)
{
    const json_t *run = run_of(document);
    const char *status = json_str_or(run, "status", ""), *answer = json_str(document, "answer");
    enum style style = output_status_style(status);
    char calls[OUTPUT_TIME_SIZE], in[OUTPUT_TIME_SIZE], made[OUTPUT_TIME_SIZE],
        took[OUTPUT_TIME_SIZE], cost[OUTPUT_TIME_SIZE], safe[NOTE_BYTES];
    (void)fputc('\n', out);
    if (!timeline_has_ended(document))
        print_decisions(document, out);
    if (nobody_takes_it(document))
        fprintf(out,
                "  nobody has taken it yet: `pawl workers` shows who is alive, and their logs say "
                "what they cannot do\n");
    if (answer)
        print_lines(answer, out);
    if (json_str(run, "error"))
        fprintf(out, "  %s: %s\n", json_str_or(run, "error_code", "error"),
                text_bounded(safe, sizeof safe, json_str(run, "error"),
                             strlen(json_str(run, "error"))));
    if (timeline_has_ended(document))
        fprintf(out, "%s%s%s after %s", output_on(style), status, output_off(style),
                output_duration(json_int_or(run, "took_ms", 0), took));
    else
        fprintf(out, "%s%s%s: waits for %s", output_on(style), status, output_off(style),
                json_str_or(run, "waits_for", "a planner"));
    int64_t lost = count_lost(json_arr(document, "steps"));
    char lost_text[OUTPUT_TIME_SIZE] = "";
    if (lost)
        (void)snprintf(lost_text, sizeof lost_text, " and %lld lost", (long long)lost);
    fprintf(out, "; %s%s, %s tokens in, %s out, cost %s\n",
            output_plural(json_int_or(run, "model_calls", 0), "model call", "model calls", calls),
            lost_text, output_count(json_int_or(run, "tokens_in", 0), in),
            output_count(json_int_or(run, "tokens_out", 0), made), money_of(run, "cost", cost));
    print_wasted(run, out);
    print_budget(run, out);
}

void timeline_print(const json_t *document, FILE *out)
{
    static const char *const heads[] = { "", "STATUS", ">AT", ">TOOK", "BY", "" };
    const json_t *run = run_of(document);
    struct picture p = { .run_id = json_str_or(run, "run_id", "?"),
                         .began_ms = moment(run, "created_at") };
    print_head(run, out);
    (void)fputc('\n', out);
    table_init(&p.table, heads, sizeof heads / sizeof *heads);
    draw_steps(&p, json_arr(document, "steps"));
    if (p.table.count)
        table_print(&p.table, out);
    table_release(&p.table);
    print_people(json_arr(document, "people"), out);
    timeline_print_end(document, out);
}
