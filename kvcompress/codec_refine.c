/* codec_refine.c - least squares for channels in 2 bits.
 *
 * With 4 levels the range is a bad scale: of 64 to 127 normally distributed values the outermost stretch it
 * to about 1.6 deviations a step, where the least squares want 1.0 (Max, "Quantizing for minimum
 * distortion", 1960); CalibQuant (2502.14882) shrinks the range by calibrated factors for the same reason.
 * Here each channel of a group of tokens finds its own: codes are drawn from a part of the range and scale
 * and minimum fitted to them by regression, in turns; the range stays where that loses less. A channel that
 * holds NaN or infinity keeps it.
 * Of normal values that takes 40% off the squared error, of attention's output half of the error. A
 * regression leaves no mean error in a channel, so errors of tokens cancel in attention's sums. Scales per
 * token are left alone: there the same outlying channels would be cut in every token, which adds up (V per
 * token: 0.145 for 0.114 in tests/kvcompress/test_quant). 4 bits gain nothing. */
#include "kvcompress/codec_refine.h"

/* Squared error left of normal, uniform and Laplacian values: range 0.221, 0.104, 0.357; so 0.113, 0.060,
 * 0.167; from four starts in eight turns 0.109, 0.060, 0.161, at three times the cost. */
#define SHARE  0.7f /* of the range, where the search begins */
#define N_TURN 2

/* Columns of a group worked on side by side. */
typedef struct columns {
    const float *x; /* [n, width], rows stride floats apart */
    size_t stride;
    uint32_t n, width;
    float levels;
} columns;

/* Squared error of every column. */
static void lost_squares(const columns *g, const fvi_affine *fit, float *out)
{
    float inverse[FVI_REFINE_WIDTH];
    for (uint32_t i = 0; i < g->width; i++) {
        inverse[i] = fit[i].scale > 0.0f ? 1.0f / fit[i].scale : 0.0f;
        out[i] = 0.0f;
    }
    for (uint32_t t = 0; t < g->n; t++) {
        const float *row = g->x + t * g->stride;
        for (uint32_t i = 0; i < g->width; i++) {
            float code = fvi_affine_code(row[i], fit[i].min, inverse[i], g->levels);
            float d = code * fit[i].scale + fit[i].min - row[i];
            out[i] += d * d;
        }
    }
}

/* One turn: the codes that `fit` gives, and the line through (code, value) that loses the least. Columns
 * whose codes are all the same stay as they are. */
static void regress(const columns *g, fvi_affine *fit)
{
    float inverse[FVI_REFINE_WIDTH], c1[FVI_REFINE_WIDTH], c2[FVI_REFINE_WIDTH];
    float x1[FVI_REFINE_WIDTH], cx[FVI_REFINE_WIDTH];
    for (uint32_t i = 0; i < g->width; i++) {
        inverse[i] = fit[i].scale > 0.0f ? 1.0f / fit[i].scale : 0.0f;
        c1[i] = c2[i] = x1[i] = cx[i] = 0.0f;
    }
    for (uint32_t t = 0; t < g->n; t++) {
        const float *row = g->x + t * g->stride;
        for (uint32_t i = 0; i < g->width; i++) {
            float code = fvi_affine_code(row[i], fit[i].min, inverse[i], g->levels);
            float x = row[i] - fit[i].min; /* near zero: sums of large offsets would cancel */
            c1[i] += code;
            c2[i] += code * code;
            x1[i] += x;
            cx[i] += code * x;
        }
    }
    float n = (float)g->n;
    for (uint32_t i = 0; i < g->width; i++) {
        float spread = n * c2[i] - c1[i] * c1[i];
        float scale = spread > 0.0f ? (n * cx[i] - c1[i] * x1[i]) / spread : 0.0f;
        if (scale > 0.0f) {
            fit[i].min += (x1[i] - scale * c1[i]) / n;
            fit[i].scale = scale;
        }
    }
}

/* What f16 holds of a fit; infinite where it does not fit. */
static void round_to_f16(fvi_affine *fit, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        fit[i].scale = fvi_f16_to_f32(fvi_f32_to_f16(fit[i].scale));
        fit[i].min = fvi_f16_to_f32(fvi_f32_to_f16(fit[i].min));
    }
}

void fvi_affine_refine(const float *x, size_t stride, uint32_t n, uint32_t width, float levels,
                       fvi_affine *fit, uint8_t *affine)
{
    const columns g = {.x = x, .stride = stride, .n = n, .width = width, .levels = levels};
    fvi_affine better[FVI_REFINE_WIDTH];
    float lost[FVI_REFINE_WIDTH], lost_better[FVI_REFINE_WIDTH];
    for (uint32_t i = 0; i < width; i++) {
        better[i].scale = fit[i].scale * SHARE;
        better[i].min = fit[i].min + fit[i].scale * levels * (1.0f - SHARE) / 2;
    }
    for (uint32_t turn = 0; turn < N_TURN; turn++) {
        regress(&g, better);
    }
    round_to_f16(better, width);
    lost_squares(&g, fit, lost);
    lost_squares(&g, better, lost_better);
    for (uint32_t i = 0; i < width; i++) {
        if (lost_better[i] < lost[i]) { /* false for NaN */
            fit[i] = better[i];
        }
        const uint16_t half[2] = {fvi_f32_to_f16(fit[i].scale), fvi_f32_to_f16(fit[i].min)};
        memcpy(affine + (size_t)i * 4, half, sizeof half);
    }
}
