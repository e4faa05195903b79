/* scan.h - walks a serialized message once, before protobuf-c sees it.
 *
 * Guided by protobuf-c's descriptor it copies the small fields into one contiguous buffer ("control"),
 * leaves out what the schema does not know, and never copies the content of bytes fields and of
 * data_uri: it notes where they lie in the received slices and puts the decimal index of that span in
 * their place. On the way it checks what protobuf-c does not: UTF-8, NUL in strings, wire types, counts
 * and sizes; the text of an error names the field, "messages[0].parts[1].media.raw_bytes: ...".
 *
 * Layout of a received message: chunks, one per gRPC slice. Threads: one at a time. */
#ifndef FOVEA_SERVE_SCAN_H
#define FOVEA_SERVE_SCAN_H

#include "serve/error.h"

#include <protobuf-c/protobuf-c.h>

#include <stddef.h>
#include <stdint.h>

typedef struct fvi_chunk {
    const uint8_t *data;
    size_t n;
} fvi_chunk;

/* n bytes that begin at `offset` of a chunk and may run over the chunks behind it. */
typedef struct fvi_span {
    uint32_t chunk;
    size_t offset;
    size_t n;
} fvi_span;

typedef struct fvi_scan_limits {
    size_t max_control_bytes; /* of everything but spans */
    uint32_t max_fields;      /* on the wire, unknown ones included */
    uint32_t max_spans;
} fvi_scan_limits;

typedef struct fvi_scan {
    uint8_t *control; /* [n_control], a serialized message of the same type */
    size_t n_control, control_capacity;
    fvi_span *spans; /* [n_span] */
    uint32_t n_span, span_capacity;
} fvi_scan;

/* Fills *out, which the caller frees also on failure. INVALID_ARGUMENT: malformed;
 * RESOURCE_EXHAUSTED: over a limit, or no memory. */
bool fvi_scan_message(const fvi_chunk *chunks, uint32_t n_chunk,
                      const ProtobufCMessageDescriptor *type, const fvi_scan_limits *limits,
                      fvi_scan *out, fvi_rpc_error *err);
void fvi_scan_free(fvi_scan *scan);

/* The span that a bytes field or data_uri of the unpacked message stands for; NULL when it is none. */
const fvi_span *fvi_scan_span(const fvi_scan *scan, const void *field, size_t n_bytes);

/* The span's bytes in one piece: where they lie, or a copy in *copy (to be freed) when they are spread
 * over chunks. NULL without memory. */
const uint8_t *fvi_span_bytes(const fvi_chunk *chunks, const fvi_span *span, uint8_t **copy);

#endif
