/* score_cake.c - CAKE's indicator: mean and variance over the last rows, pooled.
 *
 *     s = mean + GAMMA * variance
 *
 * A token that matters to some rows and not to others is not left to its mean. */
#include "kvcompress/planes.h"

#define GAMMA 200

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_RECENT_MASS, layer);
    const float *square = fvi_plane_rows(ctx, FVI_PLANE_RECENT_SQUARE, layer);
    size_t n = fvi_plane_count(ctx, layer);
    float *plain = fvi_alloc(ctx->alloc, n * sizeof *plain);
    if (plain == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    float n_row = (float)FVI_MIN(ctx->n_token, FVI_KV_RECENT_ROWS);
    for (size_t i = 0; i < n; i++) {
        float mean = mass[i] / n_row, variance = square[i] / n_row - mean * mean;
        plain[i] = mean + GAMMA * FVI_MAX(variance, 0.0f);
    }
    fvi_planes_pool(ctx, FVI_POOL_MEAN, ctx->geom->layers[layer].n_kv_head, plain, out);
    fvi_free(ctx->alloc, plain);
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_cake = {
    .name = "cake",
    .needs = FVI_NEED_RECENT_MASS | FVI_NEED_RECENT_SQUARE,
    .score = score,
};
