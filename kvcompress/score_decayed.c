/* score_decayed.c - H2O with forgetting: the accumulated attention of rows counts the less the older they are.
 *
 * A factor FVI_KV_DECAY for every FVI_KV_DECAY_ROWS rows (policy.h). */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_DECAYED_MASS, layer);
    memcpy(out, mass, fvi_plane_count(ctx, layer) * sizeof *out);
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_decayed = {
    .name = "decayed",
    .needs = FVI_NEED_DECAYED_MASS,
    .score = score,
};
