/* score_tova.c - TOVA: what the last row attends to. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_LAST_MASS, layer);
    memcpy(out, mass, fvi_plane_count(ctx, layer) * sizeof *out);
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_tova = {
    .name = "tova",
    .needs = FVI_NEED_LAST_MASS,
    .score = score,
};
