/* budget_pyramid.c - PyramidKV: an arithmetic series over layers, most at the bottom.
 *
 * The last layer gets 1/BETA of the mean and the first as much more as that is less. The heads of a layer
 * share alike. VL-Cache and AirCache find this shape wrong for images (papers 1.1, 6.2). */
#include "kvcompress/policy.h"

#define BETA 20.0

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    const fvi_kv_geom *geom = ctx->geom;
    double least = 1 / BETA, most = 2 - least;
    double step = geom->n_layer > 1 ? (most - least) / (geom->n_layer - 1) : 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
            *weights++ = most - step * layer;
        }
    }
    return FOVEA_OK;
}

const fvi_budget fvi_budget_pyramid = {
    .name = "pyramid",
    .weigh = weigh,
};
