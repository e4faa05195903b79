/* score_text_prior.c - LOOK-M: attention accumulated over all rows as in H2O, and text before vision.
 *
 * Every text token gets the list's largest score on top, so no vision token comes before any text token and
 * text is ordered by attention too. */
#include "kvcompress/planes.h"

static void score_list(const float *by_text, const float *by_vision, const fvi_score_ctx *ctx,
                       float *out)
{
    float most = 0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        out[t] = by_text[t] + by_vision[t];
        most = FVI_MAX(most, out[t]);
    }
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        out[t] += ctx->obs->modality[t] == FOVEA_MODALITY_TEXT ? most : 0;
    }
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *by_text = fvi_plane_rows(ctx, FVI_PLANE_TEXT_MASS, layer);
    const float *by_vision = fvi_plane_rows(ctx, FVI_PLANE_VISION_MASS, layer);
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        size_t row = (size_t)head * ctx->n_token;
        score_list(by_text + row, by_vision + row, ctx, out + row);
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_text_prior = {
    .name = "text-prior",
    .needs = FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS,
    .score = score,
};
