/* plan_intent.h - a turn and what a recipe makes of it before any score is known.
 *
 * plan_intent.c makes it out, plan_floor.c computes its limits in bytes, plan.c fills it with scores. Threads:
 * plain data. */
#ifndef FOVEA_KVCOMPRESS_PLAN_INTENT_H
#define FOVEA_KVCOMPRESS_PLAN_INTENT_H

#include "kvcompress/plan.h"
#include "kvcompress/select.h"

typedef struct fvi_intent {
    const fvi_kv_span *spans; /* of the turn; only lengths and tags are read */
    uint32_t n_span, n_token;
    uint32_t n_of[FOVEA_N_MODALITY]; /* tokens by modality */
    bool first_turn;
    uint32_t first_layer; /* of the sequence's, where select.geom is one of its layers */
    double share;         /* of its f16 cache that the recipe leaves the turn in the end */
    fvi_select select;
    uint64_t total[FOVEA_N_MODALITY]; /* slots of each part, but of `rest` */
    uint32_t rest;    /* the part that takes what bytes= leaves; n_part: bytes do not count */
    size_t all_bytes; /* at most, when the rest keeps everything */
    size_t floor_bytes, target;
    size_t gap;  /* the most by which a selection stays below its target */
    size_t step; /* the most by which one token lengthens a run */
    bool keep_all;
    fvi_recipe unbroken; /* select.recipe, where the pool has no room for what is fitted */
} fvi_intent;

/* Expects spans, n_span, n_token, first_turn and of select alloc, geom, recipe and granule. *self holds the floor
 * also where the status is FOVEA_ERR_BUDGET. */
fovea_status fvi_intend(fvi_intent *self, fovea_error *err);
/* Counts the tokens that are always kept; marks them where there is a table for it. */
void fvi_intent_mark_always(fvi_intent *self);
/* True when the recipe's budget chooses token and kind together. */
bool fvi_intent_chooses(const fvi_intent *self);
/* Fills all_bytes, floor_bytes, gap and step. Called by fvi_intend. */
void fvi_intent_find_limits(fvi_intent *self);

#endif
