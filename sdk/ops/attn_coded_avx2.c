/* attn_coded_avx2.c - the kernels of attn_coded_avx2.h: 8-bit codes here, in products of 16 bits, 4 and 2 bits
 * in attn_byte_avx2.c.
 *
 * Keys are laid out as [pair of channels][token], values less their middle as [pair of tokens][channel], both in
 * pairs of int16. */
#include "sdk/ops/attn_byte_avx2.h"
#include "sdk/ops/attn_panel_avx2.h"

#include <math.h>

#define LARGEST 32766.0f /* a weight may take half a unit from the one before it */
#define MIDDLE  128

void fvi_coded_query_avx2(const float *q, uint32_t dk, uint32_t bits, int32_t *pairs, float *unit,
                          float *sum)
{
    if (bits < 8) {
        fvi_byte_query_avx2(q, dk, bits, pairs, unit, sum);
        return;
    }
    __m256 largest = _mm256_setzero_ps();
    for (uint32_t c = 0; c < dk; c += 8) {
        __m256 x = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), fvi_load8(q + c, dk - c));
        largest = _mm256_max_ps(largest, x);
    }
    *unit = fvi_max1(largest) / LARGEST;
    const __m256 inverse = _mm256_set1_ps(fvi_inverse(*unit));
    for (uint32_t g = 0; g < fvi_groups(dk); g++, pairs += FVI_CODED_PAIRS) {
        uint32_t first = g * FVI_GROUP, n = FVI_MIN(dk - first, FVI_GROUP);
        __m256i total = _mm256_setzero_si256();
        for (uint32_t c = 0; c < n; c += 16) {
            __m256 x[2];
            fvi_load8x2(q + first + c, n - c, x);
            __m256i left = _mm256_cvtps_epi32(_mm256_mul_ps(x[0], inverse));
            __m256i right = _mm256_cvtps_epi32(_mm256_mul_ps(x[1], inverse));
            _mm256_storeu_si256((void *)(pairs + c / 2), fvi_words16(left, right));
            total = _mm256_add_epi32(total, _mm256_add_epi32(left, right));
        }
        /* of the rounded numbers: then the rounding errors meet keys, not keys less their minimum */
        sum[g] = fvi_sum1(_mm256_cvtepi32_ps(total)) * *unit;
    }
}

/* 16 bytes each of 16 tokens, `row_bytes` apart, become pairs of bytes [8], tokens 0-3 and 8-11 in the low half, 4-7 and
 * 12-15 in the high one: unpacked they are in order. */
FVI_INLINE void byte_pairs(const uint8_t *rows, size_t row_bytes, size_t left, __m256i t[8])
{
    static const uint8_t low[8] = {0, 1, 2, 3, 8, 9, 10, 11};
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; i++) {
        const uint8_t *row = rows + low[i] * row_bytes;
        t[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(fvi_load16(row, left)),
                                       fvi_load16(row + 4 * row_bytes, left), 1);
    }
    fvi_transpose8_u16(t);
}

/* The tile's keys: out [pairs of channels, FVI_TILE]. */
FVI_INLINE void key_pairs(const fvi_token_tile *tile, size_t row_bytes, int32_t *out)
{
    size_t n_pair = (row_bytes + 1) / 2;
    for (size_t t = 0, n = tile->n; t < n; t += 16) {
        fvi_ask_ahead(tile, t, 16, row_bytes);
        for (size_t at = 0; at < row_bytes; at += 16) {
            __m256i pairs[8];
            byte_pairs(tile->rows + t * row_bytes + at, row_bytes, row_bytes - at, pairs);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                if (at / 2 + i >= n_pair) {
                    break;
                }
                int32_t *to = out + (at / 2 + i) * FVI_TILE + t;
                __m256i low = _mm256_unpacklo_epi8(pairs[i], _mm256_setzero_si256());
                __m256i high = _mm256_unpackhi_epi8(pairs[i], _mm256_setzero_si256());
                _mm256_storeu_si256((void *)to, low);
                _mm256_storeu_si256((void *)(to + 8), high);
            }
        }
    }
}

static void coded_scores(const fvi_coded_query *query, const fvi_token_tile *tile,
                         const fvi_coded_scratch *s, float *score, size_t stride)
{
    uint32_t groups = fvi_groups(tile->d);
    if (tile->d == FVI_GROUP) { /* loops of known length */
        key_pairs(tile, FVI_GROUP, s->tile);
    } else {
        key_pairs(tile, tile->row_bytes, s->tile);
    }
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t first = g * FVI_GROUP, end = FVI_MIN(tile->d, first + FVI_GROUP);
        fvi_panel_pairs(&(fvi_code_panel){.a = query->pairs + g * FVI_CODED_PAIRS,
                                          .a_stride = groups * FVI_CODED_PAIRS,
                                          .b = s->tile + (size_t)first / 2 * FVI_TILE,
                                          .b_stride = FVI_TILE,
                                          .c = s->product,
                                          .c_stride = s->product_stride,
                                          .m = query->group,
                                          .n = (uint32_t)fvi_round_up(tile->n, 8),
                                          .k = (end - first + 1) / 2});
        fvi_coded_finish(query, tile, s, g, false, score, stride);
    }
}

void fvi_coded_scores_avx2(const fvi_coded_query *query, const fvi_token_tile *tile,
                           const fvi_coded_scratch *scratch, float *score, size_t stride)
{
    if (tile->bits < 8) {
        fvi_byte_scores_avx2(query, tile, scratch, score, stride);
    } else {
        coded_scores(query, tile, scratch, score, stride);
    }
}

/* The tile's values less their middle: out [pairs of tokens, columns]. */
FVI_INLINE void value_pairs(const fvi_token_tile *tile, size_t row_bytes, int32_t *out)
{
    const __m256i middle = _mm256_set1_epi16(MIDDLE);
    size_t columns = fvi_round_up(row_bytes, 16);
    const uint8_t *row = tile->rows;
    for (size_t t = 0, n = tile->n; t < n; t += 2, out += columns, row += 2 * row_bytes) {
        fvi_ask_ahead(tile, t, 2, row_bytes);
        for (size_t at = 0; at < row_bytes; at += 16) {
            __m128i a = fvi_load16(row + at, row_bytes - at);
            __m128i b = fvi_load16(row + row_bytes + at, row_bytes - at);
            __m256i low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            __m256i high = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            _mm256_storeu_si256((void *)(out + at), _mm256_sub_epi16(low, middle));
            _mm256_storeu_si256((void *)(out + at + 8), _mm256_sub_epi16(high, middle));
        }
    }
}

/* Units of four heads' weights; base takes what the codes' middles stand for, by lane. */
static void weight_units(const fvi_weights *w, uint32_t head, float *unit)
{
    fvi_weight_extent extent = fvi_weight_extent_of(w, head);
    __m128 top =
        fvi_max4(extent.largest[0], extent.largest[1], extent.largest[2], extent.largest[3]);
    fvi_store_some(_mm_mul_ps(top, _mm_set1_ps(1 / LARGEST)), w->group - head, unit + head);
}

static void weigh(const fvi_weights *w, const fvi_coded_scratch *s)
{
    for (uint32_t h = 0; h < w->group; h += 4) {
        weight_units(w, h, s->unit);
    }
    for (uint32_t h = 0; h < w->group; h++) {
        const float *e = w->e + h * w->e_stride;
        fvi_rounding rounding = fvi_rounding_in(s->unit[h]);
        int32_t *weight = s->weight + (size_t)h * FVI_TILE / 2;
        for (size_t t = 0; t < w->n; t += 16) {
            __m256i words = fvi_round16(&rounding, fvi_weighted8(e, w->scale, t),
                                        fvi_weighted8(e, w->scale, t + 8));
            _mm256_storeu_si256((void *)(weight + t / 2), words);
        }
    }
}

/* Adds n channels from `first` on. */
static void add_channels(const fvi_token_tile *tile, uint32_t first, uint32_t n, uint32_t group,
                         const fvi_coded_scratch *s, float *acc, size_t acc_stride)
{
    fvi_panel_pairs(&(fvi_code_panel){.a = s->weight,
                                      .a_stride = FVI_TILE / 2,
                                      .b = s->tile + first,
                                      .b_stride = fvi_round_up(tile->row_bytes, 16),
                                      .c = s->product,
                                      .c_stride = s->product_stride,
                                      .m = group,
                                      .n = (uint32_t)fvi_round_up(n, 8),
                                      .k = (tile->n + 1) / 2});
    for (uint32_t h = 0; h < group; h++, acc += acc_stride) {
        const int32_t *product = s->product + h * s->product_stride;
        __m256 unit = _mm256_set1_ps(s->unit[h]);
        for (uint32_t c = 0; c < n; c += 8) {
            __m256 x = _mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)(product + c)));
            fvi_store8(acc + c, n - c, _mm256_fmadd_ps(x, unit, fvi_load8(acc + c, n - c)));
        }
    }
}

static void coded_values(fvi_token_tile *tile, const float *e, size_t e_stride, uint32_t group,
                         const fvi_coded_scratch *s, float *acc, size_t acc_stride, float *base)
{
    if (tile->d == FVI_GROUP) {
        value_pairs(tile, FVI_GROUP, s->tile);
    } else {
        value_pairs(tile, tile->row_bytes, s->tile);
    }
    for (uint32_t g = 0; g < fvi_groups(tile->d); g++) {
        uint32_t first = g * FVI_GROUP, n = FVI_MIN(tile->d - first, FVI_GROUP);
        fvi_weights weights = fvi_weights_of(tile, g, e, e_stride, group, base);
        weigh(&weights, s);
        add_channels(tile, first, n, group, s, acc + first, acc_stride);
    }
}

void fvi_coded_values_avx2(fvi_token_tile *tile, const float *e, size_t e_stride, uint32_t group,
                           const fvi_coded_scratch *scratch, float *acc, size_t acc_stride,
                           float *base)
{
    if (tile->bits < 8) {
        fvi_byte_values_avx2(tile, e, e_stride, group, scratch, acc, acc_stride, base);
    } else {
        coded_values(tile, e, e_stride, group, scratch, acc, acc_stride, base);
    }
}
