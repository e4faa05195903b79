/* ref_linear.c - the C reference of linear: every product summed in double, one column after another.
 *
 * Works on any CPU and for both row classes; the oracle of the faster ones. */
#include "sdk/ops/cpu_impl.h"

#define COLUMNS 64 /* of one part */
#define LANES   8

typedef struct linear_job {
    const fvi_linear_args *args;
    const float *x; /* [m, k] as the product sees it: rounded to bf16 with bf16 weights */
    size_t x_stride;
} linear_job;

static double sum_lanes(const double *lanes)
{
    double sum = 0;
    for (uint32_t i = 0; i < LANES; i++) {
        sum += lanes[i];
    }
    return sum;
}

static double dot_f32(const float *x, const float *w, uint32_t n)
{
    double lanes[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t j = 0; j < LANES; j++) {
            lanes[j] += (double)x[i + j] * w[i + j];
        }
    }
    for (; i < n; i++) {
        lanes[i % LANES] += (double)x[i] * w[i];
    }
    return sum_lanes(lanes);
}

static double dot_bf16(const float *x, const uint16_t *w, uint32_t n)
{
    double lanes[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t j = 0; j < LANES; j++) {
            lanes[j] += (double)x[i + j] * fvi_bf16_to_f32(w[i + j]);
        }
    }
    for (; i < n; i++) {
        lanes[i % LANES] += (double)x[i] * fvi_bf16_to_f32(w[i]);
    }
    return sum_lanes(lanes);
}

static void linear_part(void *arg, uint32_t part, uint32_t worker)
{
    (void)worker;
    const linear_job *job = arg;
    const fvi_linear_args *a = job->args;
    uint32_t end = FVI_MIN(a->n, (part + 1) * COLUMNS);
    for (uint32_t column = part * COLUMNS; column < end; column++) {
        size_t at = (size_t)column * a->k;
        for (uint32_t row = 0; row < a->m; row++) {
            const float *x = job->x + row * job->x_stride;
            double sum = a->w_dtype == FVI_DTYPE_BF16
                             ? dot_bf16(x, (const uint16_t *)a->w + at, a->k)
                             : dot_f32(x, (const float *)a->w + at, a->k);
            float *y = a->y + row * a->y_stride + column;
            sum += a->bias != NULL ? a->bias[column] : 0.0f;
            *y = (float)(a->add ? sum + *y : sum);
        }
    }
}

fovea_status fvi_ref_linear(fvi_backend *backend, const fvi_linear_args *args)
{
    linear_job job = {.args = args, .x = args->x, .x_stride = args->x_stride};
    if (args->w_dtype == FVI_DTYPE_BF16) {
        float *rounded = fvi_cpu_scratch(backend, (size_t)args->m * args->k * sizeof *rounded);
        if (rounded == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        for (uint32_t row = 0; row < args->m; row++) {
            const float *x = args->x + row * args->x_stride;
            for (uint32_t i = 0; i < args->k; i++) {
                rounded[(size_t)row * args->k + i] = fvi_bf16_to_f32(fvi_f32_to_bf16(x[i]));
            }
        }
        job.x = rounded;
        job.x_stride = args->k;
    }
    fvi_pool_run(backend->pool, (args->n + COLUMNS - 1) / COLUMNS, linear_part, &job);
    return FOVEA_OK;
}
