/* config.c - readers of config.json's parts: decoder, vision encoder, llava.
 *
 * A table holds, for each decoder type, the values transformers takes for absent keys; biases that a type
 * always or never has are fixed there too. Every size has a cap, so that a hostile file cannot make a
 * caller's product of sizes overflow. Called by the engine's families and the encoders. */
#include "sdk/model/config.h"

#include <stdio.h>

#define MAX_WIDTH   (1u << 17) /* hidden, heads x head_dim */
#define MAX_FFN     (1u << 20)
#define MAX_VOCAB   (1u << 22)
#define MAX_CONTEXT (1u << 24)
#define MAX_LAYER   1024u
#define MAX_HEAD    1024u
#define MAX_IMAGE   16384u

typedef enum bias_rule { BIAS_NEVER, BIAS_ALWAYS, BIAS_BY_KEY } bias_rule;

typedef struct decoder_type {
    const char *name;
    fvi_decoder_config absent; /* n_kv_head 0: as many as n_head */
    bias_rule qkv_bias, o_bias, mlp_bias;
} decoder_type;

static const decoder_type decoder_types[] = {
    {
        .name = "llama",
        .absent = {.n_layer = 32,
                   .n_head = 32,
                   .n_kv_head = 0,
                   .hidden = 4096,
                   .ffn = 11008,
                   .vocab = 32000,
                   .context = 2048},
        .qkv_bias = BIAS_BY_KEY,
        .o_bias = BIAS_BY_KEY,
        .mlp_bias = BIAS_BY_KEY,
    },
    {
        .name = "qwen2",
        .absent = {.n_layer = 32,
                   .n_head = 32,
                   .n_kv_head = 32,
                   .hidden = 4096,
                   .ffn = 22016,
                   .vocab = 151936,
                   .context = 32768},
        .qkv_bias = BIAS_ALWAYS,
        .o_bias = BIAS_NEVER,
        .mlp_bias = BIAS_NEVER,
    },
    {
        .name = "mistral",
        .absent = {.n_layer = 32,
                   .n_head = 32,
                   .n_kv_head = 8,
                   .hidden = 4096,
                   .ffn = 14336,
                   .vocab = 32000,
                   .context = 131072},
        .qkv_bias = BIAS_NEVER,
        .o_bias = BIAS_NEVER,
        .mlp_bias = BIAS_NEVER,
    },
};

typedef struct vision_type {
    const char *name;
    const char *act;
    uint32_t patch_size;
    float layer_norm_eps;
} vision_type;

static const vision_type vision_types[] = {
    {.name = "clip_vision_model", .act = "quick_gelu", .patch_size = 32, .layer_norm_eps = 1e-5f},
    {.name = "siglip_vision_model",
     .act = "gelu_pytorch_tanh",
     .patch_size = 16,
     .layer_norm_eps = 1e-6f},
};

static fovea_status check_object(const json_t *object, const char *what, fovea_error *err)
{
    if (!json_is_object(object)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "config.json: %s is not an object", what);
    }
    return FOVEA_OK;
}

static bool is_null(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

/* The activations a key may name. */
fovea_status fvi_config_act_read(const json_t *object, const char *key, const char *absent,
                                 fvi_config_act *out, fovea_error *err)
{
    static const struct {
        const char *name;
        fvi_config_act act;
    } known[] = {
        {"silu", FVI_CONFIG_ACT_SILU},
        {"swish", FVI_CONFIG_ACT_SILU},
        {"gelu", FVI_CONFIG_ACT_GELU},
        {"gelu_pytorch_tanh", FVI_CONFIG_ACT_GELU_TANH},
        {"gelu_new", FVI_CONFIG_ACT_GELU_TANH},
        {"gelu_fast", FVI_CONFIG_ACT_GELU_TANH},
        {"quick_gelu", FVI_CONFIG_ACT_GELU_QUICK},
    };
    const char *name;
    FVI_TRY(fvi_json_text(object, key, &name, err));
    name = name != NULL ? name : absent;
    for (size_t i = 0; i < FVI_COUNT(known); i++) {
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].act;
            return FOVEA_OK;
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "%s \"%.64s\" is not supported", key, name);
}

static fovea_status read_positive(const json_t *object, const char *key, float absent, float *out,
                                  fovea_error *err)
{
    float value;
    FVI_TRY(fvi_json_f32(object, key, absent, &value, err));
    if (!(value > 0.0f)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is %g, not above 0", key, (double)value);
    }
    *out = value;
    return FOVEA_OK;
}

static fovea_status read_bias(const json_t *object, bias_rule rule, const char *key, bool *out,
                              fovea_error *err)
{
    if (rule == BIAS_BY_KEY) {
        return fvi_json_bool(object, key, false, out, err);
    }
    *out = rule == BIAS_ALWAYS;
    return FOVEA_OK;
}

/* One of the objects that may describe rotary positions: transformers 4 has "rope_scaling" (with "type" or
 * "rope_type") beside "rope_theta", transformers 5 has "rope_parameters" with both in it. */
static fovea_status read_rope_object(const json_t *object, const char *key, float *theta,
                                     fovea_error *err)
{
    const json_t *rope = json_object_get(object, key);
    if (is_null(rope)) {
        return FOVEA_OK;
    }
    if (!json_is_object(rope)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not an object", key);
    }
    const char *type;
    FVI_TRY(fvi_json_text(rope, "rope_type", &type, err));
    if (type == NULL) {
        FVI_TRY(fvi_json_text(rope, "type", &type, err));
    }
    if (type != NULL && strcmp(type, "default") != 0) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "RoPE scaling: %s of type \"%.64s\" is not supported", key, type);
    }
    float partial;
    FVI_TRY(fvi_json_f32(rope, "partial_rotary_factor", 1.0f, &partial, err));
    if (partial != 1.0f) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "partial_rotary_factor %g is not supported",
                        (double)partial);
    }
    return read_positive(rope, "rope_theta", *theta, theta, err);
}

static fovea_status read_rope(const json_t *object, float *theta, fovea_error *err)
{
    float value, partial;
    FVI_TRY(fvi_json_f32(object, "partial_rotary_factor", 1.0f, &partial, err));
    if (partial != 1.0f) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "partial_rotary_factor %g is not supported",
                        (double)partial);
    }
    FVI_TRY(read_positive(object, "rope_theta", 10000.0f, &value, err));
    FVI_TRY(read_rope_object(object, "rope_scaling", &value, err));
    FVI_TRY(read_rope_object(object, "rope_parameters", &value, err));
    *theta = value;
    return FOVEA_OK;
}

/* A window that no position of the context can leave is no window. */
static fovea_status check_window(const json_t *object, const fvi_decoder_config *config,
                                 fovea_error *err)
{
    bool active = false;
    uint32_t window = 4096; /* what both types take when the key is absent */
    const json_t *value = json_object_get(object, "sliding_window");
    if (value != NULL && !json_is_null(value)) {
        FVI_TRY(fvi_json_u32(object, "sliding_window", 0, 0, UINT32_MAX, &window, err));
    }
    if (strcmp(config->model_type, "mistral") == 0) {
        active = !(value != NULL && json_is_null(value)) && window < config->context;
    } else if (strcmp(config->model_type, "qwen2") == 0) {
        bool use;
        FVI_TRY(fvi_json_bool(object, "use_sliding_window", false, &use, err));
        active = use;
    }
    if (active) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "an active sliding window (sliding_window %u of %s) is not supported",
                        window, config->model_type);
    }
    return FOVEA_OK;
}

static fovea_status find_decoder_type(const json_t *object, const decoder_type **out,
                                      fovea_error *err)
{
    const char *name;
    FVI_TRY(fvi_json_text(object, "model_type", &name, err));
    name = name != NULL ? name : "llama"; /* as LlavaConfig does */
    for (size_t i = 0; i < FVI_COUNT(decoder_types); i++) {
        if (strcmp(name, decoder_types[i].name) == 0) {
            *out = &decoder_types[i];
            return FOVEA_OK;
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "text model_type \"%.64s\" is not supported", name);
}

static fovea_status read_heads(const json_t *object, const fvi_decoder_config *absent,
                               fvi_decoder_config *config, fovea_error *err)
{
    FVI_TRY(fvi_json_u32(object, "num_attention_heads", absent->n_head, 1, MAX_HEAD,
                         &config->n_head, err));
    /* null means "as many as heads" for every type, whatever stands for an absent key */
    const json_t *kv = json_object_get(object, "num_key_value_heads");
    bool same = absent->n_kv_head == 0 || (kv != NULL && json_is_null(kv));
    FVI_TRY(fvi_json_u32(object, "num_key_value_heads", same ? config->n_head : absent->n_kv_head,
                         1, MAX_HEAD, &config->n_kv_head, err));
    if (config->n_head % config->n_kv_head != 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "num_attention_heads %u is no multiple of num_key_value_heads %u",
                        config->n_head, config->n_kv_head);
    }
    FVI_TRY(fvi_json_u32(object, "head_dim", config->hidden / config->n_head, 1, MAX_WIDTH,
                         &config->head_dim, err));
    if (config->head_dim == 0 || config->head_dim % 2 != 0 ||
        (uint64_t)config->head_dim * config->n_head > MAX_WIDTH) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "head_dim %u with %u heads: odd, zero or too wide",
                        config->head_dim, config->n_head);
    }
    return FOVEA_OK;
}

fovea_status fvi_decoder_config_read(const json_t *object, fvi_decoder_config *out,
                                     fovea_error *err)
{
    const decoder_type *type = NULL;
    FVI_TRY(check_object(object, "text_config", err));
    FVI_TRY(find_decoder_type(object, &type, err));
    const fvi_decoder_config *absent = &type->absent;
    fvi_decoder_config config = {0};
    snprintf(config.model_type, sizeof config.model_type, "%s", type->name);
    FVI_TRY(fvi_json_u32(object, "num_hidden_layers", absent->n_layer, 1, MAX_LAYER,
                         &config.n_layer, err));
    FVI_TRY(fvi_json_u32(object, "hidden_size", absent->hidden, 1, MAX_WIDTH, &config.hidden, err));
    FVI_TRY(fvi_json_u32(object, "intermediate_size", absent->ffn, 1, MAX_FFN, &config.ffn, err));
    FVI_TRY(fvi_json_u32(object, "vocab_size", absent->vocab, 1, MAX_VOCAB, &config.vocab, err));
    FVI_TRY(fvi_json_u32(object, "max_position_embeddings", absent->context, 1, MAX_CONTEXT,
                         &config.context, err));
    FVI_TRY(read_heads(object, absent, &config, err));
    FVI_TRY(read_positive(object, "rms_norm_eps", 1e-6f, &config.rms_eps, err));
    FVI_TRY(read_rope(object, &config.rope_theta, err));
    FVI_TRY(fvi_json_bool(object, "tie_word_embeddings", false, &config.tie_head, err));
    FVI_TRY(read_bias(object, type->qkv_bias, "attention_bias", &config.qkv_bias, err));
    FVI_TRY(read_bias(object, type->o_bias, "attention_bias", &config.o_bias, err));
    FVI_TRY(read_bias(object, type->mlp_bias, "mlp_bias", &config.mlp_bias, err));
    FVI_TRY(fvi_config_act_read(object, "hidden_act", "silu", &config.act, err));
    if (config.act != FVI_CONFIG_ACT_SILU) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "hidden_act \"%s\" of a text decoder is not supported",
                        json_string_value(json_object_get(object, "hidden_act")));
    }
    FVI_TRY(check_window(object, &config, err));
    *out = config;
    return FOVEA_OK;
}

static fovea_status find_vision_type(const json_t *object, const vision_type **out,
                                     fovea_error *err)
{
    const char *name;
    FVI_TRY(fvi_json_text(object, "model_type", &name, err));
    name = name != NULL ? name : "clip_vision_model"; /* as LlavaConfig does */
    for (size_t i = 0; i < FVI_COUNT(vision_types); i++) {
        if (strcmp(name, vision_types[i].name) == 0) {
            *out = &vision_types[i];
            return FOVEA_OK;
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "vision model_type \"%.64s\" is not supported",
                    name);
}

/* A size that may also be a list [height, width], which is not supported. */
static fovea_status read_square(const json_t *object, const char *key, uint32_t absent,
                                uint32_t *out, fovea_error *err)
{
    if (json_is_array(json_object_get(object, key))) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "%s as a list is not supported", key);
    }
    return fvi_json_u32(object, key, absent, 1, MAX_IMAGE, out, err);
}

fovea_status fvi_vision_config_read(const json_t *object, fvi_vision_config *out, fovea_error *err)
{
    const vision_type *type = NULL;
    FVI_TRY(check_object(object, "vision_config", err));
    FVI_TRY(find_vision_type(object, &type, err));
    fvi_vision_config config = {0};
    snprintf(config.model_type, sizeof config.model_type, "%s", type->name);
    FVI_TRY(fvi_json_u32(object, "hidden_size", 768, 1, MAX_WIDTH, &config.hidden, err));
    FVI_TRY(fvi_json_u32(object, "intermediate_size", 3072, 1, MAX_FFN, &config.ffn, err));
    FVI_TRY(fvi_json_u32(object, "num_hidden_layers", 12, 1, MAX_LAYER, &config.n_layer, err));
    FVI_TRY(fvi_json_u32(object, "num_attention_heads", 12, 1, MAX_HEAD, &config.n_head, err));
    FVI_TRY(fvi_json_u32(object, "num_channels", 3, 1, 16, &config.n_channel, err));
    FVI_TRY(read_square(object, "image_size", 224, &config.image_size, err));
    FVI_TRY(read_square(object, "patch_size", type->patch_size, &config.patch_size, err));
    FVI_TRY(fvi_config_act_read(object, "hidden_act", type->act, &config.act, err));
    FVI_TRY(
        read_positive(object, "layer_norm_eps", type->layer_norm_eps, &config.layer_norm_eps, err));
    if (config.hidden % config.n_head != 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "vision hidden_size %u is no multiple of num_attention_heads %u",
                        config.hidden, config.n_head);
    }
    if (config.n_channel != 3) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "num_channels %u is not supported",
                        config.n_channel);
    }
    if (config.patch_size > config.image_size) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "patch_size %u is larger than image_size %u",
                        config.patch_size, config.image_size);
    }
    *out = config;
    return FOVEA_OK;
}

/* vision_feature_layer indexes transformers' hidden_states: 0 is the embedding, n_layer the last output. */
static fovea_status read_feature_layer(const json_t *root, uint32_t n_layer, uint32_t *out,
                                       fovea_error *err)
{
    const json_t *value = json_object_get(root, "vision_feature_layer");
    json_int_t index = -2;
    if (json_is_array(value)) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "vision_feature_layer as a list is not supported");
    }
    if (!is_null(value)) {
        if (!json_is_integer(value)) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"vision_feature_layer\" is not an integer");
        }
        index = json_integer_value(value);
    }
    json_int_t n_state = (json_int_t)n_layer + 1;
    if (index < -n_state || index >= n_state) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "vision_feature_layer %lld of an encoder with %u layers", (long long)index,
                        n_layer);
    }
    *out = (uint32_t)(index < 0 ? n_state + index : index);
    return FOVEA_OK;
}

static fovea_status read_feature_select(const json_t *root, fvi_feature_select *out,
                                        fovea_error *err)
{
    const char *name;
    FVI_TRY(fvi_json_text(root, "vision_feature_select_strategy", &name, err));
    if (name == NULL || strcmp(name, "default") == 0) {
        *out = FVI_FEATURE_SELECT_DEFAULT;
    } else if (strcmp(name, "full") == 0) {
        *out = FVI_FEATURE_SELECT_FULL;
    } else {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "vision_feature_select_strategy \"%.64s\" is not supported", name);
    }
    return FOVEA_OK;
}

static fovea_status read_part(const json_t *root, const char *key, const json_t **out,
                              fovea_error *err)
{
    const json_t *part = json_object_get(root, key);
    if (is_null(part)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "config.json has no \"%s\"", key);
    }
    *out = part;
    return FOVEA_OK;
}

fovea_status fvi_llava_config_read(const json_t *root, fvi_llava_config *out, fovea_error *err)
{
    const json_t *text = NULL, *vision = NULL;
    fvi_llava_config config = {0};
    FVI_TRY(check_object(root, "the whole", err));
    FVI_TRY(read_part(root, "text_config", &text, err));
    FVI_TRY(read_part(root, "vision_config", &vision, err));
    FVI_TRY(fvi_decoder_config_read(text, &config.text, err));
    FVI_TRY(fvi_vision_config_read(vision, &config.vision, err));

    bool tie;
    FVI_TRY(fvi_json_bool(root, "tie_word_embeddings", false, &tie, err));
    config.text.tie_head = config.text.tie_head || tie;
    const char *key = is_null(json_object_get(root, "image_token_index")) ? "image_token_id"
                                                                          : "image_token_index";
    FVI_TRY(fvi_json_u32(root, key, 32000, 0, MAX_VOCAB, &config.image_token, err));
    if (config.image_token >= config.text.vocab) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s %u is not below vocab_size %u", key,
                        config.image_token, config.text.vocab);
    }
    FVI_TRY(read_feature_layer(root, config.vision.n_layer, &config.n_layer_run, err));
    FVI_TRY(read_feature_select(root, &config.feature_select, err));
    FVI_TRY(fvi_config_act_read(root, "projector_hidden_act", "gelu", &config.projector_act, err));
    FVI_TRY(fvi_json_bool(root, "multimodal_projector_bias", true, &config.projector_bias, err));
    *out = config;
    return FOVEA_OK;
}
