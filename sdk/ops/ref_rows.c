/* ref_rows.c - the C reference of the operations on single rows: norms, activations, rotation.
 *
 * Works on any CPU; the oracle of the faster ones. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/rope_rows.h"

#include <math.h>

static void rms_norm_part(void *arg, uint32_t row, uint32_t worker)
{
    (void)worker;
    const fvi_norm_args *a = arg;
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    double sum = 0;
    for (uint32_t i = 0; i < a->d; i++) {
        sum += (double)x[i] * x[i];
    }
    double factor = 1.0 / sqrt(sum / a->d + (double)a->eps);
    for (uint32_t i = 0; i < a->d; i++) {
        y[i] = (float)(x[i] * factor * a->w[i]);
    }
}

fovea_status fvi_ref_rms_norm(fvi_backend *backend, const fvi_norm_args *args)
{
    fvi_norm_args copy = *args;
    fvi_pool_run(backend->pool, args->m, rms_norm_part, &copy);
    return FOVEA_OK;
}

static void layer_norm_part(void *arg, uint32_t row, uint32_t worker)
{
    (void)worker;
    const fvi_norm_args *a = arg;
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    double sum = 0, square = 0;
    for (uint32_t i = 0; i < a->d; i++) {
        sum += x[i];
    }
    double mean = sum / a->d;
    for (uint32_t i = 0; i < a->d; i++) {
        square += (x[i] - mean) * (x[i] - mean);
    }
    double factor = 1.0 / sqrt(square / a->d + (double)a->eps);
    for (uint32_t i = 0; i < a->d; i++) {
        y[i] = (float)((x[i] - mean) * factor * a->w[i] + (a->b != NULL ? a->b[i] : 0.0f));
    }
}

fovea_status fvi_ref_layer_norm(fvi_backend *backend, const fvi_norm_args *args)
{
    fvi_norm_args copy = *args;
    fvi_pool_run(backend->pool, args->m, layer_norm_part, &copy);
    return FOVEA_OK;
}

static double activate(fvi_act act, double x)
{
    switch (act) {
    case FVI_ACT_SILU: return x / (1.0 + exp(-x));
    case FVI_ACT_GELU: return 0.5 * x * (1.0 + erf(x * M_SQRT1_2));
    case FVI_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)));
    case FVI_ACT_QUICK_GELU: return x / (1.0 + exp(-1.702 * x));
    case FVI_ACT_RELU: return x > 0 ? x : 0.0;
    }
    return x;
}

static void act_part(void *arg, uint32_t row, uint32_t worker)
{
    (void)worker;
    const fvi_act_args *a = arg;
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    for (uint32_t i = 0; i < a->d; i++) {
        double value = activate(a->act, x[i]);
        y[i] = (float)(a->u != NULL ? value * a->u[row * a->u_stride + i] : value);
    }
}

fovea_status fvi_ref_act(fvi_backend *backend, const fvi_act_args *args)
{
    fvi_act_args copy = *args;
    fvi_pool_run(backend->pool, args->m, act_part, &copy);
    return FOVEA_OK;
}

static void rope_part(void *arg, uint32_t row, uint32_t worker)
{
    (void)worker;
    const fvi_rope_args *r = arg;
    uint32_t half = r->d / 2;
    const float *c = r->cosine + (size_t)row * half;
    const float *s = r->sine + (size_t)row * half;
    for (uint32_t head = 0; head < r->n_head; head++) {
        fvi_rope_row(r->x + row * r->x_stride + (size_t)head * r->d, half, c, s);
    }
}

fovea_status fvi_ref_rope(fvi_backend *backend, const fvi_rope_args *args)
{
    fvi_rope_args copy = *args;
    fvi_pool_run(backend->pool, args->m, rope_part, &copy);
    return FOVEA_OK;
}
