/* score_keydiff.c - KeyDiff: keys unlike the mean direction of their list are kept, so that what stays is diverse.
 *
 * Needs no attention. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *likeness = fvi_plane_rows(ctx, FVI_PLANE_KEY_LIKENESS, layer);
    size_t n = fvi_plane_count(ctx, layer);
    for (size_t i = 0; i < n; i++) {
        out[i] = -likeness[i];
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_keydiff = {
    .name = "keydiff",
    .needs = FVI_NEED_KEY_LIKENESS,
    .score = score,
};
