/* encoder_clip.c - CLIP's vision tower: a class token, no bias on patches, a norm before the layers.
 *
 * Everything else is encoder_vit.c. Reached through encoders.def. */
#include "vision/encoder_vit.h"

static const fvi_vit_shape shape = {.class_token = true,
                                    .pre_norm = "pre_layrnorm" /* its name in every checkpoint */};

static fovea_status describe(const fvi_vision_config *config, fvi_feature_select select,
                             fvi_encoder_info *out, fovea_error *err)
{
    return fvi_vit_describe(&shape, config, select, out, err);
}

static fovea_status open_clip(const fvi_encoder_options *options, const fvi_encoder_info *info,
                              fvi_encoder **out, fovea_error *err)
{
    return fvi_vit_open(&shape, options, info, out, err);
}

const fvi_encoder_type fvi_encoder_clip = {.model_type = "clip_vision_model",
                                           .describe = describe,
                                           .open = open_clip,
                                           .run = fvi_vit_run,
                                           .close = fvi_vit_close};
