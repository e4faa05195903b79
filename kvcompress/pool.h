/* pool.h - the byte pool that all cached runs of an engine live in.
 *
 * One mapping of `capacity` bytes, divided into granules; memory is given out as extents, runs of
 * consecutive granules, so that a cached run is long where space is contiguous and merely breaks into
 * several where it is not: fragmentation costs run length, never an allocation. Extents are
 * reference-counted (a fork shares them). Metadata that lives on the heap is booked here too, so that
 *
 *     used == payload + slack of all extents + booked metadata <= capacity
 *
 * Called by seq.c; the engine reads the counters. Threads: take/unref/book - one at a time (the
 * scheduler's); counters - any. */
#ifndef FOVEA_KVCOMPRESS_POOL_H
#define FOVEA_KVCOMPRESS_POOL_H

#include "sdk/base/base.h"

typedef struct fvi_kv_pool fvi_kv_pool;

/* A counted piece of the pool. */
typedef struct fvi_kv_extent {
    uint8_t *data;
    size_t n_bytes;    /* granules * granule */
    uint32_t refs;
    uint32_t reserved; /* the pool's own */
} fvi_kv_extent;

/* granule: power of two, at least 64; the largest row (K and V of one token in one list) must fit one. */
fovea_status fvi_kv_pool_new(const fovea_alloc *alloc, size_t capacity, size_t granule, fvi_kv_pool **out);
/* Everything must have been given back. */
void fvi_kv_pool_free(fvi_kv_pool **pool);

/* An extent of at most `want` bytes (rounded up to granules), as long as the free space allows, at least
 * one granule. FOVEA_ERR_FULL when nothing is free. No heap allocation in steady state. */
fovea_status fvi_kv_pool_take(fvi_kv_pool *pool, size_t want, fvi_kv_extent **out);
void fvi_kv_extent_ref(fvi_kv_extent *extent);
void fvi_kv_extent_unref(fvi_kv_pool *pool, fvi_kv_extent *extent);

/* Books metadata against the capacity. FOVEA_ERR_FULL when it does not fit. */
fovea_status fvi_kv_pool_book(fvi_kv_pool *pool, size_t n_bytes);
void fvi_kv_pool_unbook(fvi_kv_pool *pool, size_t n_bytes);

size_t fvi_kv_pool_capacity(const fvi_kv_pool *pool);
size_t fvi_kv_pool_granule(const fvi_kv_pool *pool);
size_t fvi_kv_pool_used(const fvi_kv_pool *pool); /* extents + booked */
size_t fvi_kv_pool_peak(const fvi_kv_pool *pool);

#endif
