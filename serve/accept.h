/* accept.h - fovead's own accept loop.
 *
 * The listener of gRPC 1.51 stops for ever when accept() once ran out of descriptors. This one waits
 * and goes on, and keeps some descriptors back for the process itself.
 *
 * Threads: start, stop - one. */
#ifndef FOVEA_SERVE_ACCEPT_H
#define FOVEA_SERVE_ACCEPT_H

#include "serve/log.h"

#include <grpc/grpc.h>

#include <pthread.h>
#include <stdbool.h>

typedef struct fvi_acceptor {
    int listener; /* non-blocking; owned */
    int wake;     /* eventfd that ends the loop */
    int max_fd;   /* connections with this descriptor or above are closed at once */
    grpc_server *server;
    grpc_server_credentials *credentials;
    const fvi_serve_log *log;
    pthread_t thread;
    bool running;
} fvi_acceptor;

/* Takes the listener, also on failure. */
bool fvi_acceptor_start(fvi_acceptor *acceptor, int listener, grpc_server *server,
                        const fvi_serve_log *log);
/* Closes the listener; no connection is handed to the server afterwards. */
void fvi_acceptor_stop(fvi_acceptor *acceptor);

#endif
