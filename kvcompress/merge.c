/* merge.c - the table of mergers, and merging the rows of one list.
 *
 * Nearest keys take most of the time: evicted x kept x dk products for each list. LANES kept keys are laid
 * side by side, channel by channel, so that the sums of a channel are independent and the compiler makes
 * vectors of them without reordering any.
 * Called by recipe.c, plan.c and plan_apply.c. */
#include "kvcompress/merger.h"

#include <math.h>

#define LANES 16
#define TINY  1e-60 /* a key shorter than its root points nowhere */

#define FVI_MERGER(name) extern const fvi_merger fvi_merger_##name;
#include "kvcompress/mergers.def"
#undef FVI_MERGER

static const fvi_merger *const mergers[] = {
#define FVI_MERGER(name) &fvi_merger_##name,
#include "kvcompress/mergers.def"
#undef FVI_MERGER
};

const fvi_merger *fvi_merger_at(uint32_t index)
{
    return index < FVI_COUNT(mergers) ? mergers[index] : NULL;
}

bool fvi_merger_folds(const fvi_merger *merger)
{
    return merger != NULL && (merger->weigh != NULL || merger->spread != NULL);
}

bool fvi_merging_any(const fvi_merging *self)
{
    bool any = false;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        any = any || fvi_merger_folds(self->merger[m]);
    }
    return any;
}

/* ---- working space ---- */

fvi_merge_work fvi_merge_work_in(void *memory, uint32_t n_token, uint32_t dk, uint32_t dv)
{
    fvi_merge_work work = {.total = memory};
    work.k = (float *)(work.total + n_token);
    work.v = work.k + (size_t)n_token * dk;
    work.weight = work.v + (size_t)n_token * dv;
    work.cosine = work.weight + n_token;
    work.inverse = work.cosine + n_token;
    work.block = work.inverse + n_token;
    work.unit = work.block + (size_t)LANES * dk;
    work.token = (uint32_t *)(work.unit + dk);
    work.nearest = work.token + n_token;
    return work;
}

size_t fvi_merge_work_bytes(const fvi_kv_geom *geom, uint32_t n_token)
{
    size_t most = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        uint32_t dk = geom->layers[layer].dk;
        size_t per_token = sizeof(double) + 5 * sizeof(float) +
                           ((size_t)dk + geom->layers[layer].dv) * sizeof(float);
        most = FVI_MAX(most, n_token * per_token + (LANES + 1) * (size_t)dk * sizeof(float));
    }
    return most;
}

/* ---- nearest keys ---- */

static float inverse_length(const float *x, uint32_t d)
{
    double sum = 0;
    for (uint32_t c = 0; c < d; c++) {
        sum += (double)x[c] * x[c];
    }
    return sum > TINY ? (float)(1 / sqrt(sum)) : 0;
}

/* Lays up to LANES kept keys, at length 1, side by side. */
static void fill_block(const fvi_merge_ctx *ctx, uint32_t first, uint32_t n, float *block)
{
    memset(block, 0, (size_t)LANES * ctx->dk * sizeof *block);
    for (uint32_t lane = 0; lane < n; lane++) {
        const float *key = ctx->k + (size_t)ctx->kept[first + lane] * ctx->dk;
        float inverse = inverse_length(key, ctx->dk);
        for (uint32_t c = 0; c < ctx->dk; c++) {
            block[(size_t)c * LANES + lane] = key[c] * inverse;
        }
    }
}

static void dot_block(const float *block, const float *unit, uint32_t d, float out[LANES])
{
    float sum[LANES] = {0};
    for (uint32_t c = 0; c < d; c++) {
        for (uint32_t lane = 0; lane < LANES; lane++) {
            sum[lane] += unit[c] * block[(size_t)c * LANES + lane];
        }
    }
    memcpy(out, sum, sizeof sum);
}

static void find_nearest(const fvi_merge_ctx *ctx, const fvi_merge_work *work)
{
    for (uint32_t i = 0; i < ctx->n_evicted; i++) {
        work->cosine[i] = -INFINITY;
        work->nearest[i] = 0; /* should its key be no number */
        work->inverse[i] = inverse_length(ctx->k + (size_t)ctx->evicted[i] * ctx->dk, ctx->dk);
    }
    for (uint32_t first = 0; first < ctx->n_kept; first += LANES) {
        uint32_t n = FVI_MIN(ctx->n_kept - first, (uint32_t)LANES);
        fill_block(ctx, first, n, work->block);
        for (uint32_t i = 0; i < ctx->n_evicted; i++) {
            const float *key = ctx->k + (size_t)ctx->evicted[i] * ctx->dk;
            float cosine[LANES];
            for (uint32_t c = 0; c < ctx->dk; c++) {
                work->unit[c] = key[c] * work->inverse[i];
            }
            dot_block(work->block, work->unit, ctx->dk, cosine);
            for (uint32_t lane = 0; lane < n; lane++) {
                if (cosine[lane] > work->cosine[i]) { /* equal ones: the lower position stays */
                    work->cosine[i] = cosine[lane];
                    work->nearest[i] = first + lane;
                }
            }
        }
    }
}

/* ---- folding ---- */

static void scale(float *x, uint32_t n, float factor)
{
    for (uint32_t c = 0; c < n; c++) {
        x[c] *= factor;
    }
}

static void add(float *to, const float *from, uint32_t n, float factor)
{
    for (uint32_t c = 0; c < n; c++) {
        to[c] += factor * from[c];
    }
}

/* The kept rows become weighted means. */
static void fold(const fvi_merger *merger, const fvi_merge_ctx *ctx, const fvi_merge_work *work)
{
    float *own = work->weight, *weight = work->weight + ctx->n_kept;
    for (uint32_t i = 0; i < ctx->n_kept + ctx->n_evicted; i++) {
        work->weight[i] = 1;
    }
    merger->weigh(ctx, own, weight);
    for (uint32_t j = 0; j < ctx->n_kept; j++) {
        work->total[j] = own[j];
    }
    for (uint32_t i = 0; i < ctx->n_evicted; i++) {
        work->total[ctx->nearest[i]] += weight[i];
    }
    for (uint32_t j = 0; j < ctx->n_kept; j++) {
        float share = (float)(own[j] / work->total[j]);
        scale(ctx->k + (size_t)ctx->kept[j] * ctx->dk, ctx->dk, share);
        scale(ctx->v + (size_t)ctx->kept[j] * ctx->dv, ctx->dv, share);
    }
    for (uint32_t i = 0; i < ctx->n_evicted; i++) {
        uint32_t to = ctx->kept[ctx->nearest[i]], from = ctx->evicted[i];
        float share = (float)(weight[i] / work->total[ctx->nearest[i]]);
        if (share == 0) {
            continue;
        }
        add(ctx->k + (size_t)to * ctx->dk, ctx->k + (size_t)from * ctx->dk, ctx->dk, share);
        add(ctx->v + (size_t)to * ctx->dv, ctx->v + (size_t)from * ctx->dv, ctx->dv, share);
    }
}

/* Whether a token is of the modality and may be changed, or was evicted. */
static bool is_target(const fvi_merging *self, const fvi_merge_list *list, uint32_t m, uint32_t t)
{
    return self->modality[t] == m && list->kind[t] != FVI_KV_DROP && self->always[t] == 0;
}

static bool is_evicted(const fvi_merging *self, const fvi_merge_list *list, uint32_t m, uint32_t t)
{
    return self->modality[t] == m && list->kind[t] == FVI_KV_DROP;
}

static bool modality_has_work(const fvi_merging *self, const fvi_merge_list *list, uint32_t m)
{
    bool has_target = false, has_evicted = false;
    for (uint32_t t = 0; t < list->n_token && !(has_target && has_evicted); t++) {
        has_target = has_target || is_target(self, list, m, t);
        has_evicted = has_evicted || is_evicted(self, list, m, t);
    }
    return fvi_merger_folds(self->merger[m]) && has_target && has_evicted;
}

bool fvi_merge_has_work(const fvi_merging *self, const fvi_merge_list *list)
{
    bool any = false;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        any = any || modality_has_work(self, list, m);
    }
    return any;
}

static void merge_modality(const fvi_merging *self, const fvi_merge_list *list, uint32_t m,
                           const fvi_merge_work *work)
{
    uint32_t n_kept = 0, n = 0;
    for (uint32_t t = 0; t < list->n_token; t++) {
        if (is_target(self, list, m, t)) {
            work->token[n_kept++] = t;
        }
    }
    n = n_kept;
    for (uint32_t t = 0; t < list->n_token; t++) {
        if (is_evicted(self, list, m, t)) {
            work->token[n++] = t;
        }
    }
    const fvi_merger *merger = self->merger[m];
    const fvi_merge_ctx ctx = {.layer = list->layer,
                               .head = list->head,
                               .seed = self->seed,
                               .n_kept = n_kept,
                               .n_evicted = n - n_kept,
                               .dk = list->dk,
                               .dv = list->dv,
                               .kept = work->token,
                               .evicted = work->token + n_kept,
                               .nearest = work->nearest,
                               .cosine = work->cosine,
                               .mass = merger->needs == 0
                                           ? NULL
                                           : self->obs->plane[FVI_PLANE_WINDOW_MASS] +
                                                 (size_t)list->list * list->n_token,
                               .k = work->k,
                               .v = work->v};
    if (merger->weigh != NULL) {
        find_nearest(&ctx, work);
        fold(merger, &ctx, work);
    } else {
        merger->spread(&ctx);
    }
}

void fvi_merge_rows(const fvi_merging *self, const fvi_merge_list *list, const fvi_merge_work *work)
{
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        if (modality_has_work(self, list, m)) {
            merge_modality(self, list, m, work);
        }
    }
}
