/* linear_avx2.c - AVX2 products in f32, also over bf16 weights, 16 elements along k at a time.
 *
 * 16 bf16 become two vectors of f32 by one instruction each, which puts zeros below the numbers: 0-3 and
 * 8-11, then 4-7 and 12-15. x, which is copied to be rounded anyway, is laid out in that order once, with
 * zeros up to a multiple of 16. Decode rows always come here; prompt rows only where oneDNN is absent.
 * Called through the table. */
#include "sdk/ops/linear_tile.h"
#include "sdk/ops/simd_avx2.h"

#include <fovea/engine.h>

#define STEP 16u

/* Half 0 or 1 of 16 bf16, as f32. */
FVI_INLINE __m256 half_of(__m256i bf16, const uint32_t half)
{
    const __m256i zero = _mm256_setzero_si256();
    return _mm256_castsi256_ps(half == 0 ? _mm256_unpacklo_epi16(zero, bf16)
                                         : _mm256_unpackhi_epi16(zero, bf16));
}

/* The same of memory, with a zero that is made anew, which costs nothing: a register that keeps it is one too many for
 * the widest tile, and a sum that is stored and loaded again at each step takes a third longer. */
FVI_INLINE __m256 half_at(const uint8_t *at, const uint32_t half)
{
    __m256i zero, bf16 = _mm256_loadu_si256((const void *)at);
    __asm__ volatile("vpxor %0, %0, %0" : "=x"(zero));
    return _mm256_castsi256_ps(half == 0 ? _mm256_unpacklo_epi16(zero, bf16)
                                         : _mm256_unpackhi_epi16(zero, bf16));
}

/* Half 0 or 1 of the STEP weights at `at`, of which n are there. */
FVI_INLINE __m256 load_weights(const uint8_t *at, const bool bf16, const bool full,
                               const uint32_t half, uint32_t n)
{
    if (!bf16) {
        const float *w = (const float *)(const void *)at + 8 * half;
        return fvi_load8(w, n > 8 * half ? n - 8 * half : 0);
    }
    if (n >= STEP) {
        return full ? half_at(at, half) : half_of(_mm256_loadu_si256((const void *)at), half);
    }
    uint16_t part[STEP] = {0};
    memcpy(part, at, n * sizeof *part);
    return half_of(_mm256_loadu_si256((const void *)part), half);
}

/* x beside f32 weights ends where they do; beside bf16 weights it goes on with zeros. */
FVI_INLINE __m256 load_x(const float *x, const bool bf16, const uint32_t half, uint32_t n)
{
    return bf16 ? _mm256_loadu_ps(x + 8 * half)
                : fvi_load8(x + 8 * half, n > 8 * half ? n - 8 * half : 0);
}

/* One step along k, n of STEP elements. Weights of one or two columns at a time are widened: there are 16
 * registers, and the widest tile needs all of them. */
FVI_INLINE void step(__m256 acc[FVI_TILE_ROWS][8], const float *x, size_t x_stride,
                     const uint8_t *w, const size_t offset[8], ptrdiff_t ahead, const uint32_t rows,
                     const uint32_t columns, const bool bf16, uint32_t n)
{
    const uint32_t group = rows <= 2 ? 1 : 2;
    const bool full = rows == FVI_TILE_ROWS;
#pragma GCC unroll 8
    for (uint32_t first = 0; first < columns; first += group) {
#pragma GCC unroll 2
        for (uint32_t c = first; c < first + group; c++) {
            fvi_tile_prefetch(w + offset[c], ahead);
        }
#pragma GCC unroll 2
        for (uint32_t half = 0; half < 2; half++) {
            __m256 ws[2];
            if (full) {
                __asm__("" : "+r"(w)); /* weights are read again for the other half, not kept */
            }
#pragma GCC unroll 2
            for (uint32_t c = 0; c < group; c++) {
                ws[c] = load_weights(w + offset[first + c], bf16, full, half, n);
            }
#pragma GCC unroll 8
            for (uint32_t r = 0; r < rows; r++) {
                __m256 xs = load_x(x + r * x_stride, bf16, half, n);
                if (full) {
                    __asm__("" : "+x"(xs)); /* loaded once for both columns */
                }
#pragma GCC unroll 2
                for (uint32_t c = 0; c < group; c++) {
                    acc[r][first + c] = _mm256_fmadd_ps(xs, ws[c], acc[r][first + c]);
                }
            }
        }
    }
}

/* Stores columns first..first+3 of a row from their sums along k. */
FVI_INLINE void store(const fvi_linear_tile *tile, uint32_t row, uint32_t first, __m128 sum)
{
    if (first >= tile->n_col) {
        return;
    }
    __m128i mask = _mm256_castsi256_si128(fvi_mask8(tile->n_col - first));
    float *y = tile->y + row * tile->y_stride + first;
    if (tile->bias != NULL) {
        sum = _mm_add_ps(sum, _mm_maskload_ps(tile->bias + first, mask));
    }
    if (tile->add) {
        sum = _mm_add_ps(sum, _mm_maskload_ps(y, mask));
    }
    _mm_maskstore_ps(y, mask, sum);
}

FVI_INLINE void tile_of(const fvi_linear_tile *tile, const uint32_t rows, const uint32_t columns,
                        const bool bf16)
{
    const float *x = tile->x;
    const uint8_t *w = tile->w;
    const size_t size = bf16 ? sizeof(uint16_t) : sizeof(float), row_bytes = tile->k * size;
    const __m256 zero = _mm256_setzero_ps();
    size_t offset[8]; /* of the columns, in bytes */
    __m256 acc[FVI_TILE_ROWS][8];
#pragma GCC unroll 8
    for (uint32_t c = 0; c < columns; c++) {
        offset[c] = fvi_tile_column(tile, c) * size;
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            acc[r][c] = zero;
        }
    }
    uint32_t k = 0;
    for (; k + STEP <= tile->k; k += STEP) {
        step(acc, x + k, tile->x_stride, w + k * size, offset,
             fvi_tile_ahead_of(tile, row_bytes, k * size), rows, columns, bf16, STEP);
    }
    if (k < tile->k) {
        step(acc, x + k, tile->x_stride, w + k * size, offset,
             fvi_tile_ahead_of(tile, row_bytes, k * size), rows, columns, bf16, tile->k - k);
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (uint32_t c = 0; c < columns; c += 4) {
            store(tile, r, c,
                  columns == 2 ? fvi_sum4(acc[r][0], acc[r][1], zero, zero)
                               : fvi_sum4(acc[r][c], acc[r][c + 1], acc[r][c + 2], acc[r][c + 3]));
        }
    }
}

FVI_INLINE void tile_f32(const fvi_linear_tile *tile, const uint32_t rows, const uint32_t columns)
{
    tile_of(tile, rows, columns, false);
}

FVI_INLINE void tile_bf16(const fvi_linear_tile *tile, const uint32_t rows, const uint32_t columns)
{
    tile_of(tile, rows, columns, true);
}

FVI_TILE_FUNCTIONS(fvi_avx2_f32, tile_f32, 8, 4, 2, 2, 2, 2)
FVI_TILE_FUNCTIONS(fvi_avx2_bf16, tile_bf16, 8, 4, 2, 2, 2, 2)

typedef struct widen_args {
    const fvi_linear_args *linear;
    float *out; /* [m, k up to a multiple of STEP] */
} widen_args;

/* A row of x rounded to bf16, in the order of half_of. */
static void widen_row(const void *args, uint32_t row)
{
    const widen_args *a = args;
    uint32_t k = a->linear->k;
    const float *x = a->linear->x + row * a->linear->x_stride;
    float *out = a->out + row * fvi_round_up(k, STEP);
    for (uint32_t i = 0; i < k; i += STEP) {
        uint32_t n = k - i;
        __m128i low = fvi_round_bf16(load_x(x + i, false, 0, n));
        __m256i both = _mm256_set_m128i(fvi_round_bf16(load_x(x + i, false, 1, n)), low);
        _mm256_storeu_ps(out + i, half_of(both, 0));
        _mm256_storeu_ps(out + i + 8, half_of(both, 1));
    }
}

fovea_status fvi_avx2_linear(fvi_backend *backend, const fvi_linear_args *args)
{
    if (args->w_dtype == FVI_DTYPE_F32) {
        fvi_linear_run(backend, args, &fvi_avx2_f32, args->x, args->x_stride, sizeof(float));
        return FOVEA_OK;
    }
    size_t stride = fvi_round_up(args->k, STEP);
    float *x = fvi_cpu_scratch(backend, args->m * stride * sizeof *x);
    if (x == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    const widen_args widen = {.linear = args, .out = x};
    FVI_TRY(fvi_cpu_run_rows(backend, &widen, widen_row, args->m, args->k));
    fvi_linear_run(backend, args, &fvi_avx2_bf16, x, stride, sizeof *x);
    return FOVEA_OK;
}
