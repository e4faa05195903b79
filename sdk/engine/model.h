/* model.h - an opened model: decoder parameters, encoder, projector, tokenizer, template.
 *
 * Families (families.def, family_<name>.c) fill it from a Hugging Face folder; nothing else in the engine
 * asks which family it was. Called by engine.c, decoder.c, turn.c. Threads: read-only after open. */
#ifndef FOVEA_ENGINE_MODEL_H
#define FOVEA_ENGINE_MODEL_H

#include "kvcompress/seq.h"
#include "sdk/base/json.h"
#include "sdk/model/config.h"
#include "sdk/model/params.h"
#include "sdk/model/template.h"
#include "sdk/model/tokenizer.h"
#include "sdk/ops/backend.h"
#include "vision/encoder.h"
#include "vision/preprocess.h"
#include "vision/projector.h"

#include <fovea/engine.h>

typedef struct fvi_matrix {
    const void *w;     /* [n, k] in the params' type */
    const float *bias; /* [n] or NULL */
    uint32_t n, k;
} fvi_matrix;

typedef struct fvi_decoder_layer {
    const float *attn_norm, *mlp_norm; /* [hidden] */
    fvi_matrix q, k, v, o;
    fvi_matrix gate, up, down;
} fvi_decoder_layer;

typedef struct fvi_decoder_params {
    fvi_dtype dtype;           /* of all matrices */
    const void *embed;         /* [vocab, hidden] */
    const float *norm;         /* [hidden] */
    fvi_matrix head;           /* [vocab, hidden]; embed when tied */
    fvi_decoder_layer *layers; /* [n_layer] */
} fvi_decoder_params;

typedef struct fvi_model {
    const fovea_alloc *alloc;
    fvi_backend *backend;
    fovea_precision precision;
    char name[64];
    const char *family;  /* static */
    char encoder_name[32];
    fvi_weights *weights;
    fvi_params *params;
    fvi_decoder_config config;
    fvi_decoder_params decoder;
    fvi_generation_config generation;
    fvi_tokenizer *tokenizer;
    fvi_template *chat;
    fvi_preprocess preprocess;
    fvi_encoder *encoder;     /* NULL: text only */
    fvi_projector *projector;
    int32_t image_token;      /* id that stands for a picture in a prompt */
    uint32_t tokens_per_image, grid_width, grid_height;
    fvi_kv_geom geom;
    fvi_kv_layer_geom *layer_geom; /* [n_layer] */
} fvi_model;

typedef struct fvi_model_options {
    const fovea_alloc *alloc;
    fvi_backend *backend;
    const char *dir;
    fovea_precision precision;
    uint64_t max_weight_bytes; /* 0: no limit */
    fovea_progress_fn progress;
    void *progress_user;
} fvi_model_options;

fovea_status fvi_model_open(const fvi_model_options *options, fvi_model **out, fovea_error *err);
void fvi_model_close(fvi_model **model);
/* From configs and headers alone. */
fovea_status fvi_model_estimate(const fvi_model_options *options, uint32_t prefill_block,
                                fovea_memory_estimate *out, fovea_error *err);

/* A family: which config.json it reads, and how it fills the model's configs, decoder, encoder and
 * projector (weights, params, tokenizer and template are opened by model.c before). */
typedef struct fvi_family {
    const char *name;
    const char *model_type; /* of config.json */
    fovea_status (*configure)(fvi_model *model, const char *dir, const json_t *config, fovea_error *err);
    fovea_status (*load)(fvi_model *model, const char *dir, const json_t *config, fovea_error *err);
} fvi_family;

/* Reads a Llama-type decoder (llama, qwen2, mistral) whose tensors start with one of the prefixes. */
fovea_status fvi_decoder_params_load(fvi_model *model, const char *const *prefixes, uint32_t n_prefix,
                                     fovea_error *err);

#endif
