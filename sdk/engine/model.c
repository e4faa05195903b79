/* model.c - opens a model folder: finds its family, maps the weights, and lets the family fill in the rest.
 *
 * Order: config.json -> family.configure (pure reading) -> weights -> tokenizer, template -> family.load.
 * Called by engine.c. */
#include "sdk/engine/model.h"

#include <stdio.h>

#define FVI_FAMILY(name) extern const fvi_family fvi_family_##name;
#include "sdk/engine/families.def"
#undef FVI_FAMILY

static const fvi_family *const families[] = {
#define FVI_FAMILY(name) &fvi_family_##name,
#include "sdk/engine/families.def"
#undef FVI_FAMILY
};

static fovea_status find_family(const json_t *config, const fvi_family **out, fovea_error *err)
{
    const char *type = NULL;
    FVI_TRY(fvi_json_text(config, "model_type", &type, err));
    if (type == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "config.json has no \"model_type\"");
    }
    for (size_t i = 0; i < FVI_COUNT(families); i++) {
        if (strcmp(families[i]->model_type, type) == 0) {
            *out = families[i];
            return FOVEA_OK;
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "model family \"%.64s\" is not supported (only llava is)",
                    type);
}

static void set_name(fvi_model *model, const char *dir)
{
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && dir[begin - 1] != '/') {
        begin--;
    }
    snprintf(model->name, sizeof model->name, "%.*s", (int)FVI_MIN(end - begin, (size_t)63), dir + begin);
}

static fovea_status set_geometry(fvi_model *model, fovea_error *err)
{
    const fvi_decoder_config *config = &model->config;
    model->layer_geom = fvi_calloc(model->alloc, config->n_layer, sizeof *model->layer_geom);
    if (model->layer_geom == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the geometry of %u layers", config->n_layer);
    }
    for (uint32_t l = 0; l < config->n_layer; l++) {
        model->layer_geom[l] = (fvi_kv_layer_geom){.n_head = config->n_head,
                                                   .n_kv_head = config->n_kv_head,
                                                   .dk = config->head_dim,
                                                   .dv = config->head_dim};
    }
    model->geom = (fvi_kv_geom){
        .n_layer = config->n_layer,
        .layers = model->layer_geom,
        .base = model->precision == FOVEA_PRECISION_F32 ? FOVEA_KIND_F32 : FOVEA_KIND_F16,
        .rope_base = config->rope_theta};
    return FOVEA_OK;
}

typedef struct progress_adapter {
    const fvi_model_options *options;
    uint64_t total;
} progress_adapter;

static int report_progress(void *user, uint64_t bytes)
{
    const progress_adapter *adapter = user;
    if (adapter->options->progress == NULL) {
        return 0;
    }
    return adapter->options->progress(adapter->options->progress_user, bytes,
                                      FVI_MAX(adapter->total, bytes));
}

/* Bytes of all tensors in the types the kernels want. */
static void weigh(const fvi_weights *weights, fovea_precision precision, uint64_t *resident,
                  uint64_t *mapped)
{
    fvi_dtype want = precision == FOVEA_PRECISION_F32 ? FVI_DTYPE_F32 : FVI_DTYPE_BF16;
    *resident = *mapped = 0;
    for (uint32_t i = 0; i < fvi_weights_count(weights); i++) {
        fvi_tensor tensor;
        if (fvi_weights_at(weights, i, &tensor) != FOVEA_OK) {
            continue; /* a tensor of another type that nobody may ask for */
        }
        uint64_t n = tensor.n_bytes / fvi_dtype_bytes(tensor.dtype);
        fvi_dtype kept = tensor.n_dim >= 2 ? want : FVI_DTYPE_F32;
        *resident += n * fvi_dtype_bytes(kept);
        *mapped += tensor.dtype == kept ? tensor.n_bytes : 0;
    }
}

static fovea_status open_template(fvi_model *model, const char *dir, fovea_error *err)
{
    char marker[64] = ""; /* a token's bytes have no terminator */
    if (model->image_token >= 0) {
        const char *text = NULL;
        size_t n = 0;
        if (fvi_tokenizer_bytes(model->tokenizer, model->image_token, &text, &n) != FOVEA_OK ||
            n >= sizeof marker) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT, "the tokenizer has no usable token %d for images",
                            model->image_token);
        }
        memcpy(marker, text, n);
    }
    return fvi_template_open(model->alloc, dir, marker, &model->chat, err);
}

static fovea_status open_parts(fvi_model *model, const fvi_model_options *options,
                               const json_t *config, const fvi_family *family,
                               progress_adapter *progress, fovea_error *err)
{
    const char *dir = options->dir;
    FVI_TRY(family->configure(model, dir, config, err));
    FVI_TRY(fvi_generation_config_read(model->alloc, dir, config, &model->generation, err));
    FVI_TRY(set_geometry(model, err));
    FVI_TRY(fvi_weights_open(model->alloc, dir, &model->weights, err));
    uint64_t mapped;
    weigh(model->weights, model->precision, &progress->total, &mapped);
    if (options->max_weight_bytes != 0 && progress->total > options->max_weight_bytes) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "the weights need %llu bytes, more than the %llu allowed",
                        (unsigned long long)progress->total,
                        (unsigned long long)options->max_weight_bytes);
    }
    fvi_dtype dtype = model->precision == FOVEA_PRECISION_F32 ? FVI_DTYPE_F32 : FVI_DTYPE_BF16;
    if (fvi_params_new(model->alloc, model->weights, dtype, report_progress, progress, &model->params) !=
        FOVEA_OK) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the parameters");
    }
    FVI_TRY(fvi_tokenizer_open(model->alloc, dir, &model->tokenizer, err));
    FVI_TRY(open_template(model, dir, err));
    return family->load(model, dir, config, err);
}

fovea_status fvi_model_open(const fvi_model_options *options, fvi_model **out, fovea_error *err)
{
    json_t *config = NULL;
    fvi_model *model = NULL;
    const fvi_family *family = NULL;
    progress_adapter progress = {.options = options};
    fovea_status status = fvi_json_load(options->alloc, options->dir, "config.json", &config, err);
    if (status == FOVEA_OK) {
        status = find_family(config, &family, err);
    }
    if (status != FOVEA_OK) {
        goto done;
    }
    model = fvi_calloc(options->alloc, 1, sizeof *model);
    if (model == NULL) {
        status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the model");
        goto done;
    }
    model->alloc = options->alloc;
    model->backend = options->backend;
    model->precision = options->precision;
    model->family = family->name;
    model->image_token = -1;
    set_name(model, options->dir);
    status = open_parts(model, options, config, family, &progress, err);
    if (status == FOVEA_OK) {
        *out = model;
        model = NULL;
    }
done:
    fvi_model_close(&model);
    json_decref(config);
    return status;
}

void fvi_model_close(fvi_model **out)
{
    fvi_model *model = *out;
    if (model == NULL) {
        return;
    }
    fvi_projector_close(&model->projector);
    fvi_encoder_close(&model->encoder);
    fvi_template_close(&model->chat);
    fvi_tokenizer_close(&model->tokenizer);
    fvi_free(model->alloc, model->decoder.layers);
    fvi_params_free(&model->params);
    fvi_weights_close(&model->weights);
    fvi_free(model->alloc, model->layer_geom);
    fvi_free(model->alloc, model);
    *out = NULL;
}

fovea_status fvi_model_estimate(const fvi_model_options *options, uint32_t prefill_block,
                                fovea_memory_estimate *out, fovea_error *err)
{
    json_t *config = NULL;
    fvi_weights *weights = NULL;
    const fvi_family *family = NULL;
    fvi_model model = {.alloc = options->alloc, .precision = options->precision, .image_token = -1};
    FVI_TRY(fvi_json_load(options->alloc, options->dir, "config.json", &config, err));
    fovea_status status = find_family(config, &family, err);
    if (status == FOVEA_OK) {
        status = family->configure(&model, options->dir, config, err);
    }
    if (status == FOVEA_OK) {
        status = set_geometry(&model, err);
    }
    if (status == FOVEA_OK) {
        status = fvi_weights_open(options->alloc, options->dir, &weights, err);
    }
    if (status == FOVEA_OK) {
        weigh(weights, options->precision, &out->weight_bytes, &out->mapped_bytes);
        out->kv_bytes_per_token = fvi_kv_geom_token_bytes(&model.geom, FOVEA_KIND_F16);
        const fvi_decoder_config *c = &model.config;
        uint64_t row = 3 * (uint64_t)c->hidden + 2 * (uint64_t)c->ffn +
                       (2 * (uint64_t)c->n_head + 2 * (uint64_t)c->n_kv_head) * c->head_dim;
        out->activation_bytes = 4 * (row * prefill_block + c->vocab);
    }
    fvi_weights_close(&weights);
    fvi_free(options->alloc, model.layer_geom);
    json_decref(config);
    return status;
}
