/* codec_affine.h - what all codes share: one scale and one minimum (f16) for a group of values, value = code *
 * scale + min.
 *
 * The minimum is rounded down and the scale up, so that [min, min + levels * scale] covers the group and
 * no value is off by more than half a scale (and a few ulp of the arithmetic in f32):
 *     scale <= ((max - min) + ulp16(min)) / levels * (1 + 2^-10) + 2^-24
 * A group of equal f16 values has scale 0 and is exact. Values are clipped to f16's range, so a code never
 * stands for infinity; a NaN becomes the minimum. Included by codec_codes.c and codec_channel.c. */
#ifndef FOVEA_KVCOMPRESS_CODEC_AFFINE_H
#define FOVEA_KVCOMPRESS_CODEC_AFFINE_H

#include "sdk/base/dtype.h"
#include "sdk/ops/codec.h"

#define FVI_F16_LARGEST 65504.0f

typedef struct fvi_affine {
    float scale, min;
} fvi_affine;

static inline fvi_affine fvi_affine_load(const uint8_t *at)
{
    uint16_t half[2];
    memcpy(half, at, sizeof half);
    return (fvi_affine){.scale = fvi_f16_to_f32(half[0]), .min = fvi_f16_to_f32(half[1])};
}

/* The f16 below x (or x), and the one above x >= 0; x finite and within range. */
static inline uint16_t fvi_f16_floor(float x)
{
    uint16_t half = fvi_f32_to_f16(x);
    if (fvi_f16_to_f32(half) <= x) {
        return half;
    }
    if ((half & 0x7fffu) == 0) {
        return 0x8001u; /* below zero comes the smallest negative one */
    }
    return (uint16_t)((half & 0x8000u) != 0 ? half + 1 : half - 1);
}

static inline uint16_t fvi_f16_ceil_positive(float x)
{
    uint16_t half = fvi_f32_to_f16(x);
    return (uint16_t)(fvi_f16_to_f32(half) >= x ? half : half + 1);
}

static inline float fvi_affine_clip(float x)
{
    float low = x > -FVI_F16_LARGEST ? x : -FVI_F16_LARGEST; /* NaN too */
    return low < FVI_F16_LARGEST ? low : FVI_F16_LARGEST;
}

/* Chooses and stores the scale and minimum of values from low to high, within f16's range; a group of
 * nothing but NaN has low above high. */
static inline fvi_affine fvi_affine_store(float low, float high, float levels, uint8_t *at)
{
    low = low < -FVI_F16_LARGEST ? -FVI_F16_LARGEST : low;
    high = high > FVI_F16_LARGEST ? FVI_F16_LARGEST : high < low ? low : high;
    uint16_t half[2];
    half[1] = fvi_f16_floor(low);
    half[0] = fvi_f16_ceil_positive((high - fvi_f16_to_f32(half[1])) / levels);
    memcpy(at, half, sizeof half);
    return (fvi_affine){.scale = fvi_f16_to_f32(half[0]), .min = fvi_f16_to_f32(half[1])};
}

#define FVI_LANES 16 /* independent minima and maxima, so that they vectorise */

/* The scale and minimum of x[d]; NaN is passed over. */
static inline fvi_affine fvi_affine_fit(const float *x, uint32_t d, float levels, uint8_t *at)
{
    float lows[FVI_LANES], highs[FVI_LANES];
    for (uint32_t lane = 0; lane < FVI_LANES; lane++) {
        lows[lane] = FVI_F16_LARGEST;
        highs[lane] = -FVI_F16_LARGEST;
    }
    uint32_t c = 0;
    for (; c + FVI_LANES <= d; c += FVI_LANES) {
        for (uint32_t lane = 0; lane < FVI_LANES; lane++) {
            lows[lane] = x[c + lane] < lows[lane] ? x[c + lane] : lows[lane];
            highs[lane] = x[c + lane] > highs[lane] ? x[c + lane] : highs[lane];
        }
    }
    for (; c < d; c++) {
        lows[0] = x[c] < lows[0] ? x[c] : lows[0];
        highs[0] = x[c] > highs[0] ? x[c] : highs[0];
    }
    float low = lows[0], high = highs[0];
    for (uint32_t lane = 1; lane < FVI_LANES; lane++) {
        low = lows[lane] < low ? lows[lane] : low;
        high = highs[lane] > high ? highs[lane] : high;
    }
    return fvi_affine_store(low, high, levels, at);
}

static inline uint8_t fvi_affine_code(float x, float min, float inverse, float levels)
{
    float code = (x - min) * inverse + 0.5f;
    code = code > 0.0f ? code : 0.0f; /* NaN too */
    return (uint8_t)(int32_t)(code < levels ? code : levels);
}

/* Codes of one row, one a byte, and its scales. */
static inline void fvi_affine_row(const float *x, uint32_t d, float levels, uint8_t *codes,
                                  uint8_t *affine)
{
    for (uint32_t first = 0; first < d; first += FVI_GROUP, affine += 4) {
        uint32_t n = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
        fvi_affine fit = fvi_affine_fit(x + first, n, levels, affine);
        float inverse = fit.scale > 0.0f ? 1.0f / fit.scale : 0.0f;
        for (uint32_t c = 0; c < n; c++) {
            codes[first + c] = fvi_affine_code(x[first + c], fit.min, inverse, levels);
        }
    }
}

#endif
