/* seq_ledger.c - what a sequence holds, what it will hold, and the account of it.
 *
 * Descriptors that are prepared for tokens to be generated count as generated, all other metadata belongs
 * to the prompt, so that
 *     realised_bytes + generated_bytes == fvi_kv_seq_bytes
 * Called by the engine, the plan and the files of seq_internal.h. */
#include "kvcompress/codecs.h"
#include "kvcompress/cut.h"
#include "kvcompress/seq_internal.h"

size_t fvi_kv_seq_bytes(const fvi_kv_seq *seq)
{
    size_t n_bytes =
        fvi_kv_meta_bytes(sizeof *seq) + fvi_kv_meta_bytes(seq->n_span * sizeof *seq->spans) +
        fvi_kv_meta_bytes(seq->block_capacity * sizeof *seq->blocks) +
        (seq->recall_scratch != NULL ? fvi_kv_meta_bytes(fvi_kv_recall_scratch_bytes(seq->geom))
                                     : 0) +
        fvi_kv_seq_view_bytes(seq) + fvi_kv_chain_bytes(seq->pool, seq->tail.chain);
    for (uint32_t i = 0; i < seq->n_block; i++) {
        const fvi_kv_block *block = &seq->blocks[i];
        n_bytes += fvi_kv_chain_bytes(seq->pool, block->chain);
        if (block->slots != NULL) {
            n_bytes += fvi_kv_slots_bytes(block->slots, seq->pool);
        }
        if (block->turn != NULL) {
            n_bytes += fvi_kv_meta_bytes(block->turn->n_bytes) +
                       fvi_kv_turn_pool_bytes(block->turn, seq->pool) +
                       fvi_kv_cut_bytes(block->turn->cut, seq->pool);
        }
    }
    return n_bytes;
}

void fvi_kv_seq_note_peak(fvi_kv_seq *seq, size_t extra)
{
    seq->peak_bytes = FVI_MAX(seq->peak_bytes, fvi_kv_seq_bytes(seq) + extra);
}

size_t fvi_kv_seq_peak_bytes(const fvi_kv_seq *seq)
{
    return seq->peak_bytes;
}

static size_t prompt_view_bytes(const fvi_kv_geom *geom, uint32_t n_view)
{
    return fvi_kv_geom_max_kv_head(geom) * sizeof(fvi_list_view) + n_view * sizeof(fvi_run_view);
}

size_t fvi_kv_seq_fixed_bytes(const fvi_kv_geom *geom, uint32_t n_span, uint32_t n_kind)
{
    return fvi_kv_meta_bytes(sizeof(fvi_kv_seq)) + fvi_kv_meta_bytes(n_span * sizeof(fvi_kv_span)) +
           sizeof(fvi_kv_block) + prompt_view_bytes(geom, n_kind * fvi_kv_geom_max_kv_head(geom));
}

size_t fvi_kv_seq_turn_bytes(const fvi_kv_geom *geom, uint32_t n_span, uint32_t n_kind)
{
    return (size_t)n_span * sizeof(fvi_kv_span) + sizeof(fvi_kv_block) +
           (size_t)n_kind * fvi_kv_geom_max_kv_head(geom) * sizeof(fvi_run_view);
}

/* ---- forecasts: every granule a piece of its own, every kind as large as the largest ---- */

size_t fvi_kv_layer_worst_bytes(const fvi_kv_geom *geom, uint32_t layer, uint32_t n_token,
                                size_t granule, const fvi_recall *recall, bool base_only)
{
    size_t worst = 0;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        if (codec->kind == geom->base || (codec->kind != FOVEA_KIND_F32 && !base_only)) {
            fvi_kv_shape shape = fvi_kv_shape_of(geom, layer, codec);
            shape.recall = recall;
            worst = FVI_MAX(worst, fvi_kv_run_worst_bytes(&shape, n_token, granule));
        }
    }
    return worst * geom->layers[layer].n_kv_head;
}

static size_t worst_token_bytes(const fvi_kv_geom *geom, uint32_t n_token, size_t granule,
                                const fvi_recall *recall)
{
    size_t n_bytes = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        n_bytes += fvi_kv_layer_worst_bytes(geom, layer, n_token, granule, recall, true);
    }
    return n_bytes;
}

static uint32_t worst_views(const fvi_kv_geom *geom, uint32_t n_token, size_t granule,
                            const fvi_recall *recall)
{
    uint32_t worst = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        fvi_kv_shape shape = fvi_kv_shape_of(geom, layer, fvi_codec_of(geom->base));
        shape.recall = recall;
        uint32_t n = fvi_kv_run_worst_pieces(&shape, n_token, granule) + FOVEA_N_KIND;
        worst = FVI_MAX(worst, n * geom->layers[layer].n_kv_head);
    }
    return worst;
}

size_t fvi_kv_forecast_bytes(const fvi_kv_seq *seq, const fvi_kv_geom *geom, size_t granule,
                             uint32_t n_span, uint32_t n_token, uint32_t n_generate)
{
    uint32_t n_list = fvi_kv_geom_n_list(geom);
    uint32_t n_block = n_generate / FVI_KV_MERGE + 8;
    uint32_t n_view =
        worst_views(geom, n_token, granule, NULL) + n_block * fvi_kv_geom_max_kv_head(geom);
    uint32_t n_all_span = n_span + 1;
    size_t n_bytes = 0, worst = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        size_t layer_bytes = fvi_kv_layer_worst_bytes(geom, layer, n_token, granule, NULL, false);
        n_bytes += layer_bytes;
        worst = FVI_MAX(worst, layer_bytes);
    }
    n_bytes += worst + fvi_kv_turn_fresh_bytes(geom->n_layer) +
               fvi_kv_turn_sealed_bytes(n_list, n_token, FOVEA_N_KIND, (uint64_t)n_list * n_token);
    if (seq == NULL) {
        n_bytes += fvi_kv_meta_bytes(sizeof(fvi_kv_seq));
    } else { /* what is there is held beside its larger copy for a moment */
        n_block += seq->n_block;
        n_view += fvi_kv_seq_n_view(seq);
        n_all_span += seq->n_span;
        n_bytes += seq->n_tail > 0 ? worst_token_bytes(geom, seq->n_tail, granule, seq->recall) : 0;
    }
    return n_bytes + fvi_kv_meta_bytes(n_all_span * sizeof(fvi_kv_span)) +
           fvi_kv_meta_bytes(n_block * sizeof(fvi_kv_block)) +
           2 * fvi_kv_meta_bytes(prompt_view_bytes(geom, n_view));
}

size_t fvi_kv_recall_forecast_bytes(const fvi_kv_geom *geom, size_t granule,
                                    const fvi_recall *recall, uint32_t n_token)
{
    size_t n_bytes = fvi_kv_meta_bytes(fvi_kv_recall_scratch_bytes(geom));
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        n_bytes += fvi_kv_layer_worst_bytes(geom, layer, n_token, granule, recall, false);
    }
    uint32_t n_view = worst_views(geom, n_token, granule, recall);
    return n_bytes + 2 * fvi_kv_meta_bytes(n_view * (sizeof(fvi_run_view) + sizeof(float)));
}

size_t fvi_kv_seq_growth_bytes(const fvi_kv_seq *seq, uint32_t n_generate)
{
    const fvi_kv_geom *geom = seq->geom;
    size_t granule = fvi_kv_pool_granule(seq->pool);
    uint64_t n_filled = (uint64_t)seq->n_tail + n_generate;
    if (n_generate == 0) {
        return 0;
    }
    if (seq->n_block == 1 && seq->blocks[0].slots != NULL) {
        return fvi_kv_slots_growth_bytes(seq, n_generate);
    }
    uint64_t n_new = (n_filled - 1) / FVI_KV_TAIL + 1 - (seq->tail.chain != NULL ? 1 : 0);
    size_t n_bytes = n_new * worst_token_bytes(geom, FVI_KV_TAIL, granule, seq->recall);
    if (n_filled >= FVI_KV_TAIL) { /* the longest merge that can come */
        uint64_t n_run = n_filled;
        for (uint32_t i = seq->n_block; i-- > 0 && seq->blocks[i].turn == NULL;) {
            n_run += seq->blocks[i].n_token;
        }
        uint32_t n_merge = FVI_KV_MERGE;
        while (n_merge > n_run) {
            n_merge /= 2;
        }
        n_bytes += worst_token_bytes(geom, n_merge, granule, seq->recall);
    }
    uint32_t n_view =
        fvi_kv_seq_n_view(seq) +
        worst_views(geom, (uint32_t)FVI_MIN(n_filled, UINT32_MAX / 2), granule, seq->recall) +
        4 * fvi_kv_geom_max_kv_head(geom);
    uint64_t n_block = seq->n_block + n_new + 4;
    size_t view_bytes =
        prompt_view_bytes(geom, n_view) + (seq->recall != NULL ? n_view * sizeof(float) : 0);
    return n_bytes + fvi_kv_meta_bytes(view_bytes) +
           (n_block > seq->block_capacity ? fvi_kv_meta_bytes(n_block * sizeof(fvi_kv_block)) : 0);
}

/* ---- ledger ---- */

/* Where the ledger's figures and its rows are collected; either may be NULL. */
typedef struct account {
    const fvi_kv_seq *seq;
    fovea_ledger *ledger;
    fovea_ledger_row *rows; /* [n_list] */
    uint64_t payload;
    uint64_t slots_payload; /* of it, what lies in slots */
} account;

/* A run of a list, its pieces taken together: n of each modality. What does not divide evenly goes to
 * vision, or to text where there is no vision. */
static void count_run(account *self, uint32_t list, const fvi_codec *codec, uint64_t n_bytes,
                      const uint32_t n[FOVEA_N_MODALITY])
{
    uint64_t n_text = n[FOVEA_MODALITY_TEXT], n_vision = n[FOVEA_MODALITY_VISION];
    uint64_t text_bytes = n_text == 0 ? 0 : n_bytes * n_text / (n_text + n_vision);
    self->payload += n_bytes;
    if (self->ledger != NULL) {
        self->ledger->text_bytes += text_bytes;
        self->ledger->vision_bytes += n_bytes - text_bytes;
        self->ledger->kept_text_slots += n_text;
        self->ledger->kept_vision_slots += n_vision;
        self->ledger->kind_bytes[codec->kind] += n_bytes;
        self->ledger->kind_slots[codec->kind] += n_text + n_vision;
    }
    if (self->rows != NULL) {
        fovea_ledger_row *row = &self->rows[list];
        row->n_text += (uint32_t)n_text;
        row->n_vision += (uint32_t)n_vision;
        row->text_bytes += text_bytes;
        row->vision_bytes += n_bytes - text_bytes;
    }
}

static const fvi_kv_span *span_at(const fvi_kv_span *span, uint32_t position)
{
    while (position - span->first >= span->n) {
        span++;
    }
    return span;
}

/* The span of a prompt's token; NULL for a generated one. */
static const fvi_kv_span *prompt_span(const fvi_kv_seq *seq, uint32_t position)
{
    for (uint32_t i = 0; i < seq->n_span; i++) {
        const fvi_kv_span *span = &seq->spans[i];
        if (position - span->first < span->n) {
            return (span->flags & FVI_KV_TAG_GENERATED) != 0 ? NULL : span;
        }
    }
    return NULL;
}

/* Payload of a run as it lies, and the cursor behind it. */
static uint64_t run_payload(const fvi_kv_seq *seq, fvi_kv_cursor *at, const fvi_kv_shape *shape,
                            uint32_t n_row)
{
    uint64_t n_bytes = 0;
    fvi_kv_piece piece;
    while (n_row > 0 && fvi_kv_place(seq->pool, at, shape, n_row, &piece)) {
        n_bytes += fvi_kv_run_bytes(shape, piece.n_row);
        n_row -= piece.n_row;
    }
    return n_bytes;
}

/* A turn's tokens, list after list. */
typedef struct token_walk {
    fvi_kv_turn_iter at;
    bool more;
} token_walk;

static token_walk walk_of(const fvi_kv_turn *turn)
{
    token_walk walk = {.at = {.turn = turn, .token = UINT32_MAX}};
    walk.more = fvi_kv_turn_next(&walk.at);
    return walk;
}

/* The tokens of one list by kind and modality; the walk goes on to the next list. */
typedef uint32_t list_counts[FOVEA_N_KIND][FOVEA_N_MODALITY];

static void count_list(const fvi_kv_span *span, token_walk *walk, uint32_t list, list_counts n)
{
    memset(n, 0, sizeof(list_counts));
    for (; walk->more && walk->at.list == list; walk->more = fvi_kv_turn_next(&walk->at)) {
        span = span_at(span, walk->at.turn->first + walk->at.token);
        n[walk->at.nth][span->modality]++;
    }
}

/* The lists of a layer, the first of which is `list` in the block's turn and `row` in the sequence. */
static void account_layer(account *self, const fvi_kv_geom *geom, fvi_kv_block *block,
                          uint32_t layer, uint32_t list, uint32_t row, const fvi_kv_span *first,
                          token_walk *walk)
{
    const fvi_kv_seq *seq = self->seq;
    fvi_kv_cursor place = fvi_kv_block_start(seq->pool, geom, block, layer);
    for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++) {
        list_counts n;
        count_list(first, walk, list + head, n);
        for (uint32_t nth = 0; nth < block->turn->n_kind; nth++) {
            fvi_kv_shape shape = fvi_kv_block_shape(geom, block, layer, nth);
            uint32_t n_row = fvi_kv_block_rows(block, list + head, nth);
            if (place.extent == NULL) { /* a fresh layer that is not open, or was cut */
                continue;
            }
            uint64_t n_bytes = run_payload(seq, &place, &shape, n_row);
            count_run(self, row + head, shape.codec, n_bytes, n[nth]);
        }
    }
}

static void account_turn(account *self, const fvi_kv_block *held, const fvi_kv_span *first)
{
    const fvi_kv_geom *geom = self->seq->geom;
    fvi_kv_block block = *held; /* it remembers where a walk ended */
    const fvi_kv_cut *cut = block.turn->cut;
    token_walk walk = walk_of(block.turn);
    for (uint32_t layer = 0, list = 0; layer < geom->n_layer; layer++) {
        account_layer(self, geom, &block, layer, list, list, first, &walk);
        if (cut != NULL && cut->layers[layer] != NULL) {
            const fvi_kv_geom one = fvi_kv_geom_layer(geom, layer);
            fvi_kv_block alone = {.turn = cut->layers[layer], .n_token = block.n_token};
            token_walk own = walk_of(alone.turn);
            account_layer(self, &one, &alone, 0, 0, list, first, &own);
        }
        list += geom->layers[layer].n_kv_head;
    }
}

/* What is left of the prompt in slots; generated tokens and free slots count as generated. */
static void account_slots(account *self, const fvi_kv_slots *slots)
{
    const fvi_kv_geom *geom = self->seq->geom;
    uint32_t width = fvi_kv_slots_width(slots);
    for (uint32_t layer = 0, list = 0; layer < geom->n_layer; layer++) {
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++, list++) {
            const uint32_t *position = slots->position + (size_t)list * width;
            for (uint32_t level = 0; level < slots->n_level; level++) {
                uint32_t n[FOVEA_N_MODALITY] = {0};
                for (uint32_t i = 0; i < slots->used[list * FVI_KV_LEVELS + level]; i++) {
                    const fvi_kv_span *span = prompt_span(self->seq, *position++ & ~FVI_KV_PINNED);
                    if (span != NULL) {
                        n[span->modality]++;
                    }
                }
                fvi_kv_shape shape = fvi_kv_shape_of(geom, layer, slots->codec[level]);
                uint64_t n_bytes = (n[0] + n[1]) * fvi_kv_run_bytes(&shape, 1);
                self->slots_payload += n_bytes;
                count_run(self, list, shape.codec, n_bytes, n);
            }
        }
    }
}

static void account_turns(account *self)
{
    const fvi_kv_seq *seq = self->seq;
    if (seq->n_block > 0 && seq->blocks[0].slots != NULL) {
        account_slots(self, seq->blocks[0].slots);
    }
    for (uint32_t i = 0; i < seq->n_block; i++) {
        const fvi_kv_turn *turn = seq->blocks[i].turn;
        if (turn != NULL) {
            account_turn(self, &seq->blocks[i], span_at(seq->spans, turn->first));
        }
    }
}

static uint32_t n_extent_of(fvi_kv_extent *const *chains, uint32_t n_chain)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_chain; i++) {
        for (const fvi_kv_extent *extent = chains[i]; extent != NULL; extent = extent->next) {
            n++;
        }
    }
    return n;
}

/* Of a turn, and of the layers of it that were cut, what lies in the pool without descriptors. */
static size_t chain_bytes(const fvi_kv_seq *seq, const fvi_kv_turn *turn)
{
    size_t n_bytes = fvi_kv_turn_pool_bytes(turn, seq->pool) -
                     n_extent_of(turn->chains, turn->n_chain) * sizeof(fvi_kv_extent);
    for (uint32_t i = 0; turn->cut != NULL && i < turn->cut->n_layer; i++) {
        n_bytes += turn->cut->layers[i] != NULL ? chain_bytes(seq, turn->cut->layers[i]) : 0;
    }
    return n_bytes;
}

/* Metadata and slack of the prompt's turns. */
static void account_shared(account *self)
{
    const fvi_kv_seq *seq = self->seq;
    fovea_ledger *out = self->ledger;
    size_t metadata =
        fvi_kv_meta_bytes(sizeof *seq) + fvi_kv_meta_bytes(seq->n_span * sizeof *seq->spans);
    size_t pool_bytes = self->slots_payload;
    uint32_t n_view = 0;
    const fvi_kv_slots *slots = seq->n_block > 0 ? seq->blocks[0].slots : NULL;
    if (slots != NULL) {
        n_view += seq->blocks[0].n_view;
        metadata += fvi_kv_meta_bytes(slots->n_bytes) + sizeof(fvi_kv_block) +
                    n_extent_of(slots->chains, slots->n_layer) * sizeof(fvi_kv_extent);
    }
    for (uint32_t i = 0; i < seq->n_block; i++) {
        const fvi_kv_turn *turn = seq->blocks[i].turn;
        if (turn == NULL) {
            continue;
        }
        size_t chains = chain_bytes(seq, turn);
        n_view += seq->blocks[i].n_view;
        metadata += fvi_kv_meta_bytes(turn->n_bytes) + sizeof(fvi_kv_block) +
                    fvi_kv_turn_pool_bytes(turn, seq->pool) +
                    fvi_kv_cut_bytes(turn->cut, seq->pool) - chains;
        pool_bytes += chains;
    }
    if (seq->lists != NULL) {
        metadata += prompt_view_bytes(seq->geom, n_view);
    }
    out->metadata_bytes = metadata;
    out->slack_bytes = pool_bytes - self->payload;
    out->shared_bytes = out->metadata_bytes + out->slack_bytes;
    out->realised_bytes = out->text_bytes + out->vision_bytes + out->shared_bytes;
    out->generated_bytes = fvi_kv_seq_bytes(seq) - out->realised_bytes;
}

void fvi_kv_seq_ledger(const fvi_kv_seq *seq, fovea_ledger *out)
{
    const fvi_kv_geom *geom = seq->geom;
    *out = (fovea_ledger){.size = sizeof *out,
                          .n_layer = geom->n_layer,
                          .n_kv_head = fvi_kv_geom_max_kv_head(geom),
                          .activation_peak_bytes = out->activation_peak_bytes,
                          .floor_bytes = out->floor_bytes,
                          .estimated_loss = out->estimated_loss,
                          .peak_bytes = seq->peak_bytes};
    for (uint32_t i = 0; i < seq->n_span; i++) {
        const fvi_kv_span *span = &seq->spans[i];
        if ((span->flags & FVI_KV_TAG_GENERATED) == 0) {
            bool is_vision = span->modality == FOVEA_MODALITY_VISION;
            *(is_vision ? &out->vision_tokens : &out->text_tokens) += span->n;
            out->full_bytes += span->n * fvi_kv_geom_token_bytes(geom, FOVEA_KIND_F16);
        }
    }
    account self = {.seq = seq, .ledger = out};
    account_turns(&self);
    account_shared(&self);
}

void fvi_kv_seq_ledger_rows(const fvi_kv_seq *seq, fovea_ledger_row *rows)
{
    uint32_t list = 0;
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
            rows[list++] = (fovea_ledger_row){.layer = layer, .kv_head = head};
        }
    }
    account self = {.seq = seq, .rows = rows};
    account_turns(&self);
}

static void slots_kept(const fvi_kv_slots *slots, uint32_t list, uint8_t *kinds)
{
    const uint32_t *position = slots->position + (size_t)list * fvi_kv_slots_width(slots);
    memset(kinds, FVI_KV_DROP, slots->end);
    for (uint32_t level = 0; level < slots->n_level; level++) {
        for (uint32_t i = 0; i < slots->used[list * FVI_KV_LEVELS + level]; i++) {
            kinds[*position++ & ~FVI_KV_PINNED] = (uint8_t)slots->codec[level]->kind;
        }
    }
}

void fvi_kv_seq_kept(const fvi_kv_seq *seq, uint32_t list, uint8_t *kinds)
{
    memset(kinds, (int)seq->geom->base, seq->position);
    if (seq->n_block > 0 && seq->blocks[0].slots != NULL) {
        slots_kept(seq->blocks[0].slots, list, kinds);
    }
    for (uint32_t i = 0; i < seq->n_block; i++) {
        const fvi_kv_turn *turn = seq->blocks[i].turn;
        if (turn == NULL) {
            continue;
        }
        memset(kinds + turn->first, FVI_KV_DROP, turn->n_token);
        fvi_kv_turn_iter iter = {.turn = turn, .token = UINT32_MAX};
        while (fvi_kv_turn_next(&iter) && iter.list <= list) {
            if (iter.list == list) {
                kinds[turn->first + iter.token] = (uint8_t)turn->codec[iter.nth]->kind;
            }
        }
    }
}
