/*
 * run_start.c -- `pawl run start`: asks for a run at the database itself.
 *
 * The request is judged by the same function as one that comes through Kafka
 * (request_read), so that both are refused for the same reasons and the same
 * request has the same digest; then pawl.accept() makes it a run that idle
 * planners see at once.  Kafka need not be there.
 */
#include "cli/budget.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/run_watch.h"
#include "cli/session.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/message.h"
#include "common/text.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOURCE "pawl-cli"

enum { INPUT_DEPTH_MAX = 64, ARENA_BYTES_PER_INPUT_BYTE = 8, ARENA_BYTES_MIN = 1 << 20 };

static enum outcome read_file(const char *path, size_t limit_bytes, json_t **out, struct error *err)
{
    struct buf text;
    char chunk[65536];
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!file)
        return fail(err, REFUSED, "the input file %s cannot be opened: %s", path, strerror(errno));
    buf_init(&text, limit_bytes);
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0 && !text.full)
        (void)buf_add(&text, chunk, n);
    enum outcome o = OK;
    if (ferror(file))
        o = fail(err, REFUSED, "the input file %s cannot be read: %s", path, strerror(errno));
    else if (text.full)
        o = fail(err, REFUSED, "the input file %s is larger than %zu bytes (limits.request_bytes)",
                 path, limit_bytes);
    else if (!text_is_utf8(text.data, text.len))
        o = fail(err, REFUSED, "the input file %s is not UTF-8", path);
    else
        *out = json_stringn(text.data, text.len);
    if (file != stdin)
        (void)fclose(file);
    buf_release(&text);
    return o;
}

/* The input from whichever of the three options was given. */
static enum outcome read_input(const struct cli *cli, json_t **out, struct error *err)
{
    const char *text = cli_text(cli, "input"), *path = cli_text(cli, "input-file"),
               *json = cli_text(cli, "input-json");
    size_t limit = cli->config.limit_request_bytes;
    *out = NULL;
    if (!!text + !!path + !!json != 1)
        return fail(err, REFUSED,
                    "give the input once: --input TEXT, --input-file FILE or --input-json JSON");
    if (path)
        return read_file(path, limit, out, err);
    if (json) {
        const struct json_limits limits = { limit, INPUT_DEPTH_MAX };
        struct error why;
        enum outcome o = json_read(json, strlen(json), &limits, out, &why);
        return o == OK ? OK : fail(err, o, "--input-json: %.200s", why.text);
    }
    if (!text_is_utf8(text, strlen(text)))
        return fail(err, REFUSED, "--input is not UTF-8");
    *out = json_string(text);
    return OK;
}

static enum outcome write_budget(const struct cli *cli, json_t *request, struct error *err)
{
    int64_t tokens, micros;
    enum outcome o = budget_options(cli, "budget-tokens", "budget-cost", &tokens, &micros, err);
    if (o != OK || (tokens == 0 && micros == 0))
        return o;
    json_t *budget = json_object();
    if (tokens)
        (void)json_object_set_new(budget, "tokens", json_integer(tokens));
    if (micros)
        (void)json_object_set_new(budget, "cost", json_real((double)micros / 1e6));
    (void)json_object_set_new(request, "budget", budget);
    return OK;
}

/* The request as a record of bare JSON. */
static enum outcome write_request(const struct cli *cli, char **out, struct error *err)
{
    char id[UUID_TEXT_SIZE];
    struct uuid fresh = uuid_v4();
    const char *deadline = cli_text(cli, "deadline");
    json_t *input;
    enum outcome o = read_input(cli, &input, err);
    if (o != OK)
        return o;
    uuid_format(&fresh, id);
    json_t *request =
        json_pack("{s:s, s:s, s:o}", "id", cli_given(cli, "id") ? cli_text(cli, "id") : id, "agent",
                  cli_text(cli, "agent"), "input", input);
    if (!request)
        return fail(err, REFUSED, "--agent and --id must be UTF-8 text");
    int64_t ms, priority = 0;
    if (cli_given(cli, "priority"))
        o = cli_number(cli, "priority", 0, REQUEST_PRIORITY_MIN, REQUEST_PRIORITY_MAX, &priority,
                       err);
    if (o != OK) {
        json_decref(request);
        return o;
    }
    if (priority != 0)
        (void)json_object_set_new(request, "priority", json_integer(priority));
    if (deadline)
        (void)json_object_set_new(
            request, text_parse_duration(deadline, &ms, NULL) == OK ? "timeout" : "deadline",
            json_string(deadline));
    o = write_budget(cli, request, err);
    if (o == OK)
        *out = json_canonical(request);
    json_decref(request);
    return o;
}

static const char accept_sql[] =
    "SELECT json_build_object('run_id', a.run_id, 'answer', a.answer, 'detail', a.detail) FROM "
    "pawl.accept(NULL, ARRAY[$1], ARRAY[$2], ARRAY[decode($3, 'hex')], "
    "ARRAY[$4], ARRAY[$5], ARRAY[$6], ARRAY[$7], ARRAY[NULL::text], "
    "ARRAY[to_timestamp($8::bigint / 1000.0)], ARRAY[now()], $9, 0, ARRAY[$10::bigint], "
    "ARRAY[$11::int], ARRAY[$12::bigint], ARRAY[$13::bigint]) a";

static enum outcome ask(struct session *s, const struct cli *cli, const struct run_request *r,
                        json_t **answer, struct error *err)
{
    char digest[DIGEST_TEXT_SIZE], deadline[32], timeout[32], priority[16], tokens[32], micros[32];
    AUTO_FREE char *input = json_dumps(r->input, JSON_ENCODE_ANY | JSON_COMPACT);
    digest_hex(&r->digest, digest);
    (void)snprintf(deadline, sizeof deadline, "%lld", (long long)r->deadline_wall_ms);
    (void)snprintf(timeout, sizeof timeout, "%lld", (long long)r->timeout_ms);
    (void)snprintf(priority, sizeof priority, "%d", r->priority);
    (void)snprintf(tokens, sizeof tokens, "%lld", (long long)r->budget_tokens);
    (void)snprintf(micros, sizeof micros, "%lld", (long long)r->budget_micros);
    const char *params[] = { r->source,
                             r->id,
                             digest,
                             r->agent,
                             cli->config.tenant,
                             cli->config.class,
                             input,
                             r->deadline_wall_ms ? deadline : NULL,
                             cli_who(cli),
                             r->timeout_ms ? timeout : NULL,
                             priority,
                             r->budget_tokens ? tokens : NULL,
                             r->budget_micros ? micros : NULL };
    *answer = NULL;
    return session_ask(s, accept_sql, params, sizeof params / sizeof *params, answer, err);
}

static void say_more(const char *answer)
{
    if (!strcmp(answer, "duplicate"))
        fprintf(stderr, "pawl: this request was accepted before; it is this run\n");
    if (!strcmp(answer, "queued"))
        fprintf(stderr, "pawl: the run waits for a place; `pawl tenant list` shows who has them\n");
}

static int report(const struct cli *cli, struct session *s, const json_t *answer)
{
    const char *word = json_str_or(answer, "answer", "");
    const char *run = json_str(answer, "run_id");
    if (!strcmp(word, "unknown_agent"))
        return cli_fail(
            CLI_FAILED,
            "%s; `pawl agent list` shows the agents, `pawl agent apply FILE` publishes one",
            json_str_or(answer, "detail", ""));
    if (!run || !strcmp(word, "conflict"))
        return cli_fail(CLI_FAILED, "the run was not accepted (%s): %s", word,
                        json_str_or(answer, "detail", "no reason was given"));
    say_more(word);
    bool watch = cli_given(cli, "watch"), wait = cli_given(cli, "wait");
    if (cli_given(cli, "json") && !watch && !wait)
        output_json(answer);
    else if (!wait && !watch)
        (void)puts(run);
    if (!wait && !watch) {
        if (output_is_terminal())
            fprintf(stderr, "watch it with: pawl run watch %s\n", run);
        return CLI_DONE;
    }
    return run_watch(s, run,
                     cli_given(cli, "json") ? WATCH_JSON
                     : watch                ? WATCH_DRAW
                                            : WATCH_QUIET);
}

static int start(struct cli *cli, struct session *s, const char *text, struct arena *arena)
{
    const struct record_view record = { .topic = "the command line",
                                        .timestamp_ms = clock_wall_ms(),
                                        .value = text,
                                        .value_n = strlen(text) };
    const struct request_limits limits = { .bytes = cli->config.limit_request_bytes };
    struct run_request request;
    struct error err;
    json_t *answer = NULL;
    if (request_read(&record, &limits, arena, &request, &err) != OK)
        return cli_fail(CLI_FAILED, "the run was not asked for: %s", err.text);
    request.source = SOURCE;
    enum outcome o = ask(s, cli, &request, &answer, &err);
    int code = o == OK ? report(cli, s, answer) : cli_answer(o, &err);
    json_decref(answer);
    return code;
}

int run_start_command(struct cli *cli)
{
    struct session *s;
    struct arena arena;
    struct error err;
    AUTO_FREE char *text = NULL;
    int code = cli_configure(cli);
    if (code != CLI_DONE)
        return code;
    if (!cli_text(cli, "agent"))
        return cli_usage(cli, "--agent is missing");
    if (write_request(cli, &text, &err) != OK)
        return cli_usage(cli, "%s", err.text);
    assert(text);
    code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    arena_init(&arena, ARENA_BYTES_MIN + ARENA_BYTES_PER_INPUT_BYTE * strlen(text));
    code = start(cli, s, text, &arena);
    arena_free(&arena);
    session_close(s);
    return code;
}
