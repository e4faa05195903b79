/* resize.h - resampling of 8-bit RGB, bit-exact to Pillow's Image.resize with the same filter.
 *
 * Pillow's scheme: separable convolution with antialiasing support, coefficients in fixed point with
 * 22 bits (32 - 8 - 2), rounding to 8 bits between the passes, whose order is that of Pillow 13.
 * Called by preprocess.c and samples' pictures. Threads: any. */
#ifndef FOVEA_VISION_RESIZE_H
#define FOVEA_VISION_RESIZE_H

#include "vision/preprocess.h"

/* Sides above are refused: positions stay exact in double and below 2^31. */
#define FVI_RESIZE_MAX_SIDE ((uint32_t)1 << 28)

/* A part of a resized picture, in its pixels. */
typedef struct fvi_window {
    uint32_t x, y, width, height;
} fvi_window;

/* dst: [dst_height, dst_width, 3] without gaps. */
fovea_status fvi_resize_rgb(const fovea_alloc *alloc, fvi_resample filter,
                            const uint8_t *src /* [src_height, src_width, 3] */, uint32_t src_width,
                            uint32_t src_height, uint8_t *dst, uint32_t dst_width,
                            uint32_t dst_height);

/* The same, of which only `window` is computed: a crop of a long narrow picture then costs memory and
 * time for the crop alone. dst: [window.height, window.width, 3], rows dst_stride bytes apart. */
fovea_status fvi_resize_rgb_window(const fovea_alloc *alloc, fvi_resample filter,
                                   const uint8_t *src /* [src_height, src_width, 3] */,
                                   uint32_t src_width, uint32_t src_height, uint32_t dst_width,
                                   uint32_t dst_height, fvi_window window, uint8_t *dst,
                                   size_t dst_stride);

#endif
