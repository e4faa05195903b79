/* address.c - parsing HOST:PORT without the resolver, and the listening socket. */
#include "serve/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 256

static fovea_status fail(fovea_error *err, fovea_status code, const char *text, const char *why)
{
    if (err != NULL) {
        err->code = code;
        snprintf(err->text, sizeof err->text, "%s: %s", text, why);
    }
    return code;
}

static bool parse_port(const char *text, uint16_t *port)
{
    if (*text == '\0' || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    long value = strtol(text, NULL, 10);
    *port = (uint16_t)value;
    return value <= 65535;
}

/* Fills the socket address of a literal; false when it is none. */
static bool parse_host(const char *host, fvi_address *out, bool *loopback)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(out->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(out->port)};
    if (strcmp(host, "localhost") == 0) {
        host = "127.0.0.1";
    }
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        *loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
        memcpy(&out->socket, &v4, sizeof v4);
        out->n_socket = sizeof v4;
        snprintf(out->host, sizeof out->host, "%s", host);
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        *loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
        memcpy(&out->socket, &v6, sizeof v6);
        out->n_socket = sizeof v6;
        snprintf(out->host, sizeof out->host, "[%s]", host);
        return true;
    }
    return false;
}

fovea_status fvi_address_parse(const char *text, fvi_address *out, fovea_error *err)
{
    fvi_address parsed = {0};
    char host[46];
    const char *colon = strrchr(text, ':');
    size_t n_host = colon != NULL ? (size_t)(colon - text) : 0;
    const char *from = text;
    if (n_host >= 2 && text[0] == '[' && text[n_host - 1] == ']') {
        from++;
        n_host -= 2;
    } else if (memchr(text, ':', n_host) != NULL) {
        return fail(err, FOVEA_ERR_ARG, text, "an IPv6 address stands in brackets, [::1]:PORT");
    }
    if (n_host == 0 || n_host >= sizeof host || !parse_port(colon + 1, &parsed.port)) {
        return fail(err, FOVEA_ERR_ARG, text, "expected HOST:PORT, e.g. 127.0.0.1:50051");
    }
    memcpy(host, from, n_host);
    host[n_host] = '\0';
    bool loopback = false;
    bool literal = parse_host(host, &parsed, &loopback);
    if (!literal || !loopback) {
        return fail(
            err, FOVEA_ERR_UNSUPPORTED, text,
            "only loopback is served (127.0.0.1, [::1], localhost): without TLS and tokens, "
            "which come later, another address would be open to everyone");
    }
    *out = parsed;
    return FOVEA_OK;
}

fovea_status fvi_address_listen(fvi_address *address, int *fd, fovea_error *err)
{
    char text[64];
    snprintf(text, sizeof text, "%s:%u", address->host, address->port);
    int family = address->socket.ss_family, on = 1;
    int made = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr *socket_address = (struct sockaddr *)&address->socket;
    socklen_t n_socket = sizeof address->socket;
    /* REUSEADDR lets a restarted server have its port back; a living one keeps it. */
    if (made < 0 || setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(made, socket_address, address->n_socket) != 0 || listen(made, BACKLOG) != 0 ||
        getsockname(made, socket_address, &n_socket) != 0) {
        fovea_status status = fail(err, FOVEA_ERR_IO, text, strerror(errno));
        if (made >= 0) {
            close(made);
        }
        return status;
    }
    if (family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address->socket, sizeof v4);
        address->port = ntohs(v4.sin_port);
    } else {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address->socket, sizeof v6);
        address->port = ntohs(v6.sin6_port);
    }
    *fd = made;
    return FOVEA_OK;
}
