/* cut.h - a finished layer of a prompt that is still prefilled is cut to a cap at once, so that the whole
 * prompt never lies in memory as it is.
 *
 * The cap of a layer is its even share of the budget, prefill.cap= times (recipe.h), and a fifth of the layer at
 * least unless that is given: a plan of that layer alone (fvi_kv_plan_layer) keeps what the final plan could ask for and somewhat more. The final plan shares
 * the exact total out under these caps, so it takes tokens away or steps down in precision, never the other
 * way. A budget that chooses kinds by itself chooses those for the bytes of the cap: codes of codes are nearly as good
 * as codes of the rows where the first ones are much finer. (Tried: keeping the directions of the cut's components
 * in the final ones. That lost: what the cut's codes left out is noise along any directions.)
 *
 * Layout: a cut layer is a sealed turn of one layer (turn.h) that the fresh turn owns until the final plan
 * is applied (plan_apply.c). The last layer stays as it is: its plan follows at once. Sessions that keep
 * observations for forks are never cut, nor are recipes without a budget recipes that merge
 * and those that go on evicting (while=).
 * Called by the engine between two layers. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_CUT_H
#define FOVEA_KVCOMPRESS_CUT_H

#include "kvcompress/plan.h"
#include "kvcompress/turn.h"

struct fvi_kv_cut {
    uint32_t n_layer;
    size_t n_bytes;       /* booked */
    fvi_kv_turn **layers; /* [n_layer] NULL: not cut */
    double *distortion;   /* [n_list, FOVEA_N_KIND] of the rows as they were (distortion.h) */
};

/* True when the turn under way has a plan that is going to cut it. */
bool fvi_kv_cut_wanted(const fvi_kv_seq *seq, const fvi_recipe *recipe);
/* Cuts a layer all of whose rows are written and observed; a layer that would not shrink stays as it is.
 * FOVEA_ERR_FULL or _NOMEM: the layer is as it was. */
fovea_status fvi_kv_cut_layer(fvi_kv_seq *seq, const fvi_recipe *recipe, const fvi_kv_obs *obs,
                              uint32_t layer, fovea_error *err);

/* As fvi_kv_forecast_bytes and fvi_kv_plan_work_bytes together, of a turn whose finished layers are cut where its recipe says so. */
size_t fvi_kv_cut_forecast_bytes(const fvi_kv_seq *seq, const fvi_kv_geom *geom, size_t granule,
                                 const fvi_kv_span *spans, uint32_t n_span, uint32_t n_token,
                                 uint32_t n_generate, const fvi_recipe *recipe);

/* The rest accepts NULL. Bytes held, metadata included. */
size_t fvi_kv_cut_bytes(const fvi_kv_cut *cut, const fvi_kv_pool *pool);
void fvi_kv_cut_free(const fovea_alloc *alloc, fvi_kv_pool *pool, fvi_kv_cut **cut);
/* Lowers high[n_list] to what the lists of cut layers hold of a modality; modality [n_token], NULL: of any. */
void fvi_kv_cut_limit(const fvi_kv_cut *cut, const fvi_kv_geom *geom, const uint8_t *modality,
                      uint8_t of, uint32_t *high);
/* The kind in which each token is held in the lists of cut layers, FVI_KV_DROP for none; other lists are
 * left alone. */
void fvi_kv_cut_kinds(const fvi_kv_cut *cut, const fvi_kv_geom *geom,
                      uint8_t *kind /* [n_list, n_token] */);

#endif
