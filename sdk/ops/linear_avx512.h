/* linear_avx512.h - what the AVX-512 tiles share: their kernels' names and how sums are stored.
 *
 * Included by the AVX-512 files. */
#ifndef FOVEA_OPS_LINEAR_AVX512_H
#define FOVEA_OPS_LINEAR_AVX512_H

#include "sdk/ops/linear_tile.h"
#include "sdk/ops/simd_avx512.h"

extern const fvi_linear_kernels fvi_avx512_f32;
/* bf16 weights: x is bf16 for the CPU's own products, else bf16 values in f32. */
extern const fvi_linear_kernels fvi_avx512_bf16_native;
extern const fvi_linear_kernels fvi_avx512_bf16_widened;

/* Stores columns first..first+3 of a row from their sums along k. */
FVI_INLINE void fvi_tile_store(const fvi_linear_tile *tile, uint32_t row, uint32_t first, __m512 a,
                               __m512 b, __m512 c, __m512 d)
{
    if (first >= tile->n_col) {
        return;
    }
    uint32_t n = tile->n_col - first;
    __mmask8 mask = n >= 4 ? 0xf : (__mmask8)((1u << n) - 1);
    float *y = tile->y + row * tile->y_stride + first;
    __m128 sum = fvi_sum4(a, b, c, d);
    if (tile->bias != NULL) {
        sum = _mm_add_ps(sum, _mm_maskz_loadu_ps(mask, tile->bias + first));
    }
    if (tile->add) {
        sum = _mm_add_ps(sum, _mm_maskz_loadu_ps(mask, y));
    }
    _mm_mask_storeu_ps(y, mask, sum);
}

#endif
