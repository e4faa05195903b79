/* rows_avx2.c - operations on single rows with AVX2: norms (sums in double), activations, rotation.
 *
 * Called through the table. */
#include "sdk/ops/cpu_impl.h"
#include "sdk/ops/simd_avx2.h"

#include <math.h>

FVI_INLINE __m256d low4(__m256 x)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}

FVI_INLINE __m256d high4(__m256 x)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

FVI_INLINE double sum_pd(__m256d x)
{
    __m128d half = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(half) + _mm_cvtsd_f64(_mm_unpackhi_pd(half, half));
}

/* The sum of (x - mean)^2 over d elements; with mean 0 the sum of squares. */
FVI_INLINE double squares(const float *x, uint32_t d, double mean)
{
    __m256d sum = _mm256_setzero_pd(), more = _mm256_setzero_pd(), center = _mm256_set1_pd(mean);
    for (uint32_t i = 0; i < d; i += 8) {
        __m256 v = fvi_load8(x + i, d - i);
        __m256d a = _mm256_sub_pd(low4(v), center), b = _mm256_sub_pd(high4(v), center);
        if (d - i < 8) { /* nothing, not the mean, from lanes behind the end */
            __m256i mask = fvi_mask8(d - i);
            __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(mask));
            __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(mask, 1));
            a = _mm256_and_pd(a, _mm256_castsi256_pd(low));
            b = _mm256_and_pd(b, _mm256_castsi256_pd(high));
        }
        sum = _mm256_fmadd_pd(a, a, sum);
        more = _mm256_fmadd_pd(b, b, more);
    }
    return sum_pd(_mm256_add_pd(sum, more));
}

static void rms_norm_row(const void *args, uint32_t row)
{
    const fvi_norm_args *a = args;
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    double mean_square = squares(x, a->d, 0.0) / a->d;
    __m256 factor = _mm256_set1_ps((float)(1.0 / sqrt(mean_square + (double)a->eps)));
    for (uint32_t i = 0; i < a->d; i += 8) {
        uint32_t n = a->d - i;
        __m256 v = _mm256_mul_ps(fvi_load8(x + i, n), factor);
        fvi_store8(y + i, n, _mm256_mul_ps(v, fvi_load8(a->w + i, n)));
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
    __m256d sum = _mm256_setzero_pd();
    for (uint32_t i = 0; i < a->d; i += 8) {
        __m256 v = fvi_load8(x + i, a->d - i);
        sum = _mm256_add_pd(sum, _mm256_add_pd(low4(v), high4(v)));
    }
    double mean = sum_pd(sum) / a->d;
    double factor = 1.0 / sqrt(squares(x, a->d, mean) / a->d + (double)a->eps);
    __m256d center = _mm256_set1_pd(mean), scale = _mm256_set1_pd(factor);
    for (uint32_t i = 0; i < a->d; i += 8) {
        uint32_t n = a->d - i;
        __m256 v = fvi_load8(x + i, n);
        __m128 low = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_sub_pd(low4(v), center), scale));
        __m128 high = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_sub_pd(high4(v), center), scale));
        v = _mm256_mul_ps(_mm256_set_m128(high, low), fvi_load8(a->w + i, n));
        if (a->b != NULL) {
            v = _mm256_add_ps(v, fvi_load8(a->b + i, n));
        }
        fvi_store8(y + i, n, v);
    }
}

static fovea_status layer_norm(fvi_backend *backend, const fvi_norm_args *args)
{
    return fvi_cpu_run_rows(backend, args, layer_norm_row, args->m, args->d);
}

/* x / (1 + e^-t): x times the logistic function of t. */
FVI_INLINE __m256 gate(__m256 x, __m256 t)
{
    __m256 e = fvi_exp8(_mm256_sub_ps(_mm256_setzero_ps(), t));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

/* erf: the polynomials of rows_avx512.c, x p(x^2) below 0.93, 1 - e^q(|x|) above. */
FVI_INLINE __m256 erf8(__m256 x)
{
    const __m256 minus = _mm256_set1_ps(-0.0f);
    __m256 t = _mm256_andnot_ps(minus, x), s = _mm256_mul_ps(x, x);
    __m256 near = _mm256_set1_ps(-5.96761703e-4f);
    near = _mm256_fmadd_ps(near, s, _mm256_set1_ps(4.99119423e-3f));
    near = _mm256_fmadd_ps(near, s, _mm256_set1_ps(-2.67681349e-2f));
    near = _mm256_fmadd_ps(near, s, _mm256_set1_ps(1.12819925e-1f));
    near = _mm256_fmadd_ps(near, s, _mm256_set1_ps(-3.76125336e-1f));
    near = _mm256_fmadd_ps(near, s, _mm256_set1_ps(1.28379166e-1f));
    near = _mm256_fmadd_ps(near, x, x);
    t = _mm256_min_ps(_mm256_set1_ps(9.0f), t); /* 1 from about 4 on; a NaN stays one */
    __m256 far = _mm256_set1_ps(-1.72853470e-5f);
    far = _mm256_fmadd_ps(far, t, _mm256_set1_ps(3.83197126e-4f));
    far = _mm256_fmadd_ps(far, t, _mm256_set1_ps(-3.88396438e-3f));
    far = _mm256_fmadd_ps(far, t, _mm256_set1_ps(2.42546219e-2f));
    far = _mm256_fmadd_ps(far, t, _mm256_set1_ps(-1.06777877e-1f));
    far = _mm256_fmadd_ps(far, t, _mm256_set1_ps(-6.34846687e-1f));
    far = _mm256_fmadd_ps(far, t, _mm256_set1_ps(-1.28717512e-1f));
    far = _mm256_fmsub_ps(far, t, t);
    far = _mm256_sub_ps(_mm256_set1_ps(1.0f), fvi_exp8(far));
    far = _mm256_or_ps(far, _mm256_and_ps(x, minus));
    return _mm256_blendv_ps(near, far, _mm256_cmp_ps(t, _mm256_set1_ps(0.927734375f), _CMP_GT_OQ));
}

FVI_INLINE __m256 activate(fvi_act act, __m256 x)
{
    switch (act) {
    case FVI_ACT_SILU: return gate(x, x);
    case FVI_ACT_GELU: {
        __m256 half = _mm256_mul_ps(x, _mm256_set1_ps(0.5f));
        return _mm256_fmadd_ps(half, erf8(_mm256_mul_ps(x, _mm256_set1_ps((float)M_SQRT1_2))),
                               half);
    }
    case FVI_ACT_GELU_TANH: { /* 0.5 (1 + tanh t) is the logistic function of 2 t */
        const double twice = 2 * M_2_SQRTPI * M_SQRT1_2;
        __m256 cubic =
            _mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps((float)(twice * 0.044715)));
        return gate(x, _mm256_mul_ps(x, _mm256_add_ps(_mm256_set1_ps((float)twice), cubic)));
    }
    case FVI_ACT_QUICK_GELU: return gate(x, _mm256_mul_ps(x, _mm256_set1_ps(1.702f)));
    case FVI_ACT_RELU: return _mm256_max_ps(_mm256_setzero_ps(), x);
    }
    return x;
}

FVI_INLINE void act_row_of(const fvi_act_args *a, uint32_t row, fvi_act act)
{
    const float *x = a->x + row * a->x_stride;
    const float *u = a->u != NULL ? a->u + row * a->u_stride : NULL;
    float *y = a->y + row * a->y_stride;
    for (uint32_t i = 0; i < a->d; i += 8) {
        uint32_t n = a->d - i;
        __m256 v = activate(act, fvi_load8(x + i, n));
        if (u != NULL) {
            v = _mm256_mul_ps(v, fvi_load8(u + i, n));
        }
        fvi_store8(y + i, n, v);
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
    for (uint32_t i = 0; i < half; i += 8) {
        uint32_t n = half - i;
        __m256 c = fvi_load8(cosine + i, n), s = fvi_load8(sine + i, n);
        for (uint32_t head = 0; head < r->n_head; head++) {
            float *at = r->x + row * r->x_stride + (size_t)head * r->d + i;
            __m256 a = fvi_load8(at, n), b = fvi_load8(at + half, n);
            fvi_store8(at, n, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
            fvi_store8(at + half, n, _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s)));
        }
    }
}

static fovea_status rope(fvi_backend *backend, const fvi_rope_args *args)
{
    return fvi_cpu_run_rows(backend, args, rope_row, args->m, args->n_head * args->d);
}

void fvi_avx2_fill_rows(fvi_ops *ops)
{
    ops->rms_norm = rms_norm;
    ops->layer_norm = layer_norm;
    ops->act = activate_rows;
    ops->rope = rope;
}
