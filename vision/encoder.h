/* encoder.h - image encoders: pixel values in, one feature row per vision token out.
 *
 *     fvi_encoder_describe (sizes, before anything is loaded)  ->  fvi_encoder_open  ->  run ...  ->  close
 *
 * The types are the lines of encoders.def; the config's model_type chooses one. Features are those of
 * transformers' hidden_states[vision_feature_layer]: only the layers needed are loaded and run, and no
 * post-norm is applied.
 * Called by the engine's families. Threads: describe - any; one encoder - one at a time. */
#ifndef FOVEA_VISION_ENCODER_H
#define FOVEA_VISION_ENCODER_H

#include "sdk/model/config.h"
#include "sdk/model/params.h"
#include "sdk/ops/backend.h"

typedef struct fvi_encoder fvi_encoder;

typedef struct fvi_encoder_info {
    uint32_t n_token; /* rows of features per picture */
    uint32_t hidden;
    uint32_t image_size;              /* of the pixel values, width and height */
    uint32_t grid_width, grid_height; /* patches, row-major */
    /* Token i shows patch i + first_patch. 0 as a rule; -1 where token 0 is a class token that was kept
     * (it has no place in the grid), 1 where select "default" cut the first patch (no class token). */
    int32_t first_patch;
    uint64_t workspace_bytes; /* activations, held from open to close */
} fvi_encoder_info;

typedef struct fvi_encoder_options {
    const fovea_alloc *alloc;
    const fvi_vision_config *config; /* read during open only */
    uint32_t n_layer_run;            /* 0: the embeddings alone */
    fvi_feature_select select;
    const char
        *prefix; /* of the tensor names, "vision_tower."; known variants of it are tried too */
    fvi_params *params;   /* must outlive the encoder */
    fvi_backend *backend; /* must outlive the encoder */
} fvi_encoder_options;

/* FOVEA_ERR_UNSUPPORTED names a model_type that no encoder has. */
fovea_status fvi_encoder_describe(const fvi_vision_config *config, fvi_feature_select select,
                                  fvi_encoder_info *out, fovea_error *err);

fovea_status fvi_encoder_open(const fvi_encoder_options *options, fvi_encoder **out,
                              fovea_error *err);
const fvi_encoder_info *fvi_encoder_info_get(const fvi_encoder *encoder);
/* Allocates nothing of its own (the backend may grow its scratch at the first run). */
fovea_status fvi_encoder_run(fvi_encoder *encoder,
                             const float *pixels /* [3, image_size, image_size] */,
                             float *out /* [n_token, hidden] */, fovea_error *err);
void fvi_encoder_close(fvi_encoder **encoder);

/* ---- for encoders and projectors ---- */

/* One line of encoders.def. An encoder's own struct begins with a fvi_encoder. */
typedef struct fvi_encoder_type {
    const char *model_type; /* of vision_config */
    fovea_status (*describe)(const fvi_vision_config *config, fvi_feature_select select,
                             fvi_encoder_info *out, fovea_error *err);
    /* info and type of **out are filled by the caller. */
    fovea_status (*open)(const fvi_encoder_options *options, const fvi_encoder_info *info,
                         fvi_encoder **out, fovea_error *err);
    fovea_status (*run)(fvi_encoder *encoder, const float *pixels, float *out);
    void (*close)(fvi_encoder *encoder);
} fvi_encoder_type;

#define FVI_ENCODER(name) extern const fvi_encoder_type fvi_encoder_##name;
#include "vision/encoders.def"
#undef FVI_ENCODER

struct fvi_encoder {
    const fvi_encoder_type *type;
    fvi_encoder_info info;
};

/* Writes the first of these that makes `name` a tensor of the checkpoint: prefix, prefix + inner, and both
 * behind "model.", as different versions of transformers saved them. */
fovea_status fvi_tensor_prefix(const fvi_params *params, const char *prefix, const char *inner,
                               const char *name, char *out, size_t out_bytes, fovea_error *err);
fvi_act fvi_act_of(fvi_config_act act);

#endif
