/* attn_tile_avx2.h - cached tokens of any kind as tiles of f32, for the AVX2 attention.
 *
 * f16 is widened here, everything else goes through its codec, which knows its layout. Included by the AVX2
 * attention files. */
#ifndef FOVEA_OPS_ATTN_TILE_AVX2_H
#define FOVEA_OPS_ATTN_TILE_AVX2_H

#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/simd_avx2.h"

/* Keys or values of n tokens of a run: out [n, stride], stride at least d rounded up to 16, filled with
 * zeros to there. */
FVI_INLINE void fvi_tile_rows_avx2(const fvi_run_view *run, uint32_t dk, uint32_t dv, bool values,
                                   uint32_t first, uint32_t n, float *out, size_t stride)
{
    uint32_t d = values ? dv : dk;
    if (run->codec->kind == FOVEA_KIND_F16) {
        const uint16_t *rows = (const uint16_t *)(const void *)run->data;
        rows += (values ? (size_t)run->capacity * dk : 0) + (size_t)first * d;
        for (uint32_t t = 0; t < n; t++, rows += d) {
            for (uint32_t c = 0; c < d; c += 8) {
                __m128i half = fvi_load8_u16(rows + c, d - c);
                _mm256_storeu_ps(out + t * stride + c, _mm256_cvtph_ps(half));
            }
        }
    } else {
        fvi_codec_decode(run->codec, run->data, run->capacity, dk, dv, first, n,
                         values ? NULL : out, stride, values ? out : NULL, stride);
    }
    for (uint32_t t = 0; t < n && d % 16 != 0; t++) {
        memset(out + t * stride + d, 0, (16 - d % 16) * sizeof *out);
    }
}

/* Rows become columns: out [d rounded up to 8, out_stride] from rows [n, stride], as
 * many columns as n rounded up to 16; those behind n are zeros. rows has that many rows. */
FVI_INLINE void fvi_tile_columns_avx2(float *rows, size_t stride, uint32_t n, uint32_t d,
                                      float *out, size_t out_stride)
{
    uint32_t n_all = (uint32_t)fvi_round_up(n, 16);
    memset(rows + n * stride, 0, (n_all - n) * stride * sizeof *rows);
    for (uint32_t t = 0; t < n_all; t += 8) {
        for (uint32_t c = 0; c < d; c += 8) {
            __m256 lanes[8];
#pragma GCC unroll 8
            for (uint32_t i = 0; i < 8; i++) {
                lanes[i] = _mm256_loadu_ps(rows + (t + i) * stride + c);
            }
            fvi_transpose8(lanes);
#pragma GCC unroll 8
            for (uint32_t i = 0; i < 8; i++) {
                _mm256_storeu_ps(out + (c + i) * out_stride + t, lanes[i]);
            }
        }
    }
}

#endif
