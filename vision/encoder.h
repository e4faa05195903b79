/* encoder.h - image encoders (ViT towers) behind one interface: pixel values in, token features out.
 *
 * encoders.def lists them; one file encoder_<name>.c each, found by the config's model_type. Only the
 * layers whose output counts are run. No post-norm, no head, as LLaVA takes hidden states.
 * Called by families (open) and the scheduler (run). Threads: one at a time per encoder. */
#ifndef FOVEA_VISION_ENCODER_H
#define FOVEA_VISION_ENCODER_H

#include "sdk/model/config.h"
#include "sdk/model/params.h"
#include "sdk/ops/backend.h"

typedef struct fvi_encoder fvi_encoder;

typedef struct fvi_encoder_options {
    const fovea_alloc *alloc;
    fvi_backend *backend;       /* must outlive the encoder */
    const fvi_weights *weights; /* to find which prefix the checkpoint uses */
    fvi_params *params;         /* must outlive the encoder */
    const char *const *prefixes; /* [n_prefix] of tensor names, e.g. "vision_tower.vision_model." */
    uint32_t n_prefix;
    const fvi_vision_config *config;
    uint32_t n_layer_run;       /* see fvi_llava_config */
    fvi_feature_select select;
} fvi_encoder_options;

typedef struct fvi_encoder_info {
    const char *name;  /* entry of encoders.def */
    uint32_t n_token;  /* features per picture */
    uint32_t grid_width, grid_height;
    uint32_t hidden;
    uint32_t image_size; /* pixels, square */
} fvi_encoder_info;

fovea_status fvi_encoder_open(const fvi_encoder_options *options, fvi_encoder **out, fovea_error *err);
void fvi_encoder_close(fvi_encoder **encoder); /* accepts NULL */
void fvi_encoder_get_info(const fvi_encoder *encoder, fvi_encoder_info *out);
fovea_status fvi_encoder_run(fvi_encoder *encoder, const float *pixels /* [3, size, size] */,
                             float *features /* [n_token, hidden] */, fovea_error *err);
/* Activation memory that the encoder holds. */
size_t fvi_encoder_workspace_bytes(const fvi_encoder *encoder);

#endif
