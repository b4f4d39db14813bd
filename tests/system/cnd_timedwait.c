/*
 * cnd_timedwait.c -- lets libfaketime see the timed waits of C11 threads.
 *
 * libfaketime 0.9.10 gives a process another time of day and corrects the waits
 * of pthread_cond_timedwait(), but not those of cnd_timedwait(), by which
 * librdkafka waits: they would end at once, or an hour late.  With this library
 * loaded as well, they go the way that is corrected.  In glibc the types of both
 * are the same bytes.
 */
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until)
{
    int rc = pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until);
    if (rc == 0)
        return thrd_success;
    return rc == ETIMEDOUT ? thrd_timedout : thrd_error;
}
