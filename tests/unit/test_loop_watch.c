/*
 * test_loop_watch.c -- foreign descriptors on the loop: what is reported, errors
 * with bytes in front of them, and numbers that come back.
 */
#include "tests/unit/cm.h"
#include "tests/unit/one_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct seen {
    struct loop_watch watch;
    int calls, events;
    size_t bytes, chunk;
    bool close_at_end;
};

static void on_seen(void *arg, int events)
{
    struct seen *s = arg;
    s->calls++;
    s->events |= events;
    if (s->chunk == 0)
        return;
    char text[64];
    ssize_t n = read(s->watch.fd, text, s->chunk);
    if (n > 0)
        s->bytes += (size_t)n;
    else if (s->close_at_end && (n == 0 || errno != EAGAIN))
        loop_watch_close(&s->watch);
}

static void a_watch_reports_what_was_asked_for(void **state)
{
    (void)state;
    int fds[2];
    struct error err;
    struct seen s = { .chunk = 16 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(loop_watch_start(&loop, &s.watch, fds[0], LOOP_READ, on_seen, &s, &err), OK);
    loop_turn(&loop, 10);
    assert_int_equal(s.calls, 0);

    assert_int_equal(write(fds[1], "hello", 5), 5);
    turn_until(s.bytes == 5);
    assert_int_equal(s.events, LOOP_READ);

    s.chunk = 0;
    loop_watch_update(&s.watch, LOOP_READ | LOOP_WRITE);
    turn_until(s.events & LOOP_WRITE);

    loop_watch_stop(&s.watch);
    int calls = s.calls;
    assert_int_equal(write(fds[1], "hello", 5), 5);
    loop_turn(&loop, 10);
    assert_int_equal(s.calls, calls);

    s.chunk = 16;
    loop_watch_update(&s.watch, LOOP_READ);
    turn_until(s.bytes == 10);

    s.close_at_end = true;
    close(fds[1]); /* end of file counts as readable */
    turn_until(s.watch.poll == NULL);
    close(fds[0]);
}

static void a_refused_connection_is_an_error_event(void **state)
{
    (void)state;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    int taken = socket(AF_INET, SOCK_STREAM, 0); /* bound, never listening: always refuses */
    assert_int_equal(bind(taken, (struct sockaddr *)&at, size), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&at, &size), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)connect(fd, (struct sockaddr *)&at, size);

    struct error err;
    struct seen s = { .chunk = 16, .close_at_end = true };
    assert_int_equal(loop_watch_start(&loop, &s.watch, fd, LOOP_WRITE, on_seen, &s, &err), OK);
    turn_until(s.watch.poll == NULL);
    assert_true(s.events & LOOP_ERROR);
    assert_true(s.events & LOOP_WRITE);
    close(fd);
    close(taken);
}

/* The peer sends and resets: what it sent can be read, in small pieces, although
 * the descriptor is in error all the time.                                  */
static void bytes_in_front_of_an_error_are_not_lost(void **state)
{
    (void)state;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof at;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&at, &size), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, size), 0);
    int peer = accept(server, NULL, NULL);
    assert_int_equal(write(fd, "unread", 6), 6); /* unread input makes close() a reset */
    assert_int_equal(write(peer, "0123456789abcdef", 16), 16);
    close(peer);

    struct error err;
    struct seen s = { .chunk = 3, .close_at_end = true };
    assert_int_equal(loop_watch_start(&loop, &s.watch, fd, LOOP_READ, on_seen, &s, &err), OK);
    turn_until(s.watch.poll == NULL);
    assert_true(s.events & LOOP_ERROR);
    assert_int_equal(s.bytes, 16);
    close(fd);
    close(server);
}

static void what_cannot_be_polled_is_said(void **state)
{
    (void)state;
    struct error err;
    struct loop_watch w;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(loop_watch_start(&loop, &w, file, LOOP_READ, on_seen, NULL, &err), BROKEN);
    assert_non_null(strstr(err.text, "cannot watch descriptor"));
    close(file);
    assert_int_equal(loop_watch_start(&loop, &w, file, LOOP_READ, on_seen, NULL, &err), BROKEN);
    loop_watch_close(&w);
}

static void watches_open_and_close_without_end(void **state)
{
    (void)state;
    struct error err;
    for (int i = 0; i < 500; i++) {
        int fds[2];
        struct seen s = { .chunk = 1 };
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(loop_watch_start(&loop, &s.watch, fds[0], LOOP_READ, on_seen, &s, &err),
                         OK);
        turn_until(s.bytes == 1);
        loop_watch_close(&s.watch);
        loop_watch_close(&s.watch);
        close(fds[0]); /* the next round gets the same number while libuv still closes */
        close(fds[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_reports_what_was_asked_for),
        cmocka_unit_test(a_refused_connection_is_an_error_event),
        cmocka_unit_test(bytes_in_front_of_an_error_are_not_lost),
        cmocka_unit_test(what_cannot_be_polled_is_said),
        cmocka_unit_test(watches_open_and_close_without_end),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
