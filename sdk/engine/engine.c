/* engine.c - opens and closes an engine: backend, model, pool, scheduler; answers questions about them.
 *
 * The pool's granule follows the model's geometry, so the model comes before the pool. */
#include "sdk/engine/engine_impl.h"

#include "sdk/base/cpu.h"

#include <stdio.h>

#define DEFAULT_KV_BYTES ((uint64_t)256 << 20)
#define DEFAULT_QUEUE 64
#define DEFAULT_RUNNING 64
#define DEFAULT_BLOCK 256
#define DEFAULT_IMAGES 64
#define MAX_RUNNING 1024
#define MAX_BLOCK 4096

static fovea_status check_options(const fovea_engine_options *options, fovea_engine_options *out,
                                  fovea_error *err)
{
    if (options == NULL || !fvi_struct_in(out, sizeof *out, options)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "engine options: size is not sizeof(fovea_engine_options)");
    }
    if (out->model == NULL || out->model[0] == '\0') {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "engine options: model is not set");
    }
    if (out->backend != NULL && strcmp(out->backend, "cpu") != 0) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "backend \"%.32s\" is not in this build (only cpu is)",
                        out->backend);
    }
    if (out->precision != FOVEA_PRECISION_BF16 && out->precision != FOVEA_PRECISION_F32) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "engine options: unknown precision %d", (int)out->precision);
    }
    out->kv_bytes = out->kv_bytes != 0 ? out->kv_bytes : DEFAULT_KV_BYTES;
    out->max_queue = out->max_queue != 0 ? out->max_queue : DEFAULT_QUEUE;
    out->max_running = out->max_running != 0 ? out->max_running : DEFAULT_RUNNING;
    out->prefill_block = out->prefill_block != 0 ? out->prefill_block : DEFAULT_BLOCK;
    out->max_images = out->max_images != 0 ? out->max_images : DEFAULT_IMAGES;
    if (out->max_running > MAX_RUNNING || out->prefill_block > MAX_BLOCK) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "engine options: max_running is at most %d, prefill_block %d",
                        MAX_RUNNING, MAX_BLOCK);
    }
    return FOVEA_OK;
}

static fovea_status open_parts(fovea_engine *self, const fovea_engine_options *options, fovea_error *err)
{
    FVI_TRY(fvi_backend_cpu_open(&self->alloc, options->n_thread, options->cpu_features, &self->backend,
                                 err));
    fvi_model_options model = {.alloc = &self->alloc,
                               .backend = self->backend,
                               .dir = options->model,
                               .precision = options->precision,
                               .max_weight_bytes = options->max_weight_bytes,
                               .progress = options->progress,
                               .progress_user = options->progress_user};
    FVI_TRY(fvi_model_open(&model, &self->model, err));
    fovea_status status = fvi_kv_pool_new(&self->alloc, options->kv_bytes,
                                          fvi_kv_geom_granule(&self->model->geom), &self->pool);
    if (status != FOVEA_OK) {
        return FVI_FAIL(err, status, "no memory for a KV pool of %llu bytes",
                        (unsigned long long)options->kv_bytes);
    }
    fvi_kv_pool_set_workers(self->pool, self->backend->pool);
    fvi_scheduler_options scheduler = {.model = self->model,
                                       .pool = self->pool,
                                       .max_queue = options->max_queue,
                                       .max_running = options->max_running,
                                       .prefill_block = options->prefill_block,
                                       .log = self->log};
    FVI_TRY(fvi_scheduler_new(&scheduler, &self->scheduler, err));
    fvi_log_write(&self->log, FOVEA_LOG_INFO, "%s: family %s, backend %s, %llu KV bytes",
                  self->model->name, self->model->family, self->backend->name,
                  (unsigned long long)options->kv_bytes);
    return FOVEA_OK;
}

fovea_status fovea_engine_open(const fovea_engine_options *given, fovea_engine **out, fovea_error *err)
{
    if (out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "engine: out is NULL");
    }
    *out = NULL;
    fovea_engine_options options = {.size = 0};
    FVI_TRY(check_options(given, &options, err));
    const fovea_alloc *alloc = fvi_alloc_or_default(options.alloc);
    fovea_engine *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for an engine");
    }
    self->alloc = *alloc;
    self->log = (fvi_log){.fn = options.log, .user = options.log_user};
    self->max_images = options.max_images;
    fovea_status status = open_parts(self, &options, err);
    if (status != FOVEA_OK) {
        fovea_engine_close(&self);
        return status;
    }
    *out = self;
    return FOVEA_OK;
}

void fovea_engine_close(fovea_engine **out)
{
    if (out == NULL || *out == NULL) {
        return;
    }
    fovea_engine *self = *out;
    fvi_scheduler_free(&self->scheduler);
    fvi_kv_pool_free(&self->pool);
    fvi_model_close(&self->model);
    fvi_backend_close(&self->backend);
    fovea_alloc alloc = self->alloc;
    fvi_free(&alloc, self);
    *out = NULL;
}

fovea_status fovea_engine_estimate(const fovea_engine_options *given, fovea_memory_estimate *out,
                                   fovea_error *err)
{
    fovea_engine_options options = {.size = 0};
    FVI_TRY(check_options(given, &options, err));
    if (out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "estimate: out is NULL");
    }
    fvi_model_options model = {.alloc = fvi_alloc_or_default(options.alloc),
                               .dir = options.model,
                               .precision = options.precision};
    fovea_memory_estimate estimate = {.size = sizeof estimate};
    FVI_TRY(fvi_model_estimate(&model, options.prefill_block, &estimate, err));
    estimate.kv_pool_bytes = options.kv_bytes;
    if (!fvi_struct_out(out, &estimate, sizeof estimate)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "estimate: size is not sizeof(fovea_memory_estimate)");
    }
    return FOVEA_OK;
}

fovea_status fovea_engine_info(const fovea_engine *self, fovea_model_info *out)
{
    if (self == NULL || out == NULL) {
        return FOVEA_ERR_ARG;
    }
    const fvi_model *model = self->model;
    const fvi_decoder_config *c = &model->config;
    fovea_model_info info = {.size = sizeof info,
                              .n_parameter = fvi_params_count(model->params),
                              .n_layer = c->n_layer,
                              .n_head = c->n_head,
                              .n_kv_head = c->n_kv_head,
                              .head_dim = c->head_dim,
                              .hidden = c->hidden,
                              .vocab = c->vocab,
                              .context = c->context,
                              .image_width = model->preprocess.width,
                              .image_height = model->preprocess.height,
                              .tokens_per_image = model->tokens_per_image};
    snprintf(info.name, sizeof info.name, "%s", model->name);
    snprintf(info.family, sizeof info.family, "%s", model->family);
    snprintf(info.encoder, sizeof info.encoder, "%s", model->encoder_name);
    snprintf(info.backend, sizeof info.backend, "%s", self->backend->name);
    return fvi_struct_out(out, &info, sizeof info) ? FOVEA_OK : FOVEA_ERR_ARG;
}

fovea_status fovea_engine_get_stats(const fovea_engine *self, fovea_engine_stats *out)
{
    if (self == NULL || out == NULL) {
        return FOVEA_ERR_ARG;
    }
    fovea_engine_stats stats = {.size = sizeof stats};
    fvi_scheduler_stats(self->scheduler, &stats);
    return fvi_struct_out(out, &stats, sizeof stats) ? FOVEA_OK : FOVEA_ERR_ARG;
}

fovea_status fovea_engine_tokenize(const fovea_engine *self, const char *text, size_t n_bytes,
                                   int32_t **ids, size_t *n_id, fovea_error *err)
{
    if (self == NULL || text == NULL || ids == NULL || n_id == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "tokenize: an argument is NULL");
    }
    fvi_ids list = {.alloc = &self->alloc};
    fovea_status status = fvi_tokenizer_encode(self->model->tokenizer, text, n_bytes, &list, err);
    if (status != FOVEA_OK) {
        fvi_ids_free(&list);
        return status;
    }
    *ids = list.data;
    *n_id = list.n;
    return FOVEA_OK;
}

void fovea_ids_free(const fovea_engine *self, int32_t **ids)
{
    if (ids != NULL) {
        fvi_free(&self->alloc, *ids);
        *ids = NULL;
    }
}

fovea_status fovea_engine_token_bytes(const fovea_engine *self, int32_t id, const char **bytes,
                                      size_t *n_bytes)
{
    if (self == NULL || bytes == NULL || n_bytes == NULL) {
        return FOVEA_ERR_ARG;
    }
    return fvi_tokenizer_bytes(self->model->tokenizer, id, bytes, n_bytes);
}
