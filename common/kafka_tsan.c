/*
 * kafka_tsan.c -- lets ThreadSanitizer see librdkafka's threads.
 *
 * Debian builds librdkafka on the threads of C11.  ThreadSanitizer (gcc 12)
 * stands in front of the pthread functions only, so a thread begun by
 * thrd_create() is one it knows nothing of, and dies at its first malloc().
 * In builds with that sanitizer, and in no other, the C11 functions that
 * librdkafka uses are therefore these, made of pthreads; a definition in the
 * program goes before that of libc.  In glibc both kinds of objects are the same
 * in memory (that is how its own C11 functions are made).
 *
 * What librdkafka's threads read and write is not looked at: its atomics are not
 * instrumented, so that a buffer freed there by the last of its owners looks like a
 * race with what another owner, our loop, has read in it before.  Their locks still
 * count, and so does every access of ours: of the loop's thread, and of callbacks
 * on their threads (kafka_tsan_ours()).
 */
#include "common/kafka_tsan.h"

#ifdef __SANITIZE_THREAD__

#include "common/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mutex fits");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a condition fits");

/* The same from the other side: librdkafka's code on our own thread.  Its own
 * destruction of a lock looks like a race with the lock's last use.
 * Reports with one of our functions on top are not meant and not hidden.      */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:librdkafka.so\n"
           "race_top:pthread_rwlock_destroy\n";
}

struct start {
    thrd_start_t fn;
    void *arg;
};

/* libtsan has these, and no header of gcc tells of them. */
void __tsan_ignore_thread_begin(void);
void __tsan_ignore_thread_end(void);

static _Thread_local bool theirs; /* this thread is librdkafka's */

void kafka_tsan_ours(bool begin)
{
    if (!theirs)
        return;
    if (begin)
        __tsan_ignore_thread_end();
    else
        __tsan_ignore_thread_begin();
}

static int answer(int error)
{
    if (error == 0)
        return thrd_success;
    return error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

static void *run(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    theirs = true;
    __tsan_ignore_thread_begin();
    int result = start.fn(start.arg);
    __tsan_ignore_thread_end();
    return (void *)(intptr_t)result;
}

int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
    struct start *start = xmalloc(sizeof *start);
    *start = (struct start){ fn, arg };
    int error = pthread_create(thread, NULL, run, start);
    if (error != 0)
        free(start);
    return answer(error);
}

int thrd_join(thrd_t thread, int *result)
{
    void *value;
    int error = pthread_join(thread, &value);
    if (error == 0 && result)
        *result = (int)(intptr_t)value;
    return answer(error);
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    int error = pthread_mutex_init((pthread_mutex_t *)mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    return answer(error);
}

void mtx_destroy(mtx_t *mutex)
{
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int mtx_lock(mtx_t *mutex)
{
    return answer(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex)
{
    return answer(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

int cnd_init(cnd_t *condition)
{
    return answer(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

void cnd_destroy(cnd_t *condition)
{
    (void)pthread_cond_destroy((pthread_cond_t *)condition);
}

int cnd_signal(cnd_t *condition)
{
    return answer(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition)
{
    return answer(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return answer(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    return answer(
        pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until));
}

#else

void kafka_tsan_ours(bool begin)
{
    (void)begin;
}

#endif

void kafka_tsan_link(void)
{
}
