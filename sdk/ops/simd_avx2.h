/* simd_avx2.h - small vector functions that the AVX2 files share: the ones of simd_avx512.h at half the width,
 * and loads of 16-bit formats and of vectors that are not whole.
 *
 * Included only by files compiled with -mavx2 -mfma -mf16c, never beside simd_avx512.h. */
#ifndef FOVEA_OPS_SIMD_AVX2_H
#define FOVEA_OPS_SIMD_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define FVI_INLINE static inline __attribute__((always_inline))

/* The first n of 8 lanes (all from n = 8 on), for masked loads and stores. */
FVI_INLINE __m256i fvi_mask8(uint32_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n < 8 ? n : 8)), lane);
}

/* The first n of 8 numbers, zeros behind them; nothing behind them is read. */
FVI_INLINE __m256 fvi_load8(const float *at, uint32_t n)
{
    return n >= 8 ? _mm256_loadu_ps(at) : _mm256_maskload_ps(at, fvi_mask8(n));
}

/* The first n of 16. */
FVI_INLINE void fvi_load8x2(const float *at, uint32_t n, __m256 x[2])
{
    x[0] = fvi_load8(at, n);
    x[1] = n > 8 ? fvi_load8(at + 8, n - 8) : _mm256_setzero_ps();
}

FVI_INLINE void fvi_store8(float *at, uint32_t n, __m256 x)
{
    if (n >= 8) {
        _mm256_storeu_ps(at, x);
    } else {
        _mm256_maskstore_ps(at, fvi_mask8(n), x);
    }
}

/* The same for 16-bit elements, for which there are no masks. */
FVI_INLINE __m128i fvi_load8_u16(const uint16_t *at, uint32_t n)
{
    if (n >= 8) {
        return _mm_loadu_si128((const void *)at);
    }
    uint16_t part[8] = {0};
    memcpy(part, at, n * sizeof *at);
    return _mm_loadu_si128((const void *)part);
}

FVI_INLINE void fvi_store8_u16(uint16_t *at, uint32_t n, __m128i x)
{
    if (n >= 8) {
        _mm_storeu_si128((void *)at, x);
        return;
    }
    uint16_t part[8];
    _mm_storeu_si128((void *)part, x);
    memcpy(at, part, n * sizeof *at);
}

/* 8 bf16 as f32; f16 is _mm256_cvtph_ps. */
FVI_INLINE __m256 fvi_widen_bf16(__m128i half)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* f32 to bf16, to nearest even; a NaN stays one. */
FVI_INLINE __m128i fvi_round_bf16(__m256 x)
{
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

/* Rows become columns. */
FVI_INLINE void fvi_transpose8(__m256 r[8])
{
    __m256 t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* r[i + j]: column 4 l + j of rows i..i+3 in half l */
        __m256d a = _mm256_castps_pd(t[i]), b = _mm256_castps_pd(t[i + 2]);
        __m256d c = _mm256_castps_pd(t[i + 1]), d = _mm256_castps_pd(t[i + 3]);
        r[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
        r[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        r[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(c, d));
        r[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(c, d));
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256 low = r[j], high = r[j + 4];
        r[j] = _mm256_permute2f128_ps(low, high, 0x20);
        r[j + 4] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

/* In each half eight rows of eight 16-bit numbers become columns. */
FVI_INLINE void fvi_transpose8_u16(__m256i r[8])
{
    __m256i t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        t[i + 4] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* columns 0-3, then 4-7 */
        __m256i a = _mm256_unpacklo_epi32(t[i], t[i + 1]);
        __m256i b = _mm256_unpackhi_epi32(t[i], t[i + 1]);
        __m256i c = _mm256_unpacklo_epi32(t[i + 2], t[i + 3]);
        __m256i d = _mm256_unpackhi_epi32(t[i + 2], t[i + 3]);
        r[i] = _mm256_unpacklo_epi64(a, c);
        r[i + 1] = _mm256_unpackhi_epi64(a, c);
        r[i + 2] = _mm256_unpacklo_epi64(b, d);
        r[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
}

/* The sums of four vectors, in one order for all of them. */
FVI_INLINE __m128 fvi_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 low = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
    __m256 high = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
    __m256 all = _mm256_add_ps(low, high);
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

/* The sum of one vector, in fvi_sum4's order. */
FVI_INLINE float fvi_sum1(__m256 a)
{
    __m256 zero = _mm256_setzero_ps();
    return _mm_cvtss_f32(fvi_sum4(a, zero, zero, zero));
}

/* The largest of four vectors each. */
FVI_INLINE __m128 fvi_max4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ab = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_max_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 low = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
    __m256 high = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
    __m256 all = _mm256_max_ps(low, high);
    return _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

FVI_INLINE float fvi_max1(__m256 a)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

/* 2^n for integers n in [-126, 127]. */
FVI_INLINE __m256 fvi_power8(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* e^x as in simd_avx512.h. 2^n is applied as two factors: one alone has no room for the subnormals and
 * infinity. */
FVI_INLINE __m256 fvi_exp8(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x); /* in this order a NaN stays one */
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), x);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e400p-1f), x); /* ln 2, high part */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);       /* and the rest */
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(p, fvi_power8(half)),
                         fvi_power8(_mm256_sub_epi32(whole, half)));
}

#endif
