/* unpack.h - from a received gRPC byte buffer to a checked protobuf-c message.
 *
 * Threads: one at a time; freeing may happen on another thread. */
#ifndef FOVEA_SERVE_UNPACK_H
#define FOVEA_SERVE_UNPACK_H

#include "serve/arena.h"
#include "serve/scan.h"

#include <grpc/grpc.h>

typedef struct fvi_wire_message {
    grpc_byte_buffer *buffer; /* the chunks lie in its slices */
    fvi_chunk *chunks;        /* [n_chunk] */
    uint32_t n_chunk;
    fvi_scan scan;
    fvi_wire_arena arena;
    ProtobufCMessage *message; /* in the arena */
} fvi_wire_message;

/* Takes the buffer in any case. On failure nothing is left to free. */
bool fvi_wire_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
                     uint32_t max_spans, fvi_wire_message *out, fvi_rpc_error *err);
void fvi_wire_free(fvi_wire_message *message);

/* A reply in one slice; NULL without memory. */
grpc_byte_buffer *fvi_wire_pack(const ProtobufCMessage *message);

#endif
