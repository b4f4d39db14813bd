/*
 * waiting.h -- answers of the benchmark's server that take their time.
 *
 *     suspended --its time has come--> handled by the server once more
 *
 * Thousands of connections wait here without a thread each.  Whether the caller is
 * still there is looked at when the time has come.
 *
 * Limits:  none of its own; memory is one entry per connection.
 * Threads: waiting_add() from the server's, the rest is one of its own.
 * Errors:  without memory or a thread the server ends.
 */
#ifndef PAWL_BENCH_WAITING_H
#define PAWL_BENCH_WAITING_H

#include <microhttpd.h>
#include <stdatomic.h>

void waiting_start(void);

/* From the handler of the connection: it is handled again after `ms`.  *gone is set
 * before that when the caller has hung up meanwhile.                        */
void waiting_add(struct MHD_Connection *c, int ms, atomic_bool *gone);

/* Everything goes on at once; for the end. */
void waiting_stop(void);

#endif
