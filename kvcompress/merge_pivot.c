/* merge_pivot.c - LOOK-M, pivotal merging: evicted rows go half the way to the kept one before they count.
 *
 *     k' = (k + sum (k + k_e) / 2) / (1 + n)          the same for values
 *
 * That is the paper's formula and what its code does: with one evicted token 3/4 k + 1/4 k_e, with many the
 * kept token still counts as much as all others together. The pivot itself, (k + k_e) / 2, is the row that
 * is averaged and not the result. Modalities do not mix here (merger.h). */
#include "kvcompress/merger.h"

static void weigh(const fvi_merge_ctx *ctx, float *own, float *weight)
{
    for (uint32_t i = 0; i < ctx->n_evicted; i++) {
        weight[i] = 0.5f;
        own[ctx->nearest[i]] += 0.5f;
    }
}

const fvi_merger fvi_merger_pivot = {
    .name = "pivot",
    .weigh = weigh,
};
