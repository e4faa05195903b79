/* projector_mlp.c - linear_1, activation, linear_2, as LlavaMultiModalProjector has them.
 *
 * Called by the engine's families. */
#include "vision/encoder.h"
#include "vision/projector.h"

#include <stdio.h>

#define PREFIX_BYTES 128
#define NAME_BYTES   256

struct fvi_projector {
    const fovea_alloc *alloc;
    fvi_backend *backend;
    fvi_dtype dtype;
    uint32_t n_in, n_out, max_token;
    fvi_act act;
    const void *w1;       /* [n_out, n_in] */
    const void *w2;       /* [n_out, n_out] */
    const float *b1, *b2; /* [n_out] or NULL */
    float *middle;        /* [max_token, n_out] */
};

static fovea_status load(const fvi_projector_options *options, fvi_projector *self,
                         fovea_error *err)
{
    char prefix[PREFIX_BYTES], name[NAME_BYTES];
    const uint32_t n = options->n_out;
    FVI_TRY(fvi_tensor_prefix(options->params, options->prefix, "", "linear_1.weight", prefix,
                              sizeof prefix, err));
    snprintf(name, sizeof name, "%slinear_1.weight", prefix);
    FVI_TRY(fvi_params_matrix(options->params, name, n, options->n_in, &self->w1, err));
    snprintf(name, sizeof name, "%slinear_2.weight", prefix);
    FVI_TRY(fvi_params_matrix(options->params, name, n, n, &self->w2, err));
    snprintf(name, sizeof name, "%slinear_1.bias", prefix);
    FVI_TRY(fvi_params_vector(options->params, name, n, options->bias, &self->b1, err));
    snprintf(name, sizeof name, "%slinear_2.bias", prefix);
    return fvi_params_vector(options->params, name, n, options->bias, &self->b2, err);
}

uint64_t fvi_projector_workspace_bytes(uint32_t max_token, uint32_t n_out)
{
    return (uint64_t)max_token * n_out * sizeof(float);
}

fovea_status fvi_projector_open(const fvi_projector_options *options, fvi_projector **out,
                                fovea_error *err)
{
    *out = NULL;
    fvi_projector *self = fvi_calloc(options->alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the projector");
    }
    *self = (fvi_projector){.alloc = options->alloc,
                            .backend = options->backend,
                            .dtype = fvi_params_dtype(options->params),
                            .n_in = options->n_in,
                            .n_out = options->n_out,
                            .max_token = options->max_token,
                            .act = fvi_act_of(options->act)};
    fovea_status status = load(options, self, err);
    if (status == FOVEA_OK) {
        self->middle =
            fvi_alloc(self->alloc, fvi_projector_workspace_bytes(self->max_token, self->n_out));
        if (self->middle == NULL) {
            status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the projector's activations");
        }
    }
    if (status != FOVEA_OK) {
        fvi_projector_close(&self);
        return status;
    }
    *out = self;
    return FOVEA_OK;
}

static fovea_status run(fvi_projector *self, const float *x, uint32_t n_token, float *y)
{
    fvi_linear_args linear = {.x = x,
                              .x_stride = self->n_in,
                              .w = self->w1,
                              .w_dtype = self->dtype,
                              .bias = self->b1,
                              .y = self->middle,
                              .y_stride = self->n_out,
                              .m = n_token,
                              .n = self->n_out,
                              .k = self->n_in,
                              .rows = FVI_ROWS_PREFILL};
    const fvi_act_args act = {.x = self->middle,
                              .y = self->middle,
                              .x_stride = self->n_out,
                              .y_stride = self->n_out,
                              .m = n_token,
                              .d = self->n_out,
                              .act = self->act};
    FVI_TRY(self->backend->ops.linear(self->backend, &linear));
    FVI_TRY(self->backend->ops.act(self->backend, &act));
    linear.x = self->middle;
    linear.x_stride = self->n_out;
    linear.w = self->w2;
    linear.bias = self->b2;
    linear.y = y;
    linear.k = self->n_out;
    return self->backend->ops.linear(self->backend, &linear);
}

fovea_status fvi_projector_run(fvi_projector *self, const float *x, uint32_t n_token, float *y,
                               fovea_error *err)
{
    if (n_token == 0 || n_token > self->max_token) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "projector: %u rows, at most %u", n_token,
                        self->max_token);
    }
    fovea_status status = run(self, x, n_token, y);
    if (status < 0) {
        return FVI_FAIL(err, status, "projector: %s", fovea_status_text(status));
    }
    return FOVEA_OK;
}

void fvi_projector_close(fvi_projector **projector)
{
    fvi_projector *self = *projector;
    if (self != NULL) {
        fvi_free(self->alloc, self->middle);
        fvi_free(self->alloc, self);
        *projector = NULL;
    }
}
