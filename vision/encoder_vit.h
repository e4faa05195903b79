/* encoder_vit.h - the vision transformer that CLIP and SigLIP share: patches, positions, pre-norm layers.
 *
 * An encoder of that kind is a fvi_vit_shape and three one-line functions (encoder_clip.c). Called by
 * encoder_<name>.c. Threads: one encoder - one at a time. */
#ifndef FOVEA_VISION_ENCODER_VIT_H
#define FOVEA_VISION_ENCODER_VIT_H

#include "vision/encoder.h"

/* What tells the two apart. */
typedef struct fvi_vit_shape {
    bool class_token; /* a learned row before the patches */
    bool patch_bias;
    const char *pre_norm; /* name of a norm before the layers, or NULL */
} fvi_vit_shape;

fovea_status fvi_vit_describe(const fvi_vit_shape *shape, const fvi_vision_config *config,
                              fvi_feature_select select, fvi_encoder_info *out, fovea_error *err);
fovea_status fvi_vit_open(const fvi_vit_shape *shape, const fvi_encoder_options *options,
                          const fvi_encoder_info *info, fvi_encoder **out, fovea_error *err);
fovea_status fvi_vit_run(fvi_encoder *encoder, const float *pixels, float *out);
void fvi_vit_close(fvi_encoder *encoder);

#endif
