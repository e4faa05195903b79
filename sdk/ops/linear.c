/* linear.c - which product a linear operation takes: the row class and the features decide, the number
 * of rows never does.
 *
 * Called through the table of operations. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/linear_onednn.h"

#include <fovea/engine.h>

#define ROUND_ROWS 16 /* of one part */

typedef struct round_job {
    const fvi_linear_args *args;
    uint16_t *out;
} round_job;

static void round_part(void *arg, uint32_t part, uint32_t worker)
{
    (void)worker;
    const round_job *job = arg;
    const fvi_linear_args *a = job->args;
    uint32_t end = FVI_MIN(a->m, (part + 1) * ROUND_ROWS);
    for (uint32_t row = part * ROUND_ROWS; row < end; row++) {
        fvi_convert(job->out + (size_t)row * a->k, FVI_DTYPE_BF16, a->x + row * a->x_stride,
                    FVI_DTYPE_F32, a->k);
    }
}

void fvi_cpu_round_rows(fvi_backend *backend, const fvi_linear_args *args, uint16_t *out)
{
    round_job job = {.args = args, .out = out};
    fvi_pool_run(backend->pool, (args->m + ROUND_ROWS - 1) / ROUND_ROWS, round_part, &job);
}

#if FVI_HAVE_ONEDNN
static fovea_status onednn_linear(fvi_backend *backend, const fvi_linear_args *args)
{
    struct fvi_onednn *lib = ((fvi_cpu_impl *)backend->impl)->onednn;
    if (args->w_dtype == FVI_DTYPE_F32) {
        return fvi_onednn_linear(lib, backend, args, args->x, args->x_stride);
    }
    uint16_t *rounded = fvi_cpu_scratch(backend, (size_t)args->m * args->k * sizeof *rounded);
    if (rounded == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    fvi_cpu_round_rows(backend, args, rounded);
    return fvi_onednn_linear(lib, backend, args, rounded, args->k);
}
#endif

fovea_status fvi_cpu_linear(fvi_backend *backend, const fvi_linear_args *args)
{
#if FVI_HAVE_ONEDNN
    if (args->rows == FVI_ROWS_PREFILL && (backend->features & FOVEA_CPU_ONEDNN) != 0) {
        fovea_status status = onednn_linear(backend, args);
        if (status != FOVEA_ERR_UNSUPPORTED) {
            return status;
        }
    }
#endif
#if FVI_HAVE_AVX512
    if ((backend->features & FOVEA_CPU_AVX512) != 0) {
        return fvi_avx512_linear(backend, args);
    }
#endif
#if FVI_HAVE_AVX2
    if ((backend->features & FOVEA_CPU_AVX2) != 0) {
        return fvi_avx2_linear(backend, args);
    }
#endif
    return fvi_ref_linear(backend, args);
}
