/* attn_coded_avx2.h - attention over tokens of one kind of codes per token (int8, int4, int2, rotated or
 * not) against their codes.
 *
 * Nothing is dequantised: score = scale (q . codes) + min sum(q), output = sum of (weight scale) (code -
 * middle) + sum of weight (min + middle scale). Queries and weights become fixed point, of 16 bits for 8-bit codes
 * and of one byte for shorter ones (attn_byte_avx2.h), so the products are exact integers; only the rounding to
 * fixed point and of the result remains. Middles halve what the rounding of a weight is multiplied with.
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
    const uint8_t *rows; /* [FVI_TILE, row_bytes] codes or f16; zeros for other tokens */
    float *scale, *min;  /* [groups, FVI_AFFINE_ROW] of codes; 0 for other tokens */
    uint32_t n, d, bits;
    size_t row_bytes;
    uintptr_t ahead; /* how far behind a row what is read next lies */
} fvi_token_tile;

/* The query heads of one KV head in fixed point, for one width of codes. */
typedef struct fvi_coded_query {
    const int32_t *pairs; /* [group, groups, FVI_CODED_PAIRS] pairs of int16 or fours of bytes, in
                             the order of the codes */
    const float *unit;    /* [group] */
    const float *sum;     /* [group, groups] */
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

/* The next 16 bytes of a row; zeros behind its end. */
FVI_INLINE __m128i fvi_load16(const uint8_t *at, size_t left)
{
    if (left >= 16) {
        return _mm_loadu_si128((const void *)at);
    }
    uint8_t part[16] = {0};
    memcpy(part, at, left);
    return _mm_loadu_si128((const void *)part);
}

/* Asks for what is read next in the place of n tokens. */
FVI_INLINE void fvi_ask_ahead(const fvi_token_tile *tile, size_t t, const size_t n,
                              size_t row_bytes)
{
    uintptr_t row = (uintptr_t)tile->rows + tile->ahead + t * row_bytes;
    for (size_t at = 0; at < n * row_bytes; at += 64) {
        _mm_prefetch((const char *)(row + at), _MM_HINT_T0);
    }
}

/* Products of one head with n tokens (rounded up to 16) become scores, or are added to them. */
FVI_INLINE void fvi_coded_finish1(const int32_t *product, const float *scales, const float *mins,
                                  size_t n, float units, float sums, const bool bytes,
                                  const bool add, float *score)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256 unit = _mm256_set1_ps(units), sum = _mm256_set1_ps(sums);
    for (size_t first = 0; first < n; first += 16) {
#pragma GCC unroll 2
        for (size_t i = 0; i < 16; i += 8) {
            const size_t t = first + i;
            __m256i whole = _mm256_loadu_si256((const void *)(product + t));
            whole = bytes ? _mm256_madd_epi16(whole, ones) : whole;
            __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(scales + t), unit);
            __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(whole), scale);
            x = _mm256_fmadd_ps(_mm256_loadu_ps(mins + t), sum, x);
            x = add ? _mm256_add_ps(x, _mm256_loadu_ps(score + t)) : x;
            _mm256_storeu_ps(score + t, x);
        }
    }
}

/* A tile's products with the queries become scores (added to those of earlier groups of channels): of int32, or
 * of bytes, where an element's two halves belong together. */
FVI_INLINE void fvi_coded_finish(const fvi_coded_query *query, const fvi_token_tile *tile,
                                 const fvi_coded_scratch *s, uint32_t g, const bool bytes,
                                 float *score, size_t stride)
{
    const size_t groups = fvi_groups(tile->d), n = tile->n;
    const float *scales = tile->scale + g * FVI_AFFINE_ROW, *mins = tile->min + g * FVI_AFFINE_ROW;
    for (size_t h = 0; h < query->group; h++, score += stride) {
        const int32_t *product = s->product + h * s->product_stride;
        float unit = query->unit[h], sum = query->sum[h * groups + g];
        if (g == 0) {
            fvi_coded_finish1(product, scales, mins, n, unit, sum, bytes, false, score);
        } else {
            fvi_coded_finish1(product, scales, mins, n, unit, sum, bytes, true, score);
        }
    }
}

/* ---- weights in fixed point ---- */

/* 1 / unit; 0 when there is nothing to scale. */
FVI_INLINE float fvi_inverse(float unit)
{
    return unit > 1e-37f ? 1.0f / unit : 0.0f;
}

/* A tile's weights for one group of channels: e [group, e_stride] times scale. */
typedef struct fvi_weights {
    const float *e, *scale, *middle; /* middle: what the middle of a token's codes stands for */
    float *base;                     /* [group, base_stride], by lane: sums of e times middle */
    size_t e_stride, base_stride;
    size_t n; /* rounded up to 8 */
    uint32_t group;
} fvi_weights;

/* The tile's minima become its middles. */
FVI_INLINE fvi_weights fvi_weights_of(const fvi_token_tile *tile, uint32_t g, const float *e,
                                      size_t e_stride, uint32_t group, float *base)
{
    const float *scale = tile->scale + (size_t)g * FVI_AFFINE_ROW;
    float *middle = tile->min + (size_t)g * FVI_AFFINE_ROW;
    size_t n = fvi_round_up(tile->n, 8);
    __m256 half = _mm256_set1_ps((float)(1u << (tile->bits - 1)));
    for (size_t t = 0; t < n; t += 8) {
        __m256 min = _mm256_loadu_ps(middle + t);
        _mm256_storeu_ps(middle + t, _mm256_fmadd_ps(_mm256_loadu_ps(scale + t), half, min));
    }
    return (fvi_weights){.e = e,
                         .scale = scale,
                         .middle = middle,
                         .base = base + (size_t)g * 8,
                         .e_stride = e_stride,
                         .base_stride = fvi_groups(tile->d) * (size_t)8,
                         .n = n,
                         .group = group};
}

FVI_INLINE __m256 fvi_weighted8(const float *e, const float *scale, size_t t)
{
    return _mm256_mul_ps(_mm256_loadu_ps(e + t), _mm256_loadu_ps(scale + t));
}

/* Of up to four heads by lane: their largest weights, and the sums of them. Their bases are added up. */
typedef struct fvi_weight_extent {
    __m256 largest[4], sum[4];
} fvi_weight_extent;

FVI_INLINE fvi_weight_extent fvi_weight_extent_of(const fvi_weights *w, uint32_t head)
{
    fvi_weight_extent x;
    const float *e[4];
    __m256 middles[4];
    const size_t n = w->n;
    const uint32_t last = w->group - 1;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) { /* behind the last head comes the last one again */
        uint32_t h = FVI_MIN(head + i, last);
        e[i] = w->e + h * w->e_stride;
        x.largest[i] = x.sum[i] = _mm256_setzero_ps();
        middles[i] = _mm256_loadu_ps(w->base + h * w->base_stride);
    }
    for (size_t t = 0; t < n; t += 8) {
        __m256 scale = _mm256_loadu_ps(w->scale + t), middle = _mm256_loadu_ps(w->middle + t);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            __m256 one = _mm256_loadu_ps(e[i] + t), weight = _mm256_mul_ps(one, scale);
            middles[i] = _mm256_fmadd_ps(one, middle, middles[i]);
            x.largest[i] = _mm256_max_ps(x.largest[i], weight);
            x.sum[i] = _mm256_add_ps(x.sum[i], weight);
        }
    }
    for (uint32_t i = 0; i < 4 && head + i <= last; i++) {
        _mm256_storeu_ps(w->base + (head + i) * w->base_stride, middles[i]);
    }
    return x;
}

/* The first n of four numbers. */
FVI_INLINE void fvi_store_some(__m128 x, uint32_t n, float *out)
{
    float some[4];
    _mm_storeu_ps(some, x);
    for (uint32_t i = 0; i < n && i < 4; i++) {
        out[i] = some[i];
    }
}

/* Weights of one head become whole numbers of units: the steps of rounded sums by lane, so that what rounding
 * leaves of one goes on to the lane's next. Small weights would all be lost, and values that are much alike would
 * show it. A number is at most one larger than what it stands for. */
typedef struct fvi_rounding {
    __m256 inverse, sum;
    __m256i whole;
} fvi_rounding;

FVI_INLINE fvi_rounding fvi_rounding_in(float unit)
{
    return (fvi_rounding){.inverse = _mm256_set1_ps(fvi_inverse(unit)),
                          .sum = _mm256_setzero_ps(),
                          .whole = _mm256_setzero_si256()};
}

/* Sixteen numbers in 16 bits. */
FVI_INLINE __m256i fvi_words16(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

FVI_INLINE __m256i fvi_round16(fvi_rounding *r, __m256 x, __m256 y)
{
    x = _mm256_fmadd_ps(x, r->inverse, r->sum);
    r->sum = _mm256_fmadd_ps(y, r->inverse, x);
    __m256i left = _mm256_cvtps_epi32(x), right = _mm256_cvtps_epi32(r->sum);
    __m256i words = fvi_words16(_mm256_sub_epi32(left, r->whole), _mm256_sub_epi32(right, left));
    r->whole = right;
    return words;
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
