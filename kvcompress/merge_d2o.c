/* merge_d2o.c - D2O, compensation: tokens that resemble a kept one are folded into it, others are dropped.
 *
 *     k' = (e k + sum exp(s) k_e) / (e + sum exp(s))          s = cosine(k, k_e) >= tau, the same for values
 *     tau = mean s of the first step, then BETA * mean s of this step + (1 - BETA) * tau
 *
 * e = exp(1) is the kept token's likeness to itself. In the paper a step is an eviction: the prefill's, which
 * sets tau, and then one for every generated token. Here a turn is cut once and generated tokens stay, so
 * the moving average runs over the turn: STEP evicted tokens at a time in the order of positions, as they
 * would leave a cache that fills up. A list that loses up to STEP tokens gets the paper's rule for the
 * prefill, the mean of them all. The paper's code averages tau over the heads; here every list
 * and modality has its own. */
#include "kvcompress/merger.h"

#include <math.h>

#define BETA 0.7
#define STEP 64

static void weigh(const fvi_merge_ctx *ctx, float *own, float *weight)
{
    const float e = expf(1);
    double threshold = 0;
    for (uint32_t i = 0; i < ctx->n_kept; i++) {
        own[i] = e;
    }
    for (uint32_t first = 0; first < ctx->n_evicted; first += STEP) {
        uint32_t end = FVI_MIN(ctx->n_evicted, first + STEP);
        double mean = 0;
        for (uint32_t i = first; i < end; i++) {
            mean += ctx->cosine[i];
        }
        mean /= end - first;
        threshold = first == 0 ? mean : BETA * mean + (1 - BETA) * threshold;
        for (uint32_t i = first; i < end; i++) {
            weight[i] = ctx->cosine[i] >= threshold ? expf(ctx->cosine[i]) : 0;
        }
    }
}

const fvi_merger fvi_merger_d2o = {
    .name = "d2o",
    .weigh = weigh,
};
