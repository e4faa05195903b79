/* convert_avx2.c - fvi_convert, 8 numbers at a time; the same bits as the scalar functions.
 *
 * Called by convert.c when the CPU has AVX2 and no AVX-512. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/simd_avx2.h"

FVI_INLINE __m256 load(const void *src, fvi_dtype dtype, size_t at, uint32_t n)
{
    if (dtype == FVI_DTYPE_F32) {
        return fvi_load8((const float *)src + at, n);
    }
    __m128i half = fvi_load8_u16((const uint16_t *)src + at, n);
    return dtype == FVI_DTYPE_F16 ? _mm256_cvtph_ps(half) : fvi_widen_bf16(half);
}

FVI_INLINE void store(void *dst, fvi_dtype dtype, size_t at, uint32_t n, __m256 x)
{
    if (dtype == FVI_DTYPE_F32) {
        fvi_store8((float *)dst + at, n, x);
        return;
    }
    __m128i half = dtype == FVI_DTYPE_F16
                       ? _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                       : fvi_round_bf16(x);
    fvi_store8_u16((uint16_t *)dst + at, n, half);
}

FVI_INLINE void convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype,
                        size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        store(dst, dst_dtype, i, 8, load(src, src_dtype, i, 8));
    }
    if (i < n) {
        uint32_t rest = (uint32_t)(n - i);
        store(dst, dst_dtype, i, rest, load(src, src_dtype, i, rest));
    }
}

void fvi_avx2_convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype,
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
