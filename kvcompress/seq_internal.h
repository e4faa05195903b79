/* seq_internal.h - what the files of a sequence share: its struct and walking over its runs.
 *
 * Files: seq.c (life, turns, writing), seq_lists.c (walks, views), seq_decode.c (tail, merging, copying
 * rows), seq_ledger.c (bytes), plan_apply.c (sealing), slots*.c (eviction while decoding). Included by these
 * only. */
#ifndef FOVEA_KVCOMPRESS_SEQ_INTERNAL_H
#define FOVEA_KVCOMPRESS_SEQ_INTERNAL_H

#include "kvcompress/place.h"
#include "kvcompress/seq.h"
#include "kvcompress/slots.h"
#include "kvcompress/turn.h"

/* Consecutive positions: a prompt turn, or generated tokens; or what is left of them in slots. */
typedef struct fvi_kv_block {
    fvi_kv_turn *turn;    /* NULL: generated tokens or slots */
    fvi_kv_slots *slots;  /* of the first block alone, or NULL */
    const fvi_recall *recall; /* set: it lies in pages with summaries */
    fvi_kv_extent *chain; /* of generated tokens, runs in the order of lists */
    uint32_t n_token;
    uint32_t n_view;    /* views to hold for it: most pieces of a layer */
    fvi_kv_cursor at;   /* where the runs of at_layer begin, remembered from the last walk */
    fvi_kv_cursor walk; /* of the views under way */
    uint32_t at_layer;
} fvi_kv_block;

typedef enum fvi_kv_state {
    FVI_KV_IDLE = 0,
    FVI_KV_PREFILL, /* between begin_turn and end_turn */
} fvi_kv_state;

struct fvi_kv_seq {
    const fovea_alloc *alloc;
    fvi_kv_pool *pool;
    const fvi_kv_geom *geom;
    fvi_kv_state state;
    uint32_t position, n_fresh;
    uint32_t n_span, n_block, block_capacity, view_capacity;
    uint32_t n_tail;      /* tokens counted in the tail */
    uint32_t n_appended;  /* layers that have the next token already */
    fvi_kv_span *spans;   /* [n_span] */
    fvi_kv_block *blocks; /* [block_capacity] */
    fvi_kv_block tail;    /* chain NULL: none */
    fvi_list_view *lists; /* [most KV heads of a layer], behind it runs[view_capacity] */
    size_t peak_bytes;
    const fvi_recall *recall; /* what is sealed from now on lies in pages; NULL: it does not */
    uint32_t n_attend;
    float *recall_scratch;    /* fvi_kv_recall_scratch_bytes, NULL without recall */
};

/* ---- walking (seq_lists.c) ---- */
fvi_kv_shape fvi_kv_shape_of(const fvi_kv_geom *geom, uint32_t layer, const fvi_codec *codec);
/* Number of runs of every list of a block, and the length and shape of one. */
uint32_t fvi_kv_block_n_run(const fvi_kv_block *block);
uint32_t fvi_kv_block_rows(const fvi_kv_block *block, uint32_t list, uint32_t nth);
/* Of them, those that hold a token: fewer only in slots. */
uint32_t fvi_kv_block_visible(const fvi_kv_block *block, uint32_t list, uint32_t nth);
fvi_kv_shape fvi_kv_block_shape(const fvi_kv_geom *geom, const fvi_kv_block *block, uint32_t layer,
                                uint32_t nth);
/* Where a block's runs of a layer begin. */
fvi_kv_cursor fvi_kv_block_start(const fvi_kv_pool *pool, const fvi_kv_geom *geom,
                                 fvi_kv_block *block, uint32_t layer);
/* Reserves the runs of a layer; the block's n_view grows to the pieces it takes. */
fovea_status fvi_kv_block_reserve(fvi_kv_packer *packer, const fvi_kv_geom *geom,
                                  fvi_kv_block *block, uint32_t layer);
/* Nominal place of a layer's runs in one extent. */
size_t fvi_kv_block_layer_bytes(const fvi_kv_geom *geom, const fvi_kv_block *block, uint32_t layer);

fovea_status fvi_kv_seq_set_blocks(fvi_kv_seq *seq, uint32_t capacity);
/* Gives back what a block holds. */
void fvi_kv_block_drop(fvi_kv_seq *seq, fvi_kv_block *block);
/* Room for exactly n_view run views; their contents are rebuilt by the next lists(). */
fovea_status fvi_kv_seq_set_views(fvi_kv_seq *seq, uint32_t n_view);
void fvi_kv_seq_drop_views(fvi_kv_seq *seq);
size_t fvi_kv_seq_view_bytes(const fvi_kv_seq *seq);
/* Views that the blocks and the tail take. */
uint32_t fvi_kv_seq_n_view(const fvi_kv_seq *seq);

/* ---- pages (recall.c) ---- */
size_t fvi_kv_recall_scratch_bytes(const fvi_kv_geom *geom);
/* Writes the summaries of a block's pages; nothing for a block without. */
void fvi_kv_block_summarise(const fvi_kv_seq *seq, fvi_kv_block *block);
float fvi_kv_page_bound(const fvi_kv_shape *shape, const fvi_kv_piece *page, const float *q,
                        uint32_t group);
/* Leaves in a list what its bounds [n_run] promise most of, at most n_attend tokens, and what is always
 * attended (INFINITY); the runs are the list's own. */
void fvi_kv_list_recall(fvi_list_view *list, fvi_run_view *runs, float *bound, uint32_t n_attend);

/* ---- rows (seq_decode.c) ---- */
/* A place in the runs of one list, read or written row by row. */
typedef struct fvi_kv_rows {
    const fvi_kv_pool *pool;
    fvi_kv_shape shape;
    fvi_kv_cursor at;
    fvi_kv_piece piece;
    uint32_t n_left; /* rows of the run behind the piece */
    uint32_t row;    /* in the piece */
} fvi_kv_rows;

fvi_kv_rows fvi_kv_rows_of(const fvi_kv_pool *pool, fvi_kv_cursor at, fvi_kv_shape shape,
                           uint32_t n_row);
/* Rows that can be had at once from here, at most `most`; steps into the next piece where one ends.
 * 0: the run is through. */
uint32_t fvi_kv_rows_ready(fvi_kv_rows *rows, uint32_t most);
/* Moves behind n rows, or behind the whole run if it has fewer. */
void fvi_kv_rows_skip(fvi_kv_rows *rows, uint32_t n);
/* Copies n rows of a kind that lies per token, bit by bit. */
void fvi_kv_rows_copy(fvi_kv_rows *to, fvi_kv_rows *from, uint32_t n);

/* The chain of a block of generated tokens, for n_token tokens in all lists. */
fovea_status fvi_kv_block_take(fvi_kv_pool *pool, const fvi_kv_geom *geom, fvi_kv_block *block);
/* Copies the first n tokens of one such block to another, from its token `first` on. */
void fvi_kv_block_copy(const fvi_kv_pool *pool, const fvi_kv_geom *geom, fvi_kv_block *to,
                       uint32_t first, fvi_kv_block *from, uint32_t n);
/* Seals the tail with exactly its length, so that a turn can follow. */
fovea_status fvi_kv_seq_close_tail(fvi_kv_seq *seq);

/* ---- bytes (seq_ledger.c) ---- */
/* Remembers the peak; extra: held for the sequence, not reachable from it yet. */
void fvi_kv_seq_note_peak(fvi_kv_seq *seq, size_t extra);
/* The most bytes that n_token tokens of a layer take, every granule a piece of its own, every kind as large as
 * the largest. */
size_t fvi_kv_layer_worst_bytes(const fvi_kv_geom *geom, uint32_t layer, uint32_t n_token,
                                size_t granule, const fvi_recall *recall, bool base_only);
/* Metadata of a sequence with one prompt turn, beside the turn's own. */
size_t fvi_kv_seq_fixed_bytes(const fvi_kv_geom *geom, uint32_t n_span, uint32_t n_kind);
/* What one more turn adds to that. */
size_t fvi_kv_seq_turn_bytes(const fvi_kv_geom *geom, uint32_t n_span, uint32_t n_kind);

#endif
