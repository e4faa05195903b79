/* attn_channel_avx512vnni.c - the kernels of attn_channel_avx512.h.
 *
 * A word of codes (sdk/ops/codec.h) shifted and masked is a pair of 16-bit numbers, so one product with a pair
 * of factors adds two codes into each 32-bit lane. Keys have a token a lane and pairs of channels, values a
 * channel a lane and pairs of tokens: the same panel serves both. */
#include "sdk/ops/attn_channel_avx512.h"
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

#define LARGEST     32767.0f
#define WEIGHT_UNIT (1 / LARGEST) /* weights are exponentials, 1 at most (FVI_CHUNK) */
#define WORD_TOKENS 16            /* most tokens of a word of values */

/* C [m, n] int32 = A [m, pairs] int16 B [k words, n]; columns behind n get anything. */
FVI_INLINE void block_words(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                            size_t step, const uint32_t rows, const uint32_t vectors,
                            const uint32_t bits)
{
    const uint32_t n_pair = 16 / bits;
    const int32_t *a = (const int32_t *)p->a + row * p->a_stride;
    const int32_t *b = (const int32_t *)p->b + column;
    int32_t *c = (int32_t *)p->c + row * p->c_stride + column;
    const __m512i ones = _mm512_set1_epi16((short)((1 << bits) - 1));
    __m512i acc[8][4];
    __mmask16 mask[4];
#pragma GCC unroll 4
    for (uint32_t v = 0; v < vectors; v++) {
        mask[v] = fvi_mask16(p->n - column - 16 * v);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            acc[r][v] = _mm512_setzero_si512();
        }
    }
    for (uint32_t k = 0; k < p->k; k++, b += p->b_stride, ahead += step) {
        _mm_prefetch((const char *)ahead, _MM_HINT_T0);
        __m512i words[4];
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            words[v] = _mm512_maskz_loadu_epi32(mask[v], b + 16 * v);
        }
#pragma GCC unroll 8
        for (uint32_t i = 0; i < n_pair; i++, a++) {
            __m512i pairs[4];
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) {
                pairs[v] = _mm512_and_si512(_mm512_srli_epi16(words[v], i * bits), ones);
            }
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                __m512i x = _mm512_set1_epi32(a[r * p->a_stride]);
#pragma GCC unroll 4
                for (uint32_t v = 0; v < vectors; v++) {
                    acc[r][v] = _mm512_dpwssd_epi32(acc[r][v], pairs[v], x);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            _mm512_storeu_si512(c + r * p->c_stride + 16 * v, acc[r][v]);
        }
    }
}

FVI_INLINE void block_words4(const fvi_panel *p, uint32_t row, uint32_t column,
                             const uint8_t *ahead, size_t step, const uint32_t rows,
                             const uint32_t vectors)
{
    block_words(p, row, column, ahead, step, rows, vectors, 4);
}

FVI_INLINE void block_words2(const fvi_panel *p, uint32_t row, uint32_t column,
                             const uint8_t *ahead, size_t step, const uint32_t rows,
                             const uint32_t vectors)
{
    block_words(p, row, column, ahead, step, rows, vectors, 2);
}

FVI_PANEL_FUNCTION(fvi_panel_words4, block_words4)
FVI_PANEL_FUNCTION(fvi_panel_words2, block_words2)

size_t fvi_channel_scratch_at(fvi_channel_scratch *s, float *at, uint32_t group, uint32_t dk,
                              uint32_t dv)
{
    size_t n = 0, d = fvi_round_up(FVI_MAX(dk, dv), 16);
    s->factor_stride = fvi_round_up(FVI_MAX(dk, FVI_CODEC_ROWS + WORD_TOKENS), 32) + 32;
    s->product_stride = FVI_MAX(d, FVI_CODEC_ROWS);
#define FVI_PLACE(field, type, size)                                                               \
    (s->field = at != NULL ? (type *)(void *)(at + n) : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(scale, float, d);
    FVI_PLACE(min, float, d);
    FVI_PLACE(factor, int16_t, group * s->factor_stride / 2);
    FVI_PLACE(product, int32_t, group * s->product_stride);
    FVI_PLACE(unit, float, group + 3);
    FVI_PLACE(base, float, group + 3);
#undef FVI_PLACE
    return n;
}

static void take_scales(const fvi_section *s, uint32_t nth, const fvi_channel_scratch *scratch)
{
    const fvi_section one = {.affine = s->affine, .groups = 1};
    fvi_tile_affine(&one, nth * s->d, s->d, 0, scratch->scale, scratch->min);
}

/* Multiplies with n_word rows of words; what follows them, or `ahead` after a part that ends the stretch, is
 * asked for meanwhile. */
static void multiply(const fvi_section *s, uint32_t group, const uint8_t *words, size_t stride,
                     uint32_t n, uint32_t n_word, fvi_ahead ahead,
                     const fvi_channel_scratch *scratch)
{
    size_t n_bytes = n_word * stride * 4;
    fvi_panel panel = {.a = scratch->factor,
                       .a_stride = scratch->factor_stride / 2,
                       .b = words,
                       .b_stride = stride,
                       .c = scratch->product,
                       .c_stride = scratch->product_stride,
                       .m = group,
                       .n = n,
                       .k = n_word,
                       .ahead = ahead.at != NULL ? ahead.at : words + n_bytes,
                       .ahead_bytes = ahead.at != NULL ? ahead.n_bytes : n_bytes};
    (s->run->codec->codes.bits == 4 ? fvi_panel_words4 : fvi_panel_words2)(&panel);
}

FVI_INLINE __m256i fixed16(__m512 x, __m512 inverse)
{
    return _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)));
}

/* unit, base and 1 / unit of four heads from h on: queries times scales are to fill 16 bits. */
static void measure_queries(const float *q, uint32_t group, uint32_t d, uint32_t h,
                            const fvi_channel_scratch *s, float inverse[4])
{
    __m512 largest[4], sum[4];
#pragma GCC unroll 4
    for (uint32_t j = 0; j < 4; j++) {
        largest[j] = sum[j] = _mm512_setzero_ps();
    }
    for (uint32_t c = 0; c < d; c += 16) {
        __mmask16 mask = fvi_mask16(d - c);
        __m512 scale = _mm512_maskz_loadu_ps(mask, s->scale + c);
        __m512 min = _mm512_maskz_loadu_ps(mask, s->min + c);
#pragma GCC unroll 4
        for (uint32_t j = 0; j < 4; j++) {
            const float *row = q + FVI_MIN(h + j, group - 1) * d;
            __m512 x = _mm512_maskz_loadu_ps(mask, row + c);
            sum[j] = _mm512_fmadd_ps(x, min, sum[j]);
            largest[j] = _mm512_max_ps(largest[j], _mm512_abs_ps(_mm512_mul_ps(x, scale)));
        }
    }
    __m128 top = fvi_max4(largest[0], largest[1], largest[2], largest[3]);
    __m128 unit = _mm_mul_ps(top, _mm_set1_ps(1 / LARGEST));
    __mmask8 any = _mm_cmp_ps_mask(unit, _mm_set1_ps(1e-37f), _CMP_GT_OQ);
    _mm_storeu_ps(inverse, _mm_maskz_div_ps(any, _mm_set1_ps(1), unit));
    _mm_storeu_ps(s->unit + h, unit);
    _mm_storeu_ps(s->base + h, fvi_sum4(sum[0], sum[1], sum[2], sum[3]));
}

/* Queries times scales in fixed point; base: queries times minima. */
static void take_queries(const float *q, uint32_t group, uint32_t d, const fvi_channel_scratch *s)
{
    float inverse[4] = {0};
    for (uint32_t h = 0; h < group; h++) {
        if (h % 4 == 0) {
            measure_queries(q, group, d, h, s, inverse);
        }
        __m512 factor = _mm512_set1_ps(inverse[h % 4]);
        int16_t *to = s->factor + h * s->factor_stride;
        for (uint32_t c = 0; c < d; c += 16) {
            __mmask16 mask = fvi_mask16(d - c);
            __m512 x = _mm512_maskz_loadu_ps(mask, q + h * d + c);
            x = _mm512_mul_ps(x, _mm512_maskz_loadu_ps(mask, s->scale + c));
            _mm256_storeu_si256((void *)(to + c), fixed16(x, factor));
        }
    }
}

void fvi_channel_scores(const float *q, uint32_t group, const fvi_section *keys, uint32_t first,
                        uint32_t n, fvi_ahead ahead, const fvi_channel_scratch *s, float *score,
                        size_t score_stride)
{
    uint32_t per = 32 / keys->run->codec->codes.bits, n_word = (keys->d + per - 1) / per;
    uint32_t nth = fvi_channel_group_of(keys->run->capacity, first);
    for (uint32_t end = first + n; first < end; nth++) {
        fvi_channel_part p = fvi_channel_part_of(keys, nth, first, end);
        take_scales(keys, nth, s);
        take_queries(q, group, keys->d, s);
        const uint8_t *words = keys->codes + ((size_t)p.group_first * n_word + p.first) * 4;
        multiply(keys, group, words, p.group_n, p.n, n_word,
                 first + p.n < end ? (fvi_ahead){0} : ahead, s);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = s->product + h * s->product_stride;
            __m512 unit = _mm512_set1_ps(s->unit[h]), base = _mm512_set1_ps(s->base[h]);
            for (uint32_t t = 0; t < p.n; t += 16) {
                __m512 x = _mm512_cvtepi32_ps(_mm512_loadu_si512(product + t));
                _mm512_mask_storeu_ps(score + h * score_stride + t, fvi_mask16(p.n - t),
                                      _mm512_fmadd_ps(x, unit, base));
            }
        }
        score += p.n;
        first += p.n;
    }
}

/* Weights of n tokens in units of WEIGHT_UNIT, the first one at `lead`, zeros before and behind to the words'
 * ends; base: their sums. */
static void take_weights(const float *e, size_t e_stride, uint32_t group, uint32_t lead, uint32_t n,
                         const fvi_channel_scratch *s)
{
    const __m512 inverse = _mm512_set1_ps(1 / WEIGHT_UNIT);
    size_t behind = lead + fvi_round_up(n, 16);
    __m512 sum[4];
    for (uint32_t h = 0; h < group; h++, e += e_stride) {
        int16_t *factor = s->factor + h * s->factor_stride;
        __m512 total = _mm512_setzero_ps();
        _mm256_storeu_si256((void *)factor, _mm256_setzero_si256());
        for (uint32_t t = 0; t < n;
             t += 16) { /* whole vectors: masked stores of 16 bits are slow */
            __m512 x = _mm512_maskz_loadu_ps(fvi_mask16(n - t), e + t);
            total = _mm512_add_ps(total, x);
            _mm256_storeu_si256((void *)(factor + lead + t), fixed16(x, inverse));
        }
        _mm256_storeu_si256((void *)(factor + behind), _mm256_setzero_si256());
        sum[h % 4] = total;
        if (h % 4 == 3 || h + 1 == group) {
            for (uint32_t j = h % 4 + 1; j < 4; j++) {
                sum[j] = total;
            }
            _mm_storeu_ps(s->base + h / 4 * 4, fvi_sum4(sum[0], sum[1], sum[2], sum[3]));
        }
    }
}

void fvi_channel_values(const float *e, size_t e_stride, uint32_t group, const fvi_section *values,
                        uint32_t first, uint32_t n, fvi_ahead ahead, const fvi_channel_scratch *s,
                        float *acc, size_t acc_stride)
{
    uint32_t d = values->d, per = 32 / values->run->codec->codes.bits;
    uint32_t nth = fvi_channel_group_of(values->run->capacity, first);
    for (uint32_t end = first + n; first < end; nth++) {
        fvi_channel_part p = fvi_channel_part_of(values, nth, first, end);
        uint32_t lead = p.first % per, n_word = (lead + p.n + per - 1) / per;
        take_scales(values, nth, s);
        take_weights(e, e_stride, group, lead, p.n, s);
        size_t row = p.group_first / per + p.first / per;
        multiply(values, group, values->codes + row * d * 4, d, d, n_word,
                 first + p.n < end ? (fvi_ahead){0} : ahead, s);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = s->product + h * s->product_stride;
            __m512 unit = _mm512_set1_ps(WEIGHT_UNIT), sum = _mm512_set1_ps(s->base[h]);
            float *to = acc + h * acc_stride;
            for (uint32_t c = 0; c < d; c += 16) {
                __mmask16 mask = fvi_mask16(d - c);
                __m512 scale = _mm512_maskz_loadu_ps(mask, s->scale + c);
                __m512 x = _mm512_cvtepi32_ps(_mm512_loadu_si512(product + c));
                x = _mm512_mul_ps(_mm512_mul_ps(x, unit), scale);
                x = _mm512_fmadd_ps(sum, _mm512_maskz_loadu_ps(mask, s->min + c), x);
                _mm512_mask_storeu_ps(to + c, mask, _mm512_add_ps(_mm512_loadu_ps(to + c), x));
            }
        }
        e += p.n;
        first += p.n;
    }
}
