/* score_value.c - value-aware: attention of the query window times the length of the value it brings in. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer);
    const float *norm = fvi_plane_rows(ctx, FVI_PLANE_VALUE_NORM, layer);
    size_t n = fvi_plane_count(ctx, layer);
    for (size_t i = 0; i < n; i++) {
        out[i] = mass[i] * norm[i];
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_value = {
    .name = "value",
    .needs = FVI_NEED_WINDOW_MASS | FVI_NEED_VALUE_NORM,
    .score = score,
};
