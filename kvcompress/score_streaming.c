/* score_streaming.c - StreamingLLM: the later the better; the first tokens are kept by sinks=.
 *
 * A position is exact in a float up to 2^24, which is more than any prompt has. */
#include "kvcompress/policy.h"

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        for (uint32_t i = 0; i < ctx->n_token; i++) {
            *out++ = (float)i;
        }
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_streaming = {
    .name = "streaming",
    .score = score,
};
