/* rows_avx512.c - operations on single rows with AVX-512: norms (sums in double), activations, rotation.
 *
 * Called through the table. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/simd_avx512.h"

#include <math.h>

FVI_INLINE __m512d low8(__m512 x)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}

FVI_INLINE __m512d high8(__m512 x)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

/* The sum of (x - mean)^2 over d elements; with mean 0 the sum of squares. */
FVI_INLINE double squares(const float *x, uint32_t d, double mean)
{
    __m512d sum = _mm512_setzero_pd(), more = _mm512_setzero_pd(), center = _mm512_set1_pd(mean);
    for (uint32_t i = 0; i < d; i += 16) {
        __mmask16 mask = fvi_mask16(d - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        __m512d a = _mm512_maskz_sub_pd((__mmask8)mask, low8(v), center);
        __m512d b = _mm512_maskz_sub_pd((__mmask8)(mask >> 8), high8(v), center);
        sum = _mm512_fmadd_pd(a, a, sum);
        more = _mm512_fmadd_pd(b, b, more);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(sum, more));
}

static void rms_norm_row(const void *args, uint32_t row)
{
    const fvi_norm_args *a = args;
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    double mean_square = squares(x, a->d, 0.0) / a->d;
    __m512 factor = _mm512_set1_ps((float)(1.0 / sqrt(mean_square + (double)a->eps)));
    for (uint32_t i = 0; i < a->d; i += 16) {
        __mmask16 mask = fvi_mask16(a->d - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, a->w + i)));
    }
}

static fovea_status rms_norm(fvi_backend *backend, const fvi_norm_args *args)
{
    return fvi_cpu_run_rows(backend, args, rms_norm_row, args->m, args->d);
}

static void layer_norm_row(const void *args, uint32_t row)
{
    const fvi_norm_args *a = args;
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    __m512d sum = _mm512_setzero_pd();
    for (uint32_t i = 0; i < a->d; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(fvi_mask16(a->d - i), x + i);
        sum = _mm512_add_pd(sum, _mm512_add_pd(low8(v), high8(v)));
    }
    double mean = _mm512_reduce_add_pd(sum) / a->d;
    double factor = 1.0 / sqrt(squares(x, a->d, mean) / a->d + (double)a->eps);
    __m512d center = _mm512_set1_pd(mean), scale = _mm512_set1_pd(factor);
    for (uint32_t i = 0; i < a->d; i += 16) {
        __mmask16 mask = fvi_mask16(a->d - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        __m256 low = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_sub_pd(low8(v), center), scale));
        __m256 high = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_sub_pd(high8(v), center), scale));
        v = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
        v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, a->w + i));
        if (a->b != NULL) {
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, a->b + i));
        }
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}

static fovea_status layer_norm(fvi_backend *backend, const fvi_norm_args *args)
{
    return fvi_cpu_run_rows(backend, args, layer_norm_row, args->m, args->d);
}

/* x / (1 + e^-t): x times the logistic function of t. */
FVI_INLINE __m512 gate(__m512 x, __m512 t)
{
    __m512 e = fvi_exp16(_mm512_sub_ps(_mm512_setzero_ps(), t));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

/* erf: x p(x^2) below 0.93, 1 - e^q(|x|) above; minimax polynomials, about one unit in the last place. */
FVI_INLINE __m512 erf16(__m512 x)
{
    __m512 t = _mm512_abs_ps(x), s = _mm512_mul_ps(x, x), one = _mm512_set1_ps(1.0f);
    __m512 near = _mm512_set1_ps(-5.96761703e-4f);
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(4.99119423e-3f));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(-2.67681349e-2f));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(1.12819925e-1f));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(-3.76125336e-1f));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(1.28379166e-1f));
    near = _mm512_fmadd_ps(near, x, x);
    t = _mm512_min_ps(_mm512_set1_ps(9.0f), t); /* 1 from about 4 on; a NaN stays one */
    __m512 far = _mm512_set1_ps(-1.72853470e-5f);
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(3.83197126e-4f));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-3.88396438e-3f));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(2.42546219e-2f));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-1.06777877e-1f));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-6.34846687e-1f));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-1.28717512e-1f));
    far = _mm512_fmsub_ps(far, t, t);
    far = _mm512_sub_ps(one, fvi_exp16(far));
    __m512 sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f));
    far = _mm512_or_ps(far, sign);
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(t, _mm512_set1_ps(0.927734375f), _CMP_GT_OQ),
                                near, far);
}

FVI_INLINE __m512 activate(fvi_act act, __m512 x)
{
    switch (act) {
    case FVI_ACT_SILU: return gate(x, x);
    case FVI_ACT_GELU: {
        __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
        return _mm512_fmadd_ps(half, erf16(_mm512_mul_ps(x, _mm512_set1_ps((float)M_SQRT1_2))),
                               half);
    }
    case FVI_ACT_GELU_TANH: { /* 0.5 (1 + tanh t) is the logistic function of 2 t */
        const double twice = 2 * M_2_SQRTPI * M_SQRT1_2;
        __m512 cubic =
            _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps((float)(twice * 0.044715)));
        return gate(x, _mm512_mul_ps(x, _mm512_add_ps(_mm512_set1_ps((float)twice), cubic)));
    }
    case FVI_ACT_QUICK_GELU: return gate(x, _mm512_mul_ps(x, _mm512_set1_ps(1.702f)));
    case FVI_ACT_RELU: return _mm512_max_ps(_mm512_setzero_ps(), x);
    }
    return x;
}

FVI_INLINE void act_row_of(const fvi_act_args *a, uint32_t row, fvi_act act)
{
    const float *x = a->x + row * a->x_stride;
    const float *u = a->u != NULL ? a->u + row * a->u_stride : NULL;
    float *y = a->y + row * a->y_stride;
    for (uint32_t i = 0; i < a->d; i += 16) {
        __mmask16 mask = fvi_mask16(a->d - i);
        __m512 v = activate(act, _mm512_maskz_loadu_ps(mask, x + i));
        if (u != NULL) {
            v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, u + i));
        }
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}

static void act_row(const void *args, uint32_t row)
{
    const fvi_act_args *a = args;
    switch (a->act) {
    case FVI_ACT_SILU: act_row_of(a, row, FVI_ACT_SILU); break;
    case FVI_ACT_GELU: act_row_of(a, row, FVI_ACT_GELU); break;
    case FVI_ACT_GELU_TANH: act_row_of(a, row, FVI_ACT_GELU_TANH); break;
    case FVI_ACT_QUICK_GELU: act_row_of(a, row, FVI_ACT_QUICK_GELU); break;
    case FVI_ACT_RELU: act_row_of(a, row, FVI_ACT_RELU); break;
    }
}

static fovea_status activate_rows(fvi_backend *backend, const fvi_act_args *args)
{
    return fvi_cpu_run_rows(backend, args, act_row, args->m, args->d);
}

static void rope_row(const void *args, uint32_t row)
{
    const fvi_rope_args *r = args;
    uint32_t half = r->d / 2;
    const float *cosine = r->cosine + (size_t)row * half;
    const float *sine = r->sine + (size_t)row * half;
    for (uint32_t i = 0; i < half; i += 16) {
        __mmask16 mask = fvi_mask16(half - i);
        __m512 c = _mm512_maskz_loadu_ps(mask, cosine + i);
        __m512 s = _mm512_maskz_loadu_ps(mask, sine + i);
        for (uint32_t head = 0; head < r->n_head; head++) {
            float *at = r->x + row * r->x_stride + (size_t)head * r->d + i;
            __m512 a = _mm512_maskz_loadu_ps(mask, at);
            __m512 b = _mm512_maskz_loadu_ps(mask, at + half);
            __m512 x = _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s));
            __m512 y = _mm512_add_ps(_mm512_mul_ps(b, c), _mm512_mul_ps(a, s));
            _mm512_mask_storeu_ps(at, mask, x);
            _mm512_mask_storeu_ps(at + half, mask, y);
        }
    }
}

static fovea_status rope(fvi_backend *backend, const fvi_rope_args *args)
{
    return fvi_cpu_run_rows(backend, args, rope_row, args->m, args->n_head * args->d);
}

void fvi_avx512_fill_rows(fvi_ops *ops)
{
    ops->rms_norm = rms_norm;
    ops->layer_norm = layer_norm;
    ops->act = activate_rows;
    ops->rope = rope;
}
