/* seq.c - the life of a sequence: new, fork, free, and a turn's prefill.
 *
 * Every step first takes all that it needs and then changes the sequence, so that a failure leaves it as it
 * was. Called by the engine's scheduler. */
#include "kvcompress/seq_internal.h"

#include "kvcompress/codecs.h"

fovea_status fvi_kv_seq_new(const fovea_alloc *alloc, fvi_kv_pool *pool, const fvi_kv_geom *geom,
                            fvi_kv_seq **out)
{
    *out = NULL;
    void *memory;
    FVI_TRY(fvi_kv_meta_new(alloc, pool, sizeof(fvi_kv_seq), &memory));
    fvi_kv_seq *seq = memory;
    seq->alloc = alloc;
    seq->pool = pool;
    seq->geom = geom;
    fvi_kv_seq_note_peak(seq, 0);
    *out = seq;
    return FOVEA_OK;
}

void fvi_kv_block_drop(fvi_kv_seq *seq, fvi_kv_block *block)
{
    fvi_kv_turn_unref(seq->alloc, seq->pool, &block->turn);
    fvi_kv_slots_free(seq->alloc, seq->pool, &block->slots);
    fvi_kv_chain_unref(seq->pool, &block->chain);
}

void fvi_kv_seq_free(fvi_kv_seq **seq)
{
    fvi_kv_seq *self = *seq;
    *seq = NULL;
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < self->n_block; i++) {
        fvi_kv_block_drop(self, &self->blocks[i]);
    }
    fvi_kv_block_drop(self, &self->tail);
    fvi_kv_seq_drop_views(self);
    fvi_kv_meta_free(self->alloc, self->pool, self->recall_scratch,
                     fvi_kv_recall_scratch_bytes(self->geom));
    fvi_kv_meta_free(self->alloc, self->pool, self->blocks,
                     self->block_capacity * sizeof *self->blocks);
    fvi_kv_meta_free(self->alloc, self->pool, self->spans, self->n_span * sizeof *self->spans);
    fvi_kv_meta_free(self->alloc, self->pool, self, sizeof *self);
}

/* Copies the tokens of a tail to a chain of its own, with the whole tail's capacity. */
static fovea_status copy_tail(const fvi_kv_seq *seq, fvi_kv_seq *to)
{
    to->tail = (fvi_kv_block){.n_token = FVI_KV_TAIL, .recall = seq->tail.recall};
    FVI_TRY(fvi_kv_block_take(seq->pool, seq->geom, &to->tail));
    fvi_kv_block from = seq->tail;
    fvi_kv_block_copy(seq->pool, seq->geom, &to->tail, 0, &from, seq->n_tail);
    return FOVEA_OK;
}

fovea_status fvi_kv_seq_fork(const fvi_kv_seq *seq, fvi_kv_seq **out)
{
    *out = NULL;
    if (seq->state != FVI_KV_IDLE || seq->n_appended > 0) {
        return FOVEA_ERR_STATE;
    }
    fvi_kv_seq *fork = NULL;
    FVI_TRY(fvi_kv_seq_new(seq->alloc, seq->pool, seq->geom, &fork));
    void *memory;
    fovea_status status = fvi_kv_seq_set_recall(fork, seq->recall, seq->n_attend);
    if (status >= 0) {
        status = fvi_kv_seq_set_blocks(fork, seq->block_capacity);
    }
    if (status >= 0 && seq->lists != NULL) {
        status = fvi_kv_seq_set_views(fork, seq->view_capacity);
    }
    if (status >= 0 && seq->n_span > 0) {
        size_t n_bytes = seq->n_span * sizeof *seq->spans;
        status = fvi_kv_meta_new(seq->alloc, seq->pool, n_bytes, &memory);
        if (status >= 0) {
            fork->spans = memory;
            fork->n_span = seq->n_span;
            memcpy(fork->spans, seq->spans, n_bytes);
        }
    }
    if (status >= 0 && seq->tail.chain != NULL) {
        status = copy_tail(seq, fork);
    }
    uint32_t n_own = seq->n_block > 0 && seq->blocks[0].slots != NULL ? 1 : 0;
    if (status >= 0 && n_own > 0) {
        status = fvi_kv_slots_fork(seq, fork);
        fork->n_block = status >= 0 ? 1 : 0;
    }
    if (status < 0) {
        fvi_kv_seq_free(&fork);
        return status;
    }
    for (uint32_t i = n_own; i < seq->n_block; i++) {
        fork->blocks[i] = seq->blocks[i];
        fvi_kv_chain_ref(seq->blocks[i].chain);
        if (seq->blocks[i].turn != NULL) {
            seq->blocks[i].turn->refs++;
        }
    }
    fork->n_block = seq->n_block;
    fork->position = seq->position;
    fork->n_fresh = seq->n_fresh;
    fork->n_tail = seq->n_tail;
    fvi_kv_seq_note_peak(fork, 0);
    *out = fork;
    return FOVEA_OK;
}

fovea_status fvi_kv_seq_set_blocks(fvi_kv_seq *seq, uint32_t capacity)
{
    if (capacity == seq->block_capacity) {
        return FOVEA_OK;
    }
    void *memory;
    FVI_TRY(fvi_kv_meta_new(seq->alloc, seq->pool, capacity * sizeof *seq->blocks, &memory));
    fvi_kv_seq_note_peak(seq, fvi_kv_meta_bytes(capacity * sizeof *seq->blocks));
    if (seq->n_block > 0) {
        memcpy(memory, seq->blocks, seq->n_block * sizeof *seq->blocks);
    }
    fvi_kv_meta_free(seq->alloc, seq->pool, seq->blocks, seq->block_capacity * sizeof *seq->blocks);
    seq->blocks = memory;
    seq->block_capacity = capacity;
    return FOVEA_OK;
}

/* Tokens of the spans, 0 when they cannot be a turn. */
static uint32_t count_tokens(const fvi_kv_seq *seq, const fvi_kv_span *spans, uint32_t n_span)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < n_span; i++) {
        if (spans[i].n == 0 || spans[i].modality >= FOVEA_N_MODALITY) {
            return 0;
        }
        n += spans[i].n;
    }
    return n > UINT32_MAX - 1 - seq->position ? 0 : (uint32_t)n;
}

/* The sequence's spans with those of the tokens generated since and of the new turn. */
static fovea_status extend_spans(const fvi_kv_seq *seq, const fvi_kv_span *spans, uint32_t n_span,
                                 fvi_kv_span **out, uint32_t *n_out)
{
    uint32_t n = seq->n_span;
    uint32_t end = n == 0 ? 0 : seq->spans[n - 1].first + seq->spans[n - 1].n;
    uint32_t n_generated = seq->position - end;
    uint32_t n_all = n + (n_generated > 0 ? 1 : 0) + n_span;
    void *memory;
    FVI_TRY(fvi_kv_meta_new(seq->alloc, seq->pool, n_all * sizeof(fvi_kv_span), &memory));
    fvi_kv_span *all = memory;
    if (n > 0) {
        memcpy(all, seq->spans, n * sizeof *all);
    }
    if (n_generated > 0) {
        all[n++] = (fvi_kv_span){.first = end,
                                 .n = n_generated,
                                 .modality = FOVEA_MODALITY_TEXT,
                                 .flags = FVI_KV_TAG_GENERATED};
    }
    uint32_t first = seq->position;
    for (uint32_t i = 0; i < n_span; i++) {
        all[n] = spans[i];
        all[n++].first = first;
        first += spans[i].n;
    }
    *out = all;
    *n_out = n;
    return FOVEA_OK;
}

/* Blocks that n generated tokens need while merges succeed, the tail's among them. */
static uint32_t blocks_of(uint32_t n_generate)
{
    return n_generate == 0 ? 0 : n_generate / FVI_KV_MERGE + 4;
}

fovea_status fvi_kv_seq_begin_turn(fvi_kv_seq *seq, const fvi_kv_span *spans, uint32_t n_span,
                                   uint32_t n_generate)
{
    if (seq->state != FVI_KV_IDLE || seq->n_appended > 0) {
        return FOVEA_ERR_STATE;
    }
    uint32_t n_token = count_tokens(seq, spans, n_span);
    if (n_token == 0) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(fvi_kv_seq_set_blocks(seq, seq->n_block + 2 + blocks_of(n_generate)));
    FVI_TRY(fvi_kv_seq_close_tail(seq));
    uint32_t n_head = fvi_kv_geom_max_kv_head(seq->geom);
    uint32_t n_page = seq->recall != NULL ? FVI_KV_MERGE / FVI_KV_PAGE : 1; /* of a block */
    uint32_t n_spare = n_head * (1 + n_page * blocks_of(n_generate));
    FVI_TRY(fvi_kv_seq_set_views(seq, fvi_kv_seq_n_view(seq) + n_spare));
    fvi_kv_turn *turn;
    FVI_TRY(fvi_kv_turn_new_fresh(seq->alloc, seq->pool, seq->geom, seq->position, n_token, &turn));
    fvi_kv_span *all;
    uint32_t n_all;
    fovea_status status = extend_spans(seq, spans, n_span, &all, &n_all);
    if (status < 0) {
        fvi_kv_turn_unref(seq->alloc, seq->pool, &turn);
        return status;
    }
    fvi_kv_seq_note_peak(seq,
                         fvi_kv_meta_bytes(turn->n_bytes) + fvi_kv_meta_bytes(n_all * sizeof *all));
    fvi_kv_meta_free(seq->alloc, seq->pool, seq->spans, seq->n_span * sizeof *seq->spans);
    seq->spans = all;
    seq->n_span = n_all;
    seq->blocks[seq->n_block++] =
        (fvi_kv_block){.turn = turn, .n_token = n_token, .n_view = n_head};
    seq->n_fresh = n_token;
    seq->state = FVI_KV_PREFILL;
    return FOVEA_OK;
}

fovea_status fvi_kv_seq_open_layer(fvi_kv_seq *seq, uint32_t layer)
{
    if (seq->state != FVI_KV_PREFILL || layer >= seq->geom->n_layer) {
        return FOVEA_ERR_STATE;
    }
    fvi_kv_block *block = &seq->blocks[seq->n_block - 1];
    if (block->turn->chains[layer] != NULL) {
        return FOVEA_ERR_STATE;
    }
    fvi_kv_packer packer = {.pool = seq->pool};
    fovea_status status = fvi_kv_block_reserve(&packer, seq->geom, block, layer);
    if (status >= 0 && fvi_kv_seq_n_view(seq) > seq->view_capacity) {
        status = fvi_kv_seq_set_views(seq, fvi_kv_seq_n_view(seq));
    }
    fvi_kv_seq_note_peak(seq, fvi_kv_chain_bytes(seq->pool, packer.head));
    if (status < 0) {
        fvi_kv_chain_unref(seq->pool, &packer.head);
        return status;
    }
    block->turn->chains[layer] = packer.head;
    return FOVEA_OK;
}

void fvi_kv_seq_write(fvi_kv_seq *seq, uint32_t layer, uint32_t row0, uint32_t n, const float *k,
                      size_t k_stride, const float *v, size_t v_stride)
{
    fvi_kv_block *block = &seq->blocks[seq->n_block - 1];
    fvi_kv_shape shape = fvi_kv_block_shape(seq->geom, block, layer, 0);
    fvi_kv_cursor at = fvi_kv_block_start(seq->pool, seq->geom, block, layer);
    for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
        fvi_kv_piece piece;
        for (uint32_t first = 0; first < block->n_token; first += piece.n_row) {
            if (!fvi_kv_place(seq->pool, &at, &shape, block->n_token - first, &piece)) {
                return;
            }
            uint32_t from = FVI_MAX(row0, first), to = FVI_MIN(row0 + n, first + piece.n_row);
            if (from < to) {
                fvi_codec_encode(shape.codec, piece.data, piece.n_row, shape.dk, shape.dv,
                                 from - first, to - from,
                                 k + (from - row0) * k_stride + head * shape.dk, k_stride,
                                 v + (from - row0) * v_stride + head * shape.dv, v_stride);
            }
        }
    }
}

void fvi_kv_seq_end_turn(fvi_kv_seq *seq)
{
    if (seq->state == FVI_KV_PREFILL) {
        seq->position += seq->n_fresh;
        seq->state = FVI_KV_IDLE;
    }
}

float *fvi_kv_seq_mass(const fvi_kv_seq *seq, uint32_t list)
{
    bool is_all = seq->n_block == 1 || (seq->n_block == 2 && seq->state == FVI_KV_PREFILL);
    const fvi_kv_slots *slots = is_all ? seq->blocks[0].slots : NULL;
    return slots != NULL && slots->mass != NULL
               ? slots->mass + (size_t)list * fvi_kv_slots_width(slots)
               : NULL;
}

const fvi_kv_geom *fvi_kv_seq_geom(const fvi_kv_seq *seq)
{
    return seq->geom;
}

uint32_t fvi_kv_seq_position(const fvi_kv_seq *seq)
{
    return seq->position;
}

uint32_t fvi_kv_seq_n_fresh(const fvi_kv_seq *seq)
{
    return seq->n_fresh;
}

const fvi_kv_span *fvi_kv_seq_spans(const fvi_kv_seq *seq, uint32_t *n_span)
{
    *n_span = seq->n_span;
    return seq->spans;
}
