/* merge_weighted.c - LOOK-M, weighted merging: evicted rows count as much as they are similar.
 *
 *     k' = (k + sum s k_e) / (1 + sum s)          s = max(cosine(k, k_e), 0), the same for values
 *
 * The paper divides by 1 + n instead. Its weights sum to less than 1, so a key shrinks, and with it every
 * logit that it gets, the more the less similar its tokens were: an effect of the formula and not of what
 * the tokens hold. Here the weights sum to 1. Keys that point away from each other do not count; the
 * paper's negative weights would subtract them. */
#include "kvcompress/merger.h"

static void weigh(const fvi_merge_ctx *ctx, float *own, float *weight)
{
    (void)own;
    for (uint32_t i = 0; i < ctx->n_evicted; i++) {
        weight[i] = FVI_MAX(ctx->cosine[i], 0.0f);
    }
}

const fvi_merger fvi_merger_weighted = {
    .name = "weighted",
    .weigh = weigh,
};
