/*
 * Each action is tried on a child process: the test looks at how it ended.
 * In a build without fault points the same file tests that nothing happens.
 */
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "tests/unit/cm.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child: arms `spec`, hits one point `hits` times and another one once
 * before each, exits with the number of hits survived. Returns wait's status. */
static int run_child(const char *spec, int hits)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        log_set_fd(-1);
        (void)signal(SIGABRT, SIG_DFL);
        if (fault_arm(spec, NULL) != OK)
            _exit(99);
        for (int i = 0; i < hits; i++) {
            FAULT_POINT(PLANNER_AFTER_CONSUME);
            FAULT_POINT(PLANNER_AFTER_ACCEPT);
        }
        _exit(hits);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status)) {
        int ended = 0;
        assert_int_equal(kill(pid, SIGCONT), 0);
        assert_int_equal(waitpid(pid, &ended, 0), pid);
        assert_true(WIFEXITED(ended)); /* it goes on where it stood */
        assert_int_equal(WEXITSTATUS(ended), hits);
    }
    return status;
}

static void unarmed_points_do_nothing(void **state)
{
    (void)state;
    int status = run_child(NULL, 3);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    assert_int_equal(WEXITSTATUS(run_child("", 3)), 3);
}

static void the_list_names_every_point_once(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    fault_print_list(out);
    assert_int_equal(fclose(out), 0);
    int lines = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line; lines++) {
        char name[FAULT_NAME_SIZE];
        fault_name((enum fault_point)lines, name);
        const char *tab = strchr(line, '\t');
        assert_non_null(tab);
        assert_int_equal((size_t)(tab - line), strlen(name));
        assert_memory_equal(line, name, strlen(name));
        assert_true(strncmp(name, "planner_", 8) == 0 || strncmp(name, "executor_", 9) == 0 ||
                    strncmp(name, "daemon_", 7) == 0);
        assert_true(strlen(tab) > 20); /* a sentence, with its full stop */
        assert_int_equal(tab[strlen(tab) - 1], '.');
    }
    assert_int_equal(lines, FAULT_POINTS);
    free(text);
}

#ifdef PAWL_FAULTS
static void kills_at_the_nth_hit(void **state)
{
    (void)state;
    for (int nth = 1; nth <= 3; nth++) {
        char spec[64];
        (void)snprintf(spec, sizeof spec, "planner_after_accept:%d", nth);
        int status = run_child(spec, nth);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
        status = run_child(spec, nth - 1);
        assert_true(WIFEXITED(status));
    }
    assert_true(WIFSIGNALED(run_child("PLANNER_AFTER_ACCEPT", 1)));
    assert_true(WIFEXITED(run_child("executor_after_call", 5)));
    assert_true(WIFSIGNALED(run_child("executor_after_call,planner_after_accept:2", 2)));
}

static void other_actions(void **state)
{
    (void)state;
    int status = run_child("planner_after_accept:1:abort", 1);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    status = run_child("planner_after_accept:2:stop", 3);
    assert_true(WIFSTOPPED(status));
    status = run_child("planner_after_accept:1:kill", 1);
    assert_true(WIFSIGNALED(status));

    int64_t start_ms = clock_mono_ms();
    status = run_child("planner_after_accept:2:sleep:120", 4);
    int64_t took_ms = clock_mono_ms() - start_ms;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 4);
    assert_true(took_ms >= 120);
    assert_true(took_ms < 10000); /* once, not at every hit; generous for a busy machine */
}

static void wrong_specs_are_refused_and_arm_nothing(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "nowhere",
        "planner_after_accept:0",
        "planner_after_accept:-1",
        "planner_after_accept:x",
        "planner_after_accept:",
        "planner_after_accept:1:",
        "planner_after_accept:1:explode",
        "planner_after_accept:1:kill:5",
        "planner_after_accept:1:sleep",
        "planner_after_accept:1:sleep:",
        "planner_after_accept:1:sleep:x",
        "planner_after_accept:1:sleep:5:6",
        "planner_after_accept,",
        "planner_after_accept,nowhere",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = { "" };
        if (fault_arm(cases[i], &err) != REFUSED)
            fail_msg("'%s' was accepted", cases[i]);
        assert_contains(err.text, "PAWL_FAULT");
        FAULT_POINT(PLANNER_AFTER_ACCEPT); /* would kill this test */
    }
    assert_int_equal(WEXITSTATUS(run_child("nowhere", 1)), 99);
}

static void as_many_as_fit_can_be_armed_and_no_more(void **state)
{
    (void)state;
    char spec[512] = "planner_after_accept";
    for (int armed = 1; armed <= FAULT_ARMED_MAX + 1; armed++) {
        struct error err;
        enum outcome outcome = fault_arm(spec, &err);
        if (armed <= FAULT_ARMED_MAX) {
            assert_ok(outcome, &err);
        } else {
            assert_int_equal(outcome, REFUSED);
            assert_contains(err.text, "more than 8");
        }
        size_t length = strlen(spec);
        (void)snprintf(spec + length, sizeof spec - length, ",executor_after_call");
    }
    char too_long[1024];
    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    struct error err;
    assert_int_equal(fault_arm(too_long, &err), REFUSED);
    assert_contains(err.text, "longer than");
    assert_ok(fault_arm(NULL, &err), &err);
}
#else
static void arming_is_refused(void **state)
{
    (void)state;
    struct error err = { "" };
    assert_int_equal(fault_arm("planner_after_accept", &err), REFUSED);
    assert_contains(err.text, "no fault points");
    FAULT_POINT(PLANNER_AFTER_ACCEPT);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unarmed_points_do_nothing),
        cmocka_unit_test(the_list_names_every_point_once),
#ifdef PAWL_FAULTS
        cmocka_unit_test(kills_at_the_nth_hit),
        cmocka_unit_test(other_actions),
        cmocka_unit_test(wrong_specs_are_refused_and_arm_nothing),
        cmocka_unit_test(as_many_as_fit_can_be_armed_and_no_more),
#else
        cmocka_unit_test(arming_is_refused),
#endif
    };
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
