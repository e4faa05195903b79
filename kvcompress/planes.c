/* planes.c - pooling over neighbours. Called by scorers (planes.h). */
#include "kvcompress/planes.h"

static float pooled(fvi_pooling how, const float *values, uint32_t n)
{
    float sum = 0, most = values[0];
    for (uint32_t i = 0; i < n; i++) {
        sum += values[i];
        most = FVI_MAX(most, values[i]);
    }
    return how == FVI_POOL_MAX ? most : sum / (float)n;
}

void fvi_planes_pool(const fvi_score_ctx *ctx, fvi_pooling how, uint32_t n_row, const float *rows,
                     float *out)
{
    const uint32_t reach = FVI_POOL_WIDTH / 2;
    for (uint32_t row = 0; row < n_row; row++) {
        for (uint32_t s = 0; s < ctx->n_span; s++) {
            uint32_t first = ctx->spans[s].first, end = first + ctx->spans[s].n;
            for (uint32_t t = first; t < end; t++) {
                uint32_t from = t - first > reach ? t - reach : first;
                uint32_t to = FVI_MIN(end, t + reach + 1);
                out[t] = pooled(how, rows + from, to - from);
            }
        }
        rows += ctx->n_token;
        out += ctx->n_token;
    }
}
