/* score_fovea.c - what a token is worth to the question that stands and to those that may come.
 *
 *     vision:  w = NOW a + LATER SHARE / n_vision (1 + SPREAD u),   text:  w = NOW a
 *
 * a: the query window's attention to the token, a share; it answers the present question. The second term
 * keeps what the question did not ask for: the same for every token of every list, whatever the window thinks
 * of it, but for a number u in -1..1 drawn for each (seed, list, token), so that lists drop different tokens and
 * together still see the whole picture. w is comparable over lists, as budget_distortion.c wants it.
 * Without text behind the last image the window is that image's last rows: what they look at is worth keeping too, such
 * as sinks, which all later rows look at. Leaving a out there lost: of a blind question's words 96 / 89 / 70% stayed in place of
 * 96 / 91 / 78% at 20 / 10 / 5% of bytes with one picture, 44 in place of 57% at 2.5% with four (tuning scenes).
 *
 * Tried on held-out tuning scenes and lost, at 10% and 5% of bytes: expected attention and unlikeness of
 * the key in place of the even term (next question: 48% of answers as with the full cache, 70 to 80% with
 * it), the even term scaled by how much a list looks at pictures (61%), weights times the value's length
 * (no better, worse at 5%). With kinds by
 * principal components NOW between 0.1 and 0.4 made no difference at 10%; at 5% 0.1 served one picture better (79
 * against 76% of words), 0.4 four (76 against 70%, same question). */
#include "kvcompress/planes.h"

#define NOW    0.2f
#define LATER  0.9f
#define SHARE  0.3f /* attention that a list pays to pictures, about */
#define SPREAD 0.5f

/* The finaliser of splitmix64, as a number in -1..1. */
static float draw(uint64_t seed, uint64_t list, uint64_t token)
{
    uint64_t z = seed * 977 + list * 1000003 + token * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer);
    const uint8_t *modality = ctx->obs->modality;
    uint32_t first_list = fvi_kv_geom_first_list(ctx->geom, layer);
    float n_row = (float)(ctx->n_token - ctx->obs->window_first);
    uint32_t n_vision = 0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        n_vision += modality[t] == FOVEA_MODALITY_VISION;
    }
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        size_t row = (size_t)head * ctx->n_token;
        for (uint32_t t = 0; t < ctx->n_token; t++) {
            float w = NOW * mass[row + t] / n_row;
            if (modality[t] == FOVEA_MODALITY_VISION) {
                w += LATER * SHARE / (float)n_vision *
                     (1.0f + SPREAD * draw(ctx->seed, first_list + head, t));
            }
            out[row + t] = w;
        }
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_fovea = {
    .name = "fovea",
    .needs = FVI_NEED_WINDOW_MASS,
    .score = score,
};
