/* linear_onednn.h - oneDNN as the CPU backend sees it. The functions are only there when the
 * library was found (FVI_HAVE_ONEDNN is 1). */
#ifndef FOVEA_OPS_LINEAR_ONEDNN_H
#define FOVEA_OPS_LINEAR_ONEDNN_H

#include "sdk/ops/backend.h"

typedef struct fvi_onednn fvi_onednn;

fovea_status fvi_onednn_open(const fovea_alloc *alloc, uint32_t n_worker, fvi_onednn **out);
void fvi_onednn_close(fvi_onednn **lib);
/* args->x is not used: x [m, k] has the weights' type, rows x_stride elements apart.
 * FOVEA_ERR_UNSUPPORTED: this CPU has no such product in the library; nothing was written. */
fovea_status fvi_onednn_linear(fvi_onednn *lib, fvi_backend *backend, const fvi_linear_args *args,
                               const void *x, size_t x_stride);

#endif
