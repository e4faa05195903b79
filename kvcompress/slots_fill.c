/* slots_fill.c - everything a sequence holds goes to slots: who stays, where, and the copying.
 *
 * First all lists are decided on (levels, in the order of the list), which gives the capacities and the
 * tables; then rows are copied layer by layer, and each layer's old chain goes back at once where it has one
 * of its own. Sharp rows keep their order, so as long as nothing was evicted a list reads as it would
 * without slots. Called by the engine and by slots.c. */
#include "kvcompress/codecs.h"
#include "kvcompress/select.h"
#include "kvcompress/seq_internal.h"
#include "kvcompress/slots.h"

#define GONE FVI_KV_LEVELS

typedef struct refill {
    fvi_kv_seq *seq;
    const fvi_kv_plan *plan;
    const fvi_kv_slots *from; /* the slots there were, or NULL */
    fvi_kv_slots like;        /* what the new ones are like */
    fvi_kv_slots *to;
    uint32_t n_list, n_most; /* tokens of the longest list */
    uint32_t turn_first, n_turn;
    float *scores;      /* of the turn, [n_list, n_turn], or NULL */
    uint8_t *level;     /* [n_list, n_most] 0, 1 or GONE */
    uint32_t *used;     /* [n_list, FVI_KV_LEVELS] */
    uint32_t *position; /* [n_most] of the list at hand, as in slots */
    float *mass;        /* [n_most] */
    float *worth;       /* [n_most] */
    uint32_t *sort;     /* [4, n_most] */
} refill;

/* ---- reading ---- */

static void find_extent(refill *self)
{
    const fvi_kv_seq *seq = self->seq;
    self->from = seq->blocks[0].slots;
    self->n_list = fvi_kv_geom_n_list(seq->geom);
    uint32_t n_behind = seq->position - (self->from != NULL ? self->from->end : 0);
    for (uint32_t list = 0; list < self->n_list; list++) {
        uint32_t n_slot = self->from != NULL ? fvi_kv_slots_used(self->from, list) : 0;
        self->n_most = FVI_MAX(self->n_most, n_slot + n_behind);
    }
    const fvi_kv_turn *turn = seq->blocks[seq->n_block - 1].turn;
    self->turn_first = turn != NULL ? turn->first : seq->position;
    self->n_turn = seq->position - self->turn_first;
}

static uint32_t pin_of(const fvi_kv_seq *seq, uint32_t position)
{
    for (uint32_t i = 0; i < seq->n_span; i++) {
        if (position - seq->spans[i].first < seq->spans[i].n) {
            return (seq->spans[i].flags & FVI_KV_TAG_PROTECTED) != 0 ? FVI_KV_PINNED : 0;
        }
    }
    return 0;
}

/* Position and attention so far of a list's tokens, in its order; their number. */
static uint32_t read_list(refill *self, uint32_t layer, uint32_t list)
{
    uint32_t n = 0, next = 0;
    if (self->from != NULL) {
        size_t entry = (size_t)list * fvi_kv_slots_width(self->from);
        n = fvi_kv_slots_used(self->from, list);
        next = self->from->end;
        memcpy(self->position, self->from->position + entry, n * sizeof *self->position);
        if (self->from->mass != NULL) {
            memcpy(self->mass, self->from->mass + entry, n * sizeof *self->mass);
        }
    }
    const fvi_kv_layer_geom *dims = &self->seq->geom->layers[layer];
    float group = (float)(dims->n_head / dims->n_kv_head); /* scores are means over it */
    for (; next < self->seq->position; next++, n++) {
        bool is_scored = self->scores != NULL && next >= self->turn_first;
        size_t at = (size_t)list * self->n_turn + (next - self->turn_first);
        self->position[n] = next | pin_of(self->seq, next);
        self->mass[n] = is_scored ? self->scores[at] * group : 0;
    }
    return n;
}

static fovea_status score_turn(refill *self, const fvi_kv_obs *obs)
{
    const fvi_kv_seq *seq = self->seq;
    const fvi_scorer *scorer = self->like.reviser->prompt;
    if (scorer == NULL || self->n_turn == 0) {
        return FOVEA_OK;
    }
    if (obs == NULL || (scorer->needs & ~obs->needs) != 0 || obs->n_token != self->n_turn ||
        obs->n_list != self->n_list) {
        return FOVEA_ERR_STATE;
    }
    self->scores = fvi_calloc(seq->alloc, (size_t)self->n_list * self->n_turn, sizeof(float));
    if (self->scores == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    const fvi_score_ctx ctx = {
        .alloc = seq->alloc, .geom = seq->geom, .obs = obs, .n_token = self->n_turn};
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        size_t first = fvi_kv_geom_first_list(seq->geom, layer);
        FVI_TRY(scorer->score(&ctx, layer, self->scores + first * self->n_turn));
    }
    return FOVEA_OK;
}

/* ---- deciding ---- */

/* What was blurred stays so, and what the plan dropped does not become sharp. */
static bool may_be_sharp(const refill *self, uint32_t list, uint32_t entry)
{
    if (self->from != NULL && entry < fvi_kv_slots_used(self->from, list)) {
        return entry < self->from->used[list * FVI_KV_LEVELS];
    }
    uint32_t position = self->position[entry] & ~FVI_KV_PINNED;
    return self->plan == NULL || position < self->turn_first ||
           self->plan->kind[(size_t)list * self->n_turn + position - self->turn_first] !=
               FVI_KV_DROP;
}

static void decide(refill *self, uint32_t layer, uint32_t list)
{
    uint32_t n = read_list(self, layer, list);
    uint8_t *level = self->level + (size_t)list * self->n_most;
    uint32_t *used = self->used + (size_t)list * FVI_KV_LEVELS;
    for (uint32_t i = 0; i < n; i++) {
        self->worth[i] =
            fvi_kv_slots_worth(&self->like, self->position[i], self->mass[i], self->seq->position);
    }
    fvi_select_sort(self->worth, n, self->sort);
    memset(level, GONE, n);
    for (uint32_t to = 0; to < self->like.n_level; to++) {
        for (uint32_t i = 0; i < n && used[to] < self->like.limit[to]; i++) {
            uint32_t entry = self->sort[i];
            if (level[entry] == GONE && (to > 0 || may_be_sharp(self, list, entry))) {
                level[entry] = (uint8_t)to;
                used[to]++;
            }
        }
    }
}

static fovea_status decide_all(refill *self)
{
    const fvi_kv_seq *seq = self->seq;
    size_t n = FVI_MAX(self->n_most, 1);
    self->level = fvi_alloc(seq->alloc, self->n_list * n);
    self->used = fvi_calloc(seq->alloc, (size_t)self->n_list * FVI_KV_LEVELS, sizeof(uint32_t));
    self->position = fvi_calloc(seq->alloc, n, sizeof *self->position);
    self->mass = fvi_calloc(seq->alloc, n, sizeof *self->mass);
    self->worth = fvi_calloc(seq->alloc, n, sizeof *self->worth);
    self->sort = fvi_calloc(seq->alloc, 4 * n, sizeof *self->sort);
    if (self->level == NULL || self->used == NULL || self->position == NULL || self->mass == NULL ||
        self->worth == NULL || self->sort == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (uint32_t layer = 0, list = 0; layer < seq->geom->n_layer; layer++) {
        for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
            decide(self, layer, list++);
        }
    }
    return FOVEA_OK;
}

/* Entries of the tables, level by level in the order of the list. */
static void write_tables(refill *self)
{
    const fvi_kv_geom *geom = self->seq->geom;
    memcpy(self->to->used, self->used, (size_t)self->n_list * FVI_KV_LEVELS * sizeof *self->used);
    for (uint32_t layer = 0, list = 0; layer < geom->n_layer; layer++) {
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++, list++) {
            uint32_t n = read_list(self, layer, list);
            const uint8_t *level = self->level + (size_t)list * self->n_most;
            size_t at = (size_t)list * fvi_kv_slots_width(self->to);
            for (uint32_t to = 0; to < FVI_KV_LEVELS; to++) {
                for (uint32_t i = 0; i < n; i++) {
                    if (level[i] != to) {
                        continue;
                    }
                    self->to->position[at] = self->position[i];
                    if (self->to->mass != NULL) {
                        self->to->mass[at] = self->mass[i];
                    }
                    at++;
                }
            }
        }
    }
}

/* ---- copying ---- */

/* Moves one row on from `from`: to a level, or nowhere. */
static void move_row(refill *self, fvi_kv_rows *from, fvi_kv_rows *to)
{
    if (from->shape.codec == to->shape.codec) {
        fvi_kv_rows_copy(to, from, 1);
        return;
    }
    const fvi_kv_shape *shape = &from->shape;
    float *k = self->to->row, *v = k + shape->dk;
    if (fvi_kv_rows_ready(from, 1) == 0 || fvi_kv_rows_ready(to, 1) == 0) {
        return;
    }
    fvi_codec_decode(shape->codec, from->piece.data, from->piece.n_row, shape->dk, shape->dv,
                     from->row++, 1, k, shape->dk, v, shape->dv);
    fvi_codec_encode(to->shape.codec, to->piece.data, to->piece.n_row, shape->dk, shape->dv,
                     to->row++, 1, k, shape->dk, v, shape->dv);
}

/* All rows of one list of a block, whose levels begin at *level; the block's walk goes behind them. */
static void move_list(refill *self, fvi_kv_block *block, uint32_t layer, uint32_t list,
                      const uint8_t **level, fvi_kv_rows to[FVI_KV_LEVELS])
{
    for (uint32_t nth = 0; nth < fvi_kv_block_n_run(block); nth++) {
        fvi_kv_rows from = fvi_kv_rows_of(self->seq->pool, block->walk,
                                          fvi_kv_block_shape(self->seq->geom, block, layer, nth),
                                          fvi_kv_block_rows(block, list, nth));
        uint32_t n = fvi_kv_block_visible(block, list, nth);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t where = *(*level)++;
            if (where == GONE) {
                fvi_kv_rows_skip(&from, 1);
            } else {
                move_row(self, &from, &to[where]);
            }
        }
        fvi_kv_rows_skip(&from, UINT32_MAX);
        block->walk = from.at;
    }
}

static void move_layer(refill *self, fvi_kv_block *into, uint32_t layer)
{
    fvi_kv_seq *seq = self->seq;
    const fvi_kv_geom *geom = seq->geom;
    for (uint32_t i = 0; i < seq->n_block; i++) {
        seq->blocks[i].walk = fvi_kv_block_start(seq->pool, geom, &seq->blocks[i], layer);
    }
    fvi_kv_cursor at = fvi_kv_block_start(seq->pool, geom, into, layer);
    uint32_t list = fvi_kv_geom_first_list(geom, layer);
    for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++, list++) {
        fvi_kv_rows to[FVI_KV_LEVELS];
        for (uint32_t level = 0; level < self->to->n_level; level++) {
            to[level] = fvi_kv_rows_of(seq->pool, at, fvi_kv_block_shape(geom, into, layer, level),
                                       self->to->capacity[level]);
            fvi_kv_rows behind = to[level];
            fvi_kv_rows_skip(&behind, UINT32_MAX);
            at = behind.at;
        }
        const uint8_t *level = self->level + (size_t)list * self->n_most;
        for (uint32_t i = 0; i < seq->n_block; i++) {
            move_list(self, &seq->blocks[i], layer, list, &level, to);
        }
    }
}

/* What is through goes back: chains that are a layer's alone and nobody else's. */
static void give_layer(fvi_kv_seq *seq, uint32_t layer)
{
    for (uint32_t i = 0; i < seq->n_block; i++) {
        fvi_kv_block *block = &seq->blocks[i];
        if (block->slots != NULL) {
            fvi_kv_chain_unref(seq->pool, &block->slots->chains[layer]);
        } else if (block->turn != NULL && block->turn->fresh && block->turn->refs == 1) {
            fvi_kv_chain_unref(seq->pool, &block->turn->chains[layer]);
        }
    }
}

static fovea_status move_all(refill *self)
{
    fvi_kv_seq *seq = self->seq;
    fvi_kv_block into = {.slots = self->to, .n_token = seq->position};
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        fvi_kv_packer packer = {.pool = seq->pool};
        fovea_status status = fvi_kv_block_reserve(&packer, seq->geom, &into, layer);
        self->to->chains[layer] = packer.head;
        fvi_kv_seq_note_peak(seq, fvi_kv_slots_bytes(self->to, seq->pool));
        FVI_TRY(status);
        move_layer(self, &into, layer);
        give_layer(seq, layer);
    }
    for (uint32_t i = 0; i < seq->n_block; i++) {
        fvi_kv_block_drop(seq, &seq->blocks[i]);
    }
    seq->blocks[0] = into;
    seq->n_block = 1;
    self->to->end = seq->position;
    self->to = NULL; /* the sequence's now */
    return fvi_kv_seq_set_views(seq, fvi_kv_seq_n_view(seq));
}

static fovea_status run(refill *self, const fvi_kv_obs *obs, uint32_t n_generate)
{
    fvi_kv_seq *seq = self->seq;
    find_extent(self);
    fovea_status status = score_turn(self, obs);
    if (status >= 0) {
        status = decide_all(self);
    }
    if (status >= 0) {
        uint32_t capacity[FVI_KV_LEVELS];
        self->like.n_list = self->n_list;
        fvi_kv_slots_capacity(&self->like, self->used, n_generate, capacity);
        status =
            fvi_kv_slots_new(seq->alloc, seq->pool, seq->geom, &self->like, capacity, &self->to);
    }
    if (status >= 0) {
        write_tables(self);
        status = move_all(self);
    }
    fvi_kv_slots_free(seq->alloc, seq->pool, &self->to);
    fvi_free(seq->alloc, self->scores);
    fvi_free(seq->alloc, self->level);
    fvi_free(seq->alloc, self->used);
    fvi_free(seq->alloc, self->position);
    fvi_free(seq->alloc, self->mass);
    fvi_free(seq->alloc, self->worth);
    fvi_free(seq->alloc, self->sort);
    return status;
}

fovea_status fvi_kv_slots_open(fvi_kv_seq *seq, const fvi_recipe *recipe, const fvi_kv_obs *obs,
                               const fvi_kv_plan *plan, uint32_t n_generate)
{
    if (recipe->reviser == NULL || seq->state != FVI_KV_IDLE || seq->n_appended > 0 ||
        seq->n_block == 0 || seq->tail.chain != NULL) {
        return FOVEA_ERR_STATE;
    }
    refill self = {
        .seq = seq,
        .plan = plan,
        .like = {.reviser = recipe->reviser,
                 .codec = {fvi_codec_of(seq->geom->base), recipe->evicted},
                 .n_level = recipe->evicted != NULL ? 2 : 1,
                 .limit = {recipe->cap, recipe->evicted != NULL ? recipe->n_blurred : 0},
                 .n_sink = FVI_MAX(recipe->n_sink, recipe->n_exact),
                 .n_recent = (uint32_t)(recipe->recent[0] * recipe->cap)},
    };
    return run(&self, obs, n_generate);
}

fovea_status fvi_kv_slots_prepare(fvi_kv_seq *seq, uint32_t n_generate)
{
    const fvi_kv_slots *slots = seq->n_block == 1 ? seq->blocks[0].slots : NULL;
    if (slots == NULL) {
        return FOVEA_OK;
    }
    uint32_t capacity[FVI_KV_LEVELS];
    fvi_kv_slots_capacity(slots, slots->used, n_generate, capacity);
    if (capacity[0] <= slots->capacity[0] && capacity[1] <= slots->capacity[1]) {
        return FOVEA_OK;
    }
    refill self = {.seq = seq, .like = *slots};
    return run(&self, NULL, n_generate);
}
