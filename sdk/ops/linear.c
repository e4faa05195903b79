/* linear.c - which product a linear operation takes: the row class and the features decide, the number
 * of rows never does.
 *
 * Called through the table of operations. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/linear_onednn.h"

#include <fovea/engine.h>

#define PIECE 512u /* elements rounded and widened at a time */

typedef struct round_args {
    const fvi_linear_args *linear;
    uint16_t *rounded; /* [m, k] */
    float *widened;    /* [m, k] */
} round_args;

static void round_row(const void *args, uint32_t row)
{
    const round_args *round = args;
    const fvi_linear_args *a = round->linear;
    fvi_convert(round->rounded + (size_t)row * a->k, FVI_DTYPE_BF16, a->x + row * a->x_stride,
                FVI_DTYPE_F32, a->k);
}

fovea_status fvi_cpu_round_rows(fvi_backend *backend, const fvi_linear_args *args, uint16_t *out)
{
    const round_args round = {.linear = args, .rounded = out};
    return fvi_cpu_run_rows(backend, &round, round_row, args->m, args->k);
}

static void widen_row(const void *args, uint32_t row)
{
    const round_args *round = args;
    const fvi_linear_args *a = round->linear;
    const float *x = a->x + row * a->x_stride;
    float *out = round->widened + (size_t)row * a->k;
    uint16_t rounded[PIECE];
    for (uint32_t i = 0; i < a->k; i += PIECE) {
        uint32_t n = FVI_MIN(a->k - i, PIECE);
        fvi_convert(rounded, FVI_DTYPE_BF16, x + i, FVI_DTYPE_F32, n);
        fvi_convert(out + i, FVI_DTYPE_F32, rounded, FVI_DTYPE_BF16, n);
    }
}

fovea_status fvi_cpu_widen_rows(fvi_backend *backend, const fvi_linear_args *args, float *out)
{
    const round_args round = {.linear = args, .widened = out};
    return fvi_cpu_run_rows(backend, &round, widen_row, args->m, args->k);
}

fovea_status fvi_cpu_linear(fvi_backend *backend, const fvi_linear_args *args)
{
#if FVI_HAVE_ONEDNN
    if (args->rows == FVI_ROWS_PREFILL && (backend->features & FOVEA_CPU_ONEDNN) != 0) {
        fovea_status status =
            fvi_onednn_linear(((fvi_cpu_impl *)backend->impl)->onednn, backend, args);
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
