/* projector.h - LLaVA's multi-modal projector: linear, activation, linear.
 *
 * Called by families (open) and the scheduler (run). Threads: one at a time per projector. */
#ifndef FOVEA_VISION_PROJECTOR_H
#define FOVEA_VISION_PROJECTOR_H

#include "vision/encoder.h"

typedef struct fvi_projector fvi_projector;

typedef struct fvi_projector_options {
    const fovea_alloc *alloc;
    fvi_backend *backend;
    const fvi_weights *weights;
    fvi_params *params;
    const char *const *prefixes; /* [n_prefix] e.g. "multi_modal_projector." */
    uint32_t n_prefix;
    uint32_t n_in, n_out; /* encoder's and decoder's hidden */
    fvi_config_act act;
    bool bias;
    uint32_t max_token; /* rows of one run */
} fvi_projector_options;

fovea_status fvi_projector_open(const fvi_projector_options *options, fvi_projector **out,
                                fovea_error *err);
void fvi_projector_close(fvi_projector **projector); /* accepts NULL */
fovea_status fvi_projector_run(fvi_projector *projector, const float *x /* [n_token, n_in] */,
                               uint32_t n_token, float *y /* [n_token, n_out] */, fovea_error *err);

#endif
