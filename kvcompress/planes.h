/* planes.h - what scorers do with planes: rows of a layer, and pooling over neighbours.
 *
 * Called by score_*.c. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_PLANES_H
#define FOVEA_KVCOMPRESS_PLANES_H

#include "kvcompress/policy.h"

#define FVI_POOL_WIDTH 7 /* SnapKV's kernel */

typedef enum fvi_pooling {
    FVI_POOL_MEAN = 0,
    FVI_POOL_MAX,
} fvi_pooling;

/* Numbers of a layer in a plane: KV heads times tokens. */
static inline size_t fvi_plane_count(const fvi_score_ctx *ctx, uint32_t layer)
{
    return (size_t)ctx->geom->layers[layer].n_kv_head * ctx->n_token;
}

/* [n_kv_head(layer), n_token] of a plane. */
static inline const float *fvi_plane_rows(const fvi_score_ctx *ctx, fvi_kv_plane plane,
                                          uint32_t layer)
{
    size_t list = fvi_kv_geom_first_list(ctx->geom, layer);
    return ctx->obs->plane[plane] + list * ctx->n_token;
}

/* Each token takes the mean or the maximum over up to FVI_POOL_WIDTH neighbours of its own span: an image
 * lends nothing to the text beside it. rows, out: [n_row, n_token], apart from each other. */
void fvi_planes_pool(const fvi_score_ctx *ctx, fvi_pooling how, uint32_t n_row, const float *rows,
                     float *out);

#endif
