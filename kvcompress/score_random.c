/* score_random.c - a number drawn for each (seed, layer, head, token): what every scorer has to beat. */
#include "kvcompress/draw.h"
#include "kvcompress/policy.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        uint64_t of_list = fvi_draw_list(ctx->seed, layer, head);
        for (uint32_t i = 0; i < ctx->n_token; i++) {
            *out++ = fvi_draw(of_list, i);
        }
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_random = {
    .name = "random",
    .score = score,
};
