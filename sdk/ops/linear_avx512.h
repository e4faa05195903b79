/* linear_avx512.h - the AVX-512 products: tiles of a few rows by a few columns, and who runs them.
 *
 * A tile sums each (row, column) in one accumulator along k and reduces it in one order, so a row's bits
 * do not depend on its company. Included by the AVX-512 files. */
#ifndef FOVEA_OPS_LINEAR_AVX512_H
#define FOVEA_OPS_LINEAR_AVX512_H

#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/simd_avx512.h"

#define FVI_TILE_ROWS  6 /* most rows of a tile */
#define FVI_TILE_AHEAD ((size_t)2048)

/* What one tile computes: y [rows, n_col] = x w^T. */
typedef struct fvi_linear_tile {
    const void *x; /* [rows, k], in the kernel's type, rows without gaps of x_stride elements */
    size_t x_stride;
    const void *w;     /* [n_col, k] */
    const float *bias; /* [n_col] or NULL */
    float *y;
    size_t y_stride;
    uint32_t k, n_col; /* n_col: 1 to the kernel's columns */
    bool add;
    ptrdiff_t next; /* bytes from w to the weights of the tile that this worker will want next */
} fvi_linear_tile;

typedef void (*fvi_linear_tile_fn)(const fvi_linear_tile *tile);

typedef struct fvi_linear_kernels {
    fvi_linear_tile_fn tile[FVI_TILE_ROWS]; /* by rows - 1 */
    uint32_t columns[FVI_TILE_ROWS];        /* columns of such a tile */
} fvi_linear_kernels;

extern const fvi_linear_kernels fvi_avx512_f32;
/* bf16 weights: x is bf16 for the CPU's own products, else bf16 values in f32. */
extern const fvi_linear_kernels fvi_avx512_bf16_native;
extern const fvi_linear_kernels fvi_avx512_bf16_widened;

/* The columns' rows of w; a missing column repeats the last, and is not stored. */
FVI_INLINE size_t fvi_tile_column(const fvi_linear_tile *tile, uint32_t column)
{
    return (size_t)FVI_MIN(column, tile->n_col - 1) * tile->k;
}

/* What to ask for while at byte `at` of the tile's rows: the same rows further on, or at their end the next
 * tile's; as an offset from the place of each row. The rows of a tile are too short for the processor to
 * see streams in them: half of the memory's speed without this. */
FVI_INLINE ptrdiff_t fvi_tile_ahead_of(const fvi_linear_tile *tile, size_t row_bytes, size_t at)
{
    size_t distance = FVI_MIN(row_bytes, FVI_TILE_AHEAD);
    if (at + distance < row_bytes) {
        return (ptrdiff_t)distance;
    }
    return (ptrdiff_t)distance - (ptrdiff_t)row_bytes + tile->next;
}

FVI_INLINE void fvi_tile_prefetch(const void *at, ptrdiff_t offset)
{
    _mm_prefetch((const char *)((uintptr_t)at + (uintptr_t)offset), _MM_HINT_T0);
}

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

/* The kernels for 1 to FVI_TILE_ROWS rows from one inlined body(tile, rows, columns). */
#define FVI_TILE_FUNCTIONS(name, body)                                                             \
    static void name##_1(const fvi_linear_tile *tile)                                              \
    {                                                                                              \
        body(tile, 1, 8);                                                                          \
    }                                                                                              \
    static void name##_2(const fvi_linear_tile *tile)                                              \
    {                                                                                              \
        body(tile, 2, 8);                                                                          \
    }                                                                                              \
    static void name##_3(const fvi_linear_tile *tile)                                              \
    {                                                                                              \
        body(tile, 3, 4);                                                                          \
    }                                                                                              \
    static void name##_4(const fvi_linear_tile *tile)                                              \
    {                                                                                              \
        body(tile, 4, 4);                                                                          \
    }                                                                                              \
    static void name##_5(const fvi_linear_tile *tile)                                              \
    {                                                                                              \
        body(tile, 5, 4);                                                                          \
    }                                                                                              \
    static void name##_6(const fvi_linear_tile *tile)                                              \
    {                                                                                              \
        body(tile, 6, 4);                                                                          \
    }                                                                                              \
    const fvi_linear_kernels name = {{name##_1, name##_2, name##_3, name##_4, name##_5, name##_6}, \
                                     {8, 8, 4, 4, 4, 4}};

#endif
