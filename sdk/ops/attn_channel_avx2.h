/* attn_channel_avx2.h - attention over runs of codes per channel, against the codes.
 *
 * As in attn_channel_avx512.h: for each group of tokens that share scales, score = sum of (q scale) code +
 * sum of q min, output = scale (sum of weight (code - middle)) + (min + middle scale) (sum of weights); what
 * multiplies codes is rounded to bytes (attn_byte_avx2.h). Included by attn_decode_avx2.c. */
#ifndef FOVEA_OPS_ATTN_CHANNEL_AVX2_H
#define FOVEA_OPS_ATTN_CHANNEL_AVX2_H

#include "sdk/ops/attn_coded_avx2.h"

typedef struct fvi_channel_scratch {
    float *scale, *middle; /* [max(dk, dv) rounded] of one group of tokens; of the codes' middles */
    int32_t *factor; /* [group, factor_stride] four bytes each: queries or weights in fixed point */
    float *led;      /* [4 * factor_stride] one head's weights behind tokens that do not count */
    float *base;     /* [group] what does not depend on codes */
    size_t factor_stride;
} fvi_channel_scratch;

/* Fours of a row of factors. */
static inline size_t fvi_channel_factors(uint32_t d)
{
    return fvi_round_up(FVI_MAX(d, FVI_CODEC_ROWS) + 64, 32) / 4;
}

/* Scores of n tokens of a run: score [group, stride], from queries q [group, keys->d]. */
void fvi_channel_scores_avx2(const float *q, uint32_t group, const fvi_section *keys,
                             uint32_t first, uint32_t n, const fvi_coded_scratch *coded,
                             const fvi_channel_scratch *scratch, float *score, size_t stride);
/* Adds the values of n tokens of a run, weighted by e [group, e_stride] (0 to 1), to acc [group,
 * acc_stride]. */
void fvi_channel_values_avx2(const float *e, size_t e_stride, uint32_t group,
                             const fvi_section *values, uint32_t first, uint32_t n,
                             const fvi_coded_scratch *coded, const fvi_channel_scratch *scratch,
                             float *acc, size_t acc_stride);

#endif
