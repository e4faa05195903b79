/* scan.c - the walk. A nested message is written with a length of four bytes that is filled in when its
 * end is reached (a padded varint, which every parser takes), so nothing is moved.
 *
 * Called by unpack.c for every request. */
#include "serve/scan.h"
#include "serve/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH    8
#define MAX_FIELDS   32 /* of one message type */
#define LENGTH_BYTES 4  /* padded varint: up to 2^28 */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BLOCK = 2, WIRE_32 = 5 };

/* Where the walk is, as a chain from the innermost field outwards. */
typedef struct frame {
    const struct frame *outer;
    const ProtobufCFieldDescriptor *field;
    uint32_t index; /* among repeated ones */
} frame;

typedef struct walk {
    const fvi_chunk *chunks; /* [n_chunk] */
    uint32_t n_chunk;
    uint32_t chunk; /* the next byte is chunks[chunk].data[offset] */
    size_t offset;
    size_t position, total; /* bytes read, bytes there are */
    uint32_t n_field;
    const fvi_scan_limits *limits;
    fvi_scan *out;
    fvi_rpc_error *err;
} walk;

static int write_path(const frame *at, char *text, size_t size)
{
    int n = at->outer != NULL ? write_path(at->outer, text, size) : 0;
    if (n < 0 || (size_t)n >= size) {
        return n;
    }
    int more = snprintf(text + n, size - (size_t)n, "%s%s", n > 0 ? "." : "", at->field->name);
    if (more >= 0 && at->field->label == PROTOBUF_C_LABEL_REPEATED && (size_t)(n + more) < size) {
        n += more;
        more = snprintf(text + n, size - (size_t)n, "[%" PRIu32 "]", at->index);
    }
    return n + more;
}

static bool fail(walk *w, const frame *at, grpc_status_code code, const char *why)
{
    char path[160] = "message";
    if (at != NULL) {
        write_path(at, path, sizeof path);
    }
    return fvi_rpc_fail(w->err, code, "%s: %s", path, why);
}

static bool truncated(walk *w, const frame *at)
{
    return fail(w, at, GRPC_STATUS_INVALID_ARGUMENT, "the message is damaged or cut");
}

/* ---- reading ---- */

static void skip_empty_chunks(walk *w)
{
    while (w->chunk < w->n_chunk && w->offset == w->chunks[w->chunk].n) {
        w->chunk++;
        w->offset = 0;
    }
}

/* Moves over n bytes and copies them to `to` if that is set. The caller checked that they are there. */
static void read_bytes(walk *w, uint8_t *to, size_t n)
{
    w->position += n;
    while (n > 0) {
        skip_empty_chunks(w);
        size_t step = w->chunks[w->chunk].n - w->offset;
        step = step < n ? step : n;
        if (to != NULL) {
            memcpy(to, w->chunks[w->chunk].data + w->offset, step);
            to += step;
        }
        w->offset += step;
        n -= step;
    }
}

static bool read_varint(walk *w, size_t end, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (w->position == end) {
            return false;
        }
        uint8_t byte;
        read_bytes(w, &byte, 1);
        if (shift == 63 && byte > 1) {
            return false;
        }
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- writing ---- */

/* Room for n more bytes at the end of control; NULL over the limit or without memory. */
static uint8_t *extend(walk *w, size_t n)
{
    fvi_scan *out = w->out;
    if (n > w->limits->max_control_bytes - out->n_control) {
        return NULL;
    }
    if (n > out->control_capacity - out->n_control) {
        size_t capacity = 2 * (out->n_control + n) + 256;
        uint8_t *grown = realloc(out->control, capacity);
        if (grown == NULL) {
            return NULL;
        }
        out->control = grown;
        out->control_capacity = capacity;
    }
    uint8_t *at = out->control + out->n_control;
    out->n_control += n;
    return at;
}

static bool write_bytes(walk *w, const void *data, size_t n)
{
    uint8_t *at = extend(w, n);
    if (at != NULL) {
        memcpy(at, data, n);
    }
    return at != NULL;
}

static bool write_varint(walk *w, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    do {
        bytes[n] = (uint8_t)(value & 0x7f);
        value >>= 7;
        bytes[n] |= value != 0 ? 0x80 : 0;
        n++;
    } while (value != 0);
    return write_bytes(w, bytes, n);
}

static bool too_large(walk *w, const frame *at)
{
    char why[80];
    snprintf(why, sizeof why, "the request without its pictures is over the limit of %zu bytes",
             w->limits->max_control_bytes);
    return fail(w, at, GRPC_STATUS_RESOURCE_EXHAUSTED, why);
}

/* ---- fields ---- */

static unsigned wire_type(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BLOCK;
    default: return WIRE_VARINT;
    }
}

/* A string that may hold a picture is not copied either. */
static bool is_span(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_BYTES || strcmp(field->name, "data_uri") == 0;
}

static bool note_span(walk *w, const frame *at, size_t n)
{
    fvi_scan *out = w->out;
    if (out->n_span == w->limits->max_spans) {
        char why[64];
        snprintf(why, sizeof why, "more than %" PRIu32 " images in one request",
                 w->limits->max_spans);
        return fail(w, at, GRPC_STATUS_RESOURCE_EXHAUSTED, why);
    }
    if (out->n_span == out->span_capacity) {
        uint32_t capacity = 2 * out->span_capacity + 4;
        fvi_span *grown = realloc(out->spans, capacity * sizeof *grown);
        if (grown == NULL) {
            return fail(w, at, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
        }
        out->spans = grown;
        out->span_capacity = capacity;
    }
    skip_empty_chunks(w);
    out->spans[out->n_span] = (fvi_span){.chunk = w->chunk, .offset = w->offset, .n = n};
    read_bytes(w, NULL, n);
    char index[12];
    int n_index = snprintf(index, sizeof index, "%" PRIu32, out->n_span++);
    if (!write_varint(w, (uint64_t)n_index) || !write_bytes(w, index, (size_t)n_index)) {
        return too_large(w, at);
    }
    return true;
}

static bool copy_text(walk *w, const frame *at, size_t n)
{
    uint8_t *text = write_varint(w, n) ? extend(w, n) : NULL;
    if (text == NULL) {
        return too_large(w, at);
    }
    read_bytes(w, text, n);
    if (at->field->type != PROTOBUF_C_TYPE_STRING) { /* packed numbers */
        return true;
    }
    if (memchr(text, 0, n) != NULL) {
        return fail(w, at, GRPC_STATUS_INVALID_ARGUMENT, "a NUL character stands in the text");
    }
    if (!fvi_wire_utf8_valid((const char *)text, n)) {
        return fail(w, at, GRPC_STATUS_INVALID_ARGUMENT, "the text is not UTF-8");
    }
    return true;
}

static bool copy_message(walk *w, const frame *outer, const ProtobufCMessageDescriptor *type,
                         size_t end, int depth);

static bool copy_nested(walk *w, const frame *at, size_t n, int depth)
{
    if (depth == MAX_DEPTH) {
        return fail(w, at, GRPC_STATUS_INVALID_ARGUMENT, "nested too deep");
    }
    size_t length_at = w->out->n_control;
    if (extend(w, LENGTH_BYTES) == NULL) {
        return too_large(w, at);
    }
    if (!copy_message(w, at, at->field->descriptor, w->position + n, depth + 1)) {
        return false;
    }
    size_t written = w->out->n_control - length_at - LENGTH_BYTES;
    uint8_t *length = w->out->control + length_at;
    for (int i = 0; i < LENGTH_BYTES; i++) {
        length[i] = (uint8_t)((written & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
        written >>= 7;
    }
    return true;
}

/* The value behind a key; field is NULL for one that the schema does not know. */
static bool copy_value(walk *w, const frame *at, unsigned wire, size_t end, int depth)
{
    const ProtobufCFieldDescriptor *field = at->field;
    const frame *shown = field != NULL ? at : at->outer;
    uint64_t value = 0;
    if (wire == WIRE_64 || wire == WIRE_32) {
        size_t n = wire == WIRE_64 ? 8 : 4;
        if (n > end - w->position) {
            return truncated(w, shown);
        }
        uint8_t bytes[8];
        read_bytes(w, bytes, n);
        return field == NULL || write_bytes(w, bytes, n) || too_large(w, shown);
    }
    if (!read_varint(w, end, &value)) {
        return truncated(w, shown);
    }
    if (wire == WIRE_VARINT) {
        return field == NULL || write_varint(w, value) || too_large(w, shown);
    }
    if (value > end - w->position) {
        return truncated(w, shown);
    }
    size_t n = (size_t)value;
    if (field == NULL) {
        read_bytes(w, NULL, n);
        return true;
    }
    if (is_span(field)) {
        return note_span(w, at, n);
    }
    return field->type == PROTOBUF_C_TYPE_MESSAGE ? copy_nested(w, at, n, depth)
                                                  : copy_text(w, at, n);
}

static int find_field(const ProtobufCMessageDescriptor *type, uint64_t number)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (type->fields[i].id == number) {
            return (int)i;
        }
    }
    return -1;
}

static bool copy_message(walk *w, const frame *outer, const ProtobufCMessageDescriptor *type,
                         size_t end, int depth)
{
    uint32_t seen[MAX_FIELDS] = {0}; /* by index in the descriptor */
    if (type->n_fields > MAX_FIELDS) {
        return fail(w, outer, GRPC_STATUS_INTERNAL, "a message type with too many fields");
    }
    while (w->position < end) {
        uint64_t key;
        if (!read_varint(w, end, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3) {
            return truncated(w, outer);
        }
        if (++w->n_field > w->limits->max_fields) {
            return fail(w, outer, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many fields in one message");
        }
        unsigned wire = key & 7;
        if (wire != WIRE_VARINT && wire != WIRE_32 && wire != WIRE_64 && wire != WIRE_BLOCK) {
            return truncated(w, outer);
        }
        frame at = {.outer = outer};
        int index = find_field(type, key >> 3);
        if (index >= 0) {
            at.field = &type->fields[index];
            at.index = seen[index]++;
            unsigned expected = wire_type(at.field);
            bool packed = wire == WIRE_BLOCK && at.field->label == PROTOBUF_C_LABEL_REPEATED;
            if (wire != expected && !packed) {
                return fail(w, &at, GRPC_STATUS_INVALID_ARGUMENT,
                            "another type than the schema has");
            }
            if (!write_varint(w, key)) {
                return too_large(w, &at);
            }
        }
        if (!copy_value(w, &at, wire, end, depth)) {
            return false;
        }
    }
    return true;
}

bool fvi_scan_message(const fvi_chunk *chunks, uint32_t n_chunk,
                      const ProtobufCMessageDescriptor *type, const fvi_scan_limits *limits,
                      fvi_scan *out, fvi_rpc_error *err)
{
    *out = (fvi_scan){0};
    walk w = {.chunks = chunks, .n_chunk = n_chunk, .limits = limits, .out = out, .err = err};
    for (uint32_t i = 0; i < n_chunk; i++) {
        w.total += chunks[i].n;
    }
    return copy_message(&w, NULL, type, w.total, 0);
}

void fvi_scan_free(fvi_scan *scan)
{
    free(scan->control);
    free(scan->spans);
    *scan = (fvi_scan){0};
}

const fvi_span *fvi_scan_span(const fvi_scan *scan, const void *field, size_t n_bytes)
{
    const char *digits = field;
    uint64_t index = 0;
    if (n_bytes == 0 || n_bytes > 10) {
        return NULL;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if (digits[i] < '0' || digits[i] > '9') {
            return NULL;
        }
        index = index * 10 + (uint64_t)(digits[i] - '0');
    }
    return index < scan->n_span ? &scan->spans[index] : NULL;
}

const uint8_t *fvi_span_bytes(const fvi_chunk *chunks, const fvi_span *span, uint8_t **copy)
{
    *copy = NULL;
    if (span->n == 0) {
        return (const uint8_t *)"";
    }
    if (span->n <= chunks[span->chunk].n - span->offset) {
        return chunks[span->chunk].data + span->offset;
    }
    *copy = malloc(span->n);
    if (*copy == NULL) {
        return NULL;
    }
    size_t done = 0, offset = span->offset;
    for (uint32_t i = span->chunk; done < span->n; i++, offset = 0) {
        size_t step = chunks[i].n - offset;
        step = step < span->n - done ? step : span->n - done;
        memcpy(*copy + done, chunks[i].data + offset, step);
        done += step;
    }
    return *copy;
}
