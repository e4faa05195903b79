/* types.h - words that several headers share: modality, role, storage kind, message parts.
 *
 * Threads: plain data. */
#ifndef FOVEA_TYPES_H
#define FOVEA_TYPES_H

#include <fovea/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What put a token into the cache. */
typedef enum fovea_modality {
    FOVEA_MODALITY_TEXT = 0,
    FOVEA_MODALITY_VISION = 1,
    FOVEA_N_MODALITY = 2,
} fovea_modality;

/* How a cached token is stored (see kvcompress/codecs.def). */
typedef enum fovea_kind {
    FOVEA_KIND_F32 = 0, /* only with FOVEA_PRECISION_F32 */
    FOVEA_KIND_F16 = 1,
    FOVEA_KIND_INT8 = 2, /* scales per token */
    FOVEA_KIND_INT4 = 3,
    FOVEA_KIND_INT2 = 4,
    FOVEA_KIND_INT4_CHAN = 5, /* scales per channel */
    FOVEA_KIND_INT2_CHAN = 6,
    FOVEA_KIND_INT4_KIVI = 7, /* keys per channel, values per token */
    FOVEA_KIND_INT2_KIVI = 8,
    FOVEA_KIND_INT4_ROT = 9, /* per token, rotated before */
    FOVEA_KIND_INT2_ROT = 10,
    FOVEA_KIND_PCA_32 = 11, /* by principal components of an image's tokens, 32 bits for 16 values */
    FOVEA_KIND_PCA_16 = 12,
    FOVEA_KIND_PCA_12 = 13,
    FOVEA_KIND_PCA_8 = 14,
    FOVEA_KIND_PCA_6 = 15,
    FOVEA_KIND_PCA_4 = 16,
    FOVEA_N_KIND = 17,
} fovea_kind;

#define FOVEA_KIND_DROPPED 0xff /* where a kind is told per token: the token is not kept */

typedef enum fovea_precision {
    FOVEA_PRECISION_BF16 = 0, /* weights bf16, cache f16: the default */
    FOVEA_PRECISION_F32 = 1,  /* weights, products and cache f32: for oracles */
} fovea_precision;

typedef enum fovea_role {
    FOVEA_ROLE_SYSTEM = 0,
    FOVEA_ROLE_USER = 1,
    FOVEA_ROLE_ASSISTANT = 2,
} fovea_role;

/* Where an image lies in a prompt, in tokens; the grid is row-major. */
typedef struct fovea_image_span {
    uint32_t image;       /* index of the image in the session, from 0 */
    uint32_t first_token; /* position of its first token */
    uint32_t n_token;
    uint32_t grid_width;  /* tokens per row */
    uint32_t grid_height; /* rows */
    /* The part of the picture that the grid covers, as shares of its width and height: all of it, 0 to 1,
     * unless the model's preprocessing crops (or pads: beyond 0 or 1). */
    float left, top, right, bottom;
} fovea_image_span;

#ifdef __cplusplus
}
#endif
#endif
