/* image_decode.h - what the file decoders share with image.c: limits, the canvas they fill, EXIF.
 *
 * A decoder reads its header, opens the canvas (which checks the caps before it takes pixel memory) and
 * puts rows of RGB; the canvas turns them by the EXIF orientation while they arrive.
 * Called by image.c, image_png.c, image_jpeg.c. Threads: any, one canvas - one at a time. */
#ifndef FOVEA_VISION_IMAGE_DECODE_H
#define FOVEA_VISION_IMAGE_DECODE_H

#include "sdk/base/base.h"

#include <fovea/image.h>

typedef struct fvi_canvas {
    const fovea_alloc *alloc;
    uint8_t *pixels;          /* [height, width, 3], the picture as it is shown */
    uint32_t width, height;   /* of the picture as it is shown */
    uint8_t *origin;          /* where pixel (0, 0) of the file goes */
    ptrdiff_t step_x, step_y; /* bytes from a pixel of the file to its right and lower neighbour */
} fvi_canvas;

/* FOVEA_ERR_FORMAT for an empty picture, FOVEA_ERR_LIMIT over a cap of options. Allocates nothing. */
fovea_status fvi_image_check_size(const fovea_image_options *options, uint64_t width,
                                  uint64_t height, fovea_error *err);

/* Takes pixel memory for a file of width x height pixels, orientation 1..8 as EXIF has it. */
fovea_status fvi_canvas_open(const fovea_image_options *options, uint32_t width, uint32_t height,
                             unsigned orientation, fvi_canvas *out, fovea_error *err);
void fvi_canvas_close(fvi_canvas *canvas);

/* Puts n pixels into row y of the file, at columns x, x + step, x + 2 step, ... */
void fvi_canvas_put(const fvi_canvas *canvas, uint32_t y, uint32_t x, uint32_t step, uint32_t n,
                    const uint8_t *rgb /* [n, 3] */);

/* The orientation (1..8) in n_bytes of a TIFF header and its first directory; 1 when it is absent or
 * damaged, as viewers do. */
unsigned fvi_exif_orientation(const uint8_t *tiff, size_t n_bytes);

bool fvi_png_recognise(const uint8_t *data, size_t n_bytes);
bool fvi_jpeg_recognise(const uint8_t *data, size_t n_bytes);
/* On success the canvas is the caller's. */
fovea_status fvi_png_decode(const fovea_image_options *options, const uint8_t *data, size_t n_bytes,
                            fvi_canvas *out, fovea_error *err);
fovea_status fvi_jpeg_decode(const fovea_image_options *options, const uint8_t *data,
                             size_t n_bytes, fvi_canvas *out, fovea_error *err);

#endif
