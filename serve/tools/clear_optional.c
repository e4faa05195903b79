/* clear_optional.c - build-time filter between protoc and protoc-c.
 *
 * protoc-c refuses proto3 `optional`. This reads a FileDescriptorSet on stdin, takes the mark off every
 * field (FieldDescriptorProto.proto3_optional) and renames the oneof that protoc put around it from
 * "_x" to "has_x", and writes the set to stdout: protoc-c then shows presence as `has_x_case`. Works on
 * the wire format, so that no descriptor.proto is needed at build time. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bytes {
    uint8_t *data;
    size_t n;
    size_t capacity;
} bytes;

/* What a message is, so far as the way to optional fields leads through it. */
typedef enum node { OTHER, SET, FILE_PROTO, MESSAGE, FIELD, ONEOF } node;

/* Field numbers of descriptor.proto. */
static node child_of(node parent, uint32_t field)
{
    switch (parent) {
    case SET: return field == 1 ? FILE_PROTO : OTHER;
    case FILE_PROTO: return field == 4 ? MESSAGE : OTHER;
    case MESSAGE: return field == 2 ? FIELD : field == 3 ? MESSAGE : field == 8 ? ONEOF : OTHER;
    default: return OTHER;
    }
}

static void fail(const char *text)
{
    fprintf(stderr, "clear_optional: %s\n", text);
    exit(1);
}

static void put(bytes *out, const void *data, size_t n)
{
    if (n == 0) {
        return;
    }
    if (out->n + n > out->capacity) {
        out->capacity = 2 * (out->n + n) + 64;
        out->data = realloc(out->data, out->capacity);
        if (out->data == NULL) {
            fail("out of memory");
        }
    }
    memcpy(out->data + out->n, data, n);
    out->n += n;
}

static void put_varint(bytes *out, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(out, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static uint64_t get_varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (*at == end) {
            break;
        }
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    fail("damaged descriptor set");
    return 0;
}

static void copy_message(node kind, const uint8_t *at, const uint8_t *end, bytes *out);

static void copy_block(node kind, uint32_t field, const uint8_t *data, size_t n, bytes *out)
{
    bytes inner = {0};
    if (kind == ONEOF && field == 1 && n > 1 && data[0] == '_') { /* name of a synthetic oneof */
        put(&inner, "has", 3);
        put(&inner, data, n);
    } else if (child_of(kind, field) != OTHER) {
        copy_message(child_of(kind, field), data, data + n, &inner);
    } else {
        put(&inner, data, n);
    }
    put_varint(out, inner.n);
    put(out, inner.data, inner.n);
    free(inner.data);
}

static void copy_message(node kind, const uint8_t *at, const uint8_t *end, bytes *out)
{
    while (at < end) {
        uint64_t key = get_varint(&at, end);
        uint32_t field = (uint32_t)(key >> 3);
        size_t n;
        switch (key & 7) {
        case 0: {
            uint64_t value = get_varint(&at, end);
            if (kind == FIELD && field == 17) { /* proto3_optional */
                break;
            }
            put_varint(out, key);
            put_varint(out, value);
            break;
        }
        case 1:
        case 5:
            n = (key & 7) == 1 ? 8 : 4;
            if ((size_t)(end - at) < n) {
                fail("damaged descriptor set");
            }
            put_varint(out, key);
            put(out, at, n);
            at += n;
            break;
        case 2:
            n = (size_t)get_varint(&at, end);
            if ((size_t)(end - at) < n) {
                fail("damaged descriptor set");
            }
            put_varint(out, key);
            copy_block(kind, field, at, n, out);
            at += n;
            break;
        default: fail("damaged descriptor set");
        }
    }
}

int main(void)
{
    bytes in = {0}, out = {0};
    uint8_t block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, stdin)) > 0) {
        put(&in, block, n);
    }
    copy_message(SET, in.data, in.data + in.n, &out);
    bool good =
        !ferror(stdin) && fwrite(out.data, 1, out.n, stdout) == out.n && fflush(stdout) == 0;
    free(in.data);
    free(out.data);
    return good ? 0 : 1;
}
