/* immintrin.h - AVX-512 for processors without it: the compiler's header, then SIMDe, which does the same with what
 * the processor has, then what SIMDe leaves out.
 *
 * Stands before the compiler's header on the include path of the AVX-512 kernels when the library is built with
 * FOVEA_EMULATE_AVX512, so that they are tested on any machine (`tests/run.sh emulated`). Slow, and never installed.
 * Each function does what its name says in Intel's Intrinsics Guide. */
#ifndef FOVEA_TESTS_EMULATED_IMMINTRIN_H
#define FOVEA_TESTS_EMULATED_IMMINTRIN_H

#pragma GCC system_header
#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FVE_INLINE static inline __attribute__((always_inline, unused))

/* A vector as its elements. */
#define FVE_ELEMENTS(type, name, x)                                                                \
    type name[sizeof(x) / sizeof(type)];                                                           \
    memcpy(name, &(x), sizeof(x))

/* Loads and stores under a mask: nothing is read or written where it is off. */
#define FVE_MASKZ_LOAD(name, vector, type, mask_type)                                              \
    FVE_INLINE vector name(mask_type mask, const void *at)                                         \
    {                                                                                              \
        type x[sizeof(vector) / sizeof(type)] = {0};                                               \
        vector out;                                                                                \
        for (size_t i = 0; i < sizeof(vector) / sizeof(type); i++) {                               \
            if ((mask >> i & 1) != 0) {                                                            \
                memcpy(&x[i], (const char *)at + i * sizeof(type), sizeof(type));                  \
            }                                                                                      \
        }                                                                                          \
        memcpy(&out, x, sizeof out);                                                               \
        return out;                                                                                \
    }
#define FVE_MASK_STORE(name, vector, type, mask_type)                                              \
    FVE_INLINE void name(void *at, mask_type mask, vector from)                                    \
    {                                                                                              \
        FVE_ELEMENTS(type, x, from);                                                               \
        for (size_t i = 0; i < sizeof(vector) / sizeof(type); i++) {                               \
            if ((mask >> i & 1) != 0) {                                                            \
                memcpy((char *)at + i * sizeof(type), &x[i], sizeof(type));                        \
            }                                                                                      \
        }                                                                                          \
    }
/* Element by element: `to` out of `from`, as the expression says of x[i]. */
#define FVE_CONVERT(name, to_vector, to, from_vector, from, expression)                            \
    FVE_INLINE to_vector name(from_vector in)                                                      \
    {                                                                                              \
        FVE_ELEMENTS(from, x, in);                                                                 \
        to y[sizeof(to_vector) / sizeof(to)] = {0};                                                \
        to_vector out;                                                                             \
        for (size_t i = 0; i < sizeof y / sizeof *y && i < sizeof x / sizeof *x; i++) {            \
            y[i] = (to)(expression);                                                               \
        }                                                                                          \
        memcpy(&out, y, sizeof out);                                                               \
        return out;                                                                                \
    }
#define FVE_REDUCE(name, type, vector, step)                                                       \
    FVE_INLINE type name(vector in)                                                                \
    {                                                                                              \
        FVE_ELEMENTS(type, x, in);                                                                 \
        for (size_t n = sizeof x / sizeof *x / 2; n > 0; n /= 2) {                                 \
            for (size_t i = 0; i < n; i++) {                                                       \
                type a = x[i], b = x[i + n];                                                       \
                x[i] = (step);                                                                     \
            }                                                                                      \
        }                                                                                          \
        return x[0];                                                                               \
    }

FVE_MASKZ_LOAD(fve_mm512_maskz_loadu_ps, __m512, float, __mmask16)
FVE_MASKZ_LOAD(fve_mm512_maskz_loadu_epi8, __m512i, int8_t, __mmask64)
FVE_MASKZ_LOAD(fve_mm512_maskz_loadu_epi16, __m512i, int16_t, __mmask32)
FVE_MASKZ_LOAD(fve_mm512_maskz_loadu_epi32, __m512i, int32_t, __mmask16)
FVE_MASKZ_LOAD(fve_mm256_maskz_loadu_epi16, __m256i, int16_t, __mmask16)
FVE_MASKZ_LOAD(fve_mm_maskz_loadu_ps, __m128, float, __mmask8)
FVE_MASKZ_LOAD(fve_mm_maskz_loadu_epi8, __m128i, int8_t, __mmask16)
FVE_MASKZ_LOAD(fve_mm_maskz_loadu_epi16, __m128i, int16_t, __mmask8)
FVE_MASK_STORE(fve_mm512_mask_storeu_ps, __m512, float, __mmask16)
FVE_MASK_STORE(fve_mm256_mask_storeu_epi16, __m256i, int16_t, __mmask16)
FVE_MASK_STORE(fve_mm_mask_storeu_ps, __m128, float, __mmask8)
FVE_CONVERT(fve_mm512_cvtepi32_ps, __m512, float, __m512i, int32_t, x[i])
FVE_CONVERT(fve_mm512_cvtps_epi32, __m512i, int32_t, __m512, float, lrintf(x[i]))
FVE_CONVERT(fve_mm512_cvtepu8_epi32, __m512i, int32_t, __m128i, uint8_t, x[i])
FVE_CONVERT(fve_mm512_cvtepu16_epi32, __m512i, int32_t, __m256i, uint16_t, x[i])
FVE_CONVERT(fve_mm512_cvtepi32_epi16, __m256i, int16_t, __m512i, int32_t, x[i])
FVE_CONVERT(fve_mm512_cvtepi32_epi8, __m128i, int8_t, __m512i, int32_t, x[i])
FVE_CONVERT(fve_mm512_cvtusepi32_epi8, __m128i, uint8_t, __m512i, uint32_t, x[i] > 255 ? 255 : x[i])
FVE_CONVERT(fve_mm512_cvtps_pd, __m512d, double, __m256, float, x[i])
FVE_CONVERT(fve_mm512_cvtpd_ps, __m256, float, __m512d, double, x[i])
FVE_REDUCE(fve_mm512_reduce_add_pd, double, __m512d, a + b)
FVE_REDUCE(fve_mm512_reduce_add_epi32, int32_t, __m512i, a + b)
FVE_REDUCE(fve_mm512_reduce_max_ps, float, __m512, a > b ? a : b)

FVE_INLINE __m512 fve_mm512_cvtph_ps(__m256i half)
{
    __m256 x[2] = {_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
                   _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
    __m512 out;
    memcpy(&out, x, sizeof out);
    return out;
}

FVE_INLINE __m256i fve_mm512_cvtps_ph_nearest(__m512 in)
{
    __m256 x[2];
    memcpy(x, &in, sizeof x);
    return _mm256_set_m128i(_mm256_cvtps_ph(x[1], _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(x[0], _MM_FROUND_TO_NEAREST_INT));
}

FVE_INLINE __m256 fve_mm512_extractf32x8_ps(__m512 in, int half)
{
    __m256 x[2];
    memcpy(x, &in, sizeof x);
    return x[half];
}

FVE_INLINE __m512i fve_mm512_srai_epi32(__m512i in, unsigned n)
{
    FVE_ELEMENTS(int32_t, x, in);
    for (size_t i = 0; i < 16; i++) {
        x[i] >>= n;
    }
    memcpy(&in, x, sizeof in);
    return in;
}

FVE_INLINE __m512i fve_mm512_mask_srli_epi16(__m512i other, __mmask32 mask, __m512i in, unsigned n)
{
    FVE_ELEMENTS(uint16_t, x, in);
    FVE_ELEMENTS(uint16_t, y, other);
    for (size_t i = 0; i < 32; i++) {
        y[i] = (mask >> i & 1) != 0 ? (uint16_t)(x[i] >> n) : y[i];
    }
    memcpy(&other, y, sizeof other);
    return other;
}

FVE_INLINE __m512 fve_mm512_shuffle_f32x4(__m512 a, __m512 b, int which)
{
    __m128 x[4], y[4], z[4];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    z[0] = x[which & 3];
    z[1] = x[which >> 2 & 3];
    z[2] = y[which >> 4 & 3];
    z[3] = y[which >> 6 & 3];
    memcpy(&a, z, sizeof a);
    return a;
}

FVE_INLINE __m128 fve_mm_maskz_div_ps(__mmask8 mask, __m128 a, __m128 b)
{
    FVE_ELEMENTS(float, x, a);
    FVE_ELEMENTS(float, y, b);
    for (size_t i = 0; i < 4; i++) {
        x[i] = (mask >> i & 1) != 0 ? x[i] / y[i] : 0;
    }
    memcpy(&a, x, sizeof a);
    return a;
}

FVE_INLINE __m512i fve_mm512_mask_i32gather_epi32(__m512i other, __mmask16 mask, __m512i index,
                                                  const void *base, int scale)
{
    FVE_ELEMENTS(int32_t, at, index);
    FVE_ELEMENTS(int32_t, y, other);
    for (size_t i = 0; i < 16; i++) {
        if ((mask >> i & 1) != 0) {
            memcpy(&y[i], (const char *)base + (ptrdiff_t)at[i] * scale, sizeof y[i]);
        }
    }
    memcpy(&other, y, sizeof other);
    return other;
}

FVE_INLINE __mmask16 fve_mm512_mask_cmp_ge_ps_mask(__mmask16 mask, __m512 a, __m512 b)
{
    FVE_ELEMENTS(float, x, a);
    FVE_ELEMENTS(float, y, b);
    __mmask16 out = 0;
    for (size_t i = 0; i < 16; i++) {
        out |= (__mmask16)((unsigned)(x[i] >= y[i]) << i);
    }
    return out & mask;
}

#define _mm512_maskz_loadu_ps       fve_mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_epi8     fve_mm512_maskz_loadu_epi8
#define _mm512_maskz_loadu_epi16    fve_mm512_maskz_loadu_epi16
#define _mm512_maskz_loadu_epi32    fve_mm512_maskz_loadu_epi32
#define _mm256_maskz_loadu_epi16    fve_mm256_maskz_loadu_epi16
#define _mm_maskz_loadu_ps          fve_mm_maskz_loadu_ps
#define _mm_maskz_loadu_epi8        fve_mm_maskz_loadu_epi8
#define _mm_maskz_loadu_epi16       fve_mm_maskz_loadu_epi16
#define _mm512_mask_storeu_ps       fve_mm512_mask_storeu_ps
#define _mm256_mask_storeu_epi16    fve_mm256_mask_storeu_epi16
#define _mm_mask_storeu_ps          fve_mm_mask_storeu_ps
#define _mm512_cvtepi32_ps          fve_mm512_cvtepi32_ps
#define _mm512_cvtps_epi32          fve_mm512_cvtps_epi32
#define _mm512_cvtepu8_epi32        fve_mm512_cvtepu8_epi32
#define _mm512_cvtepu16_epi32       fve_mm512_cvtepu16_epi32
#define _mm512_cvtepi32_epi16       fve_mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi8        fve_mm512_cvtepi32_epi8
#define _mm512_cvtusepi32_epi8      fve_mm512_cvtusepi32_epi8
#define _mm512_cvtps_pd             fve_mm512_cvtps_pd
#define _mm512_cvtpd_ps             fve_mm512_cvtpd_ps
#define _mm512_reduce_add_pd        fve_mm512_reduce_add_pd
#define _mm512_reduce_add_epi32     fve_mm512_reduce_add_epi32
#define _mm512_reduce_max_ps        fve_mm512_reduce_max_ps
#define _mm512_cvtph_ps             fve_mm512_cvtph_ps
#define _mm512_extractf32x8_ps      fve_mm512_extractf32x8_ps
#define _mm512_shuffle_f32x4        fve_mm512_shuffle_f32x4
#define _mm512_srai_epi32           fve_mm512_srai_epi32
#define _mm512_mask_srli_epi16      fve_mm512_mask_srli_epi16
#define _mm_maskz_div_ps            fve_mm_maskz_div_ps
#define _mm512_mask_i32gather_epi32 fve_mm512_mask_i32gather_epi32
/* of the one rounding and the one comparison that are asked for */
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(x, rounding) fve_mm512_cvtps_ph_nearest(x)
#undef _mm512_mask_cmp_ps_mask
#define _mm512_mask_cmp_ps_mask(mask, a, b, how) fve_mm512_mask_cmp_ge_ps_mask(mask, a, b)

#endif
