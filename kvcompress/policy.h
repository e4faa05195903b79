/* policy.h - what a scorer and a budget are: the interfaces behind scorers.def and budgets.def.
 *
 * observe -> score -> budget -> select -> encode. A scorer says how much each (KV head, token) matters; a
 * budget says how many tokens each list may keep. Both see what was observed during prefill; `needs`
 * makes the engine observe no more than that. One file each (score_<name>.c, budget_<name>.c) ending in
 * `const fvi_scorer fvi_scorer_<name> = {...}`, and one line in the table.
 * Called by plan.c. Threads: any; entries are constant. */
#ifndef FOVEA_KVCOMPRESS_POLICY_H
#define FOVEA_KVCOMPRESS_POLICY_H

#include "kvcompress/seq.h"

typedef enum fvi_kv_need {
    FVI_NEED_WINDOW_MASS = 1, /* attention of the query window, summed per key */
    FVI_NEED_DENSITY = 2,     /* share of that attention above the threshold, per layer */
} fvi_kv_need;

/* What was seen of a turn of n_token tokens. Counted by reference: forks share it. */
typedef struct fvi_kv_obs {
    const fovea_alloc *alloc;
    uint32_t refs;
    uint32_t needs; /* what is filled */
    uint32_t n_layer, n_list, n_token;
    uint32_t window_first; /* first row of the query window, in the turn */
    float *mass;           /* [n_list, n_token] or NULL */
    double *density;       /* [n_layer] 1 - gamma', or NULL */
    size_t n_bytes;
} fvi_kv_obs;

fovea_status fvi_kv_obs_new(const fovea_alloc *alloc, const fvi_kv_geom *geom, uint32_t n_token,
                            uint32_t needs, fvi_kv_obs **out);
void fvi_kv_obs_ref(fvi_kv_obs *obs);
void fvi_kv_obs_unref(fvi_kv_obs **obs);

/* First row (in the turn) of the query window: the text after the last image; without any, the last 32
 * rows (papers: VL-Cache 1.1 leaves that case open). */
#define FVI_KV_WINDOW_FALLBACK 32
uint32_t fvi_kv_window_first(const fvi_kv_span *spans, uint32_t n_span, uint32_t n_token);

/* Relative threshold p of VL-Cache's Eq. 1. */
#define FVI_KV_DENSITY_THRESHOLD 0.01f

typedef struct fvi_score_ctx {
    const fovea_alloc *alloc;
    const fvi_kv_geom *geom;
    const fvi_kv_obs *obs;    /* never NULL when needs != 0 */
    const fvi_kv_span *spans; /* of the turn, positions relative to its first token */
    uint32_t n_span;
    uint32_t n_token; /* of the turn */
    uint64_t seed;
} fvi_score_ctx;

typedef struct fvi_scorer {
    const char *name;
    uint32_t needs; /* fvi_kv_need */
    /* Fills out[n_kv_head(layer), n_token]; higher matters more; finite. */
    fovea_status (*score)(const fvi_score_ctx *ctx, uint32_t layer, float *out);
} fvi_scorer;

typedef struct fvi_budget_ctx {
    const fovea_alloc *alloc;
    const fvi_kv_geom *geom;
    const fvi_kv_obs *obs;
    const float *scores; /* [n_list, n_token] */
    uint32_t n_token;
    uint64_t total;    /* slots over all lists, to be met exactly */
    uint32_t min_list; /* least slots of a list (sinks, protected), at most n_token */
} fvi_budget_ctx;

typedef struct fvi_budget {
    const char *name;
    uint32_t needs;
    /* Relative weights per list, >= 0, not all 0; plan.c turns them into exact integers between min_list
     * and n_token (apportion.h). */
    fovea_status (*weigh)(const fvi_budget_ctx *ctx, double *weights /* [n_list] */);
} fvi_budget;

#endif
