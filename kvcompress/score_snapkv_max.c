/* score_snapkv_max.c - SnapKV with the largest vote among neighbours in place of their mean. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    fvi_planes_pool(ctx, FVI_POOL_MAX, ctx->geom->layers[layer].n_kv_head,
                    fvi_plane_rows(ctx, FVI_PLANE_RECENT_MASS, layer), out);
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_snapkv_max = {
    .name = "snapkv-max",
    .needs = FVI_NEED_RECENT_MASS,
    .score = score,
};
