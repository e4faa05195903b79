/* budget_prefix.c - PrefixKV: every layer keeps the same share of its importance, not of its tokens.
 *
 * P_l(o) is the share of the layer's o best tokens (scores averaged over its heads) in all its importance,
 * R_l(p) the least o with P_l(o) >= p. One threshold p for all layers is found by binary search, the largest
 * with sum of R_l(p) * heads_l <= total; plan.c shares out the slot or two that are left. Here it is
 * this prompt's threshold, where the paper takes it from sample prompts. The heads of a layer share alike. */
#include "kvcompress/policy.h"

#include <stdlib.h>

#define STEPS 60 /* halvings of [0, 1]: as far as a double goes */

static int by_falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* part[o]: share of the o + 1 best tokens of a layer. Scores may be negative: the least one counts 0. */
static void cumulate(const float *scores, uint32_t n_head, uint32_t n_token,
                     double *part /* [n_token] */)
{
    double least = 0, sum = 0, total = 0;
    for (uint32_t t = 0; t < n_token; t++) {
        part[t] = 0;
        for (uint32_t head = 0; head < n_head; head++) {
            part[t] += scores[(size_t)head * n_token + t];
        }
        least = FVI_MIN(least, part[t]);
    }
    for (uint32_t t = 0; t < n_token; t++) {
        part[t] -= least;
        total += part[t];
    }
    qsort(part, n_token, sizeof *part, by_falling);
    for (uint32_t t = 0; t < n_token; t++) {
        sum += part[t];
        part[t] = total > 0 ? sum / total : (t + 1.0) / n_token;
    }
}

/* R_l(p) */
static uint32_t reach_of(const double *part, uint32_t n_token, double p)
{
    uint32_t low = 0, high = n_token - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (part[middle] >= p) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low + 1;
}

static uint64_t slots_at(const fvi_budget_ctx *ctx, const double *parts, double p)
{
    uint64_t n = 0;
    for (uint32_t layer = 0; layer < ctx->geom->n_layer; layer++) {
        n += (uint64_t)ctx->geom->layers[layer].n_kv_head *
             reach_of(parts + (size_t)layer * ctx->n_candidate, ctx->n_candidate, p);
    }
    return n;
}

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    const fvi_kv_geom *geom = ctx->geom;
    double *parts = fvi_calloc(ctx->alloc, (size_t)geom->n_layer * ctx->n_candidate, sizeof *parts);
    if (parts == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    const float *scores = ctx->scores;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        uint32_t n_head = geom->layers[layer].n_kv_head;
        cumulate(scores, n_head, ctx->n_candidate, parts + (size_t)layer * ctx->n_candidate);
        scores += (size_t)n_head * ctx->n_candidate;
    }
    double fits = 0, exceeds = 1;
    for (uint32_t i = 0; i < STEPS; i++) {
        double middle = (fits + exceeds) / 2;
        *(slots_at(ctx, parts, middle) <= ctx->total ? &fits : &exceeds) = middle;
    }
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        uint32_t n = reach_of(parts + (size_t)layer * ctx->n_candidate, ctx->n_candidate, fits);
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
            *weights++ = n;
        }
    }
    fvi_free(ctx->alloc, parts);
    return FOVEA_OK;
}

const fvi_budget fvi_budget_prefix = {
    .name = "prefix",
    .weigh = weigh,
};
