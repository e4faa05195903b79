/* family_llava.c - LLaVA 1.5 layout: CLIP or SigLIP tower, two-layer projector, Llama-type decoder.
 *
 * Each picture becomes a fixed number of tokens (the tower's patches), all in place of one marker.
 * Tensor names: transformers 4 saved "language_model.model.", transformers 5 "model.language_model.".
 * Registered in families.def. */
#include "sdk/engine/model.h"

#include <stdio.h>

static const char *const decoder_prefixes[] = {"model.language_model.", "language_model.model."};
static fovea_status configure(fvi_model *model, const char *dir, const json_t *config, fovea_error *err)
{
    fvi_llava_config llava;
    FVI_TRY(fvi_llava_config_read(config, &llava, err));
    model->config = llava.text;
    snprintf(model->encoder_name, sizeof model->encoder_name, "%s", llava.vision.model_type);
    model->image_token = (int32_t)llava.image_token;
    return fvi_preprocess_load(model->alloc, dir, &model->preprocess, err);
}

static fovea_status load_tower(fvi_model *model, const fvi_llava_config *llava, fovea_error *err)
{
    fvi_encoder_options options = {.alloc = model->alloc,
                                   .config = &llava->vision,
                                   .n_layer_run = llava->n_layer_run,
                                   .select = llava->feature_select,
                                   .prefix = "vision_tower.",
                                   .params = model->params,
                                   .backend = model->backend};
    FVI_TRY(fvi_encoder_open(&options, &model->encoder, err));
    const fvi_encoder_info *info = fvi_encoder_info_get(model->encoder);
    if (model->preprocess.width != info->image_size || model->preprocess.height != info->image_size) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "the preprocessor makes %ux%u pixels, the encoder was made for %ux%u",
                        model->preprocess.width, model->preprocess.height, info->image_size,
                        info->image_size);
    }
    model->tokens_per_image = info->n_token;
    model->grid_width = info->grid_width;
    model->grid_height = info->grid_height;
    fvi_projector_options projector = {.alloc = model->alloc,
                                       .n_in = info->hidden,
                                       .n_out = model->config.hidden,
                                       .max_token = info->n_token,
                                       .act = llava->projector_act,
                                       .bias = llava->projector_bias,
                                       .prefix = "multi_modal_projector.",
                                       .params = model->params,
                                       .backend = model->backend};
    return fvi_projector_open(&projector, &model->projector, err);
}

static fovea_status load(fvi_model *model, const char *dir, const json_t *config, fovea_error *err)
{
    (void)dir;
    fvi_llava_config llava;
    FVI_TRY(fvi_llava_config_read(config, &llava, err));
    FVI_TRY(fvi_decoder_params_load(model, decoder_prefixes, FVI_COUNT(decoder_prefixes), err));
    return load_tower(model, &llava, err);
}

const fvi_family fvi_family_llava = {
    .name = "llava", .model_type = "llava", .configure = configure, .load = load};
