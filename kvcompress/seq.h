/* seq.h - the cached tokens of one sequence: a list per (layer, KV head), each of its own length.
 *
 * Layout of a list, turn by turn in the order of positions:
 *   prompt        fresh runs while the turn is prefilled and until a plan: every token in the base kind
 *                 (f16, or f32 with f32 precision); or sealed runs, what a plan kept: ordered by kind,
 *                 ascending positions inside a kind, packed into extents that all lists share (turn.h)
 *   generated     decode runs, merged pairwise as they grow (8, 16, up to FVI_KV_MERGE tokens)
 *   tail          up to FVI_KV_TAIL generated tokens, one block for all lists
 * A run breaks where its extent ends (place.h). Keys are stored after RoPE. Tags are stored once per
 * sequence as spans (tag.h); a sealed turn says which positions it holds by a bitmap per list. The next
 * position belongs to the sequence and is no length. All of it is booked in the pool.
 *
 * A turn: begin_turn(spans) -> for each layer: open_layer, write rows block by block -> end_turn ->
 * fvi_kv_plan_* (plan.h) -> append per layer and commit, for every generated token.
 * begin_turn prepares descriptors for all that the turn needs, so decoding does not touch the heap. Only
 * where a fragmented pool breaks runs into more pieces than foreseen, or more tokens are generated than
 * begin_turn was told, are more descriptors allocated.
 *
 * Called by the engine's scheduler only. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_SEQ_H
#define FOVEA_KVCOMPRESS_SEQ_H

#include "kvcompress/pool.h"
#include "kvcompress/recall.h"
#include "kvcompress/tag.h"
#include "sdk/ops/codec.h"

#include <fovea/kv.h>

#define FVI_KV_TAIL  8
#define FVI_KV_MERGE 32 /* a merge needs that much space beside what it merges */

typedef struct fvi_kv_layer_geom {
    uint32_t n_head, n_kv_head, dk, dv;
} fvi_kv_layer_geom;

typedef struct fvi_kv_geom {
    uint32_t n_layer;
    const fvi_kv_layer_geom *layers; /* [n_layer] */
    fovea_kind base;                 /* kind of fresh tokens: F16 or F32 */
    float rope_base; /* of the turn that keys have (sdk/ops/rope_rows.h); 0: none that is known */
} fvi_kv_geom;

/* Number of lists; list index of (layer, head) is first_list(layer) + head. */
uint32_t fvi_kv_geom_n_list(const fvi_kv_geom *geom);
uint32_t fvi_kv_geom_first_list(const fvi_kv_geom *geom, uint32_t layer);
/* A geometry of one layer of it; valid as long as it is. */
fvi_kv_geom fvi_kv_geom_layer(const fvi_kv_geom *geom, uint32_t layer);
/* The most KV heads that a layer has. */
uint32_t fvi_kv_geom_max_kv_head(const fvi_kv_geom *geom);
/* Bytes of one token in all lists in a kind, nominal (payload without slack). */
size_t fvi_kv_geom_token_bytes(const fvi_kv_geom *geom, fovea_kind kind);
/* The granule a pool for this geometry should have: two rows of a list, so that a sequence's slack stays
 * within that and a descriptor costs little beside what it describes. */
size_t fvi_kv_geom_granule(const fvi_kv_geom *geom);

typedef struct fvi_kv_seq fvi_kv_seq;

/* geom must outlive the sequence. */
fovea_status fvi_kv_seq_new(const fovea_alloc *alloc, fvi_kv_pool *pool, const fvi_kv_geom *geom,
                            fvi_kv_seq **out);
/* Gives back everything at once; accepts NULL. */
void fvi_kv_seq_free(fvi_kv_seq **seq);
/* Shares all runs, copies the tail. Not inside a turn's prefill. */
fovea_status fvi_kv_seq_fork(const fvi_kv_seq *seq, fvi_kv_seq **out);

/* Declares the tokens that come next: spans in order and without gaps (`first` is filled in by the
 * sequence). n_generate: how many may be generated after them (descriptors are prepared, pool bytes are
 * not taken). FOVEA_ERR_FULL: metadata does not fit the pool; the sequence is as it was. */
fovea_status fvi_kv_seq_begin_turn(fvi_kv_seq *seq, const fvi_kv_span *spans, uint32_t n_span,
                                   uint32_t n_generate);
/* Takes the fresh runs of one layer for all tokens of the turn. FOVEA_ERR_FULL. */
fovea_status fvi_kv_seq_open_layer(fvi_kv_seq *seq, uint32_t layer);
/* Stores rows row0..row0+n-1 of the turn. */
void fvi_kv_seq_write(fvi_kv_seq *seq, uint32_t layer, uint32_t row0, uint32_t n,
                      const float *k /* [n, n_kv_head, dk] */, size_t k_stride,
                      const float *v /* [n, n_kv_head, dv] */, size_t v_stride);
/* All layers are written: the turn's tokens count. The fresh runs stay as they are until a plan. */
void fvi_kv_seq_end_turn(fvi_kv_seq *seq);

/* Stores one generated token in one layer's tail, layers in order; it is visible to views at once.
 * FOVEA_ERR_FULL when a new tail block is needed and the pool has none (layer 0 only). */
fovea_status fvi_kv_seq_append(fvi_kv_seq *seq, uint32_t layer,
                               const float *k /* [n_kv_head, dk] */,
                               const float *v /* [n_kv_head, dv] */);
/* All layers have been appended: counts the token, seals the tail when it is full and merges as far as
 * the pool has space for it. */
fovea_status fvi_kv_seq_commit(fvi_kv_seq *seq);

/* The lists of a layer, [n_kv_head], NULL before the first turn; valid until the sequence changes or the lists of another layer of
 * the same sequence are asked for (one layer's views are held, not all). Cheapest in the order of layers.
 * During prefill the fresh runs are listed whole: n_token counts rows that are not written yet, so callers
 * bound what they see. */
const fvi_list_view *fvi_kv_seq_lists(const fvi_kv_seq *seq, uint32_t layer);

/* From now on what is sealed lies in pages, of which fvi_kv_seq_attended chooses n_attend tokens a list;
 * nothing happens for NULL or a second time. After a failure the sequence must be freed. */
fovea_status fvi_kv_seq_set_recall(fvi_kv_seq *seq, const fvi_recall *recall, uint32_t n_attend);
/* What it holds is attended whole from now on, whatever set_recall said. */
void fvi_kv_seq_attend_all(fvi_kv_seq *seq);
/* fvi_kv_seq_lists, of a sequence that recalls only what these queries of the layer are to attend. */
const fvi_list_view *fvi_kv_seq_attended(const fvi_kv_seq *seq, uint32_t layer,
                                         const float *q /* [n_head, dk] */);

/* Where attention to a list is to be added up, in its order, summed over the heads of its group; NULL:
 * nowhere. While a turn is prefilled it has what was held before. */
float *fvi_kv_seq_mass(const fvi_kv_seq *seq, uint32_t list);

const fvi_kv_geom *fvi_kv_seq_geom(const fvi_kv_seq *seq);
uint32_t fvi_kv_seq_position(const fvi_kv_seq *seq); /* of the next token */
uint32_t fvi_kv_seq_n_fresh(const fvi_kv_seq *seq); /* tokens of the turn under way or just ended */
const fvi_kv_span *fvi_kv_seq_spans(const fvi_kv_seq *seq, uint32_t *n_span); /* of all turns */

/* ---- bytes ---- */
size_t fvi_kv_seq_bytes(const fvi_kv_seq *seq); /* held now, metadata included, shared ones too */
size_t fvi_kv_seq_peak_bytes(const fvi_kv_seq *seq);
/* The most bytes that the sequence can still take to hold n more generated tokens. */
size_t fvi_kv_seq_growth_bytes(const fvi_kv_seq *seq, uint32_t n_generate);
/* The most bytes that a turn of n_token on top of what is there needs until its plan is applied
 * (metadata, fresh runs of all layers, the plan's working space), and of a new sequence if seq is NULL. */
size_t fvi_kv_forecast_bytes(const fvi_kv_seq *seq, const fvi_kv_geom *geom, size_t granule,
                             uint32_t n_span, uint32_t n_token, uint32_t n_generate);

/* What n_token tokens in pages take at most beside what fvi_kv_forecast_bytes says. */
size_t fvi_kv_recall_forecast_bytes(const fvi_kv_geom *geom, size_t granule,
                                    const fvi_recall *recall, uint32_t n_token);

/* Fills everything of the ledger but activation_peak_bytes and what plan.h knows. */
void fvi_kv_seq_ledger(const fvi_kv_seq *seq, fovea_ledger *out);
void fvi_kv_seq_ledger_rows(const fvi_kv_seq *seq, fovea_ledger_row *rows /* [n_list] */);
/* The fovea_kind of every token in a list, FVI_KV_DROP where the list does not hold it. */
void fvi_kv_seq_kept(const fvi_kv_seq *seq, uint32_t list, uint8_t *kinds /* [position] */);

#endif
