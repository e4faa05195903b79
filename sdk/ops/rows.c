/* rows.c - runs an operation on single rows in the pool.
 *
 * A part is a few rows, so a decode row costs no hand-over to other threads. Called by the variants for
 * processors (rows_avx2.c, rows_avx512.c). */
#include "sdk/ops/cpu_impl.h"

#define PART_ELEMENTS 16384 /* of one part, about */

typedef struct row_job {
    const void *args;
    fvi_row_fn fn;
    uint32_t m, step;
} row_job;

static void row_part(void *arg, uint32_t part, uint32_t worker)
{
    (void)worker;
    const row_job *job = arg;
    uint32_t end = FVI_MIN(job->m, (part + 1) * job->step);
    for (uint32_t row = part * job->step; row < end; row++) {
        job->fn(job->args, row);
    }
}

fovea_status fvi_cpu_run_rows(fvi_backend *backend, const void *args, fvi_row_fn fn, uint32_t m,
                              uint32_t width)
{
    row_job job = {
        .args = args, .fn = fn, .m = m, .step = FVI_MAX(1u, PART_ELEMENTS / FVI_MAX(width, 1u))};
    fvi_pool_run(backend->pool, (m + job.step - 1) / job.step, row_part, &job);
    return FOVEA_OK;
}
