/* linear_tile.c - the run over all tiles of a product, for every kind of kernel.
 *
 * Columns are shared out in pieces; called by the products for processors. */
#include "sdk/ops/linear_tile.h"

#define PIECE_MIN 65536  /* bytes of weights of one part: below, memory streams get too short */
#define PIECE_MAX 262144 /* above, the last part keeps the others waiting */
#define FEW_ROWS  24     /* up to here all rows visit a tile of weights before the next one */

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

void fvi_linear_run(fvi_backend *backend, const fvi_linear_args *args,
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
