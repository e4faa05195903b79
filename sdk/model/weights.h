/* weights.h - the tensors of a checkpoint: safetensors files of a folder, mapped read-only.
 *
 * model.safetensors, or model.safetensors.index.json with its shards. Headers are hostile input: offsets,
 * shapes, dtypes, overlaps and sizes are checked before anything is read. Tensors point into the maps.
 * Called by families and encoders. Threads: open/close - one; find - any. */
#ifndef FOVEA_MODEL_WEIGHTS_H
#define FOVEA_MODEL_WEIGHTS_H

#include "sdk/base/base.h"
#include "sdk/base/dtype.h"

#define FVI_TENSOR_MAX_DIM 4

typedef struct fvi_tensor {
    const char *name; /* belongs to the weights */
    const void *data; /* row-major, as in the file; aligned to the dtype only */
    fvi_dtype dtype;
    uint32_t n_dim;
    uint64_t shape[FVI_TENSOR_MAX_DIM];
    size_t n_bytes;
} fvi_tensor;

typedef struct fvi_weights fvi_weights;

/* FOVEA_ERR_NOT_FOUND without a file, FOVEA_ERR_FORMAT damaged, FOVEA_ERR_UNSUPPORTED for a dtype of a
 * tensor that is asked for. */
fovea_status fvi_weights_open(const fovea_alloc *alloc, const char *dir, fvi_weights **out,
                              fovea_error *err);
void fvi_weights_close(fvi_weights **weights);

/* Finds a tensor and checks its shape ([n_dim] entries of shape; n_dim 0: any). NOT_FOUND / FORMAT with
 * the name and both shapes in the text. */
fovea_status fvi_weights_find(const fvi_weights *weights, const char *name, uint32_t n_dim,
                              const uint64_t *shape, fvi_tensor *out, fovea_error *err);
bool fvi_weights_has(const fvi_weights *weights, const char *name);
uint32_t fvi_weights_count(const fvi_weights *weights);
fovea_status fvi_weights_at(const fvi_weights *weights, uint32_t index, fvi_tensor *out);
uint64_t fvi_weights_bytes(const fvi_weights *weights);

#endif
