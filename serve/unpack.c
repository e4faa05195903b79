/* unpack.c - slices -> chunks -> scan -> protobuf-c in a bounded arena, and packing of replies.
 *
 * Called on the build lane for requests with pictures, on the poller for the few-byte ones. */
#include "serve/unpack.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include <stdlib.h>

/* What a request may take beside its pictures: texts on the wire, fields, and memory once unpacked. */
#define MAX_CONTROL_BYTES ((size_t)1 << 20)
#define MAX_FIELDS        65536
#define ARENA_BUDGET      ((size_t)16 << 20)

static bool list_chunks(fvi_wire_message *self, fvi_rpc_error *err)
{
    if (self->buffer->type != GRPC_BB_RAW ||
        self->buffer->data.raw.compression != GRPC_COMPRESS_NONE) {
        return fvi_rpc_fail(err, GRPC_STATUS_UNIMPLEMENTED,
                            "message: compression is not supported");
    }
    grpc_slice_buffer *slices = &self->buffer->data.raw.slice_buffer;
    self->chunks = calloc(slices->count + 1, sizeof *self->chunks);
    if (self->chunks == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "message: out of memory");
    }
    self->n_chunk = (uint32_t)slices->count;
    for (size_t i = 0; i < slices->count; i++) {
        /* Small slices are stored inside the struct: the pointer is good as long as the buffer. */
        self->chunks[i] = (fvi_chunk){.data = GRPC_SLICE_START_PTR(slices->slices[i]),
                                      .n = GRPC_SLICE_LENGTH(slices->slices[i])};
    }
    return true;
}

bool fvi_wire_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
                     uint32_t max_spans, fvi_wire_message *out, fvi_rpc_error *err)
{
    fvi_scan_limits limits = {
        .max_control_bytes = MAX_CONTROL_BYTES, .max_fields = MAX_FIELDS, .max_spans = max_spans};
    *out = (fvi_wire_message){.buffer = buffer};
    fvi_wire_arena_init(&out->arena, ARENA_BUDGET);
    if (!list_chunks(out, err) ||
        !fvi_scan_message(out->chunks, out->n_chunk, type, &limits, &out->scan, err)) {
        fvi_wire_free(out);
        return false;
    }
    out->message = protobuf_c_message_unpack(type, &out->arena.allocator, out->scan.n_control,
                                             out->scan.control);
    if (out->message == NULL) {
        fvi_wire_free(out);
        return fvi_rpc_fail(err, GRPC_STATUS_INVALID_ARGUMENT,
                            "message: it cannot be unpacked within %zu bytes", ARENA_BUDGET);
    }
    return true;
}

void fvi_wire_free(fvi_wire_message *message)
{
    fvi_wire_arena_free(&message->arena);
    fvi_scan_free(&message->scan);
    free(message->chunks);
    if (message->buffer != NULL) {
        grpc_byte_buffer_destroy(message->buffer);
    }
    *message = (fvi_wire_message){0};
}

grpc_byte_buffer *fvi_wire_pack(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}
