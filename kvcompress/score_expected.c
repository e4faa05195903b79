/* score_expected.c - expected attention: what queries like this turn's would attend to from later positions, times
 * the length of the value (kvpress; sdk/engine/observe_rows.c has the formula).
 *
 * Does not look at the question in particular. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_EXPECTED_MASS, layer);
    const float *norm = fvi_plane_rows(ctx, FVI_PLANE_VALUE_NORM, layer);
    size_t n = fvi_plane_count(ctx, layer);
    for (size_t i = 0; i < n; i++) {
        out[i] = mass[i] * norm[i];
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_expected = {
    .name = "expected",
    .needs = FVI_NEED_EXPECTED_MASS | FVI_NEED_VALUE_NORM,
    .score = score,
};
