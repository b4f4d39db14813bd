#include "tests/unit/one_loop.h"

#include <errno.h>
#include <time.h>

struct loop loop;

int open_loop(void **state)
{
    (void)state;
    struct error err;
    return loop_init(&loop, &err) == OK ? 0 : -1;
}

int close_loop(void **state)
{
    (void)state;
    loop_release(&loop);
    return 0;
}

void sleep_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}
