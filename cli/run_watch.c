#include "cli/run_watch.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/timeline.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/uuid.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 200, TEXT_MAX = 300, RECONNECTS_MAX = 150 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

int run_timeline(struct session *s, const char *run, bool whole_texts, json_t **out)
{
    char max[16];
    (void)snprintf(max, sizeof max, "%d", TEXT_MAX);
    const char *params[] = { run, whole_texts ? NULL : max };
    return session_get(s, "SELECT pawl.timeline($1::uuid, 1, $2::int)", params, 2, out);
}

static void wait_a_little(void)
{
    const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
    (void)nanosleep(&pause, NULL);
}

/* ---- the picture, drawn in place ------------------------------------------- */

static int screen_lines(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 4 ? size.ws_row : 24;
}

/* Where the last `lines` lines of the text begin. */
static const char *last_lines(const char *text, int lines)
{
    const char *at = text + strlen(text);
    for (; at > text; at--)
        if (at[-1] == '\n' && lines-- == 0)
            break;
    return at;
}

/* Draws over the former picture; answers how many lines it has taken. */
static int draw_again(const json_t *document, int former_lines, bool last_time)
{
    char *text = NULL;
    size_t size = 0;
    int lines = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        return former_lines;
    timeline_print(document, memory);
    (void)fclose(memory);
    const char *from = last_time ? text : last_lines(text, screen_lines() - 1);
    for (const char *c = from; *c; c++)
        lines += *c == '\n';
    if (former_lines > 0)
        printf("\033[%dA\r\033[J", former_lines);
    if (!last_time) /* a line that is too long must not become two, or the next picture is misplaced
                     */
        (void)fputs("\033[?7l", stdout);
    (void)fputs(from, stdout);
    (void)fputs("\033[?7h", stdout);
    (void)fflush(stdout);
    free(text);
    return lines;
}

/* ---- lines ------------------------------------------------------------------ */

/* The lines that were printed already, in order: facts are few. */
struct printed {
    char **lines;
    size_t count, room;
};

static void print_new(void *self, const char *text)
{
    struct printed *p = self;
    for (size_t i = p->count; i > 0; i--)
        if (!strcmp(p->lines[i - 1], text))
            return;
    if (p->count == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        p->lines = xreallocarray(p->lines, p->room, sizeof *p->lines);
    }
    p->lines[p->count++] = xstrdup(text);
    (void)puts(text);
}

static void printed_release(struct printed *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->lines[i]);
    free(p->lines);
}

/* ---- watching ---------------------------------------------------------------- */

struct watch {
    struct session *session;
    const char *run;
    enum watch_mode mode;
    struct printed printed;
    int lines;
    int troubles; /* looks in a row that Postgres did not answer */
};

static void show(struct watch *w, const json_t *document)
{
    bool ended = timeline_has_ended(document);
    if (w->mode == WATCH_DRAW && output_is_terminal()) {
        w->lines = draw_again(document, w->lines, ended);
    } else if (w->mode == WATCH_DRAW) {
        timeline_facts(document, print_new, &w->printed);
        if (ended)
            timeline_print_end(document, stdout);
        (void)fflush(stdout);
    } else if (ended && w->mode == WATCH_QUIET) {
        const char *answer = json_str(document, "answer");
        if (answer)
            (void)puts(answer);
        else
            timeline_print_end(document, stderr);
    }
}

/* One look.  *ended: nothing more will come, and the exit code is final.  A
 * database that is away for a moment is no reason to stop watching.         */
static int look(struct watch *w, bool *ended)
{
    const char *params[] = { w->run, w->mode == WATCH_DRAW ? "300" : NULL };
    json_t *document = NULL;
    struct error err;
    enum outcome o = session_ask(w->session, "SELECT pawl.timeline($1::uuid, 1, $2::int)", params,
                                 2, &document, &err);
    *ended = true;
    if (o == RETRY && ++w->troubles < RECONNECTS_MAX) {
        o = session_reconnect(w->session, &err);
        *ended = o != OK && o != RETRY;
    }
    if (!*ended)
        return CLI_DONE;
    if (o != OK)
        return cli_answer(o, &err);
    w->troubles = 0;
    if (!document)
        return cli_fail(CLI_FAILED, "there is no run %s", w->run);
    show(w, document);
    *ended = timeline_has_ended(document);
    if (*ended && w->mode == WATCH_JSON)
        output_json(document);
    int code = !*ended || timeline_has_succeeded(document) ? CLI_DONE : CLI_FAILED;
    json_decref(document);
    return code;
}

int run_watch(struct session *s, const char *run, enum watch_mode mode)
{
    struct watch w = { .session = s, .run = run, .mode = mode };
    struct sigaction act = { .sa_handler = on_interrupt }, before;
    bool ended = false;
    int code = CLI_DONE;
    (void)sigaction(SIGINT, &act, &before);
    while (!ended && !interrupted) {
        code = look(&w, &ended);
        if (!ended)
            wait_a_little();
    }
    (void)sigaction(SIGINT, &before, NULL);
    printed_release(&w.printed);
    if (!ended)
        return cli_fail(CLI_FAILED, "stopped watching; the run goes on: pawl run watch %s", run);
    return code;
}

int run_watch_command(struct cli *cli)
{
    struct session *s;
    char run[SESSION_RUN_SIZE];
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = session_find_run(s, cli->operands[0], run);
    if (code == CLI_DONE)
        code = run_watch(s, run, cli_given(cli, "json") ? WATCH_JSON : WATCH_DRAW);
    session_close(s);
    return code;
}
