/* slots.c - tables of slots, what a new token displaces, what slots take; filling them is slots_fill.c.
 *
 * Called by seq.c and its siblings and by the engine. */
#include "kvcompress/slots.h"

#include "kvcompress/codecs.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

#define SPARE 32 /* slots taken beyond what was announced, when more comes */

/* ---- tables ---- */

static uint32_t widest_row(const fvi_kv_geom *geom)
{
    uint32_t widest = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        widest = FVI_MAX(widest, geom->layers[layer].dk + geom->layers[layer].dv);
    }
    return widest;
}

static size_t table_bytes(const fvi_kv_geom *geom, size_t width, bool has_mass)
{
    size_t n_list = fvi_kv_geom_n_list(geom);
    return sizeof(fvi_kv_slots) + geom->n_layer * sizeof(fvi_kv_extent *) +
           widest_row(geom) * sizeof(float) + n_list * FVI_KV_LEVELS * sizeof(uint32_t) +
           n_list * width * (sizeof(uint32_t) + (has_mass ? sizeof(float) : 0));
}

fovea_status fvi_kv_slots_new(const fovea_alloc *alloc, fvi_kv_pool *pool, const fvi_kv_geom *geom,
                              const fvi_kv_slots *like, const uint32_t capacity[FVI_KV_LEVELS],
                              fvi_kv_slots **out)
{
    *out = NULL;
    size_t width = (size_t)capacity[0] + capacity[1];
    bool has_mass = like->reviser->prompt != NULL;
    size_t n_bytes = table_bytes(geom, width, has_mass);
    void *memory;
    FVI_TRY(fvi_kv_meta_new(alloc, pool, n_bytes, &memory));
    fvi_kv_slots *slots = memory;
    *slots = *like;
    slots->n_layer = geom->n_layer;
    slots->n_list = fvi_kv_geom_n_list(geom);
    slots->n_bytes = n_bytes;
    memcpy(slots->capacity, capacity, sizeof slots->capacity);
    slots->chains = (fvi_kv_extent **)(slots + 1);
    slots->row = (float *)(slots->chains + slots->n_layer);
    slots->used = (uint32_t *)(slots->row + widest_row(geom));
    slots->position = slots->used + (size_t)slots->n_list * FVI_KV_LEVELS;
    slots->mass = has_mass ? (float *)(slots->position + slots->n_list * width) : NULL;
    *out = slots;
    return FOVEA_OK;
}

void fvi_kv_slots_free(const fovea_alloc *alloc, fvi_kv_pool *pool, fvi_kv_slots **slots)
{
    fvi_kv_slots *self = *slots;
    *slots = NULL;
    if (self == NULL) {
        return;
    }
    for (uint32_t layer = 0; layer < self->n_layer; layer++) {
        fvi_kv_chain_unref(pool, &self->chains[layer]);
    }
    fvi_kv_meta_free(alloc, pool, self, self->n_bytes);
}

size_t fvi_kv_slots_bytes(const fvi_kv_slots *slots, const fvi_kv_pool *pool)
{
    size_t n_bytes = fvi_kv_meta_bytes(slots->n_bytes);
    for (uint32_t layer = 0; layer < slots->n_layer; layer++) {
        n_bytes += fvi_kv_chain_bytes(pool, slots->chains[layer]);
    }
    return n_bytes;
}

/* Copies the rows of a layer that hold tokens. */
static void copy_layer(const fvi_kv_seq *seq, fvi_kv_block *from, fvi_kv_block *to, uint32_t layer)
{
    fvi_kv_cursor at_from = fvi_kv_block_start(seq->pool, seq->geom, from, layer);
    fvi_kv_cursor at_to = fvi_kv_block_start(seq->pool, seq->geom, to, layer);
    uint32_t first = fvi_kv_geom_first_list(seq->geom, layer);
    for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
        const uint32_t *used = from->slots->used + (size_t)(first + head) * FVI_KV_LEVELS;
        for (uint32_t level = 0; level < from->slots->n_level; level++) {
            fvi_kv_shape shape = fvi_kv_block_shape(seq->geom, from, layer, level);
            uint32_t n_row = from->slots->capacity[level];
            fvi_kv_rows rows_from = fvi_kv_rows_of(seq->pool, at_from, shape, n_row);
            fvi_kv_rows rows_to = fvi_kv_rows_of(seq->pool, at_to, shape, n_row);
            fvi_kv_rows_copy(&rows_to, &rows_from, used[level]);
            fvi_kv_rows_skip(&rows_from, UINT32_MAX);
            fvi_kv_rows_skip(&rows_to, UINT32_MAX);
            at_from = rows_from.at;
            at_to = rows_to.at;
        }
    }
}

fovea_status fvi_kv_slots_fork(const fvi_kv_seq *from, fvi_kv_seq *to)
{
    fvi_kv_block source = from->blocks[0], copy = {.n_token = source.n_token};
    const fvi_kv_slots *slots = source.slots;
    size_t n_entry = (size_t)slots->n_list * fvi_kv_slots_width(slots);
    FVI_TRY(fvi_kv_slots_new(to->alloc, to->pool, to->geom, slots, slots->capacity, &copy.slots));
    memcpy(copy.slots->used, slots->used, slots->n_list * FVI_KV_LEVELS * sizeof *slots->used);
    memcpy(copy.slots->position, slots->position, n_entry * sizeof *slots->position);
    if (slots->mass != NULL) {
        memcpy(copy.slots->mass, slots->mass, n_entry * sizeof *slots->mass);
    }
    for (uint32_t layer = 0; layer < slots->n_layer; layer++) {
        fvi_kv_packer packer = {.pool = to->pool};
        fovea_status status = fvi_kv_block_reserve(&packer, to->geom, &copy, layer);
        copy.slots->chains[layer] = packer.head;
        if (status < 0) {
            fvi_kv_slots_free(to->alloc, to->pool, &copy.slots);
            return status;
        }
        copy_layer(from, &source, &copy, layer);
    }
    to->blocks[0] = copy;
    return FOVEA_OK;
}

/* ---- displacing ---- */

float fvi_kv_slots_worth(const fvi_kv_slots *slots, uint32_t position, float mass, uint32_t now)
{
    uint32_t plain = position & ~FVI_KV_PINNED;
    bool stays =
        plain != position || plain < slots->n_sink || (uint64_t)plain + slots->n_recent > now;
    return stays ? INFINITY : slots->reviser->worth(plain, mass);
}

/* One list of a layer. */
typedef struct slot_list {
    const fvi_kv_slots *slots;
    uint32_t *used; /* [FVI_KV_LEVELS] */
    uint32_t *position;
    float *mass;
    fvi_kv_shape shape[FVI_KV_LEVELS];
    fvi_kv_cursor at[FVI_KV_LEVELS];
    uint32_t now; /* position of the token that comes */
} slot_list;

static float worth_at(const slot_list *self, uint32_t entry)
{
    float mass = self->mass != NULL ? self->mass[entry] : 0;
    return fvi_kv_slots_worth(self->slots, self->position[entry], mass, self->now);
}

/* The entry of least worth among n; of equal ones the last. */
static uint32_t least_of(const slot_list *self, uint32_t first, uint32_t n)
{
    uint32_t least = first;
    float worth = worth_at(self, first);
    for (uint32_t entry = first + 1; entry < first + n; entry++) {
        float other = worth_at(self, entry);
        if (other <= worth) {
            worth = other;
            least = entry;
        }
    }
    return least;
}

static void set_entry(slot_list *self, uint32_t entry, uint32_t position, float mass)
{
    self->position[entry] = position;
    if (self->mass != NULL) {
        self->mass[entry] = mass;
    }
}

/* The rows of a level from `row` on. */
static fvi_kv_rows rows_at(const slot_list *self, const fvi_kv_pool *pool, uint32_t level,
                           uint32_t row)
{
    fvi_kv_rows rows =
        fvi_kv_rows_of(pool, self->at[level], self->shape[level], self->slots->capacity[level]);
    fvi_kv_rows_skip(&rows, row);
    fvi_kv_rows_ready(&rows, 1);
    return rows;
}

/* Keeps a sharp row coarsely before its slot is taken, unless all that is blurred is worth more. */
static void blur(slot_list *self, const fvi_kv_pool *pool, uint32_t sharp)
{
    uint32_t first = self->used[0], entry = first + self->used[1];
    if (self->used[1] < self->slots->capacity[1]) {
        self->used[1]++;
    } else {
        entry = least_of(self, first, self->used[1]);
        if (worth_at(self, sharp) < worth_at(self, entry)) {
            return;
        }
    }
    fvi_kv_rows from = rows_at(self, pool, 0, sharp), to = rows_at(self, pool, 1, entry - first);
    const fvi_kv_shape *shape = &from.shape;
    float *k = self->slots->row, *v = k + shape->dk;
    fvi_codec_decode(from.shape.codec, from.piece.data, from.piece.n_row, shape->dk, shape->dv,
                     from.row, 1, k, shape->dk, v, shape->dv);
    fvi_codec_encode(to.shape.codec, to.piece.data, to.piece.n_row, shape->dk, shape->dv, to.row, 1,
                     k, shape->dk, v, shape->dv);
    set_entry(self, entry, self->position[sharp], self->mass != NULL ? self->mass[sharp] : 0);
}

/* The sharp row that the coming token gets; the tables know it from here on. */
static uint32_t make_room(slot_list *self, const fvi_kv_pool *pool)
{
    uint32_t row = self->used[0];
    if (row < self->slots->capacity[0]) { /* the blurred entries stand behind the sharp ones */
        memmove(self->position + row + 1, self->position + row,
                self->used[1] * sizeof *self->position);
        if (self->mass != NULL) {
            memmove(self->mass + row + 1, self->mass + row, self->used[1] * sizeof *self->mass);
        }
        self->used[0]++;
    } else {
        row = least_of(self, 0, row);
        if (self->slots->capacity[1] > 0) {
            blur(self, pool, row);
        }
    }
    set_entry(self, row, self->now, 0);
    return row;
}

/* Whether the next token could find a list without a free slot that the recipe would still grant. */
static bool is_tight(const fvi_kv_slots *slots)
{
    for (uint32_t list = 0; list < slots->n_list; list++) {
        const uint32_t *used = slots->used + (size_t)list * FVI_KV_LEVELS;
        if (used[0] == slots->capacity[0] &&
            (slots->capacity[0] < slots->limit[0] ||
             (used[1] == slots->capacity[1] && slots->capacity[1] < slots->limit[1]))) {
            return true;
        }
    }
    return false;
}

fovea_status fvi_kv_slots_append(fvi_kv_seq *seq, uint32_t layer, const float *k, const float *v)
{
    if (layer == 0 && is_tight(seq->blocks[0].slots)) {
        FVI_TRY(fvi_kv_slots_prepare(seq, SPARE));
    }
    fvi_kv_block *block = &seq->blocks[0];
    fvi_kv_slots *slots = block->slots;
    uint32_t first = fvi_kv_geom_first_list(seq->geom, layer), width = fvi_kv_slots_width(slots);
    fvi_kv_cursor at = fvi_kv_block_start(seq->pool, seq->geom, block, layer);
    for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
        size_t entry = (size_t)(first + head) * width;
        slot_list list = {.slots = slots,
                          .used = slots->used + (size_t)(first + head) * FVI_KV_LEVELS,
                          .position = slots->position + entry,
                          .mass = slots->mass != NULL ? slots->mass + entry : NULL,
                          .now = seq->position};
        for (uint32_t level = 0; level < slots->n_level; level++) {
            list.at[level] = at;
            list.shape[level] = fvi_kv_block_shape(seq->geom, block, layer, level);
            fvi_kv_rows all =
                fvi_kv_rows_of(seq->pool, at, list.shape[level], slots->capacity[level]);
            fvi_kv_rows_skip(&all, UINT32_MAX);
            at = all.at;
        }
        fvi_kv_rows row = rows_at(&list, seq->pool, 0, make_room(&list, seq->pool));
        uint32_t dk = row.shape.dk, dv = row.shape.dv;
        fvi_codec_encode(row.shape.codec, row.piece.data, row.piece.n_row, dk, dv, row.row, 1,
                         k + head * dk, dk, v + head * dv, dv);
    }
    return FOVEA_OK;
}

/* ---- bytes ---- */

/* Every granule a piece of its own; one layer twice, as it is while it is rewritten. */
static size_t worst_bytes(const fvi_kv_geom *geom, size_t granule,
                          const fvi_codec *const codec[FVI_KV_LEVELS],
                          const uint32_t capacity[FVI_KV_LEVELS], bool has_mass)
{
    size_t n_bytes = 0, largest = 0;
    uint32_t n_piece = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        size_t layer_bytes = 0;
        uint32_t layer_pieces = 0;
        for (uint32_t level = 0; level < FVI_KV_LEVELS && capacity[level] > 0; level++) {
            fvi_kv_shape shape = fvi_kv_shape_of(geom, layer, codec[level]);
            layer_bytes += fvi_kv_run_worst_bytes(&shape, capacity[level], granule);
            layer_pieces += fvi_kv_run_worst_pieces(&shape, capacity[level], granule);
        }
        layer_bytes *= geom->layers[layer].n_kv_head;
        n_piece = FVI_MAX(n_piece, layer_pieces * geom->layers[layer].n_kv_head);
        largest = FVI_MAX(largest, layer_bytes);
        n_bytes += layer_bytes;
    }
    size_t width = (size_t)capacity[0] + capacity[1];
    return n_bytes + largest + fvi_kv_meta_bytes(table_bytes(geom, width, has_mass)) +
           fvi_kv_meta_bytes(fvi_kv_geom_max_kv_head(geom) * sizeof(fvi_list_view) +
                             n_piece * sizeof(fvi_run_view));
}

size_t fvi_kv_slots_forecast_bytes(const fvi_kv_geom *geom, size_t granule,
                                   const fvi_recipe *recipe, uint64_t n_token)
{
    const fvi_codec *codec[FVI_KV_LEVELS] = {fvi_codec_of(geom->base), recipe->evicted};
    uint32_t limit[FVI_KV_LEVELS] = {recipe->cap, recipe->evicted != NULL ? recipe->n_blurred : 0};
    uint32_t capacity[FVI_KV_LEVELS];
    for (uint32_t level = 0; level < FVI_KV_LEVELS; level++) {
        capacity[level] = (uint32_t)FVI_MIN(limit[level], n_token);
    }
    return worst_bytes(geom, granule, codec, capacity, recipe->reviser->prompt != NULL);
}

void fvi_kv_slots_capacity(const fvi_kv_slots *like, const uint32_t *used, uint32_t n_generate,
                           uint32_t out[FVI_KV_LEVELS])
{
    uint32_t longest[FVI_KV_LEVELS] = {0};
    for (uint32_t list = 0; list < like->n_list; list++) {
        for (uint32_t level = 0; level < like->n_level; level++) {
            longest[level] = FVI_MAX(longest[level], used[list * FVI_KV_LEVELS + level]);
        }
    }
    uint64_t n_sharp = (uint64_t)longest[0] + n_generate;
    out[0] = (uint32_t)FVI_MIN(n_sharp, like->limit[0]);
    out[1] = (uint32_t)FVI_MIN(longest[1] + (n_sharp - out[0]), like->limit[1]);
}

size_t fvi_kv_slots_growth_bytes(const fvi_kv_seq *seq, uint32_t n_generate)
{
    const fvi_kv_slots *slots = seq->blocks[0].slots;
    uint32_t capacity[FVI_KV_LEVELS];
    fvi_kv_slots_capacity(slots, slots->used, n_generate, capacity);
    if (capacity[0] <= slots->capacity[0] && capacity[1] <= slots->capacity[1]) {
        return 0;
    }
    return worst_bytes(seq->geom, fvi_kv_pool_granule(seq->pool), slots->codec, capacity,
                       slots->mass != NULL);
}
