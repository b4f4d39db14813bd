/*
 * outbound.h -- where calls of tools may go.
 *
 *     URL --outbound_check_target--> name resolved --> address --outbound_allows--> connect
 *
 * A model chooses arguments, and a tool's server chooses redirects and what its name
 * resolves to; none of them may choose that we speak with the metadata service of
 * the cloud, or with a database in the next room.  So the address is checked where
 * the socket is opened, after the name was resolved: neither a redirect, nor another
 * spelling of an address, nor a name that resolves to something else the second time
 * gets around it.
 *
 * Refused are all addresses that are not reachable globally (the special-purpose
 * registries of IANA, RFC 6890, and what is embedded in IPv6: mapped, NAT64, 6to4),
 * but for the networks that the configuration allows.
 *
 * A proxy resolves names itself: with `proxy`, only addresses that stand in the URL
 * are checked.  Without it no proxy is used.
 *
 * Threads: constant once it is made.
 * Errors:  REFUSED: not there; the text says which rule forbids it.
 */
#ifndef PAWL_COMMON_OUTBOUND_H
#define PAWL_COMMON_OUTBOUND_H

#include "common/outcome.h"

#include <stdbool.h>
#include <sys/socket.h>

/* As they stand in the configuration: lists with commas between their entries; NULL
 * restricts nothing.                                                         */
struct outbound_rules {
    const char *networks; /* allowed beside the public ones: "10.1.0.0/16, ::1" */
    const char *hosts;    /* "api.example.com, *.example.com" */
    const char *ports;    /* "443, 8000-8999" */
    bool https_only;
    bool proxy; /* the one of the environment may be used */
};

/* NULL when the list is well formed, or what would be right. */
const char *outbound_check_networks(const char *list);
const char *outbound_check_hosts(const char *list);
const char *outbound_check_ports(const char *list);

struct outbound;

/* The lists are well formed. */
struct outbound *outbound_new(const struct outbound_rules *rules);
void outbound_free(struct outbound *o); /* NULL is fine */

/* Before anything is resolved; `host` without brackets, `port` is never 0. */
MUST_CHECK enum outcome outbound_check_target(const struct outbound *o, const char *scheme,
                                              const char *host, int port, struct error *err);

/* May a connection to this address be opened? */
bool outbound_allows(const struct outbound *o, const struct sockaddr *address);

bool outbound_may_use_proxy(const struct outbound *o);

#endif
