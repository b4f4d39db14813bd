/*
 * run_act.c -- what people do to a run: `pawl run cancel`, `send`, `retry`,
 * `decide`.
 * Each is one function of the schema, which records who did it.
 */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
#include "common/json.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- cancel ------------------------------------------------------------------ */

static int cancel_one(struct cli *cli, struct session *s, const char *text, json_t *answers)
{
    char run[SESSION_RUN_SIZE];
    json_t *answer = NULL;
    int code = session_find_run(s, text, run);
    if (code != CLI_DONE)
        return code;
    const char *params[] = { run, cli_who(cli), cli_text(cli, "reason") };
    code = session_get(s, "SELECT row_to_json(c) FROM pawl.cancel(ARRAY[$1::uuid], $2, $3) c",
                       params, 3, &answer);
    if (code != CLI_DONE)
        return code;
    const char *word = json_str_or(answer, "answer", "");
    if (!strcmp(word, "no"))
        code = cli_fail(CLI_FAILED, "there is no run %s", run);
    else if (!strcmp(word, "ended"))
        code = cli_fail(CLI_FAILED, "run %s had ended before", run);
    else if (!cli_given(cli, "json"))
        printf("%s cancelled\n", run);
    (void)json_array_append_new(answers, answer);
    return code;
}

int run_cancel_command(struct cli *cli)
{
    struct session *s;
    int code = session_open(cli, &s), worst = CLI_DONE;
    if (code != CLI_DONE)
        return code;
    json_t *answers = json_array();
    for (int i = 0; i < cli->operand_count; i++) {
        code = cancel_one(cli, s, cli->operands[i], answers);
        worst = code > worst ? code : worst;
    }
    if (cli_given(cli, "json"))
        output_json(answers);
    json_decref(answers);
    session_close(s);
    return worst;
}

/* ---- send -------------------------------------------------------------------- */

static int print_sent(const struct cli *cli, const char *run, const json_t *answer)
{
    const char *word = json_str_or(answer, "answer", "");
    bool fine = !strcmp(word, "sent");
    if (cli_given(cli, "json"))
        output_json(answer);
    else if (fine)
        printf("%s is at step %lld and reads message %lld at its next one\n", run,
               (long long)json_int_or(answer, "step", 0), (long long)json_int_or(answer, "seq", 0));
    if (fine)
        return CLI_DONE;
    return cli_fail(!strcmp(word, "full") ? CLI_RETRY : CLI_FAILED,
                    "the message was not sent to run %s: %s", run,
                    json_str_or(answer, "detail", word));
}

int run_send_command(struct cli *cli)
{
    struct session *s;
    char run[SESSION_RUN_SIZE];
    const char *text = cli->operands[1];
    json_t *answer = NULL;
    if (!text_is_utf8(text, strlen(text)))
        return cli_usage(cli, "the message is not UTF-8");
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = session_find_run(s, cli->operands[0], run);
    const char *params[] = { run, text, cli_who(cli) };
    if (code == CLI_DONE)
        code = session_get(s, "SELECT row_to_json(m) FROM pawl.send($1::uuid, $2, $3) m", params, 3,
                           &answer);
    if (code == CLI_DONE)
        code = print_sent(cli, run, answer);
    json_decref(answer);
    session_close(s);
    return code;
}

/* ---- retry ------------------------------------------------------------------- */

static int print_retry(const struct cli *cli, const char *run, const json_t *answer)
{
    const char *word = json_str_or(answer, "answer", "");
    bool fine = !strcmp(word, "retried");
    if (cli_given(cli, "json"))
        output_json(answer);
    else if (fine)
        printf("%s goes on from step %lld (epoch %lld)\n", run,
               (long long)json_int_or(answer, "step", 0),
               (long long)json_int_or(answer, "epoch", 0));
    if (fine)
        return CLI_DONE;
    return cli_fail(!strcmp(word, "busy") ? CLI_RETRY : CLI_FAILED, "run %s was not retried: %s",
                    run, json_str_or(answer, "detail", word));
}

int run_retry_command(struct cli *cli)
{
    struct session *s;
    struct error err;
    int64_t step;
    char run[SESSION_RUN_SIZE], step_text[24];
    json_t *answer = NULL;
    if (cli_number(cli, "step", 0, 1, INT32_MAX, &step, &err) != OK)
        return cli_usage(cli, "%s", err.text);
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    (void)snprintf(step_text, sizeof step_text, "%lld", (long long)step);
    code = session_find_run(s, cli->operands[0], run);
    const char *params[] = { run, step ? step_text : NULL, cli_who(cli) };
    if (code == CLI_DONE)
        code = session_get(s, "SELECT row_to_json(r) FROM pawl.retry($1::uuid, $2::int, $3) r",
                           params, 3, &answer);
    if (code == CLI_DONE)
        code = print_retry(cli, run, answer);
    json_decref(answer);
    session_close(s);
    return code;
}

/* ---- decide ------------------------------------------------------------------ */

/* What the model shall read as the call's result: JSON as it is, else a text. */
static enum outcome check_result(const char *result, struct error *err)
{
    if (result && !text_is_utf8(result, strlen(result)))
        return fail(err, REFUSED, "--result is not UTF-8");
    return OK;
}

static int read_decision(const struct cli *cli, bool *happened)
{
    const char *word = cli->operands[3];
    struct error err;
    for (int i = 1; i <= 2; i++) {
        char *end;
        long value = strtol(cli->operands[i], &end, 10);
        if (!cli->operands[i][0] || *end || value < 0 || value > INT32_MAX)
            return cli_usage(cli, "'%s' is not the number of a %s", cli->operands[i],
                             i == 1 ? "step" : "call");
    }
    *happened = !strcmp(word, "happened");
    if (!*happened && strcmp(word, "did-not-happen") != 0)
        return cli_usage(cli, "'%s' is neither happened nor did-not-happen", word);
    if (!*happened && cli_given(cli, "result"))
        return cli_usage(cli, "--result goes with happened: what did not happen has no result");
    if (check_result(cli_text(cli, "result"), &err) != OK)
        return cli_usage(cli, "%s", err.text);
    return CLI_DONE;
}

int run_decide_command(struct cli *cli)
{
    struct session *s;
    char run[SESSION_RUN_SIZE];
    bool happened = false;
    json_t *answer = NULL;
    int code = read_decision(cli, &happened);
    if (code == CLI_DONE)
        code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = session_find_run(s, cli->operands[0], run);
    const char *params[] = { run,
                             cli->operands[1],
                             cli->operands[2],
                             happened ? "t" : "f",
                             cli_text(cli, "result"),
                             cli_who(cli) };
    if (code == CLI_DONE)
        code = session_get(s,
                           "SELECT row_to_json(d) FROM pawl.decide($1::uuid, $2::int, $3::int, "
                           "$4::bool, $5, $6) d",
                           params, 6, &answer);
    if (code == CLI_DONE && strcmp(json_str_or(answer, "answer", ""), "decided") != 0)
        code = cli_fail(CLI_FAILED, "%s; `pawl run show %s` shows what waits",
                        json_str_or(answer, "detail", "nothing was decided"), run);
    else if (code == CLI_DONE && cli_given(cli, "json"))
        output_json(answer);
    else if (code == CLI_DONE)
        printf("call %s of step %s: %s\n", cli->operands[2], cli->operands[1],
               happened ? "it happened; the run goes on with that result"
                        : "it did not happen; it will be sent again");
    json_decref(answer);
    session_close(s);
    return code;
}
