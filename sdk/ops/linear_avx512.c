/* linear_avx512.c - AVX-512 products in f32, also over bf16 weights on CPUs without bf16 products, and
 * the run over all tiles for every kind of kernel.
 *
 * Decode rows always come here; prompt rows only where oneDNN is absent. Called through the table. */
#include "sdk/ops/linear_avx512.h"

#include <fovea/engine.h>

#define PIECE_MIN 65536  /* bytes of weights of one part: below, memory streams get too short */
#define PIECE_MAX 262144 /* above, the last part keeps the others waiting */
#define FEW_ROWS  24     /* up to here all rows visit a tile of weights before the next one */

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

FVI_TILE_FUNCTIONS(fvi_avx512_f32, tile_f32)
FVI_TILE_FUNCTIONS(fvi_avx512_bf16_widened, tile_widened)

typedef struct linear_job {
    const fvi_linear_args *args;
    const fvi_linear_kernels *kernels;
    const uint8_t *x; /* [m, k] in the kernels' type */
    size_t x_row_bytes;
    size_t x_stride; /* elements */
    uint32_t piece;  /* columns of one part */
    uint32_t n_worker;
} linear_job;

/* All tiles of `rows` rows by the columns of [column, end); `next`: the column that this worker begins with
 * after them. */
static void run_tiles(const linear_job *job, uint32_t row, uint32_t rows, uint32_t column,
                      uint32_t end, uint32_t next)
{
    const fvi_linear_args *a = job->args;
    uint32_t width = job->kernels->columns[rows - 1];
    ptrdiff_t row_bytes = (ptrdiff_t)(a->k * fvi_dtype_bytes(a->w_dtype));
    for (; column < end; column += width) {
        uint32_t then = column + width < end ? column + width : next;
        fvi_linear_tile tile = {
            .x = job->x + row * job->x_row_bytes,
            .x_stride = job->x_stride,
            .w = (const uint8_t *)a->w + (size_t)column * a->k * fvi_dtype_bytes(a->w_dtype),
            .bias = a->bias != NULL ? a->bias + column : NULL,
            .y = a->y + row * a->y_stride + column,
            .y_stride = a->y_stride,
            .k = a->k,
            .n_col = FVI_MIN(width, end - column),
            .add = a->add,
            .next = ((ptrdiff_t)then - (ptrdiff_t)column) * row_bytes,
        };
        job->kernels->tile[rows - 1](&tile);
    }
}

static void linear_part(void *arg, uint32_t part, uint32_t worker)
{
    (void)worker;
    const linear_job *job = arg;
    const fvi_linear_args *a = job->args;
    uint32_t first = part * job->piece;
    uint32_t end = FVI_MIN(a->n, first + job->piece);
    /* weights from memory once: few rows go along the columns together, many rows find the piece in
     * the cache */
    uint32_t step = a->m <= FEW_ROWS ? 8 : end - first;
    uint32_t later = (part + job->n_worker) * job->piece; /* workers take turns while undisturbed */
    for (uint32_t column = first; column < end; column += step) {
        uint32_t stop = FVI_MIN(end, column + step);
        uint32_t next = stop < end ? stop : later < a->n ? later : column;
        for (uint32_t row = 0; row < a->m; row += FVI_TILE_ROWS) {
            run_tiles(job, row, FVI_MIN(a->m - row, FVI_TILE_ROWS), column, stop, next);
        }
    }
}

static void linear_run(fvi_backend *backend, const fvi_linear_args *args,
                       const fvi_linear_kernels *kernels, const void *x, size_t x_stride,
                       size_t x_bytes)
{
    size_t row_bytes = args->k * fvi_dtype_bytes(args->w_dtype);
    uint32_t n_worker = fvi_pool_n_thread(backend->pool);
    size_t bytes = args->n * row_bytes / (n_worker * 8);
    bytes = FVI_MIN(FVI_MAX(bytes, PIECE_MIN), PIECE_MAX);
    linear_job job = {.args = args,
                      .kernels = kernels,
                      .x = x,
                      .x_row_bytes = x_stride * x_bytes,
                      .x_stride = x_stride,
                      .n_worker = n_worker,
                      .piece = (uint32_t)fvi_round_up(bytes / row_bytes + 1, 8)};
    fvi_pool_run(backend->pool, (args->n + job.piece - 1) / job.piece, linear_part, &job);
}

fovea_status fvi_avx512_linear(fvi_backend *backend, const fvi_linear_args *args)
{
    if (args->w_dtype == FVI_DTYPE_F32) {
        linear_run(backend, args, &fvi_avx512_f32, args->x, args->x_stride, sizeof(float));
        return FOVEA_OK;
    }
    size_t n = (size_t)args->m * args->k;
    if ((backend->features & FOVEA_CPU_AVX512_BF16) != 0) {
        uint16_t *rounded = fvi_cpu_scratch(backend, n * sizeof *rounded);
        if (rounded == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        fvi_cpu_round_rows(backend, args, rounded);
        linear_run(backend, args, &fvi_avx512_bf16_native, rounded, args->k, sizeof *rounded);
        return FOVEA_OK;
    }
    float *widened = fvi_cpu_scratch(backend, n * (sizeof(float) + sizeof(uint16_t)));
    if (widened == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    uint16_t *rounded = (uint16_t *)(void *)(widened + n);
    fvi_cpu_round_rows(backend, args, rounded);
    fvi_convert(widened, FVI_DTYPE_F32, rounded, FVI_DTYPE_BF16, n);
    linear_run(backend, args, &fvi_avx512_bf16_widened, widened, args->k, sizeof(float));
    return FOVEA_OK;
}
