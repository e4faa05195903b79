/* codec_refine.h - scales and minima of few levels that lose the least squares, a step beyond the range.
 * Called by codec_channel.c. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_CODEC_REFINE_H
#define FOVEA_KVCOMPRESS_CODEC_REFINE_H

#include "kvcompress/codec_affine.h"

#define FVI_REFINE_LEVELS 3.0f /* up to so many, the search is worth it */
#define FVI_REFINE_WIDTH  64

/* Betters fits that cover the ranges of `width` columns x [n, width], at most FVI_REFINE_WIDTH, rows stride
 * floats apart, and stores them, 4 bytes a column. */
void fvi_affine_refine(const float *x, size_t stride, uint32_t n, uint32_t width, float levels,
                       fvi_affine *fit /* [width] */, uint8_t *affine);

#endif
