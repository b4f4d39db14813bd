#include "bench/waiting.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

struct entry {
    struct entry *next; /* in the order of their times */
    struct MHD_Connection *connection;
    atomic_bool *gone;
    int64_t due_ms;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_t thread;
static struct entry *first;
static bool stopping;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool has_hung_up(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    char byte;
    return info && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* With the lock held; the lock is given up while the server is told. */
static void let_go(struct entry *e)
{
    first = e->next;
    pthread_mutex_unlock(&lock);
    if (has_hung_up(e->connection))
        atomic_store(e->gone, true);
    MHD_resume_connection(e->connection);
    free(e);
    pthread_mutex_lock(&lock);
}

static void sleep_until(int64_t due_ms)
{
    struct timespec until = { .tv_sec = due_ms / 1000, .tv_nsec = due_ms % 1000 * 1000000 };
    pthread_cond_timedwait(&changed, &lock, &until);
}

static void *run(void *arg)
{
    pthread_mutex_lock(&lock);
    while (!stopping || first) {
        if (!first)
            pthread_cond_wait(&changed, &lock);
        else if (stopping || first->due_ms <= now_ms())
            let_go(first);
        else
            sleep_until(first->due_ms);
    }
    pthread_mutex_unlock(&lock);
    return arg;
}

void waiting_start(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attr);
    if (pthread_create(&thread, NULL, run, NULL) != 0)
        abort();
}

void waiting_add(struct MHD_Connection *c, int ms, atomic_bool *gone)
{
    struct entry *e = malloc(sizeof *e);
    if (!e)
        abort();
    *e = (struct entry){ .connection = c, .gone = gone, .due_ms = now_ms() + ms };
    MHD_suspend_connection(c);
    pthread_mutex_lock(&lock);
    struct entry **at = &first;
    while (*at && (*at)->due_ms <= e->due_ms)
        at = &(*at)->next;
    e->next = *at;
    *at = e;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

void waiting_stop(void)
{
    pthread_mutex_lock(&lock);
    stopping = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}
