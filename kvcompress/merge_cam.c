/* merge_cam.c - CaM: the values of evicted tokens are spread over the kept ones behind them, keys are not.
 *
 *     v_j += g v_e / m for the next m = min(WINDOW, what there is) kept tokens j
 *     g = 1 with probability p = clamp(a_e / mean a_j, 0, 1), else 0
 *
 * With a the attention that a token gets, the output's expected gain is sum a_j p v_e / m = a_e v_e: what
 * eviction took away, as long as p < 1. The paper's a is the mean over all rows so far; here it is that of
 * the query window, which needs no second pass over the prompt, does not favour early tokens, and is nearer
 * to what comes next. The paper evicts a token at a time and draws once for each; so is it done here, with a
 * draw that depends on the recipe's seed, the list and the token alone. An evicted token behind the last
 * kept one of its modality is dropped.
 *
 * Values only grow by this; they are held within what f16 can say, as the kinds' scales need it. */
#include "kvcompress/draw.h"
#include "kvcompress/merger.h"

#define WINDOW  32
#define LARGEST 65504.0f

/* Where the window behind a token begins; *n: how many it has. */
static const uint32_t *window_of(const fvi_merge_ctx *ctx, uint32_t token, uint32_t *at,
                                 uint32_t *n)
{
    while (*at < ctx->n_kept && ctx->kept[*at] < token) {
        (*at)++;
    }
    *n = FVI_MIN(ctx->n_kept - *at, (uint32_t)WINDOW);
    return ctx->kept + *at;
}

static void add(float *to, const float *from, uint32_t n, float factor)
{
    for (uint32_t c = 0; c < n; c++) {
        float sum = to[c] + factor * from[c];
        to[c] = FVI_MIN(FVI_MAX(sum, -LARGEST), LARGEST);
    }
}

static void spread(const fvi_merge_ctx *ctx)
{
    /* not the scorer random's draws: what it evicts has low ones */
    uint64_t of_list = fvi_draw_list(~ctx->seed, ctx->layer, ctx->head);
    for (uint32_t i = 0, at = 0; i < ctx->n_evicted; i++) {
        uint32_t token = ctx->evicted[i], n;
        const uint32_t *window = window_of(ctx, token, &at, &n);
        double mass = 0;
        for (uint32_t j = 0; j < n; j++) {
            mass += ctx->mass[window[j]];
        }
        if ((double)fvi_draw(of_list, token) * mass >= (double)ctx->mass[token] * n) {
            continue;
        }
        for (uint32_t j = 0; j < n; j++) {
            add(ctx->v + (size_t)window[j] * ctx->dv, ctx->v + (size_t)token * ctx->dv, ctx->dv,
                1.0f / (float)n);
        }
    }
}

const fvi_merger fvi_merger_cam = {
    .name = "cam",
    .needs = FVI_NEED_WINDOW_MASS,
    .spread = spread,
};
