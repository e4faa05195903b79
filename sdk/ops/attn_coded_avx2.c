/* attn_coded_avx2.c - the kernels of attn_coded_avx2.h.
 *
 * Keys are laid out as [pair of channels][token], values as [pair of tokens][channel], both in pairs of int16.
 * A byte of a row holds channels that are a share of the row apart: first come all low bits' channels, then
 * those of the next bits. */
#include "sdk/ops/attn_coded_avx2.h"
#include "sdk/ops/attn_panel_avx2.h"

#include <math.h>

#define LARGEST 32766.0f /* a weight may take half a unit from the one before it */

/* 1 / unit; 0 when there is nothing to scale. */
static inline float inverse_of(float unit)
{
    return unit > 1e-37f ? 1.0f / unit : 0.0f;
}

/* Where the pair of a channel lies. */
static inline uint32_t pair_of(uint32_t c, uint32_t share)
{
    return c / share * ((share + 1) / 2) + c % share / 2;
}

void fvi_coded_query_avx2(const float *q, uint32_t dk, uint32_t bits, int32_t *pairs, float *unit,
                          float *sum)
{
    uint32_t share = (uint32_t)fvi_code_row(bits, dk);
    float largest = 0;
    for (uint32_t c = 0; c < dk; c++) {
        largest = FVI_MAX(largest, fabsf(q[c]));
    }
    *unit = largest / LARGEST;
    float inverse = inverse_of(*unit);
    memset(pairs, 0, fvi_groups(dk) * FVI_CODED_PAIRS * sizeof *pairs);
    for (uint32_t g = 0; g < fvi_groups(dk); g++, pairs += FVI_CODED_PAIRS) {
        uint32_t first = g * FVI_GROUP, end = FVI_MIN(dk, first + FVI_GROUP);
        int32_t total = 0;
        for (uint32_t c = first; c < end; c++) {
            int32_t fixed = (int32_t)lrintf(q[c] * inverse);
            uint32_t half = c % share % 2 != 0 ? (uint32_t)fixed << 16 : (uint32_t)fixed & 0xffff;
            int32_t *pair = pairs + (pair_of(c, share) - pair_of(first, share));
            *pair = (int32_t)((uint32_t)*pair | half);
            total += fixed;
        }
        /* of the rounded numbers: then the rounding errors meet keys, not keys less their minimum */
        sum[g] = (float)total * *unit;
    }
}

/* The next 16 bytes of a row; zeros behind its end. */
FVI_INLINE __m128i load16(const uint8_t *at, size_t left)
{
    if (left >= 16) {
        return _mm_loadu_si128((const void *)at);
    }
    uint8_t part[16] = {0};
    memcpy(part, at, left);
    return _mm_loadu_si128((const void *)part);
}

/* 16 tokens' 16 bytes from `at` on become pairs of bytes [8], tokens 0-3 and 8-11 in the low half, 4-7 and
 * 12-15 in the high one: unpacked they are in order. */
FVI_INLINE void byte_pairs(const uint8_t *const *row, size_t at, size_t left, __m256i t[8])
{
    static const uint8_t low[8] = {0, 1, 2, 3, 8, 9, 10, 11};
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; i++) {
        t[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(row[low[i]] + at, left)),
                                       load16(row[low[i] + 4] + at, left), 1);
    }
    fvi_transpose8_u16(t);
}

/* Asks for what the next tile has in the place of n tokens, if their rows go on there. */
FVI_INLINE void ask_ahead(const fvi_token_tile *tile, uint32_t t, const uint32_t n,
                          size_t row_bytes)
{
    for (size_t at = 0; at < n * row_bytes; at += 64) {
        uintptr_t row = (uintptr_t)tile->row[t] + FVI_TILE * row_bytes + at;
        _mm_prefetch((const char *)row, _MM_HINT_T0);
    }
}

/* The tile's keys: out [pairs of channels, FVI_TILE]. */
FVI_INLINE void key_pairs(const fvi_token_tile *tile, const uint32_t bits, size_t row_bytes,
                          int32_t *out)
{
    const __m256i mask = _mm256_set1_epi16((short)((1 << bits) - 1));
    size_t n_pair = (row_bytes + 1) / 2;
    for (uint32_t t = 0; t < tile->n; t += 16) {
        ask_ahead(tile, t, 16, row_bytes);
        for (size_t at = 0; at < row_bytes; at += 16) {
            __m256i pairs[8];
            byte_pairs(tile->row + t, at, row_bytes - at, pairs);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                if (at / 2 + i >= n_pair) {
                    break;
                }
                int32_t *to = out + (at / 2 + i) * FVI_TILE + t;
                __m256i low = _mm256_unpacklo_epi8(pairs[i], _mm256_setzero_si256());
                __m256i high = _mm256_unpackhi_epi8(pairs[i], _mm256_setzero_si256());
#pragma GCC unroll 4
                for (uint32_t nth = 0; nth < 8 / bits; nth++, to += n_pair * FVI_TILE) {
                    _mm256_storeu_si256(
                        (void *)to,
                        _mm256_and_si256(_mm256_srli_epi16(low, (int)(nth * bits)), mask));
                    _mm256_storeu_si256(
                        (void *)(to + 8),
                        _mm256_and_si256(_mm256_srli_epi16(high, (int)(nth * bits)), mask));
                }
            }
        }
    }
}

static void take_keys(const fvi_token_tile *tile, int32_t *out)
{
    bool usual = tile->d == FVI_GROUP; /* loops of known length */
    switch (tile->bits) {
    case 8: usual ? key_pairs(tile, 8, 64, out) : key_pairs(tile, 8, tile->row_bytes, out); break;
    case 4: usual ? key_pairs(tile, 4, 32, out) : key_pairs(tile, 4, tile->row_bytes, out); break;
    default: usual ? key_pairs(tile, 2, 16, out) : key_pairs(tile, 2, tile->row_bytes, out); break;
    }
}

void fvi_coded_scores_avx2(const fvi_coded_query *query, const fvi_token_tile *tile,
                           const fvi_coded_scratch *s, float *score, size_t stride)
{
    uint32_t groups = fvi_groups(tile->d), share = (uint32_t)tile->row_bytes;
    take_keys(tile, s->tile);
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t first = pair_of(g * FVI_GROUP, share);
        uint32_t last = pair_of(FVI_MIN(tile->d, (g + 1) * FVI_GROUP) - 1, share);
        fvi_panel_pairs(&(fvi_code_panel){.a = query->pairs + g * FVI_CODED_PAIRS,
                                          .a_stride = groups * FVI_CODED_PAIRS,
                                          .b = s->tile + (size_t)first * FVI_TILE,
                                          .b_stride = FVI_TILE,
                                          .c = s->product,
                                          .c_stride = s->product_stride,
                                          .m = query->group,
                                          .n = (uint32_t)fvi_round_up(tile->n, 8),
                                          .k = last + 1 - first});
        for (uint32_t h = 0; h < query->group; h++) {
            const int32_t *product = s->product + h * s->product_stride;
            __m256 unit = _mm256_set1_ps(query->unit[h]);
            __m256 sum = _mm256_set1_ps(query->sum[h * groups + g]);
            float *to = score + h * stride;
            for (uint32_t t = 0; t < tile->n; t += 8) {
                __m256 x = _mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)(product + t)));
                __m256 scale = _mm256_loadu_ps(tile->scale + g * FVI_AFFINE_ROW + t);
                __m256 min = _mm256_loadu_ps(tile->min + g * FVI_AFFINE_ROW + t);
                x = _mm256_mul_ps(x, _mm256_mul_ps(scale, unit));
                x = _mm256_fmadd_ps(min, sum, x);
                x = g != 0 ? _mm256_add_ps(x, _mm256_loadu_ps(to + t)) : x;
                _mm256_storeu_ps(to + t, x);
            }
        }
    }
}

/* Where the columns of a width of codes begin: at whole vectors of 16. */
static inline size_t columns_of(size_t row_bytes)
{
    return fvi_round_up(row_bytes, 16);
}

/* The tile's values less their middle: out [pairs of tokens, width]. */
FVI_INLINE void value_pairs(const fvi_token_tile *tile, const uint32_t bits, size_t row_bytes,
                            int32_t *out)
{
    const __m256i mask = _mm256_set1_epi16((short)((1 << bits) - 1));
    const __m256i middle = _mm256_set1_epi16((short)(1 << (bits - 1)));
    size_t columns = columns_of(row_bytes);
    for (uint32_t t = 0; t < tile->n; t += 2, out += 8 / bits * columns) {
        ask_ahead(tile, t, 2, row_bytes);
        for (size_t at = 0; at < row_bytes; at += 16) {
            __m128i a = load16(tile->row[t] + at, row_bytes - at);
            __m128i b = load16(tile->row[t + 1] + at, row_bytes - at);
            __m256i low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            __m256i high = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            int32_t *to = out + at;
#pragma GCC unroll 4
            for (uint32_t nth = 0; nth < 8 / bits; nth++, to += columns) {
                __m256i left = _mm256_and_si256(_mm256_srli_epi16(low, (int)(nth * bits)), mask);
                __m256i right = _mm256_and_si256(_mm256_srli_epi16(high, (int)(nth * bits)), mask);
                _mm256_storeu_si256((void *)to, _mm256_sub_epi16(left, middle));
                _mm256_storeu_si256((void *)(to + 8), _mm256_sub_epi16(right, middle));
            }
        }
    }
}

static void take_values(const fvi_token_tile *tile, int32_t *out)
{
    bool usual = tile->d == FVI_GROUP;
    switch (tile->bits) {
    case 8:
        usual ? value_pairs(tile, 8, 64, out) : value_pairs(tile, 8, tile->row_bytes, out);
        break;
    case 4:
        usual ? value_pairs(tile, 4, 32, out) : value_pairs(tile, 4, tile->row_bytes, out);
        break;
    default:
        usual ? value_pairs(tile, 2, 16, out) : value_pairs(tile, 2, tile->row_bytes, out);
        break;
    }
}

/* One head's weights of a tile and group of channels in fixed point; *base takes what the
 * codes' middles stand for, by lane. What rounding leaves goes to the lane's next token: small weights would
 * all be lost, and values that are much alike would show it. Returns the unit. */
static float weigh_head(const float *e, uint32_t n, const float *scale, const float *middle,
                        int32_t *weight, float *base)
{
    __m256 largest = _mm256_setzero_ps(), sum = _mm256_loadu_ps(base), rest = largest;
    for (uint32_t t = 0; t < n; t += 8) {
        __m256 x = _mm256_loadu_ps(e + t);
        sum = _mm256_fmadd_ps(x, _mm256_loadu_ps(middle + t), sum);
        largest = _mm256_max_ps(largest, _mm256_mul_ps(x, _mm256_loadu_ps(scale + t)));
    }
    _mm256_storeu_ps(base, sum);
    float unit = fvi_max1(largest) / LARGEST;
    __m256 inverse = _mm256_set1_ps(inverse_of(unit));
    for (uint32_t t = 0; t < n; t += 8) {
        __m256 x = _mm256_mul_ps(_mm256_loadu_ps(e + t), _mm256_loadu_ps(scale + t));
        x = _mm256_fmadd_ps(x, inverse, rest);
        __m256i fixed = _mm256_cvtps_epi32(x);
        rest = _mm256_sub_ps(x, _mm256_cvtepi32_ps(fixed));
        _mm_storeu_si128(
            (void *)(weight + t / 2),
            _mm_packs_epi32(_mm256_castsi256_si128(fixed), _mm256_extracti128_si256(fixed, 1)));
    }
    return unit;
}

static void weigh(const fvi_token_tile *tile, uint32_t g, const float *e, size_t e_stride,
                  uint32_t group, const fvi_coded_scratch *s, float *base)
{
    uint32_t n = (uint32_t)fvi_round_up(tile->n, 8), groups = fvi_groups(tile->d);
    const float *scale = tile->scale + (size_t)g * FVI_AFFINE_ROW;
    float *middle = tile->min + (size_t)g * FVI_AFFINE_ROW;
    __m256 half = _mm256_set1_ps((float)(1u << (tile->bits - 1)));
    for (uint32_t t = 0; t < n; t += 8) {
        __m256 min = _mm256_loadu_ps(middle + t);
        _mm256_storeu_ps(middle + t, _mm256_fmadd_ps(_mm256_loadu_ps(scale + t), half, min));
    }
    for (uint32_t h = 0; h < group; h++, e += e_stride) {
        int32_t *weight = s->weight + (size_t)h * FVI_TILE / 2;
        float *at = base + ((size_t)h * groups + g) * 8;
        s->unit[h] = weigh_head(e, n, scale, middle, weight, at);
    }
}

/* Adds n channels, whose products begin in column `column`. */
static void add_channels(const fvi_token_tile *tile, size_t column, uint32_t n, size_t width,
                         uint32_t group, const fvi_coded_scratch *s, float *acc, size_t acc_stride)
{
    size_t from = column / 8 * 8;
    fvi_panel_pairs(&(fvi_code_panel){.a = s->weight,
                                      .a_stride = FVI_TILE / 2,
                                      .b = s->tile + from,
                                      .b_stride = width,
                                      .c = s->product + from,
                                      .c_stride = s->product_stride,
                                      .m = group,
                                      .n = (uint32_t)(fvi_round_up(column + n, 8) - from),
                                      .k = (tile->n + 1) / 2});
    for (uint32_t h = 0; h < group; h++, acc += acc_stride) {
        const int32_t *product = s->product + h * s->product_stride + column;
        __m256 unit = _mm256_set1_ps(s->unit[h]);
        for (uint32_t c = 0; c < n; c += 8) {
            __m256 x = _mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)(product + c)));
            fvi_store8(acc + c, n - c, _mm256_fmadd_ps(x, unit, fvi_load8(acc + c, n - c)));
        }
    }
}

void fvi_coded_values_avx2(fvi_token_tile *tile, const float *e, size_t e_stride, uint32_t group,
                           const fvi_coded_scratch *s, float *acc, size_t acc_stride, float *base)
{
    uint32_t share = (uint32_t)tile->row_bytes;
    size_t columns = columns_of(share), width = 8 / tile->bits * columns;
    take_values(tile, s->tile);
    for (uint32_t g = 0; g < fvi_groups(tile->d); g++) {
        uint32_t end = FVI_MIN(tile->d, (g + 1) * FVI_GROUP);
        weigh(tile, g, e, e_stride, group, s, base);
        for (uint32_t c = g * FVI_GROUP, next; c < end; c = next) {
            next = share == columns ? end : FVI_MIN(end, (c / share + 1) * share);
            add_channels(tile, c / share * columns + c % share, next - c, width, group, s, acc + c,
                         acc_stride);
        }
    }
}
