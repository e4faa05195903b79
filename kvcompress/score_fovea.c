/* score_fovea.c - what a token is worth to the question that stands and to those that may come.
 *
 *     vision:  w = NOW a + LATER SHARE / n_vision p (1 + SPREAD u),   text:  w = NOW a + TEXT / n_text
 *
 * a: the query window's attention to the token, a share; it answers the present question. The second term
 * keeps what the question did not ask for: the same for every token of every list, whatever the window thinks
 * of it, but for a number u in -1..1 drawn for each (seed, list, token), so that lists drop different tokens and
 * together still see the whole picture. w is comparable over lists, as budget_distortion.c wants it.
 *
 * p: where bytes are scarce they cannot keep every picture readable, so those go first that the window does not
 * look at: p = 1 - f + f n_vision / n_image A, A the image's share of the list's attention to images, f falling from
 * FOCUS at SCARCE of the f16 cache's bytes to 0 at AMPLE. It is the whole picture that counts, since an answer reads on in
 * it where the question did not look yet.
 * Without text behind the last image the window is that image's last rows: what they look at is worth keeping too, such
 * as sinks, which all later rows look at (a counts), but they ask for no picture (f is 0).
 *
 * Tried on tuning scenes. Lost: expected attention and unlikeness of the key in place of the even term, the even term
 * scaled by how much a list looks at pictures, weights times the value's length. Four pictures at 5% of bytes, the question
 * known: right answers of none's 94% with f 0.5, 99 with 0.8; the next question 88 with 0.3, 81 with 0.5, 63 with
 * 0.8; at 10% no f is needed: hence the ramp. A's square in place of A did nothing. NOW between 0.1 and
 * 2.5 made little difference, and none in place of p; text that goes by attention alone, without staying, lost 20
 * points at 2.5%. */
#include "kvcompress/planes.h"

#define NOW    0.2f
#define LATER  0.9f
#define SHARE  0.3f /* attention that a list pays to pictures, about */
#define SPREAD 0.5f
#define TEXT   0.02f
#define FOCUS  0.8f
#define SCARCE 0.05
#define AMPLE  0.1

/* The finaliser of splitmix64, as a number in -1..1. */
static float draw(uint64_t seed, uint64_t list, uint64_t token)
{
    uint64_t z = seed * 977 + list * 1000003 + token * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

/* f: how much of the second term goes where the window looks. */
static float focus_of(const fvi_score_ctx *ctx)
{
    bool is_asked = ctx->obs->modality[ctx->obs->window_first] == FOVEA_MODALITY_TEXT;
    double scarcity = (AMPLE - ctx->share) / (AMPLE - SCARCE);
    return is_asked ? FOCUS * (float)FVI_MAX(0.0, FVI_MIN(scarcity, 1.0)) : 0.0f;
}

static double sum_of(const fvi_kv_span *span, const float *row)
{
    double sum = 0.0;
    for (uint32_t t = span->first; t < span->first + span->n; t++) {
        sum += row[t];
    }
    return sum;
}

/* p of the tokens of each image; its tiles count as one. Of text nothing that counts. */
static void share_out(const fvi_score_ctx *ctx, const float *mass, float focus, uint32_t n_vision,
                      float *p)
{
    const fvi_kv_span *spans = ctx->spans;
    double all = 0.0;
    for (uint32_t s = 0; s < ctx->n_span; s++) {
        all += spans[s].modality == FOVEA_MODALITY_VISION ? sum_of(&spans[s], mass) : 0.0;
    }
    for (uint32_t s = 0, end; s < ctx->n_span; s = end) {
        end = s + 1;
        if (spans[s].modality == FOVEA_MODALITY_TEXT) {
            continue;
        }
        double own = sum_of(&spans[s], mass), n_own = spans[s].n;
        for (; end < ctx->n_span &&
               (spans[end].modality == FOVEA_MODALITY_TEXT || spans[end].image == spans[s].image);
             end++) {
            bool is_tile = spans[end].modality == FOVEA_MODALITY_VISION;
            own += is_tile ? sum_of(&spans[end], mass) : 0.0;
            n_own += is_tile ? spans[end].n : 0;
        }
        double looked_at = all > 0.0 ? own / all * n_vision / n_own : 1.0;
        for (uint32_t t = spans[s].first; t < spans[end - 1].first + spans[end - 1].n; t++) {
            p[t] = 1.0f - focus + focus * (float)looked_at;
        }
    }
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer);
    const uint8_t *modality = ctx->obs->modality;
    uint32_t first_list = fvi_kv_geom_first_list(ctx->geom, layer);
    float n_row = (float)(ctx->n_token - ctx->obs->window_first), focus = focus_of(ctx);
    uint32_t n_vision = 0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        n_vision += modality[t] == FOVEA_MODALITY_VISION;
    }
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        const float *own = mass + (size_t)head * ctx->n_token;
        float *w = out + (size_t)head * ctx->n_token;
        share_out(ctx, own, focus, n_vision, w);
        for (uint32_t t = 0; t < ctx->n_token; t++) {
            float later = modality[t] == FOVEA_MODALITY_VISION
                              ? LATER * SHARE / (float)n_vision * w[t] *
                                    (1.0f + SPREAD * draw(ctx->seed, first_list + head, t))
                              : TEXT / (float)(ctx->n_token - n_vision);
            w[t] = NOW * own[t] / n_row + later;
        }
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_fovea = {
    .name = "fovea",
    .needs = FVI_NEED_WINDOW_MASS,
    .score = score,
};
