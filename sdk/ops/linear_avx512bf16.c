/* linear_avx512bf16.c - the tiles of linear_avx512.h with the CPU's bf16 products. */
#include "sdk/ops/linear_avx512.h"

FVI_INLINE void tile_native(const fvi_linear_tile *tile, const uint32_t rows,
                            const uint32_t columns)
{
    const uint16_t *x = tile->x;
    const uint16_t *w = tile->w;
    __m512 acc[FVI_TILE_ROWS][8];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (uint32_t c = 0; c < columns; c++) {
            acc[r][c] = _mm512_setzero_ps();
        }
    }
    for (uint32_t k = 0; k < tile->k; k += 32) {
        __mmask32 mask = fvi_mask32(tile->k - k);
        __m512bh xs[FVI_TILE_ROWS];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            xs[r] = (__m512bh)_mm512_maskz_loadu_epi16(mask, x + r * tile->x_stride + k);
        }
#pragma GCC unroll 8
        for (uint32_t c = 0; c < columns; c++) {
            const uint16_t *at = w + fvi_tile_column(tile, c) + k;
            __m512bh ws = (__m512bh)_mm512_maskz_loadu_epi16(mask, at);
            fvi_tile_prefetch(at + (size_t)columns * tile->k);
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                acc[r][c] = _mm512_dpbf16_ps(acc[r][c], xs[r], ws);
            }
        }
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (uint32_t c = 0; c < columns; c += 4) {
            fvi_tile_store(tile, r, c, acc[r][c], acc[r][c + 1], acc[r][c + 2], acc[r][c + 3]);
        }
    }
}

FVI_TILE_FUNCTIONS(fvi_avx512_bf16_native, tile_native)
