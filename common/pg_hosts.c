#include "common/memory.h"
#include "common/pg_core.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

/* How many elements a list with commas has; 0 for none. */
static size_t length_of(const char *list)
{
    size_t n = list && *list ? 1 : 0;
    for (const char *c = list; c && *c; c++)
        n += *c == ',';
    return n;
}

/* A copy of one element; a list of one holds for all places. */
static char *element(const char *list, size_t at)
{
    size_t n = length_of(list);
    if (n == 0)
        return NULL;
    for (size_t i = 0; n > 1 && i < at; i++)
        list += strcspn(list, ",") + 1;
    return xstrndup(list, strcspn(list, ","));
}

size_t pg_hosts_count(const char *dsn)
{
    size_t hosts = 0, addresses = 0;
    PQconninfoOption *parts = PQconninfoParse(dsn, NULL);
    for (const PQconninfoOption *o = parts; o && o->keyword; o++) {
        if (strcmp(o->keyword, "host") == 0)
            hosts = length_of(o->val);
        else if (strcmp(o->keyword, "hostaddr") == 0)
            addresses = length_of(o->val);
    }
    PQconninfoFree(parts);
    size_t n = addresses ? addresses : hosts;
    return n ? n : 1;
}

void pg_host_init(struct pg_host *host, const char *dsn, size_t at)
{
    PQconninfoOption *parts = PQconninfoParse(dsn, NULL);
    *host = (struct pg_host){ 0 };
    for (const PQconninfoOption *o = parts; o && o->keyword; o++) {
        if (strcmp(o->keyword, "host") == 0)
            host->name = element(o->val, at);
        else if (strcmp(o->keyword, "hostaddr") == 0)
            host->address = element(o->val, at);
        else if (strcmp(o->keyword, "port") == 0)
            host->port = element(o->val, at);
    }
    PQconninfoFree(parts);
}

void pg_host_release(struct pg_host *host)
{
    free(host->name);
    free(host->address);
    free(host->port);
    *host = (struct pg_host){ 0 };
}
