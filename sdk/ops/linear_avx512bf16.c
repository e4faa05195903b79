/* linear_avx512bf16.c - the tiles of linear_tile.h with the CPU's bf16 products. */
#include "sdk/ops/linear_avx512.h"

/* One step along k: 32 elements of `rows` rows against 32 of `columns` columns. */
FVI_INLINE void step(__m512 acc[FVI_TILE_ROWS][8], const uint16_t *x, size_t x_stride,
                     const uint8_t *w, const size_t offset[8], ptrdiff_t ahead, const uint32_t rows,
                     const uint32_t columns, bool whole, __mmask32 mask)
{
    __m512bh xs[FVI_TILE_ROWS];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
        const uint16_t *at = x + r * x_stride;
        xs[r] = (__m512bh)(whole ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi16(mask, at));
    }
#pragma GCC unroll 8
    for (uint32_t c = 0; c < columns; c++) {
        const uint8_t *at = w + offset[c];
        __m512bh ws =
            (__m512bh)(whole ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi16(mask, at));
        fvi_tile_prefetch(at, ahead);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            acc[r][c] = _mm512_dpbf16_ps(acc[r][c], xs[r], ws);
        }
    }
}

FVI_INLINE void tile_native(const fvi_linear_tile *tile, const uint32_t rows,
                            const uint32_t columns)
{
    const uint16_t *x = tile->x;
    const uint8_t *w = tile->w;
    const size_t x_stride = tile->x_stride, row_bytes = tile->k * sizeof(uint16_t);
    size_t offset[8]; /* of the columns, in bytes */
    __m512 acc[FVI_TILE_ROWS][8];
#pragma GCC unroll 8
    for (uint32_t c = 0; c < columns; c++) {
        offset[c] = fvi_tile_column(tile, c) * sizeof(uint16_t);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            acc[r][c] = _mm512_setzero_ps();
        }
    }
    size_t at = 0;
    for (; at + 64 <= row_bytes; at += 64) {
        step(acc, x + at / 2, x_stride, w + at, offset, fvi_tile_ahead_of(tile, row_bytes, at),
             rows, columns, true, 0);
    }
    if (at < row_bytes) {
        step(acc, x + at / 2, x_stride, w + at, offset, fvi_tile_ahead_of(tile, row_bytes, at),
             rows, columns, false, fvi_mask32((uint32_t)(row_bytes - at) / 2));
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (uint32_t c = 0; c < columns; c += 4) {
            fvi_tile_store(tile, r, c, acc[r][c], acc[r][c + 1], acc[r][c + 2], acc[r][c + 3]);
        }
    }
}

FVI_TILE_FUNCTIONS(fvi_avx512_bf16_native, tile_native, 8, 8, 4, 4, 4, 4)
