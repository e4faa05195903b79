/* convert_avx512.c - fvi_convert, 16 numbers at a time; the same bits as the scalar functions, so bf16 is
 * rounded with integers (the instruction for it flushes subnormals).
 *
 * Called by convert.c when the CPU has AVX-512. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/simd_avx512.h"

FVI_INLINE __m512 load16(const void *src, fvi_dtype dtype, size_t at, __mmask16 mask)
{
    if (dtype == FVI_DTYPE_F32) {
        return _mm512_maskz_loadu_ps(mask, (const float *)src + at);
    }
    __m256i half = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)src + at);
    if (dtype == FVI_DTYPE_F16) {
        return _mm512_cvtph_ps(half);
    }
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

FVI_INLINE void store16(void *dst, fvi_dtype dtype, size_t at, __mmask16 mask, __m512 x)
{
    if (dtype == FVI_DTYPE_F32) {
        _mm512_mask_storeu_ps((float *)dst + at, mask, x);
        return;
    }
    __m256i half = dtype == FVI_DTYPE_F16
                       ? _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                       : fvi_round_bf16(x);
    _mm256_mask_storeu_epi16((uint16_t *)dst + at, mask, half);
}

FVI_INLINE void convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype,
                        size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        store16(dst, dst_dtype, i, 0xffff, load16(src, src_dtype, i, 0xffff));
    }
    if (i < n) {
        __mmask16 mask = fvi_mask16((uint32_t)(n - i));
        store16(dst, dst_dtype, i, mask, load16(src, src_dtype, i, mask));
    }
}

void fvi_avx512_convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype,
                        size_t n)
{
    if (src_dtype == FVI_DTYPE_F32 && dst_dtype == FVI_DTYPE_BF16) {
        convert(dst, FVI_DTYPE_BF16, src, FVI_DTYPE_F32, n);
    } else if (src_dtype == FVI_DTYPE_F32 && dst_dtype == FVI_DTYPE_F16) {
        convert(dst, FVI_DTYPE_F16, src, FVI_DTYPE_F32, n);
    } else if (src_dtype == FVI_DTYPE_BF16 && dst_dtype == FVI_DTYPE_F32) {
        convert(dst, FVI_DTYPE_F32, src, FVI_DTYPE_BF16, n);
    } else {
        convert(dst, dst_dtype, src, src_dtype, n);
    }
}
