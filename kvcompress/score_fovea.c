/* score_fovea.c - what a token is worth to the question that stands and to those that may come.
 *
 *     vision:  w = NOW a + LATER SHARE / n_vision p (1 + SPREAD u),   text:  w = NOW a + TEXT / n_text
 *
 * a: the query window's attention to the token, a share; it answers the present question. The second term
 * keeps what the question did not ask for: the same for every token of every list, whatever the window thinks
 * of it, but for a number u in -1..1 drawn for each (seed, list, token), so that lists drop different tokens and
 * together still see the whole picture. w is comparable over lists, as budget_distortion.c wants it.
 *
 * p: where bytes are scarce they cannot keep every picture readable, so those go first that are not asked about:
 * p = 1 - f + f n_vision / n_image A. f rises by FOCUS with every halving of the bytes below AMPLE of the f16 cache's, to
 * MOST. It is the whole picture that counts, since an answer reads on in it where the question did not look yet.
 * A, an image's share of 1, is what the last row, that of the answer's first token, looks at: squares of what it gives
 * the image in a list, summed over all lists, for those that look anywhere in particular do it with all they have.
 * Without text behind the last image the last row is that image's own and asks for no picture: f is 0.
 *
 * Tried on tuning scenes. A by each list from the whole window, as it was: of the four pictures of 52 questions the right
 * one has 0.24 to 0.34 of A in the lists of the first four layers, which look at all alike and spent half of the bytes on that,
 * and 0.53 to 0.66 in the others; this way 0.92, and always the most. Of none's right answers about lines, lists and signs
 * stay, four pictures at 2.5% of bytes, 79% the old way and 88 this way; at 5% 97 and 100.
 * f at 5% of bytes: of the same 0.3 keeps 98.7%, 0.5 100, and of a next question's answers 0.3 keeps 74%, 0.5 58, 0.8 43.
 * Lost: expected attention and unlikeness of the key in place of the even term, the even term
 * scaled by how much a list looks at pictures, weights times the value's length. NOW between 0.1 and
 * 2.5 made little difference, and none in place of p; text that goes by attention alone, without staying, lost 20
 * points at 2.5%. */
#include "kvcompress/planes.h"

#include <math.h>

#define NOW    0.2f
#define LATER  0.9f
#define SHARE  0.3f /* attention that a list pays to pictures, about */
#define SPREAD 0.5f
#define TEXT   0.02f
#define FOCUS  0.45f
#define MOST   0.9f
#define AMPLE  0.1f

/* The finaliser of splitmix64, as a number in -1..1. */
static float draw(uint64_t seed, uint64_t list, uint64_t token)
{
    uint64_t z = seed * 977 + list * 1000003 + token * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

/* f: how much of the second term goes where the last row looks. */
static float focus_of(const fvi_score_ctx *ctx)
{
    bool is_asked = ctx->obs->modality[ctx->obs->window_first] == FOVEA_MODALITY_TEXT;
    float halvings = log2f(AMPLE / FVI_MAX((float)ctx->share, AMPLE / 16));
    return is_asked ? FVI_MAX(0.0f, FVI_MIN(FOCUS * halvings, MOST)) : 0.0f;
}

/* The spans of an image and of what lies between its tiles. */
typedef struct image {
    uint32_t first, end; /* spans */
    uint32_t n;          /* tokens */
} image;

/* The image that begins with the span or behind it; without any: one of no tokens. */
static image image_from(const fvi_score_ctx *ctx, uint32_t span)
{
    const fvi_kv_span *spans = ctx->spans;
    while (span < ctx->n_span && spans[span].modality == FOVEA_MODALITY_TEXT) {
        span++;
    }
    image own = {.first = span, .end = span};
    for (uint32_t s = span; s < ctx->n_span; s++) {
        if (spans[s].modality == FOVEA_MODALITY_TEXT) {
            continue;
        }
        if (spans[s].image != spans[span].image) {
            break;
        }
        own.end = s + 1;
        own.n += spans[s].n;
    }
    return own;
}

/* How much the last row looks at the image, squares over lists. */
static double looks_at(const fvi_score_ctx *ctx, const image *own)
{
    const float *row = ctx->obs->plane[FVI_PLANE_LAST_MASS];
    double sum = 0.0;
    for (uint32_t list = 0; list < ctx->obs->n_list; list++, row += ctx->n_token) {
        double mass = 0.0;
        for (uint32_t s = own->first; s < own->end; s++) {
            const fvi_kv_span *span = &ctx->spans[s];
            for (uint32_t t = 0; span->modality != FOVEA_MODALITY_TEXT && t < span->n; t++) {
                mass += (double)row[span->first + t];
            }
        }
        sum += mass * mass;
    }
    return sum;
}

/* p of all tokens; that of text does not count. */
static void share_out(const fvi_score_ctx *ctx, uint32_t n_vision, float *p)
{
    float focus = focus_of(ctx);
    double all = 0.0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        p[t] = 1.0f;
    }
    for (image i = image_from(ctx, 0); focus > 0.0f && i.n > 0; i = image_from(ctx, i.end)) {
        all += looks_at(ctx, &i);
    }
    for (image i = image_from(ctx, 0); all > 0.0 && i.n > 0; i = image_from(ctx, i.end)) {
        const fvi_kv_span *last = &ctx->spans[i.end - 1];
        double of_mean = looks_at(ctx, &i) / all * n_vision / i.n;
        for (uint32_t t = ctx->spans[i.first].first; t < last->first + last->n; t++) {
            p[t] = 1.0f - focus + focus * (float)of_mean;
        }
    }
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer);
    const uint8_t *modality = ctx->obs->modality;
    uint32_t first_list = fvi_kv_geom_first_list(ctx->geom, layer);
    uint32_t n_kv_head = ctx->geom->layers[layer].n_kv_head;
    float n_row = (float)(ctx->n_token - ctx->obs->window_first);
    uint32_t n_vision = 0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        n_vision += modality[t] == FOVEA_MODALITY_VISION;
    }
    share_out(ctx, n_vision, out);
    for (uint32_t head = n_kv_head; head-- > 0;) { /* the first one last: p lies in its row */
        const float *own = mass + (size_t)head * ctx->n_token;
        float *w = out + (size_t)head * ctx->n_token;
        for (uint32_t t = 0; t < ctx->n_token; t++) {
            float later = modality[t] == FOVEA_MODALITY_VISION
                              ? LATER * SHARE / (float)n_vision * out[t] *
                                    (1.0f + SPREAD * draw(ctx->seed, first_list + head, t))
                              : TEXT / (float)(ctx->n_token - n_vision);
            w[t] = NOW * own[t] / n_row + later;
        }
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_fovea = {
    .name = "fovea",
    .needs = FVI_NEED_WINDOW_MASS | FVI_NEED_LAST_MASS,
    .score = score,
};
