/*
 * http_socket.c -- is a kept-alive connection clean?
 *
 * A peer that sends more than it was asked for would see the rest read as the answer
 * to the next request on that connection: the call of one run would get what was
 * meant for another, or for nobody.  libcurl 7.88 looks only whether such a connection
 * is closed.  So we know the sockets, and look into one before it is used again.
 *
 * What comes after that look nobody can tell from an answer; a call that must not
 * reach the peer twice has a connection of its own anyway (single_send).
 */
#include "common/http_call.h"
#include "common/memory.h"
#include "common/outbound.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

curl_socket_t http_socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_call *call = arg;
    struct http *http = call->http;
    (void)purpose;
    if (call->outbound && !outbound_may_use_proxy(call->outbound) &&
        !outbound_allows(call->outbound, &address->addr)) {
        call->forbidden = true; /* unless the name has another address that may be reached */
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (http->socket_count == http->socket_room) {
        http->socket_room = http->socket_room ? 2 * http->socket_room : 64;
        http->sockets = xreallocarray(http->sockets, http->socket_room, sizeof *http->sockets);
    }
    http->sockets[http->socket_count++] = (struct http_socket){ .fd = fd };
    return fd;
}

int http_socket_close(void *arg, curl_socket_t fd)
{
    struct http *http = arg;
    for (size_t i = 0; i < http->socket_count; i++) {
        if (http->sockets[i].fd == fd) {
            http->sockets[i] = http->sockets[--http->socket_count];
            break;
        }
    }
    return close(fd);
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int port_of(const union address *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

static bool is_at(const union address *address, const char *ip, int port)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (address->any.sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof text);
    else
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof text);
    return port_of(address) == port && strcmp(text, ip) == 0;
}

static int own_port_of(int fd)
{
    union address own = { 0 };
    socklen_t n = sizeof own;
    return getsockname(fd, &own.any, &n) == 0 ? port_of(&own) : 0;
}

/* One local port may serve connections to several peers. */
static bool leads_to(int fd, const char *ip, int port)
{
    union address peer = { 0 };
    socklen_t n = sizeof peer;
    return getpeername(fd, &peer.any, &n) == 0 && is_at(&peer, ip, port);
}

bool http_socket_is_soiled(struct http *http, const char *peer_ip, int peer_port, int own_port)
{
    for (size_t i = 0; i < http->socket_count; i++) {
        struct http_socket *s = &http->sockets[i];
        if (s->own_port == 0)
            s->own_port = own_port_of(s->fd);
        if (s->own_port != own_port || !leads_to(s->fd, peer_ip, peer_port))
            continue;
        char byte;
        bool fresh = !s->used;
        s->used = true;
        return !fresh && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
    }
    return false;
}
