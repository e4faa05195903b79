/* score_knorm.c - key norm: short keys are attended to most ("A Simple and Effective L2 Norm-Based Strategy").
 *
 * Needs no attention. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *norm = fvi_plane_rows(ctx, FVI_PLANE_KEY_NORM, layer);
    size_t n = fvi_plane_count(ctx, layer);
    for (size_t i = 0; i < n; i++) {
        out[i] = -norm[i];
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_knorm = {
    .name = "knorm",
    .needs = FVI_NEED_KEY_NORM,
    .score = score,
};
