#include "common/memory.h"
#include "tests/unit/cm.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void copies_text(void **state)
{
    (void)state;
    AUTO_FREE char *whole = xstrdup("pawl");
    AUTO_FREE char *part = xstrndup("pawl", 2);
    AUTO_FREE char *longer = xstrndup("pawl", 100);
    assert_string_equal(whole, "pawl");
    assert_string_equal(part, "pa");
    assert_string_equal(longer, "pawl");
}

static void zeroes_and_grows(void **state)
{
    (void)state;
    int *numbers = xcalloc(100, sizeof *numbers);
    for (int i = 0; i < 100; i++)
        assert_int_equal(numbers[i], 0);
    numbers[99] = 7;
    numbers = xreallocarray(numbers, 1000, sizeof *numbers);
    assert_int_equal(numbers[99], 7);
    numbers = xrealloc(numbers, 0); /* still a block to free, never a double free */
    assert_non_null(numbers);
    free(numbers);
}

/* Runs `body` in a child, its standard error closed; returns wait's status. */
static int status_of(void (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Volatile, so that the compiler does not see the size and warn about it. */
static volatile size_t huge = SIZE_MAX / 2;

static void product_that_wraps_around(void)
{
    free(xreallocarray(NULL, huge, 4)); /* wraps to a small number when unchecked */
}

static void harmless(void)
{
    free(xmalloc(10));
}

static void stops_the_process_when_the_product_wraps(void **state)
{
    (void)state;
    int status = status_of(harmless);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    status = status_of(product_that_wraps_around);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    /* The sanitizer's allocator reports the size before we see it, and exits. */
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
#else
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_text),
        cmocka_unit_test(zeroes_and_grows),
        cmocka_unit_test(stops_the_process_when_the_product_wraps),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
