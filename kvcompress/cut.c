/* cut.c - cutting one finished layer, and what the final plan asks about layers that were cut.
 * Called by the engine (cut.h), plan.c, choose.c and plan_apply.c. */
#include "kvcompress/cut.h"

#include "kvcompress/rewrite.h"

static size_t raw_bytes(const fvi_kv_geom *geom)
{
    return sizeof(fvi_kv_cut) + geom->n_layer * sizeof(fvi_kv_turn *) +
           (size_t)fvi_kv_geom_n_list(geom) * FOVEA_N_KIND * sizeof(double);
}

static fovea_status new_cut(fvi_kv_seq *seq, fvi_kv_cut **out)
{
    const fvi_kv_geom *geom = seq->geom;
    void *memory;
    FVI_TRY(fvi_kv_meta_new(seq->alloc, seq->pool, raw_bytes(geom), &memory));
    fvi_kv_cut *cut = memory;
    *cut = (fvi_kv_cut){.n_layer = geom->n_layer, .n_bytes = raw_bytes(geom)};
    cut->layers = (fvi_kv_turn **)(cut + 1);
    cut->distortion = (double *)(cut->layers + geom->n_layer);
    *out = cut;
    return FOVEA_OK;
}

void fvi_kv_cut_free(const fovea_alloc *alloc, fvi_kv_pool *pool, fvi_kv_cut **cut)
{
    fvi_kv_cut *self = *cut;
    *cut = NULL;
    if (self == NULL) {
        return;
    }
    for (uint32_t layer = 0; layer < self->n_layer; layer++) {
        fvi_kv_turn_unref(alloc, pool, &self->layers[layer]);
    }
    fvi_kv_meta_free(alloc, pool, self, self->n_bytes);
}

size_t fvi_kv_cut_bytes(const fvi_kv_cut *cut, const fvi_kv_pool *pool)
{
    size_t n_bytes = cut != NULL ? fvi_kv_meta_bytes(cut->n_bytes) : 0;
    for (uint32_t layer = 0; cut != NULL && layer < cut->n_layer; layer++) {
        const fvi_kv_turn *turn = cut->layers[layer];
        if (turn != NULL) {
            n_bytes += fvi_kv_meta_bytes(turn->n_bytes) + fvi_kv_turn_pool_bytes(turn, pool);
        }
    }
    return n_bytes;
}

void fvi_kv_cut_limit(const fvi_kv_cut *cut, const fvi_kv_geom *geom, const uint8_t *modality,
                      uint8_t of, uint32_t *high)
{
    for (uint32_t layer = 0; cut != NULL && layer < cut->n_layer; layer++) {
        const fvi_kv_turn *turn = cut->layers[layer];
        if (turn == NULL) {
            continue;
        }
        uint32_t *of_layer = high + fvi_kv_geom_first_list(geom, layer);
        memset(of_layer, 0, turn->n_list * sizeof *of_layer);
        fvi_kv_turn_iter at = {.turn = turn, .token = UINT32_MAX};
        while (fvi_kv_turn_next(&at)) {
            of_layer[at.list] += modality == NULL || modality[at.token] == of;
        }
    }
}

void fvi_kv_cut_kinds(const fvi_kv_cut *cut, const fvi_kv_geom *geom, uint8_t *kind)
{
    for (uint32_t layer = 0; cut != NULL && layer < cut->n_layer; layer++) {
        const fvi_kv_turn *turn = cut->layers[layer];
        if (turn == NULL) {
            continue;
        }
        size_t n_token = turn->n_token;
        uint8_t *of_layer = kind + fvi_kv_geom_first_list(geom, layer) * n_token;
        memset(of_layer, FVI_KV_DROP, turn->n_list * n_token);
        fvi_kv_turn_iter at = {.turn = turn, .token = UINT32_MAX};
        while (fvi_kv_turn_next(&at)) {
            of_layer[at.list * n_token + at.token] = (uint8_t)turn->codec[at.nth]->kind;
        }
    }
}

/* Evicted tokens that are merged must be at hand when the plan is applied; slots (slots.h) are filled beside what
 * the plan left, for which the whole prompt made room. */
static bool may_cut(const fvi_recipe *recipe)
{
    bool merges = fvi_merger_folds(recipe->merger[0]) || fvi_merger_folds(recipe->merger[1]);
    return recipe->prefill_cap > 0 && recipe->scorer != NULL && !merges &&
           recipe->reviser == NULL && recipe->recall == NULL;
}

bool fvi_kv_cut_wanted(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    return may_cut(recipe) && fvi_kv_plan_cuts(seq, recipe);
}

/* At the peak all layers but the last are cut, one of them beside its fresh or its final form, and one
 * layer is fresh. */
size_t fvi_kv_cut_forecast_bytes(const fvi_kv_seq *seq, const fvi_kv_geom *geom, size_t granule,
                                 const fvi_kv_span *spans, uint32_t n_span, uint32_t n_token,
                                 uint32_t n_generate, const fvi_recipe *recipe)
{
    size_t whole = fvi_kv_forecast_bytes(seq, geom, granule, n_span, n_token, n_generate) +
                   fvi_kv_plan_work_bytes(geom, recipe, n_token);
    if (!may_cut(recipe)) {
        return whole;
    }
    bool first_turn = seq == NULL || fvi_kv_seq_position(seq) == 0;
    size_t fresh = 0, most_fresh = 0, cut = fvi_kv_meta_bytes(raw_bytes(geom)), most_cut = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        size_t of_fresh = fvi_kv_layer_worst_bytes(geom, layer, n_token, granule, NULL, false);
        size_t of_cut = fvi_kv_plan_layer_bytes(geom, granule, spans, n_span, n_token, first_turn,
                                                recipe, layer);
        of_cut = FVI_MIN(of_cut, of_fresh);
        fresh += of_fresh;
        most_fresh = FVI_MAX(most_fresh, of_fresh);
        most_cut = FVI_MAX(most_cut, of_cut);
        cut += layer + 1 < geom->n_layer ? of_cut : 0;
    }
    return whole - fresh - most_fresh + FVI_MIN(fresh, cut + most_cut) + most_fresh;
}

/* The layer in the form that its plan says, beside the fresh one. */
static fovea_status seal(fvi_kv_seq *seq, uint32_t layer, const fvi_kv_plan *plan, void *scratch,
                         fvi_kv_turn **out)
{
    const fvi_kv_geom one = fvi_kv_geom_layer(seq->geom, layer);
    fvi_kv_block *fresh = &seq->blocks[seq->n_block - 1];
    fvi_kv_block block = {.n_token = plan->n_token};
    FVI_TRY(fvi_kv_turn_new_sealed(seq->alloc, seq->pool, &one, fresh->turn->first, plan->n_token,
                                   plan->kinds, plan->kind, &block.turn));
    fvi_kv_packer packer = {.pool = seq->pool, .room = fvi_kv_block_layer_bytes(&one, &block, 0)};
    fovea_status status = fvi_kv_block_reserve(&packer, &one, &block, 0);
    block.turn->chains[0] = packer.head;
    fvi_kv_seq_note_peak(seq, fvi_kv_meta_bytes(block.turn->n_bytes) +
                                  fvi_kv_turn_pool_bytes(block.turn, seq->pool));
    if (status < 0) {
        fvi_kv_turn_unref(seq->alloc, seq->pool, &block.turn);
        return status;
    }
    fvi_kv_rewrite(seq->pool, (fvi_kv_side){.geom = seq->geom, .block = fresh, .layer = layer},
                   (fvi_kv_side){.geom = &one, .block = &block}, plan->kind, NULL, scratch, NULL);
    *out = block.turn;
    return FOVEA_OK;
}

fovea_status fvi_kv_cut_layer(fvi_kv_seq *seq, const fvi_recipe *recipe, const fvi_kv_obs *obs,
                              uint32_t layer, fovea_error *err)
{
    fvi_kv_turn *turn = seq->n_block > 0 ? seq->blocks[seq->n_block - 1].turn : NULL;
    if (seq->state != FVI_KV_PREFILL || turn == NULL || layer >= seq->geom->n_layer ||
        turn->chains[layer] == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "there is no such layer to cut");
    }
    if (turn->cut == NULL) {
        FVI_TRY(new_cut(seq, &turn->cut));
    }
    fvi_kv_plan *plan = NULL;
    FVI_TRY(fvi_kv_plan_layer(seq, recipe, obs, layer, &plan, err));
    if (plan == NULL) {
        return FOVEA_OK;
    }
    void *scratch = fvi_alloc(seq->alloc, fvi_kv_rewrite_bytes(seq->pool, seq->geom, plan->n_token));
    fovea_status status = FOVEA_ERR_NOMEM;
    if (scratch != NULL) {
        status = seal(seq, layer, plan, scratch, &turn->cut->layers[layer]);
    }
    if (status >= 0) {
        fvi_kv_chain_unref(seq->pool, &turn->chains[layer]);
    }
    fvi_free(seq->alloc, scratch);
    fvi_kv_plan_free(&plan);
    return status;
}
