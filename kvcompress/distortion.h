/* distortion.h - what a kind spoils in a list, measured; and what a plan spoils in all, estimated.
 *
 * Called by choose.c (which kinds are a bargain) and plan.c (the loss that ledgers show). Threads: any. */
#ifndef FOVEA_KVCOMPRESS_DISTORTION_H
#define FOVEA_KVCOMPRESS_DISTORTION_H

#include "kvcompress/plan.h"

#define FVI_DISTORTION_ROWS 64 /* of a list are stored in a kind and read back */

/* Tokens that are sampled: the vision tokens, all without any. */
uint32_t fvi_distortion_candidates(const uint8_t *modality, uint32_t n_token);

/* Every which of them is: spacing is how many lie from one kept token to the next. Neighbours are alike, which
 * kinds with scales per channel live on, so they are sampled as densely as they will be stored. */
uint32_t fvi_distortion_stride(const uint8_t *modality, uint32_t n_token, double spacing);

/* The errors that the kinds of a plan were chosen by. */
typedef struct fvi_distortion {
    double *errors; /* [n_list, FOVEA_N_KIND] by fovea_kind; NULL: nothing was measured */
    uint32_t stride;
} fvi_distortion;

/* Relative errors of the codecs in each list of n_layer layers of the sequence's last turn, at most 1; 0 for the
 * base kind. What is measured of a layer before it is cut (cut.h) is kept, and told again afterwards. */
fovea_status fvi_distortion_measure(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                                    const uint8_t *modality, uint32_t n_token,
                                    const fvi_codec *const *codecs, uint32_t n_codec,
                                    uint32_t stride,
                                    double *out /* [n_list, FOVEA_N_KIND], n_codec of each row */);

/* Estimated relative change of the attention output: sqrt(sum (w e)^2 / sum w^2) over all lists and tokens,
 * w the attention of the query window, e the error of the token's kind in its list, 1 for a token that is
 * not kept (merged ones too). 0 when all stays as it is; NaN when something goes and the window was not
 * observed, or had no attention for the turn. The plan and obs: of those layers alone. measured: what the plan was
 * chosen by, which holds where it was sampled as densely as the plan keeps tokens; else errors are measured here. */
fovea_status fvi_loss_estimate(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                               const fvi_kv_obs *obs, const fvi_kv_plan *plan,
                               const fvi_distortion *measured, const uint8_t *modality,
                               double *out);

#endif
