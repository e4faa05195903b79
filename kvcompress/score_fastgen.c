/* score_fastgen.c - FastGen: each head is profiled and gets the cheapest order that covers its attention.
 *
 * A head whose query window finds COVERED of its attention in the first tokens and the latest LOCAL of the
 * turn is kept like a stream; one that finds it there and in text keeps text first (the paper's special
 * tokens and punctuation: a turn's spans do not tell those apart); any other is kept by attention. A list's
 * scores sum to its attention whatever its order, so budgets over lists can compare them. */
#include "kvcompress/planes.h"

#define COVERED 0.95
#define LOCAL   0.3
#define FIRST   4

typedef enum profile {
    PROFILE_STREAM = 0,
    PROFILE_TEXT,
    PROFILE_FREQUENT,
} profile;

static bool is_local(uint32_t n, uint32_t t)
{
    return t < FIRST || t >= n - (uint32_t)(LOCAL * n);
}

static profile profile_of(const float *mass, const uint8_t *modality, uint32_t n, double *total)
{
    double local = 0, text = 0;
    *total = 0;
    for (uint32_t t = 0; t < n; t++) {
        *total += mass[t];
        local += is_local(n, t) ? mass[t] : 0;
        text += is_local(n, t) || modality[t] == FOVEA_MODALITY_TEXT ? mass[t] : 0;
    }
    return local >= COVERED * *total  ? PROFILE_STREAM
           : text >= COVERED * *total ? PROFILE_TEXT
                                      : PROFILE_FREQUENT;
}

static void score_list(const float *mass, const uint8_t *modality, uint32_t n, float *out)
{
    double total, sum = 0;
    profile is = profile_of(mass, modality, n, &total);
    if (is == PROFILE_FREQUENT) {
        memcpy(out, mass, n * sizeof *out);
        return;
    }
    for (uint32_t t = 0; t < n; t++) {
        bool is_text = is == PROFILE_TEXT && modality[t] == FOVEA_MODALITY_TEXT;
        out[t] = (float)(t + 1 + (t < FIRST ? 2 * n : 0) + (is_text ? n : 0));
        sum += out[t];
    }
    for (uint32_t t = 0; t < n; t++) {
        out[t] *= total > 0 ? (float)(total / sum) : 1;
    }
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer);
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        size_t row = (size_t)head * ctx->n_token;
        score_list(mass + row, ctx->obs->modality, ctx->n_token, out + row);
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_fastgen = {
    .name = "fastgen",
    .needs = FVI_NEED_WINDOW_MASS,
    .score = score,
};
