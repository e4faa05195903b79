/* attn_byte_avx2.c - tokens of 4- and 2-bit codes per token, in products of bytes (attn_byte_avx2.h).
 *
 * Keys are laid out as [four channels][token], values less their middle as [channel][pair of tokens], so that a
 * sum belongs to one token or one channel. A byte of a row holds channels that are a share of the row apart:
 * first come all low bits' channels, then those of the next bits. */
#include "sdk/ops/attn_byte_avx2.h"
#include "sdk/ops/attn_panel_avx2.h"

#include <math.h>

/* The queries of one group of channels where their bytes go: out [n rounded up to 16], zeros between them. Returns n. */
static uint32_t lay_out(const float *q, uint32_t dk, uint32_t share, uint32_t g,
                        float out[4 * FVI_CODED_PAIRS])
{
    uint32_t first = g * FVI_GROUP, end = FVI_MIN(dk, first + FVI_GROUP), n = 0;
    uint32_t begin = 4 * fvi_quad_of(first, share);
    memset(out, 0, 4 * FVI_CODED_PAIRS * sizeof *out);
    for (uint32_t c = first, next; c < end; c = next) {
        next = FVI_MIN(end, (c / share + 1) * share);
        uint32_t at = 4 * fvi_quad_of(c, share) + c % share % 4 - begin;
        memcpy(out + at, q + c, (next - c) * sizeof *q);
        n = at + next - c;
    }
    return n;
}

/* The unit of one group's queries; a sum of products takes two bytes of each four. */
static float query_unit(const float *laid, uint32_t n, uint32_t bits)
{
    __m256 largest = _mm256_setzero_ps(), all = largest;
    for (uint32_t i = 0; i < n; i += 8) {
        __m256 x = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(laid + i));
        largest = _mm256_max_ps(largest, x);
        all = _mm256_add_ps(all, x);
    }
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    four = _mm_add_ps(four, _mm_movehdup_ps(four));
    float most = FVI_MAX(_mm_cvtss_f32(four), _mm_cvtss_f32(_mm_movehl_ps(four, four)));
    return fvi_signed_unit(fvi_max1(largest), most, FVI_GROUP, bits);
}

/* Rounds one group's queries to bytes; returns the sum of the rounded ones, in units. */
static float round_queries(const float *laid, uint32_t n, float inverse, int32_t *quads)
{
    const __m256 scale = _mm256_set1_ps(inverse);
    __m256i total = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n; i += 16) {
        __m256 x = _mm256_mul_ps(_mm256_loadu_ps(laid + i), scale);
        __m256 y = _mm256_mul_ps(_mm256_loadu_ps(laid + i + 8), scale);
        __m256i words = fvi_words16(_mm256_cvtps_epi32(x), _mm256_cvtps_epi32(y));
        total = _mm256_add_epi32(total, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
        __m128i bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((void *)(quads + i / 4), bytes);
    }
    return fvi_sum1(_mm256_cvtepi32_ps(total));
}

void fvi_byte_query_avx2(const float *q, uint32_t dk, uint32_t bits, int32_t *quads, float *unit,
                         float *sum)
{
    uint32_t share = (uint32_t)fvi_code_row(bits, dk), groups = fvi_groups(dk);
    float laid[4 * FVI_CODED_PAIRS];
    *unit = 0;
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t n = lay_out(q, dk, share, g, laid);
        *unit = FVI_MAX(*unit, query_unit(laid, n, bits));
    }
    float inverse = fvi_inverse(*unit);
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t n = lay_out(q, dk, share, g, laid);
        /* of the rounded numbers: then the rounding errors meet keys, not keys less their minimum */
        sum[g] = round_queries(laid, n, inverse, quads + g * FVI_CODED_PAIRS) * *unit;
    }
}

/* 16 bytes each of 8 tokens, `row_bytes` apart, become four vectors of four bytes of each token. */
FVI_INLINE void byte_quads(const uint8_t *rows, size_t row_bytes, size_t left, __m256i x[4])
{
    __m256 r[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        const uint8_t *row = rows + i * row_bytes;
        __m256i low = _mm256_castsi128_si256(fvi_load16(row, left));
        r[i] = _mm256_castsi256_ps(
            _mm256_inserti128_si256(low, fvi_load16(row + 4 * row_bytes, left), 1));
    }
    __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[0], r[1]));
    __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(r[0], r[1]));
    __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r[2], r[3]));
    __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r[2], r[3]));
    x[0] = _mm256_castpd_si256(_mm256_unpacklo_pd(a, c));
    x[1] = _mm256_castpd_si256(_mm256_unpackhi_pd(a, c));
    x[2] = _mm256_castpd_si256(_mm256_unpacklo_pd(b, d));
    x[3] = _mm256_castpd_si256(_mm256_unpackhi_pd(b, d));
}

/* The tile's keys: out [fours of channels, FVI_TILE]. */
FVI_INLINE void key_quads(const fvi_token_tile *tile, const uint32_t bits, size_t row_bytes,
                          int32_t *out)
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    size_t n_quad = (row_bytes + 3) / 4;
    for (size_t t = 0, n = tile->n; t < n; t += 8) {
        fvi_ask_ahead(tile, t, 8, row_bytes);
        for (size_t at = 0; at < row_bytes; at += 16) {
            __m256i x[4];
            byte_quads(tile->rows + t * row_bytes + at, row_bytes, row_bytes - at, x);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                if (at / 4 + i >= n_quad) {
                    break;
                }
                int32_t *to = out + (at / 4 + i) * FVI_TILE + t;
#pragma GCC unroll 4
                for (uint32_t nth = 0; nth < 8 / bits; nth++, to += n_quad * FVI_TILE) {
                    __m256i low = _mm256_srli_epi16(x[i], (int)(nth * bits));
                    _mm256_storeu_si256((void *)to, _mm256_and_si256(low, mask));
                }
            }
        }
    }
}

static void take_keys(const fvi_token_tile *tile, int32_t *out)
{
    bool usual = tile->d == FVI_GROUP; /* loops of known length */
    if (tile->bits == 4) {
        usual ? key_quads(tile, 4, 32, out) : key_quads(tile, 4, tile->row_bytes, out);
    } else {
        usual ? key_quads(tile, 2, 16, out) : key_quads(tile, 2, tile->row_bytes, out);
    }
}

void fvi_byte_scores_avx2(const fvi_coded_query *query, const fvi_token_tile *tile,
                          const fvi_coded_scratch *s, float *score, size_t stride)
{
    uint32_t groups = fvi_groups(tile->d);
    take_keys(tile, s->tile);
    for (uint32_t g = 0; g < groups; g++) {
        fvi_quads quads = fvi_quads_of(tile->d, tile->bits, g);
        fvi_panel_signed(&(fvi_code_panel){.a = query->pairs + g * FVI_CODED_PAIRS,
                                           .a_stride = groups * FVI_CODED_PAIRS,
                                           .b = s->tile + (size_t)quads.first * FVI_TILE,
                                           .b_stride = FVI_TILE,
                                           .c = s->product,
                                           .c_stride = s->product_stride,
                                           .m = query->group,
                                           .n = (uint32_t)fvi_round_up(tile->n, 8),
                                           .k = quads.n});
        fvi_coded_finish(query, tile, s, g, true, score, stride);
    }
}

/* Where the columns of a width of codes begin: at whole vectors of 16. */
static inline size_t columns_of(size_t row_bytes)
{
    return fvi_round_up(row_bytes, 16);
}

/* The tile's values less their middle: out [pairs of tokens, width] pairs of bytes. */
FVI_INLINE void value_pairs(const fvi_token_tile *tile, const uint32_t bits, size_t row_bytes,
                            int16_t *out)
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    const __m256i middle = _mm256_set1_epi8((char)(1 << (bits - 1)));
    const size_t columns = columns_of(row_bytes), n = tile->n;
    const uint8_t *row = tile->rows;
    for (size_t t = 0; t < n; t += 2, out += 8 / bits * columns, row += 2 * row_bytes) {
        fvi_ask_ahead(tile, t, 2, row_bytes);
        for (size_t at = 0; at < row_bytes; at += 16) {
            __m128i a = fvi_load16(row + at, row_bytes - at);
            __m128i b = fvi_load16(row + row_bytes + at, row_bytes - at);
            __m256i x = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(a, b)),
                                                _mm_unpackhi_epi8(a, b), 1);
            int16_t *to = out + at;
#pragma GCC unroll 4
            for (uint32_t nth = 0; nth < 8 / bits; nth++, to += columns) {
                __m256i code = _mm256_and_si256(_mm256_srli_epi16(x, (int)(nth * bits)), mask);
                _mm256_storeu_si256((void *)to, _mm256_sub_epi8(code, middle));
            }
        }
    }
}

static void take_values(const fvi_token_tile *tile, int16_t *out)
{
    bool usual = tile->d == FVI_GROUP;
    if (tile->bits == 4) {
        usual ? value_pairs(tile, 4, 32, out) : value_pairs(tile, 4, tile->row_bytes, out);
    } else {
        usual ? value_pairs(tile, 2, 16, out) : value_pairs(tile, 2, tile->row_bytes, out);
    }
}

/* Each pair of weights twice: for two channels. */
static void weigh(const fvi_weights *w, uint32_t bits, const fvi_coded_scratch *s)
{
    for (uint32_t h = 0; h < w->group; h += 4) {
        fvi_weight_extent x = fvi_weight_extent_of(w, h);
        __m128 sums = fvi_sum4(x.sum[0], x.sum[1], x.sum[2], x.sum[3]);
        fvi_store_some(fvi_weight_units(x.largest, sums, bits), w->group - h, s->unit + h);
    }
    const float *scale = w->scale;
    for (uint32_t h = 0; h < w->group; h++) {
        const float *e = w->e + h * w->e_stride;
        fvi_rounding rounding = fvi_rounding_in(s->unit[h]);
        int32_t *weight = s->weight + (size_t)h * FVI_TILE / 2;
        for (size_t t = 0, n = w->n; t < n; t += 16) {
            __m256i words =
                fvi_round16(&rounding, fvi_weighted8(e, scale, t), fvi_weighted8(e, scale, t + 8));
            __m256i bytes = _mm256_packus_epi16(words, words);
            _mm256_storeu_si256((void *)weight, _mm256_unpacklo_epi16(bytes, bytes));
            weight += 8;
        }
    }
}

/* Adds the products of n channels, a head's first `skip` bytes into its row. */
FVI_INLINE void add_products(const fvi_coded_scratch *s, uint32_t group, size_t skip,
                             const uint32_t n, float *acc, size_t acc_stride)
{
    const uint8_t *product = (const uint8_t *)s->product + skip;
    const float *units = s->unit;
    const size_t stride = s->product_stride * sizeof *s->product;
    for (uint32_t h = 0; h < group; h++, acc += acc_stride, product += stride) {
        __m256 unit = _mm256_set1_ps(units[h]);
#pragma GCC unroll 8
        for (uint32_t c = 0; c < n; c += 8) {
            __m128i words = _mm_loadu_si128((const void *)(product + 2 * (size_t)c));
            __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(words));
            fvi_store8(acc + c, n - c, _mm256_fmadd_ps(x, unit, fvi_load8(acc + c, n - c)));
        }
    }
}

/* Adds n channels, whose products begin in column `column` of `width`. */
static void add_channels(const fvi_token_tile *tile, size_t column, uint32_t n, size_t width,
                         uint32_t group, const fvi_coded_scratch *s, float *acc, size_t acc_stride)
{
    size_t from = column / 16 * 16;
    fvi_panel_unsigned(&(fvi_code_panel){.a = s->weight,
                                         .a_stride = FVI_TILE / 2,
                                         .b = s->tile + from / 2,
                                         .b_stride = width / 2,
                                         .c = s->product,
                                         .c_stride = s->product_stride,
                                         .m = group,
                                         .n = (uint32_t)(fvi_round_up(column + n, 16) - from) / 2,
                                         .k = (tile->n + 1) / 2});
    size_t skip = 2 * (column - from);
    if (n == FVI_GROUP) {
        add_products(s, group, skip, FVI_GROUP, acc, acc_stride);
    } else {
        add_products(s, group, skip, n, acc, acc_stride);
    }
}

void fvi_byte_values_avx2(fvi_token_tile *tile, const float *e, size_t e_stride, uint32_t group,
                          const fvi_coded_scratch *s, float *acc, size_t acc_stride, float *base)
{
    uint32_t share = (uint32_t)tile->row_bytes;
    size_t columns = columns_of(share), width = 8 / tile->bits * columns;
    take_values(tile, (int16_t *)s->tile);
    for (uint32_t g = 0; g < fvi_groups(tile->d); g++) {
        uint32_t end = FVI_MIN(tile->d, (g + 1) * FVI_GROUP);
        fvi_weights weights = fvi_weights_of(tile, g, e, e_stride, group, base);
        weigh(&weights, tile->bits, s);
        for (uint32_t c = g * FVI_GROUP, next; c < end; c = next) {
            next = share == columns ? end : FVI_MIN(end, (c / share + 1) * share);
            add_channels(tile, c / share * columns + c % share, next - c, width, group, s, acc + c,
                         acc_stride);
        }
    }
}
