/* budget_adakv.c - AdaKV: the best scores of a layer win, whichever head they belong to.
 *
 * Layers share alike. In each, the best B of all heads' scores are counted per head, and a head gets
 *
 *     (1 - FLOOR) * its count + FLOOR * B / heads
 *
 * so that none starves. Which minimises a bound on the layer's output error; the memory is real, since lists
 * have lengths of their own here. */
#include "kvcompress/policy.h"

#define FLOOR 0.2

static void swap(float *a, float *b)
{
    float old = *a;
    *a = *b;
    *b = old;
}

/* The k-th largest of n values, 1 <= k <= n; reorders them. Values equal to the pivot are set apart, so
 * many equal ones do not slow it down. */
static float kth_largest(float *values, size_t n, size_t k)
{
    for (;;) {
        float pivot = values[n / 2];
        size_t above = 0, below = n, i = 0; /* [0, above) > pivot, [below, n) < pivot */
        while (i < below) {
            if (values[i] > pivot) {
                swap(&values[i++], &values[above++]);
            } else if (values[i] < pivot) {
                swap(&values[i], &values[--below]);
            } else {
                i++;
            }
        }
        if (k <= above) {
            n = above;
        } else if (k <= below) {
            return pivot;
        } else {
            values += below;
            n -= below;
            k -= below;
        }
    }
}

/* scores, scratch: [n_head, n_token]. Scores equal to the last one taken share what is left of k. */
static void weigh_layer(const float *scores, float *scratch, uint32_t n_head, uint32_t n_token,
                        size_t k, double *weights)
{
    size_t n = (size_t)n_head * n_token, n_above = 0, n_equal = 0;
    memcpy(scratch, scores, n * sizeof *scratch);
    float last = kth_largest(scratch, n, k);
    for (size_t i = 0; i < n; i++) {
        n_above += scores[i] > last;
        n_equal += scores[i] == last;
    }
    double share = (double)(k - n_above) / (double)n_equal;
    for (uint32_t head = 0; head < n_head; head++) {
        double count = 0;
        for (uint32_t t = 0; t < n_token; t++) {
            float score = scores[(size_t)head * n_token + t];
            count += score > last ? 1 : score == last ? share : 0;
        }
        weights[head] = (1 - FLOOR) * count + FLOOR * (double)k / n_head;
    }
}

static fovea_status weigh(const fvi_budget_ctx *ctx, double *weights)
{
    const fvi_kv_geom *geom = ctx->geom;
    uint32_t n_list = fvi_kv_geom_n_list(geom);
    float *scratch = fvi_calloc(ctx->alloc, (size_t)fvi_kv_geom_max_kv_head(geom) * ctx->n_candidate,
                                sizeof *scratch);
    if (scratch == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    size_t list = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        uint32_t n_head = geom->layers[layer].n_kv_head;
        size_t n = (size_t)n_head * ctx->n_candidate;
        size_t k = (size_t)((double)ctx->total * n_head / n_list + 0.5);
        weigh_layer(ctx->scores + list * ctx->n_candidate, scratch, n_head, ctx->n_candidate,
                    FVI_MIN(FVI_MAX(k, 1), n), weights + list);
        list += n_head;
    }
    fvi_free(ctx->alloc, scratch);
    return FOVEA_OK;
}

const fvi_budget fvi_budget_adakv = {
    .name = "adakv",
    .weigh = weigh,
};
