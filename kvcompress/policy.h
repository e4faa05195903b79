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

typedef enum fvi_kv_plane {
#define FVI_PLANE(name) FVI_PLANE_##name,
#include "kvcompress/planes.def"
#undef FVI_PLANE
    FVI_N_PLANE
} fvi_kv_plane;

/* A bit for each plane, and those that are no planes. */
typedef enum fvi_kv_need {
#define FVI_PLANE(name) FVI_NEED_##name = 1 << FVI_PLANE_##name,
#include "kvcompress/planes.def"
#undef FVI_PLANE
    FVI_NEED_DENSITY = 1 << FVI_N_PLANE, /* share of the query window's attention above the threshold */
    FVI_NEED_ALL = 2 * FVI_NEED_DENSITY - 1,
} fvi_kv_need;

#define FVI_KV_RECENT_ROWS 32 /* SnapKV's observation window */
#define FVI_KV_DECAY_ROWS  32
#define FVI_KV_DECAY       0.8f

/* What was seen of a turn of n_token tokens. Counted by reference: forks share it. */
typedef struct fvi_kv_obs {
    const fovea_alloc *alloc;
    uint32_t refs;
    uint32_t needs;            /* what is filled */
    uint32_t n_layer, n_list, n_token;
    uint32_t window_first;     /* first row of the query window, in the turn */
    uint8_t *modality;         /* [n_token] fovea_modality; text until set_spans */
    float *plane[FVI_N_PLANE]; /* [n_list, n_token] each, or NULL */
    double *density;           /* [n_layer] 1 - gamma', or NULL */
    size_t n_bytes;
} fvi_kv_obs;

fovea_status fvi_kv_obs_new(const fovea_alloc *alloc, const fvi_kv_geom *geom, uint32_t n_token,
                            uint32_t needs, fvi_kv_obs **out);
/* Takes over from the turn's spans what observing reads: the query window and the modalities. */
void fvi_kv_obs_set_spans(fvi_kv_obs *obs, const fvi_kv_span *spans, uint32_t n_span);
void fvi_kv_obs_ref(fvi_kv_obs *obs);
void fvi_kv_obs_unref(fvi_kv_obs **obs);

/* One layer of it as an observation of its own; not counted, valid as long as the whole. */
fvi_kv_obs fvi_kv_obs_layer(const fvi_kv_obs *obs, const fvi_kv_geom *geom, uint32_t layer);

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
    double share;     /* of the turn's f16 cache that the recipe leaves, 1: bytes do not count */
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
    uint32_t n_token;    /* of the turn: of the planes */
    uint32_t n_candidate; /* of a list, that share the total: all, or those of a modality */
    const float *scores;  /* [n_list, n_candidate] */
    uint64_t total;    /* slots over all lists, to be met exactly */
    uint32_t min_list; /* least slots of a list (sinks, protected), at most n_candidate */
} fvi_budget_ctx;

/* For a budget that chooses token and kind together. */
typedef struct fvi_choose_ctx {
    const fovea_alloc *alloc;
    fvi_pool *workers;         /* may share the work; NULL: there are none */
    const float *scores;       /* [n_list, n_token] importance, comparable over lists */
    const uint8_t *modality;   /* [n_token] fovea_modality */
    const uint8_t *always;     /* [n_token] 1: stays, in choice 0 */
    const uint8_t *least;      /* [n_list, n_token] the first choice that is left to a token,
                                  FVI_CHOOSE_DROP: none; NULL: 0 for all */
    const double *distortion;  /* [n_list, FOVEA_N_KIND], n_choice of them: relative error of a token so
                                  stored, 0 in choice 0, which every list can have; dropped: 1 */
    const double *row_bytes;   /* [n_choice] about, of a token in a long run, falling */
    const double *step_bytes;  /* [n_choice] about, of one token more in it; the same but for fitted choices */
    /* [n_choice] true: the choice is fitted to what makes a list's rows alike, so a list has one such choice at
     * most, for tokens of `fitted` modality. */
    const bool *is_fitted;
    uint8_t fitted;
    uint32_t n_list, n_token, n_choice;
    size_t target;             /* bytes of the whole turn, not to be exceeded */
    /* Bytes of a list's runs when it holds counts[c] tokens of choice c, and of a turn whose lists hold
     * that many bytes and tokens in all. Threads: any. */
    size_t (*list_bytes)(const void *user, uint32_t list, const uint32_t *counts /* [n_choice] */);
    size_t (*turn_bytes)(const void *user, size_t run_bytes, uint64_t n_slot);
    const void *user;
} fvi_choose_ctx;

#define FVI_CHOOSE_DROP 0xff

typedef struct fvi_budget {
    const char *name;
    uint32_t needs;
    /* Relative weights per list, >= 0, not all 0; plan.c turns them into exact integers between min_list
     * and n_token (apportion.h). */
    fovea_status (*weigh)(const fvi_budget_ctx *ctx, double *weights /* [n_list] */);
    /* Instead of weigh: chooses each token's storage itself, only with bytes=. */
    fovea_status (*choose)(const fvi_choose_ctx *ctx,
                           uint8_t *choice /* [n_list, n_token] or FVI_CHOOSE_DROP */);
} fvi_budget;

#endif
