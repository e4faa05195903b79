/* call.h - one RPC on the gRPC C core, from the moment it is awaited to its last completion.
 *
 * A call object is made when its request is posted to the core and lives by a reference count: one for
 * each completion that is outstanding (tag_new, tag_close, tag_recv, tag_send) and one for each other
 * holder (a lane, a registry). All completions arrive on the poller thread, which must never block:
 * handlers there only parse small messages or hand over to a lane.
 *
 * Sending: messages stand in a ring of FVI_CALL_RING; one SEND_MESSAGE is in flight, its completion
 * starts the next, the status rides with the last. A full ring means a slow reader: the producer stops
 * and on_writable tells it when there is room again.
 *
 * Layout: call.c. Threads: all functions - any, except where said. */
#ifndef FOVEA_SERVE_CALL_H
#define FOVEA_SERVE_CALL_H

#include "serve/error.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include <pthread.h>
#include <stdatomic.h>

#define FVI_CALL_RING 64
#define FVI_CALL_ROOM 4 /* messages that may be sent after fvi_call_has_room said yes */

typedef struct fvi_server fvi_server;
typedef struct fvi_call fvi_call;

/* What serves one path. Callbacks run on the poller; only on_message must be set. */
typedef struct fvi_method {
    const char *path;  /* "/package.Service/Method" */
    uint32_t n_posted; /* requests kept waiting in the core */
    /* Decides before the body is read; false fills *err. */
    bool (*admit)(fvi_call *call, fvi_rpc_error *err);
    void (*on_message)(fvi_call *call, grpc_byte_buffer *message); /* takes the message */
    void (*on_close)(fvi_call *call, bool cancelled); /* the call is over for the client */
    void (*on_writable)(fvi_call *call);
    void (*on_free)(fvi_call *call); /* the last reference went */
} fvi_method;

typedef struct fvi_tag {
    void (*fn)(fvi_call *call, bool ok);
    fvi_call *call;
    fvi_server *server; /* instead of a call: the server's shutdown */
} fvi_tag;

struct fvi_call {
    fvi_server *server;
    const fvi_method *method; /* NULL: the one that answers unknown methods */
    void *handle;             /* the core's name of the method */
    void *user;               /* the method's own, e.g. a fvi_request */
    grpc_call *call;
    gpr_timespec deadline; /* of the monotonic clock */
    grpc_metadata_array metadata;
    grpc_call_details details; /* of unknown methods */
    grpc_byte_buffer *received;
    int close_cancelled; /* written by the core */
    _Atomic uint32_t n_ref;
    atomic_bool dead; /* nothing sent from now on would be read */
    fvi_tag tag_new, tag_close, tag_recv, tag_send;

    pthread_mutex_t lock; /* guards what follows */
    grpc_byte_buffer *ring[FVI_CALL_RING];
    uint32_t ring_head, n_ring;
    bool metadata_sent, sending, status_set, status_sent, wants_room;
    grpc_status_code status;
    grpc_slice status_text;
};

/* Posts one request of a method to the core (handle and method NULL: unknown methods). */
bool fvi_call_post(fvi_server *server, const fvi_method *method, void *handle);

void fvi_call_ref(fvi_call *call);
void fvi_call_unref(fvi_call *call);

/* Queues a message, which it takes; false when the call is over or the ring is full. */
bool fvi_call_send(fvi_call *call, grpc_byte_buffer *message);
/* Room for FVI_CALL_ROOM messages? If not, on_writable comes once half of it is free. True for a call that is over. */
bool fvi_call_has_room(fvi_call *call);
/* Ends the call with a status, after what is queued; only the first one counts. */
void fvi_call_finish(fvi_call *call, grpc_status_code status, const char *text);
void fvi_call_fail(fvi_call *call, const fvi_rpc_error *err);
/* A unary answer: packs, sends and finishes with OK. */
void fvi_call_reply(fvi_call *call, const ProtobufCMessage *reply);

/* Milliseconds until the client's deadline, rounded down; INT64_MAX without one. */
int64_t fvi_call_left_ms(const fvi_call *call);

/* The thread that serves the completion queue; arg is the queue. Ends when the queue is shut down. */
void *fvi_call_poller(void *queue);
/* Tells ThreadSanitizer, which does not see into the core, that the tag passes through it. */
void fvi_tag_release(fvi_tag *tag);

#endif
