/* slots.h - the lists of a sequence that evicts while it decodes: a bounded number of slots in each.
 *
 * Two levels. Sharp: at most cap= tokens of a list, in the base kind. Blurred, with evicted=: at most
 * blurred= tokens that left the sharp level, in a kind of codes per token; without it what leaves is gone. A
 * new token takes a free slot, or that of the sharp token of least worth (revise.h), which then takes a
 * blurred slot in the same manner. So no list ever holds more than its limits, and a step moves one row a
 * list and takes neither heap nor pool: slots for all that may be generated are taken when the turn ends.
 *
 * Slots are not sealed: they belong to one sequence and are written again and again; a fork copies them. One
 * chain of extents a layer, runs by list, then level, each of `capacity` rows of which the first `used` hold
 * tokens. What they hold is told by tables in the order of the list, sharp rows before blurred ones: position
 * and accumulated attention, 4 bytes each a slot. Slots are always the first block of their sequence.
 *
 * Called by seq.c and its siblings and by the engine. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_SLOTS_H
#define FOVEA_KVCOMPRESS_SLOTS_H

#include "kvcompress/plan.h"
#include "kvcompress/pool.h"

#define FVI_KV_LEVELS 2           /* sharp, blurred */
#define FVI_KV_PINNED 0x80000000u /* in a position: a protected token */

typedef struct fvi_kv_slots {
    const fvi_reviser *reviser;
    const fvi_codec *codec[FVI_KV_LEVELS]; /* [n_level] */
    uint32_t n_level;
    uint32_t limit[FVI_KV_LEVELS];    /* tokens of a list, by the recipe */
    uint32_t capacity[FVI_KV_LEVELS]; /* rows of a list, at most the limit */
    uint32_t n_sink, n_recent;
    uint32_t n_layer, n_list;
    uint32_t end;           /* positions below it have been held once */
    size_t n_bytes;         /* booked */
    fvi_kv_extent **chains; /* [n_layer] */
    float *row;             /* [dk + dv] of the widest layer, to recode a row */
    uint32_t *used;         /* [n_list, FVI_KV_LEVELS] */
    uint32_t *position;     /* [n_list, width], width the sum of the capacities */
    float *mass;            /* [n_list, width], NULL where the reviser needs none */
} fvi_kv_slots;

static inline uint32_t fvi_kv_slots_width(const fvi_kv_slots *slots)
{
    return slots->capacity[0] + slots->capacity[1];
}

/* Rows of all levels that hold a token. */
static inline uint32_t fvi_kv_slots_used(const fvi_kv_slots *slots, uint32_t list)
{
    return slots->used[list * FVI_KV_LEVELS] + slots->used[list * FVI_KV_LEVELS + 1];
}

/* After fvi_kv_seq_end_turn, for a recipe with while=: everything the sequence holds goes to slots, or
 * goes. plan: what of the last turn may be sharp, or NULL: all; obs: with what plan.h's needs ask for;
 * n_generate: tokens to take slots for. Rewrites layer by layer. FOVEA_ERR_FULL or _NOMEM when there is no
 * working space; then the sequence is unusable and must be freed. */
fovea_status fvi_kv_slots_open(fvi_kv_seq *seq, const fvi_recipe *recipe, const fvi_kv_obs *obs,
                               const fvi_kv_plan *plan, uint32_t n_generate);
/* Makes sure of slots for n_generate more tokens, as far as the limits go; does nothing for a sequence
 * without slots. Fails as open does. */
fovea_status fvi_kv_slots_prepare(fvi_kv_seq *seq, uint32_t n_generate);

/* Most bytes of slots that n_token tokens go to, the working space of open included. */
size_t fvi_kv_slots_forecast_bytes(const fvi_kv_geom *geom, size_t granule,
                                   const fvi_recipe *recipe, uint64_t n_token);

/* ---- for seq.c and its siblings ---- */

/* Tables of the same kind as `like` with other capacities; nothing in the pool yet. */
fovea_status fvi_kv_slots_new(const fovea_alloc *alloc, fvi_kv_pool *pool, const fvi_kv_geom *geom,
                              const fvi_kv_slots *like, const uint32_t capacity[FVI_KV_LEVELS],
                              fvi_kv_slots **out);
void fvi_kv_slots_free(const fovea_alloc *alloc, fvi_kv_pool *pool, fvi_kv_slots **slots);
/* Gives `to` a copy of the slots that are the first block of `from`. */
fovea_status fvi_kv_slots_fork(const fvi_kv_seq *from, fvi_kv_seq *to);
/* Everything that is held: tables, chains, their descriptors. */
size_t fvi_kv_slots_bytes(const fvi_kv_slots *slots, const fvi_kv_pool *pool);
/* The most that n more tokens can still take. */
size_t fvi_kv_slots_growth_bytes(const fvi_kv_seq *seq, uint32_t n_generate);

/* Rows that a list needs in each level for n_generate more tokens when the lists hold so many now. */
void fvi_kv_slots_capacity(const fvi_kv_slots *like, const uint32_t *used /* [n_list, levels] */,
                           uint32_t n_generate, uint32_t out[FVI_KV_LEVELS]);

/* What the slot's token is worth to stay when the token of position `now` comes. */
float fvi_kv_slots_worth(const fvi_kv_slots *slots, uint32_t position, float mass, uint32_t now);
/* fvi_kv_seq_append for a sequence of slots. */
fovea_status fvi_kv_slots_append(fvi_kv_seq *seq, uint32_t layer, const float *k, const float *v);

#endif
