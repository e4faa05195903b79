/* params.h - parameters of a network as kernels want them: right type, checked shape, one owner.
 *
 * A tensor whose type in the file is the wanted one is used where the map has it; otherwise it is
 * converted once into memory that belongs to the params. Called by families, encoders and projectors when
 * a model is opened. Threads: get - one at a time; the pointers - any. */
#ifndef FOVEA_MODEL_PARAMS_H
#define FOVEA_MODEL_PARAMS_H

#include "sdk/base/dtype.h"
#include "sdk/model/weights.h"

typedef struct fvi_params fvi_params;

/* Called with the bytes loaded so far; non-zero stops with FOVEA_ERR_CANCELLED. May be NULL. */
typedef int (*fvi_params_progress)(void *user, uint64_t bytes);

/* weights must outlive the params. matrix_dtype: F32 or BF16, for fvi_params_matrix. */
fovea_status fvi_params_new(const fovea_alloc *alloc, const fvi_weights *weights, fvi_dtype matrix_dtype,
                            fvi_params_progress progress, void *user, fvi_params **out);
void fvi_params_free(fvi_params **params);

bool fvi_params_has(const fvi_params *params, const char *name);
/* [n, k] in the matrix type. */
fovea_status fvi_params_matrix(fvi_params *params, const char *name, uint64_t n, uint64_t k,
                               const void **out, fovea_error *err);
/* Any shape, as f32. */
fovea_status fvi_params_f32(fvi_params *params, const char *name, uint32_t n_dim, const uint64_t *shape,
                            const float **out, fovea_error *err);
/* [n] as f32; NULL and no error when `wanted` is false. */
fovea_status fvi_params_vector(fvi_params *params, const char *name, uint64_t n, bool wanted,
                               const float **out, fovea_error *err);

fvi_dtype fvi_params_dtype(const fvi_params *params);
uint64_t fvi_params_owned_bytes(const fvi_params *params);  /* converted copies */
uint64_t fvi_params_mapped_bytes(const fvi_params *params); /* used in place */
uint64_t fvi_params_count(const fvi_params *params);        /* elements handed out */

#endif
