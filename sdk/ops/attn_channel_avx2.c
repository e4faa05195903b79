/* attn_channel_avx2.c - the kernels of attn_channel_avx2.h.
 *
 * A word of codes (sdk/ops/codec.h) shifted and masked is a pair of 16-bit numbers. Words are taken apart once
 * for all heads: keys become [pair of channels][token], values [pair of tokens][channel]. */
#include "sdk/ops/attn_channel_avx2.h"
#include "sdk/ops/attn_panel_avx2.h"

#define LARGEST     32767.0f
#define WEIGHT_UNIT (1 / LARGEST) /* weights are exponentials, 1 at most (FVI_CHUNK) */

static void take_scales(const fvi_section *s, uint32_t nth, const fvi_channel_scratch *scratch)
{
    const uint8_t *at = s->affine + (size_t)nth * s->d * 4;
    for (uint32_t c = 0; c < s->d; c += 8, at += 32) {
        __m256 scale, min;
        fvi_affine8(at, 4, s->d - c, &scale, &min);
        _mm256_storeu_ps(scratch->scale + c, scale);
        _mm256_storeu_ps(scratch->min + c, min);
    }
}

/* n_word rows of n words, `stride` apart, to rows of pairs: out [n_word * 16 / bits, out_stride]. */
FVI_INLINE void spread(const uint32_t *words, size_t stride, uint32_t n, uint32_t n_word,
                       const uint32_t bits, int32_t *out, size_t out_stride)
{
    const __m256i mask = _mm256_set1_epi16((short)((1 << bits) - 1));
    for (uint32_t w = 0; w < n_word; w++, words += stride, out += 16 / bits * out_stride) {
        const uint32_t *ahead = words + n_word * stride; /* what comes after these words */
        for (uint32_t t = 0; t < n; t += 8) {
            _mm_prefetch((const char *)(ahead + t), _MM_HINT_T0);
            __m256i x = n - t >= 8
                            ? _mm256_loadu_si256((const void *)(words + t))
                            : _mm256_maskload_epi32((const void *)(words + t), fvi_mask8(n - t));
#pragma GCC unroll 8
            for (uint32_t i = 0; i < 16 / bits; i++) {
                __m256i pair = _mm256_and_si256(_mm256_srli_epi16(x, (int)(i * bits)), mask);
                _mm256_storeu_si256((void *)(out + i * out_stride + t), pair);
            }
        }
    }
}

/* Products of the factors with n columns of n_word rows of words. */
static void multiply(const fvi_section *s, uint32_t group, const uint8_t *words, size_t stride,
                     uint32_t n, uint32_t n_word, const fvi_coded_scratch *coded,
                     const fvi_channel_scratch *scratch)
{
    uint32_t bits = s->run->codec->codes.bits;
    size_t rounded = fvi_round_up(n, 8);
    const uint32_t *from = (const uint32_t *)(const void *)words;
    if (bits == 4) {
        spread(from, stride, n, n_word, 4, coded->tile, rounded);
    } else {
        spread(from, stride, n, n_word, 2, coded->tile, rounded);
    }
    fvi_panel_pairs(&(fvi_code_panel){.a = scratch->factor,
                                      .a_stride = scratch->factor_stride,
                                      .b = coded->tile,
                                      .b_stride = rounded,
                                      .c = coded->product,
                                      .c_stride = coded->product_stride,
                                      .m = group,
                                      .n = (uint32_t)rounded,
                                      .k = n_word * 16 / bits});
}

/* 8 numbers in units of 1 / inverse. */
FVI_INLINE __m128i fixed16(__m256 x, __m256 inverse)
{
    __m256i fixed = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
    return _mm_packs_epi32(_mm256_castsi256_si128(fixed), _mm256_extracti128_si256(fixed, 1));
}

/* Queries times scales in fixed point, zeros behind them; units, and base: queries times minima. */
static void take_queries(const float *q, uint32_t group, uint32_t d, const fvi_channel_scratch *s,
                         float *units)
{
    for (uint32_t h = 0; h < group; h++, q += d) {
        uint8_t *factor = (uint8_t *)(s->factor + h * s->factor_stride);
        __m256 largest = _mm256_setzero_ps(), sum = _mm256_setzero_ps();
        for (uint32_t c = 0; c < d; c += 8) {
            __m256 x = fvi_load8(q + c, d - c), y = _mm256_mul_ps(x, _mm256_loadu_ps(s->scale + c));
            sum = _mm256_fmadd_ps(x, _mm256_loadu_ps(s->min + c), sum);
            largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), y));
        }
        s->base[h] = fvi_sum1(sum);
        units[h] = fvi_max1(largest) / LARGEST;
        __m256 inverse = _mm256_set1_ps(units[h] > 1e-37f ? 1.0f / units[h] : 0.0f);
        for (uint32_t c = 0; c < d; c += 8) {
            __m256 x = _mm256_mul_ps(fvi_load8(q + c, d - c), _mm256_loadu_ps(s->scale + c));
            _mm_storeu_si128((void *)(factor + 2 * (size_t)c), fixed16(x, inverse));
        }
        memset(factor + 2 * fvi_round_up(d, 8), 0, 32);
    }
}

void fvi_channel_scores_avx2(const float *q, uint32_t group, const fvi_section *keys,
                             uint32_t first, uint32_t n, const fvi_coded_scratch *coded,
                             const fvi_channel_scratch *s, float *score, size_t stride)
{
    uint32_t per = 32 / keys->run->codec->codes.bits, n_word = (keys->d + per - 1) / per;
    uint32_t nth = fvi_channel_group_of(keys->run->capacity, first);
    for (uint32_t end = first + n; first < end; nth++) {
        fvi_channel_part p = fvi_channel_part_of(keys, nth, first, end);
        take_scales(keys, nth, s);
        take_queries(q, group, keys->d, s, coded->unit);
        const uint8_t *words = keys->codes + ((size_t)p.group_first * n_word + p.first) * 4;
        multiply(keys, group, words, p.group_n, p.n, n_word, coded, s);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = coded->product + h * coded->product_stride;
            __m256 unit = _mm256_set1_ps(coded->unit[h]), base = _mm256_set1_ps(s->base[h]);
            for (uint32_t t = 0; t < p.n; t += 8) {
                __m256 x = _mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)(product + t)));
                fvi_store8(score + h * stride + t, p.n - t, _mm256_fmadd_ps(x, unit, base));
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
    const __m256 inverse = _mm256_set1_ps(1 / WEIGHT_UNIT);
    for (uint32_t h = 0; h < group; h++, e += e_stride) {
        uint8_t *factor = (uint8_t *)(s->factor + h * s->factor_stride);
        __m256 sum = _mm256_setzero_ps();
        memset(factor, 0, 2 * (size_t)lead);
        factor += 2 * (size_t)lead;
        for (uint32_t t = 0; t < n; t += 8) {
            __m256 x = fvi_load8(e + t, n - t);
            sum = _mm256_add_ps(sum, x);
            _mm_storeu_si128((void *)(factor + 2 * (size_t)t), fixed16(x, inverse));
        }
        memset(factor + 2 * fvi_round_up(n, 8), 0, 32);
        s->base[h] = fvi_sum1(sum);
    }
}

void fvi_channel_values_avx2(const float *e, size_t e_stride, uint32_t group,
                             const fvi_section *values, uint32_t first, uint32_t n,
                             const fvi_coded_scratch *coded, const fvi_channel_scratch *s,
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
        multiply(values, group, values->codes + row * d * 4, d, d, n_word, coded, s);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = coded->product + h * coded->product_stride;
            __m256 unit = _mm256_set1_ps(WEIGHT_UNIT), sum = _mm256_set1_ps(s->base[h]);
            float *to = acc + h * acc_stride;
            for (uint32_t c = 0; c < d; c += 8) {
                __m256 x = _mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)(product + c)));
                x = _mm256_mul_ps(_mm256_mul_ps(x, unit), _mm256_loadu_ps(s->scale + c));
                x = _mm256_fmadd_ps(sum, _mm256_loadu_ps(s->min + c), x);
                fvi_store8(to + c, d - c, _mm256_add_ps(fvi_load8(to + c, d - c), x));
            }
        }
        e += p.n;
        first += p.n;
    }
}
