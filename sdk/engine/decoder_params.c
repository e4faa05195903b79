/* decoder_params.c - the tensors of a Llama-type decoder, by the names transformers gives them.
 *
 * Checkpoints of the same model carry different prefixes, depending on the version that saved them; the
 * family names those it knows. Called by families. */
#include "sdk/engine/model.h"

#include <stdio.h>

#define NAME_MAX_BYTES 256

typedef struct reader {
    fvi_model *model;
    const char *prefix; /* "language_model.model." */
    uint32_t layer;
    fovea_error *err;
} reader;

static fovea_status name_of(const reader *in, const char *part, const char *kind, char *out)
{
    int n = snprintf(out, NAME_MAX_BYTES, "%slayers.%u.%s.%s", in->prefix, in->layer, part, kind);
    return n > 0 && n < NAME_MAX_BYTES ? FOVEA_OK : FOVEA_ERR_INTERNAL;
}

static fovea_status read_matrix(const reader *in, const char *part, uint32_t n, uint32_t k, bool bias,
                                fvi_matrix *out)
{
    char name[NAME_MAX_BYTES];
    out->n = n;
    out->k = k;
    FVI_TRY(name_of(in, part, "weight", name));
    FVI_TRY(fvi_params_matrix(in->model->params, name, n, k, &out->w, in->err));
    FVI_TRY(name_of(in, part, "bias", name));
    return fvi_params_vector(in->model->params, name, n, bias, &out->bias, in->err);
}

static fovea_status read_norm(const reader *in, const char *part, const float **out)
{
    char name[NAME_MAX_BYTES];
    FVI_TRY(name_of(in, part, "weight", name));
    return fvi_params_vector(in->model->params, name, in->model->config.hidden, true, out, in->err);
}

static fovea_status read_layer(const reader *in, fvi_decoder_layer *out)
{
    const fvi_decoder_config *c = &in->model->config;
    uint32_t q = c->n_head * c->head_dim;
    uint32_t kv = c->n_kv_head * c->head_dim;
    FVI_TRY(read_norm(in, "input_layernorm", &out->attn_norm));
    FVI_TRY(read_norm(in, "post_attention_layernorm", &out->mlp_norm));
    FVI_TRY(read_matrix(in, "self_attn.q_proj", q, c->hidden, c->qkv_bias, &out->q));
    FVI_TRY(read_matrix(in, "self_attn.k_proj", kv, c->hidden, c->qkv_bias, &out->k));
    FVI_TRY(read_matrix(in, "self_attn.v_proj", kv, c->hidden, c->qkv_bias, &out->v));
    FVI_TRY(read_matrix(in, "self_attn.o_proj", c->hidden, q, c->o_bias, &out->o));
    FVI_TRY(read_matrix(in, "mlp.gate_proj", c->ffn, c->hidden, c->mlp_bias, &out->gate));
    FVI_TRY(read_matrix(in, "mlp.up_proj", c->ffn, c->hidden, c->mlp_bias, &out->up));
    return read_matrix(in, "mlp.down_proj", c->hidden, c->ffn, c->mlp_bias, &out->down);
}

static const char *find_prefix(const fvi_model *model, const char *const *prefixes, uint32_t n_prefix)
{
    for (uint32_t i = 0; i < n_prefix; i++) {
        char name[NAME_MAX_BYTES];
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (fvi_weights_has(model->weights, name)) {
            return prefixes[i];
        }
    }
    return NULL;
}

/* The head stands outside of the prefix: "language_model.lm_head" or "lm_head". */
static fovea_status read_head(fvi_model *model, fovea_error *err)
{
    const fvi_decoder_config *c = &model->config;
    fvi_decoder_params *out = &model->decoder;
    out->head = (fvi_matrix){.w = out->embed, .n = c->vocab, .k = c->hidden};
    if (c->tie_head) {
        return FOVEA_OK;
    }
    const char *name = fvi_weights_has(model->weights, "lm_head.weight") ? "lm_head.weight"
                                                                         : "language_model.lm_head.weight";
    return fvi_params_matrix(model->params, name, c->vocab, c->hidden, &out->head.w, err);
}

fovea_status fvi_decoder_params_load(fvi_model *model, const char *const *prefixes, uint32_t n_prefix,
                                     fovea_error *err)
{
    const fvi_decoder_config *c = &model->config;
    fvi_decoder_params *out = &model->decoder;
    const char *prefix = find_prefix(model, prefixes, n_prefix);
    if (prefix == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "no decoder in the checkpoint: \"%sembed_tokens.weight\" "
                                               "is missing",
                        prefixes[0]);
    }
    out->dtype = fvi_params_dtype(model->params);
    out->layers = fvi_calloc(model->alloc, c->n_layer, sizeof *out->layers);
    if (out->layers == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for %u layers", c->n_layer);
    }
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%sembed_tokens.weight", prefix);
    FVI_TRY(fvi_params_matrix(model->params, name, c->vocab, c->hidden, &out->embed, err));
    snprintf(name, sizeof name, "%snorm.weight", prefix);
    FVI_TRY(fvi_params_vector(model->params, name, c->hidden, true, &out->norm, err));
    for (uint32_t l = 0; l < c->n_layer; l++) {
        reader in = {.model = model, .prefix = prefix, .layer = l, .err = err};
        FVI_TRY(read_layer(&in, &out->layers[l]));
    }
    return read_head(model, err);
}
