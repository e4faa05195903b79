/* budget_uniform.c - every list the same. */
#include "kvcompress/policy.h"

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    uint32_t n_list = fvi_kv_geom_n_list(ctx->geom);
    for (uint32_t i = 0; i < n_list; i++) {
        weights[i] = 1;
    }
    return FOVEA_OK;
}

const fvi_budget fvi_budget_uniform = {
    .name = "uniform",
    .weigh = weigh,
};
