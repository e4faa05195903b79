/* pool.h - the byte pool that all cached runs of an engine live in.
 *
 * One mapping of `capacity` bytes, divided into granules; memory is given out as extents, runs of
 * consecutive granules, so that a cached run is long where space is contiguous and merely breaks into
 * several where it is not: fragmentation costs run length, never an allocation. Extents are
 * reference-counted (a fork shares them) and chain up to what their owner makes of them. Metadata is
 * booked here too, that of the heap by its owner and an extent's descriptor by the pool, so that
 *
 *     used == payload + slack + descriptors of all extents + booked metadata <= capacity
 *
 * Called by seq.c and its siblings; the engine reads the counters. Threads: take/extend/unref/book - one
 * at a time (the scheduler's); counters - any. */
#ifndef FOVEA_KVCOMPRESS_POOL_H
#define FOVEA_KVCOMPRESS_POOL_H

#include "sdk/base/threads.h"

typedef struct fvi_kv_pool fvi_kv_pool;

/* A counted piece of the pool. In a chain the first extent's count stands for all of them. */
typedef struct fvi_kv_extent {
    uint8_t *data;
    struct fvi_kv_extent *next; /* the owner's chain */
    uint32_t n_granule;
    uint32_t refs;
} fvi_kv_extent;

/* granule: a multiple of 64; the largest row (K and V of one token in one list) must fit one. */
fovea_status fvi_kv_pool_new(const fovea_alloc *alloc, size_t capacity, size_t granule,
                             fvi_kv_pool **out);
/* Everything must have been given back. */
void fvi_kv_pool_free(fvi_kv_pool **pool);

/* Who shares the work on whole turns (measuring, choosing, rewriting); NULL, as at first: nobody does. They must outlive the
 * pool or be taken from it again. */
void fvi_kv_pool_set_workers(fvi_kv_pool *pool, fvi_pool *workers);
fvi_pool *fvi_kv_pool_workers(const fvi_kv_pool *pool);

/* An extent of at most `want` bytes (rounded up to granules), as long as the free space allows, at least
 * one granule. It is cut from a hole of `room` bytes if there is one, so that it can be extended to that
 * later. FOVEA_ERR_FULL when nothing is free. Never touches the heap. */
fovea_status fvi_kv_pool_take(fvi_kv_pool *pool, size_t want, size_t room, fvi_kv_extent **out);
/* Lengthens an extent in place by at most n_bytes (rounded up to granules) as far as the granules behind
 * it are free. */
void fvi_kv_pool_extend(fvi_kv_pool *pool, fvi_kv_extent *extent, size_t n_bytes);
/* True when one extent of n_bytes could be had now. */
bool fvi_kv_pool_has_hole(const fvi_kv_pool *pool, size_t n_bytes);
size_t fvi_kv_extent_bytes(const fvi_kv_pool *pool, const fvi_kv_extent *extent);

/* A chain, its descriptors included; 0 for NULL. */
size_t fvi_kv_chain_bytes(const fvi_kv_pool *pool, const fvi_kv_extent *chain);
void fvi_kv_chain_ref(fvi_kv_extent *chain);
/* Gives back the extents when it was the last reference; sets *chain to NULL. Accepts NULL. */
void fvi_kv_chain_unref(fvi_kv_pool *pool, fvi_kv_extent **chain);

/* Books metadata against the capacity. FOVEA_ERR_FULL when it does not fit. */
fovea_status fvi_kv_pool_book(fvi_kv_pool *pool, size_t n_bytes);
void fvi_kv_pool_unbook(fvi_kv_pool *pool, size_t n_bytes);

size_t fvi_kv_pool_capacity(const fvi_kv_pool *pool);
size_t fvi_kv_pool_granule(const fvi_kv_pool *pool);
size_t fvi_kv_pool_used(const fvi_kv_pool *pool);
size_t fvi_kv_pool_peak(const fvi_kv_pool *pool);

#endif
