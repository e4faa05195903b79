/* score_snapkv.c - SnapKV: the votes of the last rows, averaged over neighbours.
 *
 * Pooling keeps the surroundings of what is voted for; here it ends at the borders of spans, so that an
 * image lends nothing to the text beside it. SnapKV keeps its window besides; here `recent` does. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    fvi_planes_pool(ctx, FVI_POOL_MEAN, ctx->geom->layers[layer].n_kv_head,
                    fvi_plane_rows(ctx, FVI_PLANE_RECENT_MASS, layer), out);
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_snapkv = {
    .name = "snapkv",
    .needs = FVI_NEED_RECENT_MASS,
    .score = score,
};
