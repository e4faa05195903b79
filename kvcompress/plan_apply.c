/* plan_apply.c - rewriting a turn as its plan says: fresh runs become sealed ones, layer by layer.
 *
 * The sealed chain grows by one layer at a time, in one hole of the pool where there is one for all of it,
 * and the layer's fresh chain goes back at once (unless a fork shares it). Rows that stay in the base kind
 * are copied bit by bit, others are decoded and encoded in groups, those that the codec asks for. A list
 * whose evicted tokens are merged is decoded whole first, a list at a time, and encoded from there: rows that
 * merging leaves alone get the bits they would have had. Called by the engine. */
#include "kvcompress/plan.h"
#include "kvcompress/seq_internal.h"

#define GROUP FVI_CODEC_ROWS /* rows decoded at a time, at most */

typedef struct workspace {
    float *group;   /* [GROUP, dk + dv] of the widest layer */
    void *merge;    /* fvi_merge_work_bytes, booked in the pool; NULL: nothing is merged */
    size_t n_merge; /* its bytes */
} workspace;

/* One list of a layer, and the kind that is being written. */
typedef struct rewrite {
    fvi_kv_rows from, to;
    const uint8_t *kind; /* [n_token] of the list */
    uint32_t n_token;
    float *k, *v; /* [GROUP, dk], [GROUP, dv] */
    const fvi_merge_work *merged; /* all rows of the list; NULL: they are read from `from` */
} rewrite;

/* Copies the rows of `kind`, stretch by stretch. */
static void copy_rows(rewrite *self, uint8_t kind)
{
    uint32_t at = 0;
    while (at < self->n_token) {
        uint32_t end = at;
        bool stays = self->kind[at] == kind;
        while (end < self->n_token && (self->kind[end] == kind) == stays) {
            end++;
        }
        if (stays) {
            fvi_kv_rows_copy(&self->to, &self->from, end - at);
        } else {
            fvi_kv_rows_skip(&self->from, end - at);
        }
        at = end;
    }
}

/* Rows that the next call of encode gets: what the codec asks for, else what lies together. 0: all done. */
static uint32_t next_group(rewrite *self)
{
    const fvi_kv_shape *shape = &self->to.shape;
    uint32_t n_ready = fvi_kv_rows_ready(&self->to, GROUP), n_asked = 0;
    if (n_ready > 0 && shape->codec->encode_rows != NULL) {
        n_asked =
            shape->codec->encode_rows(self->to.piece.n_row, shape->dk, shape->dv, self->to.row);
    }
    return n_asked > 0 ? n_asked : n_ready;
}

/* The row of a token, which is the next of `from`. */
static void read_row(const rewrite *self, uint32_t token, float *k, float *v)
{
    const fvi_kv_shape *from = &self->from.shape;
    if (self->merged != NULL) {
        memcpy(k, self->merged->k + (size_t)token * from->dk, from->dk * sizeof *k);
        memcpy(v, self->merged->v + (size_t)token * from->dv, from->dv * sizeof *v);
    } else {
        from->codec->decode(self->from.piece.data, self->from.piece.n_row, from->dk, from->dv,
                            self->from.row, 1, k, from->dk, v, from->dv);
    }
}

/* Decodes the rows of `kind` and encodes them anew. */
static void convert_rows(rewrite *self, uint8_t kind)
{
    const fvi_kv_shape *to = &self->to.shape;
    uint32_t n = 0, n_group = next_group(self);
    for (uint32_t i = 0; i < self->n_token && n_group > 0; i++) {
        if (fvi_kv_rows_ready(&self->from, 1) == 0) {
            return;
        }
        if (self->kind[i] == kind) {
            read_row(self, i, self->k + (size_t)n * to->dk, self->v + (size_t)n * to->dv);
            n++;
        }
        self->from.row++;
        if (n == n_group) {
            to->codec->encode(self->to.piece.data, self->to.piece.n_row, to->dk, to->dv,
                              self->to.row, n, self->k, to->dk, self->v, to->dv);
            self->to.row += n;
            n = 0;
            n_group = next_group(self);
        }
    }
}

/* Decodes all rows of a list, from the start of `rows` on, and merges them. */
static void merge_list(const fvi_merging *merging, const fvi_merge_list *list, fvi_kv_rows rows,
                       const fvi_merge_work *work)
{
    const fvi_codec *codec = rows.shape.codec;
    for (uint32_t t = 0; t < list->n_token;) {
        uint32_t n = fvi_kv_rows_ready(&rows, list->n_token - t);
        if (n == 0) {
            return;
        }
        codec->decode(rows.piece.data, rows.piece.n_row, list->dk, list->dv, rows.row, n,
                      work->k + (size_t)t * list->dk, list->dk, work->v + (size_t)t * list->dv,
                      list->dv);
        rows.row += n;
        t += n;
    }
    fvi_merge_rows(merging, list, work);
}

static void rewrite_layer(const fvi_kv_seq *seq, fvi_kv_block *from, fvi_kv_block *to,
                          uint32_t layer, const fvi_kv_plan *plan, const workspace *space)
{
    const fvi_kv_geom *geom = seq->geom;
    uint32_t first = fvi_kv_geom_first_list(geom, layer);
    fvi_kv_shape base = fvi_kv_block_shape(geom, from, layer, 0);
    fvi_kv_cursor at_from = fvi_kv_block_start(seq->pool, geom, from, layer);
    fvi_kv_cursor at_to = fvi_kv_block_start(seq->pool, geom, to, layer);
    for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
        uint32_t list = first + head;
        rewrite self = {.kind = plan->kind + (size_t)list * plan->n_token,
                        .n_token = plan->n_token,
                        .k = space->group,
                        .v = space->group + (size_t)GROUP * base.dk};
        const fvi_merge_list merge = {.layer = layer,
                                      .head = head,
                                      .list = list,
                                      .n_token = plan->n_token,
                                      .dk = base.dk,
                                      .dv = base.dv,
                                      .kind = self.kind};
        fvi_merge_work work;
        if (space->merge != NULL && fvi_merge_has_work(&plan->merging, &merge)) {
            work = fvi_merge_work_in(space->merge, plan->n_token, base.dk, base.dv);
            merge_list(&plan->merging, &merge,
                       fvi_kv_rows_of(seq->pool, at_from, base, plan->n_token), &work);
            self.merged = &work;
        }
        for (uint32_t nth = 0; nth < to->turn->n_kind; nth++) {
            fvi_kv_shape shape = fvi_kv_block_shape(geom, to, layer, nth);
            self.from = fvi_kv_rows_of(seq->pool, at_from, base, plan->n_token);
            self.to = fvi_kv_rows_of(seq->pool, at_to, shape, fvi_kv_block_rows(to, list, nth));
            bool stays = shape.codec == base.codec && self.merged == NULL;
            (stays ? copy_rows : convert_rows)(&self, (uint8_t)shape.codec->kind);
            fvi_kv_rows_skip(&self.to, UINT32_MAX);
            at_to = self.to.at;
        }
        fvi_kv_rows_skip(&self.from, UINT32_MAX);
        at_from = self.from.at;
    }
}

static size_t scratch_floats(const fvi_kv_geom *geom)
{
    size_t most = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        most = FVI_MAX(most, (size_t)geom->layers[layer].dk + geom->layers[layer].dv);
    }
    return GROUP * most;
}

static fovea_status take_workspace(const fvi_kv_seq *seq, const fvi_kv_plan *plan, workspace *out)
{
    workspace space = {.group = NULL};
    if (fvi_merging_any(&plan->merging)) {
        space.n_merge = fvi_merge_work_bytes(seq->geom, plan->n_token);
        FVI_TRY(fvi_kv_meta_new(seq->alloc, seq->pool, space.n_merge, &space.merge));
    }
    space.group = fvi_alloc(seq->alloc, scratch_floats(seq->geom) * sizeof *space.group);
    if (space.group == NULL) {
        fvi_kv_meta_free(seq->alloc, seq->pool, space.merge, space.n_merge);
        return FOVEA_ERR_NOMEM;
    }
    *out = space;
    return FOVEA_OK;
}

static void give_workspace(const fvi_kv_seq *seq, workspace *space)
{
    fvi_free(seq->alloc, space->group);
    fvi_kv_meta_free(seq->alloc, seq->pool, space->merge, space->n_merge);
}

size_t fvi_kv_plan_work_bytes(const fvi_kv_geom *geom, const fvi_recipe *recipe, uint32_t n_token)
{
    bool merges = fvi_merger_folds(recipe->merger[0]) || fvi_merger_folds(recipe->merger[1]);
    return merges ? fvi_kv_meta_bytes(fvi_merge_work_bytes(geom, n_token)) : 0;
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
        rewrite_layer(seq, from, to, layer, plan, space);
        if (from->turn->refs == 1) {
            fvi_kv_chain_unref(seq->pool, &from->turn->chains[layer]);
        }
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
    fvi_kv_block sealed = {.n_token = plan->n_token};
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
        status = fvi_kv_seq_set_views(seq, fvi_kv_seq_n_view(seq) + n_spare);
    } else {
        fvi_kv_turn_unref(seq->alloc, seq->pool, &sealed.turn);
    }
    give_workspace(seq, &space);
    return status;
}
