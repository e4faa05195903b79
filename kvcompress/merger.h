/* merger.h - what becomes of evicted tokens: the interface behind mergers.def, and merging one list.
 *
 * observe -> score -> budget -> select -> merge -> encode. A merger folds the rows of evicted tokens into
 * kept ones of the same list and the same modality, before these are encoded in the kind they are kept in.
 * What a recipe always keeps (sinks, exact, protected) is never changed, so it is no target; where a list
 * has no target of a modality, or none was evicted, the merger is not asked. A merger has one of:
 *
 *   weigh    a kept row becomes the weighted mean of itself and of the evicted rows whose keys are nearest
 *            to its own (cosine, equal ones to the lower position), K and V with the same weights. The
 *            weights are divided by their sum here, so they sum to 1, and a row into which nothing is
 *            folded keeps its bits
 *   spread   changes the kept values itself
 *   neither  evicted tokens are dropped (merge_drop.c)
 *
 * Keys lie here after RoPE, each turned by its own position, as in the caches of the papers. So a cosine
 * compares content and distance at once: keys of equal content and distant positions are alike only in the
 * slow pairs of channels, and their mean keeps those and lets the fast pairs cancel. A merged key is shorter
 * than what it was made of and stands for no position exactly; the nearer in place and content the two
 * were, the less. And n tokens that become one have one share in the softmax, not n.
 *
 * One file each (merge_<name>.c) and one line in the table. Called by plan.c and plan_apply.c. Threads: any;
 * entries are constant. */
#ifndef FOVEA_KVCOMPRESS_MERGER_H
#define FOVEA_KVCOMPRESS_MERGER_H

#include "kvcompress/policy.h"

/* The tokens of one modality in one list. Rows of evicted tokens stay as they were. */
typedef struct fvi_merge_ctx {
    uint32_t layer, head;
    uint64_t seed;
    uint32_t n_kept, n_evicted, dk, dv; /* n_kept, n_evicted > 0 */
    const uint32_t *kept;               /* [n_kept] tokens that may be changed, ascending */
    const uint32_t *evicted;            /* [n_evicted] ascending */
    const uint32_t *nearest;            /* [n_evicted] which of kept; for weigh */
    const float *cosine;                /* [n_evicted] with it; 0 where a key has no length */
    const float *mass; /* [n_token] attention of the query window, or NULL when it is not needed */
    float *k, *v;      /* [n_token, dk], [n_token, dv] of the list */
} fvi_merge_ctx;

typedef struct fvi_merger {
    const char *name;
    uint32_t needs; /* fvi_kv_need: FVI_NEED_WINDOW_MASS or nothing */
    /* How much each row counts, >= 0, own > 0; all are 1 before. */
    void (*weigh)(const fvi_merge_ctx *ctx, float *own /* [n_kept] */,
                  float *weight /* [n_evicted] */);
    void (*spread)(const fvi_merge_ctx *ctx);
} fvi_merger;

/* In the order of the table; NULL past its end. */
const fvi_merger *fvi_merger_at(uint32_t index);
/* NULL: drop. */
bool fvi_merger_folds(const fvi_merger *merger);

/* What a plan says about evicted tokens. */
typedef struct fvi_merging {
    const fvi_merger *merger[FOVEA_N_MODALITY];
    uint64_t seed;
    const fvi_kv_obs *obs; /* not owned; NULL when no merger needs it */
    uint8_t *modality;     /* [n_token] */
    uint8_t *always;       /* [n_token] not 0: never changed */
} fvi_merging;

/* True when some modality is merged. */
bool fvi_merging_any(const fvi_merging *self);

/* Where the rows of a list and what merging keeps beside them lie in one block of work_bytes. */
typedef struct fvi_merge_work {
    double *total;     /* [n_token] */
    float *k, *v;      /* [n_token, dk], [n_token, dv] */
    float *weight;     /* [n_token] of the kept ones, then of the evicted ones */
    float *cosine;     /* [n_token] */
    float *inverse;    /* [n_token] of the evicted keys' lengths */
    float *block;      /* some kept keys, channel by channel */
    float *unit;       /* [dk] */
    uint32_t *token;   /* [n_token] the kept ones, then the evicted ones */
    uint32_t *nearest; /* [n_token] */
} fvi_merge_work;

/* Of the largest list. */
size_t fvi_merge_work_bytes(const fvi_kv_geom *geom, uint32_t n_token);
fvi_merge_work fvi_merge_work_in(void *memory, uint32_t n_token, uint32_t dk, uint32_t dv);

/* A list that is to be merged: kind says which of its tokens are kept. */
typedef struct fvi_merge_list {
    uint32_t layer, head, list, n_token, dk, dv;
    const uint8_t *kind; /* [n_token] fovea_kind or FVI_KV_DROP */
} fvi_merge_list;

/* True when there is a token to fold and one to fold it into. */
bool fvi_merge_has_work(const fvi_merging *self, const fvi_merge_list *list);
/* Changes the kept rows in work->k and work->v, where all rows of the list are. */
void fvi_merge_rows(const fvi_merging *self, const fvi_merge_list *list,
                    const fvi_merge_work *work);

#endif
