/* turn.c - making, sharing and reading the descriptions of prompt turns.
 *
 * A description is one block of memory: the struct, then its arrays in order of alignment. Called by seq.c
 * and its siblings. */
#include "kvcompress/turn.h"

#include "kvcompress/codecs.h"
#include "kvcompress/cut.h"

size_t fvi_kv_meta_bytes(size_t n_bytes)
{
    return fvi_round_up(n_bytes, 64);
}

fovea_status fvi_kv_meta_new(const fovea_alloc *alloc, fvi_kv_pool *pool, size_t n_bytes,
                             void **out)
{
    *out = NULL;
    if (n_bytes > SIZE_MAX / 2) {
        return FOVEA_ERR_NOMEM;
    }
    FVI_TRY(fvi_kv_pool_book(pool, fvi_kv_meta_bytes(n_bytes)));
    *out = fvi_calloc(alloc, 1, n_bytes);
    if (*out == NULL) {
        fvi_kv_pool_unbook(pool, fvi_kv_meta_bytes(n_bytes));
        return FOVEA_ERR_NOMEM;
    }
    return FOVEA_OK;
}

void fvi_kv_meta_free(const fovea_alloc *alloc, fvi_kv_pool *pool, void *memory, size_t n_bytes)
{
    if (memory != NULL) {
        fvi_free(alloc, memory);
        fvi_kv_pool_unbook(pool, fvi_kv_meta_bytes(n_bytes));
    }
}

static size_t row_bytes_of(uint32_t n_token)
{
    return ((size_t)n_token + 7) / 8;
}

/* Whole bits per code and whole codes per byte. */
static uint32_t code_bits_of(uint32_t n_kind)
{
    return n_kind <= 1 ? 0 : n_kind <= 2 ? 1 : n_kind <= 4 ? 2 : 4;
}

static size_t raw_sealed_bytes(uint32_t n_list, uint32_t n_token, uint32_t n_kind, uint64_t n_slot)
{
    return sizeof(fvi_kv_turn) + sizeof(fvi_kv_extent *) +
           (size_t)n_list * n_kind * sizeof(uint32_t) + n_list * row_bytes_of(n_token) +
           (n_slot * code_bits_of(n_kind) + 7) / 8;
}

static size_t raw_fresh_bytes(uint32_t n_layer)
{
    return sizeof(fvi_kv_turn) + n_layer * sizeof(fvi_kv_extent *);
}

size_t fvi_kv_turn_fresh_bytes(uint32_t n_layer)
{
    return fvi_kv_meta_bytes(raw_fresh_bytes(n_layer));
}

size_t fvi_kv_turn_sealed_bytes(uint32_t n_list, uint32_t n_token, uint32_t n_kind, uint64_t n_slot)
{
    return fvi_kv_meta_bytes(raw_sealed_bytes(n_list, n_token, n_kind, n_slot));
}

fovea_status fvi_kv_turn_new_fresh(const fovea_alloc *alloc, fvi_kv_pool *pool,
                                   const fvi_kv_geom *geom, uint32_t first, uint32_t n_token,
                                   fvi_kv_turn **out)
{
    *out = NULL;
    size_t n_bytes = raw_fresh_bytes(geom->n_layer);
    void *memory;
    FVI_TRY(fvi_kv_meta_new(alloc, pool, n_bytes, &memory));
    fvi_kv_turn *turn = memory;
    turn->refs = 1;
    turn->first = first;
    turn->n_token = n_token;
    turn->n_list = fvi_kv_geom_n_list(geom);
    turn->n_kind = 1;
    turn->n_slot = (uint64_t)turn->n_list * n_token;
    turn->fresh = true;
    turn->codec[0] = fvi_codec_of(geom->base);
    turn->n_bytes = n_bytes;
    turn->n_chain = geom->n_layer;
    turn->chains = (fvi_kv_extent **)(turn + 1);
    *out = turn;
    return FOVEA_OK;
}

/* Fills counts, kept and codes. */
static void describe(fvi_kv_turn *turn, const uint8_t *kind, const uint32_t *nth_of)
{
    size_t row_bytes = row_bytes_of(turn->n_token);
    uint32_t code_bits = code_bits_of(turn->n_kind);
    uint64_t n_seen = 0;
    for (uint32_t list = 0; list < turn->n_list; list++) {
        const uint8_t *row = kind + (size_t)list * turn->n_token;
        for (uint32_t i = 0; i < turn->n_token; i++) {
            if (row[i] == FVI_KV_DROP) {
                continue;
            }
            uint32_t nth = nth_of[row[i]];
            turn->counts[(size_t)list * turn->n_kind + nth]++;
            turn->kept[list * row_bytes + i / 8] |= (uint8_t)(1u << (i % 8));
            if (code_bits > 0) {
                uint64_t bit = n_seen * code_bits;
                turn->codes[bit / 8] |= (uint8_t)(nth << (bit % 8));
            }
            n_seen++;
        }
    }
}

fovea_status fvi_kv_turn_new_sealed(const fovea_alloc *alloc, fvi_kv_pool *pool,
                                    const fvi_kv_geom *geom, uint32_t first, uint32_t n_token,
                                    uint32_t kinds, const uint8_t *kind, fvi_kv_turn **out)
{
    *out = NULL;
    uint32_t n_list = fvi_kv_geom_n_list(geom), n_kind = 0;
    uint32_t nth_of[FOVEA_N_KIND] = {0};
    uint64_t n_slot = 0;
    const fvi_codec *codec[FOVEA_N_KIND] = {NULL};
    for (uint32_t k = 0; k < FOVEA_N_KIND; k++) {
        if ((kinds >> k & 1) != 0) {
            nth_of[k] = n_kind;
            codec[n_kind] = fvi_codec_of((fovea_kind)k);
            if (codec[n_kind++] == NULL) {
                return FOVEA_ERR_UNSUPPORTED;
            }
        }
    }
    for (size_t i = 0; i < (size_t)n_list * n_token; i++) {
        if (kind[i] != FVI_KV_DROP && (kind[i] >= FOVEA_N_KIND || (kinds >> kind[i] & 1) == 0)) {
            return FOVEA_ERR_ARG;
        }
        n_slot += kind[i] != FVI_KV_DROP;
    }
    size_t n_bytes = raw_sealed_bytes(n_list, n_token, n_kind, n_slot);
    void *memory;
    FVI_TRY(fvi_kv_meta_new(alloc, pool, n_bytes, &memory));
    fvi_kv_turn *turn = memory;
    *turn = (fvi_kv_turn){.refs = 1,
                          .first = first,
                          .n_token = n_token,
                          .n_list = n_list,
                          .n_kind = n_kind,
                          .n_slot = n_slot,
                          .n_bytes = n_bytes,
                          .n_chain = 1};
    memcpy(turn->codec, codec, sizeof codec);
    turn->chains = (fvi_kv_extent **)(turn + 1);
    turn->counts = (uint32_t *)(turn->chains + 1);
    turn->kept = (uint8_t *)(turn->counts + (size_t)n_list * n_kind);
    turn->codes = turn->kept + n_list * row_bytes_of(n_token);
    describe(turn, kind, nth_of);
    *out = turn;
    return FOVEA_OK;
}

void fvi_kv_turn_unref(const fovea_alloc *alloc, fvi_kv_pool *pool, fvi_kv_turn **turn)
{
    fvi_kv_turn *self = *turn;
    *turn = NULL;
    if (self == NULL || --self->refs > 0) {
        return;
    }
    for (uint32_t i = 0; i < self->n_chain; i++) {
        fvi_kv_chain_unref(pool, &self->chains[i]);
    }
    fvi_kv_cut_free(alloc, pool, &self->cut);
    fvi_kv_meta_free(alloc, pool, self, self->n_bytes);
}

uint32_t fvi_kv_turn_rows(const fvi_kv_turn *turn, uint32_t list, uint32_t nth)
{
    return turn->fresh ? turn->n_token : turn->counts[(size_t)list * turn->n_kind + nth];
}

size_t fvi_kv_turn_pool_bytes(const fvi_kv_turn *turn, const fvi_kv_pool *pool)
{
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < turn->n_chain; i++) {
        n_bytes += fvi_kv_chain_bytes(pool, turn->chains[i]);
    }
    return n_bytes;
}

bool fvi_kv_turn_next(fvi_kv_turn_iter *iter)
{
    const fvi_kv_turn *turn = iter->turn;
    for (;;) {
        iter->token++; /* wraps to 0 at the start */
        if (iter->token >= turn->n_token) {
            iter->token = 0;
            iter->list++;
        }
        if (iter->list >= turn->n_list) {
            return false;
        }
        size_t row = iter->list * row_bytes_of(turn->n_token);
        if (!turn->fresh && (turn->kept[row + iter->token / 8] >> (iter->token % 8) & 1) == 0) {
            continue;
        }
        uint32_t code_bits = turn->fresh ? 0 : code_bits_of(turn->n_kind);
        iter->nth = 0;
        if (code_bits > 0) {
            uint64_t bit = iter->n_seen * code_bits;
            iter->nth = turn->codes[bit / 8] >> (bit % 8) & ((1u << code_bits) - 1);
        }
        iter->n_seen++;
        return true;
    }
}
