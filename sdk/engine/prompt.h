/* prompt.h - what one turn adds to a sequence: token ids with every picture's marker widened to its vision
 * tokens, the tags of those positions, and the pictures.
 *
 * Called by session_turn.c (build) and scheduler.c (run). Threads: plain data with one owner. */
#ifndef FOVEA_ENGINE_PROMPT_H
#define FOVEA_ENGINE_PROMPT_H

#include "sdk/engine/model.h"

#include <fovea/image.h>

typedef struct fvi_turn_image {
    fovea_image *image; /* a reference of its own */
    uint32_t row;       /* first of its tokens in the turn */
} fvi_turn_image;

typedef struct fvi_turn {
    const fovea_alloc *alloc;
    fvi_ids ids;          /* [n] widened */
    fvi_kv_span *spans;   /* [n_span] positions from first_position on */
    fvi_turn_image *images; /* [n_image] */
    uint32_t n_span, n_image;
    uint32_t n_text, n_vision;
} fvi_turn;

/* compact: ids with one marker per picture. FOVEA_ERR_ARG when markers and pictures do not match;
 * FOVEA_ERR_LIMIT beyond the model's context. */
fovea_status fvi_turn_build(const fvi_model *model, const fvi_ids *compact, fovea_image *const *images,
                            uint32_t n_image, uint32_t first_position, uint32_t first_image,
                            fvi_turn *out, fovea_error *err);
void fvi_turn_free(fvi_turn *turn);

#endif
