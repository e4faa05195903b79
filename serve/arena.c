/* arena.c - bump allocation in blocks of 16 KiB; larger objects get a block of their own. */
#include "serve/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT   16
#define BLOCK_BYTES 16384

struct fvi_wire_block {
    fvi_wire_block *next;
    size_t n_bytes;
    /* [n_bytes], aligned: the header is 16 bytes */
};

_Static_assert(sizeof(fvi_wire_block) % ALIGNMENT == 0, "payload of a block must be aligned");

static void *protobuf_alloc(void *arena, size_t n_bytes)
{
    return fvi_wire_arena_alloc(arena, n_bytes);
}

static void protobuf_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

void fvi_wire_arena_init(fvi_wire_arena *arena, size_t budget)
{
    *arena = (fvi_wire_arena){
        .budget = budget,
        .allocator = {.alloc = protobuf_alloc, .free = protobuf_free, .allocator_data = arena}};
}

void *fvi_wire_arena_alloc(fvi_wire_arena *arena, size_t n_bytes)
{
    if (n_bytes > arena->budget) {
        return NULL;
    }
    n_bytes = (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (n_bytes > arena->budget - arena->total) {
        return NULL;
    }
    if (arena->blocks == NULL || n_bytes > arena->capacity - arena->used) {
        size_t capacity = n_bytes > BLOCK_BYTES ? n_bytes : BLOCK_BYTES;
        fvi_wire_block *block = malloc(sizeof *block + capacity);
        if (block == NULL) {
            return NULL;
        }
        *block = (fvi_wire_block){.next = arena->blocks, .n_bytes = capacity};
        arena->blocks = block;
        arena->capacity = capacity;
        arena->used = 0;
    }
    uint8_t *payload = (uint8_t *)(arena->blocks + 1);
    void *memory = payload + arena->used;
    arena->used += n_bytes;
    arena->total += n_bytes;
    return memory;
}

void *fvi_wire_arena_calloc(fvi_wire_arena *arena, size_t n, size_t size)
{
    size_t n_bytes;
    if (__builtin_mul_overflow(n, size, &n_bytes)) {
        return NULL;
    }
    void *memory = fvi_wire_arena_alloc(arena, n_bytes);
    if (memory != NULL) {
        memset(memory, 0, n_bytes);
    }
    return memory;
}

static void free_blocks(fvi_wire_block *block)
{
    while (block != NULL) {
        fvi_wire_block *next = block->next;
        free(block);
        block = next;
    }
}

void fvi_wire_arena_reset(fvi_wire_arena *arena)
{
    fvi_wire_block *kept = arena->blocks;
    if (kept != NULL && kept->n_bytes == BLOCK_BYTES) {
        free_blocks(kept->next);
        kept->next = NULL;
    } else {
        free_blocks(kept);
        arena->blocks = NULL;
        arena->capacity = 0;
    }
    arena->used = arena->total = 0;
}

void fvi_wire_arena_free(fvi_wire_arena *arena)
{
    free_blocks(arena->blocks);
    arena->blocks = NULL;
    arena->used = arena->capacity = arena->total = 0;
}
