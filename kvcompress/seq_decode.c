/* seq_decode.c - generated tokens: the tail, sealing it, merging small runs into longer ones.
 *
 * All of it is in the base kind (f16 or f32), so rows are copied bit by bit. A merge is done when two
 * neighbouring blocks have the same length, up to FVI_KV_MERGE tokens; where the pool has no space for it
 * the blocks stay as they are. Called by the engine's scheduler and by seq.c. */
#include "kvcompress/seq_internal.h"

#include "kvcompress/codecs.h"

fvi_kv_rows fvi_kv_rows_of(const fvi_kv_pool *pool, fvi_kv_cursor at, fvi_kv_shape shape,
                           uint32_t n_row)
{
    return (fvi_kv_rows){.pool = pool, .shape = shape, .at = at, .n_left = n_row};
}

uint32_t fvi_kv_rows_ready(fvi_kv_rows *rows, uint32_t most)
{
    if (rows->row == rows->piece.n_row) {
        rows->row = 0;
        rows->piece.n_row = 0;
        if (rows->n_left == 0 ||
            !fvi_kv_place(rows->pool, &rows->at, &rows->shape, rows->n_left, &rows->piece)) {
            return 0;
        }
        rows->n_left -= rows->piece.n_row;
    }
    return FVI_MIN(rows->piece.n_row - rows->row, most);
}

/* Where the sections of a run that lies per token begin, and what a row takes in each; their number. */
static uint32_t sections_of(const fvi_kv_shape *shape, uint32_t capacity, size_t at[4],
                            size_t row[4])
{
    const fvi_codec *codec = shape->codec;
    if (codec->codes.bits == 0) {
        row[0] = fvi_codec_bytes(codec, 1, shape->dk, 0);
        row[1] = fvi_codec_bytes(codec, 1, 0, shape->dv);
        at[0] = 0;
        at[1] = capacity * row[0];
        return 2;
    }
    fvi_code_sections codes = fvi_code_sections_of(&codec->codes, capacity, shape->dk, shape->dv);
    row[0] = fvi_code_row(codec->codes.bits, shape->dk);
    row[1] = fvi_code_row(codec->codes.bits, shape->dv);
    row[2] = fvi_groups(shape->dk) * 4;
    row[3] = fvi_groups(shape->dv) * 4;
    at[0] = codes.k;
    at[1] = codes.v;
    at[2] = codes.k_affine;
    at[3] = codes.v_affine;
    return 4;
}

void fvi_kv_rows_copy(fvi_kv_rows *to, fvi_kv_rows *from, uint32_t n)
{
    size_t at_to[4], at_from[4], row[4];
    while (n > 0) {
        uint32_t n_now = fvi_kv_rows_ready(from, fvi_kv_rows_ready(to, n));
        if (n_now == 0) {
            return;
        }
        sections_of(&from->shape, from->piece.n_row, at_from, row);
        uint32_t n_section = sections_of(&to->shape, to->piece.n_row, at_to, row);
        for (uint32_t i = 0; i < n_section; i++) {
            memcpy(to->piece.data + at_to[i] + to->row * row[i],
                   from->piece.data + at_from[i] + from->row * row[i], n_now * row[i]);
        }
        to->row += n_now;
        from->row += n_now;
        n -= n_now;
    }
}

fovea_status fvi_kv_block_take(fvi_kv_pool *pool, const fvi_kv_geom *geom, fvi_kv_block *block)
{
    fvi_kv_packer packer = {.pool = pool};
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        packer.room += fvi_kv_block_layer_bytes(geom, block, layer);
    }
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        fovea_status status = fvi_kv_block_reserve(&packer, geom, block, layer);
        if (status < 0) {
            fvi_kv_chain_unref(pool, &packer.head);
            return status;
        }
    }
    block->chain = packer.head;
    return FOVEA_OK;
}

void fvi_kv_block_copy(const fvi_kv_pool *pool, const fvi_kv_geom *geom, fvi_kv_block *to,
                       uint32_t first, fvi_kv_block *from, uint32_t n)
{
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        fvi_kv_shape shape = fvi_kv_block_shape(geom, to, layer, 0);
        fvi_kv_cursor at_to = fvi_kv_block_start(pool, geom, to, layer);
        fvi_kv_cursor at_from = fvi_kv_block_start(pool, geom, from, layer);
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
            fvi_kv_rows rows_to = fvi_kv_rows_of(pool, at_to, shape, to->n_token);
            fvi_kv_rows rows_from = fvi_kv_rows_of(pool, at_from, shape, from->n_token);
            fvi_kv_rows_skip(&rows_to, first);
            fvi_kv_rows_copy(&rows_to, &rows_from, n);
            fvi_kv_rows_skip(&rows_to, UINT32_MAX);
            fvi_kv_rows_skip(&rows_from, UINT32_MAX);
            at_to = rows_to.at;
            at_from = rows_from.at;
        }
    }
}

void fvi_kv_rows_skip(fvi_kv_rows *rows, uint32_t n)
{
    uint32_t n_now;
    while (n > 0 && (n_now = fvi_kv_rows_ready(rows, n)) > 0) {
        rows->row += n_now;
        n -= n_now;
    }
}

fovea_status fvi_kv_seq_close_tail(fvi_kv_seq *seq)
{
    if (seq->n_tail > 0) {
        fvi_kv_block block = {.n_token = seq->n_tail, .recall = seq->recall};
        FVI_TRY(fvi_kv_block_take(seq->pool, seq->geom, &block));
        fvi_kv_seq_note_peak(seq, fvi_kv_chain_bytes(seq->pool, block.chain));
        fvi_kv_block_copy(seq->pool, seq->geom, &block, 0, &seq->tail, seq->n_tail);
        fvi_kv_block_summarise(seq, &block);
        seq->blocks[seq->n_block++] = block;
    }
    fvi_kv_chain_unref(seq->pool, &seq->tail.chain);
    seq->tail = (fvi_kv_block){.n_token = 0};
    seq->n_tail = 0;
    return FOVEA_OK;
}

/* A new tail, and descriptors for the block that it becomes, should those prepared have run out. */
static fovea_status open_tail(fvi_kv_seq *seq)
{
    if (seq->n_block == seq->block_capacity) {
        FVI_TRY(fvi_kv_seq_set_blocks(seq, seq->block_capacity + 4));
    }
    fvi_kv_block tail = {.n_token = FVI_KV_TAIL, .recall = seq->recall};
    FVI_TRY(fvi_kv_block_take(seq->pool, seq->geom, &tail));
    uint32_t n_view = fvi_kv_seq_n_view(seq) + tail.n_view;
    if (n_view > seq->view_capacity) {
        uint32_t n_spare = 4 * fvi_kv_geom_max_kv_head(seq->geom);
        fovea_status status = fvi_kv_seq_set_views(seq, n_view + n_spare);
        if (status < 0) {
            fvi_kv_chain_unref(seq->pool, &tail.chain);
            return status;
        }
    }
    seq->tail = tail;
    fvi_kv_seq_note_peak(seq, 0);
    return FOVEA_OK;
}

fovea_status fvi_kv_seq_append(fvi_kv_seq *seq, uint32_t layer, const float *k, const float *v)
{
    if (seq->state != FVI_KV_IDLE || layer != seq->n_appended || layer >= seq->geom->n_layer ||
        seq->position == UINT32_MAX) {
        return FOVEA_ERR_STATE;
    }
    if (seq->n_block == 1 && seq->blocks[0].slots != NULL) {
        FVI_TRY(fvi_kv_slots_append(seq, layer, k, v));
        seq->n_appended = layer + 1;
        return FOVEA_OK;
    }
    if (seq->tail.chain == NULL) {
        FVI_TRY(open_tail(seq));
    }
    fvi_kv_shape shape = fvi_kv_block_shape(seq->geom, &seq->tail, layer, 0);
    fvi_kv_cursor at = fvi_kv_block_start(seq->pool, seq->geom, &seq->tail, layer);
    for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
        fvi_kv_rows rows = fvi_kv_rows_of(seq->pool, at, shape, FVI_KV_TAIL);
        fvi_kv_rows_skip(&rows, seq->n_tail);
        if (fvi_kv_rows_ready(&rows, 1) == 0) {
            return FOVEA_ERR_INTERNAL;
        }
        fvi_codec_encode(shape.codec, rows.piece.data, rows.piece.n_row, shape.dk, shape.dv,
                         rows.row, 1, k + head * shape.dk, shape.dk, v + head * shape.dv, shape.dv);
        fvi_kv_rows_skip(&rows, UINT32_MAX);
        at = rows.at;
    }
    seq->n_appended = layer + 1;
    return FOVEA_OK;
}

/* Merges the last two blocks of equal length as often as there are such. */
static void merge_blocks(fvi_kv_seq *seq)
{
    while (seq->n_block >= 2) {
        fvi_kv_block *a = &seq->blocks[seq->n_block - 2], *b = a + 1;
        if (a->turn != NULL || a->slots != NULL || a->recall != b->recall ||
            a->n_token != b->n_token || 2 * a->n_token > FVI_KV_MERGE) {
            return;
        }
        fvi_kv_block both = {.n_token = 2 * a->n_token, .recall = a->recall};
        if (fvi_kv_block_take(seq->pool, seq->geom, &both) < 0) {
            return;
        }
        if (fvi_kv_seq_n_view(seq) - a->n_view - b->n_view + both.n_view > seq->view_capacity) {
            fvi_kv_chain_unref(seq->pool, &both.chain); /* too broken to be worth it */
            return;
        }
        fvi_kv_seq_note_peak(seq, fvi_kv_chain_bytes(seq->pool, both.chain));
        fvi_kv_block_copy(seq->pool, seq->geom, &both, 0, a, a->n_token);
        fvi_kv_block_copy(seq->pool, seq->geom, &both, a->n_token, b, b->n_token);
        fvi_kv_chain_unref(seq->pool, &a->chain);
        fvi_kv_chain_unref(seq->pool, &b->chain);
        *a = both;
        seq->n_block--;
    }
}

fovea_status fvi_kv_seq_commit(fvi_kv_seq *seq)
{
    if (seq->n_appended != seq->geom->n_layer) {
        return FOVEA_ERR_STATE;
    }
    seq->n_appended = 0;
    seq->position++;
    if (seq->n_block == 1 && seq->blocks[0].slots != NULL) {
        seq->blocks[0].slots->end = seq->position;
        return FOVEA_OK;
    }
    seq->n_tail++;
    if (seq->n_tail == FVI_KV_TAIL) {
        seq->blocks[seq->n_block++] = seq->tail;
        seq->tail = (fvi_kv_block){.n_token = 0};
        seq->n_tail = 0;
        merge_blocks(seq);
        fvi_kv_block_summarise(seq, &seq->blocks[seq->n_block - 1]);
    }
    return FOVEA_OK;
}
