/* seq_lists.c - walking over the runs of a sequence, and the views of one layer's lists.
 *
 * No run has a descriptor of its own: blocks know how many rows each list has in which kind, and place.h
 * says where they lie. A walk over a block goes through its lists in order; the block remembers where the
 * next layer begins, so that layers asked for in order cost one walk altogether. Called by the engine
 * (views) and by the files of seq_internal.h. */
#include "kvcompress/seq_internal.h"

#include "kvcompress/codecs.h"

#include <math.h>

uint32_t fvi_kv_geom_n_list(const fvi_kv_geom *geom)
{
    return fvi_kv_geom_first_list(geom, geom->n_layer);
}

uint32_t fvi_kv_geom_first_list(const fvi_kv_geom *geom, uint32_t layer)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < layer; i++) {
        n += geom->layers[i].n_kv_head;
    }
    return n;
}

fvi_kv_geom fvi_kv_geom_layer(const fvi_kv_geom *geom, uint32_t layer)
{
    return (fvi_kv_geom){.n_layer = 1,
                         .layers = &geom->layers[layer],
                         .base = geom->base,
                         .rope_base = geom->rope_base};
}

uint32_t fvi_kv_geom_max_kv_head(const fvi_kv_geom *geom)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < geom->n_layer; i++) {
        most = FVI_MAX(most, geom->layers[i].n_kv_head);
    }
    return most;
}

size_t fvi_kv_geom_token_bytes(const fvi_kv_geom *geom, fovea_kind kind)
{
    const fvi_codec *codec = fvi_codec_of(kind);
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < geom->n_layer && codec != NULL; i++) {
        const fvi_kv_layer_geom *layer = &geom->layers[i];
        n_bytes += layer->n_kv_head * fvi_codec_bytes(codec, 1, layer->dk, layer->dv);
    }
    return n_bytes;
}

size_t fvi_kv_geom_granule(const fvi_kv_geom *geom)
{
    size_t row = 1;
    for (uint32_t i = 0; i < geom->n_layer; i++) {
        for (uint32_t k = 0; fvi_codec_at(k) != NULL; k++) {
            const fvi_codec *codec = fvi_codec_at(k);
            if (codec->kind != FOVEA_KIND_F32 || geom->base == FOVEA_KIND_F32) {
                row =
                    FVI_MAX(row, fvi_codec_bytes(codec, 1, geom->layers[i].dk, geom->layers[i].dv));
            }
        }
    }
    return fvi_round_up(2 * row, FVI_RUN_ALIGN);
}

fvi_kv_shape fvi_kv_shape_of(const fvi_kv_geom *geom, uint32_t layer, const fvi_codec *codec)
{
    return (fvi_kv_shape){
        .codec = codec, .dk = geom->layers[layer].dk, .dv = geom->layers[layer].dv};
}

uint32_t fvi_kv_block_n_run(const fvi_kv_block *block)
{
    return block->turn != NULL    ? block->turn->n_kind
           : block->slots != NULL ? block->slots->n_level
                                  : 1;
}

uint32_t fvi_kv_block_rows(const fvi_kv_block *block, uint32_t list, uint32_t nth)
{
    return block->turn != NULL    ? fvi_kv_turn_rows(block->turn, list, nth)
           : block->slots != NULL ? block->slots->capacity[nth]
                                  : block->n_token;
}

uint32_t fvi_kv_block_visible(const fvi_kv_block *block, uint32_t list, uint32_t nth)
{
    return block->slots != NULL ? block->slots->used[list * FVI_KV_LEVELS + nth]
                                : fvi_kv_block_rows(block, list, nth);
}

fvi_kv_shape fvi_kv_block_shape(const fvi_kv_geom *geom, const fvi_kv_block *block, uint32_t layer,
                                uint32_t nth)
{
    const fvi_codec *codec = block->turn != NULL    ? block->turn->codec[nth]
                             : block->slots != NULL ? block->slots->codec[nth]
                                                    : fvi_codec_of(geom->base);
    fvi_kv_shape shape = fvi_kv_shape_of(geom, layer, codec);
    shape.recall = block->recall;
    return shape;
}

size_t fvi_kv_block_layer_bytes(const fvi_kv_geom *geom, const fvi_kv_block *block, uint32_t layer)
{
    uint32_t first = fvi_kv_geom_first_list(geom, layer);
    size_t n_bytes = 0;
    for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
        for (uint32_t nth = 0; nth < fvi_kv_block_n_run(block); nth++) {
            fvi_kv_shape shape = fvi_kv_block_shape(geom, block, layer, nth);
            n_bytes += fvi_kv_run_place_bytes(&shape, fvi_kv_block_rows(block, first + head, nth));
        }
    }
    return n_bytes;
}

static void skip_run(const fvi_kv_pool *pool, fvi_kv_cursor *at, const fvi_kv_shape *shape,
                     uint32_t n_row)
{
    fvi_kv_piece piece;
    while (n_row > 0 && fvi_kv_place(pool, at, shape, n_row, &piece)) {
        n_row -= piece.n_row;
    }
}

/* Else one chain has the runs of all layers. */
static bool has_layer_chains(const fvi_kv_block *block)
{
    return block->slots != NULL || (block->turn != NULL && block->turn->fresh);
}

fvi_kv_cursor fvi_kv_block_start(const fvi_kv_pool *pool, const fvi_kv_geom *geom,
                                 fvi_kv_block *block, uint32_t layer)
{
    if (has_layer_chains(block)) {
        return (fvi_kv_cursor){.extent = block->slots != NULL ? block->slots->chains[layer]
                                                              : block->turn->chains[layer]};
    }
    if (block->at.extent == NULL || layer < block->at_layer) {
        block->at =
            (fvi_kv_cursor){.extent = block->turn != NULL ? block->turn->chains[0] : block->chain};
        block->at_layer = 0;
    }
    for (; block->at_layer < layer; block->at_layer++) {
        uint32_t first = fvi_kv_geom_first_list(geom, block->at_layer);
        for (uint32_t head = 0; head < geom->layers[block->at_layer].n_kv_head; head++) {
            for (uint32_t nth = 0; nth < fvi_kv_block_n_run(block); nth++) {
                fvi_kv_shape shape = fvi_kv_block_shape(geom, block, block->at_layer, nth);
                skip_run(pool, &block->at, &shape, fvi_kv_block_rows(block, first + head, nth));
            }
        }
    }
    return block->at;
}

fovea_status fvi_kv_block_reserve(fvi_kv_packer *packer, const fvi_kv_geom *geom,
                                  fvi_kv_block *block, uint32_t layer)
{
    uint32_t first = fvi_kv_geom_first_list(geom, layer);
    size_t n_behind = fvi_kv_block_layer_bytes(geom, block, layer);
    uint32_t n_piece = packer->n_piece;
    for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
        for (uint32_t nth = 0; nth < fvi_kv_block_n_run(block); nth++) {
            fvi_kv_shape shape = fvi_kv_block_shape(geom, block, layer, nth);
            uint32_t n_row = fvi_kv_block_rows(block, first + head, nth);
            n_behind -= fvi_kv_run_place_bytes(&shape, n_row);
            FVI_TRY(fvi_kv_pack_reserve(packer, &shape, n_row, n_behind));
        }
    }
    block->n_view = FVI_MAX(block->n_view, packer->n_piece - n_piece);
    return FOVEA_OK;
}

/* ---- views ---- */

static fvi_run_view *run_views(const fvi_kv_seq *seq)
{
    return (fvi_run_view *)(void *)(seq->lists + fvi_kv_geom_max_kv_head(seq->geom));
}

/* With recall, a bound for each view behind the views. */
static float *bounds(const fvi_kv_seq *seq)
{
    return seq->recall != NULL ? (float *)(void *)(run_views(seq) + seq->view_capacity) : NULL;
}

static size_t view_bytes(const fvi_kv_seq *seq, uint32_t n_view)
{
    return fvi_kv_geom_max_kv_head(seq->geom) * sizeof(fvi_list_view) +
           n_view * (sizeof(fvi_run_view) + (seq->recall != NULL ? sizeof(float) : 0));
}

fovea_status fvi_kv_seq_set_views(fvi_kv_seq *seq, uint32_t n_view)
{
    if (seq->lists != NULL && n_view == seq->view_capacity) {
        return FOVEA_OK;
    }
    void *memory;
    FVI_TRY(fvi_kv_meta_new(seq->alloc, seq->pool, view_bytes(seq, n_view), &memory));
    fvi_kv_seq_note_peak(seq, fvi_kv_meta_bytes(view_bytes(seq, n_view)));
    fvi_kv_meta_free(seq->alloc, seq->pool, seq->lists, view_bytes(seq, seq->view_capacity));
    seq->lists = memory;
    seq->view_capacity = n_view;
    return FOVEA_OK;
}

void fvi_kv_seq_drop_views(fvi_kv_seq *seq)
{
    fvi_kv_meta_free(seq->alloc, seq->pool, seq->lists, view_bytes(seq, seq->view_capacity));
    seq->lists = NULL;
    seq->view_capacity = 0;
}

size_t fvi_kv_seq_view_bytes(const fvi_kv_seq *seq)
{
    return seq->lists == NULL ? 0 : fvi_kv_meta_bytes(view_bytes(seq, seq->view_capacity));
}

uint32_t fvi_kv_seq_n_view(const fvi_kv_seq *seq)
{
    uint32_t n_view = seq->tail.n_view;
    for (uint32_t i = 0; i < seq->n_block; i++) {
        n_view += seq->blocks[i].n_view;
    }
    return n_view;
}

/* The views of one list under way. */
typedef struct listing {
    const fvi_kv_seq *seq;
    uint32_t layer, list;
    fvi_run_view *view; /* the next one */
    const float *q;     /* [group, dk], or NULL: pages are not weighed */
    uint32_t group;
} listing;

/* Appends the views of what a block has in the list; n_tail bounds the rows of a tail. */
static void list_block(listing *self, fvi_kv_block *block, uint32_t n_tail, fvi_kv_cursor *at)
{
    const fvi_kv_seq *seq = self->seq;
    for (uint32_t nth = 0; nth < fvi_kv_block_n_run(block); nth++) {
        uint32_t n_visible = FVI_MIN(n_tail, fvi_kv_block_visible(block, self->list, nth));
        fvi_kv_shape shape = fvi_kv_block_shape(seq->geom, block, self->layer, nth);
        uint32_t n_left = fvi_kv_block_rows(block, self->list, nth);
        fvi_kv_piece piece;
        while (n_left > 0 && fvi_kv_place(seq->pool, at, &shape, n_left, &piece)) {
            uint32_t n_token = FVI_MIN(piece.n_row, n_visible);
            n_left -= piece.n_row;
            n_visible -= n_token;
            if (n_token == 0) {
                continue;
            }
            if (self->q != NULL) { /* a tail has no summaries yet */
                bool is_page = shape.recall != NULL && n_tail == UINT32_MAX;
                bounds(seq)[self->view - run_views(seq)] =
                    is_page ? fvi_kv_page_bound(&shape, &piece, self->q, self->group) : INFINITY;
            }
            *self->view++ = (fvi_run_view){.data = piece.data,
                                           .codec = shape.codec,
                                           .n_token = n_token,
                                           .capacity = piece.n_row};
        }
    }
}

/* q: of all heads, or NULL: everything is listed. */
static const fvi_list_view *make_lists(const fvi_kv_seq *seq, uint32_t layer, const float *q)
{
    if (seq->lists == NULL) {
        return NULL;
    }
    const fvi_kv_layer_geom *dims = &seq->geom->layers[layer];
    uint32_t n_tail = seq->n_tail + (layer < seq->n_appended ? 1 : 0);
    listing at = {.seq = seq,
                  .layer = layer,
                  .list = fvi_kv_geom_first_list(seq->geom, layer),
                  .view = run_views(seq),
                  .q = q,
                  .group = dims->n_head / dims->n_kv_head};
    for (uint32_t i = 0; i < seq->n_block; i++) {
        fvi_kv_block *block = &seq->blocks[i];
        block->walk = fvi_kv_block_start(seq->pool, seq->geom, block, layer);
    }
    fvi_kv_block tail = seq->tail;
    fvi_kv_cursor at_tail = fvi_kv_block_start(seq->pool, seq->geom, &tail, layer);
    for (uint32_t head = 0; head < dims->n_kv_head; head++, at.list++) {
        fvi_run_view *runs = at.view;
        for (uint32_t i = 0; i < seq->n_block; i++) {
            list_block(&at, &seq->blocks[i], UINT32_MAX, &seq->blocks[i].walk);
        }
        list_block(&at, &tail, n_tail, &at_tail);
        fvi_list_view *list = &seq->lists[head];
        *list = (fvi_list_view){.runs = runs, .n_run = (uint32_t)(at.view - runs)};
        for (uint32_t i = 0; i < list->n_run; i++) {
            list->n_token += list->runs[i].n_token;
        }
        if (q != NULL) {
            fvi_kv_list_recall(list, runs, bounds(seq) + (runs - run_views(seq)), seq->n_attend);
            at.q += (size_t)at.group * dims->dk;
        }
    }
    for (uint32_t i = 0; i < seq->n_block; i++) {
        fvi_kv_block *block = &seq->blocks[i];
        if (!has_layer_chains(block)) {
            block->at = block->walk;
            block->at_layer = layer + 1;
        }
    }
    return seq->lists;
}

const fvi_list_view *fvi_kv_seq_lists(const fvi_kv_seq *seq, uint32_t layer)
{
    return make_lists(seq, layer, NULL);
}

const fvi_list_view *fvi_kv_seq_attended(const fvi_kv_seq *seq, uint32_t layer, const float *q)
{
    return make_lists(seq, layer, seq->recall != NULL ? q : NULL);
}
