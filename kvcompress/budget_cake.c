/* budget_cake.c - CAKE: a layer's preference, from how spread its attention is and how much it moves.
 *
 *     P_l = H_l^(1/T1) * V_l^(1/T2)
 *
 * H_l: entropy of the last rows' attention, summed over rows; V_l: variance over those rows, summed over
 * tokens; both averaged over KV heads. The paper fits T1 and T2 to each model; here both are 1. The heads of
 * a layer share alike. The cascade while prefilling is no matter of budgets. */
#include "kvcompress/policy.h"

static double preference_of(const fvi_budget_ctx *ctx, size_t first_list, uint32_t n_head)
{
    const fvi_kv_obs *obs = ctx->obs;
    size_t from = first_list * ctx->n_token, n = (size_t)n_head * ctx->n_token;
    double n_row = FVI_MIN(ctx->n_token, FVI_KV_RECENT_ROWS), entropy = 0, variance = 0;
    for (size_t i = from; i < from + n; i++) {
        double mean = obs->plane[FVI_PLANE_RECENT_MASS][i] / n_row;
        double moved = obs->plane[FVI_PLANE_RECENT_SQUARE][i] / n_row - mean * mean;
        variance += FVI_MAX(moved, 0.0);
        entropy += obs->plane[FVI_PLANE_RECENT_INFO][i];
    }
    return FVI_MAX(entropy, 0.0) / n_head * variance / n_head;
}

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    const fvi_kv_geom *geom = ctx->geom;
    size_t list = 0;
    double sum = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        uint32_t n_head = geom->layers[layer].n_kv_head;
        double preference = preference_of(ctx, list, n_head);
        sum += preference;
        for (uint32_t head = 0; head < n_head; head++) {
            weights[list++] = preference;
        }
    }
    for (size_t i = 0; i < list && sum <= 0; i++) {
        weights[i] = 1;
    }
    return FOVEA_OK;
}

const fvi_budget fvi_budget_cake = {
    .name = "cake",
    .needs = FVI_NEED_RECENT_MASS | FVI_NEED_RECENT_SQUARE | FVI_NEED_RECENT_INFO,
    .weigh = weigh,
};
