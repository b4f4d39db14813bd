#include "common/fault.h"
#include "common/log.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name, *sentence;
} points[FAULT_POINTS] = {
#define X(name, sentence) [FAULT_##name] = { #name, sentence },
    FAULT_LIST(X)
#undef X
};

enum action { KILL, STOP, ABORT, SLEEP };

struct armed {
    enum fault_point point;
    enum action action;
    unsigned nth;
    int64_t sleep_ms;
    atomic_uint hits;
};

static struct armed armed[FAULT_ARMED_MAX];
static int armed_count;

void fault_name(enum fault_point point, char out[FAULT_NAME_SIZE])
{
    const char *name = points[point].name;
    size_t i = 0;
    for (; name[i] && i + 1 < FAULT_NAME_SIZE; i++)
        out[i] = (char)tolower((unsigned char)name[i]);
    out[i] = '\0';
}

void fault_print_list(FILE *out)
{
    for (int point = 0; point < FAULT_POINTS; point++) {
        char name[FAULT_NAME_SIZE];
        fault_name((enum fault_point)point, name);
        (void)fprintf(out, "%s\t%s\n", name, points[point].sentence);
    }
}

/* --- arming -------------------------------------------------------------------------------------
 */

static bool read_point(const char *word, enum fault_point *point)
{
    for (int p = 0; p < FAULT_POINTS; p++) {
        if (strcasecmp(points[p].name, word) == 0) {
            *point = (enum fault_point)p;
            return true;
        }
    }
    return false;
}

/* A whole number from 1 to 10^9. */
static bool read_number(const char *word, long *value)
{
    char *end;
    errno = 0;
    *value = strtol(word, &end, 10);
    return isdigit((unsigned char)word[0]) && *end == '\0' && errno == 0 && *value >= 1 &&
           *value <= 1000000000;
}

/* The words after name and nth; `ms` is NULL but for "sleep:MS". */
static bool read_action(const char *word, const char *ms, struct armed *a)
{
    static const struct {
        const char *word;
        enum action action;
    } actions[] = { { "kill", KILL }, { "stop", STOP }, { "abort", ABORT } };
    if (strcmp(word, "sleep") == 0) {
        long value;
        if (!ms || !read_number(ms, &value))
            return false;
        a->action = SLEEP;
        a->sleep_ms = value;
        return true;
    }
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(actions[i].word, word) == 0) {
            a->action = actions[i].action;
            return !ms;
        }
    }
    return false;
}

/* One "name[:nth[:action]]". */
static enum outcome arm_one(char *item, struct error *err)
{
    if (armed_count == FAULT_ARMED_MAX)
        return fail(err, REFUSED, "PAWL_FAULT arms more than %d points", FAULT_ARMED_MAX);
    struct armed *a = &armed[armed_count];
    *a = (struct armed){ .nth = 1, .action = KILL };

    char *rest = item;
    const char *name = strsep(&rest, ":");
    const char *nth = strsep(&rest, ":");
    const char *action = strsep(&rest, ":");
    const char *ms = strsep(&rest, ":");
    if (!read_point(name, &a->point))
        return fail(err, REFUSED, "PAWL_FAULT: no point '%.60s'; --fault-points lists them", name);
    long number = 1;
    if (rest || (nth && !read_number(nth, &number)) || (action && !read_action(action, ms, a)))
        return fail(err, REFUSED,
                    "PAWL_FAULT: after '%.60s' comes :nth, then kill, stop, abort or sleep:MS",
                    name);
    a->nth = (unsigned)number;
    armed_count++;
    return OK;
}

enum outcome fault_arm(const char *spec, struct error *err)
{
    armed_count = 0;
    if (!spec || !*spec)
        return OK;
#ifndef PAWL_FAULTS
    return fail(err, REFUSED,
                "PAWL_FAULT is set, but this build has no fault points; build preset dev");
#endif
    char copy[512];
    int length = snprintf(copy, sizeof copy, "%s", spec);
    if (length < 0 || (size_t)length >= sizeof copy)
        return fail(err, REFUSED, "PAWL_FAULT is longer than %zu bytes", sizeof copy - 1);
    enum outcome outcome = OK;
    char *rest = copy;
    for (char *item; outcome == OK && (item = strsep(&rest, ",")) != NULL;)
        outcome = arm_one(item, err);
    if (outcome != OK)
        armed_count = 0; /* nothing of a spec that is not understood */
    return outcome;
}

/* --- hitting ------------------------------------------------------------------------------------
 */

static void sleep_ms(int64_t ms)
{
    struct timespec left = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static void act(const struct armed *a)
{
    static const char *const words[] = {
        [KILL] = "kill",
        [STOP] = "stop",
        [ABORT] = "abort",
        [SLEEP] = "sleep",
    };
    char name[FAULT_NAME_SIZE];
    fault_name(a->point, name);
    log_event(LOG_ERROR, "fault", LOG_STR("point", name), LOG_INT("hit", a->nth),
              LOG_STR("action", words[a->action]), LOG_END);
    switch (a->action) {
    case KILL: (void)raise(SIGKILL); return;
    case STOP: (void)kill(getpid(), SIGSTOP); return;
    case ABORT: abort();
    case SLEEP: sleep_ms(a->sleep_ms); return;
    }
}

void fault_hit(enum fault_point point)
{
    for (int i = 0; i < armed_count; i++)
        if (armed[i].point == point && atomic_fetch_add(&armed[i].hits, 1) + 1 == armed[i].nth)
            act(&armed[i]);
}
