/* arena.h - bounded memory for unpacked messages and for replies that are being put together.
 *
 * Two-byte elements on the wire become allocations of a hundred bytes, so a message is unpacked into an
 * arena with a hard budget: past it protobuf-c gets NULL and gives up. Freeing single objects does
 * nothing; the whole is freed at once.
 *
 * Threads: one at a time. */
#ifndef FOVEA_SERVE_ARENA_H
#define FOVEA_SERVE_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include <stddef.h>

typedef struct fvi_wire_block fvi_wire_block;

typedef struct fvi_wire_arena {
    ProtobufCAllocator allocator; /* allocates here */
    fvi_wire_block *blocks;       /* newest first */
    size_t used, capacity;        /* of the newest block */
    size_t total, budget;         /* bytes handed out, and the most that may be */
} fvi_wire_arena;

/* The arena must not move afterwards: the allocator points at it. */
void fvi_wire_arena_init(fvi_wire_arena *arena, size_t budget);
/* 16-byte aligned, not zeroed; NULL past the budget or without memory. */
void *fvi_wire_arena_alloc(fvi_wire_arena *arena, size_t n_bytes);
void *fvi_wire_arena_calloc(fvi_wire_arena *arena, size_t n, size_t size);
/* Forgets everything; keeps one small block for the next round. */
void fvi_wire_arena_reset(fvi_wire_arena *arena);
void fvi_wire_arena_free(fvi_wire_arena *arena);

#endif
