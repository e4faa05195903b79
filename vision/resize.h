/* resize.h - resampling of 8-bit RGB, bit-exact to Pillow's Image.resize with the same filter.
 *
 * Pillow's scheme: separable convolution with antialiasing support, coefficients in fixed point with
 * 22 bits (32 - 8 - 2), horizontal pass first, rounding to 8 bits between the passes.
 * Called by preprocess.c and samples' pictures. Threads: any. */
#ifndef FOVEA_VISION_RESIZE_H
#define FOVEA_VISION_RESIZE_H

#include "vision/preprocess.h"

/* dst: [dst_height, dst_width, 3] without gaps. */
fovea_status fvi_resize_rgb(const fovea_alloc *alloc, fvi_resample filter,
                            const uint8_t *src /* [src_height, src_width, 3] */, uint32_t src_width,
                            uint32_t src_height, uint8_t *dst, uint32_t dst_width, uint32_t dst_height);

#endif
