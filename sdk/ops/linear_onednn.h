/* linear_onednn.h - oneDNN as the CPU backend sees it. The functions are only there when the
 * library was found (FVI_HAVE_ONEDNN is 1). */
#ifndef FOVEA_OPS_LINEAR_ONEDNN_H
#define FOVEA_OPS_LINEAR_ONEDNN_H

#include "sdk/ops/backend.h"

typedef struct fvi_onednn fvi_onednn;

fovea_status fvi_onednn_open(const fovea_alloc *alloc, uint32_t n_worker, fvi_onednn **out);
void fvi_onednn_close(fvi_onednn **lib);
/* FOVEA_ERR_UNSUPPORTED: the library has no such product for this CPU; nothing was written. */
fovea_status fvi_onednn_linear(fvi_onednn *lib, fvi_backend *backend, const fvi_linear_args *args);

#endif
