/* attn_byte_avx2.h - products of 4- and 2-bit codes with queries and weights of one byte.
 *
 * A product of bytes takes half the time of one of 16 bits, but its sums are of 16 bits: the unit of what is
 * rounded is chosen so that the largest fits a byte and no sum can leave the range, whatever the order.
 *   queries: signed, |q / unit| <= 127 and levels * (sum of |q| / unit) <= 32767, levels = 2^bits - 1 the largest code
 *   weights: 0 to 255 times codes less their middle, 2^(bits - 1) * (sum of weights / unit) <= 32767; what rounding
 *            leaves of a weight goes to the next one of its lane: small weights would all be lost, and values
 *            that are much alike would show it
 * What that adds to the error of the codes themselves (a step s / sqrt(12) in the mean) with normal keys and
 * values, of which s is a third of the deviation (4 bits) or 5/3 of it (2 bits): to a score unit |k|_2 / sqrt(12) beside
 * s |q|_2 / sqrt(12), a 12th and a 50th of it; to an output unit sqrt(2 n / 12) times the codes' deviation (4.6, 1.2)
 * in a tile of n = 64, beside |weights|_2 / sqrt(12), a 10th to a 5th and a 40th to a 20th. Measured together (tests/ops
 * holds it to a 5th and a 14th): 3 to 16 % and 0.4 to 5 %, so 0.5 % and 0.05 % of the squared error in the mean. A
 * byte of a query would err more than 8-bit codes do: those keep 16 bits (attn_coded_avx2.c).
 * Included by the AVX2 attention of decode rows. */
#ifndef FOVEA_OPS_ATTN_BYTE_AVX2_H
#define FOVEA_OPS_ATTN_BYTE_AVX2_H

#include "sdk/ops/attn_coded_avx2.h"

#define FVI_SIGNED_MOST   127.0f
#define FVI_UNSIGNED_MOST 254.0f /* a weight may take half a unit from the one before it */

/* The unit of n numbers, whose magnitudes are `largest` at most and `sum` together, to be rounded to nearest and
 * summed times codes. Rounding adds half a unit to each at most, and never more than doubles one. */
FVI_INLINE float fvi_signed_unit(float largest, float sum, uint32_t n, uint32_t bits)
{
    float room = 32767.0f / (float)((1u << bits) - 1) - 4.0f;
    return FVI_MAX(largest / FVI_SIGNED_MOST, sum / FVI_MAX(room - 0.5f * (float)n, 0.5f * room));
}

/* The same of four heads' weights: their largest, by lane, and what is summed at most. Of the rounded sums of lanes
 * each is half a unit too large at most. */
FVI_INLINE __m128 fvi_weight_units(const __m256 largest[4], __m128 all, uint32_t bits)
{
    float room = 32767.0f / (float)(1u << (bits - 1)) - 8.0f;
    __m128 top = fvi_max4(largest[0], largest[1], largest[2], largest[3]);
    return _mm_max_ps(_mm_mul_ps(top, _mm_set1_ps(1 / FVI_UNSIGNED_MOST)),
                      _mm_mul_ps(all, _mm_set1_ps(1 / room)));
}

/* Where the four bytes with a channel lie. */
static inline uint32_t fvi_quad_of(uint32_t c, uint32_t share)
{
    return c / share * ((share + 3) / 4) + c % share / 4;
}

/* Those with a group of the d channels. */
typedef struct fvi_quads {
    uint32_t first, n;
} fvi_quads;

static inline fvi_quads fvi_quads_of(uint32_t d, uint32_t bits, uint32_t g)
{
    uint32_t share = (uint32_t)fvi_code_row(bits, d), end = FVI_MIN(d, (g + 1) * FVI_GROUP);
    uint32_t first = fvi_quad_of(g * FVI_GROUP, share);
    return (fvi_quads){first, fvi_quad_of(end - 1, share) + 1 - first};
}

/* The three of attn_coded_avx2.h for 4 and 2 bits. */
void fvi_byte_query_avx2(const float *q, uint32_t dk, uint32_t bits, int32_t *quads, float *unit,
                         float *sum);
void fvi_byte_scores_avx2(const fvi_coded_query *query, const fvi_token_tile *tile,
                          const fvi_coded_scratch *scratch, float *score, size_t stride);
void fvi_byte_values_avx2(fvi_token_tile *tile, const float *e, size_t e_stride, uint32_t group,
                          const fvi_coded_scratch *scratch, float *acc, size_t acc_stride,
                          float *base);

#endif
