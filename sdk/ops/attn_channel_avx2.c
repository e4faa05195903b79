/* attn_channel_avx2.c - the kernels of attn_channel_avx2.h.
 *
 * A word of codes (sdk/ops/codec.h) shifted and masked is four bytes; of the shift by n codes they are the elements
 * 2 n and 2 n + 16 / bits, and the ones behind these two. Words are taken apart once for all heads: keys
 * become [four channels][token], values less their middle [four tokens][channel]. */
#include "sdk/ops/attn_channel_avx2.h"
#include "sdk/ops/attn_byte_avx2.h"
#include "sdk/ops/attn_panel_avx2.h"

/* The scales of a group of tokens, and what the middle of a channel's codes stands for. */
static void take_scales(const fvi_section *s, uint32_t nth, float middle,
                        const fvi_channel_scratch *scratch)
{
    const uint8_t *at = s->affine + (size_t)nth * s->d * 4;
    for (uint32_t c = 0; c < fvi_round_up(s->d, 16); c += 8, at += 32) {
        __m256 scale, min;
        fvi_affine8(at, 4, c < s->d ? s->d - c : 0, &scale, &min);
        _mm256_storeu_ps(scratch->scale + c, scale);
        _mm256_storeu_ps(scratch->middle + c, _mm256_fmadd_ps(scale, _mm256_set1_ps(middle), min));
    }
}

/* n_word rows of n words, `stride` apart, to rows of four bytes: out [n_word * 8 / bits, out_stride]. */
FVI_INLINE void spread(const uint32_t *words, size_t stride, uint32_t n, uint32_t n_word,
                       const uint32_t bits, const uint32_t middle, int32_t *out, size_t out_stride)
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    const __m256i less = _mm256_set1_epi8((char)middle);
    for (uint32_t w = 0; w < n_word; w++, words += stride, out += 8 / bits * out_stride) {
        const uint32_t *ahead = words + n_word * stride; /* what comes after these words */
        for (uint32_t t = 0; t < n; t += 8) {
            _mm_prefetch((const char *)(ahead + t), _MM_HINT_T0);
            __m256i x = n - t >= 8
                            ? _mm256_loadu_si256((const void *)(words + t))
                            : _mm256_maskload_epi32((const void *)(words + t), fvi_mask8(n - t));
#pragma GCC unroll 4
            for (uint32_t i = 0; i < 8 / bits; i++) {
                __m256i code = _mm256_and_si256(_mm256_srli_epi16(x, (int)(i * bits)), mask);
                code = middle != 0 ? _mm256_sub_epi8(code, less) : code;
                _mm256_storeu_si256((void *)(out + i * out_stride + t), code);
            }
        }
    }
}

/* Products of the factors with n columns of n_word rows of words; values' codes are taken less their middle. */
static void multiply(const fvi_section *s, uint32_t group, const uint8_t *words, size_t stride,
                     uint32_t n, uint32_t n_word, const fvi_coded_scratch *coded,
                     const fvi_channel_scratch *scratch)
{
    uint32_t bits = s->run->codec->codes.bits;
    size_t rounded = fvi_round_up(n, 8);
    const uint32_t *from = (const uint32_t *)(const void *)words;
    if (bits == 4) {
        s->values ? spread(from, stride, n, n_word, 4, 8, coded->tile, rounded)
                  : spread(from, stride, n, n_word, 4, 0, coded->tile, rounded);
    } else {
        s->values ? spread(from, stride, n, n_word, 2, 2, coded->tile, rounded)
                  : spread(from, stride, n, n_word, 2, 0, coded->tile, rounded);
    }
    fvi_code_panel panel = {.a = scratch->factor,
                            .a_stride = scratch->factor_stride,
                            .b = coded->tile,
                            .b_stride = rounded,
                            .c = coded->product,
                            .c_stride = coded->product_stride,
                            .m = group,
                            .n = (uint32_t)rounded,
                            .k = n_word * 8 / bits};
    if (s->values) {
        fvi_panel_unsigned(&panel);
    } else {
        fvi_panel_signed(&panel);
    }
}

/* Sixteen bytes in order become factors in the order of words taken apart. */
FVI_INLINE void store_factors(__m128i bytes, uint32_t bits, int32_t *factor)
{
    const __m128i of4 = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    const __m128i of2 = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    _mm_storeu_si128((void *)factor, _mm_shuffle_epi8(bytes, bits == 4 ? of4 : of2));
}

/* Of queries times scales the largest, and the sums by lane; sums of queries times middles. */
typedef struct query_sums {
    __m256 largest, all, base;
} query_sums;

FVI_INLINE void add_queries(query_sums *sums, __m256 x, const float *scale, const float *middle)
{
    __m256 y = _mm256_mul_ps(x, _mm256_loadu_ps(scale));
    y = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), y);
    sums->base = _mm256_fmadd_ps(x, _mm256_loadu_ps(middle), sums->base);
    sums->largest = _mm256_max_ps(sums->largest, y);
    sums->all = _mm256_add_ps(sums->all, y);
}

/* The unit of one head's queries times scales; base: queries times middles. */
static float query_unit(const float *q, size_t d, uint32_t bits, const fvi_channel_scratch *s,
                        float *base)
{
    const __m256 zero = _mm256_setzero_ps();
    const float *scale = s->scale, *middle = s->middle;
    query_sums sums = {zero, zero, zero};
    size_t c = 0;
    for (; c + 8 <= d; c += 8) {
        add_queries(&sums, _mm256_loadu_ps(q + c), scale + c, middle + c);
    }
    if (c < d) {
        add_queries(&sums, fvi_load8(q + c, (uint32_t)(d - c)), scale + c, middle + c);
    }
    *base = fvi_sum1(sums.base);
    /* a sum of products takes every other channel */
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(sums.all), _mm256_extractf128_ps(sums.all, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    float most = FVI_MAX(_mm_cvtss_f32(half), _mm_cvtss_f32(_mm_movehdup_ps(half)));
    return fvi_signed_unit(fvi_max1(sums.largest), most, (uint32_t)(d + 1) / 2, bits);
}

/* Queries times scales in units. base: what does not depend on codes, so that the rounding errors meet codes less
 * their middle. */
static void take_queries(const float *q, uint32_t group, uint32_t d, uint32_t bits, float middle,
                         const fvi_channel_scratch *s, float *units)
{
    for (uint32_t h = 0; h < group; h++) {
        units[h] = query_unit(q + (size_t)h * d, d, bits, s, s->base + h);
    }
    for (uint32_t h = 0; h < group; h++, q += d) {
        __m256 inverse = _mm256_set1_ps(fvi_inverse(units[h]));
        __m256i total = _mm256_setzero_si256();
        for (uint32_t c = 0; c < d; c += 16) {
            __m256 x[2];
            fvi_load8x2(q + c, d - c, x);
            x[0] = _mm256_mul_ps(x[0], _mm256_mul_ps(_mm256_loadu_ps(s->scale + c), inverse));
            x[1] = _mm256_mul_ps(x[1], _mm256_mul_ps(_mm256_loadu_ps(s->scale + c + 8), inverse));
            __m256i words = fvi_words16(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
            __m128i bytes =
                _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            store_factors(bytes, bits, s->factor + h * s->factor_stride + c / 4);
            total = _mm256_add_epi32(total, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
        }
        s->base[h] -= fvi_sum1(_mm256_cvtepi32_ps(total)) * units[h] * middle;
    }
}

/* Eight sums of products, whose halves belong together. */
FVI_INLINE __m256 products8(const int32_t *product)
{
    __m256i halves = _mm256_loadu_si256((const void *)product);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(halves, _mm256_set1_epi16(1)));
}

/* One head's scores of n tokens; nothing behind them is written. */
static void finish_scores(const int32_t *product, size_t n, float units, float bases, float *score)
{
    const __m256 unit = _mm256_set1_ps(units), base = _mm256_set1_ps(bases);
    size_t t = 0;
    for (; t + 8 <= n; t += 8) {
        _mm256_storeu_ps(score + t, _mm256_fmadd_ps(products8(product + t), unit, base));
    }
    if (t < n) {
        fvi_store8(score + t, (uint32_t)(n - t),
                   _mm256_fmadd_ps(products8(product + t), unit, base));
    }
}

void fvi_channel_scores_avx2(const float *q, uint32_t group, const fvi_section *keys,
                             uint32_t first, uint32_t n, const fvi_coded_scratch *coded,
                             const fvi_channel_scratch *s, float *score, size_t stride)
{
    uint32_t bits = keys->run->codec->codes.bits, per = 32 / bits;
    uint32_t n_word = (keys->d + per - 1) / per;
    float middle = 0.5f * (float)((1u << bits) - 1);
    uint32_t nth = fvi_channel_group_of(keys->run->capacity, first);
    for (uint32_t end = first + n; first < end; nth++) {
        fvi_channel_part p = fvi_channel_part_of(keys, nth, first, end);
        take_scales(keys, nth, middle, s);
        take_queries(q, group, keys->d, bits, middle, s, coded->unit);
        const uint8_t *words = keys->codes + ((size_t)p.group_first * n_word + p.first) * 4;
        multiply(keys, group, words, p.group_n, p.n, n_word, coded, s);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = coded->product + h * coded->product_stride;
            finish_scores(product, p.n, coded->unit[h], s->base[h], score + h * stride);
        }
        score += p.n;
        first += p.n;
    }
}

/* Units of up to four heads' weights of n tokens; base: their sums. */
static void weight_units(const float *e, size_t e_stride, uint32_t heads, uint32_t n, uint32_t bits,
                         float *units, float *base)
{
    __m256 largest[4], all[4];
    for (uint32_t h = 0; h < 4; h++) {
        largest[h] = all[h] = _mm256_setzero_ps();
    }
    for (uint32_t h = 0; h < heads; h++, e += e_stride) {
        __m256 top = largest[h], sum = top;
        size_t t = 0;
        for (; t + 8 <= n; t += 8) {
            __m256 x = _mm256_loadu_ps(e + t);
            top = _mm256_max_ps(top, x);
            sum = _mm256_add_ps(sum, x);
        }
        if (t < n) {
            __m256 x = fvi_load8(e + t, (uint32_t)(n - t));
            top = _mm256_max_ps(top, x);
            sum = _mm256_add_ps(sum, x);
        }
        largest[h] = top;
        all[h] = sum;
    }
    /* a sum of products takes every other token */
    const __m256 zero = _mm256_setzero_ps();
    __m128 even =
        fvi_sum4(_mm256_blend_ps(all[0], zero, 0xaa), _mm256_blend_ps(all[1], zero, 0xaa),
                 _mm256_blend_ps(all[2], zero, 0xaa), _mm256_blend_ps(all[3], zero, 0xaa));
    __m128 odd = _mm_sub_ps(fvi_sum4(all[0], all[1], all[2], all[3]), even);
    fvi_store_some(_mm_add_ps(even, odd), heads, base);
    fvi_store_some(fvi_weight_units(largest, _mm_max_ps(even, odd), bits), heads, units);
}

/* One head's weights of n tokens in units, zeros behind them to the word's end. */
static void weigh_head(const float *e, uint32_t n, uint32_t bits, float unit, int32_t *factor)
{
    fvi_rounding rounding = fvi_rounding_in(unit);
    for (uint32_t t = 0; t < n; t += 16) {
        __m256 x[2];
        fvi_load8x2(e + t, n - t, x);
        __m256i words = fvi_round16(&rounding, x[0], x[1]);
        __m128i bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        store_factors(bytes, bits, factor + t / 4);
    }
}

/* Weights of n tokens in units, the first one at `lead`, zeros before it; base: their sums. */
static void take_weights(const float *e, size_t e_stride, uint32_t group, uint32_t lead, uint32_t n,
                         uint32_t bits, const fvi_channel_scratch *s, float *units)
{
    for (uint32_t h = 0; h < group; h += 4) {
        weight_units(e + h * e_stride, e_stride, FVI_MIN(group - h, 4u), n, bits, units + h,
                     s->base + h);
    }
    for (uint32_t h = 0; h < group; h++, e += e_stride) {
        int32_t *factor = s->factor + h * s->factor_stride;
        if (lead == 0) {
            weigh_head(e, n, bits, units[h], factor);
        } else {
            memset(s->led, 0, lead * sizeof *s->led);
            memcpy(s->led + lead, e, n * sizeof *e);
            weigh_head(s->led, lead + n, bits, units[h], factor);
        }
    }
}

/* One head's d channels of a group of tokens: products, and what the middles stand for. */
static void add_values(const int32_t *product, size_t d, float units, float sums,
                       const fvi_channel_scratch *s, float *acc)
{
    const __m256 unit = _mm256_set1_ps(units), sum = _mm256_set1_ps(sums);
    const float *scale = s->scale, *middle = s->middle;
    for (size_t c = 0; c < d; c += 8) {
        __m256 x = _mm256_mul_ps(products8(product + c), unit);
        x = _mm256_mul_ps(x, _mm256_loadu_ps(scale + c));
        x = _mm256_fmadd_ps(sum, _mm256_loadu_ps(middle + c), x);
        if (c + 8 <= d) {
            _mm256_storeu_ps(acc + c, _mm256_add_ps(_mm256_loadu_ps(acc + c), x));
        } else {
            uint32_t n = (uint32_t)(d - c);
            fvi_store8(acc + c, n, _mm256_add_ps(fvi_load8(acc + c, n), x));
        }
    }
}

void fvi_channel_values_avx2(const float *e, size_t e_stride, uint32_t group,
                             const fvi_section *values, uint32_t first, uint32_t n,
                             const fvi_coded_scratch *coded, const fvi_channel_scratch *s,
                             float *acc, size_t acc_stride)
{
    uint32_t d = values->d, bits = values->run->codec->codes.bits, per = 32 / bits;
    uint32_t nth = fvi_channel_group_of(values->run->capacity, first);
    for (uint32_t end = first + n; first < end; nth++) {
        fvi_channel_part p = fvi_channel_part_of(values, nth, first, end);
        uint32_t lead = p.first % per, n_word = (lead + p.n + per - 1) / per;
        take_scales(values, nth, (float)(1u << (bits - 1)), s);
        take_weights(e, e_stride, group, lead, p.n, bits, s, coded->unit);
        size_t row = p.group_first / per + p.first / per;
        multiply(values, group, values->codes + row * d * 4, d, d, n_word, coded, s);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = coded->product + h * coded->product_stride;
            add_values(product, d, coded->unit[h], s->base[h], s, acc + h * acc_stride);
        }
        e += p.n;
        first += p.n;
    }
}
