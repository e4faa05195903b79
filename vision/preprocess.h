/* preprocess.h - from a decoded picture to the pixel values an encoder expects, as Hugging Face's image
 * processors make them.
 *
 * resize (Pillow's bilinear, bicubic, Lanczos, bit-exact) -> centre crop -> rescale -> normalise ->
 * [3, height, width] f32, the same bits as the processors of transformers on Pillow (use_fast=False, the
 * "Pil" classes of version 5). Read from processor_config.json ("image_processor") or, without that,
 * preprocessor_config.json. What a config asks for and this code does not do is refused by name.
 * Called by the engine when a picture enters a prompt. Threads: any. */
#ifndef FOVEA_VISION_PREPROCESS_H
#define FOVEA_VISION_PREPROCESS_H

#include "sdk/base/base.h"

#include <fovea/image.h>

typedef enum fvi_resample {
    FVI_RESAMPLE_BILINEAR = 2, /* Pillow's numbers */
    FVI_RESAMPLE_BICUBIC = 3,
    FVI_RESAMPLE_LANCZOS = 1,
} fvi_resample;

typedef struct fvi_preprocess {
    uint32_t resize_width, resize_height; /* exact target, 0 when shortest_edge is used */
    uint32_t shortest_edge;               /* 0: exact size */
    uint32_t crop_width, crop_height;     /* 0: no crop */
    fvi_resample resample;
    bool do_resize, do_crop, do_rescale, do_normalize;
    double rescale; /* applied in double, as numpy does */
    float mean[3], std[3];
    uint32_t width, height; /* of the result */
} fvi_preprocess;

fovea_status fvi_preprocess_load(const fovea_alloc *alloc, const char *dir, fvi_preprocess *out,
                                 fovea_error *err);
/* The part of a picture of this size that is seen: left, top, right, bottom, as shares of its sides. All
 * of it where its size is refused by run. */
void fvi_preprocess_part(const fvi_preprocess *self, uint32_t width, uint32_t height, float part[4]);
/* out: [3, height, width], allocated by the caller. */
fovea_status fvi_preprocess_run(const fvi_preprocess *self, const fovea_alloc *alloc,
                                const fovea_image *image, float *out, fovea_error *err);

#endif
