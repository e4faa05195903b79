/* row_fit.c - moments, directions and ranges of rows (row_fit.h).
 *
 * Sums run over the rows in order, whatever the pieces: rows are taken a few at a time inside a call, and
 * each is added by itself. Moments are taken about the first row, which for keys takes away most of what all have
 * in common, so that f32 is enough. Called by rewrite.c and distortion.c. */
#include "kvcompress/row_fit.h"

#include "kvcompress/codec_affine.h"
#include "sdk/ops/rope_rows.h"

#include <lapacke.h>

#define ROWS 4 /* whose moments are taken at a time */

/* Floats and whole numbers (of the same size) that ssyevd works in, for its vectors too. */
static size_t work_floats(size_t d)
{
    return 1 + 6 * d + 2 * d * d;
}

static size_t work_ints(size_t d)
{
    return 3 + 5 * d;
}

static size_t axes_in(fvi_row_axes *axes, float *at, uint32_t d)
{
    size_t n = 0;
    *axes = (fvi_row_axes){.d = d};
    float **field[] = {&axes->shift, &axes->mean, &axes->variance, &axes->low, &axes->high};
    for (size_t i = 0; i < FVI_COUNT(field); i++, n += d) {
        *field[i] = at != NULL ? at + n : NULL;
    }
    axes->axis = at != NULL ? at + n : NULL;
    return n + (size_t)d * d;
}

/* Places the parts from `at` (NULL: nowhere) and returns how many floats they take. */
static size_t layout(fvi_row_fit *fit, float *at, uint32_t dk, uint32_t dv)
{
    size_t d = FVI_MAX(dk, dv);
    *fit = (fvi_row_fit){.n_work = work_floats(d)};
    size_t n = axes_in(&fit->side[0], at, dk);
    n += axes_in(&fit->side[1], at != NULL ? at + n : NULL, dv);
    float **field[] = {&fit->rows, &fit->turned, &fit->frequency, &fit->work};
    const size_t size[] = {FVI_ABREAST * d, (size_t)FVI_ABREAST * dk, dk / 2, 0};
    for (size_t i = 0; i < FVI_COUNT(field); i++) {
        *field[i] = at != NULL ? at + n : NULL;
        n += size[i];
    }
    fit->place = at != NULL ? (uint16_t *)(void *)(at + n + fit->n_work + work_ints(d)) : NULL;
    return n + fit->n_work + work_ints(d) + FVI_FIT_ROWS / 2;
}

size_t fvi_row_fit_bytes(uint32_t dk, uint32_t dv)
{
    fvi_row_fit unused;
    if (FVI_MAX(dk, dv) > FVI_FIT_WIDEST) {
        return 0;
    }
    return layout(&unused, NULL, dk, dv) * sizeof(float);
}

void fvi_row_fit_in(fvi_row_fit *fit, void *memory, uint32_t dk, uint32_t dv)
{
    layout(fit, memory, dk, dv);
    for (uint32_t i = 0; i < 2; i++) {
        fvi_row_axes *axes = &fit->side[i];
        memset(axes->mean, 0, axes->d * sizeof(float));
        memset(axes->axis, 0, (size_t)axes->d * axes->d * sizeof(float));
    }
}

/* Sets places from which on the next is a position's distance ahead, at most `most`; returns the last one. */
static uint32_t set_places(fvi_row_fit *fit, uint32_t n, const uint32_t *at, uint32_t most)
{
    uint32_t place = 0;
    for (uint32_t i = 0; i < n; i++) {
        place += i > 0 ? FVI_MIN(at[i] - at[i - 1], most) : 0;
        fit->place[i] = (uint16_t)FVI_MIN(place, 2 * n - 1);
    }
    return place;
}

void fvi_row_fit_turn(fvi_row_fit *fit, float base, uint32_t n, const uint32_t *at)
{
    uint32_t d = fit->side[0].d, most = UINT16_MAX;
    if (base == 0.0f || d % 2 != 0 || d == 0) {
        return;
    }
    fit->base = base;
    fit->n_place = n;
    fvi_rope_frequencies(base, d, fit->frequency);
    /* what lies far apart has little in common: gaps are shortened until the places will do */
    while (set_places(fit, n, at, most) >= 2 * n) {
        most /= 2;
    }
}

void fvi_row_fit_thin(fvi_row_fit *fit, uint32_t stride)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < fit->n_place; i += stride) {
        fit->place[n++] = fit->place[i];
    }
    fit->n_place = n;
}

/* Up to FVI_ABREAST keys, of rows from `first` on, turned back if they are to be. */
static const float *turn_back(const fvi_row_fit *fit, uint32_t first, uint32_t n, const float *k,
                              size_t *stride)
{
    uint32_t d = fit->side[0].d;
    float cosine[FVI_FIT_WIDEST / 2], sine[FVI_FIT_WIDEST / 2];
    if (fit->base == 0.0f) {
        return k;
    }
    for (uint32_t r = 0; r < n; r++) {
        float *row = fit->turned + (size_t)r * d;
        for (uint32_t c = 0; c < d; c++) {
            row[c] = fvi_affine_clip(k[r * *stride + c]);
        }
        fvi_rope_angles(fit->frequency, d / 2, fit->place[first + r], cosine, sine);
        fvi_rope_row_back(row, d / 2, cosine, sine);
    }
    *stride = d;
    return fit->turned;
}

void fvi_rows_abreast(float *rows, uint32_t d, uint32_t n, const float *x, size_t stride,
                      const float *from)
{
    memset(rows, 0, (size_t)FVI_ABREAST * d * sizeof *rows);
    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t c = 0; c < d; c++) {
            rows[(size_t)c * FVI_ABREAST + r] = fvi_affine_clip(x[r * stride + c]) - from[c];
        }
    }
}

/* Up to ROWS rows less `from`; the others are zero. */
static void take_rows(float *rows, uint32_t d, uint32_t n, const float *x, size_t stride,
                      const float *from)
{
    memset(rows, 0, (size_t)ROWS * d * sizeof *rows);
    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t c = 0; c < d; c++) {
            rows[(size_t)r * d + c] = fvi_affine_clip(x[r * stride + c]) - from[c];
        }
    }
}

/* out [n] += the rows (of d), each times its factor, in their order. */
static void add_rows(float *restrict out, const float *restrict rows, uint32_t d, uint32_t n,
                     const float factor[ROWS])
{
    const float *r0 = rows, *r1 = r0 + d, *r2 = r1 + d, *r3 = r2 + d;
    for (uint32_t c = 0; c < n; c++) {
        out[c] =
            out[c] + factor[0] * r0[c] + factor[1] * r1[c] + factor[2] * r2[c] + factor[3] * r3[c];
    }
}

static void add_moments(fvi_row_axes *axes, float *rows, bool is_first, uint32_t n, const float *x,
                        size_t stride)
{
    static const float ones[ROWS] = {1, 1, 1, 1};
    uint32_t d = axes->d;
    for (uint32_t c = 0; is_first && c < d; c++) {
        axes->shift[c] = fvi_affine_clip(x[c]);
    }
    for (uint32_t first = 0; first < n; first += ROWS) {
        take_rows(rows, d, FVI_MIN(n - first, ROWS), x + first * stride, stride, axes->shift);
        add_rows(axes->mean, rows, d, d, ones);
        for (uint32_t i = 0; i < d; i++) { /* the lower triangle */
            float factor[ROWS];
            for (uint32_t r = 0; r < ROWS; r++) {
                factor[r] = rows[(size_t)r * d + i];
            }
            add_rows(axes->axis + (size_t)i * d, rows, d, i + 1, factor);
        }
    }
}

void fvi_row_fit_add(fvi_row_fit *fit, uint32_t n, const float *k, size_t k_stride, const float *v,
                     size_t v_stride)
{
    for (uint32_t first = 0, n_row; first < n; first += n_row) {
        n_row = FVI_MIN(n - first, FVI_ABREAST);
        size_t stride = k_stride;
        const float *keys = turn_back(fit, fit->n, n_row, k + first * k_stride, &stride);
        add_moments(&fit->side[0], fit->rows, fit->n == 0, n_row, keys, stride);
        add_moments(&fit->side[1], fit->rows, fit->n == 0, n_row, v + first * v_stride, v_stride);
        fit->n += n_row;
    }
}

/* Sums become the mean row, and products about it. */
static void centre(fvi_row_axes *axes, uint32_t n)
{
    uint32_t d = axes->d;
    double trace = 0.0, square = 0.0;
    for (uint32_t i = 0; i < d; i++) {
        axes->mean[i] /= (float)n;
    }
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t c = 0; c <= i; c++) {
            float *out = &axes->axis[(size_t)i * d + c];
            *out = *out / (float)n - axes->mean[i] * axes->mean[c];
        }
        trace += (double)axes->axis[(size_t)i * d + i];
    }
    for (uint32_t i = 0; i < d; i++) {
        axes->mean[i] += axes->shift[i];
        square += (double)axes->mean[i] * (double)axes->mean[i];
    }
    axes->square = square + trace;
}

static void solve(fvi_row_axes *axes, uint32_t n, float *work, size_t n_work)
{
    lapack_int d = (lapack_int)axes->d;
    centre(axes, n);
    /* rows that are filled from the left are columns whose upper triangle is */
    lapack_int info = d == 0 ? 0
                             : LAPACKE_ssyevd_work(LAPACK_COL_MAJOR, 'V', 'U', d, axes->axis, d,
                                                   axes->variance, work, (lapack_int)n_work,
                                                   (lapack_int *)(void *)(work + n_work),
                                                   (lapack_int)work_ints(axes->d));
    for (uint32_t i = 0; i < axes->d; i++) {
        axes->low[i] = 0.0f;
        axes->high[i] = 0.0f;
        if (info != 0) {
            axes->variance[i] = 0.0f;
        }
    }
    for (uint32_t i = 0, j = axes->d; i < j;) { /* ascending becomes falling */
        j--;
        if (i < j) {
            float *a = axes->axis + (size_t)i * axes->d, *b = axes->axis + (size_t)j * axes->d;
            for (uint32_t c = 0; c < axes->d; c++) {
                float held = a[c];
                a[c] = b[c];
                b[c] = held;
            }
            float held = axes->variance[i];
            axes->variance[i] = axes->variance[j];
            axes->variance[j] = held;
        }
        i++;
    }
}

void fvi_row_fit_solve(fvi_row_fit *fit)
{
    for (uint32_t i = 0; i < 2; i++) {
        solve(&fit->side[i], FVI_MAX(fit->n, 1u), fit->work, fit->n_work);
    }
}

static void span(fvi_row_axes *axes, float *rows, uint32_t n, const float *x, size_t stride)
{
    uint32_t d = axes->d;
    float along[FVI_ABREAST];
    for (uint32_t first = 0; first < n; first += FVI_ABREAST) {
        fvi_rows_abreast(rows, d, FVI_MIN(n - first, FVI_ABREAST), x + first * stride, stride,
                         axes->mean);
        for (uint32_t i = 0; i < d; i++) {
            fvi_along(axes->axis + (size_t)i * d, rows, d, along);
            for (uint32_t r = 0; r < FVI_ABREAST; r++) {
                axes->low[i] = along[r] < axes->low[i] ? along[r] : axes->low[i];
                axes->high[i] = along[r] > axes->high[i] ? along[r] : axes->high[i];
            }
        }
    }
}

void fvi_row_fit_span(fvi_row_fit *fit, uint32_t n, const float *k, size_t k_stride, const float *v,
                      size_t v_stride)
{
    for (uint32_t first = 0, n_row; first < n; first += n_row) {
        n_row = FVI_MIN(n - first, FVI_ABREAST);
        size_t stride = k_stride;
        const float *keys = turn_back(fit, fit->n_spanned, n_row, k + first * k_stride, &stride);
        span(&fit->side[0], fit->rows, n_row, keys, stride);
        span(&fit->side[1], fit->rows, n_row, v + first * v_stride, v_stride);
        fit->n_spanned += n_row;
    }
}

void fvi_run_store(const fvi_codec *codec, uint8_t *run, uint32_t capacity, uint32_t dk,
                   uint32_t dv, uint32_t n, const float *k, size_t k_stride, const float *v,
                   size_t v_stride, float base, const uint32_t *at, void *memory)
{
    uint32_t places[FVI_FIT_ROWS];
    for (uint32_t first = 0, n_row; first < n; first += n_row) {
        n_row = fvi_codec_fit_rows(codec, capacity, dk, dv, first);
        if (n_row == 0) {
            break;
        }
        uint32_t n_own = FVI_MIN(n_row, n - first);
        const float *own_k = k + first * k_stride, *own_v = v + first * v_stride;
        fvi_row_fit fit;
        fvi_row_fit_in(&fit, memory, dk, dv);
        for (uint32_t i = 0; i < n_own; i++) {
            places[i] = at != NULL ? at[first + i] : first + i;
        }
        fvi_row_fit_turn(&fit, base, n_own, places);
        fvi_row_fit_add(&fit, n_own, own_k, k_stride, own_v, v_stride);
        fvi_row_fit_solve(&fit);
        fvi_row_fit_span(&fit, n_own, own_k, k_stride, own_v, v_stride);
        fvi_codec_settle(codec, &fit, run, capacity, dk, dv, first);
    }
    fvi_codec_encode(codec, run, capacity, dk, dv, 0, n, k, k_stride, v, v_stride);
}
