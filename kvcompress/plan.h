/* plan.h - what a recipe becomes for one turn: for each list, which tokens stay in which kind.
 *
 * make: scores, budget, selection (select.h); exact bytes (metadata and slack included) are computed, not
 * guessed, and bytes= is met from below as closely as whole tokens allow. apply: rewrites layer by layer,
 * each layer's fresh runs are free as soon as its kept tokens are packed, so the working space is one layer.
 * keep=F keeps floor(F * tokens * lists + 0.5) slots, at least one per list and what is protected.
 * Every target from floor_bytes on is met within 0.95 to 1.00; where everything fits, everything stays.
 * Ties go to the lower position. A turn of plain text after the first turn is kept as it is (its tokens
 * are the question; papers: never evict text first), as is anything with recipe none.
 * Called by the engine when a prompt is through. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_PLAN_H
#define FOVEA_KVCOMPRESS_PLAN_H

#include "kvcompress/recipe.h"

typedef struct fvi_kv_plan {
    const fovea_alloc *alloc;
    uint32_t n_list, n_token;
    uint32_t kinds;  /* bit per fovea_kind that may occur */
    uint8_t *kind;   /* [n_list, n_token] fovea_kind or FVI_KV_DROP */
    uint64_t n_slot; /* kept over all lists */
    size_t n_bytes;  /* what the turn will hold after apply in an unfragmented pool; for the first
                           turn that is realised_bytes of the ledger */
    size_t floor_bytes;    /* least that bytes= may ask for here */
    double estimated_loss; /* fvi_loss_estimate */
    fvi_merging merging;   /* what becomes of the others; its tables are the plan's */
} fvi_kv_plan;

/* What a recipe may read of any turn (fvi_kv_need bits). */
uint32_t fvi_kv_recipe_needs(const fvi_recipe *recipe);
/* What the engine has to observe for this turn (fvi_kv_need bits): for its plan, if it gets one, and for
 * what the recipe does while decoding. */
uint32_t fvi_kv_plan_needs(const fvi_kv_seq *seq, const fvi_recipe *recipe);
/* True when this turn will be rewritten (a recipe that plans and a first turn or one with images). */
bool fvi_kv_plan_wanted(const fvi_kv_seq *seq, const fvi_recipe *recipe);

/* After fvi_kv_seq_end_turn. obs may be NULL when needs are 0, and is read by apply too where tokens are
 * merged. FOVEA_ERR_BUDGET below the floor, with it in the text. */
fovea_status fvi_kv_plan_make(const fvi_kv_seq *seq, const fvi_recipe *recipe,
                              const fvi_kv_obs *obs, fvi_kv_plan **out, fovea_error *err);
/* Right after make. FOVEA_ERR_FULL or _NOMEM when there is no working space; then the sequence is unusable
 * and must be freed. Merging takes fvi_kv_plan_work_bytes beside what fvi_kv_forecast_bytes says. */
fovea_status fvi_kv_plan_apply(fvi_kv_seq *seq, const fvi_kv_plan *plan);
/* True when the turn under way has a budget that will not keep everything: its layers may be cut (cut.h). */
bool fvi_kv_plan_cuts(const fvi_kv_seq *seq, const fvi_recipe *recipe);
/* The plan of one finished layer of the turn under way, alone, at its cap; lists are the layer's. *out is
 * NULL where the layer would not shrink. */
fovea_status fvi_kv_plan_layer(const fvi_kv_seq *seq, const fvi_recipe *recipe,
                               const fvi_kv_obs *obs, uint32_t layer, fvi_kv_plan **out,
                               fovea_error *err);
/* The most bytes that such a plan leaves of a layer, in a pool full of holes, metadata included; SIZE_MAX
 * where there will be none. */
size_t fvi_kv_plan_layer_bytes(const fvi_kv_geom *geom, size_t granule, const fvi_kv_span *spans,
                               uint32_t n_span, uint32_t n_token, bool first_turn,
                               const fvi_recipe *recipe, uint32_t layer);
void fvi_kv_plan_free(fvi_kv_plan **plan);
size_t fvi_kv_plan_work_bytes(const fvi_kv_geom *geom, const fvi_recipe *recipe, uint32_t n_token);

/* Least bytes= of a recipe for a first prompt, before anything ran: for refusing at submission.
 * FOVEA_ERR_BUDGET below it (*floor_bytes is filled then too), FOVEA_ERR_ARG for a kind that the cache
 * cannot have. */
fovea_status fvi_kv_plan_check(const fvi_kv_geom *geom, size_t granule, const fvi_kv_span *spans,
                               uint32_t n_span, uint32_t n_token, const fvi_recipe *recipe,
                               size_t *floor_bytes, fovea_error *err);

#endif
