/* attn_coded_avx2.h - attention over tokens of one kind of codes per token (int8, int4, int2, rotated or
 * not) against their codes.
 *
 * Nothing is dequantised: score = scale (q . codes) + min sum(q), output = sum of (weight scale) (code -
 * middle) + sum of weight (min + middle scale). Queries and weights become 16-bit fixed point, so the products
 * are exact integers; only the rounding to fixed point (2^-16 of the largest) and of the result remains. Middles
 * halve what the rounding of a weight is multiplied with.
 *
 * Tokens come as a tile by index in the list, so that a weight's unit does not depend on the runs.
 * Included by attn_decode_avx2.c. */
#ifndef FOVEA_OPS_ATTN_CODED_AVX2_H
#define FOVEA_OPS_ATTN_CODED_AVX2_H

#include "sdk/ops/attn_section.h"
#include "sdk/ops/simd_avx2.h"

#define FVI_AFFINE_ROW (FVI_TILE + 8) /* a row of scales: the last vector may hang over */
#define FVI_CODED_PAIRS                                                                            \
    40 /* room for the pairs of a group of channels: 32, and where a share ends */

/* The tokens of one kind among FVI_TILE of a list. */
typedef struct fvi_token_tile {
    const uint8_t *row[FVI_TILE]; /* where each one's codes or f16 begin; zeros for other tokens */
    float *scale, *min;           /* [groups, FVI_AFFINE_ROW] of codes; 0 for other tokens */
    uint32_t n, d, bits;
    size_t row_bytes;
} fvi_token_tile;

/* The query heads of one KV head in fixed point, for one width of codes. */
typedef struct fvi_coded_query {
    const int32_t
        *pairs; /* [group, groups, FVI_CODED_PAIRS] pairs of int16, in the order of the codes */
    const float *unit; /* [group] */
    const float *sum;  /* [group, groups] */
    uint32_t group;
} fvi_coded_query;

typedef struct fvi_coded_scratch {
    int32_t *tile;    /* codes in the order in which they are multiplied (fvi_coded_tile) */
    int32_t *product; /* [group, product_stride] */
    int32_t *weight;  /* [group, FVI_TILE / 2] */
    float *unit;      /* [group] */
    size_t product_stride;
} fvi_coded_scratch;

/* Numbers of a tile: pairs of channels by tokens, pairs of tokens by channels, or words of codes per channel
 * (attn_channel_avx2.h); and of a row of products. */
static inline size_t fvi_coded_tile(uint32_t d)
{
    return 80 * ((size_t)d + 64);
}

static inline size_t fvi_coded_row(uint32_t d)
{
    return fvi_round_up(FVI_MAX(d + 64, FVI_CODEC_ROWS), 16);
}

/* The f16 scales and minima of 8 tokens or channels, `stride` bytes apart; zeros from n on. */
FVI_INLINE void fvi_affine8(const uint8_t *at, size_t stride, uint32_t n, __m256 *scale,
                            __m256 *min)
{
    __m256i pairs;
    if (stride == 4 && n >= 8) {
        pairs = _mm256_loadu_si256((const void *)at);
    } else {
        uint32_t some[8] = {0};
        for (uint32_t i = 0; i < 8 && i < n; i++) {
            memcpy(&some[i], at + i * stride, sizeof some[i]);
        }
        pairs = _mm256_loadu_si256((const void *)some);
    }
    __m256i low = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff));
    __m256i both = _mm256_packus_epi32(low, _mm256_srli_epi32(pairs, 16));
    both = _mm256_permute4x64_epi64(both, 0xd8);
    *scale = _mm256_cvtph_ps(_mm256_castsi256_si128(both));
    *min = _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1));
}

/* One head's q [dk] (scaled): pairs [groups, FVI_CODED_PAIRS], unit, sums [groups]. */
void fvi_coded_query_avx2(const float *q, uint32_t dk, uint32_t bits, int32_t *pairs, float *unit,
                          float *sum);
/* score [group, stride] of the tile's tokens; lanes of others, up to the next multiple of 16, get anything. */
void fvi_coded_scores_avx2(const fvi_coded_query *query, const fvi_token_tile *tile,
                           const fvi_coded_scratch *scratch, float *score, size_t stride);
/* Adds to acc [group, acc_stride] the tile's values less what is the same for a group of channels, which goes
 * to base [group, groups, 8], by lane; e [group, e_stride]: weights, zeros behind the tile's tokens up to the
 * next multiple of 16. The tile's minima are used up. */
void fvi_coded_values_avx2(fvi_token_tile *tile, const float *e, size_t e_stride, uint32_t group,
                           const fvi_coded_scratch *scratch, float *acc, size_t acc_stride,
                           float *base);

#endif
