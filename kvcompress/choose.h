/* choose.h - plans of budgets that choose token and kind together (fvi_budget.choose).
 *
 * The choices are measured, not assumed: a sample of each list's own rows is stored in every kind and read
 * back, and kinds that are no better a bargain than a mixture of others are left out. So a new codec takes
 * part as soon as it is in codecs.def. Called by plan.c. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_CHOOSE_H
#define FOVEA_KVCOMPRESS_CHOOSE_H

#include "kvcompress/distortion.h"
#include "kvcompress/select.h"

/* Most kinds of one plan: two bits a token say which. */
#define FVI_CHOOSE_MAX 4

/* Whether such plans may hold tokens in a kind. */
bool fvi_choose_may_use(const fvi_kv_geom *geom, const fvi_codec *codec);

/* Fills plan->kind, kinds, n_slot and n_bytes for the sequence's last turn, whose scores are in
 * select->scores. select->geom: the sequence's, or its layer `first_layer` alone, which is to be cut; the
 * errors that are measured then are kept for the final plan (cut.h). *measured: what the plan was chosen by; the
 * caller frees its errors. */
fovea_status fvi_choose_plan(const fvi_kv_seq *seq, fvi_select *select, uint32_t first_layer,
                             size_t target, fvi_kv_plan *plan, fvi_distortion *measured);

#endif
