/*
 * test_broker.c -- the embedded broker as a process: its address, its port, its
 * end.  What it does with records is tested through consumer and producer.
 */
#include "tests/unit/cm.h"

#include "cli/broker.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static char directory[] = "/tmp/pawl-test-broker-XXXXXX";
static char port_file[64];

static int make_directory(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    (void)snprintf(port_file, sizeof port_file, "%s/port", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(port_file);
    return rmdir(directory);
}

enum { WORDS_MAX = 12 };

/* broker_main() with copies of the words, since it may write to them. */
static int call_broker(const char *const *words)
{
    char copies[WORDS_MAX][64];
    char *argv[WORDS_MAX + 1] = { NULL };
    int argc = 0;
    for (; words[argc]; argc++) {
        (void)snprintf(copies[argc], sizeof copies[argc], "%s", words[argc]);
        argv[argc] = copies[argc];
    }
    return broker_main(argc, argv);
}

/* Runs it in a child; its standard output is the answer's pipe. */
static pid_t run_broker(int *out, const char *port, const char *file)
{
    const char *const words[] = { "dev-broker", "--port", port,      "--port-file", file,
                                  "--topic",    "one:3",  "--topic", "two",         NULL };
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* when the test fails */
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        _exit(call_broker(words));
    }
    (void)close(ends[1]);
    *out = ends[0];
    return pid;
}

static void read_line(int fd, char line[64])
{
    size_t n = 0;
    while (n < 63 && read(fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = '\0';
}

static int end_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool can_connect(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    (void)close(fd);
    return connected;
}

static void it_says_where_it_is_and_comes_back_there(void **state)
{
    char line[64], again[64], in_file[64] = "", port[16];
    int out;
    (void)state;
    pid_t pid = run_broker(&out, "0", port_file);
    read_line(out, line);
    (void)close(out);
    assert_contains(line, "127.0.0.1:");
    int file = open(port_file, O_RDONLY | O_CLOEXEC);
    read_line(file, in_file);
    (void)close(file);
    assert_string_equal(in_file, line);
    (void)snprintf(port, sizeof port, "%s", strrchr(line, ':') + 1);
    assert_true(can_connect(atoi(port)));

    /* The port is taken: a second one says so and ends. */
    pid_t second = run_broker(&out, port, port_file);
    assert_int_equal(end_of(second), EX_UNAVAILABLE);
    (void)close(out);

    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(end_of(pid), EX_OK);
    assert_false(can_connect(atoi(port)));
    pid = run_broker(&out, port, port_file);
    read_line(out, again);
    (void)close(out);
    assert_string_equal(again, line);
    assert_true(can_connect(atoi(port)));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void bad_arguments_are_refused(void **state)
{
    static const char *const cases[][4] = {
        { "dev-broker" },
        { "dev-broker", "--port", "99999" },
        { "dev-broker", "--port", "x" },
        { "dev-broker", "--topic", ":3" },
        { "dev-broker", "--topic", "a:0" },
        { "dev-broker", "--topic", "a:x" },
        { "dev-broker", "--topic", "" },
        { "dev-broker", "--what" },
        { "dev-broker", "word" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(call_broker(cases[i]), EX_USAGE);
}

static void other_sockets_get_their_own_ports(void **state)
{
    struct broker_topic topic = { "one", 1 };
    struct broker_options options = { .topics = &topic, .n_topics = 1 };
    struct broker *a, *b;
    struct error err;
    (void)state;
    assert_ok(broker_start(&a, &options, &err), &err);
    assert_ok(broker_start(&b, &options, &err), &err);
    assert_string_not_equal(broker_bootstrap(a), broker_bootstrap(b));
    options.port = atoi(strrchr(broker_bootstrap(a), ':') + 1);
    broker_stop(a);
    assert_ok(broker_start(&a, &options, &err), &err);
    assert_int_equal(atoi(strrchr(broker_bootstrap(a), ':') + 1), options.port);
    broker_stop(a);
    broker_stop(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_where_it_is_and_comes_back_there),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(other_sockets_get_their_own_ports),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
