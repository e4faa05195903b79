/* encoder.c - the table of encoders and what all of them share.
 *
 * Called by the engine's families; the encoders call the helpers at the end. */
#include "vision/encoder.h"

#include <stdio.h>

static const fvi_encoder_type *const types[] = {
#define FVI_ENCODER(name) &fvi_encoder_##name,
#include "vision/encoders.def"
#undef FVI_ENCODER
};

/* NULL, with *err filled, when no encoder has it. */
static const fvi_encoder_type *find_type(const char *model_type, fovea_error *err)
{
    for (size_t i = 0; i < FVI_COUNT(types); i++) {
        if (strcmp(types[i]->model_type, model_type) == 0) {
            return types[i];
        }
    }
    FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "image encoder \"%.64s\" is not supported", model_type);
    return NULL;
}

fovea_status fvi_encoder_describe(const fvi_vision_config *config, fvi_feature_select select,
                                  fvi_encoder_info *out, fovea_error *err)
{
    const fvi_encoder_type *type = find_type(config->model_type, err);
    return type != NULL ? type->describe(config, select, out, err) : FOVEA_ERR_UNSUPPORTED;
}

fovea_status fvi_encoder_open(const fvi_encoder_options *options, fvi_encoder **out,
                              fovea_error *err)
{
    *out = NULL;
    const fvi_encoder_type *type = find_type(options->config->model_type, err);
    if (type == NULL) {
        return FOVEA_ERR_UNSUPPORTED;
    }
    fvi_encoder_info info;
    fvi_encoder *encoder = NULL;
    FVI_TRY(type->describe(options->config, options->select, &info, err));
    FVI_TRY(type->open(options, &info, &encoder, err));
    encoder->type = type;
    encoder->info = info;
    *out = encoder;
    return FOVEA_OK;
}

const fvi_encoder_info *fvi_encoder_info_get(const fvi_encoder *encoder)
{
    return &encoder->info;
}

fovea_status fvi_encoder_run(fvi_encoder *encoder, const float *pixels, float *out,
                             fovea_error *err)
{
    fovea_status status = encoder->type->run(encoder, pixels, out);
    if (status < 0) {
        return FVI_FAIL(err, status, "image encoder: %s", fovea_status_text(status));
    }
    return FOVEA_OK;
}

void fvi_encoder_close(fvi_encoder **encoder)
{
    if (*encoder != NULL) {
        (*encoder)->type->close(*encoder);
        *encoder = NULL;
    }
}

fovea_status fvi_tensor_prefix(const fvi_params *params, const char *prefix, const char *inner,
                               const char *name, char *out, size_t out_bytes, fovea_error *err)
{
    const char *const outer[] = {"", "model."};
    const char *const inners[] = {"", inner};
    for (size_t i = 0; i < FVI_COUNT(outer); i++) {
        for (size_t j = 0; j < FVI_COUNT(inners); j++) {
            char full[512];
            int n = snprintf(full, sizeof full, "%s%s%s%s", outer[i], prefix, inners[j], name);
            size_t n_prefix = (size_t)n - strlen(name);
            if (n < 0 || (size_t)n >= sizeof full || n_prefix >= out_bytes) {
                return FVI_FAIL(err, FOVEA_ERR_ARG, "the prefix %.64s is too long", prefix);
            }
            if (fvi_params_has(params, full)) {
                memcpy(out, full, n_prefix);
                out[n_prefix] = '\0';
                return FOVEA_OK;
            }
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_NOT_FOUND, "the checkpoint has no tensor %s%s", prefix, name);
}

fvi_act fvi_act_of(fvi_config_act act)
{
    static const fvi_act of[] = {
        [FVI_CONFIG_ACT_SILU] = FVI_ACT_SILU,
        [FVI_CONFIG_ACT_GELU] = FVI_ACT_GELU,
        [FVI_CONFIG_ACT_GELU_TANH] = FVI_ACT_GELU_TANH,
        [FVI_CONFIG_ACT_GELU_QUICK] = FVI_ACT_QUICK_GELU,
    };
    return of[act];
}
