/* address.h - where fovead listens: loopback only, until it can do TLS and tokens.
 *
 * Threads: any. */
#ifndef FOVEA_SERVE_ADDRESS_H
#define FOVEA_SERVE_ADDRESS_H

#include <fovea/status.h>

#include <stdint.h>
#include <sys/socket.h>

typedef struct fvi_address {
    struct sockaddr_storage socket;
    socklen_t n_socket;
    char host[48]; /* as it is shown, brackets around IPv6 included */
    uint16_t port; /* 0: the system chooses */
} fvi_address;

/* "127.0.0.1:50051", "localhost:0", "[::1]:50051". FOVEA_ERR_ARG: not HOST:PORT; FOVEA_ERR_UNSUPPORTED:
 * not a loopback address. Names other than localhost are not looked up. */
fovea_status fvi_address_parse(const char *text, fvi_address *out, fovea_error *err);

/* A listening, non-blocking socket; fills address->port. FOVEA_ERR_IO: it is taken or not there. */
fovea_status fvi_address_listen(fvi_address *address, int *fd, fovea_error *err);

#endif
