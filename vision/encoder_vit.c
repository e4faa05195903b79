/* encoder_vit.c - see encoder_vit.h.
 *
 * Layout: sizes, loading, running. Names of tensors and order of operations are those of transformers'
 * CLIPVisionModel and SiglipVisionModel. The products run as prefill rows: one picture is one block. */
#include "vision/encoder_vit.h"

#include <math.h>
#include <stdio.h>

#define MAX_TOKEN    ((uint64_t)1 << 16)
#define PREFIX_BYTES 128
#define NAME_BYTES   256

typedef struct norm {
    const float *w, *b; /* [hidden] */
} norm;

typedef struct linear {
    const void *w;  /* [n, k] in the params' matrix type */
    const float *b; /* [n] */
    uint32_t n, k;
} linear;

typedef struct layer {
    norm norm1, norm2;
    linear q, k, v, out, fc1, fc2;
} layer;

typedef struct vit {
    fvi_encoder base;
    const fovea_alloc *alloc;
    fvi_backend *backend;
    fvi_dtype dtype;                            /* of matrices */
    uint32_t hidden, ffn, n_head, patch, n_row; /* n_row: patches and the class token */
    uint32_t n_layer;
    fvi_act act;
    float eps;
    const float *patch_w;     /* [hidden, 3 * patch * patch] */
    const float *patch_b;     /* [hidden] or NULL */
    const float *class_token; /* [hidden] or NULL */
    const float *positions;   /* [n_row, hidden] */
    norm pre_norm;            /* w NULL: none */
    layer *layers;            /* [n_layer] */
    float *x;                 /* [n_row, hidden] the residual stream */
    float *normed;            /* [n_row, hidden]; attention's result too */
    float *wide; /* [n_row, wide_columns]: pixels of patches, then q|k|v, then the MLP */
} vit;

/* ---- sizes ---- */

static uint32_t wide_columns(const fvi_vision_config *config)
{
    const uint32_t pixels = 3 * config->patch_size * config->patch_size;
    return FVI_MAX(pixels, FVI_MAX(3 * config->hidden, config->ffn));
}

fovea_status fvi_vit_describe(const fvi_vit_shape *shape, const fvi_vision_config *config,
                              fvi_feature_select select, fvi_encoder_info *out, fovea_error *err)
{
    const uint32_t grid = config->patch_size != 0 ? config->image_size / config->patch_size : 0;
    const uint64_t n_patch = (uint64_t)grid * grid;
    const uint32_t n_cut = select == FVI_FEATURE_SELECT_DEFAULT ? 1 : 0;
    if (n_patch <= n_cut || n_patch >= MAX_TOKEN || config->n_channel != 3) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "vision_config: %u channels, %u pixels in patches of %u make %llu patches",
                        config->n_channel, config->image_size, config->patch_size,
                        (unsigned long long)n_patch);
    }
    const uint32_t n_row = (uint32_t)n_patch + shape->class_token;
    *out = (fvi_encoder_info){
        .n_token = n_row - n_cut,
        .hidden = config->hidden,
        .image_size = config->image_size,
        .grid_width = grid,
        .grid_height = grid,
        .first_patch = (int32_t)n_cut - (int32_t)shape->class_token,
        .workspace_bytes =
            sizeof(float) * (uint64_t)n_row * (2 * (uint64_t)config->hidden + wide_columns(config)),
    };
    return FOVEA_OK;
}

/* ---- loading ---- */

/* Where names are built while tensors are fetched. */
typedef struct loader {
    fvi_params *params;
    fovea_error *err;
    char prefix[PREFIX_BYTES];
} loader;

static fovea_status join(const loader *self, const char *part, const char *end,
                         char out[NAME_BYTES])
{
    int n = snprintf(out, NAME_BYTES, "%s%s%s", self->prefix, part, end);
    if (n < 0 || n >= NAME_BYTES) {
        return FVI_FAIL(self->err, FOVEA_ERR_ARG, "the tensor name %s%s is too long", self->prefix,
                        part);
    }
    return FOVEA_OK;
}

static fovea_status load_f32(const loader *self, const char *name, uint32_t n_dim,
                             const uint64_t *shape, const float **out)
{
    char full[NAME_BYTES];
    FVI_TRY(join(self, name, "", full));
    return fvi_params_f32(self->params, full, n_dim, shape, out, self->err);
}

static fovea_status load_norm(const loader *self, const char *name, uint64_t d, norm *out)
{
    char full[NAME_BYTES];
    FVI_TRY(join(self, name, ".weight", full));
    FVI_TRY(fvi_params_vector(self->params, full, d, true, &out->w, self->err));
    FVI_TRY(join(self, name, ".bias", full));
    return fvi_params_vector(self->params, full, d, true, &out->b, self->err);
}

static fovea_status load_linear(const loader *self, const char *name, uint32_t n, uint32_t k,
                                linear *out)
{
    char full[NAME_BYTES];
    out->n = n;
    out->k = k;
    FVI_TRY(join(self, name, ".weight", full));
    FVI_TRY(fvi_params_matrix(self->params, full, n, k, &out->w, self->err));
    FVI_TRY(join(self, name, ".bias", full));
    return fvi_params_vector(self->params, full, n, true, &out->b, self->err);
}

static fovea_status load_layer(const loader *self, uint32_t index, uint32_t hidden, uint32_t ffn,
                               layer *out)
{
    loader in = *self;
    int n = snprintf(in.prefix, sizeof in.prefix, "%sencoder.layers.%u.", self->prefix, index);
    if (n < 0 || (size_t)n >= sizeof in.prefix) {
        return FVI_FAIL(self->err, FOVEA_ERR_ARG, "the prefix %s is too long", self->prefix);
    }
    FVI_TRY(load_norm(&in, "layer_norm1", hidden, &out->norm1));
    FVI_TRY(load_linear(&in, "self_attn.q_proj", hidden, hidden, &out->q));
    FVI_TRY(load_linear(&in, "self_attn.k_proj", hidden, hidden, &out->k));
    FVI_TRY(load_linear(&in, "self_attn.v_proj", hidden, hidden, &out->v));
    FVI_TRY(load_linear(&in, "self_attn.out_proj", hidden, hidden, &out->out));
    FVI_TRY(load_norm(&in, "layer_norm2", hidden, &out->norm2));
    FVI_TRY(load_linear(&in, "mlp.fc1", ffn, hidden, &out->fc1));
    return load_linear(&in, "mlp.fc2", hidden, ffn, &out->fc2);
}

static fovea_status load_embeddings(const loader *self, const fvi_vit_shape *shape, vit *out)
{
    const uint64_t patch_shape[4] = {out->hidden, 3, out->patch, out->patch};
    const uint64_t position_shape[2] = {out->n_row, out->hidden};
    const uint64_t vector_shape[1] = {out->hidden};
    FVI_TRY(load_f32(self, "embeddings.patch_embedding.weight", 4, patch_shape, &out->patch_w));
    FVI_TRY(
        load_f32(self, "embeddings.position_embedding.weight", 2, position_shape, &out->positions));
    if (shape->patch_bias) {
        FVI_TRY(load_f32(self, "embeddings.patch_embedding.bias", 1, vector_shape, &out->patch_b));
    }
    if (shape->class_token) {
        FVI_TRY(load_f32(self, "embeddings.class_embedding", 1, vector_shape, &out->class_token));
    }
    if (shape->pre_norm != NULL) {
        FVI_TRY(load_norm(self, shape->pre_norm, out->hidden, &out->pre_norm));
    }
    return FOVEA_OK;
}

static fovea_status load_all(const fvi_encoder_options *options, const fvi_vit_shape *shape,
                             vit *self, fovea_error *err)
{
    loader in = {.params = options->params, .err = err};
    FVI_TRY(fvi_tensor_prefix(options->params, options->prefix, "vision_model.",
                              "embeddings.patch_embedding.weight", in.prefix, sizeof in.prefix,
                              err));
    FVI_TRY(load_embeddings(&in, shape, self));
    for (uint32_t i = 0; i < self->n_layer; i++) {
        FVI_TRY(load_layer(&in, i, self->hidden, self->ffn, &self->layers[i]));
    }
    return FOVEA_OK;
}

fovea_status fvi_vit_open(const fvi_vit_shape *shape, const fvi_encoder_options *options,
                          const fvi_encoder_info *info, fvi_encoder **out, fovea_error *err)
{
    const fvi_vision_config *config = options->config;
    if (options->n_layer_run > config->n_layer) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "the image encoder has %u layers, %u are asked for",
                        config->n_layer, options->n_layer_run);
    }
    fovea_status status = FOVEA_ERR_NOMEM;
    vit *self = fvi_calloc(options->alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the image encoder");
    }
    *self = (vit){.alloc = options->alloc,
                  .backend = options->backend,
                  .dtype = fvi_params_dtype(options->params),
                  .hidden = config->hidden,
                  .ffn = config->ffn,
                  .n_head = config->n_head,
                  .patch = config->patch_size,
                  .n_row = info->grid_width * info->grid_height + shape->class_token,
                  .n_layer = options->n_layer_run,
                  .act = fvi_act_of(config->act),
                  .eps = config->layer_norm_eps};
    /* one more than needed, so that no layers at all is no special case */
    self->layers = fvi_calloc(self->alloc, (size_t)self->n_layer + 1, sizeof *self->layers);
    self->x = fvi_alloc(self->alloc, info->workspace_bytes);
    if (self->layers == NULL || self->x == NULL) {
        FVI_FAIL(err, status, "no memory for the image encoder (%llu bytes of activations)",
                 (unsigned long long)info->workspace_bytes);
        goto failed;
    }
    self->normed = self->x + (size_t)self->n_row * self->hidden;
    self->wide = self->normed + (size_t)self->n_row * self->hidden;
    status = load_all(options, shape, self, err);
    if (status != FOVEA_OK) {
        goto failed;
    }
    *out = &self->base;
    return FOVEA_OK;
failed:
    fvi_vit_close(&self->base);
    return status;
}

void fvi_vit_close(fvi_encoder *encoder)
{
    vit *self = (vit *)encoder;
    const fovea_alloc *alloc = self->alloc;
    fvi_free(alloc, self->layers);
    fvi_free(alloc, self->x);
    fvi_free(alloc, self);
}

/* ---- running ---- */

static fovea_status run_norm(const vit *self, const norm *w, const float *x, float *y)
{
    const fvi_norm_args args = {.x = x,
                                .x_stride = self->hidden,
                                .w = w->w,
                                .b = w->b,
                                .y = y,
                                .y_stride = self->hidden,
                                .m = self->n_row,
                                .d = self->hidden,
                                .eps = self->eps};
    return self->backend->ops.layer_norm(self->backend, &args);
}

static fovea_status run_linear(const vit *self, const linear *w, const float *x, float *y,
                               size_t y_stride, bool add)
{
    const fvi_linear_args args = {.x = x,
                                  .x_stride = w->k,
                                  .w = w->w,
                                  .w_dtype = self->dtype,
                                  .bias = w->b,
                                  .y = y,
                                  .y_stride = y_stride,
                                  .m = self->n_row,
                                  .n = w->n,
                                  .k = w->k,
                                  .rows = FVI_ROWS_PREFILL,
                                  .add = add};
    return self->backend->ops.linear(self->backend, &args);
}

/* pixels [3, size, size] -> patches [grid * grid, 3 * patch * patch], columns as the kernel has them. */
static void gather_patches(const vit *self, const float *pixels, float *patches)
{
    const uint32_t size = self->base.info.image_size, patch = self->patch;
    for (uint32_t row = 0; row < self->base.info.grid_height; row++) {
        for (uint32_t column = 0; column < self->base.info.grid_width; column++) {
            for (uint32_t line = 0; line < 3 * patch; line++) {
                const size_t channel = line / patch, y = (size_t)row * patch + line % patch;
                memcpy(patches, pixels + (channel * size + y) * size + (size_t)column * patch,
                       patch * sizeof *patches);
                patches += patch;
            }
        }
    }
}

static fovea_status run_embeddings(vit *self, const float *pixels)
{
    const uint32_t n_class = self->class_token != NULL ? 1 : 0;
    const uint32_t k = 3 * self->patch * self->patch;
    gather_patches(self, pixels, self->wide);
    const fvi_linear_args args = {.x = self->wide,
                                  .x_stride = k,
                                  .w = self->patch_w,
                                  .w_dtype = FVI_DTYPE_F32,
                                  .bias = self->patch_b,
                                  .y = self->x + (size_t)n_class * self->hidden,
                                  .y_stride = self->hidden,
                                  .m = self->n_row - n_class,
                                  .n = self->hidden,
                                  .k = k,
                                  .rows = FVI_ROWS_PREFILL};
    FVI_TRY(self->backend->ops.linear(self->backend, &args));
    if (n_class != 0) {
        memcpy(self->x, self->class_token, self->hidden * sizeof *self->x);
    }
    const size_t n = (size_t)self->n_row * self->hidden;
    for (size_t i = 0; i < n; i++) {
        self->x[i] += self->positions[i];
    }
    return self->pre_norm.w != NULL ? run_norm(self, &self->pre_norm, self->x, self->x) : FOVEA_OK;
}

static fovea_status run_attention(vit *self, const layer *w)
{
    const size_t stride = 3 * (size_t)self->hidden;
    const uint32_t d = self->hidden / self->n_head;
    float *q = self->wide, *k = q + self->hidden, *v = k + self->hidden;
    FVI_TRY(run_norm(self, &w->norm1, self->x, self->normed));
    FVI_TRY(run_linear(self, &w->q, self->normed, q, stride, false));
    FVI_TRY(run_linear(self, &w->k, self->normed, k, stride, false));
    FVI_TRY(run_linear(self, &w->v, self->normed, v, stride, false));
    const fvi_attn_full_args args = {.q = q,
                                     .k = k,
                                     .v = v,
                                     .out = self->normed,
                                     .stride = stride,
                                     .n_row = self->n_row,
                                     .n_head = self->n_head,
                                     .d = d,
                                     .scale = 1.0f / sqrtf((float)d),
                                     .products = self->dtype};
    FVI_TRY(self->backend->ops.attn_full(self->backend, &args));
    return run_linear(self, &w->out, self->normed, self->x, self->hidden, true);
}

static fovea_status run_mlp(vit *self, const layer *w)
{
    const fvi_act_args act = {.x = self->wide,
                              .y = self->wide,
                              .x_stride = self->ffn,
                              .y_stride = self->ffn,
                              .m = self->n_row,
                              .d = self->ffn,
                              .act = self->act};
    FVI_TRY(run_norm(self, &w->norm2, self->x, self->normed));
    FVI_TRY(run_linear(self, &w->fc1, self->normed, self->wide, self->ffn, false));
    FVI_TRY(self->backend->ops.act(self->backend, &act));
    return run_linear(self, &w->fc2, self->wide, self->x, self->hidden, true);
}

fovea_status fvi_vit_run(fvi_encoder *encoder, const float *pixels, float *out)
{
    vit *self = (vit *)encoder;
    FVI_TRY(run_embeddings(self, pixels));
    for (uint32_t i = 0; i < self->n_layer; i++) {
        FVI_TRY(run_attention(self, &self->layers[i]));
        FVI_TRY(run_mlp(self, &self->layers[i]));
    }
    const size_t n_cut = self->n_row - self->base.info.n_token;
    memcpy(out, self->x + n_cut * self->hidden,
           (size_t)self->base.info.n_token * self->hidden * sizeof *out);
    return FOVEA_OK;
}
