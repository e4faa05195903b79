/* budget_density.c - VL-Cache, Algorithm 1: a layer's share follows how densely its query window attends.
 *
 *     d_l = 1 - gamma'_l,  Z = sum of d_l,  beta_l = clip(d_l / Z * alpha * L, 0.01, 1)
 *
 * with alpha the share kept of the whole and L the number of layers. The heads of a layer share alike. The
 * paper leaves the total as the clip makes it; here beta_l are weights that plan.c turns into exact
 * numbers. */
#include "kvcompress/policy.h"

#define LEAST 0.01

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    const fvi_kv_geom *geom = ctx->geom;
    uint32_t n_list = fvi_kv_geom_n_list(geom);
    double alpha = (double)ctx->total / ((double)n_list * ctx->n_candidate);
    double sum = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        sum += ctx->obs->density[layer];
    }
    double *weight = weights;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        double share = sum > 0 ? ctx->obs->density[layer] / sum : 1.0 / geom->n_layer;
        double beta = share * alpha * geom->n_layer;
        beta = beta < LEAST ? LEAST : beta > 1 ? 1 : beta;
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
            *weight++ = beta;
        }
    }
    return FOVEA_OK;
}

const fvi_budget fvi_budget_density = {
    .name = "density",
    .needs = FVI_NEED_DENSITY,
    .weigh = weigh,
};
