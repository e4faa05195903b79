/* resize.c - Pillow's resampling (src/libImaging/Resample.c) for 8-bit RGB, written anew.
 *
 * Layout: filters, the coefficients of one axis, the two passes, the entry points.
 * Every rounding stands where Pillow has it: coefficients in double, normalised to a sum of one, then to
 * 22-bit fixed point half away from zero; each pass starts from one half and shifts. The order of the
 * passes is Pillow 13's (see vertical_first). */
#include "vision/resize.h"

#include <math.h>

#define PRECISION_BITS (32 - 8 - 2)
#define HALF           ((int32_t)1 << (PRECISION_BITS - 1))

typedef double (*filter_fn)(double x);

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    }
    if (x < 2.0) {
        return (((x - 5) * x + 8) * x - 4) * a;
    }
    return 0.0;
}

static double sinc(double x)
{
    if (x == 0.0) {
        return 1.0;
    }
    x = x * M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static filter_fn find_filter(fvi_resample filter, double *support)
{
    switch (filter) {
    case FVI_RESAMPLE_BILINEAR: *support = 1.0; return bilinear;
    case FVI_RESAMPLE_BICUBIC: *support = 2.0; return bicubic;
    case FVI_RESAMPLE_LANCZOS: *support = 3.0; return lanczos;
    }
    return NULL;
}

/* What one output position of an axis is made of: source positions first..first+n-1. */
typedef struct span {
    uint32_t first, n;
} span;

typedef struct axis {
    span *spans;    /* [n_out], ascending */
    int32_t *taps;  /* [n_out, max_tap] */
    uint32_t n_out; /* positions in the window */
    uint32_t max_tap;
    uint32_t first, n_in; /* source positions that all spans together need */
} axis;

static void axis_free(const fovea_alloc *alloc, axis *self)
{
    fvi_free(alloc, self->spans);
    fvi_free(alloc, self->taps);
}

static int32_t to_fixed(double x)
{
    double scaled = x * (1 << PRECISION_BITS);
    return (int32_t)(x < 0 ? scaled - 0.5 : scaled + 0.5);
}

static span find_span(double center, double support, uint32_t n_in)
{
    int64_t first = (int64_t)(center - support + 0.5);
    int64_t end = (int64_t)(center + support + 0.5);
    first = FVI_MAX(first, 0);
    end = FVI_MIN(end, (int64_t)n_in);
    return (span){.first = (uint32_t)first, .n = end > first ? (uint32_t)(end - first) : 0};
}

/* Sizes are equal: Pillow leaves the axis alone, which is one tap of one. */
static void fill_identity(axis *self, uint32_t out_first)
{
    for (uint32_t i = 0; i < self->n_out; i++) {
        self->spans[i] = (span){.first = out_first + i, .n = 1};
        self->taps[(size_t)i * self->max_tap] = 1 << PRECISION_BITS;
    }
}

static void fill_taps(axis *self, filter_fn weigh, double scale, double support, uint32_t n_in,
                      uint32_t out_first, double *weights /* [max_tap] */)
{
    double inverse = 1.0 / FVI_MAX(scale, 1.0);
    for (uint32_t i = 0; i < self->n_out; i++) {
        double center = (out_first + i + 0.5) * scale;
        span at = find_span(center, support, n_in);
        double sum = 0.0;
        for (uint32_t t = 0; t < at.n; t++) {
            weights[t] = weigh((t + at.first - center + 0.5) * inverse);
            sum += weights[t];
        }
        for (uint32_t t = 0; t < at.n; t++) {
            self->taps[(size_t)i * self->max_tap + t] =
                to_fixed(sum != 0.0 ? weights[t] / sum : weights[t]);
        }
        self->spans[i] = at;
    }
}

/* Positions out_first..out_first+n_out-1 of n_in pixels resized to n_full. */
static fovea_status axis_init(const fovea_alloc *alloc, fvi_resample filter, uint32_t n_in,
                              uint32_t n_full, uint32_t out_first, uint32_t n_out, axis *self)
{
    double support = 0.0;
    filter_fn weigh = find_filter(filter, &support);
    double scale = (double)n_in / n_full;
    support *= FVI_MAX(scale, 1.0);
    *self = (axis){.n_out = n_out, .max_tap = (uint32_t)ceil(support) * 2 + 1};
    fovea_status status = FOVEA_ERR_NOMEM;
    size_t n_tap;
    double *weights = fvi_calloc(alloc, self->max_tap, sizeof *weights);
    self->spans = fvi_calloc(alloc, n_out, sizeof *self->spans);
    if (weights == NULL || self->spans == NULL || fvi_mul_overflow(n_out, self->max_tap, &n_tap) ||
        (self->taps = fvi_calloc(alloc, n_tap, sizeof *self->taps)) == NULL) {
        goto done;
    }
    if (n_in == n_full) {
        fill_identity(self, out_first);
    } else {
        fill_taps(self, weigh, scale, support, n_in, out_first, weights);
    }
    const span *last = &self->spans[n_out - 1];
    self->first = self->spans[0].first;
    self->n_in = last->first + last->n - self->first;
    status = FOVEA_OK;
done:
    fvi_free(alloc, weights);
    return status;
}

static uint8_t clip(int32_t sum)
{
    sum >>= PRECISION_BITS; /* arithmetic in every compiler we build with, as Pillow assumes */
    return (uint8_t)(sum < 0 ? 0 : FVI_MIN(sum, 255));
}

/* Rows of pixels, `stride` bytes apart. */
typedef struct rows {
    uint8_t *data;
    size_t stride;
} rows;

/* src: [n_row, x->n_in, 3], its first column being x->first; dst: [n_row, x->n_out, 3]. */
static void run_horizontal(const axis *x, const uint8_t *src, size_t src_stride, uint32_t n_row,
                           rows dst)
{
    for (uint32_t j = 0; j < n_row; j++) {
        const uint8_t *from = src + j * src_stride;
        uint8_t *to = dst.data + j * dst.stride;
        for (uint32_t i = 0; i < x->n_out; i++) {
            const int32_t *taps = x->taps + (size_t)i * x->max_tap;
            const uint8_t *pixel = from + (size_t)(x->spans[i].first - x->first) * 3;
            int32_t r = HALF, g = HALF, b = HALF;
            for (uint32_t t = 0; t < x->spans[i].n; t++, pixel += 3) {
                r += pixel[0] * taps[t];
                g += pixel[1] * taps[t];
                b += pixel[2] * taps[t];
            }
            to[3 * i] = clip(r);
            to[3 * i + 1] = clip(g);
            to[3 * i + 2] = clip(b);
        }
    }
}

/* src: [y->n_in, n_byte], its first row being y->first; dst: [y->n_out, n_byte]; sums: [n_byte].
 * Tap by tap over whole rows, so that the compiler can vectorise it: integer sums have no order. */
static void run_vertical(const axis *y, const uint8_t *src, size_t src_stride, size_t n_byte,
                         int32_t *sums, rows dst)
{
    for (uint32_t j = 0; j < y->n_out; j++) {
        const int32_t *taps = y->taps + (size_t)j * y->max_tap;
        const uint8_t *from = src + (y->spans[j].first - y->first) * src_stride;
        for (size_t i = 0; i < n_byte; i++) {
            sums[i] = HALF;
        }
        for (uint32_t t = 0; t < y->spans[j].n; t++, from += src_stride) {
            const int32_t tap = taps[t];
            for (size_t i = 0; i < n_byte; i++) {
                sums[i] += from[i] * tap;
            }
        }
        for (size_t i = 0; i < n_byte; i++) {
            dst.data[j * dst.stride + i] = clip(sums[i]);
        }
    }
}

/* Since version 13 Pillow shrinks the height first when it shrinks much more than the width; before, it
 * always began with the width. The order shows in the rounding between the passes. */
static bool vertical_first(uint32_t src_width, uint32_t src_height, uint32_t dst_width,
                           uint32_t dst_height)
{
    return src_height > dst_height &&
           (int64_t)src_height - dst_height > 2 * ((int64_t)src_width - dst_width);
}

/* src points at the first pixel that x and y need. */
static fovea_status run_passes(const fovea_alloc *alloc, const axis *x, const axis *y, bool y_first,
                               const uint8_t *src, size_t src_stride, rows dst)
{
    const size_t n_byte =
        (size_t)(y_first ? x->n_in : x->n_out) * 3; /* of a row between the passes */
    const uint32_t n_row = y_first ? y->n_out : y->n_in;
    fovea_status status = FOVEA_ERR_NOMEM;
    size_t n_total;
    rows middle = {.stride = n_byte};
    int32_t *sums = fvi_calloc(alloc, n_byte, sizeof *sums);
    if (sums == NULL || fvi_mul_overflow(n_row, n_byte, &n_total) ||
        (middle.data = fvi_alloc(alloc, n_total)) == NULL) {
        goto done;
    }
    if (y_first) {
        run_vertical(y, src, src_stride, n_byte, sums, middle);
        run_horizontal(x, middle.data, middle.stride, n_row, dst);
    } else {
        run_horizontal(x, src, src_stride, n_row, middle);
        run_vertical(y, middle.data, middle.stride, n_byte, sums, dst);
    }
    status = FOVEA_OK;
done:
    fvi_free(alloc, middle.data);
    fvi_free(alloc, sums);
    return status;
}

static bool in_range(uint32_t first, uint32_t n, uint32_t size)
{
    return size > 0 && size <= FVI_RESIZE_MAX_SIDE && n > 0 && first < size && n <= size - first;
}

fovea_status fvi_resize_rgb_window(const fovea_alloc *alloc, fvi_resample filter,
                                   const uint8_t *src, uint32_t src_width, uint32_t src_height,
                                   uint32_t dst_width, uint32_t dst_height, fvi_window window,
                                   uint8_t *dst, size_t dst_stride)
{
    double support;
    if (!in_range(0, src_width, src_width) || !in_range(0, src_height, src_height) ||
        !in_range(window.x, window.width, dst_width) ||
        !in_range(window.y, window.height, dst_height) || find_filter(filter, &support) == NULL) {
        return FOVEA_ERR_ARG;
    }
    axis x = {0}, y = {0};
    fovea_status status =
        axis_init(alloc, filter, src_width, dst_width, window.x, window.width, &x);
    if (status == FOVEA_OK) {
        status = axis_init(alloc, filter, src_height, dst_height, window.y, window.height, &y);
    }
    if (status == FOVEA_OK) {
        const size_t src_stride = (size_t)src_width * 3;
        status =
            run_passes(alloc, &x, &y, vertical_first(src_width, src_height, dst_width, dst_height),
                       src + y.first * src_stride + (size_t)x.first * 3, src_stride,
                       (rows){.data = dst, .stride = dst_stride});
    }
    axis_free(alloc, &x);
    axis_free(alloc, &y);
    return status;
}

fovea_status fvi_resize_rgb(const fovea_alloc *alloc, fvi_resample filter, const uint8_t *src,
                            uint32_t src_width, uint32_t src_height, uint8_t *dst,
                            uint32_t dst_width, uint32_t dst_height)
{
    const fvi_window whole = {.width = dst_width, .height = dst_height};
    return fvi_resize_rgb_window(alloc, filter, src, src_width, src_height, dst_width, dst_height,
                                 whole, dst, (size_t)dst_width * 3);
}
