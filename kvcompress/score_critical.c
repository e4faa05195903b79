/* score_critical.c - CriticalKV: the first half of what is kept by attention, the rest by a bound on what the
 * layer's output loses.
 *
 * Dropping a token changes the output by at most its attention times |W_o v|_1. The paper's two stages take
 * half of the budget each; as a budget is not known here, they take turns: for every k, the first k of the
 * order are the best k/2 by attention and then the best by the bound among the others. A score is the place
 * in that order, so scores of different heads say nothing about each other (budget=adakv shares evenly). */
#include "kvcompress/planes.h"
#include "kvcompress/select.h"

/* What is not attended to at all is still told apart by its value. */
#define LEAST_MASS 1e-4f

static uint32_t next_of(const uint32_t *order, uint32_t *at, const uint8_t *taken)
{
    while (taken[order[*at]] != 0) {
        ++*at;
    }
    return order[*at];
}

/* by_mass, by_bound: [n] positions, best first. taken: [n], zero. */
static void take_turns(const uint32_t *by_mass, const uint32_t *by_bound, uint8_t *taken,
                       uint32_t n, float *out)
{
    uint32_t at_mass = 0, at_bound = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t t =
            i % 2 == 0 ? next_of(by_mass, &at_mass, taken) : next_of(by_bound, &at_bound, taken);
        taken[t] = 1;
        out[t] = (float)(n - i);
    }
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    const float *mass = fvi_plane_rows(ctx, FVI_PLANE_WINDOW_MASS, layer);
    const float *bound = fvi_plane_rows(ctx, FVI_PLANE_VALUE_BOUND, layer);
    uint32_t n = ctx->n_token;
    uint32_t *sort = fvi_calloc(ctx->alloc, 8 * (size_t)n, sizeof *sort);
    float *product = fvi_calloc(ctx->alloc, n, sizeof *product);
    uint8_t *taken = fvi_calloc(ctx->alloc, n, 1);
    fovea_status status = FOVEA_ERR_NOMEM;
    if (sort != NULL && product != NULL && taken != NULL) {
        for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
            for (uint32_t t = 0; t < n; t++) {
                product[t] = (mass[t] + LEAST_MASS) * bound[t];
            }
            fvi_select_sort(mass, n, sort);
            fvi_select_sort(product, n, sort + 4 * (size_t)n);
            memset(taken, 0, n);
            take_turns(sort, sort + 4 * (size_t)n, taken, n, out);
            mass += n;
            bound += n;
            out += n;
        }
        status = FOVEA_OK;
    }
    fvi_free(ctx->alloc, sort);
    fvi_free(ctx->alloc, product);
    fvi_free(ctx->alloc, taken);
    return status;
}

const fvi_scorer fvi_scorer_critical = {
    .name = "critical",
    .needs = FVI_NEED_WINDOW_MASS | FVI_NEED_VALUE_BOUND,
    .score = score,
};
