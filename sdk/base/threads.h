/* threads.h - the one pool of worker threads of an engine.
 *
 * fvi_pool_run hands out part indexes 0..n_part-1 to the workers and the caller, and returns when all are
 * done. Workers spin for some microseconds and then sleep, so a neighbour's load costs little. The caller
 * is worker 0, and of no pool (NULL) the only one. Called by sdk/ops, vision and kvcompress. Threads: run - one at a
 * time. */
#ifndef FOVEA_BASE_THREADS_H
#define FOVEA_BASE_THREADS_H

#include "sdk/base/base.h"

typedef struct fvi_pool fvi_pool;

/* part: 0..n_part-1; worker: 0..n_thread-1, for per-thread scratch. */
typedef void (*fvi_pool_fn)(void *arg, uint32_t part, uint32_t worker);

fovea_status fvi_pool_new(const fovea_alloc *alloc, uint32_t n_thread, fvi_pool **out);
void fvi_pool_free(fvi_pool **pool);
uint32_t fvi_pool_n_thread(const fvi_pool *pool);
/* Parts (at most 2^20 - 1) are taken in ascending order by whoever is free. Never allocates. */
void fvi_pool_run(fvi_pool *pool, uint32_t n_part, fvi_pool_fn fn, void *arg);

#endif
