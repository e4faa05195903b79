/* recall.c - pages of a sequence that recalls: their summaries, and which of them a step attends.
 *
 * Summaries are written once, when a block is sealed, and shared with it. What has none (the tail, and what was
 * held before the recipe was known) is always attended. Called by the engine, plan_apply.c, seq*.c. */
#include "kvcompress/recall.h"

#include "kvcompress/recipe.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

#define FVI_RECALL(name) extern const fvi_recall fvi_recall_##name;
#include "kvcompress/recalls.def"
#undef FVI_RECALL

static const fvi_recall *const table[] = {
#define FVI_RECALL(name) &fvi_recall_##name,
#include "kvcompress/recalls.def"
#undef FVI_RECALL
};

const fvi_recall *fvi_recall_at(uint32_t index)
{
    return index < FVI_COUNT(table) ? table[index] : NULL;
}

static uint32_t widest_key(const fvi_kv_geom *geom)
{
    uint32_t widest = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        widest = FVI_MAX(widest, geom->layers[layer].dk);
    }
    return widest;
}

size_t fvi_kv_recall_scratch_bytes(const fvi_kv_geom *geom)
{
    return 3 * (size_t)widest_key(geom) * sizeof(float);
}

fovea_status fvi_kv_seq_set_recall(fvi_kv_seq *seq, const fvi_recall *recall, uint32_t n_attend)
{
    if (recall == NULL || seq->recall == recall) {
        return FOVEA_OK;
    }
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        fvi_kv_shape shape = fvi_kv_shape_of(seq->geom, layer, fvi_codec_of(seq->geom->base));
        shape.recall = recall;
        if (fvi_kv_run_fit(&shape, 1, fvi_kv_pool_granule(seq->pool)) == 0) {
            return FOVEA_ERR_UNSUPPORTED; /* keys so much wider than values */
        }
    }
    void *scratch;
    FVI_TRY(
        fvi_kv_meta_new(seq->alloc, seq->pool, fvi_kv_recall_scratch_bytes(seq->geom), &scratch));
    uint32_t n_view = seq->view_capacity;
    bool had_views = seq->lists != NULL;
    fvi_kv_seq_drop_views(seq);
    seq->recall = recall;
    seq->n_attend = n_attend;
    seq->recall_scratch = scratch;
    return had_views ? fvi_kv_seq_set_views(seq, n_view) : FOVEA_OK;
}

void fvi_kv_seq_attend_all(fvi_kv_seq *seq)
{
    seq->n_attend = UINT32_MAX;
}

void fvi_kv_block_summarise(const fvi_kv_seq *seq, fvi_kv_block *block)
{
    const fvi_kv_geom *geom = seq->geom;
    for (uint32_t layer = 0; layer < geom->n_layer && block->recall != NULL; layer++) {
        fvi_kv_cursor at = fvi_kv_block_start(seq->pool, geom, block, layer);
        uint32_t list = fvi_kv_geom_first_list(geom, layer);
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++, list++) {
            for (uint32_t nth = 0; nth < fvi_kv_block_n_run(block); nth++) {
                fvi_kv_shape shape = fvi_kv_block_shape(geom, block, layer, nth);
                uint32_t n_left = fvi_kv_block_rows(block, list, nth);
                fvi_kv_piece piece;
                while (n_left > 0 && fvi_kv_place(seq->pool, &at, &shape, n_left, &piece)) {
                    fvi_run_view page = {piece.data, shape.codec, piece.n_row, piece.n_row};
                    block->recall->summarise(&page, shape.dk, shape.dv, seq->recall_scratch,
                                             piece.data + fvi_kv_summary_at(&shape, piece.n_row));
                    n_left -= piece.n_row;
                }
            }
        }
    }
}

float fvi_kv_page_bound(const fvi_kv_shape *shape, const fvi_kv_piece *page, const float *q,
                        uint32_t group)
{
    const uint8_t *summary = page->data + fvi_kv_summary_at(shape, page->n_row);
    return shape->recall->bound(summary, q, group, shape->dk);
}

void fvi_kv_list_recall(fvi_list_view *list, fvi_run_view *runs, float *bound, uint32_t n_attend)
{
    uint32_t n = 0, first = list->n_run, last = list->n_run;
    for (uint32_t i = 0; i < list->n_run; i++) {
        if (bound[i] < INFINITY) {
            first = first == list->n_run ? i : first;
            last = i;
        }
    }
    for (uint32_t i = 0; i < list->n_run; i++) {
        bound[i] = i == first || i == last ? INFINITY : bound[i];
        n += bound[i] < INFINITY ? 0 : runs[i].n_token;
    }
    for (uint32_t best = 0; best < list->n_run;) {
        best = list->n_run;
        for (uint32_t i = 0; i < list->n_run; i++) {
            if (bound[i] < INFINITY && n + runs[i].n_token <= n_attend &&
                (best == list->n_run || bound[i] > bound[best])) {
                best = i;
            }
        }
        if (best < list->n_run) {
            bound[best] = INFINITY;
            n += runs[best].n_token;
        }
    }
    uint32_t n_run = 0;
    for (uint32_t i = 0; i < list->n_run; i++) {
        if (!(bound[i] < INFINITY)) {
            runs[n_run++] = runs[i];
        }
    }
    list->n_run = n_run;
    list->n_token = n;
}
