/* server.h - the gRPC server: queue, poller, methods, lanes, drain.
 *
 *     acceptor thread --> gRPC core <--> poller (one thread, never blocks)
 *                                          | requests          ^ messages
 *                          build lane: decode pictures, sessions
 *                          pump lane:  pull tokens, send deltas   (woken by the engine's notify)
 *                          close lane: give sessions back, last message and status
 *
 * Layout: server.c (start, drain), call.c, request*.c (Inference), control.c, health.c. The caller owns
 * the engine. Threads: start, serve, drain, free - one; the rest is said at each function. */
#ifndef FOVEA_SERVE_SERVER_H
#define FOVEA_SERVE_SERVER_H

#include "serve/accept.h"
#include "serve/address.h"
#include "serve/health.h"
#include "serve/lane.h"
#include "serve/options.h"

typedef struct fvi_request fvi_request;

struct fvi_server {
    fvi_serve_options options;
    fvi_serve_log log;
    fvi_address address;
    int64_t start_us; /* monotonic */

    grpc_server *grpc;
    grpc_completion_queue *queue;
    pthread_t poller;
    fvi_acceptor acceptor;
    fvi_lane build, pump, close;
    fvi_health health;
    fvi_tag tag_shutdown;

    _Atomic(fovea_engine *) engine; /* NULL while it is being loaded */
    atomic_bool draining;
    _Atomic uint32_t n_request;   /* Inference calls that hold something */
    _Atomic uint64_t pixels_held; /* decoded for them */
    _Atomic uint64_t n_id;        /* ids made for requests without one */

    pthread_mutex_t requests_lock; /* guards requests */
    fvi_request *requests;         /* those with an id under way, a doubly linked list */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    uint32_t n_call; /* call objects, those awaited included */
    bool shutdown_seen;
};

/* Binds and starts; calls are answered from here on, Inference with UNAVAILABLE. */
fovea_status fvi_server_start(const fvi_serve_options *options, fvi_server **out, fovea_error *err);
/* The engine is ready: health says SERVING. */
void fvi_server_serve(fvi_server *server, fovea_engine *engine);
/* Stops accepting, lets what runs finish within options.drain_ms, cancels the rest; then everything is
 * stopped and freed, and the engine is no longer used. */
void fvi_server_drain(fvi_server **server);

/* Counting of call objects; any thread. */
void fvi_server_call_made(fvi_server *server);
void fvi_server_call_gone(fvi_server *server);
void fvi_server_shutdown_seen(fvi_server *server);

/* Monotonic clock. */
int64_t fvi_serve_now_us(void);

#endif
