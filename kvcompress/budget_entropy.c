/* budget_entropy.c - MEDA: layers whose attention between text and vision is spread get more.
 *
 *     E_l = H(text to vision) + H(vision to text),  share_l = softmax over layers of E
 *
 * H is the entropy (in nats) of where such attention goes, summed over all rows of the turn and averaged
 * over KV heads: of the mean row, where the paper has the rows'. The heads of a layer share alike. Without
 * both modalities all layers are alike. */
#include "kvcompress/policy.h"

#include <math.h>

/* Entropy of the masses of one modality's tokens, made to sum to 1. */
static double entropy_of(const float *mass, const uint8_t *modality, uint32_t n, uint8_t of)
{
    double sum = 0, entropy = 0;
    for (uint32_t t = 0; t < n; t++) {
        sum += modality[t] == of ? mass[t] : 0;
    }
    for (uint32_t t = 0; t < n && sum > 0; t++) {
        double share = modality[t] == of ? mass[t] / sum : 0;
        entropy -= share > 0 ? share * log(share) : 0;
    }
    return entropy;
}

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    const fvi_kv_geom *geom = ctx->geom;
    const fvi_kv_obs *obs = ctx->obs;
    uint32_t n = ctx->n_token;
    size_t list = 0;
    double most = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        uint32_t n_head = geom->layers[layer].n_kv_head;
        double sum = 0;
        for (uint32_t head = 0; head < n_head; head++) {
            size_t row = (list + head) * n;
            sum += entropy_of(obs->plane[FVI_PLANE_TEXT_MASS] + row, obs->modality, n,
                              FOVEA_MODALITY_VISION) +
                   entropy_of(obs->plane[FVI_PLANE_VISION_MASS] + row, obs->modality, n,
                              FOVEA_MODALITY_TEXT);
        }
        for (uint32_t head = 0; head < n_head; head++) {
            weights[list++] = sum / n_head;
        }
        most = FVI_MAX(most, sum / n_head);
    }
    for (size_t i = 0; i < list; i++) {
        weights[i] = exp(weights[i] - most);
    }
    return FOVEA_OK;
}

const fvi_budget fvi_budget_entropy = {
    .name = "entropy",
    .needs = FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS,
    .weigh = weigh,
};
