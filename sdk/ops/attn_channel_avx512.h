/* attn_channel_avx512.h - attention over runs of codes per channel, against the codes.
 *
 * Nothing is dequantised. For each group of tokens that share scales: score = sum of (q scale) code + sum of
 * q min, output = scale (sum of weight code) + min (sum of weights). What multiplies codes becomes 16-bit
 * fixed point, so the products are exact integers; only that rounding (2^-16 of the largest) and the
 * result's remain. For CPUs with VNNI. Included by attn_decode_avx512.c. */
#ifndef FOVEA_OPS_ATTN_CHANNEL_AVX512_H
#define FOVEA_OPS_ATTN_CHANNEL_AVX512_H

#include "sdk/ops/attn_tile_avx512.h"

typedef struct fvi_channel_scratch {
    float *scale, *min; /* [max(dk, dv) rounded] of one group of tokens */
    int16_t *factor;    /* [group, factor_stride] queries or weights in fixed point */
    int32_t *product;   /* [group, product_stride] */
    float *unit, *base; /* [group] of a factor; what does not depend on codes */
    size_t factor_stride, product_stride;
} fvi_channel_scratch;

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
size_t fvi_channel_scratch_at(fvi_channel_scratch *scratch, float *at, uint32_t group, uint32_t dk,
                              uint32_t dv);
/* Scores of n tokens of a run: score [group, score_stride], from queries q [group, keys->d]. ahead: what is
 * read after them. */
void fvi_channel_scores(const float *q, uint32_t group, const fvi_section *keys, uint32_t first,
                        uint32_t n, fvi_ahead ahead, const fvi_channel_scratch *scratch,
                        float *score, size_t score_stride);
/* Adds the values of n tokens of a run, weighted by e [group, e_stride] (0 to 1), to acc [group, acc_stride]. */
void fvi_channel_values(const float *e, size_t e_stride, uint32_t group, const fvi_section *values,
                        uint32_t first, uint32_t n, fvi_ahead ahead,
                        const fvi_channel_scratch *scratch, float *acc, size_t acc_stride);

#endif
