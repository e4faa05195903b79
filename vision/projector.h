/* projector.h - from the encoder's features to the decoder's embeddings: LLaVA's two-layer MLP.
 *
 * Called by the engine's families after fvi_encoder_run. Threads: one projector - one at a time. */
#ifndef FOVEA_VISION_PROJECTOR_H
#define FOVEA_VISION_PROJECTOR_H

#include "sdk/model/config.h"
#include "sdk/model/params.h"
#include "sdk/ops/backend.h"

typedef struct fvi_projector fvi_projector;

typedef struct fvi_projector_options {
    const fovea_alloc *alloc;
    uint32_t n_in, n_out; /* widths: the encoder's, the decoder's */
    uint32_t max_token;   /* rows of the largest run */
    fvi_config_act act;
    bool bias;
    const char *prefix;   /* "multi_modal_projector."; the same behind "model." is tried too */
    fvi_params *params;   /* must outlive the projector */
    fvi_backend *backend; /* must outlive the projector */
} fvi_projector_options;

fovea_status fvi_projector_open(const fvi_projector_options *options, fvi_projector **out,
                                fovea_error *err);
/* Activations, held from open to close. */
uint64_t fvi_projector_workspace_bytes(uint32_t max_token, uint32_t n_out);
/* Allocates nothing. */
fovea_status fvi_projector_run(fvi_projector *projector, const float *x /* [n_token, n_in] */,
                               uint32_t n_token, float *y /* [n_token, n_out] */, fovea_error *err);
void fvi_projector_close(fvi_projector **projector);

#endif
