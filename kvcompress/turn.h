/* turn.h - what a sequence knows about one prompt turn: which tokens each list holds, in which kind.
 *
 * Two forms. Fresh: every list holds every token in the base kind, one chain of extents for each layer, so
 * that a layer can be given back alone. Sealed: what a plan kept, one chain for all lists, runs ordered by
 * list, then kind, then position. The sealed form costs, beside a fixed head, for each list a count per
 * kind and one bit per prompt token, and where there are several kinds 1 to 4 bits per kept token that
 * say which. Shared by forks through `refs`; sealed turns never change.
 * Called by seq.c and its siblings, plan_apply.c, seq_ledger.c. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_TURN_H
#define FOVEA_KVCOMPRESS_TURN_H

#include "kvcompress/seq.h"

typedef struct fvi_kv_cut fvi_kv_cut;

typedef struct fvi_kv_turn {
    uint32_t refs;
    uint32_t first, n_token; /* positions */
    uint32_t n_list;
    uint32_t n_kind;
    bool fresh;
    uint64_t n_slot;                      /* tokens over all lists */
    const fvi_codec *codec[FOVEA_N_KIND]; /* [n_kind] ascending by kind */
    size_t n_bytes;                       /* booked */
    uint32_t n_chain;                     /* fresh: n_layer; sealed: 1 */
    fvi_kv_extent **chains;               /* [n_chain] */
    uint32_t *counts;                     /* sealed: [n_list, n_kind] */
    uint8_t *kept;                        /* sealed: [n_list, (n_token + 7) / 8] bits */
    uint8_t *codes; /* sealed, n_kind > 1: code_bits for each kept token, lists one after another */
    fvi_kv_cut *cut; /* fresh: the layers that have been cut to their caps (cut.h), NULL: none */
} fvi_kv_turn;

/* What a turn books. */
size_t fvi_kv_turn_fresh_bytes(uint32_t n_layer);
size_t fvi_kv_turn_sealed_bytes(uint32_t n_list, uint32_t n_token, uint32_t n_kind,
                                uint64_t n_slot);

fovea_status fvi_kv_turn_new_fresh(const fovea_alloc *alloc, fvi_kv_pool *pool,
                                   const fvi_kv_geom *geom, uint32_t first, uint32_t n_token,
                                   fvi_kv_turn **out);
/* kind: fovea_kind of each list and token, or FVI_KV_DROP; kinds: bit per kind that may occur. */
fovea_status fvi_kv_turn_new_sealed(const fovea_alloc *alloc, fvi_kv_pool *pool,
                                    const fvi_kv_geom *geom, uint32_t first, uint32_t n_token,
                                    uint32_t kinds, const uint8_t *kind /* [n_list, n_token] */,
                                    fvi_kv_turn **out);
void fvi_kv_turn_unref(const fovea_alloc *alloc, fvi_kv_pool *pool, fvi_kv_turn **turn);

/* Rows of a list in the nth kind. */
uint32_t fvi_kv_turn_rows(const fvi_kv_turn *turn, uint32_t list, uint32_t nth);
/* Bytes in the pool, descriptors of extents included. */
size_t fvi_kv_turn_pool_bytes(const fvi_kv_turn *turn, const fvi_kv_pool *pool);

/* Goes through the kept tokens of all lists in order. */
typedef struct fvi_kv_turn_iter {
    const fvi_kv_turn *turn;
    uint32_t list, token; /* token: offset in the turn */
    uint32_t nth;         /* which of turn->codec */
    uint64_t n_seen;
} fvi_kv_turn_iter;

/* Start with {.turn = turn, .token = UINT32_MAX}; false behind the last one. */
bool fvi_kv_turn_next(fvi_kv_turn_iter *iter);

/* Heap memory that is booked, rounded up to 64 bytes as the allocator does. */
size_t fvi_kv_meta_bytes(size_t n_bytes);
fovea_status fvi_kv_meta_new(const fovea_alloc *alloc, fvi_kv_pool *pool, size_t n_bytes,
                             void **out);
void fvi_kv_meta_free(const fovea_alloc *alloc, fvi_kv_pool *pool, void *memory, size_t n_bytes);

#endif
