/* rewrite.h - moves the rows of one layer from the form that holds them to the form that a plan wants.
 *
 * A side is a layer of a block: the fresh layer of a turn, a layer that was cut (cut.h), a layer of a sealed
 * turn. Called by plan_apply.c and cut.c. Threads: one at a time; shares the layer's lists out
 * (fvi_kv_pool_workers). */
#ifndef FOVEA_KVCOMPRESS_REWRITE_H
#define FOVEA_KVCOMPRESS_REWRITE_H

#include "kvcompress/merger.h"
#include "kvcompress/seq_internal.h"

typedef struct fvi_kv_side {
    const fvi_kv_geom *geom; /* of the block */
    fvi_kv_block *block;
    uint32_t layer; /* in that geometry */
} fvi_kv_side;

/* Bytes of scratch that any layer of the geometry needs for a turn of n_token. */
size_t fvi_kv_rewrite_bytes(const fvi_kv_pool *pool, const fvi_kv_geom *geom, uint32_t n_token);
/* Fills the runs of `to`, which are reserved. kind: what `to` was described by; what it keeps `from` must
 * hold. merging, merge_space (fvi_merge_work_bytes): NULL, or from a fresh layer of the sequence's geometry. */
void fvi_kv_rewrite(const fvi_kv_pool *pool, fvi_kv_side from, fvi_kv_side to,
                    const uint8_t *kind /* [n_kv_head, n_token] */, const fvi_merging *merging,
                    void *scratch, void *merge_space);

#endif
