/* config.h - what config.json and generation_config.json say, checked, with transformers' own defaults.
 *
 * Plain structs filled from JSON. What the SDK cannot run (RoPE scaling, an active sliding window, another
 * model type or activation) is refused by name here, so no caller has to look again. Sizes are capped, so
 * products of two of them fit 64 bits. Called by the engine's families and the encoders. Threads: any. */
#ifndef FOVEA_MODEL_CONFIG_H
#define FOVEA_MODEL_CONFIG_H

#include "sdk/base/base.h"
#include "sdk/base/json.h"

/* Names as transformers' ACT2FN has them. */
typedef enum fvi_config_act {
    FVI_CONFIG_ACT_SILU = 0,       /* "silu", "swish" */
    FVI_CONFIG_ACT_GELU = 1,       /* "gelu": with erf */
    FVI_CONFIG_ACT_GELU_TANH = 2,  /* "gelu_pytorch_tanh", "gelu_new", "gelu_fast" */
    FVI_CONFIG_ACT_GELU_QUICK = 3, /* "quick_gelu": x * sigmoid(1.702 x) */
} fvi_config_act;

#define FVI_CONFIG_MAX_EOS 16

/* A text decoder: types llama, qwen2, mistral. */
typedef struct fvi_decoder_config {
    char model_type[32];
    uint32_t n_layer;
    uint32_t n_head;
    uint32_t n_kv_head; /* divides n_head */
    uint32_t head_dim;  /* even; not always hidden / n_head */
    uint32_t hidden;
    uint32_t ffn;
    uint32_t vocab;
    uint32_t context; /* max_position_embeddings */
    float rms_eps;
    float rope_theta;
    bool tie_head; /* the output projection is the embedding */
    bool qkv_bias;
    bool o_bias;
    bool mlp_bias;
    fvi_config_act act; /* silu only */
} fvi_decoder_config;

/* An image encoder: types clip_vision_model, siglip_vision_model. */
typedef struct fvi_vision_config {
    char model_type[32];
    uint32_t hidden; /* divisible by n_head */
    uint32_t ffn;
    uint32_t n_layer;
    uint32_t n_head;
    uint32_t n_channel;  /* 3 */
    uint32_t image_size; /* pixels, square; grid = image_size / patch_size, rounded down */
    uint32_t patch_size;
    fvi_config_act act;
    float layer_norm_eps;
} fvi_vision_config;

/* Which of the encoder's tokens the projector sees. */
typedef enum fvi_feature_select {
    FVI_FEATURE_SELECT_DEFAULT = 0, /* all but the first (CLIP's class token) */
    FVI_FEATURE_SELECT_FULL = 1,
} fvi_feature_select;

/* The whole config.json of a llava model; that it is one, the caller has seen by its model_type. */
typedef struct fvi_llava_config {
    fvi_decoder_config text; /* tie_head: the top level's or text_config's */
    fvi_vision_config vision;
    uint32_t image_token; /* image_token_index or image_token_id; below text.vocab */
    uint32_t
        n_layer_run; /* encoder layers whose output counts; vision_feature_layer resolved: -1 is all
                               of them, -2 all but the last. No post-norm is applied. */
    fvi_feature_select feature_select;
    fvi_config_act projector_act;
    bool projector_bias;
} fvi_llava_config;

typedef struct fvi_generation_config {
    int32_t eos[FVI_CONFIG_MAX_EOS];
    uint32_t n_eos;
    int32_t bos; /* -1: none */
    int32_t pad; /* -1: none */
} fvi_generation_config;

/* `object` is the JSON object itself (text_config, vision_config, config.json's root). *out is untouched on
 * error. FOVEA_ERR_UNSUPPORTED names key and value. */
fovea_status fvi_decoder_config_read(const json_t *object, fvi_decoder_config *out,
                                     fovea_error *err);
fovea_status fvi_vision_config_read(const json_t *object, fvi_vision_config *out, fovea_error *err);
fovea_status fvi_llava_config_read(const json_t *root, fvi_llava_config *out, fovea_error *err);

/* generation_config.json of the folder; what it lacks is taken from `root` (config.json) and then from its
 * text_config. No eos at all is no error (n_eos 0). */
fovea_status fvi_generation_config_read(const fovea_alloc *alloc, const char *dir,
                                        const json_t *root, fvi_generation_config *out,
                                        fovea_error *err);

/* The activation of a transformers name; FOVEA_ERR_UNSUPPORTED with `key` and the name. */
fovea_status fvi_config_act_read(const json_t *object, const char *key, const char *absent,
                                 fvi_config_act *out, fovea_error *err);

#endif
