/* score_h2o.c - H2O: attention accumulated over all rows of the turn.
 *
 * Early tokens are seen by more rows; that bias is the method's own. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *text = fvi_plane_rows(ctx, FVI_PLANE_TEXT_MASS, layer);
    const float *vision = fvi_plane_rows(ctx, FVI_PLANE_VISION_MASS, layer);
    size_t n = fvi_plane_count(ctx, layer);
    for (size_t i = 0; i < n; i++) {
        out[i] = text[i] + vision[i];
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_h2o = {
    .name = "h2o",
    .needs = FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS,
    .score = score,
};
