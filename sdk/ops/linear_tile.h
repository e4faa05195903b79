/* linear_tile.h - own products as tiles of a few rows by a few columns, and who runs them.
 *
 * A tile sums each (row, column) in one accumulator along k and reduces it in one order, so a row's bits
 * do not depend on its company. The kernels stand in the files for processors (linear_avx2.c,
 * linear_avx512.c, linear_avx512bf16.c); linear_tile.c walks over all tiles of a product. */
#ifndef FOVEA_OPS_LINEAR_TILE_H
#define FOVEA_OPS_LINEAR_TILE_H

#include "sdk/ops/cpu_impl.h"

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

/* All tiles of a product; x [m, k] in the kernels' type, of x_bytes an element. */
void fvi_linear_run(fvi_backend *backend, const fvi_linear_args *args,
                    const fvi_linear_kernels *kernels, const void *x, size_t x_stride,
                    size_t x_bytes);

/* The columns' rows of w; a missing column repeats the last, and is not stored. */
static inline size_t fvi_tile_column(const fvi_linear_tile *tile, uint32_t column)
{
    return (size_t)FVI_MIN(column, tile->n_col - 1) * tile->k;
}

/* What to ask for while at byte `at` of the tile's rows: the same rows further on, or at their end the next
 * tile's; as an offset from the place of each row. The rows of a tile are too short for the processor to
 * see streams in them: half of the memory's speed without this. */
static inline ptrdiff_t fvi_tile_ahead_of(const fvi_linear_tile *tile, size_t row_bytes, size_t at)
{
    size_t distance = FVI_MIN(row_bytes, FVI_TILE_AHEAD);
    if (at + distance < row_bytes) {
        return (ptrdiff_t)distance;
    }
    return (ptrdiff_t)distance - (ptrdiff_t)row_bytes + tile->next;
}

static inline void fvi_tile_prefetch(const void *at, ptrdiff_t offset)
{
    __builtin_prefetch((const char *)((uintptr_t)at + (uintptr_t)offset));
}

/* The kernels for 1 to FVI_TILE_ROWS rows from one inlined body(tile, rows, columns); c1..c6: the columns of
 * each. */
#define FVI_TILE_FUNCTION(name, body, rows, columns)                                               \
    static void name##_##rows(const fvi_linear_tile *tile)                                         \
    {                                                                                              \
        body(tile, rows, columns);                                                                 \
    }
#define FVI_TILE_FUNCTIONS(name, body, c1, c2, c3, c4, c5, c6)                                     \
    FVI_TILE_FUNCTION(name, body, 1, c1)                                                           \
    FVI_TILE_FUNCTION(name, body, 2, c2)                                                           \
    FVI_TILE_FUNCTION(name, body, 3, c3)                                                           \
    FVI_TILE_FUNCTION(name, body, 4, c4)                                                           \
    FVI_TILE_FUNCTION(name, body, 5, c5)                                                           \
    FVI_TILE_FUNCTION(name, body, 6, c6)                                                           \
    const fvi_linear_kernels name = {{name##_1, name##_2, name##_3, name##_4, name##_5, name##_6}, \
                                     {c1, c2, c3, c4, c5, c6}};

#endif
