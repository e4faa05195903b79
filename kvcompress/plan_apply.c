/* plan_apply.c - rewriting a turn as its plan says: fresh runs become sealed ones, layer by layer.
 *
 * The sealed chain grows by one layer at a time, in one hole of the pool where there is one for all of it,
 * and what held the layer before, fresh or cut to its cap (cut.h), goes back at once (unless a fork shares
 * it). Called by the engine. */
#include "kvcompress/cut.h"
#include "kvcompress/rewrite.h"

typedef struct workspace {
    void *rows;     /* fvi_kv_rewrite_bytes */
    void *merge;    /* fvi_merge_work_bytes, booked in the pool; NULL: nothing is merged */
    size_t n_merge; /* its bytes */
} workspace;

static fovea_status take_workspace(const fvi_kv_seq *seq, const fvi_kv_plan *plan, workspace *out)
{
    workspace space = {.rows = NULL};
    if (fvi_merging_any(&plan->merging)) {
        space.n_merge = fvi_merge_work_bytes(seq->geom, plan->n_token);
        FVI_TRY(fvi_kv_meta_new(seq->alloc, seq->pool, space.n_merge, &space.merge));
    }
    space.rows = fvi_alloc(seq->alloc, fvi_kv_rewrite_bytes(seq->pool, seq->geom, plan->n_token));
    if (space.rows == NULL) {
        fvi_kv_meta_free(seq->alloc, seq->pool, space.merge, space.n_merge);
        return FOVEA_ERR_NOMEM;
    }
    *out = space;
    return FOVEA_OK;
}

static void give_workspace(const fvi_kv_seq *seq, workspace *space)
{
    fvi_free(seq->alloc, space->rows);
    fvi_kv_meta_free(seq->alloc, seq->pool, space->merge, space->n_merge);
}

size_t fvi_kv_plan_work_bytes(const fvi_kv_geom *geom, const fvi_recipe *recipe, uint32_t n_token)
{
    bool merges = fvi_merger_folds(recipe->merger[0]) || fvi_merger_folds(recipe->merger[1]);
    return merges ? fvi_kv_meta_bytes(fvi_merge_work_bytes(geom, n_token)) : 0;
}

static void seal_layer(fvi_kv_seq *seq, fvi_kv_block *from, fvi_kv_block *to,
                       const fvi_kv_plan *plan, uint32_t layer, const workspace *space)
{
    const fvi_kv_geom *geom = seq->geom;
    const uint8_t *kind = plan->kind + (size_t)fvi_kv_geom_first_list(geom, layer) * plan->n_token;
    fvi_kv_side sealed = {.geom = geom, .block = to, .layer = layer};
    fvi_kv_cut *cut = from->turn->cut;
    if (cut != NULL && cut->layers[layer] != NULL) {
        const fvi_kv_geom one = fvi_kv_geom_layer(geom, layer);
        fvi_kv_block block = {.turn = cut->layers[layer]};
        fvi_kv_rewrite(seq->pool, (fvi_kv_side){.geom = &one, .block = &block}, sealed, kind, NULL,
                       space->rows, NULL);
        fvi_kv_turn_unref(seq->alloc, seq->pool, &cut->layers[layer]);
        return;
    }
    fvi_kv_rewrite(seq->pool, (fvi_kv_side){.geom = geom, .block = from, .layer = layer}, sealed,
                   kind, &plan->merging, space->rows, space->merge);
    if (from->turn->refs == 1) {
        fvi_kv_chain_unref(seq->pool, &from->turn->chains[layer]);
    }
}

/* Packs and fills all layers of `to`; the chain is the turn's at every moment, so that a failure loses
 * nothing. */
static fovea_status seal_layers(fvi_kv_seq *seq, fvi_kv_block *from, fvi_kv_block *to,
                                const fvi_kv_plan *plan, const workspace *space)
{
    fvi_kv_packer packer = {.pool = seq->pool};
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        packer.room += fvi_kv_block_layer_bytes(seq->geom, to, layer);
    }
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        fovea_status status = fvi_kv_block_reserve(&packer, seq->geom, to, layer);
        to->turn->chains[0] = packer.head;
        fvi_kv_seq_note_peak(seq, fvi_kv_meta_bytes(to->turn->n_bytes) +
                                      fvi_kv_turn_pool_bytes(to->turn, seq->pool) +
                                      fvi_kv_meta_bytes(space->n_merge));
        FVI_TRY(status);
        seal_layer(seq, from, to, plan, layer, space);
    }
    return FOVEA_OK;
}

fovea_status fvi_kv_plan_apply(fvi_kv_seq *seq, const fvi_kv_plan *plan)
{
    fvi_kv_block *block = seq->n_block > 0 ? &seq->blocks[seq->n_block - 1] : NULL;
    if (block == NULL || block->turn == NULL || !block->turn->fresh || seq->state != FVI_KV_IDLE ||
        seq->tail.chain != NULL || block->turn->n_token != plan->n_token ||
        block->turn->n_list != plan->n_list) {
        return FOVEA_ERR_STATE;
    }
    workspace space;
    FVI_TRY(take_workspace(seq, plan, &space));
    fvi_kv_block sealed = {.n_token = plan->n_token, .recall = seq->recall};
    fovea_status status =
        fvi_kv_turn_new_sealed(seq->alloc, seq->pool, seq->geom, block->turn->first, plan->n_token,
                               plan->kinds, plan->kind, &sealed.turn);
    if (status >= 0) {
        sealed.n_view = sealed.turn->n_kind * fvi_kv_geom_max_kv_head(seq->geom);
        status = seal_layers(seq, block, &sealed, plan, &space);
    }
    if (status >= 0) { /* views for what there is now, and what begin_turn prepared beyond */
        uint32_t n_spare = seq->view_capacity - FVI_MIN(seq->view_capacity, fvi_kv_seq_n_view(seq));
        fvi_kv_turn_unref(seq->alloc, seq->pool, &block->turn);
        *block = sealed;
        fvi_kv_block_summarise(seq, block);
        status = fvi_kv_seq_set_views(seq, fvi_kv_seq_n_view(seq) + n_spare);
    } else {
        fvi_kv_turn_unref(seq->alloc, seq->pool, &sealed.turn);
    }
    give_workspace(seq, &space);
    return status;
}
