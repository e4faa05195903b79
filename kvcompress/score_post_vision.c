/* score_post_vision.c - VL-Cache's score: what the text behind the last image attended to.
 *
 * The attention of the query window (policy.h: fvi_kv_window_first), summed per key and averaged over the
 * query heads of a KV head, as it was observed during prefill. Modality comes in by the window alone: all
 * keys, text and vision, compete. */
#include "kvcompress/planes.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    size_t n = fvi_plane_count(ctx, layer);
    memcpy(out, fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer), n * sizeof *out);
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_post_vision = {
    .name = "post-vision",
    .needs = FVI_NEED_WINDOW_MASS,
    .score = score,
};
