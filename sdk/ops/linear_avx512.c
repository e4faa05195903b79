/* linear_avx512.c - AVX-512 products in f32, also over bf16 weights on CPUs without bf16 products.
 *
 * Decode rows always come here; prompt rows only where oneDNN is absent. Called through the table. */
#include "sdk/ops/linear_avx512.h"

#include <fovea/engine.h>

/* 16 weights, f32 or bf16. */
FVI_INLINE __m512 load_weights(const uint8_t *at, bool bf16, __mmask16 mask)
{
    if (!bf16) {
        return _mm512_maskz_loadu_ps(mask, at);
    }
    __m256i half = _mm256_maskz_loadu_epi16(mask, at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

FVI_INLINE void tile_of(const fvi_linear_tile *tile, const uint32_t rows, const uint32_t columns,
                        const bool bf16)
{
    const float *x = tile->x;
    const uint8_t *w = tile->w;
    const size_t size = bf16 ? sizeof(uint16_t) : sizeof(float), row_bytes = tile->k * size;
    size_t offset[8]; /* of the columns, in bytes */
    __m512 acc[FVI_TILE_ROWS][8];
#pragma GCC unroll 8
    for (uint32_t c = 0; c < columns; c++) {
        offset[c] = fvi_tile_column(tile, c) * size;
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            acc[r][c] = _mm512_setzero_ps();
        }
    }
    for (uint32_t k = 0; k < tile->k; k += 16) {
        __mmask16 mask = fvi_mask16(tile->k - k);
        ptrdiff_t ahead = fvi_tile_ahead_of(tile, row_bytes, k * size);
        __m512 xs[FVI_TILE_ROWS];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            xs[r] = _mm512_maskz_loadu_ps(mask, x + r * tile->x_stride + k);
        }
#pragma GCC unroll 8
        for (uint32_t c = 0; c < columns; c++) {
            __m512 ws = load_weights(w + k * size + offset[c], bf16, mask);
            fvi_tile_prefetch(w + k * size + offset[c], ahead);
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                acc[r][c] = _mm512_fmadd_ps(xs[r], ws, acc[r][c]);
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

FVI_INLINE void tile_f32(const fvi_linear_tile *tile, const uint32_t rows, const uint32_t columns)
{
    tile_of(tile, rows, columns, false);
}

/* bf16 weights against bf16 values held in f32. */
FVI_INLINE void tile_widened(const fvi_linear_tile *tile, const uint32_t rows,
                             const uint32_t columns)
{
    tile_of(tile, rows, columns, true);
}

FVI_TILE_FUNCTIONS(fvi_avx512_f32, tile_f32, 8, 8, 4, 4, 4, 4)
FVI_TILE_FUNCTIONS(fvi_avx512_bf16_widened, tile_widened, 8, 8, 4, 4, 4, 4)

fovea_status fvi_avx512_linear(fvi_backend *backend, const fvi_linear_args *args)
{
    if (args->w_dtype == FVI_DTYPE_F32) {
        fvi_linear_run(backend, args, &fvi_avx512_f32, args->x, args->x_stride, sizeof(float));
        return FOVEA_OK;
    }
    size_t n = (size_t)args->m * args->k;
    if ((backend->features & FOVEA_CPU_AVX512_BF16) != 0) {
        uint16_t *rounded = fvi_cpu_scratch(backend, n * sizeof *rounded);
        if (rounded == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        FVI_TRY(fvi_cpu_round_rows(backend, args, rounded));
        fvi_linear_run(backend, args, &fvi_avx512_bf16_native, rounded, args->k, sizeof *rounded);
        return FOVEA_OK;
    }
    float *widened = fvi_cpu_scratch(backend, n * sizeof *widened);
    if (widened == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    FVI_TRY(fvi_cpu_widen_rows(backend, args, widened));
    fvi_linear_run(backend, args, &fvi_avx512_bf16_widened, widened, args->k, sizeof(float));
    return FOVEA_OK;
}
