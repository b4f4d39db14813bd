#include "common/outbound.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    ADDRESS_BYTES = 16,
    ADDRESS_BITS = 128,
    V4_BITS = 32,
    PORT_MAX = 65535,
    HOST_BYTES_MAX = 253
};

/* IPv4 addresses are kept as IPv6 maps them, ::ffff:a.b.c.d. */
struct network {
    uint8_t bytes[ADDRESS_BYTES];
    int bits;
};

struct ports {
    int from, to;
};

struct outbound {
    struct network *networks;
    struct ports *ports;
    char **hosts;
    size_t network_count, port_count, host_count;
    bool https_only, proxy;
};

static const uint8_t v4_mapped[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* IANA's registries of special-purpose addresses: what is not globally reachable,
 * and multicast.                                                             */
static const struct {
    uint8_t head[4];
    int bits;
} special_v4[] = {
    { { 0 }, 8 },             /* this host */
    { { 10 }, 8 },            /* private */
    { { 100, 64 }, 10 },      /* shared, behind carriers' NAT */
    { { 127 }, 8 },           /* loopback */
    { { 169, 254 }, 16 },     /* link-local: the metadata services of clouds */
    { { 172, 16 }, 12 },      /* private */
    { { 192, 0, 0 }, 24 },    /* protocol assignments */
    { { 192, 0, 2 }, 24 },    /* documentation */
    { { 192, 88, 99 }, 24 },  /* 6to4 relays */
    { { 192, 168 }, 16 },     /* private */
    { { 198, 18 }, 15 },      /* benchmarks */
    { { 198, 51, 100 }, 24 }, /* documentation */
    { { 203, 0, 113 }, 24 },  /* documentation */
    { { 224 }, 4 },           /* multicast */
    { { 240 }, 4 },           /* reserved, broadcast */
};
static const struct {
    uint8_t head[8];
    int bits;
} special_v6[] = {
    { { 0 }, 96 },                         /* unspecified, loopback, once compatible */
    { { 0, 0x64, 0xff, 0x9b, 0, 1 }, 48 }, /* local NAT64 */
    { { 1 }, 64 },                         /* discarded */
    { { 0x20, 0x01 }, 23 },                /* protocol assignments, Teredo */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32 },    /* documentation */
    { { 0x3f, 0xff }, 20 },                /* documentation */
    { { 0x5f }, 16 },                      /* segment routing */
    { { 0xfc }, 7 },                       /* private */
    { { 0xfe, 0x80 }, 10 },                /* link-local */
    { { 0xfe, 0xc0 }, 10 },                /* once site-local */
    { { 0xff }, 8 },                       /* multicast */
};

static bool begins_with(const uint8_t *address, const uint8_t *head, int bits)
{
    int whole = bits / 8, rest = bits % 8;
    if (memcmp(address, head, (size_t)whole) != 0)
        return false;
    uint8_t mask = (uint8_t)(0xff00 >> rest);
    return rest == 0 || (address[whole] & mask) == (head[whole] & mask);
}

/* ---- the rules ------------------------------------------------------------ */

static bool read_address(const char *text, uint8_t out[ADDRESS_BYTES], int *bits)
{
    memcpy(out, v4_mapped, sizeof v4_mapped);
    *bits = V4_BITS;
    if (inet_pton(AF_INET, text, out + sizeof v4_mapped) == 1)
        return true;
    *bits = ADDRESS_BITS;
    return inet_pton(AF_INET6, text, out) == 1;
}

static bool read_number(const char *text, size_t n, long max, int *out)
{
    char *end;
    if (n == 0 || n > 5 || !isdigit((unsigned char)*text))
        return false;
    long value = strtol(text, &end, 10);
    *out = (int)value;
    return end == text + n && value <= max;
}

static bool read_network(const char *text, struct network *out)
{
    char address[INET6_ADDRSTRLEN];
    size_t n = strcspn(text, "/");
    int own = 0, bits;
    if (n >= sizeof address)
        return false;
    memcpy(address, text, n);
    address[n] = '\0';
    if (!read_address(address, out->bytes, &own))
        return false;
    bits = own;
    if (text[n] && !read_number(text + n + 1, strlen(text + n + 1), own, &bits))
        return false;
    out->bits = bits + (ADDRESS_BITS - own);
    return true;
}

static bool read_ports(const char *text, struct ports *out)
{
    size_t n = strcspn(text, "-");
    if (!read_number(text, n, PORT_MAX, &out->from))
        return false;
    out->to = out->from;
    return !text[n] || (read_number(text + n + 1, strlen(text + n + 1), PORT_MAX, &out->to) &&
                        out->to >= out->from);
}

static bool is_host(const char *text)
{
    const char *name = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    return *name && !strpbrk(name, "*/@[] \t") && strlen(name) <= HOST_BYTES_MAX;
}

/* Calls `take` for each entry of a list, without the space around it; false when it
 * refuses one, or an entry is empty or too long.                             */
static bool each(const char *list, bool (*take)(struct outbound *o, const char *entry),
                 struct outbound *o)
{
    for (;;) {
        char entry[HOST_BYTES_MAX + 4];
        list += strspn(list, " \t");
        size_t n = strcspn(list, ","), text_n = n;
        while (text_n > 0 && strchr(" \t", list[text_n - 1]))
            text_n--;
        if (text_n == 0 || text_n >= sizeof entry)
            return false;
        memcpy(entry, list, text_n);
        entry[text_n] = '\0';
        if (!take(o, entry))
            return false;
        if (!list[n])
            return true;
        list += n + 1;
    }
}

static bool take_network(struct outbound *o, const char *entry)
{
    struct network network;
    if (!read_network(entry, &network))
        return false;
    o->networks = xreallocarray(o->networks, o->network_count + 1, sizeof *o->networks);
    o->networks[o->network_count++] = network;
    return true;
}

static bool take_ports(struct outbound *o, const char *entry)
{
    struct ports ports;
    if (!read_ports(entry, &ports))
        return false;
    o->ports = xreallocarray(o->ports, o->port_count + 1, sizeof *o->ports);
    o->ports[o->port_count++] = ports;
    return true;
}

static bool take_host(struct outbound *o, const char *entry)
{
    if (!is_host(entry))
        return false;
    o->hosts = xreallocarray(o->hosts, o->host_count + 1, sizeof *o->hosts);
    o->hosts[o->host_count++] = xstrdup(entry);
    return true;
}

static bool is_well_formed(const char *list, bool (*take)(struct outbound *o, const char *entry))
{
    struct outbound *o = xcalloc(1, sizeof *o);
    bool well_formed = each(list, take, o);
    outbound_free(o);
    return well_formed;
}

const char *outbound_check_networks(const char *list)
{
    return is_well_formed(list, take_network)
               ? NULL
               : "networks with commas between them, like 10.1.0.0/16, 127.0.0.1, ::1/128";
}

const char *outbound_check_hosts(const char *list)
{
    return is_well_formed(list, take_host)
               ? NULL
               : "hosts with commas between them, like api.example.com, *.example.com";
}

const char *outbound_check_ports(const char *list)
{
    return is_well_formed(list, take_ports) ? NULL
                                            : "ports with commas between them, like 443, 8000-8999";
}

struct outbound *outbound_new(const struct outbound_rules *rules)
{
    struct outbound *o = xcalloc(1, sizeof *o);
    o->https_only = rules->https_only;
    o->proxy = rules->proxy;
    bool fine = (!rules->networks || each(rules->networks, take_network, o)) &&
                (!rules->ports || each(rules->ports, take_ports, o)) &&
                (!rules->hosts || each(rules->hosts, take_host, o));
    assert(fine); /* the configuration was checked; with less, more would be allowed */
    return o;
}

void outbound_free(struct outbound *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->host_count; i++)
        free(o->hosts[i]);
    free(o->hosts);
    free(o->networks);
    free(o->ports);
    free(o);
}

/* ---- names ------------------------------------------------------------------ */

/* "*.example.com" is every name below example.com, and not itself. */
static bool host_fits(const char *host, const char *pattern)
{
    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(host, pattern) == 0;
    size_t n = strlen(host), tail = strlen(pattern + 1);
    return n > tail && strcasecmp(host + n - tail, pattern + 1) == 0;
}

static bool host_is_listed(const struct outbound *o, const char *host)
{
    for (size_t i = 0; i < o->host_count; i++)
        if (host_fits(host, o->hosts[i]))
            return true;
    return o->host_count == 0;
}

static bool port_is_listed(const struct outbound *o, int port)
{
    for (size_t i = 0; i < o->port_count; i++)
        if (port >= o->ports[i].from && port <= o->ports[i].to)
            return true;
    return o->port_count == 0;
}

static bool allows(const struct outbound *o, const uint8_t address[ADDRESS_BYTES]);

enum outcome outbound_check_target(const struct outbound *o, const char *scheme, const char *host,
                                   int port, struct error *err)
{
    uint8_t address[ADDRESS_BYTES];
    int bits;
    if (o->https_only && strcasecmp(scheme, "https") != 0)
        return fail(err, REFUSED, "only https:// is allowed (outbound.https_only)");
    if (!port_is_listed(o, port))
        return fail(err, REFUSED, "port %d is not among those that tools may use (outbound.ports)",
                    port);
    if (!host_is_listed(o, host))
        return fail(err, REFUSED,
                    "this host is not among those that tools may reach (outbound.hosts)");
    if (read_address(host, address, &bits) && !allows(o, address))
        return fail(err, REFUSED,
                    "this address is in a network that tools may not reach (outbound.networks)");
    return OK;
}

/* ---- addresses ---------------------------------------------------------------- */

static bool is_special_v4(const uint8_t *v4)
{
    for (size_t i = 0; i < sizeof special_v4 / sizeof *special_v4; i++)
        if (begins_with(v4, special_v4[i].head, special_v4[i].bits))
            return true;
    return false;
}

/* The IPv4 address that is meant by an IPv6 one, or NULL. */
static const uint8_t *embedded_v4(const uint8_t *address)
{
    static const uint8_t nat64[] = { 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0 };
    static const uint8_t six_to_four[] = { 0x20, 0x02 };
    if (memcmp(address, v4_mapped, sizeof v4_mapped) == 0 ||
        memcmp(address, nat64, sizeof nat64) == 0)
        return address + sizeof v4_mapped;
    return memcmp(address, six_to_four, sizeof six_to_four) == 0 ? address + 2 : NULL;
}

static bool is_special(const uint8_t *address)
{
    const uint8_t *v4 = embedded_v4(address);
    if (v4)
        return is_special_v4(v4);
    for (size_t i = 0; i < sizeof special_v6 / sizeof *special_v6; i++) {
        uint8_t head[ADDRESS_BYTES] = { 0 };
        memcpy(head, special_v6[i].head, sizeof special_v6[i].head);
        if (begins_with(address, head, special_v6[i].bits))
            return true;
    }
    return false;
}

static bool allows(const struct outbound *o, const uint8_t address[ADDRESS_BYTES])
{
    for (size_t i = 0; i < o->network_count; i++)
        if (begins_with(address, o->networks[i].bytes, o->networks[i].bits))
            return true;
    return !is_special(address);
}

bool outbound_allows(const struct outbound *o, const struct sockaddr *address)
{
    uint8_t bytes[ADDRESS_BYTES];
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        memcpy(bytes, v4_mapped, sizeof v4_mapped);
        memcpy(bytes + sizeof v4_mapped, &v4.sin_addr, sizeof v4.sin_addr);
        return allows(o, bytes);
    }
    if (address->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof v6);
    memcpy(bytes, &v6.sin6_addr, sizeof bytes);
    return allows(o, bytes);
}

bool outbound_may_use_proxy(const struct outbound *o)
{
    return o->proxy;
}
