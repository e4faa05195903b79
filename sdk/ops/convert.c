/* convert.c - arrays of numbers from one format to another.
 *
 * Called by sdk/model (weights at load), sdk/engine and vision. Threads: any. */
#include "sdk/ops/cpu_impl.h"

#include "sdk/base/cpu.h"

#include <fovea/engine.h>

static float load(const void *src, fvi_dtype dtype, size_t i)
{
    switch (dtype) {
    case FVI_DTYPE_F16: return fvi_f16_to_f32(((const uint16_t *)src)[i]);
    case FVI_DTYPE_BF16: return fvi_bf16_to_f32(((const uint16_t *)src)[i]);
    case FVI_DTYPE_F32: break;
    }
    return ((const float *)src)[i];
}

void fvi_convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype, size_t n)
{
    if (dst_dtype == src_dtype) {
        if (n > 0) {
            memmove(dst, src, n * fvi_dtype_bytes(src_dtype));
        }
        return;
    }
#if FVI_HAVE_AVX512
    if ((fvi_cpu_features() & FOVEA_CPU_AVX512) != 0) {
        fvi_avx512_convert(dst, dst_dtype, src, src_dtype, n);
        return;
    }
#endif
#if FVI_HAVE_AVX2
    if ((fvi_cpu_features() & FOVEA_CPU_AVX2) != 0) {
        fvi_avx2_convert(dst, dst_dtype, src, src_dtype, n);
        return;
    }
#endif
    for (size_t i = 0; i < n; i++) {
        float value = load(src, src_dtype, i);
        if (dst_dtype == FVI_DTYPE_F32) {
            ((float *)dst)[i] = value;
        } else {
            ((uint16_t *)dst)[i] =
                dst_dtype == FVI_DTYPE_F16 ? fvi_f32_to_f16(value) : fvi_f32_to_bf16(value);
        }
    }
}
