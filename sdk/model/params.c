/* params.c - converts tensors on demand and keeps the copies in a list until the params are freed.
 *
 * Bytes of f16 and f32 files are converted element by element; that happens once per model. */
#include "sdk/model/params.h"

typedef struct copy {
    struct copy *next;
    /* 64-byte aligned data follows */
} copy;

#define COPY_HEADER 64

struct fvi_params {
    const fovea_alloc *alloc;
    const fvi_weights *weights;
    fvi_dtype matrix_dtype;
    fvi_params_progress progress;
    void *user;
    copy *copies;
    uint64_t owned_bytes, mapped_bytes, n_element;
};

fovea_status fvi_params_new(const fovea_alloc *alloc, const fvi_weights *weights, fvi_dtype matrix_dtype,
                            fvi_params_progress progress, void *user, fvi_params **out)
{
    fvi_params *params = fvi_calloc(alloc, 1, sizeof *params);
    if (params == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    *params = (fvi_params){.alloc = alloc,
                           .weights = weights,
                           .matrix_dtype = matrix_dtype,
                           .progress = progress,
                           .user = user};
    *out = params;
    return FOVEA_OK;
}

void fvi_params_free(fvi_params **out)
{
    fvi_params *params = *out;
    if (params == NULL) {
        return;
    }
    for (copy *c = params->copies; c != NULL;) {
        copy *next = c->next;
        fvi_free(params->alloc, c);
        c = next;
    }
    fvi_free(params->alloc, params);
    *out = NULL;
}

static float element_f32(const uint8_t *src, fvi_dtype dtype, size_t i)
{
    uint16_t half;
    float f;
    switch (dtype) {
    case FVI_DTYPE_F32: memcpy(&f, src + 4 * i, 4); return f;
    case FVI_DTYPE_F16: memcpy(&half, src + 2 * i, 2); return fvi_f16_to_f32(half);
    case FVI_DTYPE_BF16: memcpy(&half, src + 2 * i, 2); return fvi_bf16_to_f32(half);
    }
    return 0.0f;
}

static void convert(uint8_t *dst, fvi_dtype to, const uint8_t *src, fvi_dtype from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = element_f32(src, from, i);
        if (to == FVI_DTYPE_F32) {
            memcpy(dst + 4 * i, &f, 4);
        } else {
            uint16_t half = fvi_f32_to_bf16(f);
            memcpy(dst + 2 * i, &half, 2);
        }
    }
}

static fovea_status get(fvi_params *params, const char *name, uint32_t n_dim, const uint64_t *shape,
                        fvi_dtype want, const void **out, fovea_error *err)
{
    fvi_tensor tensor;
    FVI_TRY(fvi_weights_find(params->weights, name, n_dim, shape, &tensor, err));
    size_t n = tensor.n_bytes / fvi_dtype_bytes(tensor.dtype);
    /* f32 values are also read by scalar code, which needs their alignment; maps only promise the file's. */
    bool in_place = tensor.dtype == want && (uintptr_t)tensor.data % fvi_dtype_bytes(want) == 0;
    if (in_place) {
        *out = tensor.data;
        params->mapped_bytes += tensor.n_bytes;
    } else {
        size_t n_bytes = n * fvi_dtype_bytes(want);
        copy *c = fvi_alloc(params->alloc, COPY_HEADER + n_bytes);
        if (c == NULL) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "%s: no memory for %zu bytes", name, n_bytes);
        }
        convert((uint8_t *)c + COPY_HEADER, want, tensor.data, tensor.dtype, n);
        c->next = params->copies;
        params->copies = c;
        params->owned_bytes += n_bytes;
        *out = (uint8_t *)c + COPY_HEADER;
    }
    params->n_element += n;
    if (params->progress != NULL &&
        params->progress(params->user, params->owned_bytes + params->mapped_bytes) != 0) {
        return FVI_FAIL(err, FOVEA_ERR_CANCELLED, "loading was stopped");
    }
    return FOVEA_OK;
}

bool fvi_params_has(const fvi_params *params, const char *name)
{
    return fvi_weights_has(params->weights, name);
}

fovea_status fvi_params_matrix(fvi_params *params, const char *name, uint64_t n, uint64_t k,
                               const void **out, fovea_error *err)
{
    const uint64_t shape[2] = {n, k};
    return get(params, name, 2, shape, params->matrix_dtype, out, err);
}

fovea_status fvi_params_f32(fvi_params *params, const char *name, uint32_t n_dim, const uint64_t *shape,
                            const float **out, fovea_error *err)
{
    const void *data = NULL; /* gcc does not see that get() filled it */
    FVI_TRY(get(params, name, n_dim, shape, FVI_DTYPE_F32, &data, err));
    *out = data;
    return FOVEA_OK;
}

fovea_status fvi_params_vector(fvi_params *params, const char *name, uint64_t n, bool wanted,
                               const float **out, fovea_error *err)
{
    if (!wanted) {
        *out = NULL;
        return FOVEA_OK;
    }
    return fvi_params_f32(params, name, 1, &n, out, err);
}

fvi_dtype fvi_params_dtype(const fvi_params *params)
{
    return params->matrix_dtype;
}

uint64_t fvi_params_owned_bytes(const fvi_params *params)
{
    return params->owned_bytes;
}

uint64_t fvi_params_mapped_bytes(const fvi_params *params)
{
    return params->mapped_bytes;
}

uint64_t fvi_params_count(const fvi_params *params)
{
    return params->n_element;
}
